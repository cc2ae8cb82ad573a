//! What another process uses while it is measured: CPU time, memory, context switches, from `/proc`.
//!
//! Invariant: figures only grow, and a process that ends keeps those it was last seen with. Its id is never confused
//! with a later process of the same id: the time of its start goes with it.

use std::collections::HashMap;

use crate::report::model::{WatchSample, Watched};

/// A process being watched.
#[derive(Debug)]
pub struct Watch {
    pid: u32,
    name: String,
    /// In ticks since boot.
    started: u64,
    tasks: Tasks,
    base: Usage,
    last: Usage,
    ended: bool,
    samples: Vec<WatchSample>,
}

impl Watch {
    /// Begins to watch; an error if there is no such process.
    pub fn open(pid: u32) -> Result<Watch, String> {
        let stat = read_stat(pid).ok_or_else(|| {
            format!("there is no process {pid}: give the id of a running one, such as `pgrep NAME` shows")
        })?;
        if stat.ended {
            return Err(format!("process {pid} ({}) has ended and only waits for its parent", stat.name));
        }
        let mut watch = Watch {
            pid,
            name: stat.name,
            started: stat.started,
            tasks: Tasks::default(),
            base: Usage::default(),
            last: Usage::default(),
            ended: false,
            samples: Vec::new(),
        };
        watch.begin();
        Ok(watch)
    }

    /// The measured part begins now: what was used before does not count.
    pub fn begin(&mut self) {
        self.look();
        self.base = self.last;
        self.samples.clear();
    }

    /// Takes a sample, `at_s` seconds after the measured part began. None is taken of a process that has ended.
    pub fn sample(&mut self, at_s: f64) {
        self.look();
        if !self.ended && self.samples.len() < MAX_SAMPLES {
            let cpu_s = self.used().cpu_s;
            self.samples.push(WatchSample { at_s, cpu_s, rss_bytes: self.last.rss_bytes });
        }
    }

    /// What the reader of the report should know: that the process has ended, if it has. Ask before [`Watch::end`].
    pub fn note(&mut self) -> Option<String> {
        self.look();
        let Watch { pid, name, .. } = self;
        self.ended.then(|| {
            format!("the watched process {pid} ({name}) ended during the run: its figures are those it was last seen with")
        })
    }

    /// The measured part has ended, with that many requests answered in it.
    pub fn end(mut self, answered: u64) -> Watched {
        self.look();
        let used = self.used();
        Watched {
            pid: self.pid,
            name: self.name,
            user_s: used.cpu_s * used.user_share,
            system_s: used.cpu_s * (1.0 - used.user_share),
            cpu_us_per_request: if answered == 0 { 0.0 } else { used.cpu_s * 1e6 / answered as f64 },
            rss_bytes: self.last.rss_bytes,
            rss_peak_bytes: self.last.rss_peak_bytes,
            voluntary_switches: self.last.task.voluntary.saturating_sub(self.base.task.voluntary),
            involuntary_switches: self.last.task.involuntary.saturating_sub(self.base.task.involuntary),
            samples: self.samples,
        }
    }

    /// Reads all figures, unless the process has ended.
    fn look(&mut self) {
        if self.ended {
            return;
        }
        let Some(stat) = read_stat(self.pid).filter(|stat| stat.started == self.started) else {
            self.ended = true;
            return;
        };
        self.last.user_ticks = self.last.user_ticks.max(stat.user_ticks);
        self.last.system_ticks = self.last.system_ticks.max(stat.system_ticks);
        self.ended = stat.ended;
        // One that ended and was not yet waited for still tells its CPU time, but nothing else.
        if !self.ended {
            self.last.task = self.tasks.look(self.pid);
            let status = read(&format!("/proc/{}/status", self.pid));
            let kib = |name| status.as_deref().and_then(|text| field(text, name)).map(|kib| kib * 1024);
            self.last.rss_bytes = kib("VmRSS:").unwrap_or(self.last.rss_bytes);
            self.last.rss_peak_bytes = kib("VmHWM:").unwrap_or(self.last.rss_peak_bytes);
        }
    }

    fn used(&self) -> Used {
        used(&self.base, &self.last)
    }
}

/// What was used until one moment.
#[derive(Clone, Copy, Debug, Default)]
struct Usage {
    user_ticks: u64,
    system_ticks: u64,
    task: Task,
    rss_bytes: u64,
    rss_peak_bytes: u64,
}

/// CPU seconds between two moments, and the part of them in user space.
#[derive(Debug, PartialEq)]
struct Used {
    cpu_s: f64,
    user_share: f64,
}

/// The scheduler's own sum is exact to the nanosecond but misses threads that ended unseen; ticks miss nothing but are
/// rounded, twice. So the sum holds unless ticks exceed it by more than rounding can.
fn used(from: &Usage, to: &Usage) -> Used {
    let user = to.user_ticks.saturating_sub(from.user_ticks);
    let system = to.system_ticks.saturating_sub(from.system_ticks);
    let exact_s = to.task.cpu_ns.saturating_sub(from.task.cpu_ns) as f64 / 1e9;
    let rounded_s = (user + system) as f64 / TICKS_PER_S;
    let cpu_s = if rounded_s > exact_s + 2.0 / TICKS_PER_S { rounded_s } else { exact_s };
    // Too short for ticks: the share of its whole life is the best guess.
    let (user, system) = if user + system > 0 { (user, system) } else { (to.user_ticks, to.system_ticks) };
    let user_share = if user + system == 0 { 1.0 } else { user as f64 / (user + system) as f64 };
    Used { cpu_s, user_share }
}

/// What one thread used, or all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Task {
    cpu_ns: u64,
    voluntary: u64,
    involuntary: u64,
}

impl std::ops::AddAssign for Task {
    fn add_assign(&mut self, other: Task) {
        self.cpu_ns = self.cpu_ns.saturating_add(other.cpu_ns);
        self.voluntary = self.voluntary.saturating_add(other.voluntary);
        self.involuntary = self.involuntary.saturating_add(other.involuntary);
    }
}

/// The threads of a process, with those that ended as they were last seen.
#[derive(Debug, Default)]
struct Tasks {
    live: HashMap<u32, Task>,
    ended: Task,
}

impl Tasks {
    fn look(&mut self, pid: u32) -> Task {
        let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        let ids =
            threads.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()).take(MAX_THREADS);
        self.update(ids.map(|id| (id, read_task(pid, id))).collect())
    }

    /// Takes the threads there are now; returns the sum over all there ever were.
    fn update(&mut self, now: HashMap<u32, Task>) -> Task {
        for (id, before) in std::mem::replace(&mut self.live, now) {
            // A thread that used less than before is another one with the same id.
            if self.live.get(&id).is_none_or(|task| task.cpu_ns < before.cpu_ns) {
                self.ended += before;
            }
        }
        let mut sum = self.ended;
        self.live.values().for_each(|task| sum += *task);
        sum
    }
}

fn read_task(pid: u32, id: u32) -> Task {
    let schedstat = read(&format!("/proc/{pid}/task/{id}/schedstat")).unwrap_or_default();
    let status = read(&format!("/proc/{pid}/task/{id}/status")).unwrap_or_default();
    Task {
        cpu_ns: schedstat.split_whitespace().next().and_then(|ns| ns.parse().ok()).unwrap_or(0),
        voluntary: field(&status, "voluntary_ctxt_switches:").unwrap_or(0),
        involuntary: field(&status, "nonvoluntary_ctxt_switches:").unwrap_or(0),
    }
}

/// What `/proc/PID/stat` says.
#[derive(Debug, PartialEq)]
struct Stat {
    name: String,
    /// A zombie.
    ended: bool,
    user_ticks: u64,
    system_ticks: u64,
    started: u64,
}

fn read_stat(pid: u32) -> Option<Stat> {
    stat(&read(&format!("/proc/{pid}/stat"))?)
}

/// The name stands in parentheses and may hold any character, parentheses and spaces included: it ends at the last.
fn stat(text: &str) -> Option<Stat> {
    let (before, after) = text.rsplit_once(')')?;
    let fields: Vec<&str> = after.split_whitespace().collect();
    // The fields are those of proc(5), which counts from 1 and has the state as number 3.
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    Some(Stat {
        name: before.split_once('(')?.1.to_owned(),
        ended: matches!(*fields.first()?, "Z" | "X" | "x"),
        user_ticks: number(14)?,
        system_ticks: number(15)?,
        started: number(22)?,
    })
}

/// The number in the line that begins with `name`.
fn field(status: &str, name: &str) -> Option<u64> {
    status.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

fn read(path: &str) -> Option<String> {
    // A process may choose its name as it likes, so it need not be UTF-8.
    std::fs::read(path).ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// `USER_HZ`: part of the kernel's interface and 100 on each architecture Ringway runs on, whatever `HZ` is.
const TICKS_PER_S: f64 = 100.0;
/// More than a day of seconds.
const MAX_SAMPLES: usize = 100_000;
/// Threads looked at. The time of those beyond comes from the ticks; their switches are not counted.
const MAX_THREADS: usize = 4096;

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn the_own_process_is_seen_at_work() {
        let mut watch = Watch::open(std::process::id()).unwrap();
        watch.begin();
        let began = Instant::now();
        // Of a thread that ends before the end: its time counts all the same.
        let worker = std::thread::spawn(move || while began.elapsed() < Duration::from_millis(300) {});
        std::thread::sleep(Duration::from_millis(150));
        watch.sample(0.15);
        worker.join().unwrap();
        assert_eq!(watch.note(), None);
        let watched = watch.end(1000);
        let cpu_s = watched.user_s + watched.system_s;
        assert!(cpu_s > 0.02, "{watched:?}");
        assert!((watched.cpu_us_per_request - cpu_s * 1000.0).abs() < 1e-6);
        assert!(watched.rss_bytes > 100_000 && watched.rss_peak_bytes >= watched.rss_bytes);
        assert!(watched.voluntary_switches >= 1, "{watched:?}");
        assert_eq!(watched.samples.len(), 1);
        assert!(watched.samples[0].rss_bytes > 100_000 && watched.samples[0].cpu_s <= cpu_s);
        assert!(!watched.name.is_empty());
    }

    #[test]
    fn a_process_that_is_not_there_is_an_error() {
        for pid in [0, u32::MAX] {
            assert!(Watch::open(pid).unwrap_err().contains("no process"));
        }
    }

    #[test]
    fn a_process_that_ends_leaves_a_note_and_its_last_figures() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let mut watch = Watch::open(child.id()).unwrap();
        watch.begin();
        watch.sample(1.0);
        child.kill().unwrap();
        child.wait().unwrap();
        watch.sample(2.0);
        assert!(watch.note().unwrap().contains("ended during the run"));
        let watched = watch.end(0);
        assert_eq!((watched.samples.len(), watched.cpu_us_per_request), (1, 0.0));
        assert!(watched.rss_bytes > 0);
    }

    #[test]
    fn a_hostile_name_does_not_shift_the_fields() {
        let text = "7 (a) R 1 (b) S 1 7 7 0 -1 0 0 0 0 0 40 2 0 0 20 0 1 0 12345 0 0";
        let read = stat(text).unwrap();
        assert_eq!((read.name.as_str(), read.user_ticks, read.system_ticks), ("a) R 1 (b", 40, 2));
        assert_eq!((read.started, read.ended), (12345, false));
        assert_eq!(stat("7 (a) S 1"), None);
        assert_eq!(stat(""), None);
    }

    #[test]
    fn threads_that_ended_keep_what_they_used() {
        let task = |cpu_ns| Task { cpu_ns, voluntary: 1, involuntary: 0 };
        let mut tasks = Tasks::default();
        assert_eq!(tasks.update(HashMap::from([(1, task(5)), (2, task(7))])).cpu_ns, 12);
        assert_eq!(tasks.update(HashMap::from([(1, task(6))])).cpu_ns, 13);
        // The id of an ended thread is given to a new one.
        assert_eq!(tasks.update(HashMap::from([(1, task(2)), (2, task(1))])).cpu_ns, 16);
    }

    #[test]
    fn the_exact_sum_holds_unless_ticks_show_that_it_misses_threads() {
        let to = |user_ticks, system_ticks, cpu_ns| Usage {
            user_ticks,
            system_ticks,
            task: Task { cpu_ns, ..Task::default() },
            ..Usage::default()
        };
        let none = Usage::default();
        assert_eq!(used(&none, &to(3, 1, 35_000_000)), Used { cpu_s: 0.035, user_share: 0.75 });
        assert_eq!(used(&none, &to(60, 40, 500_000_000)), Used { cpu_s: 1.0, user_share: 0.6 });
        assert_eq!(used(&none, &none), Used { cpu_s: 0.0, user_share: 1.0 });
    }
}
