//! Where the binary under test is, and building it when it is missing or older than its sources.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::SystemTime;

/// The binary: `RINGWAY_BIN`, else `ringway` of the profile these tests were built with.
pub fn path() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| match std::env::var_os("RINGWAY_BIN") {
        Some(named) => {
            // Relative to where it was typed, or to the repository: tests run in their package's folder.
            let named = PathBuf::from(named);
            let named = named.canonicalize().or_else(|_| root().join(&named).canonicalize()).unwrap_or(named);
            assert!(named.is_file(), "RINGWAY_BIN={} is no file", named.display());
            named
        }
        None => {
            beside_this_test("ringway", "ringway", &["config", "runtime", "engine", "background", "ringway"])
        }
    })
}

/// The load generator, of the same profile.
pub fn load_path() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| beside_this_test("ringway-loadgen", "ringway-load", &["runtime", "loadgen"]))
}

/// Whether it was optimised, so that sizes and speeds say something.
pub fn is_release() -> bool {
    path().components().any(|part| part.as_os_str() == "release")
}

/// A binary of ours, built where it is missing or older than the sources in `folders`.
fn beside_this_test(package: &str, name: &str, folders: &[&str]) -> PathBuf {
    let test = std::env::current_exe().expect("a path of our own");
    let profile_dir = test.parent().and_then(Path::parent).expect("target/<profile>/deps/<test>").to_owned();
    let binary = profile_dir.join(name);
    let lock = File::create(profile_dir.join(".ringway-tests.lock")).expect("a lock file");
    lock.lock().expect("the lock");
    if is_stale(&binary, folders) {
        build(&profile_dir, package, name);
        // Cargo leaves a binary alone whose sources are only newer; say that this one was looked at.
        let _ = File::options().append(true).open(&binary).and_then(|f| f.set_modified(SystemTime::now()));
    }
    binary
}

fn build(profile_dir: &Path, package: &str, name: &str) {
    let profile = match profile_dir.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(other) => other,
    };
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--quiet", "--package", package, "--bin", name, "--profile", profile])
        .arg("--target-dir")
        .arg(profile_dir.parent().expect("the target folder"))
        .current_dir(root())
        .status();
    assert!(status.is_ok_and(|s| s.success()), "cargo build --package {package} failed");
}

fn is_stale(binary: &Path, folders: &[&str]) -> bool {
    let Ok(built) = binary.metadata().and_then(|m| m.modified()) else { return true };
    folders.iter().any(|name| newest(&root().join(name)) > Some(built))
}

fn newest(folder: &Path) -> Option<SystemTime> {
    let entries = std::fs::read_dir(folder).ok()?.flatten();
    entries
        .filter_map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => newest(&entry.path()),
            _ => entry.metadata().ok()?.modified().ok(),
        })
        .max()
}

/// The repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the repository")
}
