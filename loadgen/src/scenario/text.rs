//! A text with variables in it, taken apart once so that each request only copies.
//!
//! Invariant: whatever a variable stands for, a rendered path is one path, a rendered header one line, and nothing is
//! longer than its bound.

use super::variables::{Column, Values, Variables};

/// A text for one place of a request.
#[derive(Debug)]
pub struct Text {
    pieces: Vec<Piece>,
    place: Place,
}

/// Where a text goes, which says what its values may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Values are percent-encoded.
    Path,
    /// Values that are none of a header were refused.
    Header,
    /// Anything.
    Body,
}

#[derive(Debug, PartialEq)]
enum Piece {
    Literal(Box<[u8]>),
    Value(Column),
}

impl Text {
    /// Whether it is the same for each request.
    pub fn is_constant(&self) -> bool {
        self.pieces.iter().all(|piece| matches!(piece, Piece::Literal(_)))
    }

    /// Appends the text for one request to `out`.
    pub fn render(&self, values: &Values<'_>, out: &mut Vec<u8>) {
        for piece in &self.pieces {
            match piece {
                Piece::Literal(bytes) => out.extend_from_slice(bytes),
                Piece::Value(column) if self.place == Place::Path => {
                    values.with(*column, |value| percent_encode(value, out));
                }
                Piece::Value(column) => values.with(*column, |value| out.extend_from_slice(value)),
            }
        }
    }

    /// Bytes as they are.
    pub(super) fn literal(bytes: Vec<u8>, place: Place) -> Text {
        let pieces = if bytes.is_empty() { Vec::new() } else { vec![Piece::Literal(bytes.into())] };
        Text { pieces, place }
    }

    /// Takes a text apart. `${name}` and `${name.column}` are variables, `$${` is the text `${`.
    pub(super) fn compile(text: &str, place: Place, variables: &Variables) -> Result<Text, String> {
        let mut pieces = Vec::new();
        let mut literal = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find("${") {
            if let Some(before) = rest[..at].strip_suffix('$') {
                literal.extend_from_slice(before.as_bytes());
                literal.extend_from_slice(b"${");
                rest = &rest[at + 2..];
                continue;
            }
            literal.extend_from_slice(&rest.as_bytes()[..at]);
            let (name, after) = rest[at + 2..]
                .split_once('}')
                .ok_or("a `${` has no `}`: write ${name} or ${name.column}, or $${ for the text ${")?;
            let column = variables.column(name.trim())?;
            check_value(place, name, column, variables)?;
            if !literal.is_empty() {
                pieces.push(Piece::Literal(std::mem::take(&mut literal).into()));
            }
            pieces.push(Piece::Value(column));
            rest = after;
        }
        literal.extend_from_slice(rest.as_bytes());
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal.into()));
        }
        let text = Text { pieces, place };
        text.check(variables)?;
        Ok(text)
    }

    fn check(&self, variables: &Variables) -> Result<(), String> {
        let literals = || {
            self.pieces.iter().filter_map(|piece| match piece {
                Piece::Literal(bytes) => Some(bytes),
                Piece::Value(_) => None,
            })
        };
        let illegal =
            |legal: fn(&u8) -> bool| literals().flat_map(|bytes| bytes.iter()).find(|byte| !legal(byte));
        match self.place {
            Place::Path => {
                if !literals().next().is_some_and(|first| first.starts_with(b"/"))
                    || matches!(self.pieces.first(), Some(Piece::Value(_)))
                {
                    return Err(
                        "a path begins with `/`, and not by a variable: write /orders/${id}".to_owned()
                    );
                }
                if let Some(byte) = illegal(|byte| byte.is_ascii_graphic() && *byte != b'#') {
                    return Err(format!(
                        "a path can't hold the byte 0x{byte:02x}: write %{byte:02X} instead (values of variables are \
                         encoded anyway)"
                    ));
                }
                let literal: Vec<u8> = literals().flat_map(|bytes| bytes.iter().copied()).collect();
                http::uri::PathAndQuery::try_from(literal.as_slice()).map_err(|error| {
                    format!("not a path ({error}): percent-encode what is not part of a URL")
                })?;
            }
            Place::Header => {
                if let Some(byte) = illegal(header_byte) {
                    return Err(format!(
                        "the value of a header can't hold the byte 0x{byte:02x}: leave it out"
                    ));
                }
            }
            Place::Body => {}
        }
        let longest = self.longest(variables);
        let max = self.place.bytes_max();
        if longest > max {
            return Err(format!("this may become {longest} bytes long: at most {max} are sent here"));
        }
        Ok(())
    }

    /// Bytes it has at most.
    fn longest(&self, variables: &Variables) -> u64 {
        let encoded = if self.place == Place::Path { 3 } else { 1 };
        let longest = |piece: &Piece| match piece {
            Piece::Literal(bytes) => bytes.len() as u64,
            Piece::Value(column) => encoded * variables.longest(*column),
        };
        self.pieces.iter().map(longest).fold(0, u64::saturating_add)
    }
}

impl Place {
    pub(super) fn bytes_max(self) -> u64 {
        match self {
            Place::Path | Place::Header => 64 << 10,
            Place::Body => 16 << 20,
        }
    }
}

fn check_value(place: Place, name: &str, column: Column, variables: &Variables) -> Result<(), String> {
    match variables.not_for_headers(column) {
        Some(line) if place == Place::Header => Err(format!(
            "${{{name}}} can't stand in a header: its value in line {line} of the CSV file has a line break, NUL or \
             another control character; remove it there"
        )),
        _ => Ok(()),
    }
}

/// Whether the value of a header may hold the byte.
pub(super) fn header_byte(byte: &u8) -> bool {
    matches!(byte, b'\t' | b' '..=b'~' | 0x80..)
}

fn percent_encode(value: &[u8], out: &mut Vec<u8>) {
    for &byte in value {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(byte);
        } else {
            let digit = |value: u8| b"0123456789ABCDEF"[usize::from(value)];
            out.extend_from_slice(&[b'%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
}
