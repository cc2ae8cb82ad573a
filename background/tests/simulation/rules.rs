//! What must hold in every world.

use fastrand::Rng;
use ringway_background::ejection::Terms;
use ringway_background::ejection::endpoint::State;
use ringway_background::ejection::judge::Judge;
use ringway_engine::balance::{DECAY_NS, Policy, REFUSED_FOR_MAX_NS};
use ringway_engine::retry::{BudgetPlan, Taken};
use ringway_engine::standing::Stand;

use super::endpoints::{Behaviour, Worker};
use super::world::{MS, S, World};

/// Failures in a row that eject at most.
pub const CONSECUTIVE_MAX: u32 = 10;
/// Over so long picks are counted.
pub const COUNTED_NS: u64 = 5 * S;

pub fn terms(random: &mut Rng) -> Terms {
    Terms {
        consecutive: random.u32(3..=CONSECUTIVE_MAX),
        success_ppm: [0, 800_000][random.usize(..2)],
        latency_percent: None,
        interval_ns: random.u64(1..=10) * S,
        base_ns: random.u64(1..=5) * S,
        max_ns: 20 * S,
        share_ppm: random.u32(1..=900_000),
        requests: 20,
    }
}

/// Never more are out than may be, and one may always be.
pub fn ejections(judge: &Judge<u32>) {
    let out = judge.states().filter(|(_, state, _)| !matches!(state, State::Admitting { .. })).count();
    assert!(out <= judge.allowed(), "{out} are out of {} that may be", judge.allowed());
}

/// Retries as the budget lets them through.
#[derive(Default)]
pub struct Budgeted {
    /// When, of those of the floor.
    of_floor: Vec<u64>,
}

impl Budgeted {
    /// One more is let through.
    pub fn taken(&mut self, taken: Taken, now: u64, by: &Worker, plan: &BudgetPlan) {
        match taken {
            Taken::Floor => self.of_floor.push(now),
            Taken::Share => {
                let (lent, active) = (u64::from(by.budget.lent()), u64::from(by.budget.active()));
                let share = u64::from(plan.share_ppm);
                assert!(lent * 1_000_000 <= active * share, "{lent} of {active} are retries");
            }
        }
    }

    /// Any `t` seconds see at most `floor * (t + 1)` of the floor.
    pub fn check_floor(&self, plan: &BudgetPlan) {
        let mut least = i128::MAX;
        for (before, at) in self.of_floor.iter().enumerate() {
            let ahead = before as i128 * i128::from(S) - i128::from(*at) * i128::from(plan.floor);
            least = least.min(ahead);
            let room = i128::from(plan.floor) * i128::from(S);
            assert!(ahead + i128::from(S) - least <= room + i128::from(S), "too many of the floor");
        }
    }
}

/// Whoever has been well and admitted for a while has been asked. Who refused may be shunned for a while longer, and who
/// was slow where the sooner one is picked.
pub fn nobody_is_forgotten(world: &mut World) {
    let (now, policy, count) = (world.now, world.policy, world.endpoints.len() as u64);
    let all: u64 = world.endpoints.iter().map(|endpoint| endpoint.picked).sum();
    // Of a failure up to now workers may hear a little later.
    let since = (now - COUNTED_NS).saturating_sub(100 * MS);
    for (number, endpoint) in world.endpoints.iter_mut().enumerate() {
        let refused = endpoint.refused_at > 0 && endpoint.refused_at + REFUSED_FOR_MAX_NS > since;
        let calm = if policy == Policy::PeakEwma { 4 * DECAY_NS } else { 0 };
        let well = endpoint.behaviour == Behaviour::Well
            && endpoint.stand == Stand::Admitting
            && endpoint.unwell_at + calm < since
            && !refused;
        if well && all > 200 * count {
            assert!(
                endpoint.picked > 0,
                "{policy:?}: endpoint {number} of {count} got none of {all} at {now}"
            );
        }
        endpoint.picked = 0;
    }
}
