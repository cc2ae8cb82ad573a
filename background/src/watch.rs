//! Tells when the configuration file may have changed.
//!
//! It is the folders that are watched, not the file: editors put a new file in the old one's place, and a ConfigMap
//! swaps the `..data` symlink beside it. Every symlink on the way to the file counts, so the folders are found anew
//! after each change. Whether anything did change is for the reader of the file to say. Where watching fails (no
//! inotify instances left, a folder gone) the owner is told to look from time to time.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};

use crate::say;

/// Symlinks followed on the way to the file; as many as Linux does.
const HOPS_MAX: usize = 40;
/// Between two looks at a file that may still be written.
pub const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Looks before a file is taken as it is: 5 s.
const LOOKS_MAX: usize = 50;

/// Watches until dropped.
pub struct Watch {
    path: PathBuf,
    /// What the file names besides.
    others: Vec<PathBuf>,
    watcher: Option<RecommendedWatcher>,
    watched: BTreeSet<PathBuf>,
    names: Arc<Mutex<BTreeSet<OsString>>>,
    blind: bool,
}

impl Watch {
    /// Calls `changed` after whatever touches the file or the way to it, from a thread of its own; often more than
    /// once for one change.
    pub fn start(path: &Path, changed: impl Fn() + Send + 'static) -> Watch {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let names = Arc::new(Mutex::new(BTreeSet::new()));
        let interesting = Arc::clone(&names);
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            if event.is_ok_and(|event| concerns(&event, &interesting)) {
                changed();
            }
        });
        if let Err(error) = &watcher {
            say::warning(format_args!(
                "cannot watch the configuration file, looking every so often: {error}"
            ));
        }
        let watched = BTreeSet::new();
        let mut watch =
            Watch { path, others: Vec::new(), watcher: watcher.ok(), watched, names, blind: true };
        watch.follow();
        watch
    }

    /// Watches these files too, from the next [`Watch::follow`] on.
    pub fn also(&mut self, others: impl Iterator<Item = PathBuf>) {
        self.others = others.map(|path| std::path::absolute(&path).unwrap_or(path)).collect();
    }

    /// Watches the folders that lead to the files now. To be called after each change.
    pub fn follow(&mut self) {
        let mut way = way_to(&self.path);
        for other in &self.others {
            let Way { folders, names } = way_to(other);
            way.names.extend(names);
            // One that is not there yet may come; its folder may not, and nothing can be watched then.
            way.folders.extend(folders.into_iter().filter(|folder| folder.is_dir()));
        }
        *self.names.lock().unwrap_or_else(PoisonError::into_inner) = way.names;
        let Some(watcher) = &mut self.watcher else { return };
        for folder in self.watched.difference(&way.folders) {
            // It may be gone already, which is why it is left.
            let _ = watcher.unwatch(folder);
        }
        // Again, not only the new ones: a folder may have been put in the place of another of the same name.
        self.watched = way.folders;
        self.watched.retain(|folder| watcher.watch(folder, RecursiveMode::NonRecursive).is_ok());
        self.blind = self.watched.is_empty() || self.watched.iter().any(|folder| !folder.is_dir());
    }

    /// Whether changes may go unseen.
    pub fn is_blind(&self) -> bool {
        self.blind
    }
}

/// Reading the file is an event too: only what may have changed it counts.
fn concerns(event: &Event, names: &Mutex<BTreeSet<OsString>>) -> bool {
    let touches = match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
        EventKind::Access(_) => false,
        _ => true,
    };
    let names = names.lock().unwrap_or_else(PoisonError::into_inner);
    let named = |path: &PathBuf| path.file_name().is_some_and(|name| names.contains(name));
    touches && (event.need_rescan() || event.paths.iter().any(named))
}

/// The folders to watch and the names in them that matter.
#[derive(Debug, Default, PartialEq)]
struct Way {
    folders: BTreeSet<PathBuf>,
    names: BTreeSet<OsString>,
}

/// Every path the name goes through: the file itself, what it is a symlink to, and symlinks among its folders.
fn way_to(path: &Path) -> Way {
    let mut way = Way::default();
    let mut open = vec![path.to_owned()];
    let mut seen = BTreeSet::new();
    while let Some(path) = open.pop() {
        if seen.len() >= HOPS_MAX || !seen.insert(path.clone()) {
            continue;
        }
        way.add(&path);
        for step in path.ancestors() {
            let Ok(link) = fs::read_link(step) else { continue };
            way.add(step);
            // `join` takes an absolute link as it is.
            let beside = step.parent().unwrap_or(Path::new("/")).join(link);
            let rest = path.strip_prefix(step).unwrap_or(Path::new(""));
            open.push(if rest.as_os_str().is_empty() { beside } else { beside.join(rest) });
        }
    }
    way
}

impl Way {
    fn add(&mut self, path: &Path) {
        if let (Some(folder), Some(name)) = (path.parent(), path.file_name()) {
            self.folders.insert(folder.to_owned());
            self.names.insert(name.to_owned());
        }
    }
}

/// Why [`settle`] stopped waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// The file stands still, or was waited for long enough.
    Still,
    /// `pause` said so.
    Interrupted,
}

/// Waits while the file is being written: until two looks, a `pause` apart, see the same. A file that is missing or
/// empty is about to be written. Bounded.
pub fn settle(path: &Path, mut pause: impl FnMut(Duration) -> bool) -> Settled {
    let mut last = look(path);
    for _ in 0..LOOKS_MAX {
        if !pause(LOOK_EVERY) {
            return Settled::Interrupted;
        }
        let now = look(path);
        if now == last && now.as_ref().is_some_and(|look| look.bytes > 0) {
            break;
        }
        last = now;
    }
    Settled::Still
}

#[derive(Debug, PartialEq, Eq)]
struct Look {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
}

fn look(path: &Path) -> Option<Look> {
    let seen: io::Result<Metadata> = fs::metadata(path);
    let seen = seen.ok()?;
    let modified = (seen.mtime(), seen.mtime_nsec());
    Some(Look { device: seen.dev(), inode: seen.ino(), bytes: seen.len(), modified })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use std::sync::mpsc::{Receiver, channel};

    const PATIENCE: Duration = Duration::from_secs(5);
    const QUIET: Duration = Duration::from_millis(300);

    fn watch(path: &Path) -> (Watch, Receiver<()>) {
        let (sender, changes) = channel();
        let watch = Watch::start(path, move || {
            let _ = sender.send(());
        });
        assert!(!watch.is_blind());
        (watch, changes)
    }

    fn calm(changes: &Receiver<()>) {
        while changes.recv_timeout(QUIET).is_ok() {}
    }

    #[test]
    fn writing_and_replacing_the_file_is_seen_reading_it_or_its_neighbours_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("gateway.yaml");
        fs::write(&path, "one").expect("written");
        let (_watch, changes) = watch(&path);
        fs::read(&path).expect("read");
        fs::write(folder.path().join("access.log"), "a line").expect("written");
        assert!(changes.recv_timeout(QUIET).is_err());
        fs::write(&path, "two").expect("written");
        changes.recv_timeout(PATIENCE).expect("a change");
        calm(&changes);
        fs::write(folder.path().join(".gateway.yaml.swp"), "three").expect("written");
        fs::rename(folder.path().join(".gateway.yaml.swp"), &path).expect("renamed");
        changes.recv_timeout(PATIENCE).expect("a change");
    }

    #[test]
    fn a_configmap_swapping_its_symlink_is_seen_every_time() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        let version = |name: &str| {
            fs::create_dir(at(name)).expect("a folder");
            fs::write(at(name).join("gateway.yaml"), name).expect("written");
        };
        version("..v0");
        symlink("..v0", at("..data")).expect("a link");
        symlink("..data/gateway.yaml", at("gateway.yaml")).expect("a link");
        let (mut watch, changes) = watch(&at("gateway.yaml"));
        for (old, new) in [("..v0", "..v1"), ("..v1", "..v2")] {
            version(new);
            calm(&changes);
            symlink(new, at("..data_tmp")).expect("a link");
            fs::rename(at("..data_tmp"), at("..data")).expect("swapped");
            changes.recv_timeout(PATIENCE).expect("a change");
            fs::remove_dir_all(at(old)).expect("removed");
            watch.follow();
            assert_eq!(fs::read_to_string(at("gateway.yaml")).expect("read"), new);
        }
    }

    #[test]
    fn a_symlinked_file_is_watched_where_it_really_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let real = folder.path().join("real");
        fs::create_dir(&real).expect("a folder");
        fs::write(real.join("a.yaml"), "one").expect("written");
        symlink(real.join("a.yaml"), folder.path().join("gateway.yaml")).expect("a link");
        let (_watch, changes) = watch(&folder.path().join("gateway.yaml"));
        fs::write(real.join("a.yaml"), "two").expect("written");
        changes.recv_timeout(PATIENCE).expect("a change");
    }

    #[test]
    fn a_circle_of_symlinks_ends() {
        let folder = tempfile::tempdir().expect("a folder");
        symlink("b", folder.path().join("a")).expect("a link");
        symlink("a", folder.path().join("b")).expect("a link");
        assert!(way_to(&folder.path().join("a")).names.contains(&OsString::from("b")));
    }

    #[test]
    fn a_file_is_settled_when_two_looks_see_the_same_and_something() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("gateway.yaml");
        fs::write(&path, "").expect("written");
        let mut looks = 0;
        let settled = settle(&path, |_| {
            looks += 1;
            if looks <= 3 {
                fs::write(&path, "x".repeat(looks)).expect("written");
            }
            true
        });
        assert_eq!((settled, looks), (Settled::Still, 4));
        assert_eq!(settle(&path, |_| false), Settled::Interrupted);
    }

    #[test]
    fn a_file_that_never_stands_still_is_not_waited_for_forever() {
        let mut looks = 0;
        let missing = Path::new("/nonexistent/gateway.yaml");
        settle(missing, |_| {
            looks += 1;
            true
        });
        assert_eq!(looks, LOOKS_MAX);
    }
}
