//! Retries, hedges and mirrored copies of each service.

use super::super::registry::{Kept, REMOVED};
use super::super::retries::{COPIES_DROPPED, RetryCounts};
use super::Text;
use crate::retry::{CONDITIONS, REFUSALS};

/// Appends their families. Conditions and reasons that were never met are left out.
pub(super) fn services(text: &mut Text<'_>, kept: &Kept) {
    let name = "ringway_upstream_retries_total";
    let help = "Requests sent again, by what the try before came to.";
    labelled(text, kept, name, help, "condition", &CONDITIONS, |counts| counts.by_condition().collect());
    let name = "ringway_upstream_retries_refused_total";
    let help = "Requests that were not sent again though the route retries them, by reason.";
    labelled(text, kept, name, help, "reason", &REFUSALS, |counts| counts.refused().collect());
    let name = "ringway_upstream_mirrors_dropped_total";
    let help = "Requests that were not mirrored here, or whose copy came to nothing, by reason.";
    labelled(text, kept, name, help, "reason", &COPIES_DROPPED, |counts| counts.copies_dropped().collect());
    #[expect(clippy::type_complexity, reason = "names, and how each is read")]
    let single: [(&str, &str, fn(&RetryCounts) -> u64); 3] = [
        ("ringway_upstream_hedges_total", "Tries begun because an answer took long.", |c| c.hedges.get()),
        ("ringway_upstream_hedges_won_total", "Of those, the ones that answered first.", |c| {
            c.hedges_won.get()
        }),
        ("ringway_upstream_mirrors_total", "Copies of requests sent here.", |c| c.copies.get()),
    ];
    for (name, help, value) in single {
        text.family(name, "counter", help);
        for (service, counts) in kept.services.iter() {
            let sum = counts.iter().map(|counts| value(&counts.retries)).sum();
            text.sample(name, &[("service", service.map_or(REMOVED, String::as_str))], sum);
        }
    }
}

fn labelled(
    text: &mut Text<'_>,
    kept: &Kept,
    name: &str,
    help: &str,
    label: &str,
    values: &[&str],
    read: impl Fn(&RetryCounts) -> Vec<u64>,
) {
    text.family(name, "counter", help);
    for (service, counts) in kept.services.iter() {
        let counts: Vec<Vec<u64>> = counts.iter().map(|counts| read(&counts.retries)).collect();
        for (place, value) in values.iter().enumerate() {
            let sum: u64 = counts.iter().map(|counts| counts[place]).sum();
            if sum > 0 {
                text.sample(
                    name,
                    &[("service", service.map_or(REMOVED, String::as_str)), (label, value)],
                    sum,
                );
            }
        }
    }
}
