use super::*;

const DATE: &[u8; 29] = b"Sun, 06 Nov 1994 08:49:37 GMT";

fn answering<'a>() -> Answering<'a> {
    Answering {
        head_only: false,
        persistence: Persistence::Implied,
        request_id: b"id-1",
        date: DATE,
        lines: b"",
    }
}

fn rendered(reply: impl Into<LocalReply>, format: Format, answering: &Answering<'_>) -> String {
    let mut out = Vec::new();
    render(&mut out, &reply.into(), format, answering);
    String::from_utf8(out).unwrap()
}

#[test]
fn a_problem_document_says_what_and_why() {
    assert_eq!(
        rendered(Reason::RouteNotFound, Format::Problem, &answering()),
        "HTTP/1.1 404 Not Found\r\n\
         Content-Type: application/problem+json\r\n\
         Cache-Control: no-store\r\n\
         X-Request-Id: id-1\r\n\
         Content-Length: 151\r\n\
         Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
         \r\n\
         {\"type\":\"about:blank\",\"title\":\"Not Found\",\"status\":404,\
         \"detail\":\"No route matches this host and path.\",\"reason\":\"route_not_found\",\
         \"request_id\":\"id-1\"}\n"
    );
}

#[test]
fn plain_text_says_the_same() {
    let text = rendered(Reason::UpstreamConnectRefused, Format::Text, &answering());
    assert!(text.starts_with("HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/plain; charset=utf-8\r\n"));
    assert!(text.ends_with(
        "\r\n\r\n502 Bad Gateway\nThe endpoint refused the connection.\nreason: upstream_connect_refused\n\
         request id: id-1\n"
    ));
}

#[test]
fn every_reply_is_whole_and_as_long_as_it_says() {
    for reason in Reason::ALL.iter().filter(|reason| !reason.is_silent()) {
        for format in [Format::Problem, Format::Text] {
            let text = rendered(*reason, format, &answering());
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
            assert_eq!(length.map_or(0, |length| length.parse().unwrap()), body.len(), "{reason:?}");
            assert_eq!(length.is_none(), reason.status() == 204, "{reason:?}");
            assert_eq!(head.contains("\r\nConnection: close"), reason.closes(), "{reason:?}");
            if format == Format::Problem && !body.is_empty() {
                let problem: serde_json::Value = serde_json::from_str(body).unwrap();
                assert_eq!(problem["status"], reason.status());
                assert_eq!(problem["reason"], reason.name());
                assert_eq!(problem["type"], "about:blank");
            }
        }
    }
}

#[test]
fn head_gets_the_same_head_and_no_body() {
    let whole = rendered(Reason::NoEndpoint, Format::Problem, &answering());
    let head = rendered(Reason::NoEndpoint, Format::Problem, &Answering { head_only: true, ..answering() });
    assert_eq!(head, whole.split_inclusive("\r\n\r\n").next().unwrap());
}

#[test]
fn what_else_is_told_stands_in_the_head() {
    let allow = Answering { lines: b"Allow: GET, HEAD\r\n", ..answering() };
    assert!(rendered(Reason::MethodNotAllowed, Format::Problem, &allow).contains("\r\nAllow: GET, HEAD\r\n"));
    assert!(rendered(Reason::OptionsAnswered, Format::Problem, &allow).contains("\r\nAllow: GET, HEAD\r\n"));
    assert!(!rendered(Reason::RouteNotFound, Format::Problem, &answering()).contains("Allow"));
}

#[test]
fn retry_after_is_told_where_known() {
    assert!(rendered(Reason::NoEndpoint, Format::Text, &answering()).contains("\r\nRetry-After: 1\r\n"));
    let later = LocalReply::from(Reason::NoEndpoint).retry_after(30);
    assert!(rendered(later, Format::Text, &answering()).contains("\r\nRetry-After: 30\r\n"));
    assert!(!rendered(Reason::UpstreamReset, Format::Text, &answering()).contains("Retry-After"));
}

#[test]
fn what_the_codec_refuses_is_answered_alike_and_closed() {
    let refused = LocalReply::from_parts(400, "bare_lf", "A line ends in LF without CR (RFC 9112 §2.2).");
    let text = rendered(refused, Format::Problem, &answering());
    assert!(text.contains("\r\nConnection: close\r\n"));
    assert!(text.contains("(RFC 9112 \\u00a72.2)"), "{text}");
    assert!(!rendered(refused.keeping(), Format::Problem, &answering()).contains("Connection"));
}

#[test]
fn keep_alive_is_said_to_an_http_1_0_client() {
    let said = Answering { persistence: Persistence::Said, ..answering() };
    assert!(rendered(Reason::RouteNotFound, Format::Text, &said).contains("\r\nConnection: keep-alive\r\n"));
    assert!(rendered(Reason::HeadTimeout, Format::Text, &said).contains("\r\nConnection: close\r\n"));
}

#[test]
fn a_request_id_cannot_break_out_of_the_document() {
    let odd = Answering { request_id: b"a\",\"x\":\"\\", ..answering() };
    let text = rendered(Reason::RouteNotFound, Format::Problem, &odd);
    let problem: serde_json::Value = serde_json::from_str(text.split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!(problem["request_id"], "a\",\"x\":\"\\");
    assert_eq!(problem.get("x"), None);
}

#[test]
fn without_an_id_none_is_told() {
    let none = Answering { request_id: b"", ..answering() };
    for format in [Format::Problem, Format::Text] {
        assert!(!rendered(Reason::HeadTimeout, format, &none).to_ascii_lowercase().contains("request_id"));
    }
}

#[test]
fn a_route_answers_with_its_own_words() {
    let reply = RouteReply {
        status: 200,
        content_type: b"text/plain",
        location: None,
        fields: b"X-A: b\r\n",
        added: b"",
        body: b"ok",
    };
    let mut out = Vec::new();
    render_route(&mut out, &reply, &answering());
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nX-A: b\r\nContent-Length: 2\r\n\
         Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\nok"
    );
}

#[test]
fn a_redirect_has_a_location_and_an_empty_body() {
    let reply = RouteReply {
        status: 308,
        content_type: b"",
        location: Some(b"https://x/y"),
        fields: b"",
        added: b"",
        body: b"",
    };
    let mut out = Vec::new();
    render_route(&mut out, &reply, &Answering { persistence: Persistence::Close, ..answering() });
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "HTTP/1.1 308 Permanent Redirect\r\nLocation: https://x/y\r\nContent-Length: 0\r\n\
         Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nConnection: close\r\n\r\n"
    );
}

#[test]
fn a_204_has_neither_body_nor_length() {
    let reply = RouteReply {
        status: 204,
        content_type: b"text/plain",
        location: None,
        fields: b"",
        added: b"",
        body: b"ok",
    };
    let mut out = Vec::new();
    render_route(&mut out, &reply, &answering());
    let text = String::from_utf8(out).unwrap();
    assert!(!text.contains("Content-"), "{text}");
    assert!(text.ends_with("\r\n\r\n"));
}
