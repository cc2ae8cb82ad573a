use super::*;
use proptest::prelude::*;
use serde_json::Value;

fn record<'a>() -> Record<'a> {
    Record {
        at_us: 1_700_000_000_001_002,
        listener: "web",
        client: b"203.0.113.7",
        peer: b"10.0.0.1",
        method: b"GET",
        target: b"/v1/orders/7?page=2&token=abc",
        protocol: "HTTP/1.1",
        host: b"api.example.com",
        status: 200,
        reason: "",
        route: "orders",
        service: "orders-v2",
        endpoint: b"127.0.0.1:9001",
        request_id: b"0123",
        bytes_in: 120,
        bytes_out: 1234,
        body_out: 1024,
        duration_us: 1_042,
        upstream_head_us: Some(999),
        retries: 0,
        referer: b"https://u:p@example.com/?key=1",
        user_agent: b"curl/8",
        grpc_status: None,
        limit: "",
        client_cert: b"",
    }
}

fn written(format: LineFormat, record: &Record<'_>) -> String {
    let mut line = Vec::new();
    LineWriter::new(format).put(&mut line, record);
    assert!(line.len() <= LINE_BYTES_MAX);
    String::from_utf8(line).unwrap()
}

fn one_line(text: &str) -> bool {
    text.ends_with('\n') && text[..text.len() - 1].bytes().all(|b| (b' '..0x7f).contains(&b))
}

#[test]
fn a_json_line_says_everything() {
    assert_eq!(
        written(LineFormat::Json, &record()),
        concat!(
            r#"{"time":"2023-11-14T22:13:20.001002Z","listener":"web","client":"203.0.113.7","peer":"10.0.0.1","#,
            r#""method":"GET","target":"/v1/orders/7?page=2&token=[redacted]","protocol":"HTTP/1.1","#,
            r#""host":"api.example.com","status":200,"route":"orders","service":"orders-v2","#,
            r#""endpoint":"127.0.0.1:9001","request_id":"0123","bytes_in":120,"bytes_out":1234,"#,
            r#""duration_ms":1.042,"upstream_head_ms":0.999,"retries":0,"#,
            r#""referer":"https://[redacted]@example.com/?key=[redacted]","user_agent":"curl/8"}"#,
            "\n"
        )
    );
}

#[test]
fn a_common_line_says_what_everyone_parses_and_the_reason() {
    let refused = Record { reason: "no_endpoint", status: 503, user_agent: b"a\"b", ..record() };
    assert_eq!(
        written(LineFormat::Common, &refused),
        concat!(
            r#"203.0.113.7 - - [14/Nov/2023:22:13:20 +0000] "GET /v1/orders/7?page=2&token=[redacted] HTTP/1.1" "#,
            r#"503 1024 "https://[redacted]@example.com/?key=[redacted]" "a\"b" no_endpoint 0123 1.042"#,
            "\n"
        )
    );
}

fn carried<'a>() -> CarriedRecord<'a> {
    CarriedRecord {
        at_us: 1_700_000_000_001_002,
        listener: "pg",
        client: b"203.0.113.7",
        peer: b"203.0.113.7",
        protocol: "TCP",
        server_name: b"db.example",
        reason: "tunnel_idle",
        service: "postgres",
        endpoint: b"127.0.0.1:5432",
        bytes_in: 12,
        bytes_out: 345,
        duration_us: 6_789_012,
        client_cert: b"CN=app",
    }
}

#[test]
fn what_is_carried_has_lines_of_both_forms() {
    let written = |format, record: &CarriedRecord<'_>| {
        let mut line = Vec::new();
        LineWriter::new(format).put_carried(&mut line, record);
        String::from_utf8(line).unwrap()
    };
    assert_eq!(
        written(LineFormat::Json, &carried()),
        concat!(
            r#"{"time":"2023-11-14T22:13:20.001002Z","listener":"pg","client":"203.0.113.7","peer":"203.0.113.7","#,
            r#""protocol":"TCP","server_name":"db.example","reason":"tunnel_idle","service":"postgres","#,
            r#""endpoint":"127.0.0.1:5432","bytes_in":12,"bytes_out":345,"duration_ms":6789.012,"client_cert":"CN=app"}"#,
            "\n"
        )
    );
    assert_eq!(
        written(LineFormat::Common, &carried()),
        concat!(
            r#"203.0.113.7 - - [14/Nov/2023:22:13:20 +0000] "TCP db.example 127.0.0.1:5432" 0 345 "-" "-" "#,
            r#"tunnel_idle - 6789.012"#,
            "\n"
        )
    );
    let little = CarriedRecord { protocol: "UDP", server_name: b"", reason: "", ..carried() };
    assert!(written(LineFormat::Common, &little).contains("\"UDP - 127.0.0.1:5432\" 0 345 \"-\" \"-\" - - "));
    let line: Value = serde_json::from_str(&written(LineFormat::Json, &little)).unwrap();
    assert_eq!((line.get("reason"), line.get("server_name")), (None, None));
    let odd = CarriedRecord { server_name: b"a\"\r\nb\xff", ..carried() };
    assert!([LineFormat::Json, LineFormat::Common].iter().all(|format| one_line(&written(*format, &odd))));
}

#[test]
fn what_was_never_read_is_a_dash_or_left_out() {
    let empty = Record { status: 408, reason: "head_timeout", ..Record::default() };
    assert_eq!(
        written(LineFormat::Common, &empty),
        "- - - [01/Jan/1970:00:00:00 +0000] \"-\" 408 0 \"-\" \"-\" head_timeout - 0.000\n"
    );
    let line: Value = serde_json::from_str(&written(LineFormat::Json, &empty)).unwrap();
    assert_eq!(line.get("method"), None);
    assert_eq!(line["reason"], "head_timeout");
}

#[test]
fn the_time_follows_the_record_not_the_last_one() {
    let mut writer = LineWriter::new(LineFormat::Json);
    let mut line = Vec::new();
    for at_us in [1_700_000_000_000_000, 1_700_000_001_000_000, 1_700_000_000_999_999] {
        line.clear();
        writer.put(&mut line, &Record { at_us, ..record() });
    }
    assert!(line.starts_with(b"{\"time\":\"2023-11-14T22:13:20.999999Z\""));
}

#[test]
fn a_text_too_long_is_cut_and_says_so() {
    let long = vec![b'a'; FIELD_BYTES_MAX + 1];
    let line: Value =
        serde_json::from_str(&written(LineFormat::Json, &Record { user_agent: &long, ..record() })).unwrap();
    let agent = line["user_agent"].as_str().unwrap();
    assert_eq!(agent.len(), FIELD_BYTES_MAX + 3);
    assert!(agent.ends_with("a..."));
}

#[test]
fn the_worst_record_is_within_the_bound() {
    let worst = vec![0xff; FIELD_BYTES_MAX * 2];
    let odd = Record {
        client: &worst,
        peer: &worst,
        method: &worst,
        target: &worst,
        host: &worst,
        request_id: &worst,
        referer: &worst,
        user_agent: &worst,
        ..record()
    };
    for format in [LineFormat::Json, LineFormat::Common] {
        assert!(one_line(&written(format, &odd)));
    }
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..60)
}

proptest! {
    #[test]
    fn any_record_is_one_line(
        method in bytes(), target in bytes(), host in bytes(), id in bytes(), referer in bytes(), agent in bytes(),
        at_us in any::<u64>(), duration_us in any::<u64>(), status in any::<u16>(),
    ) {
        let record = Record {
            at_us, duration_us, status, method: &method, target: &target, host: &host, request_id: &id,
            referer: &referer, user_agent: &agent, ..record()
        };
        let json = written(LineFormat::Json, &record);
        prop_assert!(one_line(&json));
        let value: Value = serde_json::from_str(&json).unwrap();
        prop_assert_eq!(value["status"].as_u64(), Some(u64::from(status)));
        prop_assert!(one_line(&written(LineFormat::Common, &record)));
    }

    #[test]
    fn plain_text_comes_back_from_json(agent in "[^\u{0}]{0,40}") {
        let line = written(LineFormat::Json, &Record { user_agent: agent.as_bytes(), ..record() });
        let value: Value = serde_json::from_str(&line).unwrap();
        prop_assert_eq!(value.get("user_agent").and_then(Value::as_str).unwrap_or_default(), agent);
    }

    #[test]
    fn no_secret_gets_into_a_line(
        name in proptest::sample::select(vec!["token", "Access-Token", "%6Bey", "api_key", "x[password]", "sig"]),
        junk in "[\\x00-\\xff&&[^&=?#;/]]{0,8}",
    ) {
        let target = format!("/a?x={junk}&{name}=SESAME{junk}&y=1");
        let referer = format!("http://{junk}:SESAME@host{target}");
        let record = Record { target: target.as_bytes(), referer: referer.as_bytes(), ..record() };
        for format in [LineFormat::Json, LineFormat::Common] {
            prop_assert!(!written(format, &record).contains("SESAME"));
        }
    }
}
