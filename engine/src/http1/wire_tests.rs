//! Heads as wire text beside what becomes of them: every rule, met and broken.

use super::*;

fn parse(text: &str) -> Result<Progress, &'static str> {
    RequestHead::default().parse(text.as_bytes(), &Limits::default()).map_err(Refusal::reason)
}

/// Parses a legal head and shows it.
fn with<T>(text: &str, look: impl FnOnce(Request<'_>) -> T) -> T {
    let mut head = RequestHead::default();
    let end = text.find("\r\n\r\n").expect("a complete head") + 4;
    assert_eq!(head.parse(text.as_bytes(), &Limits::default()), Ok(Progress::Complete(end)), "{text:?}");
    look(Request { bytes: text.as_bytes(), head: &head })
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("ASCII")
}

#[test]
fn a_head_is_taken_apart() {
    with(
        "GET /a/b?c=d&e HTTP/1.1\r\nHost: Api.Example:8080\r\nUser-Agent:  x \r\nX-A:\r\n\r\nbody",
        |request| {
            assert_eq!((text(request.method()), request.head.method), ("GET", Method::Get));
            assert_eq!(request.head.form, TargetForm::Origin);
            assert_eq!((text(request.path()), request.query().map(text)), ("/a/b", Some("c=d&e")));
            assert_eq!(
                (text(request.authority()), text(request.host())),
                ("Api.Example:8080", "Api.Example")
            );
            assert_eq!(request.head.authority.and_then(|authority| authority.port), Some(8080));
            assert_eq!(request.head.authority.map(|authority| authority.lower_case), Some(false));
            assert_eq!(request.head.version, Version::Http11);
            assert_eq!(request.head.framing, BodyFraming::None);
            assert!(request.head.keep_alive && !request.head.expect_continue);
            assert_eq!(request.known(Known::UserAgent), Some(&b"x"[..]));
            assert_eq!(request.get(b"x-a"), Some(&b""[..]));
            assert_eq!(request.get(b"x-b"), None);
            let names: Vec<&str> = request.fields().map(|(name, _, _)| text(name)).collect();
            assert_eq!(names, ["Host", "User-Agent", "X-A"]);
        },
    );
    with("BREW / HTTP/1.1\r\nHost: a\r\n\r\n", |request| {
        assert_eq!((text(request.method()), request.head.method), ("BREW", Method::Other));
        assert_eq!(request.query(), None);
    });
    with("GET /? HTTP/1.1\r\nHost: a\r\n\r\n", |request| assert_eq!(request.query(), Some(&b""[..])));
}

#[test]
fn the_target_has_four_forms() {
    with("GET http://A.example:80/x?y HTTP/1.1\r\nHost: a.example\r\n\r\n", |request| {
        assert_eq!(request.head.form, TargetForm::Absolute);
        assert_eq!((text(request.path()), request.query().map(text)), ("/x", Some("y")));
        assert_eq!(text(request.authority()), "A.example:80");
    });
    with("GET HTTPS://a?y HTTP/1.1\r\nHost: a:443\r\n\r\n", |request| {
        assert_eq!((text(request.path()), request.query().map(text)), ("/", Some("y")));
    });
    with("GET http://a HTTP/1.0\r\n\r\n", |request| {
        assert_eq!((text(request.path()), text(request.authority())), ("/", "a"));
    });
    with("OPTIONS http://a HTTP/1.1\r\nHost: a\r\n\r\n", |request| {
        assert_eq!((request.head.form, text(request.path())), (TargetForm::Asterisk, "*"));
    });
    with("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", |request| {
        assert_eq!((request.head.form, text(request.path())), (TargetForm::Asterisk, "*"));
    });
    with("CONNECT a.example:443 HTTP/1.1\r\nHost: a.example\r\n\r\n", |request| {
        assert_eq!((request.head.form, text(request.path())), (TargetForm::Authority, ""));
        assert_eq!(text(request.authority()), "a.example:443");
    });
    for (line, reason) in [
        ("GET *", "bad_target"),
        ("GET a", "bad_target"),
        ("GET a:80", "bad_target"),
        ("GET ftp://a/", "bad_target"),
        ("GET http://", "bad_target"),
        ("GET http:///x", "bad_target"),
        ("GET http://u@a/", "bad_target"),
        ("GET http://a#b", "bad_target"),
        ("GET /a#b", "bad_target"),
        ("GET /a?b#c", "bad_target"),
        ("CONNECT a", "bad_target"),
        ("CONNECT /", "bad_target"),
        ("CONNECT http://a:80/", "bad_target"),
        ("CONNECT b:443", "authority_differs"),
        ("GET http://b/", "authority_differs"),
        ("GET http://a:8080/", "authority_differs"),
        ("GET https://a:80/", "authority_differs"),
    ] {
        assert_eq!(parse(&format!("{line} HTTP/1.1\r\nHost: a\r\n\r\n")), Err(reason), "{line}");
    }
}

#[test]
fn broken_request_lines_are_refused() {
    for (head, reason) in [
        ("GET /\r\n", "bad_request_line"),
        ("GET\r\n", "bad_request_line"),
        ("GET  / HTTP/1.1\r\n", "bad_request_line"),
        (" GET / HTTP/1.1\r\n", "bad_request_line"),
        ("GET\t/ HTTP/1.1\r\n", "bad_method"),
        ("GET /\tHTTP/1.1\r\n", "bad_request_line"),
        ("GET / a HTTP/1.1\r\n", "bad_version"),
        ("GET /  HTTP/1.1\r\n", "bad_version"),
        ("GET / HTTP/1.1 \r\n", "bad_version"),
        ("GET / HTTP/1.10\r\n", "bad_version"),
        ("GET / http/1.1\r\n", "bad_version"),
        ("GET / HTTPS/1.1\r\n", "bad_version"),
        ("GET / HTTP/1,1\r\n", "bad_version"),
        ("GET / HTTP/1\r\n", "bad_version"),
        ("GET / HTTP/1.2\r\n", "version_not_supported"),
        ("GET / HTTP/0.9\r\n", "version_not_supported"),
        ("GET / HTTP/2.0\r\n", "version_not_supported"),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "version_not_supported"),
        ("G(T / HTTP/1.1\r\n", "bad_method"),
        ("G\0T / HTTP/1.1\r\n", "bad_method"),
        ("\u{16}\u{3}\u{1}\u{2}", "bad_method"),
        ("GET /a\0b HTTP/1.1\r\n", "control_in_target"),
        ("GET /a\u{7f}b HTTP/1.1\r\n", "control_in_target"),
        ("GET /caf\u{e9} HTTP/1.1\r\nHost: a\r\n\r\n", "eight_bit_target"),
        ("GET / HTTP/1.1\rHost: a\r\n", "bare_cr"),
        ("GET / HTTP/1.1\nHost: a\r\n\r\n", "bare_lf"),
        ("GET / HTTP/1.1\r\nHost: a\n\r\n", "bare_lf"),
        ("GET / HTTP/1.1\r\nHost: a\r\n\n", "bare_lf"),
        ("GET / HTTP/1.1\r\nA: 1\nHost: a\r\n\r\n", "bare_lf"),
        ("GET / HTTP/1.1\n\n", "bare_lf"),
        ("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "empty_lines"),
        ("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "bare_lf"),
        ("\rGET / HTTP/1.1\r\nHost: a\r\n\r\n", "bare_cr"),
    ] {
        assert_eq!(parse(head), Err(reason), "{head:?}");
    }
    // Invalid as UTF-8, too.
    let latin = RequestHead::default().parse(b"GET /caf\xe9 HTTP/1.1\r\nHost: a\r\n\r\n", &Limits::default());
    assert_eq!(latin, Err(Refusal::EightBitTarget));
}

#[test]
fn one_empty_line_before_a_request_is_skipped() {
    let head = "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n";
    with(head, |request| assert_eq!(text(request.path()), "/"));
    for start in ["\r", "\r\n", "\r\nG"] {
        assert_eq!(parse(start), Ok(Progress::Partial));
    }
}

#[test]
fn broken_fields_are_refused() {
    for (line, reason) in [
        (" A: 1", "obs_fold"),
        ("A: 1\r\n b", "obs_fold"),
        ("A: 1\r\n\tb", "obs_fold"),
        ("A: 1\r\n ", "obs_fold"),
        ("A : 1", "space_before_colon"),
        ("A\t: 1", "space_before_colon"),
        ("Content-Length : 1", "space_before_colon"),
        ("A B: 1", "bad_field_name"),
        (": 1", "bad_field_name"),
        ("A", "bad_field_name"),
        ("A(: 1", "bad_field_name"),
        ("\u{e9}: 1", "bad_field_name"),
        ("A\0: 1", "control_in_name"),
        ("A\u{b}B: 1", "control_in_name"),
        ("A\u{7f}: 1", "control_in_name"),
        ("A: \0", "control_in_value"),
        ("A: a\u{8}b", "control_in_value"),
        ("A: \u{7f}", "control_in_value"),
        ("A: 1\rB: 2", "bare_cr"),
        ("A: 1\r", "bare_cr"),
        ("A\rB: 1", "bare_cr"),
        ("A: 1\nB: 2", "bare_lf"),
        ("A\nB: 1", "bare_lf"),
        ("content length: 1", "framing_lookalike"),
        ("Transfer\0Encoding: chunked", "framing_lookalike"),
        ("Transfer_Encoding: chunked", "framing_lookalike"),
        ("Content_Length: 1", "framing_lookalike"),
        ("Content.Length: 1", "framing_lookalike"),
        ("Transfer-\u{e9}Encoding: chunked", "framing_lookalike"),
    ] {
        assert_eq!(parse(&format!("GET / HTTP/1.1\r\nHost: a\r\n{line}\r\n\r\n")), Err(reason), "{line:?}");
    }
    with("GET / HTTP/1.1\r\nHost: a\r\nA: caf\u{e9}\tb\r\n\r\n", |request| {
        assert_eq!(request.get(b"a"), Some("caf\u{e9}\tb".as_bytes()));
    });
}

#[test]
fn a_head_is_refused_before_its_end_where_the_tokens_show_it() {
    for (start, reason) in [
        ("GET / HTTP/1.1\r\nA : 1\r\nB", "space_before_colon"),
        ("GET / HTTP/1.1\r\nA: 1\r\n ", "obs_fold"),
        ("GET / HTTP/1.1\r\nA: \0", "control_in_value"),
        ("GET / HTTP/1.1\r\nTransfer Encoding:", "framing_lookalike"),
        ("GET / X", "bad_version"),
        ("GET\r", "bad_request_line"),
    ] {
        assert_eq!(parse(start), Err(reason), "{start:?}");
    }
    // Not decided yet: HTTP/2.0 or garbage.
    assert_eq!(parse("GET / HTTP/2"), Ok(Progress::Partial));
    assert_eq!(parse("GET / HTTP/2.0"), Err("version_not_supported"));
}

#[test]
fn host_is_given_once_and_well_formed() {
    assert_eq!(parse("GET / HTTP/1.1\r\n\r\n"), Err("missing_host"));
    assert_eq!(parse("GET http://a/ HTTP/1.1\r\n\r\n"), Err("missing_host"));
    assert_eq!(parse("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"), Err("repeated_host"));
    assert_eq!(parse("GET / HTTP/1.0\r\nHost: a\r\nhost: b\r\n\r\n"), Err("repeated_host"));
    for host in ["", "a b", "a,b", "u@a", "a/b", "a:x", "[::1", "a:99999"] {
        assert_eq!(parse(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")), Err("bad_host"), "{host}");
    }
    with("GET / HTTP/1.0\r\n\r\n", |request| {
        assert_eq!((request.head.authority, request.authority()), (None, &b""[..]));
    });
    with("GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", |request| assert_eq!(text(request.host()), "[::1]"));
}

#[test]
fn framing_is_unambiguous_or_refused() {
    for (fields, framing) in [
        ("", BodyFraming::None),
        ("Content-Length: 0\r\n", BodyFraming::Length(0)),
        ("content-length:  42 \r\n", BodyFraming::Length(42)),
        ("Transfer-Encoding: chunked\r\n", BodyFraming::Chunked),
        ("transfer-encoding: CHUNKED\r\n", BodyFraming::Chunked),
    ] {
        with(&format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n"), |request| {
            assert_eq!(request.head.framing, framing, "{fields:?}");
        });
    }
    for (fields, reason) in [
        ("Content-Length: 5\r\nTransfer-Encoding: chunked", "both_length_and_chunked"),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5", "both_length_and_chunked"),
        ("Transfer-Encoding: gzip\r\nContent-Length: x", "both_length_and_chunked"),
        ("Content-Length: 5\r\nContent-Length: 5", "repeated_content_length"),
        ("Content-Length: 5\r\nContent-Length: 6", "repeated_content_length"),
        ("Content-Length: 5, 5", "bad_content_length"),
        ("Content-Length: 5,6", "bad_content_length"),
        ("Content-Length:", "bad_content_length"),
        ("Content-Length: +5", "bad_content_length"),
        ("Content-Length: -5", "bad_content_length"),
        ("Content-Length: 5 5", "bad_content_length"),
        ("Content-Length: 0x5", "bad_content_length"),
        ("Content-Length: 18446744073709551616", "bad_content_length"),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "repeated_transfer_encoding"),
        ("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked", "repeated_transfer_encoding"),
        ("Transfer-Encoding: chunked, chunked", "bad_transfer_encoding"),
        ("Transfer-Encoding: chunked, gzip", "bad_transfer_encoding"),
        ("Transfer-Encoding: gzip", "bad_transfer_encoding"),
        ("Transfer-Encoding: identity", "bad_transfer_encoding"),
        ("Transfer-Encoding: xchunked", "bad_transfer_encoding"),
        ("Transfer-Encoding: chunked;a=b", "bad_transfer_encoding"),
        ("Transfer-Encoding:", "bad_transfer_encoding"),
        ("Transfer-Encoding: \"chunked\"", "bad_transfer_encoding"),
        ("Transfer-Encoding: gzip, chunked", "transfer_coding_not_supported"),
        ("Transfer-Encoding: x-new, chunked", "transfer_coding_not_supported"),
    ] {
        assert_eq!(
            parse(&format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n")),
            Err(reason),
            "{fields:?}"
        );
    }
    assert_eq!(
        parse("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"),
        Err("transfer_encoding_on_http10")
    );
}

#[test]
fn connection_decides_what_persists_and_what_is_dropped() {
    for (version, connection, keep_alive) in [
        ("1.1", "", true),
        ("1.1", "Connection: keep-alive\r\n", true),
        ("1.1", "Connection: Close\r\n", false),
        ("1.1", "Connection: keep-alive, close\r\n", false),
        ("1.1", "Connection: keep-alive\r\nConnection: close\r\n", false),
        ("1.1", "Connection: closed\r\n", true),
        ("1.0", "", false),
        ("1.0", "Connection: Keep-Alive\r\n", true),
        ("1.0", "Connection: a, keep-alive\r\n", true),
        ("1.0", "Proxy-Connection: keep-alive\r\n", false),
    ] {
        with(&format!("GET / HTTP/{version}\r\nHost: a\r\n{connection}\r\n"), |request| {
            assert_eq!(request.head.keep_alive, keep_alive, "{version} {connection:?}");
        });
    }
    let head = "GET / HTTP/1.1\r\nHost: a\r\nconnection: X-A, host , content-length,, te\r\nX-A: 1\r\nx-a: 2\r\nX-B: 3\r\n\
        Connection: close\r\nContent-Length: 0\r\nKeep-Alive: 1\r\nTE: trailers\r\nUpgrade: h2c\r\nProxy-Connection: x\r\n\
        HTTP2-Settings: a\r\nProxy-Authorization: b\r\nCookie: c\r\n\r\n";
    with(head, |request| {
        let kept: Vec<&str> = request
            .fields()
            .filter(|(_, _, field)| !field.dropped())
            .map(|(name, _, _)| text(name))
            .collect();
        assert_eq!(kept, ["Host", "X-B", "Content-Length", "Cookie"]);
        assert_eq!(request.head.framing, BodyFraming::Length(0));
        assert!(request.head.accepts_trailers && !request.head.keep_alive);
    });
    assert_eq!(parse("GET / HTTP/1.1\r\nHost: a\r\nConnection: a b\r\n\r\n"), Err("bad_connection"));
    let many = "x,".repeat(40);
    assert_eq!(
        parse(&format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: {many}\r\n\r\n")),
        Err("bad_connection")
    );
}

#[test]
fn underscored_names_are_marked_unless_allowed() {
    let head = b"GET / HTTP/1.1\r\nHost: a\r\nx_a: 1\r\nx-forwarded_for-someone: 2\r\nX-B: 3\r\n\r\n";
    for (underscores, dropped) in [(false, 2), (true, 0)] {
        let mut parsed = RequestHead::default();
        let limits = Limits { underscores, ..Limits::default() };
        assert!(parsed.parse(head, &limits).is_ok());
        assert_eq!(parsed.fields.as_slice().iter().filter(|field| field.dropped()).count(), dropped);
    }
}

#[test]
fn an_upgrade_is_one_only_where_connection_says_so() {
    let upgrades = |version: &str, fields: &str| {
        with(&format!("GET / HTTP/{version}\r\nHost: a\r\n{fields}\r\n"), |request| {
            request.upgrades().map(|protocol| text(protocol).to_owned()).collect::<Vec<_>>()
        })
    };
    assert_eq!(upgrades("1.1", "Connection: upgrade\r\nUpgrade: websocket, h2c\r\n"), ["websocket", "h2c"]);
    assert_eq!(upgrades("1.1", "Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n"), ["WebSocket"]);
    assert!(upgrades("1.1", "Upgrade: websocket\r\n").is_empty());
    assert!(upgrades("1.1", "Connection: upgrade\r\n").is_empty());
    assert!(upgrades("1.0", "Connection: upgrade\r\nUpgrade: websocket\r\n").is_empty());
    assert!(upgrades("1.1", "Connection: upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c\r\n").is_empty());
}

#[test]
fn expect_is_100_continue_or_417() {
    let waits = |version: &str, fields: &str| {
        with(&format!("PUT / HTTP/{version}\r\nHost: a\r\n{fields}\r\n"), |request| {
            request.head.expect_continue
        })
    };
    assert!(waits("1.1", "Expect: 100-Continue\r\nContent-Length: 5\r\n"));
    assert!(!waits("1.1", "Expect: 100-continue\r\n"));
    assert!(!waits("1.0", "Expect: 100-continue\r\nContent-Length: 5\r\n"));
    for expect in ["Expect: 200-ok", "Expect:", "Expect: 100-continue\r\nExpect: 100-continue"] {
        assert_eq!(
            parse(&format!("PUT / HTTP/1.1\r\nHost: a\r\n{expect}\r\n\r\n")),
            Err("expectation_failed")
        );
    }
}

#[test]
fn max_forwards_counts_for_options_and_trace_only() {
    let forwards = |line: &str| {
        with(&format!("{line} HTTP/1.1\r\nHost: a\r\nMax-Forwards: 3\r\n\r\n"), |request| {
            request.head.max_forwards
        })
    };
    assert_eq!(forwards("OPTIONS *"), Some(3));
    assert_eq!(forwards("TRACE /"), Some(3));
    assert_eq!(forwards("GET /"), None);
    for bad in ["Max-Forwards: x", "Max-Forwards: -1", "Max-Forwards: 1\r\nMax-Forwards: 1"] {
        assert_eq!(parse(&format!("TRACE / HTTP/1.1\r\nHost: a\r\n{bad}\r\n\r\n")), Err("bad_max_forwards"));
    }
}

#[test]
fn a_reused_head_keeps_nothing_of_the_request_before() {
    let first =
        b"PUT http://b/x?y HTTP/1.1\r\nHost: b\r\nConnection: upgrade\r\nUpgrade: a\r\nTE: trailers\r\n\
        Expect: 100-continue\r\nContent-Length: 3\r\n\r\n";
    let second = b"GET /z HTTP/1.0\r\n\r\n";
    let (mut reused, mut fresh) = (RequestHead::default(), RequestHead::default());
    assert_eq!(reused.parse(first, &Limits::default()), Ok(Progress::Complete(first.len())));
    for head in [&mut reused, &mut fresh] {
        assert_eq!(head.parse(second, &Limits::default()), Ok(Progress::Complete(second.len())));
        let request = Request { bytes: second, head };
        assert_eq!((text(request.path()), request.query(), request.authority()), ("/z", None, &b""[..]));
        assert_eq!((head.framing, head.upgrade, head.expect_continue), (BodyFraming::None, None, false));
        assert!(!head.keep_alive && !head.accepts_trailers && head.form == TargetForm::Origin);
        assert!(head.fields.as_slice().is_empty() && head.fields.known(Known::Host).is_none());
    }
}

#[test]
fn limits_hold_as_soon_as_it_is_certain() {
    let limits = Limits { head_bytes_max: 200, fields_max: 3, target_bytes_max: 20, underscores: false };
    let parse = |text: &str| RequestHead::default().parse(text.as_bytes(), &limits).map_err(Refusal::reason);
    assert!(parse(&format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(19))).is_ok());
    assert_eq!(
        parse(&format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(20))),
        Err("target_too_long")
    );
    assert_eq!(parse(&format!("GET /{}", "a".repeat(19))), Ok(Progress::Partial));
    assert_eq!(parse(&format!("GET /{}", "a".repeat(20))), Err("target_too_long"));
    assert_eq!(parse(&format!("GET /{}", "a".repeat(2000))), Err("target_too_long"));
    assert_eq!(parse(&"A".repeat(METHOD_BYTES_MAX)), Ok(Progress::Partial));
    assert_eq!(parse(&"A".repeat(METHOD_BYTES_MAX + 1)), Err("method_too_long"));
    assert_eq!(
        parse(&format!("{} / HTTP/1.1\r\n", "A".repeat(METHOD_BYTES_MAX + 1))),
        Err("method_too_long")
    );
    assert!(parse("GET / HTTP/1.1\r\nHost: a\r\nA: 1\r\nB: 2\r\n\r\n").is_ok());
    assert_eq!(parse("GET / HTTP/1.1\r\nHost: a\r\nA: 1\r\nB: 2\r\nC: 3\r\n"), Err("too_many_headers"));

    let head = |fill: usize| format!("GET / HTTP/1.1\r\nHost: a\r\nA: {}\r\n\r\n", "x".repeat(fill));
    let fits = 200 - head(0).len();
    assert_eq!(parse(&head(fits)), Ok(Progress::Complete(200)));
    assert_eq!(parse(&head(fits + 1)), Err("header_too_large"));
    assert_eq!(parse(&head(fits + 1)[..200]), Err("header_too_large"));
    assert_eq!(parse(&head(fits + 1)[..199]), Ok(Progress::Partial));
}

#[test]
fn byte_by_byte_a_limit_is_met_at_the_byte_that_passes_it() {
    let limits = Limits { head_bytes_max: 500, fields_max: 3, target_bytes_max: 100, underscores: false };
    for (head, refused_at) in [
        (format!("GET /{}", "a".repeat(600)), "GET /".len() + 100),
        ("A".repeat(600), METHOD_BYTES_MAX + 1),
        (format!("GET / HTTP/1.1\r\nA: {}", "a".repeat(600)), 500),
    ] {
        let mut parsed = RequestHead::default();
        let at = (1..=head.len()).find(|so_far| parsed.parse(&head.as_bytes()[..*so_far], &limits).is_err());
        assert_eq!(at, Some(refused_at), "{}", &head[..20]);
    }
}

#[test]
fn many_fields_are_taken_where_the_limit_allows_them() {
    let head = |count| {
        let fields: String = (1..count).map(|n| format!("A{n}: {n}\r\n")).collect();
        format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n")
    };
    let limits = |fields_max| Limits { fields_max, head_bytes_max: 1 << 20, ..Limits::default() };
    for (count, fields_max, fits) in [
        (128, 128, true),
        (129, 128, false),
        (129, 200, true),
        (201, 200, false),
        (1024, u16::MAX, true),
        (1025, u16::MAX, false),
    ] {
        let mut parsed = RequestHead::default();
        let found = parsed.parse(head(count).as_bytes(), &limits(fields_max));
        if fits {
            assert_eq!((found.is_ok(), parsed.fields.as_slice().len()), (true, count));
        } else {
            assert_eq!(found, Err(Refusal::TooManyFields));
        }
    }
}

fn respond(text: &str, request: Method) -> Result<ResponseHead, &'static str> {
    let mut head = ResponseHead::default();
    match head.parse(text.as_bytes(), request, &Limits::default()).map_err(Refusal::reason)? {
        Progress::Partial => panic!("not complete: {text:?}"),
        Progress::Complete(_) => Ok(head),
    }
}

#[test]
fn a_response_is_taken_apart() {
    let bytes = "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\r\nno";
    let head = respond(bytes, Method::Get).expect("legal");
    let response = Response { bytes: bytes.as_bytes(), head: &head };
    assert_eq!((head.status, text(response.reason())), (404, "Not Found"));
    assert_eq!((head.framing, head.content_length), (ResponseFraming::Length(2), Some(2)));
    assert!(head.keep_alive);
    assert_eq!(response.get(b"SET-COOKIE"), Some(&b"a"[..]));
    assert_eq!(response.known(Known::SetCookie), Some(&b"b"[..]));

    let latin = b"HTTP/1.1 200 caf\xe9\r\n\r\n";
    let mut head = ResponseHead::default();
    assert!(head.parse(latin, Method::Get, &Limits::default()).is_ok());
    assert_eq!(Response { bytes: latin, head: &head }.reason(), b"caf\xe9");
    let head = respond("HTTP/1.1 200 \r\n\r\n", Method::Get).expect("legal");
    assert_eq!(Response { bytes: b"HTTP/1.1 200 \r\n\r\n", head: &head }.reason(), b"");
}

#[test]
fn where_a_response_ends_depends_on_method_status_and_fields() {
    use ResponseFraming::{Chunked, Length, None, UntilClose};
    for (line, fields, request, framing, keep_alive) in [
        ("1.1 200 OK", "Content-Length: 5\r\n", Method::Get, Length(5), true),
        ("1.1 200 OK", "Content-Length: 5\r\nConnection: close\r\n", Method::Get, Length(5), false),
        ("1.1 200 OK", "Transfer-Encoding: chunked\r\n", Method::Get, Chunked, true),
        ("1.1 200 OK", "", Method::Get, UntilClose, false),
        ("1.1 200 OK", "Connection: keep-alive\r\n", Method::Get, UntilClose, false),
        ("1.0 200 OK", "Content-Length: 5\r\n", Method::Get, Length(5), false),
        ("1.0 200 OK", "Content-Length: 5\r\nConnection: keep-alive\r\n", Method::Get, Length(5), true),
        ("1.1 200 OK", "Content-Length: 5\r\n", Method::Head, None, true),
        ("1.1 200 OK", "Transfer-Encoding: chunked\r\n", Method::Head, None, true),
        ("1.1 200 OK", "", Method::Head, None, true),
        ("1.1 200 OK", "Content-Length: 5\r\n", Method::Connect, None, true),
        ("1.1 407 No", "Content-Length: 5\r\n", Method::Connect, Length(5), true),
        ("1.1 100 Continue", "", Method::Post, None, true),
        (
            "1.1 101 Switching Protocols",
            "Connection: upgrade\r\nUpgrade: websocket\r\n",
            Method::Get,
            None,
            true,
        ),
        ("1.1 204 No Content", "", Method::Get, None, true),
        ("1.1 204 No Content", "Content-Length: 0\r\n", Method::Get, None, true),
        ("1.1 304 Not Modified", "Content-Length: 5\r\n", Method::Get, None, true),
        ("1.1 304 Not Modified", "Transfer-Encoding: chunked\r\n", Method::Get, None, true),
    ] {
        let head = respond(&format!("HTTP/{line}\r\n{fields}\r\n"), request).expect(line);
        assert_eq!((head.framing, head.keep_alive), (framing, keep_alive), "{line} {fields:?} {request:?}");
    }
}

#[test]
fn broken_responses_are_refused() {
    for (bytes, reason) in [
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            "both_length_and_chunked",
        ),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", "repeated_content_length"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5,5\r\n\r\n", "bad_content_length"),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            "repeated_transfer_encoding",
        ),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", "transfer_coding_not_supported"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", "bad_transfer_encoding"),
        ("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "transfer_encoding_on_http10"),
        ("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", "framing_forbidden"),
        ("HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n", "framing_forbidden"),
        ("HTTP/1.1 103 Early Hints\r\nTransfer-Encoding: chunked\r\n\r\n", "framing_forbidden"),
        ("HTTP/1.1 304 Not Modified\r\nContent-Length: x\r\n\r\n", "bad_content_length"),
        ("HTTP/1.1 200\r\n\r\n", "bad_status_line"),
        ("HTTP/1.1  200 OK\r\n\r\n", "bad_status_line"),
        ("HTTP/1.1 20 OK\r\n\r\n", "bad_status_line"),
        ("HTTP/1.1 2000 OK\r\n\r\n", "bad_status_line"),
        ("HTTP/1.1 2x0 OK\r\n\r\n", "bad_status_line"),
        ("HTTP/1.1 200 O\0K\r\n\r\n", "bad_status_line"),
        ("HTTP/1.1 099 No\r\n\r\n", "bad_status"),
        ("HTTP/1.1 600 No\r\n\r\n", "bad_status"),
        ("HTTP/1.2 200 OK\r\n\r\n", "version_not_supported"),
        ("HTTP/2.0 200 OK\r\n\r\n", "version_not_supported"),
        ("ICY 200 OK\r\n\r\n", "bad_version"),
        ("<html>", "bad_version"),
        ("\r\nHTTP/1.1 200 OK\r\n\r\n", "bad_status_line"),
        ("HTTP/1.1 200 OK\nA: 1\r\n\r\n", "bare_lf"),
        ("HTTP/1.1 200 OK\r\nA: 1\n\r\n", "bare_lf"),
        ("HTTP/1.1 200 OK\r\nA: 1\r\n\n", "bare_lf"),
        ("HTTP/1.1 200 OK\rA: 1\r\n\r\n", "bare_cr"),
        ("HTTP/1.1 200 OK\r\nA: 1\r\n b\r\n\r\n", "obs_fold"),
        ("HTTP/1.1 200 OK\r\nA : 1\r\n\r\n", "space_before_colon"),
        ("HTTP/1.1 200 OK\r\nA: \0\r\n\r\n", "control_in_value"),
        ("HTTP/1.1 200 OK\r\nContent_Length: 1\r\n\r\n", "framing_lookalike"),
    ] {
        assert_eq!(respond(bytes, Method::Get).map(|head| head.status), Err(reason), "{bytes:?}");
    }
}

mod properties {
    use proptest::prelude::*;

    use super::super::fuzzing;

    /// Lines that are mostly legal, put together at random.
    fn heads() -> impl Strategy<Value = Vec<u8>> {
        let line = prop_oneof![
            Just("GET /a/b?c=d HTTP/1.1".to_owned()),
            Just("POST http://a/x HTTP/1.1".to_owned()),
            Just("OPTIONS * HTTP/1.0".to_owned()),
            "[A-Z]{1,9} /[ -~]{0,12} HTTP/[0-2]\\.[0-2]",
        ];
        let field = prop_oneof![
            4 => "[A-Za-z_-]{1,12}: {0,2}[ -~]{0,20}",
            1 => Just("Content-Length: 12".to_owned()),
            1 => Just("Transfer-Encoding: chunked".to_owned()),
            1 => Just("Connection: close, x-a".to_owned()),
            1 => Just("Connection: upgrade\r\nUpgrade: websocket".to_owned()),
            1 => "\\PC{0,12}",
        ];
        let host = prop_oneof![4 => Just("Host: a\r\n"), 1 => Just("")];
        let end = prop_oneof![4 => Just("\r\n\r\n"), 1 => Just("\r\n"), 1 => Just("\n\n")];
        (line, host, proptest::collection::vec(field, 0..6), end).prop_map(|(line, host, fields, end)| {
            format!("{line}\r\n{host}{}{end}rest", fields.join("\r\n")).into_bytes()
        })
    }

    proptest! {
        #[test]
        fn a_request_split_at_every_byte_parses_the_same(head in heads()) {
            fuzzing::request_head(&head);
        }

        #[test]
        fn a_response_split_at_every_byte_parses_the_same(head in heads(), method in "[GHC]") {
            let at = head.iter().position(|b| *b == b'\n').unwrap_or(0) + 1;
            fuzzing::response_head(&[method.as_bytes(), b"HTTP/1.1 200 OK\r\n", &head[at..]].concat());
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            fuzzing::request_head(&bytes);
            fuzzing::response_head(&bytes);
            fuzzing::response_head(&[b"GHTTP/1.1 200 OK\r\n", bytes.as_slice()].concat());
            fuzzing::chunked(&bytes);
        }
    }
}
