//! cargo-deny, where it is installed. Advisories need the RustSec database; where that cannot be reached nothing
//! is known, which is not the same as something being wrong.

use std::process::Stdio;

use crate::ci::Outcome;
use crate::shell::{cargo, installed, run};

/// Licences, bans and sources against `deny.toml`, then advisories.
pub fn check() -> Outcome {
    if !installed("cargo-deny", &["--version"]) {
        return Outcome::Skipped("cargo-deny is not installed");
    }
    if !run(&mut cargo("deny --workspace check bans licenses sources")) {
        return Outcome::Failed;
    }
    let fetched =
        cargo("deny fetch db").stderr(Stdio::inherit()).status().is_ok_and(|status| status.success());
    if !fetched {
        return Outcome::Skipped(
            "licences, bans and sources passed; the advisory database cannot be reached",
        );
    }
    run(&mut cargo("deny --workspace check --disable-fetch advisories")).into()
}
