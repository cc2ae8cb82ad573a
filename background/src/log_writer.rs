//! Access log lines, from the workers' rings to stdout or a file, on a thread of its own.
//!
//! Invariant: a worker never waits for this thread; when it is slow (a stuck pipe, a full disk) rings fill and the
//! workers drop lines. Lines that met a write error are dropped here and counted. What is in a ring is whole lines.
//! The thread is parked while the rings are empty and unparked by a worker that wrote into an empty one.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::AcqRel, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

use ringway_config::model::LogTo;
use rtrb::Consumer;

use crate::say;
use crate::status::metric;

/// After a wake, so that lines gather: one write for many, and workers wake an awake thread less often.
const GATHER: Duration = Duration::from_millis(2);
/// A park ends by itself after this long, should a wake ever be missed.
const PARK_MAX: Duration = Duration::from_secs(1);
/// Between complaints.
const COMPLAIN_EVERY: Duration = Duration::from_secs(1);

/// The thread's handle. Dropping it lets the thread run on; [`LogWriter::finish`] ends it.
#[derive(Debug)]
pub struct LogWriter {
    control: LogControl,
    join: JoinHandle<()>,
}

/// Orders to the thread. Cheap to clone.
#[derive(Clone, Debug)]
pub struct LogControl {
    shared: Arc<Shared>,
    thread: Thread,
}

#[derive(Debug, Default)]
struct Shared {
    reopen: AtomicBool,
    stop: AtomicBool,
    redirect: Mutex<Option<LogTo>>,
    counts: LogCounts,
}

/// What the thread counts.
#[derive(Debug, Default)]
struct LogCounts {
    bytes: AtomicU64,
    errors: AtomicU64,
    lines_dropped: AtomicU64,
}

impl LogWriter {
    /// Starts the thread. A file that can't be opened is an error here, and only reported later.
    pub fn start(rings: Vec<Consumer<u8>>, to: LogTo) -> io::Result<LogWriter> {
        let sink = Sink::open(to)?;
        let shared = Arc::new(Shared::default());
        let writer = Writer { rings, sink, shared: Arc::clone(&shared) };
        let join = thread::Builder::new().name("ringway-log".into()).spawn(move || writer.run())?;
        let control = LogControl { shared, thread: join.thread().clone() };
        Ok(LogWriter { control, join })
    }

    /// For giving orders from elsewhere.
    pub fn control(&self) -> &LogControl {
        &self.control
    }

    /// Writes what is left, at most for `patience`: a stuck pipe must not keep the process alive.
    pub fn finish(self, patience: Duration) {
        self.control.shared.stop.store(true, Relaxed);
        self.control.thread.unpark();
        let deadline = Instant::now() + patience;
        while !self.join.is_finished() && Instant::now() < deadline {
            thread::sleep(GATHER);
        }
        if self.join.is_finished() {
            let _ = self.join.join();
        }
    }
}

impl LogControl {
    /// The thread to unpark when there are lines.
    pub fn thread(&self) -> Thread {
        self.thread.clone()
    }

    /// Opens the file anew, for it was moved away.
    pub fn reopen(&self) {
        self.shared.reopen.store(true, Relaxed);
        self.thread.unpark();
    }

    /// Writes somewhere else from now on.
    pub fn redirect(&self, to: LogTo) {
        *self.shared.redirect.lock().unwrap_or_else(PoisonError::into_inner) = Some(to);
        self.reopen();
    }

    /// Appends what is counted as Prometheus text.
    pub fn metrics(&self, out: &mut String) {
        self.shared.counts.metrics(out);
    }
}

impl LogCounts {
    fn metrics(&self, out: &mut String) {
        let rows = [
            ("ringway_access_log_bytes_total", "Bytes of access log written.", &self.bytes),
            ("ringway_access_log_write_errors_total", "Writes that failed.", &self.errors),
            (
                "ringway_access_log_write_lines_dropped_total",
                "Lines dropped because a write failed.",
                &self.lines_dropped,
            ),
        ];
        for (name, help, value) in rows {
            metric(out, name, "counter", help, value.load(Relaxed) as f64);
        }
    }
}

/// The thread itself.
struct Writer {
    rings: Vec<Consumer<u8>>,
    sink: Sink,
    shared: Arc<Shared>,
}

impl Writer {
    fn run(mut self) {
        loop {
            // Read before draining: what was written before the stop is still seen.
            let stop = self.shared.stop.load(Relaxed);
            self.obey();
            let wrote = self.drain();
            if stop {
                return;
            }
            if wrote {
                thread::sleep(GATHER);
            } else {
                thread::park_timeout(PARK_MAX);
            }
        }
    }

    fn obey(&mut self) {
        if !self.shared.reopen.swap(false, AcqRel) {
            return;
        }
        let redirect = self.shared.redirect.lock().unwrap_or_else(PoisonError::into_inner).take();
        let to = redirect.unwrap_or_else(|| self.sink.to.clone());
        self.sink.reopen(to, &self.shared.counts);
    }

    /// One round over the rings. Whether there was anything.
    fn drain(&mut self) -> bool {
        let mut wrote = false;
        for ring in &mut self.rings {
            let Ok(chunk) = ring.read_chunk(ring.slots()) else { continue };
            if chunk.is_empty() {
                continue;
            }
            wrote = true;
            let (first, second) = chunk.as_slices();
            self.sink.write([first, second], &self.shared.counts);
            chunk.commit_all();
        }
        wrote
    }
}

/// Where lines go, and whether the last of them ended.
struct Sink {
    to: LogTo,
    out: File,
    /// A write failed within a line: the next one must not be glued to its beginning.
    broken_line: bool,
    complained: Option<Instant>,
}

impl Sink {
    fn open(to: LogTo) -> io::Result<Sink> {
        let out = open(&to)?;
        Ok(Sink { to, out, broken_line: false, complained: None })
    }

    /// Keeps what is open when the new one can't be opened.
    fn reopen(&mut self, to: LogTo, counts: &LogCounts) {
        match Sink::open(to.clone()) {
            Ok(sink) => *self = sink,
            Err(error) => self.complain("opened", &to, &error, counts),
        }
    }

    fn write(&mut self, slices: [&[u8]; 2], counts: &LogCounts) {
        match self.try_write(slices) {
            Ok(()) => {
                counts.bytes.fetch_add(slices.iter().map(|slice| slice.len() as u64).sum(), Relaxed);
            }
            Err(error) => {
                counts.lines_dropped.fetch_add(lines(slices), Relaxed);
                self.broken_line = true;
                let to = self.to.clone();
                self.complain("written", &to, &error, counts);
            }
        }
    }

    fn try_write(&mut self, slices: [&[u8]; 2]) -> io::Result<()> {
        if self.broken_line {
            self.out.write_all(b"\n")?;
            self.broken_line = false;
        }
        slices.iter().try_for_each(|slice| self.out.write_all(slice))
    }

    fn complain(&mut self, verb: &str, to: &LogTo, error: &io::Error, counts: &LogCounts) {
        counts.errors.fetch_add(1, Relaxed);
        let now = Instant::now();
        if self.complained.is_none_or(|last| now.duration_since(last) >= COMPLAIN_EVERY) {
            self.complained = Some(now);
            say::error(format_args!("the access log ({}) could not be {verb}: {error}", place(to)));
        }
    }
}

/// Stdout is taken past its buffer in `std`: lines are gathered here already, and a failed write must leave nothing.
fn open(to: &LogTo) -> io::Result<File> {
    match to {
        LogTo::Stdout => io::stdout().as_fd().try_clone_to_owned().map(File::from),
        LogTo::File(path) => OpenOptions::new().append(true).create(true).mode(0o640).open(path),
    }
}

fn place(to: &LogTo) -> String {
    match to {
        LogTo::Stdout => "stdout".to_owned(),
        LogTo::File(path) => path.display().to_string(),
    }
}

fn lines(slices: [&[u8]; 2]) -> u64 {
    slices.iter().flat_map(|slice| slice.iter()).filter(|byte| **byte == b'\n').count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use rtrb::{Producer, RingBuffer};
    use std::fs;
    use std::path::Path;

    const PATIENCE: Duration = Duration::from_secs(5);

    fn log(path: &Path) -> (Producer<u8>, LogWriter) {
        let (lines, ring) = RingBuffer::new(64);
        let writer = LogWriter::start(vec![ring], LogTo::File(path.to_owned())).expect("a writer");
        (lines, writer)
    }

    fn write(lines: &mut Producer<u8>, writer: &LogWriter, line: &str) {
        let deadline = Instant::now() + PATIENCE;
        while lines.push_entire_slice(line.as_bytes()).is_err() {
            assert!(Instant::now() < deadline, "the ring is never drained");
            thread::sleep(GATHER);
        }
        writer.control().thread().unpark();
    }

    fn wait_for(path: &Path, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        while fs::read_to_string(path).unwrap_or_default() != text {
            assert!(Instant::now() < deadline, "{path:?} never reads {text:?}");
            thread::sleep(GATHER);
        }
    }

    #[test]
    fn lines_that_wrap_around_the_ring_arrive_whole_and_in_order() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("access.log");
        let (mut lines, writer) = log(&path);
        let expected: String = (0..50).map(|n| format!("line {n} of fifty\n")).collect();
        expected.split_inclusive('\n').for_each(|line| write(&mut lines, &writer, line));
        writer.finish(PATIENCE);
        assert_eq!(fs::read_to_string(&path).expect("a log"), expected);
    }

    #[test]
    fn a_moved_file_is_made_anew_when_asked() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, moved) = (folder.path().join("access.log"), folder.path().join("access.log.1"));
        let (mut lines, writer) = log(&path);
        write(&mut lines, &writer, "old\n");
        wait_for(&path, "old\n");
        fs::rename(&path, &moved).expect("moved");
        writer.control().reopen();
        wait_for(&path, "");
        write(&mut lines, &writer, "new\n");
        wait_for(&path, "new\n");
        assert_eq!(fs::read_to_string(&moved).expect("a log"), "old\n");
        writer.finish(PATIENCE);
    }

    #[test]
    fn a_full_disk_costs_lines_and_is_counted_but_blocks_nobody() {
        let (mut lines, writer) = log(Path::new("/dev/full"));
        write(&mut lines, &writer, "lost\n");
        let control = writer.control().clone();
        writer.finish(PATIENCE);
        let mut text = String::new();
        control.metrics(&mut text);
        assert!(text.contains("ringway_access_log_write_errors_total 1\n"), "{text}");
        assert!(text.contains("ringway_access_log_write_lines_dropped_total 1\n"), "{text}");
    }
}
