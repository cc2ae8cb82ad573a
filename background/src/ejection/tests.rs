//! Judges under a virtual clock: by example, and against what must hold whatever happens.

use super::endpoint::State;
use super::judge::{Event, Judge, Seen};
use super::{Kind, Terms};

const S: u64 = 1_000_000_000;
const MS: u64 = 1_000_000;

impl Default for Terms {
    fn default() -> Terms {
        Terms {
            consecutive: 5,
            success_ppm: 800_000,
            latency_percent: None,
            interval_ns: 10 * S,
            base_ns: 30 * S,
            max_ns: 300 * S,
            share_ppm: 500_000,
            requests: 20,
        }
    }
}

/// Endpoints `0..n` by these terms.
fn judge(n: u32, terms: Terms) -> Judge<u32> {
    let mut judge = Judge::new(terms, 0);
    judge.change(terms, 0..n, 0);
    judge
}

/// Looks; `of` tells what was seen of each.
fn look(judge: &mut Judge<u32>, now: u64, of: impl Fn(u32) -> Seen) -> Vec<Event<u32>> {
    judge.look(now, |key| of(*key), |_| false)
}

fn failures(at: &[u64]) -> Seen {
    Seen { failed: at.len() as u64, failed_at_ns: at.to_vec(), ..Seen::default() }
}

/// So many answered of so many, each after so many microseconds.
fn answers(answered: u64, all: u64, us: u64) -> Seen {
    Seen { answered, failed: all - answered, latency_us: answered * us, ..Seen::default() }
}

fn only(key: u32, seen: Seen) -> impl Fn(u32) -> Seen {
    move |of| if of == key { seen.clone() } else { Seen::default() }
}

fn out(judge: &Judge<u32>) -> Vec<u32> {
    let states = judge.states().filter(|(_, state, _)| !matches!(state, State::Admitting { .. }));
    states.map(|(key, ..)| *key).collect()
}

#[test]
fn failures_in_a_row_eject_and_an_answer_begins_anew() {
    let mut judge = judge(3, Terms::default());
    assert_eq!(look(&mut judge, S, only(1, failures(&[1, 2, 3, 4]))), []);
    let answered = Seen { answered: 1, answered_at_ns: 4, ..failures(&[1, 2, 3, 4, 5, 6, 7, 8]) };
    assert_eq!(look(&mut judge, S, only(1, answered)), [], "four are later than the answer");
    let fifth = Seen { answered_at_ns: 4, ..failures(&[4, 5, 6, 7, 8, 9]) };
    let expected = [Event::Ejected(1, Kind::Consecutive(5), 30 * S)];
    assert_eq!(look(&mut judge, S, only(1, fifth)), expected);
}

#[test]
fn it_comes_back_by_probing_and_what_was_before_counts_no_more() {
    let mut judge = judge(3, Terms::default());
    let five = failures(&[1, 2, 3, 4, 5]);
    look(&mut judge, S, only(0, five.clone()));
    assert_eq!(out(&judge), [0]);
    assert_eq!(look(&mut judge, 31 * S - 1, only(0, five.clone())), []);
    assert_eq!(look(&mut judge, 31 * S, only(0, five.clone())), [Event::Probing(0)]);
    assert_eq!(look(&mut judge, 32 * S, only(0, five.clone())), [], "nothing has come of it yet");
    let again = failures(&[1, 2, 3, 4, 5, 32 * S]);
    let expected = [Event::Ejected(0, Kind::Probe(1), 60 * S)];
    assert_eq!(look(&mut judge, 32 * S, only(0, again.clone())), expected, "twice as long");
    assert_eq!(look(&mut judge, 92 * S, only(0, again.clone())), [Event::Probing(0)]);
    let answered = Seen { answered: 1, answered_at_ns: 93 * S, ..again };
    assert_eq!(look(&mut judge, 93 * S, only(0, answered.clone())), [Event::Admitted(0)]);
    assert_eq!(look(&mut judge, 94 * S, only(0, answered)), []);
    assert_eq!(out(&judge), [0; 0]);
}

#[test]
fn one_that_succeeds_less_than_its_siblings_is_ejected_and_not_where_all_do() {
    let terms = Terms { consecutive: 0, ..Terms::default() };
    let mut judge = judge(3, terms);
    let one_in_two = |key| if key == 2 { answers(50, 100, 1) } else { answers(99, 100, 1) };
    assert_eq!(look(&mut judge, 9 * S, one_in_two), [], "the interval is not over");
    let none = |_| Seen::default();
    assert_eq!(look(&mut judge, 10 * S, none), [Event::Ejected(2, Kind::Success(500_000), 30 * S)]);
    let mut all = self::judge(3, terms);
    assert_eq!(look(&mut all, 10 * S, |_| answers(50, 100, 1)), []);
    let mut few = self::judge(3, terms);
    assert_eq!(
        look(&mut few, 10 * S, |key| if key == 2 { answers(5, 19, 1) } else { answers(99, 100, 1) }),
        []
    );
    let mut alone = self::judge(1, terms);
    assert_eq!(look(&mut alone, 10 * S, |_| answers(0, 100, 1)), []);
}

#[test]
fn one_that_is_slower_than_its_siblings_is_ejected_until_it_is_not() {
    let terms = Terms { latency_percent: Some(300), ..Terms::default() };
    let mut judge = judge(3, terms);
    let slow = |key| answers(100, 100, if key == 1 { 500_000 } else { 10_000 });
    let kind = Kind::Latency { mean_us: 500_000, limit_us: 30_000 };
    assert_eq!(look(&mut judge, 10 * S, slow), [Event::Ejected(1, kind, 30 * S)]);
    assert_eq!(look(&mut judge, 40 * S, |_| Seen::default()), [Event::Probing(1)]);
    let still = Seen { answered_at_ns: 41 * S, ..answers(1, 1, 400_000) };
    let kind = Kind::Latency { mean_us: 400_000, limit_us: 30_000 };
    assert_eq!(look(&mut judge, 41 * S, only(1, still)), [Event::Ejected(1, kind, 60 * S)]);
    assert_eq!(look(&mut judge, 101 * S, |_| Seen::default()), [Event::Probing(1)]);
    let fast = Seen { answered_at_ns: 102 * S, ..answers(2, 2, 12_000) };
    assert_eq!(look(&mut judge, 102 * S, only(1, fast)), [Event::Admitted(1)]);
    // Differences that nobody feels are none.
    let mut quick = self::judge(3, terms);
    assert_eq!(look(&mut quick, 10 * S, |key| answers(100, 100, if key == 1 { 900 } else { 100 })), []);
}

#[test]
fn no_more_than_the_share_are_ejected_and_that_is_told_once() {
    let mut judge = judge(4, Terms::default());
    let all = |_| failures(&[1, 2, 3, 4, 5]);
    let events = look(&mut judge, S, all);
    let ejected = events.iter().filter(|event| matches!(event, Event::Ejected(..))).count();
    let kept = events.iter().filter(|event| matches!(event, Event::Kept(..))).count();
    assert_eq!((ejected, kept, out(&judge).len()), (2, 2, 2));
    assert_eq!(look(&mut judge, 2 * S, all), []);
    let mut alone = self::judge(1, Terms::default());
    assert_eq!(look(&mut alone, S, all).len(), 1, "one may always be");
}

#[test]
fn who_is_out_for_another_reason_takes_of_the_share() {
    let mut judge = judge(4, Terms::default());
    let five = || failures(&[1, 2, 3, 4, 5]);
    let of = |key: &u32| if *key < 2 { five() } else { Seen::default() };
    let events = judge.look(S, of, |key| *key >= 2);
    assert_eq!(events.len(), 2);
    assert_eq!(out(&judge), [0; 0]);
    assert_eq!(judge.look(S, of, |key| *key == 3).len(), 1);
    assert_eq!(out(&judge).len(), 1);
}

#[test]
fn where_endpoints_leave_those_that_are_out_are_not_too_many() {
    let mut judge = judge(4, Terms::default());
    look(&mut judge, S, |_| failures(&[1, 2, 3, 4, 5]));
    let left = out(&judge);
    judge.change(Terms::default(), left, 2 * S);
    assert_eq!(out(&judge).len(), 2);
    let events = look(&mut judge, 2 * S, |_| Seen::default());
    assert!(matches!(events[..], [Event::Admitted(_)]), "{events:?}");
    assert_eq!(out(&judge).len(), 1);
}

/// Evenly spread numbers from a seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        ((mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB) >> 33) % sides
    }
}

/// What one worker has seen of one endpoint.
#[derive(Clone, Default)]
struct Worker {
    answered: u64,
    failed: u64,
    answered_at_ns: u64,
    failed_at_ns: Vec<u64>,
}

/// What `workers` have seen since `before`, in their sums.
fn merged<'w>(workers: impl Iterator<Item = &'w Worker>, before: &mut (u64, u64)) -> Seen {
    let mut seen = Seen::default();
    let (mut answered, mut failed) = (0, 0);
    for worker in workers {
        answered += worker.answered;
        failed += worker.failed;
        seen.answered_at_ns = seen.answered_at_ns.max(worker.answered_at_ns);
        seen.failed_at_ns.extend(&worker.failed_at_ns);
    }
    (seen.answered, seen.failed) = (answered - before.0, failed - before.1);
    seen.latency_us = seen.answered * 1000;
    *before = (answered, failed);
    seen
}

#[test]
fn whatever_happens_the_share_holds_one_may_be_ejected_and_every_ejection_ends() {
    for seed in 0..200 {
        let mut dice = Dice(seed);
        let terms = Terms {
            consecutive: 1 + dice.roll(6) as u32,
            latency_percent: (dice.roll(2) == 0).then_some(200),
            share_ppm: dice.roll(100) as u32 * 10_000,
            requests: 1 + dice.roll(20) as u32,
            ..Terms::default()
        };
        let mut n = 1 + dice.roll(9) as u32;
        let mut judge = judge(n, terms);
        let mut now = 0;
        for _ in 0..400 {
            now += 1 + dice.roll(3 * S);
            if dice.roll(50) == 0 {
                n = 1 + dice.roll(9) as u32;
                judge.change(terms, 0..n, now);
                now += 1;
            }
            let none_out = out(&judge).is_empty();
            let seen: Vec<Seen> = (0..16)
                .map(|_| match dice.roll(4) {
                    0 => Seen { answered_at_ns: now, ..answers(dice.roll(30), 30, 1 + dice.roll(100_000)) },
                    1 => failures(&vec![now; dice.roll(8) as usize]),
                    _ => Seen::default(),
                })
                .collect();
            let expected =
                (0..n).any(|key| seen[key as usize].failed_at_ns.len() >= terms.consecutive as usize);
            look(&mut judge, now, |key| seen[key as usize].clone());
            let out = out(&judge);
            let allowed = (n as usize * terms.share_ppm as usize / 1_000_000).max(1);
            assert!(out.len() <= allowed, "seed {seed}: {} of {n} are out, {allowed} may be", out.len());
            if none_out && expected {
                assert!(!out.is_empty(), "seed {seed}: one may always be ejected");
            }
        }
        // From now on all is well.
        for _ in 0..2000 {
            now += S;
            look(&mut judge, now, |_| Seen { answered_at_ns: now, ..answers(30, 30, 1000) });
        }
        assert_eq!(out(&judge), [0; 0], "seed {seed}: every ejection ends");
    }
}

#[test]
fn in_a_row_means_the_same_however_many_workers_see_it() {
    for seed in 0..300 {
        let mut dice = Dice(seed);
        let workers = 1 + dice.roll(8) as usize;
        let terms = Terms { consecutive: 3 + dice.roll(4) as u32, success_ppm: 0, ..Terms::default() };
        let mut judge = judge(2, terms);
        let mut all = vec![Worker::default(); workers];
        let (mut before, mut run, mut now, mut looked) = ((0, 0), 0, 0, 0);
        let mut ejected = None;
        for _ in 0..500 {
            now += MS + dice.roll(5 * MS);
            let worker = &mut all[dice.roll(workers as u64) as usize];
            if dice.roll(3) == 0 {
                run = 0;
                worker.answered += 1;
                worker.answered_at_ns = now;
            } else {
                run += 1;
                worker.failed += 1;
                worker.failed_at_ns.push(now);
                if worker.failed_at_ns.len() > terms.consecutive as usize {
                    worker.failed_at_ns.remove(0);
                }
            }
            // Looked at every 25 ms, as it happens; or as soon as it is due, so that nothing comes in between.
            let due = run == terms.consecutive;
            if now - looked >= 25 * MS || due {
                looked = now;
                let events = judge.look(
                    now,
                    |key| if *key == 0 { merged(all.iter(), &mut before) } else { Seen::default() },
                    |_| false,
                );
                if let Some(Event::Ejected(_, kind, _)) = events.first() {
                    ejected = Some(*kind);
                    break;
                }
                assert!(!due, "seed {seed}: {run} in a row over {workers} workers");
            }
            assert!(run < terms.consecutive, "seed {seed}");
        }
        if let Some(kind) = ejected {
            assert_eq!(kind, Kind::Consecutive(terms.consecutive), "seed {seed}: neither sooner nor later");
        }
    }
}
