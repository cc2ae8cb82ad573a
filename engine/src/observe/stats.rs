//! What a worker counts, about itself and about each listener, route and service.
//!
//! Everything is laid out before traffic comes: counting neither allocates nor locks. A value of these types belongs
//! to one worker, which alone writes it (see `counter`), and fills cache lines of its own, so that cores don't fight
//! over them. Which names there are changes with snapshots; `registry` keeps the counts over such changes.

use std::sync::OnceLock;

use crate::grpc::CODES;
use crate::overload::Priority;

use super::breaking::Breaking;
use super::counter::{Counter, Gauge};
use super::dropped::DroppedCounts;
use super::histogram::{DURATIONS, Histogram, LAGS};
use super::picks::PickCounters;
use super::retries::RetryCounts;

/// How a number of a worker is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// Added up over workers.
    Summed,
    /// One value for each worker.
    Each,
}

/// A number of a worker, as it is exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scalar {
    /// In Rust and in `/workers`.
    pub name: &'static str,
    /// In Prometheus text.
    pub metric: &'static str,
    /// `counter` or `gauge`
    pub kind: &'static str,
    /// Summed or not.
    pub shown: Shown,
    /// One line for a person.
    pub help: &'static str,
}

macro_rules! worker_stats {
    ($($field:ident: $type:ident $kind:literal $shown:ident $metric:literal $help:literal;)*) => {
        /// What one worker counts about itself.
        #[derive(Debug)]
        #[repr(align(128))]
        pub struct WorkerStats {
            $(#[doc = $help] pub $field: $type,)*
            /// Local replies by reason and status.
            pub local_replies: ReasonCounts,
            /// Exchanges that ended after their response head, or without anybody to reply to, by reason.
            pub cut: ReasonCounts,
            /// Requests turned away, by priority; none is critical.
            pub shed: [Counter; 4],
            /// Datagrams that went nowhere.
            pub udp_dropped: DroppedCounts,
            /// How late the loop was to what was due, or how long a turn took.
            pub loop_lag: Histogram,
            /// Microseconds on the engine's clock when the loop last turned.
            pub last_turn_us: Gauge,
        }

        impl Default for WorkerStats {
            fn default() -> Self {
                Self {
                    $($field: $type::default(),)*
                    local_replies: ReasonCounts::default(),
                    cut: ReasonCounts::default(),
                    shed: Default::default(),
                    udp_dropped: DroppedCounts::default(),
                    loop_lag: Histogram::new(&LAGS),
                    last_turn_us: Gauge::default(),
                }
            }
        }

        impl WorkerStats {
            /// What [`WorkerStats::scalars`] are, in the same order.
            pub const SCALARS: &'static [Scalar] = &[$(Scalar {
                name: stringify!($field), metric: $metric, kind: $kind, shown: Shown::$shown, help: $help,
            },)*];

            /// The single numbers, in the order of [`WorkerStats::SCALARS`].
            pub fn scalars(&self) -> impl Iterator<Item = (&'static Scalar, u64)> {
                Self::SCALARS.iter().zip([$(self.$field.get(),)*])
            }
        }
    };
}

worker_stats! {
    connections_accepted: Counter "counter" Each "ringway_worker_connections_accepted_total"
        "Connections accepted.";
    connections_open: Gauge "gauge" Each "ringway_worker_connections" "Connections open downstream.";
    connections_idle: Gauge "gauge" Each "ringway_worker_connections_idle"
        "Connections downstream that wait for a request.";
    tunnels_open: Gauge "gauge" Summed "ringway_tunnels_active" "Upgraded connections and CONNECT tunnels.";
    spliced: Counter "counter" Summed "ringway_spliced_bytes_total"
        "Bytes of tunnels that went from socket to socket by splice(2).";
    exchanges_started: Counter "counter" Each "ringway_worker_exchanges_started_total" "Exchanges begun.";
    exchanges_ended: Counter "counter" Each "ringway_worker_exchanges_ended_total"
        "Exchanges ended, however; the difference is under way.";
    downstream_received: Counter "counter" Summed "ringway_downstream_received_bytes_total"
        "Bytes received from clients.";
    downstream_sent: Counter "counter" Summed "ringway_downstream_sent_bytes_total" "Bytes sent to clients.";
    upstream_received: Counter "counter" Summed "ringway_upstream_received_bytes_total"
        "Bytes received from endpoints.";
    upstream_sent: Counter "counter" Summed "ringway_upstream_sent_bytes_total" "Bytes sent to endpoints.";
    http2_connections: Gauge "gauge" Summed "ringway_http2_connections_active" "Connections of HTTP/2 downstream.";
    tls_handshakes: Counter "counter" Summed "ringway_tls_handshakes_total" "TLS handshakes with clients that succeeded.";
    tls_resumptions: Counter "counter" Summed "ringway_tls_resumptions_total"
        "Of those, the ones that resumed an earlier session.";
    tls_proofs: Counter "counter" Summed "ringway_tls_proofs_total"
        "Handshakes in which an authority was shown the proof of a name (ACME).";
    udp_sessions: Counter "counter" Summed "ringway_udp_sessions_total" "UDP sessions begun.";
    udp_sessions_active: Gauge "gauge" Summed "ringway_udp_sessions_active" "UDP sessions.";
    udp_sessions_failed: Counter "counter" Summed "ringway_udp_sessions_failed_total"
        "UDP sessions that ended because their endpoint was not there.";
    udp_received: Counter "counter" Summed "ringway_udp_received_total" "Datagrams received from clients.";
    udp_sent: Counter "counter" Summed "ringway_udp_sent_total" "Datagrams sent to clients.";
    udp_upstream_received: Counter "counter" Summed "ringway_udp_upstream_received_total"
        "Datagrams received from endpoints.";
    udp_upstream_sent: Counter "counter" Summed "ringway_udp_upstream_sent_total" "Datagrams sent to endpoints.";
    proxy_protocol_refused: Counter "counter" Summed "ringway_proxy_protocol_refused_total"
        "Connections closed for a missing, malformed or untrusted PROXY protocol header.";
    fd_limit_hits: Counter "counter" Summed "ringway_fd_limit_hits_total"
        "Times accepting or connecting met the limit of open files.";
    access_log_lines: Counter "counter" Summed "ringway_access_log_lines_total" "Lines given to the log writer.";
    access_log_dropped: Counter "counter" Summed "ringway_access_log_dropped_total"
        "Lines dropped because the ring to the log writer was full.";
    faults_delayed: Gauge "gauge" Summed "ringway_faults_delayed" "Exchanges that a fault delays now.";
    faults_left_out: Counter "counter" Summed "ringway_faults_left_out_total"
        "Delays left out because too many exchanges were delayed.";
    buffers_in_use: Gauge "gauge" Each "ringway_worker_buffers_in_use" "Receive buffers in use.";
    pipes: Gauge "gauge" Each "ringway_worker_pipes" "Pipes open for splice(2).";
    loop_turns: Counter "counter" Each "ringway_worker_loop_turns_total" "Turns of the event loop.";
    lag_us: Gauge "gauge" Each "ringway_worker_lag_microseconds"
        "How late the loop was to its last look at itself.";
    pressure: Gauge "gauge" Each "ringway_worker_pressure"
        "What the worker sheds: nothing, low, normal, high priority, new connections (0 to 4).";
}

impl WorkerStats {
    /// Exchanges under way.
    pub fn exchanges_active(&self) -> u64 {
        self.exchanges_started.get().saturating_sub(self.exchanges_ended.get())
    }

    /// Requests of this priority that were turned away.
    pub fn shed(&self, priority: Priority) -> &Counter {
        &self.shed[priority as usize]
    }

    /// Every number by name, in a fixed order, for `/workers`.
    pub fn listed(&self) -> Vec<(&'static str, u64)> {
        let mut listed = vec![("exchanges_active", self.exchanges_active())];
        listed.extend(self.scalars().map(|(scalar, value)| (scalar.name, value)));
        listed
    }
}

/// Counts by reason. A reason is named by whoever finds it ([`crate::reason::Reason`], the codec's refusals), so a
/// place is taken when a pair of reason and status first comes, and found again by going along; this is off the
/// straight path, and there are few.
#[derive(Debug)]
pub struct ReasonCounts {
    places: Box<[ReasonCount]>,
    others: Counter,
}

#[derive(Debug, Default)]
struct ReasonCount {
    what: OnceLock<(&'static str, u16)>,
    count: Counter,
}

impl Default for ReasonCounts {
    fn default() -> Self {
        Self {
            places: (0..REASONS_MAX).map(|_| ReasonCount::default()).collect(),
            others: Counter::default(),
        }
    }
}

impl ReasonCounts {
    /// Counts one.
    pub fn count(&self, reason: &'static str, status: u16) {
        let place =
            self.places.iter().find(|place| *place.what.get_or_init(|| (reason, status)) == (reason, status));
        place.map_or(&self.others, |place| &place.count).increment();
    }

    /// All pairs seen, and how often.
    pub fn iter(&self) -> impl Iterator<Item = ((&'static str, u16), u64)> {
        let seen = self.places.iter().map_while(|place| Some((*place.what.get()?, place.count.get())));
        let others = Some((("other", 0), self.others.get())).filter(|(_, count)| *count > 0);
        seen.chain(others)
    }
}

/// Pairs of reason and status told apart; about twice as many as there are.
pub const REASONS_MAX: usize = 192;

/// Requests of one route that went to one service, or to none.
#[derive(Debug)]
#[repr(align(128))]
pub struct RouteCounters {
    classes: [Counter; CLASSES.len()],
    /// Taken with the first call: most routes carry none.
    grpc: OnceLock<Box<[Counter; CODES.len()]>>,
    /// Taken with the first fault: most routes have none.
    faults: OnceLock<Box<[Counter; FAULT_KINDS.len()]>>,
    /// Bytes of request bodies.
    pub request_bytes: Counter,
    /// Bytes of response bodies.
    pub response_bytes: Counter,
    /// Turned away under overload; of the row without a service.
    pub shed: Counter,
    /// First byte of the request to the last of the response.
    pub duration: Histogram,
}

/// What a fault did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// The exchange waited.
    Delay,
    /// It was answered with an error.
    Abort,
}

/// Values of the label `kind`, in the order of [`FaultKind`].
pub const FAULT_KINDS: [&str; 2] = ["delay", "abort"];

/// Values of the label `code_class`.
pub const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

impl Default for RouteCounters {
    fn default() -> Self {
        Self {
            classes: Default::default(),
            grpc: Default::default(),
            faults: Default::default(),
            request_bytes: Counter::default(),
            response_bytes: Counter::default(),
            shed: Counter::default(),
            duration: Histogram::new(&DURATIONS),
        }
    }
}

impl RouteCounters {
    /// Counts one ended exchange. A status outside 100 to 599 counts with the nearest class.
    #[inline]
    pub fn record(&self, status: u16, duration_us: u64, request_bytes: u64, response_bytes: u64) {
        let class = usize::from(status / 100).clamp(1, CLASSES.len()) - 1;
        self.classes[class].increment();
        self.request_bytes.add(request_bytes);
        self.response_bytes.add(response_bytes);
        self.duration.record(duration_us);
    }

    /// Counts one ended call of gRPC.
    #[inline]
    pub fn record_grpc(&self, code: u8) {
        self.grpc.get_or_init(Box::default)[usize::from(code).min(CODES.len() - 1)].increment();
    }

    /// Counts one fault.
    pub fn record_fault(&self, kind: FaultKind) {
        self.faults.get_or_init(Box::default)[kind as usize].increment();
    }

    /// Faults by kind, in the order of [`FAULT_KINDS`].
    pub fn faults(&self) -> [u64; FAULT_KINDS.len()] {
        self.faults.get().map_or([0; FAULT_KINDS.len()], |kinds| kinds.each_ref().map(Counter::get))
    }

    /// Calls of gRPC by code, in the order of [`CODES`].
    pub fn grpc_codes(&self) -> [u64; CODES.len()] {
        self.grpc.get().map_or([0; CODES.len()], |codes| codes.each_ref().map(Counter::get))
    }

    /// Requests by class, in the order of [`CLASSES`].
    pub fn classes(&self) -> [u64; CLASSES.len()] {
        self.classes.each_ref().map(Counter::get)
    }
}

/// What went to one service.
#[derive(Debug)]
#[repr(align(128))]
pub struct ServiceCounters {
    /// Requests sent, each try counted.
    pub requests: Counter,
    /// Exchanges under way.
    pub active: Gauge,
    /// Connections begun.
    pub connects: Counter,
    /// Those that failed: refused, unreachable or too late.
    pub connect_failures: Counter,
    /// Requests sent on a pooled connection.
    pub reuses: Counter,
    /// Requests sent again, hedges and copies.
    pub retries: RetryCounts,
    /// PINGs that endpoints did not answer in time.
    pub pings_unanswered: Counter,
    /// Connections with an exchange on them.
    pub connections_active: Gauge,
    /// Connections in the pool.
    pub connections_idle: Gauge,
    /// Request sent to response head read.
    pub response_head: Histogram,
    /// About its limits.
    breaking: OnceLock<Box<Breaking>>,
    /// How endpoints were picked.
    pub picks: PickCounters,
}

impl Default for ServiceCounters {
    fn default() -> Self {
        Self {
            requests: Counter::default(),
            active: Gauge::default(),
            connects: Counter::default(),
            connect_failures: Counter::default(),
            reuses: Counter::default(),
            retries: RetryCounts::default(),
            pings_unanswered: Counter::default(),
            connections_active: Gauge::default(),
            connections_idle: Gauge::default(),
            response_head: Histogram::new(&DURATIONS),
            breaking: OnceLock::new(),
            picks: PickCounters::default(),
        }
    }
}

impl ServiceCounters {
    /// About its limits, once one was reached.
    pub fn breaking(&self) -> &Breaking {
        self.breaking.get_or_init(Box::default)
    }

    /// The same, if one was.
    pub fn breaking_seen(&self) -> Option<&Breaking> {
        self.breaking.get().map(|breaking| &**breaking)
    }
}

/// What came through one listener.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct ListenerCounters {
    /// Connections accepted.
    pub accepted: Counter,
    /// Connections open.
    pub active: Gauge,
    /// Requests read.
    pub requests: Counter,
    /// Connections reset since their client's address had made too many.
    pub refused: Counter,
}

/// Counts that can be added to others when their name is gone.
pub trait Fold: Default {
    /// Adds what only grows in `gone`; what goes up and down is over.
    fn fold(&self, gone: &Self);
}

impl Fold for RouteCounters {
    fn fold(&self, gone: &Self) {
        self.classes.iter().zip(&gone.classes).for_each(|(mine, theirs)| mine.add(theirs.get()));
        if let Some(theirs) = gone.grpc.get() {
            let mine = self.grpc.get_or_init(Box::default);
            mine.iter().zip(theirs.iter()).for_each(|(mine, theirs)| mine.add(theirs.get()));
        }
        if let Some(theirs) = gone.faults.get() {
            let mine = self.faults.get_or_init(Box::default);
            mine.iter().zip(theirs.iter()).for_each(|(mine, theirs)| mine.add(theirs.get()));
        }
        self.request_bytes.add(gone.request_bytes.get());
        self.response_bytes.add(gone.response_bytes.get());
        self.shed.add(gone.shed.get());
        self.duration.fold(&gone.duration);
    }
}

impl Fold for ServiceCounters {
    fn fold(&self, gone: &Self) {
        self.requests.add(gone.requests.get());
        self.connects.add(gone.connects.get());
        self.connect_failures.add(gone.connect_failures.get());
        self.reuses.add(gone.reuses.get());
        self.retries.fold(&gone.retries);
        self.pings_unanswered.add(gone.pings_unanswered.get());
        self.response_head.fold(&gone.response_head);
        if let Some(theirs) = gone.breaking_seen() {
            self.breaking().fold(theirs);
        }
        self.picks.fold(&gone.picks);
    }
}

impl Fold for ListenerCounters {
    fn fold(&self, gone: &Self) {
        self.accepted.add(gone.accepted.get());
        self.requests.add(gone.requests.get());
        self.refused.add(gone.refused.get());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reason::Reason;

    #[test]
    fn statuses_count_in_their_class() {
        let counters = RouteCounters::default();
        for status in [101, 200, 204, 308, 404, 499, 503, 0, 700] {
            counters.record(status, 1, 10, 100);
        }
        assert_eq!(counters.classes(), [2, 2, 1, 2, 2]);
        assert_eq!((counters.request_bytes.get(), counters.response_bytes.get()), (90, 900));
    }

    #[test]
    fn reasons_are_told_apart_by_name_and_status() {
        let counts = ReasonCounts::default();
        counts.count("bad_chunk_size", 400);
        counts.count("bad_chunk_size", 502);
        counts.count("bad_chunk_size", 502);
        assert_eq!(
            counts.iter().collect::<Vec<_>>(),
            [(("bad_chunk_size", 400), 1), (("bad_chunk_size", 502), 2)]
        );
    }

    #[test]
    fn more_reasons_than_places_count_as_others() {
        let counts = ReasonCounts::default();
        for status in 0..REASONS_MAX as u16 + 3 {
            counts.count("x", status);
        }
        assert_eq!(counts.iter().last(), Some((("other", 0), 3)));
        assert!(
            Reason::ALL.len() * 3 < REASONS_MAX,
            "each of ours, and the codec's for both sides, finds a place"
        );
    }

    #[test]
    fn workers_never_share_a_cache_line() {
        for align in [
            align_of::<WorkerStats>(),
            align_of::<RouteCounters>(),
            align_of::<ServiceCounters>(),
            align_of::<ListenerCounters>(),
        ] {
            assert_eq!(align, 128);
        }
        assert!(size_of::<RouteCounters>() <= 256, "ten thousand routes stay small");
    }

    #[test]
    fn what_is_listed_has_distinct_names_in_a_fixed_order() {
        let stats = WorkerStats::default();
        stats.exchanges_started.add(3);
        stats.exchanges_ended.add(1);
        let listed = stats.listed();
        assert_eq!(listed[0], ("exchanges_active", 2));
        let names: std::collections::HashSet<_> = listed.iter().map(|(name, _)| name).collect();
        assert_eq!(names.len(), listed.len());
    }
}
