//! What is asked of a process from outside: signals, memory, CPU time, limits.

use std::process::Command;
use std::time::Duration;

/// Sends `signal` (`TERM`, `HUP`, `USR1`, ...) to one process. False when there is none.
pub fn signal(pid: u32, signal: &str) -> bool {
    Command::new("kill").arg(format!("-{signal}")).arg(pid.to_string()).status().is_ok_and(|s| s.success())
}

/// Resident memory in bytes.
pub fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("a number") * 1024
}

/// CPU time used so far, user and kernel.
pub fn cpu_time(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process runs");
    let after_name = &stat[stat.rfind(')').expect("a name") + 2..];
    let ticks: u64 =
        after_name.split(' ').skip(11).take(2).map(|n| n.parse::<u64>().expect("a number")).sum();
    Duration::from_millis(ticks * 10)
}

/// File descriptors it has open that are numbered below `limit`; others it was born with.
pub fn descriptors(pid: u32, limit: u32) -> usize {
    let Ok(entries) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return 0 };
    let numbers = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    numbers.filter(|number| *number < limit).count()
}

/// Raises this process's soft limit of file descriptors to the hard one and returns it.
pub fn raise_descriptor_limit() -> u64 {
    let pid = std::process::id().to_string();
    let limits = std::fs::read_to_string("/proc/self/limits").expect("limits are readable");
    let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("the limit");
    let hard = line.split_whitespace().nth(4).expect("a hard limit").to_owned();
    let raised =
        Command::new("prlimit").args(["--pid", &pid]).arg(format!("--nofile={hard}:{hard}")).status();
    if raised.is_ok_and(|status| status.success()) {
        return hard.parse().unwrap_or(u64::MAX);
    }
    line.split_whitespace().nth(3).and_then(|soft| soft.parse().ok()).unwrap_or(1024)
}
