//! By weight, at random.

use super::choice::Choice;

/// Draws tried before the remaining endpoints are gone through one by one.
const DRAWS: u32 = 4;

pub(super) fn pick(choice: &Choice<'_>, rand: u64) -> Option<u32> {
    draw(choice, rand as u32 ^ (rand >> 32) as u32, None)
}

/// Puts running sums of `shares` into `sums`; none if they are all the same.
pub(super) fn cumulate(shares: impl Iterator<Item = u32> + Clone, sums: &mut Vec<u64>) {
    sums.clear();
    let mut rest = shares.clone();
    let first = rest.next();
    if rest.all(|share| Some(share) == first) {
        return;
    }
    sums.extend(shares.scan(0, |sum, share| {
        *sum += u64::from(share);
        Some(*sum)
    }));
}

/// An endpoint that will do and is not `but`. Where the first draws hit others, exactly by weight among the rest.
pub(super) fn draw(choice: &Choice<'_>, rand: u32, but: Option<u32>) -> Option<u32> {
    let mut rand = rand;
    for _ in 0..DRAWS {
        let slot = any(choice, rand);
        if but != Some(slot) && choice.will_do(slot) {
            return Some(slot);
        }
        rand = next(rand);
    }
    let left = || choice.live.iter().copied().filter(|&slot| but != Some(slot) && choice.will_do(slot));
    let total: u64 = left().map(|slot| u64::from(choice.state(slot).share)).sum();
    let mut point = scale(rand, total);
    left().find(|&slot| {
        let weight = u64::from(choice.state(slot).share);
        let hit = point < weight;
        point = point.wrapping_sub(weight);
        hit
    })
}

/// Any endpoint, by weight.
fn any(choice: &Choice<'_>, rand: u32) -> u32 {
    let place = match choice.cumulative.last() {
        None => scale(rand, choice.live.len() as u64) as usize,
        Some(&total) => {
            let point = scale(rand, total);
            choice.cumulative.partition_point(|&sum| sum <= point)
        }
    };
    choice.live[place]
}

/// From all of `u32` evenly to below `bound`.
fn scale(rand: u32, bound: u64) -> u64 {
    ((u128::from(rand) * u128::from(bound)) >> 32) as u64
}

/// One number more from one (a step of a permutation with full period, its bits then mixed).
fn next(rand: u32) -> u32 {
    let step = rand.wrapping_mul(0x915f_77f5).wrapping_add(0x6d2b_79f5);
    let mixed = (step ^ step >> 16).wrapping_mul(0x21f0_aaad);
    mixed ^ mixed >> 15
}
