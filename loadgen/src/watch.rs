//! What another process uses while load is on it, from `/proc`.

use std::path::PathBuf;

use crate::report::model::{WatchSample, Watched};

/// Ticks a second in `/proc/PID/stat`: USER_HZ, which Linux has fixed for programs on every architecture Rust knows.
const TICKS: f64 = 100.0;

/// A process that is watched.
pub struct Watch {
    pid: u32,
    name: String,
    before: Seen,
    last: Seen,
    samples: Vec<WatchSample>,
}

/// What was seen of it at one moment.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    /// CPU seconds of its threads, to the nanosecond; those of ended threads are not in it.
    exact_s: f64,
    /// CPU seconds of all it ever ran, in hundredths.
    user_s: f64,
    system_s: f64,
    rss_bytes: u64,
    rss_peak_bytes: u64,
    voluntary: u64,
    involuntary: u64,
}

impl Watch {
    /// Finds the process.
    pub fn open(pid: u32) -> Result<Watch, String> {
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm"))
            .map_err(|error| format!("--watch-pid {pid}: no such process can be seen ({error})"))?;
        let name = name.trim().to_owned();
        Ok(Watch { pid, name, before: Seen::default(), last: Seen::default(), samples: Vec::new() })
    }

    /// The measured part begins.
    pub fn begin(&mut self) {
        self.before = see(self.pid).unwrap_or_default();
        self.last = self.before;
    }

    /// Another second has passed, `at_s` after the begin.
    pub fn sample(&mut self, at_s: f64) {
        // A process that has ended keeps what was last seen of it.
        if let Some(seen) = see(self.pid) {
            self.last = seen;
            let cpu_s = self.cpu_s();
            self.samples.push(WatchSample { at_s, cpu_s, rss_bytes: seen.rss_bytes });
        }
    }

    /// The measured part is over, with so many requests answered.
    pub fn end(&mut self, requests: u64) -> Watched {
        if let Some(seen) = see(self.pid) {
            self.last = seen;
        }
        let (before, last) = (self.before, self.last);
        let (user, system) = (last.user_s - before.user_s, last.system_s - before.system_s);
        let all = self.cpu_s();
        let user_share = if user + system > 0.0 { user / (user + system) } else { 0.0 };
        Watched {
            pid: self.pid,
            name: self.name.clone(),
            user_s: all * user_share,
            system_s: all * (1.0 - user_share),
            cpu_us_per_request: if requests > 0 { all * 1e6 / requests as f64 } else { 0.0 },
            rss_bytes: last.rss_bytes,
            rss_peak_bytes: last.rss_peak_bytes,
            voluntary_switches: last.voluntary.saturating_sub(before.voluntary),
            involuntary_switches: last.involuntary.saturating_sub(before.involuntary),
            samples: std::mem::take(&mut self.samples),
        }
    }

    /// CPU seconds since the begin: exact, unless threads that ended took more with them than ticks round off.
    fn cpu_s(&self) -> f64 {
        let exact = self.last.exact_s - self.before.exact_s;
        let ticked = self.last.user_s + self.last.system_s - self.before.user_s - self.before.system_s;
        if ticked > exact + 4.0 / TICKS { ticked } else { exact.max(0.0) }
    }
}

fn see(pid: u32) -> Option<Seen> {
    let folder = PathBuf::from(format!("/proc/{pid}"));
    let stat = std::fs::read_to_string(folder.join("stat")).ok()?;
    // Behind the name, which may hold anything, in brackets: state is field 3, utime 14, stime 15.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0) / TICKS;
    let status = std::fs::read_to_string(folder.join("status")).ok()?;
    let mut seen = Seen {
        user_s: ticks(11),
        system_s: ticks(12),
        rss_bytes: number(&status, "VmRSS:") * 1024,
        rss_peak_bytes: number(&status, "VmHWM:") * 1024,
        ..Seen::default()
    };
    for task in std::fs::read_dir(folder.join("task")).ok()?.flatten() {
        let read = |name: &str| std::fs::read_to_string(task.path().join(name)).unwrap_or_default();
        let ran_ns = read("schedstat").split_ascii_whitespace().next().and_then(|ns| ns.parse::<u64>().ok());
        seen.exact_s += ran_ns.unwrap_or(0) as f64 / 1e9;
        let status = read("status");
        seen.voluntary += number(&status, "voluntary_ctxt_switches:");
        seen.involuntary += number(&status, "nonvoluntary_ctxt_switches:");
    }
    Some(seen)
}

fn number(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_ascii_whitespace().next()?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_process_is_seen_to_be_busy() {
        let mut watch = Watch::open(std::process::id()).unwrap();
        watch.begin();
        let begun = std::time::Instant::now();
        while begun.elapsed().as_millis() < 120 {
            std::hint::spin_loop();
        }
        watch.sample(0.12);
        let watched = watch.end(1000);
        let cpu_s = watched.user_s + watched.system_s;
        assert!((0.02..5.0).contains(&cpu_s), "{watched:?}");
        assert!(watched.rss_bytes > 100_000 && watched.rss_peak_bytes >= watched.rss_bytes);
        assert!((watched.cpu_us_per_request - cpu_s * 1000.0).abs() < 1.0);
    }

    #[test]
    fn a_process_that_is_not_there_is_said_so() {
        assert!(Watch::open(u32::MAX).err().unwrap().contains("no such process"));
    }
}
