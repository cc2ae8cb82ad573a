//! Files that only their owner reads, written so that they are there whole or not at all.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Makes a folder for secrets, with those above it, where it is not there.
pub(crate) fn make(folder: &Path) -> Result<(), String> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|error| format!("{} can't be made: {error}", folder.display()))
}

/// Whether something can be kept in a folder, so that nothing is asked for in vain.
pub(crate) fn try_out(folder: &Path) -> Result<(), String> {
    make(folder)?;
    let probe = folder.join(".probe");
    replace(&probe, b"")?;
    fs::remove_file(&probe).map_err(|error| format!("{}: {error}", probe.display()))
}

/// Puts a file of these bytes in the place of what is there, by one rename.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), String> {
    write(path, bytes).map_err(|error| format!("{} can't be written: {error}", path.display()))
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = beside(path, "new");
    // What a crash has left; a file of its own is made, so that its mode is the one asked for.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    match path.parent() {
        // The rename itself is to last.
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

/// Puts a file out of the way that is of no use any more.
pub(crate) fn set_aside(path: &Path) -> Result<(), String> {
    let moved = fs::rename(path, beside(path, "old"));
    moved.map_err(|error| format!("{} can't be renamed: {error}", path.display()))
}

/// `a.pem` is `.a.pem.new` before it is whole.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{ending}"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn only_the_owner_reads_and_a_crash_leaves_nothing_in_the_way() {
        let folder = tempfile::tempdir().expect("a folder");
        let deep = folder.path().join("acme/one");
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        try_out(&deep).expect("made");
        let file = deep.join("a.pem");
        fs::write(deep.join(".a.pem.new"), "half").expect("written");
        replace(&file, b"one").expect("replaced");
        replace(&file, b"two").expect("replaced");
        assert_eq!(fs::read(&file).expect("there"), b"two");
        assert_eq!((mode(&deep), mode(&folder.path().join("acme")), mode(&file)), (0o700, 0o700, 0o600));
        assert_eq!(fs::read_dir(&deep).expect("a folder").count(), 1, "nothing else is left");
    }

    #[test]
    fn what_can_not_be_kept_is_told_beforehand() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("file");
        fs::write(&file, "").expect("written");
        let error = try_out(&file.join("acme")).expect_err("a file is no folder");
        assert!(error.contains("file/acme can't be made"), "{error}");
    }
}
