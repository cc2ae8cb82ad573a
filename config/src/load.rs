//! File or text to a configuration that can run, or to everything that is wrong with it.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::decode::{Sink, decode};
use crate::diagnostic::{Diagnostic, Place, Report, Source};
use crate::expand::{Env, expand};
use crate::model::Config;
use crate::tree::{self, INPUT_BYTES_MAX};

/// A configuration that can run.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What to run.
    pub config: Config,
    /// What is hardly meant so. All are warnings.
    pub warnings: Vec<Diagnostic>,
    /// The text it came from.
    pub source: Source,
}

impl Loaded {
    /// The warnings as a report, to render or for JSON.
    pub fn report(&self) -> Report {
        Report {
            source: self.source.clone(),
            diagnostics: self.warnings.clone(),
            dropped: 0,
            files: self.config.files.clone(),
        }
    }
}

/// Reads and decodes a file. A file that can't be read is a diagnostic like any other.
pub fn load(path: &Path, env: &Env<'_>) -> Result<Loaded, Report> {
    let name = path.display().to_string();
    let failed = |code, place, message: String, text: &str| {
        let diagnostic = Diagnostic { place, ..Diagnostic::error(code, Place::START, message) };
        Report {
            source: Source::new(&name, text),
            diagnostics: vec![diagnostic],
            dropped: 0,
            files: Vec::new(),
        }
    };
    let mut bytes = Vec::new();
    // One byte more than may be: a larger file is told, not cut.
    let read =
        File::open(path).and_then(|file| file.take(INPUT_BYTES_MAX as u64 + 1).read_to_end(&mut bytes));
    if let Err(error) = read {
        return Err(failed("unreadable", None, format!("the file can't be read: {error}"), ""));
    }
    match String::from_utf8(bytes) {
        Ok(text) => load_str(&name, &text, env),
        Err(error) => {
            let good = error.utf8_error().valid_up_to();
            let text = String::from_utf8_lossy(error.as_bytes());
            let place = tree::place_at(&text, good);
            Err(failed("not-utf8", Some(place), "the file is not UTF-8 from here on".into(), &text))
        }
    }
}

/// Decodes a text; `name` is what diagnostics call it.
pub fn load_str(name: &str, text: &str, env: &Env<'_>) -> Result<Loaded, Report> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let source = Source::new(name, text);
    let mut sink = Sink::of(Path::new(name));
    let config = match tree::parse(text) {
        Ok(mut tree) => {
            expand(&mut tree, env, &mut sink);
            decode(&tree, &mut sink)
        }
        Err(diagnostic) => {
            sink.push(*diagnostic);
            None
        }
    };
    let mut diagnostics = std::mem::take(&mut sink.diagnostics);
    diagnostics.sort_by_key(|diagnostic| diagnostic.place);
    diagnostics.dedup();
    match config {
        Some(config) if !sink.has_errors() => Ok(Loaded { config, warnings: diagnostics, source }),
        _ => Err(Report { source, diagnostics, dropped: sink.dropped, files: sink.files.read_files() }),
    }
}
