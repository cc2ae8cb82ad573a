//! Header fields as offsets into the bytes they arrived in.
//!
//! [`Fields::read`] goes over the lines once and settles everything that later code would ask again: what name this
//! is, whether the field stops at this hop, whether its line can be forwarded as it stands. Forwarding is then one loop
//! that tests one byte for each field, and runs of neighbouring lines are copied at once (`write.rs`).
//!
//! What is read is legal: names are tokens, values hold no control byte but tabs, lines end in CRLF and none begins with
//! white space, and no name merely looks like Content-Length or Transfer-Encoding.

use super::{Known, KnownSet, Limits, Refusal, framing, known, tokens};

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

    /// Its line reads `name: value CRLF` exactly (or a tab for the space), so that it can be forwarded as it stands.
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

    /// Reads field lines from `at` on and the empty line after them. `Some`: the first byte after it; `None`: they are not
    /// all there yet, or one is malformed, or there are too many (`diagnose.rs` knows which).
    ///
    /// # Errors
    /// All lines are well-formed, and a name looks like one of the two that frame a body.
    pub(super) fn read(
        &mut self,
        bytes: &[u8],
        at: usize,
        limits: &Limits,
    ) -> Result<Option<usize>, Refusal> {
        self.clear();
        let fields_max = usize::from(limits.fields_max.min(FIELDS_MAX));
        let underscore_flag = if limits.underscores { 0 } else { UNDERSCORE };
        let mut lookalike = false;
        let (mut present, mut repeated) = (KnownSet::EMPTY, KnownSet::EMPTY);
        let mut rest = bytes.get(at..).unwrap_or_default();
        while !matches!(rest, [b'\r', ..]) {
            let place = self.list.len();
            if place >= fields_max {
                return Ok(None);
            }
            let Some((name, after)) = tokens::colon(rest).and_then(|colon| rest.split_at_checked(colon))
            else {
                return Ok(None);
            };
            let Some(read) = known::read(name) else { return Ok(None) };
            // After the colon comes white space, usually one space; at the line's end usually none.
            let (gap, text) = match after {
                [_, b' ', text @ ..] if matches!(text, [b'!'..=0xff, ..]) => (2, text),
                _ => skip_white_space(after),
            };
            let Some((text, after)) = tokens::text(text) else { return Ok(None) };
            let value_len = if let [.., b' ' | b'\t'] = text { trimmed_len(text) } else { text.len() };

            let known = read.known;
            let this = KnownSet::EMPTY.with(known);
            repeated = repeated.and(present.common(this));
            present = present.and(this);
            self.last_at.0[known as usize] = place as u16;
            let mut flags = u8::from(Known::HOP.has(known)) * HOP;
            if gap == 2 && value_len == text.len() {
                flags |= PLAIN;
            }
            if known == Known::Other {
                flags |= if read.underscore { underscore_flag } else { 0 };
                lookalike |= framing::lookalike(name);
            }
            let name_at = bytes.len() - rest.len();
            self.list.push(Field {
                name_at: name_at as u32,
                value_at: (name_at + name.len() + gap) as u32,
                value_len: value_len as u32,
                name_len: name.len() as u16,
                known,
                flags,
            });
            rest = after;
        }
        let [b'\r', b'\n', after @ ..] = rest else { return Ok(None) };
        (self.present, self.repeated) = (present, repeated);
        if lookalike { Err(Refusal::FramingLookalike) } else { Ok(Some(bytes.len() - after.len())) }
    }
}

/// After a name: bytes up to the value, and what is there.
#[cold]
fn skip_white_space(after_name: &[u8]) -> (usize, &[u8]) {
    let space = after_name.iter().skip(1).take_while(|b| matches!(b, b' ' | b'\t')).count();
    (1 + space, after_name.get(1 + space..).unwrap_or_default())
}

#[cold]
fn trimmed_len(text: &[u8]) -> usize {
    text.len() - text.iter().rev().take_while(|b| matches!(b, b' ' | b'\t')).count()
}
