//! A limit's check on a warm key, by how many keys there are: at home, and from a lease.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use ringway_engine::limits::gcra::Rate;
use ringway_engine::limits::home::Home;
use ringway_engine::limits::lease::{Leases, Step, Terms, Told};
use ringway_engine::limits::limiter::{Limiter, Spec, What, id_of};
use ringway_engine::observe::LimitCounters;

const S: u64 = 1_000_000_000;

/// Uniform, as a keyed hash is.
fn keys(count: usize) -> Vec<u128> {
    let mut state = 0x9E37_79B9_7F4A_7C15u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        u128::from(state.wrapping_mul(0x2545_F491_4F6C_DD1D))
    };
    (0..count).map(|_| next() << 64 | next()).collect()
}

/// In an order in which no look-up is near the one before.
fn next(place: &mut usize, count: usize) -> usize {
    *place = (*place + 7_919) % count;
    *place
}

fn checks(c: &mut Criterion) {
    let rate = Rate::new(1_000_000, S, 1_000_000);
    for count in [10, 1000, 100_000, 1_000_000] {
        let keys = keys(count);
        let mut group = c.benchmark_group(format!("warm key among {count}"));
        let mut home = Home::new(rate, count);
        keys.iter().for_each(|key| {
            let _ = home.take(S, *key, 1);
        });
        let (mut now, mut place) = (2 * S, 0);
        group.bench_function("at home", |b| {
            b.iter(|| {
                now += 100;
                home.take(now, black_box(keys[next(&mut place, count)]), 1)
            });
        });
        let limiter = Limiter::new(0, 1);
        let what = What::Rate(rate);
        let spec = Spec { what, keys: count, unsure_allowed: None, wait_ns: 1_000_000, fleet: None };
        let counters: Arc<LimitCounters> = Arc::default();
        let limit = limiter.adopt(S, id_of(&spec, "bench"), spec, &counters);
        keys.iter().for_each(|key| {
            let _ = limiter.take(S, &limit, *key, 1, &Vec::new);
        });
        group.bench_function("by a worker's limiter", |b| {
            b.iter(|| {
                now += 100;
                limiter.take(now, &limit, black_box(keys[next(&mut place, count)]), 1, &Vec::new)
            });
        });
        group.finish();
    }
    let mut leases = Leases::new(Terms { batch: u32::MAX >> 4, interval_ns: 1000 }, 16_384);
    let keys = keys(10_000);
    for key in &keys {
        let Step::Ask(wanted) = leases.take(S, *key, 1) else { continue };
        let told = Told::Granted { tokens: wanted.want, left: Default::default(), until_ns: u64::MAX };
        let _ = leases.told(S, *key, told, 1, true);
    }
    let mut place = 0;
    c.bench_function("a lease among 10000", |b| {
        b.iter(|| leases.take(2 * S, black_box(keys[next(&mut place, keys.len())]), 1));
    });
}

criterion_group!(limits, checks);
criterion_main!(limits);
