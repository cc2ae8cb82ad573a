//! Query parameters, compared after percent-decoding without decoding into anything.

/// Whether `query` (without `?`) has a parameter called `name`, of that value if one is given.
///
/// One pass over the query; the work is linear in its length.
pub(super) fn has_parameter(query: &[u8], name: &[u8], value: Option<&[u8]>) -> bool {
    parameters(query).any(|(n, v)| decodes_to(n, name) && value.is_none_or(|value| decodes_to(v, value)))
}

/// The values of parameters called `name`, each decoded byte by byte.
pub(crate) fn query_values<'a>(
    query: &'a [u8],
    name: &[u8],
) -> impl Iterator<Item = impl Iterator<Item = u8> + use<'a>> {
    parameters(query).filter(move |(n, _)| decodes_to(n, name)).map(|(_, value)| decoded(value))
}

/// Names and values as they stand.
fn parameters(query: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let pieces = query.split(|&b| b == b'&').filter(|piece| !piece.is_empty());
    pieces.map(|piece| match memchr::memchr(b'=', piece) {
        Some(at) => (&piece[..at], &piece[at + 1..]),
        None => (piece, &piece[piece.len()..]),
    })
}

fn decodes_to(raw: &[u8], plain: &[u8]) -> bool {
    decoded(raw).eq(plain.iter().copied())
}

/// `%41` is `A`, `+` is a space, a `%` without two hex digits stands for itself.
fn decoded(raw: &[u8]) -> impl Iterator<Item = u8> + use<'_> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let byte = match (raw.get(at)?, raw.get(at + 1), raw.get(at + 2)) {
            (b'%', Some(&high), Some(&low)) => match (hex(high), hex(low)) {
                (Some(high), Some(low)) => {
                    at += 2;
                    high << 4 | low
                }
                _ => b'%',
            },
            (b'+', _, _) => b' ',
            (&byte, _, _) => byte,
        };
        at += 1;
        Some(byte)
    })
}

fn hex(digit: u8) -> Option<u8> {
    (digit as char).to_digit(16).map(|d| d as u8)
}

#[cfg(test)]
mod tests {
    use super::has_parameter;

    #[test]
    fn parameters_are_compared_after_decoding() {
        for (query, name, value, holds) in [
            ("a=1&b=2", "b", Some("2"), true),
            ("a=1&b=2", "b", Some("1"), false),
            ("a=1&a=2", "a", Some("2"), true),
            ("a", "a", None, true),
            ("a", "a", Some(""), true),
            ("a=", "a", Some(""), true),
            ("", "a", None, false),
            ("", "", None, false),
            ("a=x%20y+z", "a", Some("x y z"), true),
            ("%61=%4a", "a", Some("J"), true),
            ("a=%2", "a", Some("%2"), true),
            ("a=%zz", "a", Some("%zz"), true),
            ("a=b=c", "a", Some("b=c"), true),
            ("a=1", "a", Some("12"), false),
            ("a=12", "a", Some("1"), false),
            ("ab=1", "a", None, false),
        ] {
            let found = has_parameter(query.as_bytes(), name.as_bytes(), value.map(str::as_bytes));
            assert_eq!(found, holds, "{query} {name} {value:?}");
        }
    }
}
