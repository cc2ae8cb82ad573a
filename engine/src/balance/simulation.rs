//! A seeded world of endpoints that fail and come back: whatever happens, nobody is picked who must not be, bounds of load
//! hold, and nobody who is admitted starves.

use super::standing::Grade;
use super::tests::address;
use super::*;
use crate::standing::Stand;

const POLICIES: [Policy; 6] = [
    Policy::RoundRobin,
    Policy::LeastRequest,
    Policy::PeakEwma,
    Policy::Random,
    Policy::RingHash,
    Policy::Maglev,
];
const MS: u64 = 1_000_000;
const SEEDS: u64 = 60;
const STEPS: u64 = 3_000;

struct World {
    seed: u64,
    rng: fastrand::Rng,
    now_ns: u64,
    rules: Rules,
    balancer: Balancer,
    under_way: Vec<Slot>,
}

impl World {
    fn new(seed: u64) -> World {
        let mut rng = fastrand::Rng::with_seed(seed);
        let rules = Rules {
            policy: POLICIES[rng.usize(..POLICIES.len())],
            hash_load: 125,
            panic: [0, 300_000, 500_000][rng.usize(..3)],
            slow_start_ns: [0, 2_000 * MS][rng.usize(..2)],
            views: 3,
        };
        let mut balancer = Balancer::new(rules, seed);
        balancer.set_rules(rules);
        let mut world = World { seed, rng, now_ns: 0, rules, balancer, under_way: vec![] };
        world.change_endpoints();
        world
    }

    fn change_endpoints(&mut self) {
        let rng = &mut self.rng;
        let count = rng.u16(1..13);
        let endpoints: Vec<Endpoint> = (0..count)
            .map(|n| Endpoint {
                weight: rng.u16(1..5),
                priority: rng.u8(0..2),
                is_near: rng.bool(),
                views: rng.u64(0..8),
                ..(address(n), 1).into()
            })
            .collect();
        self.balancer.reconcile(&endpoints, self.now_ns);
    }

    fn change_standings(&mut self) {
        let rng = std::cell::RefCell::new(&mut self.rng);
        self.balancer.set_standings(self.now_ns, |_| match rng.borrow_mut().u8(0..12) {
            0 => Stand::Ejected,
            1 => Stand::Unhealthy,
            2 => Stand::Draining,
            3 => Stand::Barred,
            4 => Stand::Probing(7),
            _ => Stand::Admitting,
        });
    }

    fn step(&mut self) {
        self.now_ns += self.rng.u64(0..40) * MS;
        match self.rng.u32(0..1000) {
            0..4 => self.change_endpoints(),
            4..14 => self.change_standings(),
            14..500 if !self.under_way.is_empty() => self.end_one(),
            _ => self.begin_one(),
        }
        self.check_sums();
    }

    fn end_one(&mut self) {
        let slot = self.under_way.swap_remove(self.rng.usize(..self.under_way.len()));
        let outcome = match self.rng.u32(0..20) {
            0 => Outcome::Refused,
            1 => Outcome::Failed,
            2 => Outcome::Abandoned,
            _ => Outcome::Answered,
        };
        self.balancer.ended(slot, self.now_ns, self.rng.u64(1..50) * MS, outcome, self.rng.u64(..));
    }

    fn begin_one(&mut self) {
        let view = self.rng.u32(0..3);
        let hash = self.rng.bool().then(|| self.rng.u64(0..5)).map(stable::mix);
        let stick = (self.rng.u8(0..8) == 0).then(|| Slot(self.rng.u32(0..14)));
        let tried: Vec<Slot> = (0..self.rng.u32(0..3) / 2).map(|_| Slot(self.rng.u32(0..14))).collect();
        let asked = Asked { view, hash, stick };
        let picked = self.balancer.pick_for(&asked, self.now_ns, self.rng.u64(..), &tried);
        self.check_pick(&asked, picked, &tried);
        if let Some(picked) = picked {
            self.check_bound(&asked, picked);
            self.balancer.began(picked.slot);
            self.under_way.push(picked.slot);
        }
    }

    /// The grades of a view's endpoints, as they are now.
    fn grades(&self, view: u32) -> impl Iterator<Item = (Slot, Grade)> {
        let (states, now_ns) = (&self.balancer.states, self.now_ns);
        let live = self.balancer.live.iter().map(|slot| (*slot, &states[*slot as usize]));
        let seen = live.filter(move |(_, state)| state.views & (1 << view) != 0);
        seen.map(move |(slot, state)| (Slot(slot), Grade::of(state, now_ns)))
    }

    fn check_pick(&self, asked: &Asked, picked: Option<Picked>, tried: &[Slot]) {
        let World { seed, .. } = self;
        let any = |grades: Grade, but: &[Slot]| {
            self.grades(asked.view).any(|(slot, grade)| grade.is_among(grades) && !but.contains(&slot))
        };
        let Some(Picked { slot, how }) = picked else {
            assert!(!any(Grade::USABLE, tried), "seed {seed}: nobody was picked though somebody is usable");
            return;
        };
        let of = self.grades(asked.view).find(|(one, _)| *one == slot);
        let (_, grade) = of.unwrap_or_else(|| panic!("seed {seed}: {slot:?} is not in view {}", asked.view));
        assert!(!tried.contains(&slot), "seed {seed}");
        match grade {
            Grade::USABLE => {}
            Grade::DOUBTED => assert!(how.panic || how.stuck, "seed {seed}: out, and no panic"),
            Grade::DRAINING => {
                assert!(!any(Grade::USABLE, &[]), "seed {seed}: draining, and others are usable")
            }
            Grade::BARRED => panic!("seed {seed}: barred"),
            _ => assert!(!any(Grade::USABLE, tried), "seed {seed}: refuses, and others are usable"),
        }
        let threshold = u64::from(self.rules.panic);
        if how.panic {
            let usable = self.grades(asked.view).filter(|(_, grade)| *grade == Grade::USABLE).count() as u64;
            let all = self.grades(asked.view).count() as u64;
            assert!(threshold > 0 && usable < all, "seed {seed}: panic while all are usable");
        }
    }

    /// A key's endpoint has less than its bound, of those of its tier that may be picked.
    fn check_bound(&self, asked: &Asked, picked: Picked) {
        if !self.rules.policy.is_hashed() || asked.hash.is_none() || picked.how.stuck {
            return;
        }
        let states = &self.balancer.states;
        let state = &states[picked.slot.0 as usize];
        let view = &self.balancer.views[asked.view as usize];
        let Some(tier) = view.tiers.iter().find(|tier| tier.rank == state.rank) else { return };
        let may: Vec<&EndpointState> =
            tier.lowest_of(states, false).map(|slot| &states[slot as usize]).collect();
        if may.len() < 2 {
            return;
        }
        let active: u64 = may.iter().map(|one| u64::from(one.active)).sum();
        let shares: f64 = may.iter().map(|one| f64::from(one.share)).sum();
        let bound = 1.25 * (active + 1) as f64 * f64::from(state.share) / shares;
        let free = may
            .iter()
            .any(|one| f64::from(one.active) < 1.25 * (active + 1) as f64 * f64::from(one.share) / shares);
        assert!(free, "seed {}: somebody is always below", self.seed);
        // Tried ones aside: those may have been all who were.
        assert!(
            f64::from(state.active + 1) <= bound.ceil().max(1.0) || picked.how.passed_over,
            "seed {}: {} under way, bound {bound}",
            self.seed,
            state.active
        );
    }

    /// What tiers have summed up is what is under way.
    fn check_sums(&self) {
        if !self.rules.policy.is_hashed() || self.balancer.assessed_until_ns == 0 {
            return;
        }
        for view in &self.balancer.views {
            for tier in &view.tiers {
                let states = &self.balancer.states;
                let admits = |slot: &&u32| tier.who().admits(&states[**slot as usize]);
                let active: u64 = tier
                    .live
                    .iter()
                    .filter(admits)
                    .map(|slot| u64::from(states[*slot as usize].active))
                    .sum();
                assert_eq!(tier.active(), active, "seed {}", self.seed);
            }
        }
    }

    /// Once all is well, everybody of the tiers that are asked gets something like its share.
    fn check_nobody_starves(&mut self) {
        // The sooner of two is asked, and may be the same one for long.
        if self.rules.policy == Policy::PeakEwma {
            return;
        }
        for slot in std::mem::take(&mut self.under_way) {
            self.balancer.ended(slot, self.now_ns, MS, Outcome::Answered, 0);
        }
        self.now_ns += 100_000 * MS;
        self.balancer.set_standings(self.now_ns, |_| Stand::Admitting);
        self.now_ns += 100_000 * MS;
        let mut counts = vec![0_u64; self.balancer.states.len()];
        let picks = 4_000;
        for n in 0..picks {
            self.now_ns += MS;
            let asked = Asked { hash: Some(stable::mix(n)), ..Asked::default() };
            let picked = self.balancer.pick_for(&asked, self.now_ns, self.rng.u64(..), &[]).unwrap();
            counts[picked.slot.0 as usize] += 1;
            self.balancer.began(picked.slot);
            self.balancer.ended(picked.slot, self.now_ns, MS, Outcome::Answered, 0);
        }
        let tier = &self.balancer.views[0].tiers[0];
        let weight = |slot: u32| u64::from(self.balancer.states[slot as usize].weight);
        let total: u64 = tier.live.iter().map(|slot| weight(*slot)).sum();
        for &slot in &tier.live {
            let due = picks * weight(slot) / total;
            assert!(
                counts[slot as usize] > due / 4,
                "seed {}: {:?}, {counts:?}",
                self.seed,
                self.rules.policy
            );
        }
    }
}

#[test]
fn whatever_happens_nobody_is_picked_who_must_not_be_and_nobody_starves() {
    for seed in 0..SEEDS {
        let mut world = World::new(seed);
        (0..STEPS).for_each(|_| world.step());
        world.check_nobody_starves();
    }
}
