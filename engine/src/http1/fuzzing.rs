//! Bodies of the fuzz targets: what must hold for any bytes at all.
//!
//! They are plain functions, so that `fuzz/` runs them under libFuzzer and `cargo test` over the corpus. Each panics
//! where an invariant is broken.

use super::{
    BodyFraming, ChunkLimits, Decoder, Field, HeadWriter, Known, Limits, Method, Progress, Refusal, Request,
    RequestHead, ResponseFraming, ResponseHead, Step, Trailers, Version,
};
use crate::path::{PathOptions, canonical_of};

const LIMITS: Limits =
    Limits { head_bytes_max: 1024, fields_max: 16, target_bytes_max: 128, underscores: false };

/// A request's head: cut anywhere it parses the same, and what is accepted is clean and can be forwarded.
pub fn request_head(data: &[u8]) {
    #[cfg(test)]
    super::oracle::request(data, &LIMITS);
    let mut head = RequestHead::default();
    let whole = head.parse(data, &LIMITS);
    let mut dribbled = RequestHead::default();
    let piecemeal = dribble(data, |so_far| dribbled.parse(so_far, &LIMITS));
    same_verdict(whole, piecemeal);
    let Ok(Progress::Complete(length)) = whole else { return };
    assert_eq!(format!("{head:?}"), format!("{dribbled:?}"), "the pieces parse alike");
    assert!(data[..length].ends_with(b"\r\n\r\n"));

    let request = Request { bytes: data, head: &head };
    clean_fields(request.fields());
    assert!(request.target().iter().all(|b| b.is_ascii_graphic()));
    assert!(head.authority.is_some() || head.version == Version::Http10);
    let mut hosts = request.fields().filter(|(_, _, field)| field.known == Known::Host);
    assert_eq!(hosts.by_ref().count(), usize::from(head.fields.known(Known::Host).is_some()));
    assert!(request.fields().all(|(_, _, field)| field.known != Known::Host || !field.dropped()));

    // Forwarded as an exchange would, it is a legal request that says the same.
    if head.form != super::TargetForm::Origin || head.authority.is_none() {
        return;
    }
    let mut room = [0; 4096];
    let mut out = HeadWriter::new(&mut room);
    out.put(request.method());
    out.put(b" ");
    out.put(request.path());
    if let Some(query) = request.query() {
        out.put(b"?");
        out.put(query);
    }
    out.put(b" HTTP/1.1\r\n");
    out.fields(data, head.fields.as_slice(), |field| !field.dropped() && field.known != Known::ContentLength);
    if head.fields.known(Known::Host).is_none() {
        out.field(b"host", request.authority());
    }
    match head.framing {
        BodyFraming::UntilEnd => unreachable!("only a stream is framed so"),
        BodyFraming::None => {}
        BodyFraming::Length(length) => out.field_u64(b"content-length", length),
        BodyFraming::Chunked => out.field(b"transfer-encoding", b"chunked"),
    }
    out.end();
    let written = out.finish().expect("four times the limit is room enough");
    let wide = Limits { head_bytes_max: 4096, fields_max: 32, ..LIMITS };
    let mut again = RequestHead::default();
    assert_eq!(again.parse(&room[..written], &wide), Ok(Progress::Complete(written)));
    let forwarded = Request { bytes: &room[..written], head: &again };
    assert_eq!(forwarded.method(), request.method());
    assert_eq!(forwarded.target(), request.target());
    assert_eq!(forwarded.authority(), request.authority());
    assert_eq!(again.framing, head.framing);
    let kept =
        |(_, _, field): &(&[u8], &[u8], &Field)| !field.dropped() && field.known != Known::ContentLength;
    assert!(
        request
            .fields()
            .filter(kept)
            .map(|(name, value, _)| (name, value))
            .eq(forwarded.fields().filter(kept).map(|(name, value, _)| (name, value)))
    );
}

/// A response's head, likewise; the first byte chooses the request's method.
pub fn response_head(data: &[u8]) {
    let Some((choice, data)) = data.split_first() else { return };
    let method = match choice {
        b'H' => Method::Head,
        b'C' => Method::Connect,
        _ => Method::Get,
    };
    #[cfg(test)]
    super::oracle::response(data, method, &LIMITS);
    let mut head = ResponseHead::default();
    let whole = head.parse(data, method, &LIMITS);
    let mut dribbled = ResponseHead::default();
    let piecemeal = dribble(data, |so_far| dribbled.parse(so_far, method, &LIMITS));
    same_verdict(whole, piecemeal);
    let Ok(Progress::Complete(length)) = whole else { return };
    assert_eq!(format!("{head:?}"), format!("{dribbled:?}"), "the pieces parse alike");
    assert!(data[..length].ends_with(b"\r\n\r\n"));
    assert!((100..600).contains(&head.status));
    assert!(!(head.keep_alive && head.framing == ResponseFraming::UntilClose));
    let response = super::Response { bytes: data, head: &head };
    assert!(response.reason().iter().all(|b| *b == b'\t' || *b >= b' ' && *b != 0x7f));
    clean_fields(response.fields());
}

/// A chunked body: however it is cut, it holds the same data and ends at the same place or is refused.
pub fn chunked(data: &[u8]) {
    let whole = decode(data, data.len().max(1));
    for cut in [1, 2, 7] {
        assert_eq!(decode(data, cut), whole, "pieces of {cut}");
    }
}

/// A path: what comes out is canonical, and stays so.
pub fn canonical_path(data: &[u8]) {
    for (merge_slashes, encoded_slashes) in [(true, false), (false, false), (true, true), (false, true)] {
        canonical_path_with(data, PathOptions { merge_slashes, encoded_slashes });
    }
}

/// As [`canonical_path`], with these options.
pub fn canonical_path_with(data: &[u8], options: PathOptions) {
    let (mut once, mut twice) = (Vec::new(), Vec::new());
    let Ok(path) = canonical_of(data, options, &mut once) else { return };
    assert_eq!(path.first(), Some(&b'/'));
    assert!(path.iter().all(|b| b.is_ascii_graphic() && !matches!(b, b'\\' | b'#' | b'?')));
    let mut segments = path.split(|b| *b == b'/').skip(1);
    assert!(segments.all(|segment| !matches!(segment, b"." | b"..")));
    assert!(!options.merge_slashes || !path.windows(2).any(|pair| pair == b"//"));
    assert_eq!(canonical_of(path, options, &mut twice), Ok(path));
}

/// Gives `parse` ever longer starts of `data` until it decides.
fn dribble(
    data: &[u8],
    mut parse: impl FnMut(&[u8]) -> Result<Progress, Refusal>,
) -> Result<Progress, Refusal> {
    let step = data.len() / 512 + 1;
    let mut length = 0;
    while length < data.len() {
        length = (length + step).min(data.len());
        match parse(&data[..length])? {
            Progress::Partial => {}
            complete => return Ok(complete),
        }
    }
    Ok(Progress::Partial)
}

/// A refusal may come later when bytes come one by one, but never another one.
fn same_verdict(whole: Result<Progress, Refusal>, piecemeal: Result<Progress, Refusal>) {
    assert!(
        whole == piecemeal || (whole.is_err() && piecemeal == Ok(Progress::Partial)),
        "{whole:?} became {piecemeal:?}"
    );
}

fn clean_fields<'a>(fields: impl Iterator<Item = (&'a [u8], &'a [u8], &'a Field)>) {
    for (name, value, _) in fields {
        assert!(
            !name.is_empty()
                && name.iter().all(|b| b.is_ascii_graphic() && !b":,;/()\"<>@[]{}\\=?".contains(b))
        );
        assert!(value.iter().all(|b| *b == b'\t' || *b >= b' ' && *b != 0x7f));
        assert_eq!(value, value.trim_ascii());
    }
}

/// What a body holds, where it ends if it does, and its trailers.
type Decoded = Result<(Vec<u8>, Option<usize>, Vec<u8>), Refusal>;

fn decode(data: &[u8], cut: usize) -> Decoded {
    let limits =
        ChunkLimits { body_bytes_max: 1 << 20, trailer_bytes_max: 256, trailers_max: 4, underscores: false };
    let mut decoder = Decoder::new(limits);
    let mut body = Vec::new();
    for (count, piece) in data.chunks(cut).enumerate() {
        let mut at = 0;
        loop {
            match decoder.next(&piece[at..])? {
                Step::Data(range) => {
                    assert!(!range.is_empty());
                    body.extend_from_slice(&piece[at..][range.clone()]);
                    at += range.end;
                }
                Step::NeedMore => break,
                Step::End(consumed) => {
                    let fields = decoder.trailers().into_iter().flat_map(Trailers::iter);
                    let text = fields.flat_map(|(name, value)| [name, b"=", value, b";"].concat()).collect();
                    return Ok((body, Some(count * cut + at + consumed), text));
                }
            }
        }
    }
    Ok((body, None, Vec::new()))
}

#[cfg(test)]
pub(crate) mod tests {
    use std::path::Path;

    /// Inputs made from each target's corpus, besides the corpus itself.
    const MUTATIONS: usize = 4000;

    /// Runs a target over its corpus and over mutations of it, the same ones each time.
    pub(crate) fn run(target: &str, body: fn(&[u8])) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
        let mut paths: Vec<_> = std::fs::read_dir(&folder)
            .expect("the corpus is part of the repository")
            .map(|entry| entry.expect("a readable folder").path())
            .collect();
        paths.sort();
        let seeds: Vec<Vec<u8>> =
            paths.iter().map(|path| std::fs::read(path).expect("a readable file")).collect();
        assert!(seeds.len() > 10, "{} holds the corpus", folder.display());
        for (path, seed) in paths.iter().zip(&seeds) {
            eprintln!("{}", path.display());
            body(seed);
        }
        let mut dice = fastrand::Rng::with_seed(0x5eed);
        for _ in 0..MUTATIONS {
            let mutated = mutate(&seeds, &mut dice);
            eprintln!("{}", mutated.escape_ascii());
            body(&mutated);
        }
    }

    fn mutate(seeds: &[Vec<u8>], dice: &mut fastrand::Rng) -> Vec<u8> {
        const TELLING: &[u8] = b"\r\n\0\t :;,/.%?#\\_-*+019afGhx{}[]\x7f\x80\xff";
        let mut input = seeds[dice.usize(..seeds.len())].clone();
        for _ in 0..dice.usize(1..5) {
            let at = dice.usize(..=input.len());
            match dice.u8(..6) {
                0 => input.insert(at, TELLING[dice.usize(..TELLING.len())]),
                1 if at < input.len() => input[at] = TELLING[dice.usize(..TELLING.len())],
                2 if at < input.len() => drop(input.remove(at)),
                3 => input.truncate(at),
                4 if at < input.len() => input[at] = dice.u8(..),
                _ => {
                    let other = &seeds[dice.usize(..seeds.len())];
                    let from = dice.usize(..=other.len());
                    let piece = &other[from..dice.usize(from..=other.len())];
                    input.splice(at..at, piece.iter().copied());
                }
            }
        }
        input
    }

    #[test]
    fn request_head_holds_over_the_corpus() {
        run("request_head", super::request_head);
    }

    #[test]
    fn response_head_holds_over_the_corpus() {
        run("response_head", super::response_head);
    }

    #[test]
    fn chunked_holds_over_the_corpus() {
        run("chunked", super::chunked);
    }

    #[test]
    fn canonical_path_holds_over_the_corpus() {
        run("canonical_path", super::canonical_path);
    }
}
