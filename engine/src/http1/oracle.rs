//! A second reader of heads, in tests only: what this crate takes, `httparse` takes too and reads alike, and what
//! `httparse` refuses is refused here.
//!
//! The other direction has exceptions, each with a name: heads legal to `httparse` that break a rule of syntax here
//! ([`Stricter`]). A refusal outside the list is a fault of one of the two.

use super::*;

/// Rules of syntax that `httparse` does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stricter {
    /// It takes LF for CRLF.
    BareLf,
    /// It skips any number of empty lines before a message, this one a single one before a request.
    EmptyLines,
    /// It takes bytes beyond ASCII in targets.
    EightBitTarget,
    /// It takes a status line without the space before the reason.
    NoSpaceBeforeReason,
    /// It knows no limits but the number of fields.
    Limit,
}

impl Stricter {
    /// Which rule it may have been, of a head `httparse` took. `None`: the two disagree.
    fn of(refusal: Refusal) -> Option<Stricter> {
        match refusal {
            Refusal::BareLf => Some(Stricter::BareLf),
            Refusal::EmptyLines => Some(Stricter::EmptyLines),
            Refusal::EightBitTarget => Some(Stricter::EightBitTarget),
            Refusal::BadStatusLine => Some(Stricter::NoSpaceBeforeReason),
            Refusal::MethodTooLong
            | Refusal::TargetTooLong
            | Refusal::HeadTooLarge
            | Refusal::TooManyFields => Some(Stricter::Limit),
            _ => None,
        }
    }
}

/// Refusals that say what fields and targets mean, after all syntax was found right.
fn is_about_meaning(refusal: Refusal) -> bool {
    use Refusal::*;
    matches!(
        refusal,
        BadTarget
            | BadStatus
            | MissingHost
            | RepeatedHost
            | BadHost
            | AuthorityDiffers
            | BothLengthAndChunked
            | BadContentLength
            | RepeatedContentLength
            | BadTransferEncoding
            | RepeatedTransferEncoding
            | TransferEncodingOnHttp10
            | TransferCodingNotSupported
            | FramingForbidden
            | FramingLookalike
            | BadConnection
            | BadMaxForwards
            | ExpectationFailed
    )
}

const SLOTS: usize = FIELDS_MAX as usize;

/// Compares the two readers on a request's head.
pub(super) fn request(data: &[u8], limits: &Limits) {
    let mut head = RequestHead::default();
    let ours = head.parse(data, limits);
    let mut slots = [httparse::EMPTY_HEADER; SLOTS];
    let mut tokens = httparse::Request::new(&mut slots);
    let theirs = tokens.parse(data);
    verdicts(ours, theirs, data);
    if let (Ok(Progress::Complete(_)), Ok(httparse::Status::Complete(_))) = (ours, theirs) {
        let request = Request { bytes: data, head: &head };
        assert_eq!(tokens.method.map(str::as_bytes), Some(request.method()));
        assert_eq!(tokens.path.map(str::as_bytes), Some(request.target()));
        assert_eq!(tokens.version, Some(u8::from(head.version == Version::Http11)));
        same_fields(tokens.headers, request.fields());
    }
}

/// Compares the two readers on a response's head.
pub(super) fn response(data: &[u8], method: Method, limits: &Limits) {
    let mut head = ResponseHead::default();
    let ours = head.parse(data, method, limits);
    let mut slots = [httparse::EMPTY_HEADER; SLOTS];
    let mut tokens = httparse::Response::new(&mut slots);
    let theirs = tokens.parse(data);
    verdicts(ours, theirs, data);
    if let (Ok(Progress::Complete(_)), Ok(httparse::Status::Complete(_))) = (ours, theirs) {
        let response = Response { bytes: data, head: &head };
        assert_eq!(tokens.code, Some(head.status));
        assert_eq!(tokens.version, Some(u8::from(head.version == Version::Http11)));
        // It shows a reason beyond ASCII as an empty one.
        let reason = if response.reason().is_ascii() { response.reason() } else { b"" };
        assert_eq!(tokens.reason.map(str::as_bytes), Some(reason));
        same_fields(tokens.headers, response.fields());
    }
}

fn verdicts(ours: Result<Progress, Refusal>, theirs: httparse::Result<usize>, data: &[u8]) {
    let shown = || format!("{ours:?} {theirs:?} {}", data.escape_ascii());
    // It would mean that the second look finds nothing wrong with a head that the first did not take.
    assert_ne!(ours, Err(Refusal::Malformed), "{}", shown());
    match (ours, theirs) {
        (Ok(Progress::Complete(length)), Ok(httparse::Status::Complete(theirs))) => {
            assert_eq!(length, theirs, "{}", shown());
        }
        (Ok(Progress::Complete(_)), _) => panic!("taken here only: {}", shown()),
        // Neither knows for certain, or theirs gives up a little earlier than it must.
        (Ok(Progress::Partial), _) => {
            assert!(!matches!(theirs, Ok(httparse::Status::Complete(_))), "{}", shown());
        }
        (Err(refusal), Ok(httparse::Status::Complete(_))) => {
            assert!(is_about_meaning(refusal) || Stricter::of(refusal).is_some(), "{}", shown());
        }
        (Err(_), _) => {}
    }
}

fn same_fields<'a>(
    theirs: &[httparse::Header<'_>],
    ours: impl Iterator<Item = (&'a [u8], &'a [u8], &'a Field)>,
) {
    let theirs: Vec<_> = theirs.iter().map(|header| (header.name.as_bytes(), header.value)).collect();
    let ours: Vec<_> = ours.map(|(name, value, _)| (name, value)).collect();
    assert_eq!(ours, theirs);
}

mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Room for all that is generated, so that limits stay out of the comparison.
    const WIDE: Limits =
        Limits { head_bytes_max: 1 << 16, fields_max: 64, target_bytes_max: 1 << 16, underscores: true };

    /// Bytes that decide something, between ones that do not.
    fn byte() -> impl Strategy<Value = u8> {
        prop_oneof![
            6 => b'a'..=b'z',
            2 => prop::sample::select(&b"\r\n\t :\0\x7f\x80\xff\x1f_-/.AZ09\x0c\x12!~"[..]),
            1 => any::<u8>(),
        ]
    }

    fn field() -> impl Strategy<Value = Vec<u8>> {
        let name = prop_oneof![
            "[A-Za-z-]{1,40}",
            "[!#$%&'*+.^_`|~0-9A-Za-z-]{1,20}",
            prop::sample::select(
                &["Host", "Content-Length", "Connection", "Date", "TE", "Transfer-Encoding"][..]
            )
            .prop_map(str::to_owned),
        ];
        let space = "[ \t]{0,2}";
        let value = prop_oneof!["[ -~]{0,80}", "[\t -~\u{80}-\u{ff}]{0,40}", "[a-z0-9]{0,20}"];
        (name, space, value, space).prop_map(|(name, before, value, after)| {
            format!("{name}:{before}{value}{after}\r\n").into_bytes()
        })
    }

    fn head(line: &'static str) -> impl Strategy<Value = Vec<u8>> {
        let line = prop_oneof![
            3 => Just(format!("{line}\r\n")),
            1 => Just(format!("\r\n{line}\r\n")),
            1 => "[A-Z]{0,9} [!-~\u{e9}]{0,40} HTTP/[01]\\.[0-2]\r?\n",
            1 => "HTTP/[01]\\.[0-2] [0-9]{2,4} ?[ -~\t\u{e9}]{0,20}\r?\n",
        ];
        let spoilt = (any::<prop::sample::Index>(), byte(), 0..4u8);
        let fields = prop::collection::vec(field(), 0..6);
        (line, fields, prop::collection::vec(spoilt, 0..3)).prop_map(|(line, fields, spoilt)| {
            let mut head = [line.as_bytes(), b"Host: a\r\n", &fields.concat(), b"\r\nbody"].concat();
            for (place, byte, how) in spoilt {
                let at = place.index(head.len());
                match how {
                    0 => head[at] = byte,
                    1 => head.insert(at, byte),
                    2 => drop(head.remove(at)),
                    _ => head.truncate(at.max(1)),
                }
            }
            head
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        #[test]
        fn requests_are_read_as_the_oracle_reads_them(head in head("GET /a/b?c HTTP/1.1")) {
            request(&head, &WIDE);
        }

        #[test]
        fn responses_are_read_as_the_oracle_reads_them(head in head("HTTP/1.1 200 OK")) {
            response(&head, Method::Get, &WIDE);
        }
    }

    #[test]
    fn every_byte_at_every_place_is_judged_as_the_oracle_judges_it() {
        let whole_request =
            b"POST /a?b HTTP/1.1\r\nHost: a:80\r\nX-Long-Name-Of-It: some longer value of it, that is\r\n\
            Te: x\r\nDate:\tb \r\n\r\n";
        let whole_response =
            b"HTTP/1.1 200 Fine\r\nServer: a\r\nContent-Length: 12\r\nX-Long-Name-Of-It: and more\r\n\r\n";
        for byte in 0..=255 {
            for place in 0..whole_request.len() {
                let mut head = whole_request.to_vec();
                head[place] = byte;
                request(&head, &WIDE);
                head.insert(place, byte);
                request(&head, &WIDE);
            }
            for place in 0..whole_response.len() {
                let mut head = whole_response.to_vec();
                head[place] = byte;
                response(&head, Method::Get, &WIDE);
                head.insert(place, byte);
                response(&head, Method::Get, &WIDE);
            }
        }
    }

    #[test]
    fn what_the_oracle_takes_and_this_refuses_has_a_name() {
        let refusal = |text: &str| RequestHead::default().parse(text.as_bytes(), &WIDE).map_err(Stricter::of);
        for (text, rule) in [
            ("GET / HTTP/1.1\nHost: a\r\n\r\n", Stricter::BareLf),
            ("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Stricter::EmptyLines),
            ("GET /\u{e9} HTTP/1.1\r\nHost: a\r\n\r\n", Stricter::EightBitTarget),
        ] {
            assert_eq!(refusal(text), Err(Some(rule)), "{text:?}");
            let mut slots = [httparse::EMPTY_HEADER; 4];
            assert!(httparse::Request::new(&mut slots).parse(text.as_bytes()).is_ok_and(|s| s.is_complete()));
        }
        let short = b"HTTP/1.1 200\r\n\r\n";
        let refused = ResponseHead::default().parse(short, Method::Get, &WIDE).map_err(Stricter::of);
        assert_eq!(refused, Err(Some(Stricter::NoSpaceBeforeReason)));
        let mut slots = [httparse::EMPTY_HEADER; 4];
        assert!(httparse::Response::new(&mut slots).parse(short).is_ok_and(|s| s.is_complete()));
    }
}
