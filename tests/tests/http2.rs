//! HTTP/2 from clients and to endpoints, and what is made of it in between.

use std::time::{Duration, Instant};

use http::{HeaderMap, Request, Response};
use ringway_tests::gateway::PLAIN;
use ringway_tests::http2::{ENHANCE_YOUR_CALM, GET, Origin as Http2Origin, Raw, Reply, Session, block, kind};
use ringway_tests::origins::parts;
use ringway_tests::{Gateway, Origin, wait};

const UPSTREAM: &str = r#"
listeners:
  - { name: web, address: "127.0.0.1:{{web}}", routes: all }
services:
  app: { endpoints: [ "{{origin}}" ], protocol: http2 }
routes:
  - { name: all, path: /**, to: app }
"#;

fn trailers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
}

fn says(body: &str) -> Reply {
    Reply { body: vec![body.as_bytes().to_vec()], ..Reply::default() }
}

#[test]
fn a_request_is_told_in_http1_and_its_answer_in_http2() {
    let origin = Origin::start(parts::echoes);
    let gateway = Gateway::in_front_of(&origin);
    let session = Session::connect(gateway.address("web"));
    let request = Request::get("http://a.example/x?y=1")
        .header("cookie", "a=1")
        .header("cookie", "b=2")
        .header("te", "trailers")
        .body(())
        .unwrap();
    let answer = session.ask(request, &[], None);
    assert_eq!(answer.status, 200);
    let text = answer.text();
    assert!(text.starts_with("GET /x?y=1 HTTP/1.1\n"), "{text}");
    for line in ["Host: a.example", "cookie: a=1; b=2", "Via: 2.0 ringway", "TE: trailers"] {
        assert!(text.lines().any(|one| one.eq_ignore_ascii_case(line)), "{line} in {text}");
    }
    assert_eq!(answer.header("connection"), None);
    assert_eq!(answer.header("transfer-encoding"), None);
    // A second one on the same connection, and a thousand more.
    for _ in 0..1000 {
        assert_eq!(session.get("/").status, 200);
    }
}

#[test]
fn bodies_and_trailers_pass_down() {
    let origin = Origin::start(parts::echoes);
    let gateway = Gateway::in_front_of(&origin);
    let session = Session::connect(gateway.address("web"));
    let post = |length: Option<usize>| {
        let mut request = Request::post("http://a.example/");
        if let Some(length) = length {
            request = request.header("content-length", length);
        }
        request.body(()).unwrap()
    };
    assert_eq!(session.ask(post(Some(6)), &[b"abc", b"def"], None).status, 200);
    assert_eq!(session.ask(post(None), &[b"abc", b"def"], Some(trailers(&[("x-sum", "7")]))).status, 200);
    let seen = origin.wait_for(2);
    assert_eq!(
        (seen[0].body.as_slice(), seen[0].head.get("content-length").as_deref()),
        (&b"abcdef"[..], Some("6"))
    );
    assert_eq!(seen[1].body, b"abcdef");
    assert_eq!(seen[1].head.get("transfer-encoding").as_deref(), Some("chunked"));
    assert_eq!(seen[1].trailers, [("x-sum".to_owned(), "7".to_owned())]);
}

#[test]
fn bodies_and_trailers_pass_up() {
    let origin = Http2Origin::start(|asked| Reply {
        head: Response::builder().header("x-method", asked.head.method().as_str()).body(()).unwrap(),
        body: vec![asked.body.clone(), b"!".to_vec()],
        trailers: asked.trailers.clone().or(Some(trailers(&[("x-end", "1")]))),
        ..Reply::default()
    });
    let gateway = Gateway::start_with(UPSTREAM, &[("origin", &origin.address.to_string())]);
    // From HTTP/1.1 ...
    let mut client = gateway.connect();
    client.send(
        "POST /a HTTP/1.1\r\nHost: a.example\r\nTE: trailers\r\nConnection: te\r\nTransfer-Encoding: chunked\r\n\r\n\
         3\r\nabc\r\n0\r\nx-sum: 9\r\n\r\n",
    );
    let response = client.response().expect(200);
    assert_eq!(response.text(), "abc!");
    assert_eq!(response.trailers, [("x-sum".to_owned(), "9".to_owned())]);
    assert_eq!(client.get("/b").expect(200).text(), "!");
    // ... and from HTTP/2.
    let session = Session::connect(gateway.address("web"));
    let request = Request::post("http://a.example/c").body(()).unwrap();
    let answer = session.ask(request, &[b"def"], Some(trailers(&[("x-sum", "8")])));
    assert_eq!((answer.text().as_str(), answer.trailer("x-sum")), ("def!", Some("8")));
    for asked in origin.seen() {
        let head = &asked.head;
        assert_eq!(head.uri().authority().map(|a| a.as_str()), Some("a.example"));
        for name in ["connection", "transfer-encoding", "host", "keep-alive", "upgrade"] {
            assert!(!head.headers().contains_key(name), "{name} in {head:?}");
        }
    }
    let connections = origin.seen().iter().map(|asked| asked.connection).max();
    assert!(connections <= Some(1), "more than one connection a worker");
}

#[test]
fn what_would_smuggle_in_http1_is_refused() {
    let origin = Origin::start(parts::echoes);
    let gateway = Gateway::in_front_of(&origin);
    let with = |field: (&'static str, &'static str)| [&GET[..], &[field]].concat();
    let instead = |name: &str, value: &'static str| -> Vec<(&'static str, &'static str)> {
        GET.iter().map(|(n, v)| if *n == name { (*n, value) } else { (*n, *v) }).collect()
    };
    let heads = [
        with(("transfer-encoding", "chunked")),
        with(("connection", "close")),
        with(("keep-alive", "1")),
        with(("proxy-connection", "close")),
        with(("upgrade", "h2c")),
        with(("te", "gzip")),
        with(("X-Upper", "1")),
        with(("x a", "1")),
        with(("x:a", "1")),
        with(("x-a\r\nx-b", "1")),
        with(("x-a", "1\r\nx-b: 2")),
        with(("x-a", "1\ny")),
        with(("x-a", "1\0")),
        with(("content-length", "5")),
        with(("content-length", "x")),
        with(("host", "other.example")),
        with((":path", "/again")),
        with((":other", "1")),
        instead(":path", "/a b"),
        instead(":path", "/a\r\nx: y"),
        instead(":path", ""),
        instead(":path", "*"),
        instead(":method", "GE T"),
        instead(":method", "GET / HTTP/1.1\r\nx:"),
        instead(":authority", "a.example/x"),
        instead(":authority", "u@a.example"),
        instead(":authority", "a.example b"),
        GET[..3].to_vec(),
        [&[("x-first", "1")][..], &GET[..]].concat(),
    ];
    for head in heads {
        let mut raw = Raw::connect(gateway.address("web"), &[]);
        raw.headers(1, &head, true);
        loop {
            let frame = raw.read().unwrap_or_else(|| panic!("no answer to {head:?}"));
            match frame.kind {
                kind::RST_STREAM | kind::GOAWAY => break,
                kind::HEADERS => {
                    // 400 is in no static table entry but `:status 400`, index 12.
                    assert_eq!(frame.payload[0], 0x80 | 12, "answered other than 400: {head:?}");
                    break;
                }
                _ => {}
            }
        }
    }
    assert_eq!(origin.seen().len(), 0, "{:?}", origin.seen());
    // The same in order is served.
    let mut raw = Raw::connect(gateway.address("web"), &[]);
    raw.headers(1, &GET, true);
    assert_eq!(raw.expect(kind::HEADERS, 1).payload[0], 0x80 | 8);
}

#[test]
fn a_length_that_differs_from_the_body_never_looks_whole() {
    let origin = Origin::start(parts::echoes);
    let gateway = Gateway::in_front_of(&origin);
    let head = [&GET[1..], &[("content-length", "5")]].concat();
    let head = [&[(":method", "POST")][..], &head].concat();
    for body in [&b"abc"[..], b"abcdefgh"] {
        let mut raw = Raw::connect(gateway.address("web"), &[]);
        raw.headers(1, &head, false);
        raw.frame(kind::DATA, 1, 1, body);
        raw.expect(kind::RST_STREAM, 1);
    }
    std::thread::sleep(Duration::from_millis(50));
    assert!(origin.seen().iter().all(|seen| !seen.whole), "{:?}", origin.seen());
}

#[test]
fn a_slow_client_does_not_fill_memory() {
    let origin = Origin::start(parts::says_bytes(64 << 20));
    let gateway = Gateway::in_front_of(&origin);
    assert_eq!(gateway.get("/").body.len(), 64 << 20);
    let before = ringway_tests::process::resident(gateway.pid());
    // Windows are left as they are, 64 KiB for each stream and all of them.
    let mut raws: Vec<Raw> = (0..4)
        .map(|_| {
            let mut raw = Raw::connect(gateway.address("web"), &[]);
            for stream in [1, 3, 5, 7, 9, 11, 13, 15] {
                raw.headers(stream, &GET, true);
            }
            raw
        })
        .collect();
    std::thread::sleep(Duration::from_millis(700));
    let grown = ringway_tests::process::resident(gateway.pid()).saturating_sub(before);
    assert!(grown < 24 << 20, "{grown} bytes more for 32 streams that take nothing");
    for raw in &mut raws {
        while raw.read().expect("the connection lives").kind != kind::DATA {}
    }
}

#[test]
fn streams_have_their_turn_beside_a_large_one() {
    let origin = Origin::start(parts::by_target(
        [("/small", &b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"[..])].into_iter().collect(),
    ));
    let large = Origin::start(parts::says_bytes(32 << 20));
    let text = PLAIN
        .replace("services:\n", "services:\n  large: { endpoints: [ \"{{large}}\" ] }\n")
        .replace("routes:\n  - {", "routes:\n  - { name: large, path: /large, to: large }\n  - {");
    let gateway = Gateway::start_with(&text, &[("origin", &origin.endpoint()), ("large", &large.endpoint())]);
    let session = Session::connect(gateway.address("web"));
    let taken = session.run(async |send| {
        let mut first = send.clone().ready().await.unwrap();
        let (large, _) =
            first.send_request(Request::get("http://a.example/large").body(()).unwrap(), true).unwrap();
        let mut body = large.await.unwrap().into_body();
        let _ = body.data().await.unwrap().unwrap();
        let began = Instant::now();
        let mut second = send.clone().ready().await.unwrap();
        let (small, _) =
            second.send_request(Request::get("http://a.example/small").body(()).unwrap(), true).unwrap();
        assert_eq!(small.await.unwrap().status(), 200);
        began.elapsed()
    });
    assert!(taken < Duration::from_secs(2), "{taken:?}");
}

#[test]
fn floods_are_told_to_calm_down_and_counted() {
    let origin = Origin::start(parts::echoes);
    let text = PLAIN.replace(
        "routes: all }",
        "routes: all, http2: { resets: 20/s, control_frames: 20/s, empty_frames: 20/s, continuations: 4 } }",
    );
    let gateway = Gateway::start_with(&text, &[("origin", &origin.endpoint())]);
    type Flood = (&'static str, fn(&mut Raw, u32) -> bool);
    let floods: [Flood; 7] = [
        ("http2_resets", |raw, n| {
            let stream = 2 * n + 1;
            raw.headers(stream, &GET, true) && raw.frame(kind::RST_STREAM, 0, stream, &8u32.to_be_bytes())
        }),
        ("http2_control_frames", |raw, _| raw.frame(kind::PING, 0, 0, &[0; 8])),
        ("http2_control_frames", |raw, _| raw.frame(kind::SETTINGS, 0, 0, &[])),
        ("http2_control_frames", |raw, n| raw.frame(kind::PRIORITY, 0, 2 * n + 1, &[0, 0, 0, 0, 7])),
        ("http2_control_frames", |raw, _| raw.frame(77, 0, 0, b"what is this")),
        ("http2_empty_frames", |raw, n| {
            if n == 0 {
                let head = [&[(":method", "POST")][..], &GET[1..]].concat();
                raw.headers(1, &head, false);
            }
            raw.frame(kind::DATA, 0, 1, &[])
        }),
        ("http2_continuations", |raw, n| match n {
            0 => raw.frame(kind::HEADERS, 0, 1, &block(&GET)),
            n => raw.frame(kind::CONTINUATION, 0, 1, &block(&[("x-more", &n.to_string())])),
        }),
    ];
    let mut expected = std::collections::BTreeMap::new();
    for (name, flood) in floods {
        let mut raw = Raw::connect(gateway.address("web"), &[]);
        for n in 0..200 {
            if !flood(&mut raw, n) {
                break;
            }
        }
        let code = raw.goaway();
        assert!(matches!(code, Some(ENHANCE_YOUR_CALM) | None), "{name}: {code:?}");
        *expected.entry(name).or_insert(0.0) += 1.0;
        wait::until_true(name, || {
            gateway.metrics().sum("ringway_exchanges_cut_total", &[("reason", name)]) == expected[name]
        });
    }
    // All at once with the preface.
    let mut raw = Raw::connect(gateway.address("web"), &[]);
    raw.send(&[&[0, 0, 8, 6, 0, 0, 0, 0, 0][..], &[0; 8]].concat().repeat(200));
    assert!(matches!(raw.goaway(), Some(ENHANCE_YOUR_CALM) | None));
    let mut socket = std::net::TcpStream::connect(gateway.address("web")).unwrap();
    socket.set_read_timeout(Some(wait::PATIENCE)).unwrap();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let pings = [&[0, 0, 8, 6, 0, 0, 0, 0, 0][..], &[0; 8]].concat().repeat(200);
    std::io::Write::write_all(&mut socket, &[&preface[..], &pings].concat()).unwrap();
    let mut rest = Vec::new();
    std::io::Read::read_to_end(&mut socket, &mut rest).ok();
    assert!(rest.windows(4).any(|code| code == ENHANCE_YOUR_CALM.to_be_bytes()), "{rest:?}");
    wait::until_true("both to be counted", || {
        let labels = [("reason", "http2_control_frames")];
        gateway.metrics().sum("ringway_exchanges_cut_total", &labels) == 6.0
    });
    // Whoever keeps within it is served.
    assert_eq!(Session::connect(gateway.address("web")).get("/").status, 200);
}

#[test]
fn errors_that_make_us_reset_streams_are_bounded() {
    let origin = Origin::start(parts::stalls);
    let text = PLAIN.replace("routes: all }", "routes: all, http2: { stream_errors: 10 } }");
    let gateway = Gateway::start_with(&text, &[("origin", &origin.endpoint())]);
    let mut raw = Raw::connect(gateway.address("web"), &[]);
    for n in 0..100 {
        let stream = 2 * n + 1;
        // A window beyond 2^31-1 is an error of the stream, which we then reset (CVE-2025-8671).
        let too_much = 0x7fff_ffff_u32.to_be_bytes();
        if !(raw.headers(stream, &GET, true) && raw.frame(kind::WINDOW_UPDATE, 0, stream, &too_much)) {
            break;
        }
    }
    assert_eq!(raw.goaway(), Some(ENHANCE_YOUR_CALM));
}

#[test]
fn heads_are_bounded_as_decoded_and_crumbs_count() {
    let origin = Origin::start(parts::echoes);
    let text = PLAIN.replace("routes: all }", "routes: all, limits: { head: 4KiB, headers: 20 } }");
    let gateway = Gateway::start_with(&text, &[("origin", &origin.endpoint())]);
    // One field in the dynamic table, named again and again by one byte (an HPACK bomb).
    let mut bomb = block(&GET);
    bomb.extend([0x40, 1, b'x', 127]);
    bomb.extend([0x81, 0x05]);
    bomb.extend(vec![b'y'; 768]);
    bomb.extend(vec![0x80 | 62; 2000]);
    let mut raw = Raw::connect(gateway.address("web"), &[]);
    raw.frame(kind::HEADERS, 5, 1, &bomb);
    let refused = loop {
        match raw.read() {
            Some(frame) if frame.kind == kind::HEADERS => break frame.payload[0] != 0x80 | 8,
            Some(frame) if frame.kind == kind::RST_STREAM || frame.kind == kind::GOAWAY => break true,
            Some(_) => {}
            None => break true,
        }
    };
    assert!(refused);
    let session = Session::connect(gateway.address("web"));
    let mut crumbs = Request::get("http://a.example/");
    for n in 0..40 {
        crumbs = crumbs.header("cookie", format!("a{n}=1"));
    }
    let answer = session.ask(crumbs.body(()).unwrap(), &[], None);
    assert_eq!((answer.status, answer.text().contains("too_many_headers")), (431, true), "{}", answer.text());
    assert!(origin.seen().is_empty());
    assert_eq!(session.get("/").status, 200);
}

#[test]
fn a_stream_that_takes_nothing_ends_alone() {
    let origin = Origin::start(parts::says_bytes(1 << 20));
    let text = PLAIN.replace("routes: all }", "routes: all, timeouts: { min_rate: 1KiB/s } }");
    let gateway = Gateway::start_with(&text, &[("origin", &origin.endpoint())]);
    let mut raw = Raw::connect(gateway.address("web"), &[(4, 0)]);
    raw.headers(1, &GET, true);
    // No window is ever given: within two looks it is cut, the connection lives on.
    let frame = raw.expect(kind::RST_STREAM, 1);
    assert_eq!(frame.payload, 2u32.to_be_bytes());
    raw.frame(kind::PING, 0, 0, b"12345678");
    assert_eq!(raw.expect(kind::PING, 0).payload, b"12345678");
}

#[test]
fn a_reset_from_the_client_reaches_the_origin() {
    let origin = Origin::start(parts::stalls);
    let gateway = Gateway::in_front_of(&origin);
    let mut raw = Raw::connect(gateway.address("web"), &[]);
    raw.headers(1, &GET, true);
    wait::until_true("the request to arrive", || origin.seen().len() == 1);
    raw.frame(kind::RST_STREAM, 0, 1, &8u32.to_be_bytes());
    assert!(origin.wait(wait::PATIENCE, |state| state.ended.contains(&0)));
    wait::until_true("it to be counted", || {
        gateway.metrics().sum("ringway_exchanges_cut_total", &[("reason", "client_gone")]) == 1.0
    });
}

#[test]
fn a_response_that_breaks_off_is_reset() {
    let origin = Origin::start(parts::sends_and_resets(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"));
    let gateway = Gateway::in_front_of(&origin);
    let answer = Session::connect(gateway.address("web")).get("/");
    assert_eq!(answer.status, 200);
    assert!(answer.broken.is_some_and(|error| error.is_reset()));
    let origin = Http2Origin::start(|_| Reply {
        body: vec![b"half".to_vec()],
        reset: Some(h2::Reason::INTERNAL_ERROR),
        ..Reply::default()
    });
    let gateway = Gateway::start_with(UPSTREAM, &[("origin", &origin.address.to_string())]);
    let response = {
        let mut client = gateway.connect();
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        client.try_response(ringway_tests::client::To::Get)
    };
    assert!(response.map_or(true, |response| response.is_cut() || response.status == 502));
    let answer = Session::connect(gateway.address("web")).get("/");
    assert!(answer.broken.is_some() || answer.status == 502, "{answer:?}");
}

#[test]
fn a_drain_says_goaway_and_ends_what_is_under_way() {
    let origin = Origin::start(parts::takes(Duration::from_millis(600), "late"));
    let mut gateway = Gateway::in_front_of(&origin);
    let mut raw = Raw::connect(gateway.address("web"), &[]);
    raw.headers(1, &GET, true);
    wait::until_true("the request to arrive", || origin.seen().len() == 1);
    gateway.signal("TERM");
    let goaway = raw.expect(kind::GOAWAY, 0);
    assert_eq!(goaway.payload[4..8], [0; 4]);
    assert_eq!(raw.expect(kind::HEADERS, 1).payload[0], 0x80 | 8);
    assert_eq!(raw.expect(kind::DATA, 1).payload, b"late");
    assert!(gateway.wait_for_exit(wait::PATIENCE).success());
}

#[test]
fn a_reload_drops_no_stream() {
    let origin = Origin::start(parts::takes(Duration::from_millis(500), "late"));
    let mut gateway = Gateway::in_front_of(&origin);
    let session = Session::connect(gateway.address("web"));
    let send = session.run(async |send| send);
    let asked = std::thread::spawn(move || {
        let answers: Vec<_> = (0..3).map(|_| session.get("/").status).collect();
        drop(send);
        answers
    });
    wait::until_true("the request to arrive", || origin.seen().len() == 1);
    gateway.reload(&PLAIN.replace("routes: all }", "routes: all, trace: true }"));
    assert_eq!(asked.join().unwrap(), [200, 200, 200]);
    // Where the listener goes, its connections say so and end.
    let mut raw = Raw::connect(gateway.address("web"), &[]);
    raw.headers(1, &GET, true);
    wait::until_true("the request to arrive", || origin.seen().len() == 4);
    gateway.reload(&PLAIN.replace("{{web}}", "{{other}}"));
    assert_eq!(raw.expect(kind::GOAWAY, 0).payload[4..8], [0; 4]);
    assert_eq!(raw.expect(kind::DATA, 1).payload, b"late");
}

#[test]
fn connections_to_an_endpoint_are_shared_and_more_are_opened_before_they_are_full() {
    let mut builder = h2::server::Builder::new();
    builder.max_concurrent_streams(4);
    let origin =
        Http2Origin::start_with(&builder, |_| Reply { after: Duration::from_millis(150), ..says("ok") });
    let text = format!("runtime: {{ workers: 1, backend: {{{{backend}}}}, pin: false }}\n{UPSTREAM}");
    let gateway = Gateway::start_with(&text, &[("origin", &origin.address.to_string())]);
    let session = Session::connect(gateway.address("web"));
    let statuses = session.run(async |send| {
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..40 {
            let send = send.clone();
            tasks.spawn(async move {
                let mut send = send.ready().await.unwrap();
                let request = Request::get("http://a.example/").body(()).unwrap();
                send.send_request(request, true).unwrap().0.await.unwrap().status()
            });
        }
        tasks.join_all().await
    });
    assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
    let connections = origin.seen().iter().map(|asked| asked.connection).max().unwrap() + 1;
    assert!((2..=16).contains(&connections), "{connections} connections for 40 streams, 4 on each");
}

#[test]
fn what_an_endpoint_says_it_did_not_look_at_is_asked_again() {
    let origin = Http2Origin::start(|asked| match asked.head.uri().path() {
        "/refuse" if asked.connection == 0 => {
            Reply { reset: Some(h2::Reason::REFUSED_STREAM), body: vec![], ..Reply::default() }
        }
        _ => says("ok"),
    });
    let text = format!("runtime: {{ workers: 1, backend: {{{{backend}}}}, pin: false }}\n{UPSTREAM}");
    let gateway = Gateway::start_with(&text, &[("origin", &origin.address.to_string())]);
    assert_eq!(gateway.get("/").expect(200).text(), "ok");
}

#[test]
fn an_endpoint_that_is_not_there_is_told_as_such() {
    let gateway = Gateway::start_with(UPSTREAM, &[("origin", "127.0.0.1:1")]);
    assert_eq!(gateway.get("/").expect(502).reason(), "upstream_connect_refused");
    let answer = Session::connect(gateway.address("web")).get("/");
    assert_eq!(answer.status, 502);
    assert!(answer.text().contains("upstream_connect_refused"));
}

#[test]
fn an_endpoint_that_says_nothing_is_told_as_such() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let text = UPSTREAM.replace("protocol: http2", "protocol: http2, timeouts: { connect: 200ms }");
    let gateway = Gateway::start_with(&text, &[("origin", &silent.local_addr().unwrap().to_string())]);
    for _ in 0..3 {
        assert_eq!(gateway.get("/").expect(504).reason(), "upstream_connect_timeout");
    }
    wait::until_true("the connections to be closed", || {
        gateway.metrics().sum("ringway_upstream_connections_active", &[]) == 0.0
    });
}

#[test]
fn a_client_that_does_not_answer_pings_is_gone() {
    let origin = Origin::start(parts::echoes);
    let text = PLAIN.replace("routes: all }", "routes: all, http2: { keep_alive: 200ms } }");
    let gateway = Gateway::start_with(&text, &[("origin", &origin.endpoint())]);
    let mut raw = Raw::connect(gateway.address("web"), &[]);
    raw.expect(kind::PING, 0);
    let began = Instant::now();
    while raw.read().is_some() {}
    assert!(began.elapsed() < Duration::from_secs(5));
}
