//! What is told about wrong configurations, word for word: `golden/*.yaml` with the expected text beside each.
//!
//! `RINGWAY_BLESS=1 cargo test -p ringway-config --test golden` writes what is told now.

use std::fs;
use std::path::Path;

/// The only variables there are.
fn env(name: &str) -> Option<String> {
    (name == "PORT").then(|| "8080".to_owned())
}

fn told(path: &Path) -> String {
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    // Bytes that are not UTF-8 only come from files; the path of the checkout must not show.
    let text = fs::read_to_string(path).unwrap();
    match ringway_config::load_str(&name, &text, &env) {
        Ok(loaded) => format!("{}{name}: runs\n", loaded.report().render()),
        Err(report) => report.render(),
    }
}

#[test]
fn everything_that_is_told_is_as_expected() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let bless = std::env::var_os("RINGWAY_BLESS").is_some();
    let mut cases: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    cases.sort();
    assert!(cases.len() >= 40, "{} cases", cases.len());

    let mut wrong = String::new();
    for case in &cases {
        let told = told(case);
        let beside = case.with_extension("txt");
        let expected = fs::read_to_string(&beside).unwrap_or_default();
        if bless {
            fs::write(&beside, &told).unwrap();
        } else if told != expected {
            wrong.push_str(&format!("--- {} says\n{told}--- instead of\n{expected}\n", case.display()));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}
