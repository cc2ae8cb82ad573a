//! Header fields as offsets into the bytes they arrived in.
//!
//! [`Fields::fill`] goes over the tokens once and settles everything that later code would ask again: what name this
//! is, whether the field stops at this hop, whether its line can be forwarded as it stands. Forwarding is then one loop
//! that tests one byte for each field, and runs of neighbouring lines are copied at once (`write.rs`).
//!
//! Two rules are checked here because the names' places show them: no line ends in a bare LF (each name is preceded by
//! CRLF), and no name merely looks like Content-Length or Transfer-Encoding.

use super::known::has_underscore;
use super::{Known, KnownSet, Refusal, framing};

/// Fields in one head, whatever the configuration says.
pub const FIELDS_MAX: u16 = 1024;

/// A place in the bytes a head was parsed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// How many.
    pub len: u32,
}

impl Span {
    #[inline]
    pub(super) fn new(start: usize, len: usize) -> Span {
        Span { start: start as u32, len: len as u32 }
    }

    /// The bytes; empty if `bytes` is not the buffer this was parsed from and too short.
    #[inline]
    pub fn of(self, bytes: &[u8]) -> &[u8] {
        let start = self.start as usize;
        bytes.get(start..start + self.len as usize).unwrap_or_default()
    }
}

/// One header field: a name, and a value without the white space around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    name_at: u32,
    value_at: u32,
    value_len: u32,
    name_len: u16,
    /// Which field it is.
    pub known: Known,
    flags: u8,
}

const _: () = assert!(size_of::<Field>() == 16);

const HOP: u8 = 1;
const UNDERSCORE: u8 = 2;
const PLAIN: u8 = 4;

impl Field {
    /// Where the name is.
    #[inline]
    pub fn name(&self) -> Span {
        Span { start: self.name_at, len: u32::from(self.name_len) }
    }

    /// Where the value is, white space around it left out.
    #[inline]
    pub fn value(&self) -> Span {
        Span { start: self.value_at, len: self.value_len }
    }

    /// It stops at this hop: hop-by-hop by definition ([`Known::HOP`]) or nominated by Connection (RFC 9110 §7.6.1).
    #[inline]
    pub fn hop(&self) -> bool {
        self.flags & HOP != 0
    }

    /// Its name holds `_` and names with `_` are not allowed ([`super::Limits::underscores`]).
    #[inline]
    pub fn underscore(&self) -> bool {
        self.flags & UNDERSCORE != 0
    }

    /// It must not be forwarded: [`hop`](Self::hop) or [`underscore`](Self::underscore).
    #[inline]
    pub fn dropped(&self) -> bool {
        self.flags & (HOP | UNDERSCORE) != 0
    }

    /// Its line reads `name: value CRLF` exactly, so that it can be forwarded as it stands.
    #[inline]
    pub fn plain(&self) -> bool {
        self.flags & PLAIN != 0
    }

    /// First byte of its line.
    #[inline]
    pub(super) fn line_start(&self) -> usize {
        self.name_at as usize
    }

    /// First byte after its line, where it is [`plain`](Self::plain).
    #[inline]
    pub(super) fn plain_line_end(&self) -> usize {
        self.value_at as usize + self.value_len as usize + 2
    }

    pub(super) fn drop_here(&mut self) {
        self.flags |= HOP;
    }
}

/// The fields of one head, in the order they arrived. Reused: its list keeps its room.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    list: Vec<Field>,
    present: KnownSet,
    repeated: KnownSet,
    /// Where the last field of each known name is; says nothing for names not in `present`.
    last_at: LastAt,
}

#[derive(Clone, Debug)]
struct LastAt([u16; Known::COUNT]);

impl Default for LastAt {
    fn default() -> LastAt {
        LastAt([0; Known::COUNT])
    }
}

impl Fields {
    /// All of them.
    #[inline]
    pub fn as_slice(&self) -> &[Field] {
        &self.list
    }

    /// Which known names occur.
    #[inline]
    pub fn present(&self) -> KnownSet {
        self.present
    }

    /// Which known names occur more than once.
    #[inline]
    pub fn repeated(&self) -> KnownSet {
        self.repeated
    }

    /// The field of this name, the last one where there are several. Not for [`Known::Other`].
    #[inline]
    pub fn known(&self, known: Known) -> Option<&Field> {
        if !self.present.has(known) {
            return None;
        }
        self.list.get(usize::from(self.last_at.0[known as usize]))
    }

    /// The first field of this name, case-insensitively; a scan.
    pub fn named(&self, bytes: &[u8], name: &[u8]) -> Option<&Field> {
        self.list.iter().find(|field| {
            usize::from(field.name_len) == name.len() && field.name().of(bytes).eq_ignore_ascii_case(name)
        })
    }

    /// Forgets all fields, keeps the room.
    pub(super) fn clear(&mut self) {
        self.list.clear();
        self.present = KnownSet::EMPTY;
        self.repeated = KnownSet::EMPTY;
    }

    pub(super) fn as_mut_slice(&mut self) -> &mut [Field] {
        &mut self.list
    }

    /// Takes the fields `httparse` found in `bytes`. Each line before a name ends in CRLF once this has returned `Ok`;
    /// that the last one does is for the caller to see.
    #[inline]
    pub(super) fn fill(
        &mut self,
        bytes: &[u8],
        found: &[httparse::Header<'_>],
        underscores: bool,
    ) -> Result<(), Refusal> {
        self.clear();
        let base = bytes.as_ptr() as usize;
        let mut refused = None;
        let (mut present, mut repeated) = (KnownSet::EMPTY, KnownSet::EMPTY);
        let last_at = &mut self.last_at.0;
        let underscore = if underscores { 0 } else { UNDERSCORE };
        self.list.extend(found.iter().enumerate().map(|(place, header)| {
            let name = header.name.as_bytes();
            let name_at = name.as_ptr() as usize - base;
            let value_at = header.value.as_ptr() as usize - base;
            let known = Known::of(name);
            if present.has(known) {
                repeated = repeated.with(known);
            }
            present = present.with(known);
            last_at[known as usize] = place as u16;

            let mut flags = u8::from(Known::HOP.has(known)) * HOP;
            if known == Known::Other {
                if has_underscore(name) {
                    flags |= underscore;
                }
                if framing::lookalike(name) {
                    refused = refused.or(Some(Refusal::FramingLookalike));
                }
            }
            let name_end = name_at + name.len();
            let value_end = value_at + header.value.len();
            if value_at == name_end + 2
                && bytes.get(name_end + 1) == Some(&b' ')
                && bytes.get(value_end) == Some(&b'\r')
            {
                flags |= PLAIN;
            }
            if name_at >= 2 && bytes.get(name_at - 2) != Some(&b'\r') {
                refused = refused.or(Some(Refusal::BareLf));
            }
            if name.len() > usize::from(u16::MAX) {
                refused = refused.or(Some(Refusal::HeadTooLarge));
            }
            Field {
                name_at: name_at as u32,
                value_at: value_at as u32,
                value_len: header.value.len() as u32,
                name_len: name.len() as u16,
                known,
                flags,
            }
        }));
        (self.present, self.repeated) = (present, repeated);
        match refused {
            None => Ok(()),
            Some(refusal) => Err(refusal),
        }
    }
}
