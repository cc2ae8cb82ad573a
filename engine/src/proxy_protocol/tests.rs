use super::*;
use proptest::prelude::*;

fn complete(bytes: &[u8]) -> (usize, Option<String>, Option<String>) {
    match parse(bytes) {
        Ok(Progress::Complete { consumed, source, destination }) => {
            (consumed, source.map(|a| a.to_string()), destination.map(|a| a.to_string()))
        }
        other => panic!("{other:?} for {bytes:?}"),
    }
}

fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = V2_SIGNATURE.to_vec();
    bytes.extend([command, family]);
    bytes.extend((body.len() as u16).to_be_bytes());
    bytes.extend(body);
    bytes
}

const TCP4_BODY: &[u8] = &[192, 0, 2, 1, 198, 51, 100, 2, 0xdc, 0x04, 0x01, 0xbb];

fn good_headers() -> Vec<Vec<u8>> {
    let mut tcp6 = [0; 36];
    tcp6[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
    tcp6[15] = 1;
    tcp6[31] = 1;
    tcp6[33] = 80;
    tcp6[35] = 81;
    let with_tlv = [TCP4_BODY, &[0x04, 0, 2, 9, 9, 0x02, 0, 1, b'x']].concat();
    vec![
        b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n".to_vec(),
        b"PROXY TCP6 2001:db8::1 ::1 56324 443\r\n".to_vec(),
        b"PROXY UNKNOWN\r\n".to_vec(),
        b"PROXY UNKNOWN ffff::1 whatever it says\r\n".to_vec(),
        v2(0x21, 0x11, TCP4_BODY),
        v2(0x21, 0x21, &tcp6),
        v2(0x21, 0x11, &with_tlv),
        v2(0x21, 0x31, &[7; 216]),
        v2(0x21, 0x00, &[]),
        v2(0x20, 0x00, &[]),
        v2(0x20, 0x11, &[1, 2, 3]),
    ]
}

#[test]
fn version_1_names_source_and_destination() {
    assert_eq!(
        complete(b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\nGET / HTTP/1.1\r\n"),
        (45, Some("192.0.2.1:56324".into()), Some("198.51.100.2:443".into()))
    );
    assert_eq!(complete(b"PROXY TCP6 2001:db8::1 ::1 1 65535\r\n").1, Some("[2001:db8::1]:1".into()));
    assert_eq!(complete(b"PROXY UNKNOWN\r\nrest"), (15, None, None));
}

#[test]
fn the_longest_version_1_line_is_taken_and_one_more_byte_is_not() {
    let longest = [b"PROXY UNKNOWN ".as_slice(), &[b'f'; 91], b"\r\n"].concat();
    assert_eq!(longest.len(), V1_BYTES_MAX);
    assert_eq!(complete(&longest).0, V1_BYTES_MAX);
    let longer = [b"PROXY UNKNOWN ".as_slice(), &[b'f'; 92], b"\r\n"].concat();
    assert_eq!(parse(&longer), Err(ProxyRefusal::LineTooLong));
    assert_eq!(parse(&longer[..V1_BYTES_MAX]), Err(ProxyRefusal::LineTooLong));
}

#[test]
fn version_1_lines_that_bend_the_rules_are_refused() {
    for line in [
        "PROXY  TCP4 1.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY TCP4 1.2.3.4  1.2.3.4 1 2\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 2 \r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 +1 2\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 65536 2\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4  2\r\n",
        "PROXY TCP4 01.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY TCP4 1.2.3 1.2.3.4 1 2\r\n",
        "PROXY TCP4 ::1 ::1 1 2\r\n",
        "PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n",
        "PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY tcp4 1.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY UNKNOWNS\r\n",
        "PROXY \r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 2\rX",
    ] {
        assert_eq!(parse(line.as_bytes()), Err(ProxyRefusal::BadLine), "{line:?}");
    }
}

#[test]
fn something_else_is_refused_at_its_first_byte() {
    for start in ["GET / HTTP/1.1\r\n", "G", "PROXYTCP4", "proxy ", "\r\n\r\nGET", "\x16\x03\x01"] {
        assert_eq!(parse(start.as_bytes()), Err(ProxyRefusal::NotProxyProtocol), "{start:?}");
    }
}

#[test]
fn version_2_names_source_and_destination() {
    let bytes = [v2(0x21, 0x11, TCP4_BODY), b"GET /".to_vec()].concat();
    assert_eq!(complete(&bytes), (28, Some("192.0.2.1:56324".into()), Some("198.51.100.2:443".into())));
    assert_eq!(complete(&good_headers()[5]).1, Some("[2001:db8::1]:80".into()));
    assert_eq!(complete(&good_headers()[5]).2, Some("[::1]:81".into()));
}

#[test]
fn version_2_of_no_ip_address_names_none() {
    for header in &good_headers()[7..] {
        assert_eq!(complete(header), (header.len(), None, None), "{header:?}");
    }
}

#[test]
fn version_2_refusals_come_as_early_as_they_can() {
    let start = |rest: &[u8]| [V2_SIGNATURE, rest].concat();
    assert_eq!(parse(&start(&[0x11])), Err(ProxyRefusal::BadVersionOrCommand));
    assert_eq!(parse(&start(&[0x22])), Err(ProxyRefusal::BadVersionOrCommand));
    assert_eq!(parse(&start(&[0x21, 0x12])), Err(ProxyRefusal::BadFamily));
    assert_eq!(parse(&start(&[0x21, 0x41])), Err(ProxyRefusal::BadFamily));
    assert_eq!(parse(&start(&[0x21, 0x11, 0x00, 0x0b])), Err(ProxyRefusal::BadLength));
    assert_eq!(parse(&start(&[0x21, 0x11, 0x08, 0x01])), Err(ProxyRefusal::TooLong));
    assert_eq!(parse(&start(&[0x20, 0x00, 0xff, 0xff])), Err(ProxyRefusal::TooLong));
}

#[test]
fn additions_that_do_not_fit_are_refused() {
    for tlv in [&[4u8][..], &[4, 0], &[4, 0, 2, 9], &[3, 0, 3, 1, 2, 3]] {
        let bytes = v2(0x21, 0x11, &[TCP4_BODY, tlv].concat());
        assert_eq!(parse(&bytes), Err(ProxyRefusal::BadLength), "{tlv:?}");
    }
}

#[test]
fn the_checksum_is_the_one_everyone_computes() {
    // The check value of CRC32C: the digits 1 to 9. No four bytes are taken as zero beyond the end.
    assert_eq!(crc32c_without(b"123456789", 9), 0xe306_9283);
}

#[test]
fn a_checksum_is_verified_where_it_is_given() {
    let mut bytes = v2(0x21, 0x11, &[TCP4_BODY, &[4, 0, 1, 0, 3, 0, 4, 0, 0, 0, 0]].concat());
    let place = bytes.len() - 4;
    assert_eq!(parse(&bytes), Err(ProxyRefusal::BadChecksum));
    let sum = crc32c_without(&bytes, place);
    bytes[place..].copy_from_slice(&sum.to_be_bytes());
    assert_eq!(complete(&bytes).0, bytes.len());
    bytes[17] ^= 1;
    assert_eq!(parse(&bytes), Err(ProxyRefusal::BadChecksum));
}

#[test]
fn a_header_split_anywhere_waits_and_then_reads_the_same() {
    for header in good_headers() {
        for at in 0..header.len() {
            assert_eq!(parse(&header[..at]), Ok(Progress::Partial), "{header:?} cut at {at}");
        }
        let whole = parse(&header);
        assert!(matches!(whole, Ok(Progress::Complete { consumed, .. }) if consumed == header.len()));
        let more = [header.as_slice(), b"GET / HTTP/1.1\r\n\r\n"].concat();
        assert_eq!(parse(&more), whole, "what follows changes nothing");
    }
}

proptest! {
    #[test]
    fn any_bytes_end_in_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..2100)) {
        let _ = parse(&bytes);
    }

    #[test]
    fn any_bytes_after_a_good_start_end_in_an_answer(
        start in prop_oneof![Just(V1_PREFIX.to_vec()), Just(b"PROXY TCP4 ".to_vec()), Just(V2_SIGNATURE.to_vec()),
            Just(v2(0x21, 0x11, &[])[..14].to_vec()), Just(v2(0x21, 0x21, &[])[..14].to_vec())],
        rest in proptest::collection::vec(any::<u8>(), 0..2100),
    ) {
        let bytes = [start, rest].concat();
        if let Ok(Progress::Complete { consumed, source, destination }) = parse(&bytes) {
            prop_assert!(consumed <= bytes.len() && consumed <= HEADER_BYTES_MAX);
            prop_assert_eq!(source.is_some(), destination.is_some());
        } else if bytes.len() >= HEADER_BYTES_MAX {
            prop_assert!(parse(&bytes).is_err(), "never partial at the bound");
        }
    }

    #[test]
    fn a_refusal_is_final(
        bytes in prop_oneof![
            "PROXY (TCP4|TCP6|UNKNOWN|X)? ?[0-9a-f:. \r\n]{0,40}".prop_map(String::into_bytes),
            proptest::collection::vec(any::<u8>(), 0..40).prop_map(|b| [V2_SIGNATURE, &b].concat()),
        ],
        cut in 0usize..60,
    ) {
        let cut = cut.min(bytes.len());
        match parse(&bytes[..cut]) {
            Ok(Progress::Partial) => {}
            settled => prop_assert_eq!(settled, parse(&bytes), "more bytes never change a settled answer"),
        }
    }
}
