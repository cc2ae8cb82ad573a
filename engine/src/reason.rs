//! Why an exchange ended other than by the upstream's own answer, and with which status: the one place that says so.
//!
//! The name is for machines and never changes: it stands in the access log, in metrics and in the local reply, so
//! that "why did I get a 503" has one answer. What the codec refuses has names of its own (`http1::Refusal`); both
//! meet in [`crate::local_reply::LocalReply`]. On the line: wherever it is left early, read by `respond` and `observe`.

macro_rules! reasons {
    ($($(#[$section:meta])* $name:ident, $status:literal, $reason:literal, $detail:literal;)*) => {
        /// Why an exchange ended here.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Reason {
            $(#[doc = $detail] $name,)*
        }

        impl Reason {
            /// Every reason.
            pub const ALL: &'static [Reason] = &[$(Reason::$name,)*];

            /// Its name: snake_case, stable.
            pub const fn name(self) -> &'static str {
                match self { $(Reason::$name => $reason,)* }
            }

            /// The status sent where no response head was, and logged.
            pub const fn status(self) -> u16 {
                match self { $(Reason::$name => $status,)* }
            }

            /// One sentence for a person.
            pub const fn detail(self) -> &'static str {
                match self { $(Reason::$name => $detail,)* }
            }
        }
    };
}

reasons! {
    // Answers that were configured, not failures. A route's `respond` and `redirect` bring their own status.
    Responded, 200, "responded", "The route answers by itself.";
    Redirected, 308, "redirected", "The route redirects.";
    OptionsAnswered, 204, "options_answered", "OPTIONS was for this hop: the target is * or Max-Forwards is 0.";
    TraceAnswered, 200, "trace_answered", "TRACE was for this hop: Max-Forwards is 0.";
    FaultInjected, 503, "fault_injected", "The route answers with an error on purpose, for a while.";
    ChallengeAnswered, 200, "challenge_answered", "An authority looked for the proof of a name (ACME).";

    // The request does not fit the configuration.
    RouteNotFound, 404, "route_not_found", "No route matches this host and path.";
    MethodNotAllowed, 405, "method_not_allowed", "No route matches this method; Allow lists those that would.";
    ConnectNotAllowed, 405, "connect_not_allowed", "CONNECT is not allowed on this listener.";
    UpgradeNotAllowed, 501, "upgrade_not_allowed", "The protocol asked for is not one that is switched to here.";
    TraceNotAllowed, 405, "trace_not_allowed", "TRACE is not allowed on this listener.";
    EncodedSlash, 400, "encoded_slash", "The route does not allow encoded slashes in its path.";
    RewriteInvalid, 500, "rewrite_invalid", "The route rewrites this path to one that has no canonical form.";
    LoopDetected, 508, "loop_detected", "The request has been through this proxy too often.";

    // Too many requests.
    RateLimited, 429, "rate_limited", "More requests than the route allows in this time.";
    ConcurrencyLimited, 429, "concurrency_limited", "More requests at once than the route allows.";

    // The client's side: too slow, too much, or gone.
    HeadTimeout, 408, "head_timeout", "The request's head did not arrive in time.";
    BodyRateTooLow, 408, "body_rate_too_low", "The request's body arrives too slowly.";
    CallMalformed, 400, "call_malformed", "The body of the call is not what its content type says.";
    BodyTooLarge, 413, "body_too_large", "The request's body is larger than allowed.";
    ResponseRateTooLow, 499, "response_rate_too_low", "The client took the response too slowly.";
    ClientGone, 499, "client_gone", "The client closed the connection before the response was complete.";

    // No way to an upstream.
    NoEndpoint, 503, "no_endpoint", "The service has no endpoint that can be used now.";
    Unresolved, 503, "unresolved", "The names of the service's endpoints have not been resolved.";
    EmptySubset, 503, "empty_subset", "No endpoint of the service has the labels that the route asks for.";
    PoolFull, 503, "pool_full", "The limit of connections to the endpoint is reached.";
    BreakerRequests, 503, "breaker_requests", "The service has as many requests as it may.";
    BreakerEndpoints, 503, "breaker_endpoints", "Each endpoint of the service has as many requests as it may.";
    BreakerPending, 503, "breaker_pending", "As many requests as may wait for the service already.";
    BreakerWait, 503, "breaker_wait", "The request waited for its turn as long as it may.";
    FdLimit, 503, "fd_limit", "The limit of open files is reached.";
    UpstreamConnectRefused, 502, "upstream_connect_refused", "The endpoint refused the connection.";
    UpstreamConnectFailed, 502, "upstream_connect_failed", "The endpoint could not be reached.";
    UpstreamTlsFailed, 502, "upstream_tls_failed", "The TLS handshake with the endpoint failed.";
    UpstreamConnectTimeout, 504, "upstream_connect_timeout", "The endpoint did not accept the connection in time.";

    // The upstream's side, once connected.
    UpstreamReset, 502, "upstream_reset", "The endpoint reset the connection before its response was complete.";
    UpstreamClosed, 502, "upstream_closed", "The endpoint closed the connection before its response was complete.";
    UpstreamBadResponse, 502, "upstream_bad_response", "The endpoint's response breaks the rules of HTTP.";
    UpstreamHeadTooLarge, 502, "upstream_head_too_large", "The head of the endpoint's response is too large.";
    UpstreamBadUpgrade, 502, "upstream_bad_upgrade", "The endpoint switched to a protocol nobody asked for.";
    UpstreamStalled, 504, "upstream_stalled", "The endpoint stopped taking the request.";
    UpstreamHeadTimeout, 504, "upstream_head_timeout", "The endpoint did not begin its response in time.";
    UpstreamTryTimeout, 504, "upstream_try_timeout", "The endpoint did not begin its response in the time of one try.";
    UpstreamIdleTimeout, 504, "upstream_idle_timeout", "The endpoint fell silent within its response.";
    ExchangeTimeout, 504, "exchange_timeout", "The exchange took longer than the route allows.";

    // Ours.
    Overloaded, 503, "overloaded", "There is more to do than this proxy can; less important requests are turned away.";
    DrainCut, 503, "drain_cut", "The time to drain ran out before the exchange was complete.";
}

impl Reason {
    /// Whether nobody is there to read a reply, or the time for one is over: only logged and counted.
    pub const fn is_silent(self) -> bool {
        matches!(self, Self::ResponseRateTooLow | Self::ClientGone | Self::DrainCut)
    }

    /// Whether the connection is to be closed after the reply: the rest of the request can't be awaited.
    pub const fn closes(self) -> bool {
        matches!(
            self,
            Self::HeadTimeout
                | Self::BodyRateTooLow
                | Self::BodyTooLarge
                | Self::ConnectNotAllowed
                | Self::FdLimit
        ) || self.is_silent()
    }

    /// After how many seconds another try makes sense, where that is known without looking.
    pub const fn retry_after_s(self) -> Option<u32> {
        match self {
            Self::RateLimited
            | Self::ConcurrencyLimited
            | Self::NoEndpoint
            | Self::EmptySubset
            | Self::Unresolved
            | Self::PoolFull
            | Self::BreakerRequests
            | Self::BreakerEndpoints
            | Self::BreakerPending
            | Self::BreakerWait
            | Self::FdLimit
            | Self::Overloaded
            | Self::FaultInjected => Some(RETRY_AFTER_S),
            _ => None,
        }
    }
}

/// What Retry-After says where nothing better is known: an endpoint marked as refusing is tried again, a pool moves
/// on and a drained proxy is replaced within about this time.
pub const RETRY_AFTER_S: u32 = 1;

/// The reason phrase of a status (RFC 9110 §15 and the IANA registry); for others the name of their class.
pub const fn phrase(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        101 => "Switching Protocols",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        203 => "Non-Authoritative Information",
        204 => "No Content",
        205 => "Reset Content",
        206 => "Partial Content",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        425 => "Too Early",
        426 => "Upgrade Required",
        428 => "Precondition Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        451 => "Unavailable For Legal Reasons",
        499 => "Client Closed Request",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        507 => "Insufficient Storage",
        508 => "Loop Detected",
        511 => "Network Authentication Required",
        _ => match status / 100 {
            1 => "Informational",
            2 => "Successful",
            3 => "Redirection",
            4 => "Client Error",
            _ => "Server Error",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_distinct_snake_case() {
        for (place, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, place);
            let name = reason.name();
            assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{name}");
            assert!(Reason::ALL[place + 1..].iter().all(|other| other.name() != name), "{name} twice");
            assert!(reason.detail().ends_with('.'), "{name}");
        }
    }

    #[test]
    fn every_status_has_a_phrase_of_its_own() {
        for reason in Reason::ALL {
            assert!(!["Client Error", "Server Error"].contains(&phrase(reason.status())), "{reason:?}");
        }
        assert_eq!(phrase(299), "Successful");
        assert_eq!(phrase(599), "Server Error");
    }

    #[test]
    fn who_may_come_back_is_told_when() {
        for reason in Reason::ALL.iter().filter(|reason| !reason.is_silent()) {
            assert_eq!(reason.retry_after_s().is_some(), matches!(reason.status(), 429 | 503), "{reason:?}");
        }
    }

    #[test]
    fn sides_are_told_apart_by_status() {
        for reason in Reason::ALL.iter().filter(|reason| reason.name().starts_with("upstream_")) {
            let late = reason.name().contains("timeout") || *reason == Reason::UpstreamStalled;
            assert_eq!(reason.status(), if late { 504 } else { 502 }, "{reason:?}");
        }
        assert_eq!(Reason::ClientGone.status(), 499);
    }
}
