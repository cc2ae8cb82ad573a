//! What the workers can't look at themselves: how much memory the process uses of how much it may, ten times a second;
//! and, as often, how services do whose limit on requests is found rather than written.
//!
//! The memory that may be used is what the configuration says, or what the process's cgroup allows. Where neither says
//! anything nothing is shed for memory's sake.

use std::fs;
use std::path::{Path, PathBuf};

use ringway_engine::Handles;
use ringway_engine::overload::{Gauge, LOOK_EVERY, Nanos, OverloadPlan, signal};
use tokio::time::{MissedTickBehavior, interval};

use crate::process;

/// Looks from one reading of the cgroup to the next: it hardly ever changes.
const CGROUP_EVERY: u32 = 50;
/// Where cgroups are.
const CGROUPS: &str = "/sys/fs/cgroup";
/// What cgroups of the first version say where there is no limit: the largest number of whole pages.
const UNLIMITED_FROM: u64 = 1 << 62;

/// Looks for ever.
pub(crate) async fn run(handles: Handles) {
    let mut gauge = Gauge::new(1);
    let (mut plan, mut allowed) = (OverloadPlan::default(), None);
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for look in 0u32.. {
        looks.tick().await;
        handles.look_at_services();
        plan = handles.overload_plan().unwrap_or(plan);
        if look % CGROUP_EVERY == 0 {
            allowed = fs::read_to_string("/proc/self/cgroup")
                .ok()
                .and_then(|text| limit(&text, Path::new(CGROUPS)));
        }
        let used = process::resident().unwrap_or(0);
        let cap = plan.memory_bytes.or(allowed);
        let strain = match (plan.memory, cap) {
            (Some(share), Some(cap)) => signal(used as f64, share * cap as f64, cap as f64),
            _ => 0.0,
        };
        handles.set_memory(gauge.look(Nanos::precise(), strain), used, cap);
    }
}

/// The least that any cgroup allows that this process is in (`/proc/self/cgroup`), its own or one around it.
fn limit(cgroups: &str, root: &Path) -> Option<u64> {
    let of_line = |line: &str| -> Option<u64> {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        let (base, file) = match controllers {
            "" => (root.to_path_buf(), "memory.max"),
            list if list.split(',').any(|one| one == "memory") => {
                (root.join("memory"), "memory.limit_in_bytes")
            }
            _ => return None,
        };
        let own: PathBuf = base.join(path.trim_start_matches('/'));
        // In a container the path may be as seen from outside: what is at the root is its own then.
        let around = own.ancestors().take_while(|folder| folder.starts_with(&base));
        around.filter_map(|folder| bytes(&fs::read_to_string(folder.join(file)).ok()?)).min()
    };
    cgroups.lines().filter_map(of_line).min()
}

fn bytes(text: &str) -> Option<u64> {
    text.trim().parse().ok().filter(|bytes| *bytes < UNLIMITED_FROM)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_of_all_cgroups_around_holds() {
        let dir = tempfile::tempdir().expect("a folder");
        let (root, inner) = (dir.path(), dir.path().join("a/b"));
        fs::create_dir_all(&inner).expect("folders");
        assert_eq!(limit("0::/a/b\n", root), None);
        fs::write(inner.join("memory.max"), "max\n").expect("a file");
        fs::write(root.join("a/memory.max"), "1000000\n").expect("a file");
        assert_eq!(limit("0::/a/b\n", root), Some(1_000_000));
        fs::write(inner.join("memory.max"), "5000\n").expect("a file");
        assert_eq!(limit("0::/a/b\n", root), Some(5000));
        assert_eq!(limit("0::/elsewhere\n", root), None);
    }

    #[test]
    fn the_first_version_is_read_too() {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = dir.path().join("memory/x");
        fs::create_dir_all(&folder).expect("folders");
        fs::write(folder.join("memory.limit_in_bytes"), "9223372036854771712").expect("a file");
        let cgroups = "3:cpu:/x\n2:hugetlb,memory:/x\n";
        assert_eq!(limit(cgroups, dir.path()), None);
        fs::write(folder.join("memory.limit_in_bytes"), "4096").expect("a file");
        assert_eq!(limit(cgroups, dir.path()), Some(4096));
    }

    #[test]
    fn this_process_uses_some_memory() {
        assert!(process::resident().is_some_and(|bytes| bytes > 1 << 20));
    }
}
