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
    PRINTED.iter().filter(stale).count() == 0
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
