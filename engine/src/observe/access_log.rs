//! The way of log lines off a worker: a bounded ring of bytes to the writer's thread.
//!
//! Invariant: a line is pushed whole or not at all, so the ring holds whole lines; and a worker never waits. The
//! writer is unparked only by a line that finds the ring empty: after that it keeps emptying the ring until it finds
//! nothing, so under load almost no line makes a system call. `rtrb` publishes with a store and no fence; should a
//! line slip in just as the writer parks, the next one or the end of its bounded park finds it.

use std::sync::{Arc, OnceLock};
use std::thread::Thread;

use rtrb::{Consumer, Producer, RingBuffer};

use super::record::{CarriedRecord, LineFormat, LineWriter, Record};
use super::stats::WorkerStats;

/// One worker's end.
#[derive(Debug)]
pub struct AccessLog {
    writer: LineWriter,
    /// Used for every line; grows to the longest.
    line: Vec<u8>,
    ring: Producer<u8>,
    capacity: usize,
    wake: LogWake,
}

/// The thread that empties the rings, once it has made itself known. Cheap to clone; shared by all workers.
#[derive(Clone, Debug, Default)]
pub struct LogWake(Arc<OnceLock<Thread>>);

impl LogWake {
    /// This is the thread. The first one counts.
    pub fn register(&self, thread: Thread) {
        let _ = self.0.set(thread);
    }

    fn wake(&self) {
        if let Some(thread) = self.0.get() {
            thread.unpark();
        }
    }
}

impl AccessLog {
    /// A ring of `ring_bytes` and the writer's end of it.
    pub fn new(format: LineFormat, ring_bytes: usize, wake: LogWake) -> (Self, Consumer<u8>) {
        let (ring, consumer) = RingBuffer::new(ring_bytes);
        let writer = LineWriter::new(format);
        (
            Self { writer, line: Vec::with_capacity(LINE_BYTES_USUAL), ring, capacity: ring_bytes, wake },
            consumer,
        )
    }

    /// Lines are of another form from now on.
    pub fn set_format(&mut self, format: LineFormat) {
        self.writer = LineWriter::new(format);
    }

    /// Logs one exchange, or drops it where the ring has no room. Counts either.
    pub fn log(&mut self, record: &Record<'_>, stats: &WorkerStats) {
        self.line.clear();
        self.writer.put(&mut self.line, record);
        self.push(stats);
    }

    /// The same of a connection's bytes or a session's datagrams.
    pub fn log_carried(&mut self, record: &CarriedRecord<'_>, stats: &WorkerStats) {
        self.line.clear();
        self.writer.put_carried(&mut self.line, record);
        self.push(stats);
    }

    fn push(&mut self, stats: &WorkerStats) {
        let was_empty = self.ring.slots() == self.capacity;
        if self.ring.push_entire_slice(&self.line).is_err() {
            stats.access_log_dropped.increment();
            return;
        }
        stats.access_log_lines.increment();
        if was_empty {
            self.wake.wake();
        }
    }
}

/// What most lines fit in.
const LINE_BYTES_USUAL: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    fn taken(ring: &mut Consumer<u8>) -> String {
        let mut bytes = vec![0; ring.slots()];
        ring.pop_entire_slice(&mut bytes).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn lines_arrive_whole_and_in_order() {
        let stats = WorkerStats::default();
        let (mut log, mut ring) = AccessLog::new(LineFormat::Json, 4096, LogWake::default());
        for status in [200, 404] {
            log.log(&Record { status, ..Record::default() }, &stats);
        }
        let text = taken(&mut ring);
        let statuses: Vec<_> = text
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["status"].as_u64().unwrap())
            .collect();
        assert_eq!(statuses, [200, 404]);
        assert_eq!(stats.access_log_lines.get(), 2);
    }

    #[test]
    fn a_line_that_does_not_fit_is_dropped_whole_and_counted() {
        let stats = WorkerStats::default();
        let (mut log, mut ring) = AccessLog::new(LineFormat::Common, 200, LogWake::default());
        for _ in 0..50 {
            log.log(&Record::default(), &stats);
            log.log(&Record { user_agent: &[b'x'; 300], ..Record::default() }, &stats);
        }
        let text = taken(&mut ring);
        let kept = text.lines().count() as u64;
        assert!(kept > 0 && text.ends_with('\n'));
        assert!(text.lines().all(|line| line.starts_with("- - - [") && line.ends_with(" - - 0.000")));
        assert_eq!((stats.access_log_lines.get(), stats.access_log_dropped.get()), (kept, 100 - kept));
        log.log(&Record::default(), &stats);
        assert!(taken(&mut ring).ends_with('\n'), "an emptied ring takes lines again");
    }

    #[test]
    fn the_writer_is_woken_by_the_first_line_only() {
        let stats = WorkerStats::default();
        let wake = LogWake::default();
        wake.register(std::thread::current());
        let (mut log, mut ring) = AccessLog::new(LineFormat::Common, 4096, wake);
        let parks = |long: Duration| {
            let start = Instant::now();
            std::thread::park_timeout(long);
            start.elapsed() >= long
        };
        log.log(&Record::default(), &stats);
        assert!(!parks(Duration::from_secs(5)), "woken at once");
        log.log(&Record::default(), &stats);
        assert!(parks(Duration::from_millis(20)), "not again while lines are left");
        taken(&mut ring);
        log.log(&Record::default(), &stats);
        assert!(!parks(Duration::from_secs(5)), "again once they were taken");
    }
}
