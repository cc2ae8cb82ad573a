//! Reports in files: JSON, written whole or not at all.

use std::io::Write;
use std::path::Path;

use super::model::{FORMAT, Report};

/// Bytes of a report that are read at most.
const FILE_MAX: u64 = 256 << 20;

/// Writes a report to `path`; `-` is standard output.
pub fn write(report: &Report, path: &Path) -> Result<(), String> {
    let mut text = serde_json::to_vec_pretty(report).map_err(|error| error.to_string())?;
    text.push(b'\n');
    if path == Path::new("-") {
        return std::io::stdout().write_all(&text).map_err(|error| format!("standard output: {error}"));
    }
    put(path, &text)
}

/// Writes a file whole or not at all: a reader never finds half of one.
pub fn put(path: &Path, bytes: &[u8]) -> Result<(), String> {
    let shown = path.display();
    let mut name = path.file_name().ok_or_else(|| format!("{shown} names no file"))?.to_owned();
    name.push(format!(".{}.part", std::process::id()));
    let part = path.with_file_name(name);
    std::fs::write(&part, bytes).and_then(|()| std::fs::rename(&part, path)).map_err(|error| {
        let _ = std::fs::remove_file(&part);
        format!("{shown} can't be written: {error}")
    })
}

/// Whether a file can be written there, before a long run finds out that it can't.
pub fn writable(path: &Path) -> Result<(), String> {
    if path == Path::new("-") {
        return Ok(());
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match std::fs::metadata(folder) {
        Ok(there) if there.is_dir() && !there.permissions().readonly() && !path.is_dir() => Ok(()),
        Ok(_) => Err(format!("{} can't be written", path.display())),
        Err(error) => Err(format!("{} can't be written: {}: {error}", path.display(), folder.display())),
    }
}

/// Reads a report.
pub fn read(path: &Path) -> Result<Report, String> {
    let shown = path.display();
    let size = std::fs::metadata(path).map_err(|error| format!("{shown}: {error}"))?.len();
    if size > FILE_MAX {
        return Err(format!("{shown}: larger than {} MiB", FILE_MAX >> 20));
    }
    let text = std::fs::read(path).map_err(|error| format!("{shown}: {error}"))?;
    let value: serde_json::Value =
        serde_json::from_slice(&text).map_err(|error| format!("{shown} is not JSON: {error}"))?;
    match value.get("format").and_then(serde_json::Value::as_str) {
        Some(FORMAT) => {}
        Some(other) => return Err(format!("{shown} is of format {other:?}; {FORMAT} is read here")),
        None => return Err(format!("{shown} is no report of ringway-load")),
    }
    serde_json::from_value(value).map_err(|error| format!("{shown}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample::sample;

    #[test]
    fn a_report_written_is_read_back_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        let report = sample();
        write(&report, &path).unwrap();
        assert!(read(&path).unwrap() == report);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_is_promised_is_there() {
        let value = serde_json::to_value(sample()).unwrap();
        for name in ["valid", "requests", "achieved_rate", "errors"] {
            assert!(!value[name].is_null(), "{name}");
        }
        for object in ["response_time_us", "service_time_us", "generator_lag_us"] {
            for name in ["mean", "p50", "p90", "p95", "p99", "p99_9", "p99_99", "max"] {
                assert!(value[object][name].as_f64().unwrap() > 0.0, "{object}.{name}");
            }
        }
    }

    #[test]
    fn what_is_no_report_is_said_in_words() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        for (text, why) in [
            ("{", "not JSON"),
            ("{}", "no report"),
            (r#"{"format":"ringway-load/9"}"#, "/9"),
            (r#"{"format":"ringway-load/1"}"#, "missing field"),
        ] {
            std::fs::write(&path, text).unwrap();
            let refused = read(&path).unwrap_err();
            assert!(refused.contains(why) && refused.contains("a.json"), "{refused}");
        }
        assert!(
            write(&sample(), Path::new("/no/such/folder/a.json")).unwrap_err().contains("can't be written")
        );
        assert!(writable(Path::new("/no/such/folder/a.json")).is_err() && writable(&path).is_ok());
    }
}
