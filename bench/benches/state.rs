//! What is not on the line of each request, or only ends it: counting, and making a snapshot.

use std::fmt::Write;
use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use ringway_engine::balance::Address;
use ringway_engine::observe::histogram::{DURATIONS, Histogram};
use ringway_engine::outcomes::counting;
use ringway_engine::snapshot::Snapshot;
use ringway_loadgen::report::model::empty;

/// Times as a service has them: mostly alike, now and then far out.
fn times_us() -> Vec<u64> {
    (0..1024u64).map(|n| 80 + n * 7919 % 60 + if n % 97 == 0 { n * 31 } else { 0 }).collect()
}

fn histograms(c: &mut Criterion) {
    let times = times_us();
    let mut group = c.benchmark_group("record a time");
    let ours = Histogram::new(&DURATIONS);
    let mut next = times.iter().cycle();
    group.bench_function("the proxy's buckets", |b| {
        b.iter(|| ours.record(black_box(*next.next().unwrap_or(&0))));
    });
    let mut theirs = empty();
    let mut next = times.iter().cycle();
    group.bench_function("the load generator's, three digits", |b| {
        b.iter(|| theirs.saturating_record(black_box(*next.next().unwrap_or(&0) * 1000)));
    });
    group.finish();
}

fn outcomes(c: &mut Criterion) {
    let counted = counting(&"orders".into(), &Address::Ip(([127, 0, 0, 1], 80).into()), 5).outcomes;
    let mut now = 0;
    c.bench_function("count how an exchange ended", |b| {
        b.iter(|| {
            now += 1000;
            counted.succeeded(black_box(now), black_box(250));
        });
    });
}

fn configuration(routes: u32) -> String {
    let mut text = String::from(
        "listeners: [ { name: web, address: 127.0.0.1:8080 } ]\n\
         services: { orders: { endpoints: [ 127.0.0.1:9001, 127.0.0.1:9002 ] } }\nroutes:\n",
    );
    for n in 0..routes {
        // Writing to a string never fails.
        let _ = writeln!(
            text,
            "  - {{ hosts: [ api{}.example.com ], path: '/v1/service{n}/**', to: orders }}",
            n / 100
        );
    }
    text
}

fn snapshots(c: &mut Criterion) {
    let mut group = c.benchmark_group("configuration to snapshot");
    group.sample_size(10);
    for routes in [10, 1000, 10_000] {
        let text = configuration(routes);
        group.bench_function(format!("{routes} routes"), |b| {
            b.iter(|| {
                let loaded = ringway_config::load_str("bench.yaml", black_box(&text), &|_| None);
                Snapshot::compile(&loaded.unwrap_or_else(|_| panic!("a legal configuration")).config, 1)
                    .expect("a legal configuration")
            });
        });
    }
    group.finish();
}

criterion_group!(state, histograms, outcomes, snapshots);
criterion_main!(state);
