//! Paths made from what a route matched: rewrites and redirects.

use super::tree::segment_at;
use super::{Matched, PathRule, Segment};

/// `/orders/{id}/**`, compiled against the path of the route it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathFill {
    pieces: Box<[Piece]>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    /// As it stands, slashes included.
    Text(Box<[u8]>),
    /// The path's segment with this number.
    Segment(u32),
    /// What `**` matched, from its slash on.
    Rest,
}

impl PathFill {
    /// `template` may name only parameters of `route`; a name it does not have stands for itself, in braces.
    pub fn new(template: &[Segment], route: &PathRule) -> PathFill {
        let mut pieces = Vec::new();
        let mut text = Vec::new();
        for segment in template {
            match (segment, position(segment, route)) {
                (Segment::Literal(literal), _) => {
                    text.push(b'/');
                    text.extend_from_slice(literal.as_bytes());
                }
                (Segment::Parameter(_), Some(number)) => {
                    text.push(b'/');
                    pieces.push(Piece::Text(std::mem::take(&mut text).into()));
                    pieces.push(Piece::Segment(number));
                }
                (Segment::Parameter(name), None) => text.extend_from_slice(format!("/{{{name}}}").as_bytes()),
                (Segment::Rest, _) => {
                    pieces.push(Piece::Text(std::mem::take(&mut text).into()));
                    pieces.push(Piece::Rest);
                }
            }
        }
        pieces.push(Piece::Text(text.into()));
        pieces.retain(|piece| !matches!(piece, Piece::Text(text) if text.is_empty()));
        PathFill { pieces: pieces.into() }
    }

    /// The new path, piece by piece, for a request with this canonical `path` that met `matched`. Never empty as a
    /// whole: what would be is `/`. Segments come as they stand in `path`, so what was encoded stays so.
    pub fn pieces<'a>(&'a self, matched: Matched, path: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        let pieces = self.pieces.iter().map(move |piece| match piece {
            Piece::Text(text) => &**text,
            Piece::Segment(number) => segment(path, *number),
            Piece::Rest => matched.rest(path),
        });
        let only_rest = self.pieces.iter().all(|piece| *piece == Piece::Rest);
        let slash = only_rest && matched.rest(path).is_empty();
        pieces.chain(slash.then_some(&b"/"[..]))
    }

    /// Appends the new path to `out`.
    pub fn fill(&self, matched: Matched, path: &[u8], out: &mut Vec<u8>) {
        self.pieces(matched, path).for_each(|piece| out.extend_from_slice(piece));
    }
}

fn position(segment: &Segment, route: &PathRule) -> Option<u32> {
    let PathRule::Segments(segments) = route else { return None };
    matches!(segment, Segment::Parameter(_))
        .then(|| segments.iter().position(|s| s == segment))
        .flatten()
        .map(|number| number as u32)
}

fn segment(path: &[u8], number: u32) -> &[u8] {
    let mut at = 0;
    for _ in 0..number {
        at = segment_at(path, at).end;
        if at == path.len() {
            return &[];
        }
    }
    path.get(segment_at(path, at)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{path_rule, segments};
    use super::*;
    use crate::routing::{RouteId, RouteQuery, RouteRule, Router};

    #[test]
    fn a_path_is_filled_from_parameters_and_rest() {
        for (route, template, path, filled) in [
            ("/v1/orders/**", "/orders/**", "/v1/orders/7/x", "/orders/7/x"),
            ("/v1/orders/**", "/orders/**", "/v1/orders", "/orders"),
            ("/v1/orders/**", "/orders/**", "/v1/orders/", "/orders/"),
            ("/v1/**", "/**", "/v1", "/"),
            ("/v1/**", "/**", "/v1/", "/"),
            ("/v1/**", "/**", "/v1/a", "/a"),
            ("/**", "/new/**", "/a/b", "/new/a/b"),
            ("/**", "/new/**", "/", "/new/"),
            ("/{a}/{b}", "/{b}/x/{a}", "/one/two", "/two/x/one"),
            ("/u/{a}/**", "/{a}/of/**", "/u/one/two/three", "/one/of/two/three"),
            ("/u/{a}/**", "/{a}", "/u/one/two/three", "/one"),
            ("/a", "/b/c", "/a", "/b/c"),
            ("/a", "/", "/a", "/"),
        ] {
            let rule = RouteRule {
                route: RouteId(0),
                hosts: vec![],
                path: path_rule(route),
                methods: vec![],
                headers: vec![],
                query: vec![],
            };
            let request = RouteQuery { host: b"", path: path.as_bytes(), query: b"", method: b"GET" };
            let headers: &[(&str, &str)] = &[];
            let matched = Router::new([&rule]).route(&request, headers).unwrap();
            let mut out = Vec::new();
            PathFill::new(&segments(template), &rule.path).fill(matched, path.as_bytes(), &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), filled, "{route} {template} {path}");
        }
    }
}
