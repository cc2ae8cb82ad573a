//! What the kernel says about this process, under the names Prometheus clients customarily use.
//!
//! Read from /proc at each scrape. A number that can't be read is left out rather than shown as zero.

use std::fs;

use crate::status::metric;

/// Clock ticks a second in `/proc`, fixed at 100 for user space on Linux.
const TICKS: f64 = 100.0;

/// Appends the process metrics as Prometheus text.
pub(crate) fn metrics(out: &mut String) {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let boot = fs::read_to_string("/proc/stat").unwrap_or_default();
    let times = parse_times(&stat);
    let start = times.zip(boot_time(&boot)).map(|(times, boot)| boot + times.start);
    let rows = [
        ("process_cpu_seconds_total", "counter", "CPU time, user and kernel.", times.map(|t| t.cpu)),
        ("process_open_fds", "gauge", "Open file descriptors.", open_fds()),
        ("process_max_fds", "gauge", "How many may be open.", max_fds(&limits)),
        ("process_resident_memory_bytes", "gauge", "Resident memory.", kib(&status, "VmRSS:")),
        ("process_virtual_memory_bytes", "gauge", "Virtual memory.", kib(&status, "VmSize:")),
        ("process_threads", "gauge", "Threads.", field(&status, "Threads:")),
        ("process_start_time_seconds", "gauge", "When the process started, since the epoch.", start),
    ];
    for (name, kind, help, value) in rows {
        if let Some(value) = value {
            metric(out, name, kind, help, value);
        }
    }
}

/// Bytes of resident memory.
pub(crate) fn resident() -> Option<u64> {
    kib(&fs::read_to_string("/proc/self/status").ok()?, "VmRSS:").map(|bytes| bytes as u64)
}

/// Seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Times {
    cpu: f64,
    /// Since boot.
    start: f64,
}

/// proc_pid_stat(5). The second field, the name in parentheses, may itself hold spaces and parentheses.
fn parse_times(stat: &str) -> Option<Times> {
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let ticks = |index: usize| fields.get(index)?.parse::<f64>().ok();
    Some(Times { cpu: (ticks(11)? + ticks(12)?) / TICKS, start: ticks(19)? / TICKS })
}

fn boot_time(stat: &str) -> Option<f64> {
    field(stat, "btime")
}

fn kib(status: &str, name: &str) -> Option<f64> {
    field(status, name).map(|kib| kib * 1024.0)
}

fn field(text: &str, name: &str) -> Option<f64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_ascii_whitespace().next()?.parse().ok()
}

fn max_fds(limits: &str) -> Option<f64> {
    let rest = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    match rest.split_ascii_whitespace().next()? {
        "unlimited" => Some(f64::INFINITY),
        soft => soft.parse().ok(),
    }
}

/// Newer kernels (6.2) tell the number as the folder's size; older ones say 0 and are counted.
fn open_fds() -> Option<f64> {
    let told = fs::metadata("/proc/self/fd").ok()?.len();
    if told > 0 {
        return Some(told as f64);
    }
    fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_behind_a_name_with_parentheses() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 3 0 12345 1 2 3";
        assert_eq!(parse_times(stat), Some(Times { cpu: 3.0, start: 123.45 }));
        assert_eq!(parse_times("nothing"), None);
    }

    #[test]
    fn this_process_has_every_metric() {
        let mut text = String::new();
        metrics(&mut text);
        assert_eq!(text.matches("# TYPE ").count(), 7, "{text}");
    }
}
