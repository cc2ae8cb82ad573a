//! A world of workers, endpoints and arrivals on a virtual clock, made of the parts that decide: balancing, ejection,
//! retries with their budget, and a rate limit over all workers. From its seed a world is made, and runs the same again.
//!
//! `RINGWAY_SIM_SEEDS=5000` runs so many worlds, `RINGWAY_SIM_SEED=17` that one alone; a seed that fails is told.
//!
//! What must hold in each: retries within their budget, never more ejected than allowed, no key over its limit's bound,
//! no endpoint forgotten that is well, no request after its deadline, and everything begun is ended.

mod arrivals;
mod endpoints;
mod limit;
mod requests;
mod rules;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use world::{Tally, World};

/// Worlds that are run where nobody says how many.
const SEEDS: u64 = 200;

fn asked(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

#[test]
fn every_world_keeps_its_rules() {
    let (first, last) = match asked("RINGWAY_SIM_SEED") {
        Some(seed) => (seed, seed + 1),
        None => (0, asked("RINGWAY_SIM_SEEDS").unwrap_or(SEEDS)),
    };
    let (next, all) = (AtomicU64::new(first), Mutex::new(Tally::default()));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Relaxed);
                    if seed >= last {
                        return;
                    }
                    let tally = of_seed(seed);
                    all.lock().unwrap().add(&tally);
                }
            });
        }
    });
    let all = all.into_inner().unwrap();
    // A world in which nothing goes wrong proves nothing.
    if last - first >= SEEDS {
        assert!(all.requests > 25_000 * SEEDS, "{all:?}");
        let happened =
            [all.retries, all.retries_refused, all.ejections, all.refused, all.failed, all.readmitted];
        assert!(happened.iter().all(|count| *count > SEEDS), "{all:?}");
    }
}

#[test]
fn a_seed_runs_the_same_again() {
    assert_eq!(of_seed(7), of_seed(7));
    assert_ne!(of_seed(7), of_seed(8));
}

/// Runs one world, and says which it was if it breaks a rule.
#[expect(clippy::print_stderr, reason = "whoever reads the failure wants to run it again")]
fn of_seed(seed: u64) -> Tally {
    catch_unwind(AssertUnwindSafe(|| World::new(seed).run())).unwrap_or_else(|broken| {
        eprintln!(
            "seed {seed} broke a rule; again: RINGWAY_SIM_SEED={seed} cargo test -p ringway-background --test simulation"
        );
        resume_unwind(broken)
    })
}
