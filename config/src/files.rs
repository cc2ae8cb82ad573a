//! The other files a configuration names: read when it is, so that what runs is what was there then.

use std::collections::BTreeMap;
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::model::ReadFile;
use crate::units::Problem;

/// Bytes of one file.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Reads files, and remembers what they held.
#[derive(Debug, Default)]
pub struct Files {
    folder: PathBuf,
    digests: BTreeMap<PathBuf, u64>,
}

impl Files {
    /// Paths are from the folder in which `config` lies.
    pub fn beside(config: &Path) -> Files {
        let folder = config.parent().map(Path::to_owned).unwrap_or_default();
        Files { folder, digests: BTreeMap::new() }
    }

    /// Where a path as written leads.
    pub fn path(&self, text: &str) -> PathBuf {
        self.folder.join(text)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// It can't be read, or is too large.
    pub fn read(&mut self, path: &Path) -> Result<Vec<u8>, Problem> {
        let read = read(path);
        // One that can't be read now is looked at again when it appears.
        self.digests.insert(path.to_owned(), read.as_ref().map_or(0, |bytes| digest(bytes)));
        let bytes = read.map_err(|error| {
            Problem::new("unreadable", format!("{} can't be read: {error}", path.display()))
        })?;
        if bytes.len() as u64 > FILE_BYTES_MAX {
            let message = format!("{} is larger than {} MiB", path.display(), FILE_BYTES_MAX >> 20);
            return Err(Problem::new("too-large", message));
        }
        Ok(bytes)
    }

    /// What was read, in the order of paths.
    pub fn read_files(&self) -> Vec<ReadFile> {
        self.digests.iter().map(|(path, digest)| ReadFile { path: path.clone(), digest: *digest }).collect()
    }
}

impl ReadFile {
    /// The same file as it is now.
    pub fn now(&self) -> ReadFile {
        ReadFile { path: self.path.clone(), digest: read(&self.path).map_or(0, |bytes| digest(&bytes)) }
    }
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // One byte more than may be: a larger file is told, not cut.
    File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn digest(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}
