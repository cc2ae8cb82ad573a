use super::*;
use proptest::prelude::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn trusted(nets: &[&str]) -> TrustedHops {
    TrustedHops::new(nets.iter().map(|net| net.parse().unwrap()))
}

fn hop(peer: Option<&str>, scheme: Scheme) -> HopLines {
    HopLines::new(&PeerText::new(peer.map(ip)), scheme)
}

fn claims<'a>(fields: &[(&str, &'a str)]) -> Claims<'a> {
    let mut claims = Claims::default();
    for (name, value) in fields {
        claims.note(claim(name.as_bytes()).unwrap(), value.as_bytes());
    }
    claims
}

fn written(hop: &HopLines, host: &str, claims: Option<&Claims<'_>>) -> String {
    let mut out = Vec::new();
    put_fields(&mut out, hop, host.as_bytes(), Received::Http11, claims);
    String::from_utf8(out).unwrap()
}

#[test]
fn an_untrusted_peer_is_told_of_by_its_own_address_only() {
    assert_eq!(
        written(&hop(Some("192.0.2.1"), Scheme::Http), "api.example.com:8080", None),
        "X-Forwarded-Proto: http\r\n\
         X-Forwarded-For: 192.0.2.1\r\n\
         Forwarded: for=192.0.2.1;proto=http;host=\"api.example.com:8080\"\r\n\
         X-Forwarded-Host: api.example.com:8080\r\n\
         Via: 1.1 ringway\r\n"
    );
}

#[test]
fn ipv6_is_bracketed_and_quoted_in_forwarded_and_bare_in_the_other() {
    let text = written(&hop(Some("2001:db8::1"), Scheme::Https), "a", None);
    assert!(text.contains("\r\nX-Forwarded-For: 2001:db8::1\r\n"));
    assert!(text.contains("\r\nForwarded: for=\"[2001:db8::1]\";proto=https;host=\"a\"\r\n"));
}

#[test]
fn the_longest_address_fits() {
    let full = "ffff:eeee:dddd:cccc:bbbb:aaaa:9999:8888";
    let text = written(&hop(Some(full), Scheme::Https), "a", None);
    assert!(text.contains(&format!("Forwarded: for=\"[{full}]\";proto=https;host=\"a\"\r\n")));
}

#[test]
fn a_mapped_address_is_written_as_ipv4() {
    assert_eq!(PeerText::new(Some(ip("::ffff:192.0.2.1"))).as_bytes(), b"192.0.2.1");
}

#[test]
fn a_peer_without_address_is_unknown() {
    let text = written(&hop(None, Scheme::Http), "a", None);
    assert!(text.contains("X-Forwarded-For: unknown\r\n"));
    assert!(text.contains("Forwarded: for=unknown;proto=http;host=\"a\"\r\n"));
}

#[test]
fn a_request_without_host_claims_none() {
    for claims in [None, Some(&Claims::default())] {
        let text = written(&hop(Some("192.0.2.1"), Scheme::Http), "", claims);
        assert!(!text.to_ascii_lowercase().contains("host"), "{text}");
        assert!(text.contains("Forwarded: for=192.0.2.1;proto=http\r\n"));
        assert!(text.ends_with("\r\nVia: 1.1 ringway\r\n"));
    }
}

#[test]
fn a_host_that_would_end_the_quotes_is_left_out() {
    let text = written(&hop(Some("192.0.2.1"), Scheme::Http), "a\";for=10.0.0.1", None);
    assert!(!text.contains("10.0.0.1"));
}

#[test]
fn the_word_of_a_trusted_hop_is_kept_and_ours_added() {
    let claims = claims(&[
        ("X-Forwarded-For", "203.0.113.7, 198.51.100.1"),
        ("x-forwarded-for", " 10.0.0.9 "),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "shop.example.com"),
        ("Forwarded", "for=203.0.113.7;proto=https"),
    ]);
    assert_eq!(
        written(&hop(Some("10.0.0.1"), Scheme::Http), "inner:80", Some(&claims)),
        "X-Forwarded-Proto: https\r\n\
         X-Forwarded-For: 203.0.113.7, 198.51.100.1, 10.0.0.9, 10.0.0.1\r\n\
         Forwarded: for=203.0.113.7;proto=https, for=10.0.0.1;proto=http;host=\"inner:80\"\r\n\
         X-Forwarded-Host: shop.example.com\r\n\
         Via: 1.1 ringway\r\n"
    );
}

#[test]
fn forwarded_tells_what_x_forwarded_for_told_where_a_trusted_hop_sent_only_that() {
    let claims = claims(&[("X-Forwarded-For", "203.0.113.7, 2001:db8::2, odd\"one")]);
    let text = written(&hop(Some("10.0.0.1"), Scheme::Http), "a", Some(&claims));
    assert!(text.contains(
        "Forwarded: for=203.0.113.7, for=\"[2001:db8::2]\", for=unknown, for=10.0.0.1;proto=http;host=\"a\"\r\n"
    ));
}

#[test]
fn odd_scheme_and_host_of_a_trusted_hop_are_replaced() {
    let claims = claims(&[("X-Forwarded-Proto", "gopher"), ("X-Forwarded-Host", "a b")]);
    let text = written(&hop(Some("10.0.0.1"), Scheme::Http), "real", Some(&claims));
    assert!(text.contains("X-Forwarded-Proto: http\r\n"));
    assert!(text.contains("X-Forwarded-Host: real\r\n"));
}

#[test]
fn via_names_the_version_received() {
    let mut out = Vec::new();
    put_fields(&mut out, &hop(None, Scheme::Http), b"a", Received::Http10, None);
    assert!(out.ends_with(b"\r\nVia: 1.0 ringway\r\n"));
    assert_eq!(via_line(Received::Http11), b"Via: 1.1 ringway\r\n");
}

#[test]
fn passes_are_counted_by_name_not_by_substring() {
    assert_eq!(passes(b"1.1 ringway, 1.0 fred, HTTP/1.1  Ringway (x)"), 2);
    assert_eq!(passes(b"1.1 ringway2, 1.1 my-ringway, ringway"), 0);
}

#[test]
fn claims_are_known_in_any_case_and_nothing_else_is() {
    assert_eq!(claim(b"X-FORWARDED-FOR"), Some(Claim::For));
    assert_eq!(claim(b"x-forwarded-proto"), Some(Claim::Proto));
    assert_eq!(claim(b"x-Forwarded-Host"), Some(Claim::Host));
    assert_eq!(claim(b"X-Forwarded-Port"), Some(Claim::Other));
    assert_eq!(claim(b"X-Forwarded-Server"), Some(Claim::Other));
    assert_eq!(claim(b"X-Forwarded-Prefix"), Some(Claim::Other));
    assert_eq!(claim(b"X-Real-IP"), Some(Claim::Other));
    assert_eq!(claim(b"Forwarded"), Some(Claim::Forwarded));
    assert_eq!(claim(b"X-Request-ID"), Some(Claim::RequestId));
    for name in ["", "traceparent", "x-forwarded-fox", "x_forwarded_for", "via", "x-forwarded-hoot"] {
        assert_eq!(claim(name.as_bytes()), None, "{name}");
    }
}

#[test]
fn the_client_is_the_nearest_untrusted_address() {
    let hops = trusted(&["10.0.0.0/8", "fd00::/8"]);
    for (peer, chain, client) in [
        ("192.0.2.1", "203.0.113.7", "192.0.2.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "203.0.113.7", "203.0.113.7"),
        ("10.0.0.1", "1.1.1.1, 203.0.113.7, 10.2.3.4", "203.0.113.7"),
        ("10.0.0.1", "1.1.1.1, nonsense, 10.2.3.4", "10.2.3.4"),
        ("10.0.0.1", "1.1.1.1, nonsense", "10.0.0.1"),
        ("10.0.0.1", "10.9.9.9, fd00::7", "10.9.9.9"),
        ("10.0.0.1", "203.0.113.7:4711", "203.0.113.7"),
        ("10.0.0.1", "[2001:db8::1]:80", "2001:db8::1"),
        ("10.0.0.1", "[2001:db8::1]", "2001:db8::1"),
        ("10.0.0.1", "2001:db8::1,", "2001:db8::1"),
        ("10.0.0.1", "203.0.113.7:99999", "10.0.0.1"),
        ("10.0.0.1", "203.0.113.7:", "10.0.0.1"),
        ("::ffff:10.0.0.1", "::ffff:203.0.113.7", "203.0.113.7"),
    ] {
        let claims = claims(&[("X-Forwarded-For", chain)]);
        assert_eq!(client_address(ip(peer), &claims, &hops), ip(client), "{peer} <- {chain}");
    }
}

#[test]
fn repeated_lines_are_walked_as_one_list() {
    let claims = claims(&[("X-Forwarded-For", "1.1.1.1"), ("X-Forwarded-For", "203.0.113.7, 10.0.0.2")]);
    let client = client_address(ip("10.0.0.1"), &claims, &trusted(&["10.0.0.0/8"]));
    assert_eq!(client, ip("203.0.113.7"));
}

#[test]
fn the_walk_is_bounded() {
    let chain = format!("203.0.113.7{}", ", 10.0.0.3".repeat(HOPS_MAX));
    let claims = claims(&[("X-Forwarded-For", &chain)]);
    assert_eq!(client_address(ip("10.0.0.1"), &claims, &trusted(&["10.0.0.0/8"])), ip("10.0.0.3"));
}

#[test]
fn a_request_id_is_kept_only_if_well_formed() {
    assert_eq!(claims(&[("X-Request-Id", "abc-1")]).request_id(), Some(&b"abc-1"[..]));
    assert_eq!(claims(&[("X-Request-Id", "a b")]).request_id(), None);
    assert_eq!(Claims::default().request_id(), None);
}

proptest! {
    #[test]
    fn addresses_read_as_core_fmt_writes_them(v4: u32, v6: u128, holes: u8) {
        let mut groups = std::net::Ipv6Addr::from(v6).segments();
        for (at, group) in groups.iter_mut().enumerate() {
            if holes >> at & 1 == 1 {
                *group = 0;
            }
        }
        for ip in [IpAddr::V4(v4.into()), IpAddr::V6(v6.into()), IpAddr::V6(groups.into())] {
            let ip = ip.to_canonical();
            let text = PeerText::new(Some(ip));
            prop_assert_eq!(std::str::from_utf8(text.as_bytes()).unwrap().parse::<IpAddr>().unwrap(), ip);
            if !ip.to_string().contains('.') || ip.is_ipv4() {
                let expected = ip.to_string();
                prop_assert_eq!(text.as_bytes(), expected.as_bytes());
            }
        }
    }

    #[test]
    fn whatever_is_claimed_our_own_entry_is_last(chain in "[ -~]{0,60}") {
        let claims = claims(&[("X-Forwarded-For", &chain)]);
        let text = written(&hop(Some("10.0.0.1"), Scheme::Http), "a", Some(&claims));
        let line = text.lines().find(|line| line.starts_with("X-Forwarded-For: ")).unwrap();
        prop_assert!(line.ends_with("10.0.0.1"));
        prop_assert_eq!(text.lines().count(), 5);
    }
}

#[test]
fn the_number_of_a_try_is_the_highest_that_is_told_and_small() {
    let attempt = |fields: &[(&str, &str)]| claims(fields).attempt();
    assert_eq!(attempt(&[]), 1);
    assert_eq!(attempt(&[("X-Ringway-Attempt", "3")]), 3);
    assert_eq!(attempt(&[("grpc-previous-rpc-attempts", "1")]), 2);
    assert_eq!(attempt(&[("grpc-previous-rpc-attempts", "1"), ("x-ringway-attempt", "4")]), 4);
    for bad in ["", "0", "-1", "x", "+2", "99999999999999"] {
        assert_eq!(attempt(&[("x-ringway-attempt", bad)]), 1, "{bad}");
    }
    assert_eq!(attempt(&[("x-ringway-attempt", "4000000000")]), 1000);
}
