//! ringway-load in a closed loop: its words, and what it says.
//!
//! Over TLS it offers one group and one cipher suite, and never a ticket, so every proxy does the same handshake.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::Said;
use crate::front::Front;
use crate::identity::{CIPHER, GROUP, NAME};
use crate::scenarios::Scenario;
use crate::site::Site;

/// The command; its report goes to `out`.
pub fn words(
    site: &Site<'_>,
    scenario: &Scenario,
    port: u16,
    seconds: u32,
    more: &[&str],
    out: &Path,
) -> Result<Vec<String>, String> {
    // What an earlier run left would pass for this one's.
    let _ = std::fs::remove_file(out);
    let mut words: Vec<String> = Vec::new();
    let mut say = |more: &[&str]| words.extend(more.iter().map(|&word| word.to_owned()));
    let (binary, duration) = (super::ringway_load()?, format!("{seconds}s"));
    say(&[&binary.to_string_lossy(), "saturate", &scenario.url(port), "--duration", &duration]);
    // It shares its core with the origin, so it must not look for work all the time.
    say(&["--warmup", "0s", "--spin", "off", "--quiet", "--out", &out.to_string_lossy()]);
    scenario.headers.iter().for_each(|header| say(&["--header", header]));
    say(more);
    match scenario.front {
        Front::Tls => {
            say(&["--cacert", &site.identity.authority.to_string_lossy(), "--server-name", NAME]);
            say(&["--tls-groups", GROUP, "--tls-ciphers", CIPHER, "--resumption", "off"]);
        }
        Front::Grpc => say(&["--proto-set", &descriptors(site.folder)?.to_string_lossy()]),
        _ => {}
    }
    Ok(words)
}

/// Of its report.
pub fn said(out: &Path) -> Option<Said> {
    let report: Value = serde_json::from_str(&std::fs::read_to_string(out).ok()?).ok()?;
    Some(Said {
        requests: report["requests"].as_u64()?,
        errors: report["errors"].as_object()?.values().filter_map(Value::as_u64).sum(),
        resumed: report["resumed"].as_u64()?,
        seconds: report["seconds"].as_f64()?,
    })
}

/// What `echo.proto` describes, compiled once a run.
fn descriptors(folder: &Path) -> Result<PathBuf, String> {
    let file = folder.join("echo.bin");
    if !file.is_file() {
        let mut compiler =
            protox::Compiler::new([env!("CARGO_MANIFEST_DIR")]).map_err(|error| error.to_string())?;
        compiler.open_file("echo.proto").map_err(|error| error.to_string())?;
        let set = compiler.encode_file_descriptor_set();
        std::fs::write(&file, set).map_err(|error| format!("{}: {error}", file.display()))?;
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read_and_none_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("load.json");
        assert_eq!(said(&out), None);
        let text = r#"{"requests":7,"errors":{"status":2,"reset":1},"resumed":0,"seconds":1.5}"#;
        std::fs::write(&out, text).unwrap();
        assert_eq!(said(&out), Some(Said { requests: 7, errors: 3, resumed: 0, seconds: 1.5 }));
    }

    #[test]
    fn the_calls_are_described() {
        let folder = tempfile::tempdir().unwrap();
        let set = std::fs::read(descriptors(folder.path()).unwrap()).unwrap();
        assert!(set.windows(4).any(|four| four == b"Echo"));
    }
}
