//! Text with variables in it: `/orders/${users.id}`.

use super::values::{Values, Variables};

/// Literal bytes and variables, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Text {
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq)]
enum Piece {
    Literal(Vec<u8>),
    Value { variable: usize, column: usize },
}

impl Text {
    /// Finds the variables in `text`. `$${` stands for `${`.
    pub fn parse(text: &str, variables: &Variables) -> Result<Text, String> {
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find("${") {
            if rest[..at].ends_with('$') {
                literal.push_str(&rest[..at - 1]);
                literal.push_str("${");
                rest = &rest[at + 2..];
                continue;
            }
            literal.push_str(&rest[..at]);
            let inner = &rest[at + 2..];
            let end = inner.find('}').ok_or_else(|| format!("`{}` has no closing brace", &rest[at..]))?;
            let (variable, column) = variables.find(&inner[..end])?;
            if !literal.is_empty() {
                pieces.push(Piece::Literal(std::mem::take(&mut literal).into_bytes()));
            }
            pieces.push(Piece::Value { variable, column });
            rest = &inner[end + 1..];
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal.into_bytes()));
        }
        Ok(Text { pieces })
    }

    /// Bytes without variables.
    pub fn literal(bytes: Vec<u8>) -> Text {
        Text { pieces: vec![Piece::Literal(bytes)] }
    }

    /// Whether it is the same each time.
    pub fn is_constant(&self) -> bool {
        self.pieces.iter().all(|piece| matches!(piece, Piece::Literal(_)))
    }

    /// The variables it uses, with their columns.
    pub fn uses(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Value { variable, column } => Some((*variable, *column)),
            Piece::Literal(_) => None,
        })
    }

    /// Writes it with values in place; with `encode` these are percent-encoded (RFC 3986 §2.3).
    pub fn render(&self, values: &Values<'_>, encode: bool, out: &mut Vec<u8>) {
        for piece in &self.pieces {
            match piece {
                Piece::Literal(bytes) => out.extend_from_slice(bytes),
                Piece::Value { variable, column } => values.write(*variable, *column, |value| {
                    if encode { percent_encode(value, out) } else { out.extend_from_slice(value) }
                }),
            }
        }
    }
}

fn percent_encode(value: &[u8], out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in value {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(byte),
            _ => out.extend_from_slice(&[b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]),
        }
    }
}
