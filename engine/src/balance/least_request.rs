//! The less busy of two endpoints drawn by weight: fewer exchanges under way for its weight.
//!
//! Two are enough: the longest queue then grows with the logarithm of the logarithm of their number (Mitzenmacher,
//! "The Power of Two Choices in Randomized Load Balancing"), and workers that know nothing of each other do not all
//! run to the same one. Where both are as busy the first drawn wins, so idle services are shared out by weight.

use super::choice::Choice;

pub(super) fn pick(choice: &Choice<'_>, rand: u64) -> Option<u32> {
    let (first, second) = choice.two(rand)?;
    let Some(second) = second else { return Some(first) };
    let (a, b) = (choice.state(first), choice.state(second));
    // a.active / a.share > b.active / b.share, without dividing.
    let second_is_less_busy =
        u64::from(a.active) * u64::from(b.share) > u64::from(b.active) * u64::from(a.share);
    Some(if second_is_less_busy { second } else { first })
}
