//! What must hold in every world.

use fastrand::Rng;
use ringway_background::ejection::Terms;
use ringway_background::ejection::endpoint::State;
use ringway_background::ejection::judge::Judge;
use ringway_engine::balance::REFUSED_FOR_MAX_NS;
use ringway_engine::retry::{BudgetPlan, Taken};

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

/// Retries as the budget lets them through, counted anew.
#[derive(Default)]
pub struct Budgeted {
    of_share: u64,
    of_floor: Vec<u64>,
}

impl Budgeted {
    /// One more is let through.
    pub fn taken(&mut self, taken: Taken, now: u64, workers: &[Worker], plan: &BudgetPlan) {
        match taken {
            Taken::Floor => self.of_floor.push(now),
            Taken::Share => {
                self.of_share += 1;
                let active: u64 = workers.iter().map(|worker| u64::from(worker.budget.active())).sum();
                assert!(
                    self.of_share * 1_000_000 <= active * u64::from(plan.share_ppm),
                    "{} of {active} are retries",
                    self.of_share
                );
            }
        }
    }

    pub fn given_back(&mut self, taken: Taken) {
        self.of_share -= u64::from(taken == Taken::Share);
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

/// Whoever has been well and admitted for a while has been asked. What refused may be shunned for a while longer, and
/// whoever was slow is asked less, but not never.
pub fn nobody_is_forgotten(world: &mut World) {
    let (now, count) = (world.now, world.endpoints.len() as u64);
    let all: u64 = world.endpoints.iter().map(|endpoint| endpoint.picked).sum();
    // Of a failure up to now workers may hear a little later.
    let since = (now - COUNTED_NS).saturating_sub(100 * MS);
    for (number, endpoint) in world.endpoints.iter_mut().enumerate() {
        let refused = endpoint.refused_at > 0 && endpoint.refused_at + REFUSED_FOR_MAX_NS > since;
        let well = endpoint.behaviour == Behaviour::Well && endpoint.unwell_at < since && !refused;
        if well && all > 200 * count {
            assert!(endpoint.picked > 0, "endpoint {number} of {count} got none of {all} at {now}");
        }
        endpoint.picked = 0;
    }
}
