//! Files that the code can write and people read in the repository: kept, so that they can be linked and compared,
//! and checked, so that they never lie.

use crate::shell::{cargo, output, root, run};

/// Each file and the words after `cargo` that print it.
const PRINTED: [(&str, &str); 1] = [("docs/ringway.schema.json", "run --quiet --package ringway -- schema")];

/// Whether every generated file is what the code prints now.
pub fn fresh() -> bool {
    let stale = |(path, words): &&(&str, &str)| {
        let kept = std::fs::read_to_string(root().join(path)).unwrap_or_default();
        let same = output(&mut cargo(words)).is_some_and(|now| now == kept);
        println!("{path}: {}", if same { "fresh" } else { "STALE; run `cargo xtask bless`" });
        !same
    };
    let printed_fresh = PRINTED.iter().filter(stale).count() == 0;
    errors_explained() && printed_fresh
}

/// Whether `docs/errors.md`, written by hand for its advice, has a row for every reason with its status.
fn errors_explained() -> bool {
    let explained = std::fs::read_to_string(root().join("docs/errors.md")).unwrap_or_default();
    let mut complete = true;
    for file in ["engine/src/reason.rs", "engine/src/http1/refusal.rs"] {
        let code = std::fs::read_to_string(root().join(file)).unwrap_or_default();
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
    complete
}

/// Of a line `Name, 503, "reason", "What it means.";`
fn reason_and_status(line: &str) -> Option<(&str, &str)> {
    let mut columns = line.trim().strip_suffix(';')?.splitn(4, ", ");
    let (_name, status, reason) = (columns.next()?, columns.next()?, columns.next()?);
    columns.next()?;
    status.parse::<u16>().ok()?;
    Some((reason.strip_prefix('"')?.strip_suffix('"')?, status))
}

/// Writes every generated file and golden file anew; what changed is for `git diff` to show and a person to judge.
pub fn bless() -> bool {
    let written = PRINTED.iter().all(|(path, words)| {
        println!("writing {path}");
        output(&mut cargo(words)).is_some_and(|now| std::fs::write(root().join(path), now).is_ok())
    });
    let mut goldens = cargo("test --package ringway-config --package ringway");
    written && run(goldens.env("BLESS", "1"))
}

#[cfg(test)]
mod tests {
    use super::reason_and_status;

    #[test]
    fn a_reason_is_read_from_its_row_and_from_nothing_else() {
        let row = r#"    NoEndpoint, 503, "no_endpoint", "None, at all.";"#;
        assert_eq!(reason_and_status(row), Some(("no_endpoint", "503")));
        assert_eq!(reason_and_status("    let a = (1, 2, 3, 4);"), None);
    }
}
