//! The pure pieces of the line, each alone: `cargo bench -p ringway-bench`.
//!
//! For finding where a change made a piece dearer. What a request costs as a whole is `cargo xtask perf`'s to say.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use ringway_engine::balance::{Address, Asked, Balancer, Endpoint, Outcome, Policy};
use ringway_engine::http1::{
    ChunkLimits, Decoder, Limits, Method, Progress, RequestHead, ResponseHead, Step,
};
use ringway_engine::local_reply::{self, Answering, Format, LocalReply, Persistence};
use ringway_engine::path::{self, PathOptions};
use ringway_engine::reason::Reason;
use ringway_engine::routing::{HostRule, PathRule, RouteId, RouteQuery, RouteRule, Router, Segment};

const BARE: &[u8] = b"GET /v1/orders/7 HTTP/1.1\r\nHost: api.example.com\r\n\r\n";

const BROWSER: &[u8] = b"GET /v1/orders/7?expand=lines&page=2 HTTP/1.1\r\n\
    Host: api.example.com\r\n\
    Connection: keep-alive\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n\
    Accept-Language: en-GB,en;q=0.5\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\n\
    Referer: https://www.example.com/shop/basket?step=2\r\n\
    Cookie: session=0123456789abcdef0123456789abcdef; theme=dark; consent=yes\r\n\
    Upgrade-Insecure-Requests: 1\r\n\
    Sec-Fetch-Dest: document\r\n\
    Sec-Fetch-Mode: navigate\r\n\
    Sec-Fetch-Site: same-origin\r\n\
    Priority: u=0, i\r\n\r\n";

const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\n\
    Server: origin\r\n\
    Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
    Content-Type: application/json\r\n\
    Content-Length: 1024\r\n\
    Cache-Control: no-cache\r\n\
    ETag: \"5f2b-1\"\r\n\r\n";

fn heads(c: &mut Criterion) {
    let limits = Limits::default();
    let mut group = c.benchmark_group("request head");
    for (name, bytes) in [("bare", BARE), ("browser", BROWSER)] {
        let mut head = RequestHead::default();
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(name, |b| {
            b.iter(|| {
                head.clear();
                let progress = head.parse(black_box(bytes), &limits);
                assert_eq!(progress, Ok(Progress::Complete(bytes.len())));
            });
        });
    }
    group.finish();
    let mut head = ResponseHead::default();
    c.bench_function("response head", |b| {
        b.iter(|| {
            head.clear();
            let progress = head.parse(black_box(RESPONSE), Method::Get, &limits);
            assert_eq!(progress, Ok(Progress::Complete(RESPONSE.len())));
        });
    });
}

/// Routes `/v1/service<n>/{id}/**` of as many hosts as there are hundreds of them.
fn rules(count: u32) -> Vec<RouteRule> {
    let rule = |n: u32| RouteRule {
        route: RouteId(n),
        hosts: vec![HostRule::Exact(format!("api{}.example.com", n / 100))],
        path: PathRule::Segments(vec![
            Segment::Literal("v1".into()),
            Segment::Literal(format!("service{n}")),
            Segment::Parameter("id".into()),
            Segment::Rest,
        ]),
        methods: vec!["GET".into(), "POST".into()],
        headers: Vec::new(),
        query: Vec::new(),
    };
    (0..count).map(rule).collect()
}

fn routes(c: &mut Criterion) {
    let mut group = c.benchmark_group("route");
    for count in [10, 1000, 100_000] {
        let router = Router::new(&rules(count));
        // One in the middle: neither the first nor the last written.
        let (host, path) =
            (format!("api{}.example.com", count / 2 / 100), format!("/v1/service{}/7/lines", count / 2));
        let query =
            RouteQuery { host: host.as_bytes(), path: path.as_bytes(), query: b"page=2", method: b"GET" };
        let none: [(&str, &str); 0] = [];
        group.bench_function(format!("of {count}"), |b| {
            b.iter(|| router.route(black_box(&query), none.as_slice()).expect("a route"));
        });
    }
    group.finish();
}

fn paths(c: &mut Criterion) {
    let options = PathOptions { merge_slashes: true, encoded_slashes: false };
    let mut out = Vec::with_capacity(256);
    let mut group = c.benchmark_group("canonical path");
    for (name, raw) in [("clean", &b"/v1/orders/7/lines"[..]), ("untidy", b"/v1//./orders/%37/x/../lines")] {
        group.bench_function(name, |b| {
            b.iter(|| path::canonical(black_box(raw), options, &mut out).expect("a path"));
        });
    }
    group.finish();
}

fn chunks(c: &mut Criterion) {
    const DATA_BYTES: usize = 64 << 10;
    let mut group = c.benchmark_group("chunked");
    group.throughput(Throughput::Bytes(DATA_BYTES as u64));
    for chunk_bytes in [256, 16 << 10] {
        let mut body = Vec::new();
        for _ in 0..DATA_BYTES / chunk_bytes {
            body.extend_from_slice(format!("{chunk_bytes:x}\r\n").as_bytes());
            body.resize(body.len() + chunk_bytes, b'x');
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(b"0\r\n\r\n");
        group.bench_function(format!("64 KiB in chunks of {chunk_bytes}"), |b| {
            b.iter(|| assert_eq!(decoded(black_box(&body)), DATA_BYTES));
        });
    }
    group.finish();
}

/// Bytes of data in a whole body.
fn decoded(mut body: &[u8]) -> usize {
    let mut decoder = Decoder::new(ChunkLimits::default());
    let mut data_bytes = 0;
    loop {
        match decoder.next(body) {
            Ok(Step::Data(range)) => {
                data_bytes += range.len();
                body = &body[range.end..];
            }
            Ok(Step::End(_)) => return data_bytes,
            other => panic!("{other:?}"),
        }
    }
}

fn replies(c: &mut Criterion) {
    let answering = Answering {
        head_only: false,
        persistence: Persistence::Implied,
        request_id: b"0af7651916cd43dd8448eb211c80319c",
        date: b"Sun, 06 Nov 1994 08:49:37 GMT",
        lines: b"",
    };
    let reply = LocalReply::from(Reason::NoEndpoint);
    let mut out = Vec::with_capacity(1024);
    c.bench_function("local reply", |b| {
        b.iter(|| {
            out.clear();
            local_reply::render(&mut out, black_box(&reply), Format::Problem, &answering);
        });
    });
}

fn balancers(c: &mut Criterion) {
    let endpoints: Vec<Endpoint> =
        (0..16).map(|n| (Address::Ip(([127, 0, 0, 1], 9000 + n).into()), 1 + n % 2).into()).collect();
    let mut group = c.benchmark_group("balance");
    let policies = [
        ("round_robin", Policy::RoundRobin),
        ("least_request", Policy::LeastRequest),
        ("peak_ewma", Policy::PeakEwma),
        ("random", Policy::Random),
        ("ring_hash", Policy::RingHash),
        ("maglev", Policy::Maglev),
    ];
    for (name, policy) in policies {
        let mut balancer = Balancer::new(policy, 1);
        balancer.reconcile(&endpoints, 0);
        let (mut now_ns, mut seed) = (0, 1u64);
        group.bench_function(name, |b| {
            b.iter_batched(
                || {
                    now_ns += 1_000_000;
                    seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    (now_ns, seed)
                },
                |(now_ns, random)| {
                    let asked = Asked { hash: Some(random), ..Asked::default() };
                    let picked = balancer.pick_for(&asked, now_ns, random, &[]).expect("an endpoint");
                    let slot = picked.slot;
                    balancer.began(slot);
                    balancer.ended(slot, now_ns + 500_000, 500_000, Outcome::Answered, random);
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

criterion_group!(line, heads, routes, paths, chunks, replies, balancers);
criterion_main!(line);
