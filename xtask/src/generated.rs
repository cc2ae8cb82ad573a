//! Files that the code can write and people read in the repository: kept, so that they can be linked and compared,
//! and checked, so that they never lie.

use crate::shell::{cargo, output, root, run};

/// Each file and what it should say.
fn expected() -> [(&'static str, Option<String>); 2] {
    let schema = output(&mut cargo("run --quiet --package ringway -- schema"));
    [("docs/ringway.schema.json", schema), ("docs/configuration.md", Some(ringway_config::reference()))]
}

/// Whether every generated file is what the code says now, and the page on errors is complete.
pub fn fresh() -> bool {
    let mut all_fresh = errors_explained();
    for (path, now) in expected() {
        let same = now.is_some() && now == std::fs::read_to_string(root().join(path)).ok();
        println!("{path}: {}", if same { "fresh" } else { "STALE; run `cargo xtask bless`" });
        all_fresh &= same;
    }
    all_fresh
}

/// Writes every generated file and golden file anew; what changed is for `git diff` to show and a person to judge.
pub fn bless() -> bool {
    let mut goldens = cargo("test --package ringway-config --test golden");
    let mut all_written = run(goldens.env("RINGWAY_BLESS", "1"));
    for (path, now) in expected() {
        let written = now.is_some_and(|now| std::fs::write(root().join(path), now).is_ok());
        println!("{path}: {}", if written { "written" } else { "NOT WRITTEN" });
        all_written &= written;
    }
    all_written
}

/// Whether `docs/errors.md`, written by hand for its advice, has a row for every reason with its status, and no other.
fn errors_explained() -> bool {
    let explained = std::fs::read_to_string(root().join("docs/errors.md")).unwrap_or_default();
    let mut all_code = std::fs::read_to_string(root().join("engine/src/path.rs")).unwrap_or_default();
    let path_reasons: Vec<String> = all_code.lines().filter_map(path_reason).map(str::to_owned).collect();
    let without_row = |reason: &&String| !explained.contains(&format!("| `{reason}` | 400 |"));
    let missing: Vec<&String> = path_reasons.iter().filter(without_row).collect();
    println!(
        "docs/errors.md: {} reasons of engine/src/path.rs, without a row: {missing:?}",
        path_reasons.len()
    );
    let mut complete = !path_reasons.is_empty() && missing.is_empty();
    for file in ["engine/src/reason.rs", "engine/src/http1/refusal.rs"] {
        let code = std::fs::read_to_string(root().join(file)).unwrap_or_default();
        all_code.push_str(&code);
        let reasons: Vec<(&str, &str)> = code.lines().filter_map(reason_and_status).collect();
        let unexplained =
            |(reason, status): &&(&str, &str)| !explained.contains(&format!("| `{reason}` | {status} |"));
        let missing: Vec<_> = reasons.iter().filter(unexplained).collect();
        println!(
            "docs/errors.md: {} reasons of {file}, without a row of their own: {missing:?}",
            reasons.len()
        );
        complete &= !reasons.is_empty() && missing.is_empty();
    }
    // Why what is no exchange ended: no status, and so no row of its own kind.
    for file in ["engine/src/tunnel.rs", "engine/src/downstream/establish.rs"] {
        all_code.push_str(&std::fs::read_to_string(root().join(file)).unwrap_or_default());
    }
    let named = explained.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let unknown: Vec<&str> = named.filter(|reason| !all_code.contains(&format!("\"{reason}\""))).collect();
    println!("docs/errors.md: rows of reasons that don't exist: {unknown:?}");
    complete && unknown.is_empty()
}

/// Of a line `PathRefusal::Name => "reason",`
fn path_reason(line: &str) -> Option<&str> {
    let reason = line.trim().strip_prefix("PathRefusal::")?.split_once(" => \"")?.1.strip_suffix("\",")?;
    reason.bytes().all(|b| b.is_ascii_lowercase() || b == b'_').then_some(reason)
}

/// Of a line `Name, 503, "reason", "What it means.";`
fn reason_and_status(line: &str) -> Option<(&str, &str)> {
    let mut columns = line.trim().strip_suffix(';')?.splitn(4, ", ");
    let (_name, status, reason) = (columns.next()?, columns.next()?, columns.next()?);
    columns.next()?;
    status.parse::<u16>().ok()?;
    Some((reason.strip_prefix('"')?.strip_suffix('"')?, status))
}

#[cfg(test)]
mod tests {
    use super::{path_reason, reason_and_status};

    #[test]
    fn a_reason_is_read_from_its_row_and_from_nothing_else() {
        let row = r#"    NoEndpoint, 503, "no_endpoint", "None, at all.";"#;
        assert_eq!(reason_and_status(row), Some(("no_endpoint", "503")));
        assert_eq!(reason_and_status("    let a = (1, 2, 3, 4);"), None);
        assert_eq!(path_reason(r#"  PathRefusal::EncodedNul => "encoded_nul","#), Some("encoded_nul"));
        assert_eq!(path_reason(r#"  PathRefusal::EncodedNul => "The path holds it.","#), None);
    }
}
