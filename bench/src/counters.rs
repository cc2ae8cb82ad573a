//! What a process has used: CPU time from /proc, hardware events from perf where the processor has them.

use std::process::Command;

/// Events in the order of [`Events`]' fields.
pub const EVENTS: &str = "instructions:u,instructions:k,cycles:u,cycles:k";

/// CPU time of a process so far, or over a window.
#[derive(Clone, Copy, Debug, Default)]
pub struct CpuTime {
    /// On a core, all threads, kernel threads working for it included; nanoseconds, exact.
    pub total_ns: u64,
    user_ticks: u64,
    system_ticks: u64,
}

impl CpuTime {
    /// Of all living threads of `pid`.
    pub fn of(pid: u32) -> CpuTime {
        let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        let mut sum = CpuTime::default();
        for thread in threads {
            let read = |file| std::fs::read_to_string(thread.path().join(file)).unwrap_or_default();
            sum.total_ns += number(read("schedstat").split(' ').next());
            let stat = read("stat");
            // The name, in parentheses, may hold blanks; utime and stime are the 12th and 13th field after it.
            let mut fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11);
            sum.user_ticks += number(fields.next());
            sum.system_ticks += number(fields.next());
        }
        sum
    }

    /// What was used since `earlier`.
    pub fn since(self, earlier: CpuTime) -> CpuTime {
        CpuTime {
            total_ns: self.total_ns.saturating_sub(earlier.total_ns),
            user_ticks: self.user_ticks.saturating_sub(earlier.user_ticks),
            system_ticks: self.system_ticks.saturating_sub(earlier.system_ticks),
        }
    }

    /// The part in user space: the exact whole, split as the kernel's ticks of 10 ms say.
    pub fn user_ns(self) -> f64 {
        let ticks = (self.user_ticks + self.system_ticks).max(1);
        self.total_ns as f64 * self.user_ticks as f64 / ticks as f64
    }
}

/// Hardware events of a process over a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Events {
    /// Instructions in user space.
    pub instructions_user: u64,
    /// Instructions in the kernel.
    pub instructions_kernel: u64,
    /// Cycles in user space.
    pub cycles_user: u64,
    /// Cycles in the kernel.
    pub cycles_kernel: u64,
}

impl Events {
    /// From `perf stat -x,` output: a line for each event, its count first.
    pub fn parse(text: &str) -> Option<Events> {
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let mut counts = lines.map(|line| line.split(',').next().and_then(|count| count.parse::<u64>().ok()));
        let mut next = || counts.next().flatten();
        Some(Events {
            instructions_user: next()?,
            instructions_kernel: next()?,
            cycles_user: next()?,
            cycles_kernel: next()?,
        })
    }
}

/// Whether perf can count instructions and cycles here. Virtual machines often cannot.
pub fn hardware_counts() -> bool {
    let trial = Command::new("perf").args(["stat", "-x,", "-e", EVENTS, "--", "true"]).output();
    trial.is_ok_and(|output| Events::parse(&String::from_utf8_lossy(&output.stderr)).is_some())
}

/// Resident memory of a process in bytes.
pub fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    number(line.and_then(|line| line.split_whitespace().next())) * 1024
}

fn number(text: Option<&str>) -> u64 {
    text.and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn perf_output_is_read_and_unsupported_events_are_none() {
        let counted = "10,,instructions:u,1,100.00,,\n20,,instructions:k,1,100.00,,\n30,,c,,\n40,,c,,\n";
        let events = Events::parse(counted).expect("four counts");
        assert_eq!((events.instructions_user, events.cycles_kernel), (10, 40));
        assert_eq!(Events::parse("<not supported>,,instructions:u,0,100.00,,\n"), None);
    }

    #[test]
    fn our_own_cpu_time_grows_and_user_is_part_of_the_whole() {
        let before = CpuTime::of(std::process::id());
        let spin = (0..20_000_000_u64).fold(0, |sum, n| std::hint::black_box(sum ^ n));
        let used = CpuTime::of(std::process::id()).since(before);
        assert!(used.total_ns > 0 && used.user_ns() <= used.total_ns as f64, "{used:?} {spin}");
    }
}
