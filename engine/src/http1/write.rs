//! Heads going out, written into room the caller took.
//!
//! A writer counts on when the room is full, so that whoever gave too little learns how much it takes; nothing is
//! checked between the first byte and [`HeadWriter::finish`]. What is written is legal if what is given is: names and
//! values come from parsed heads or validated configuration.

use super::fields::Field;

/// The room was too small.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overflow {
    /// Bytes it takes.
    pub needed: usize,
}

/// Writes a head into a buffer.
#[derive(Debug)]
pub struct HeadWriter<'a> {
    room: &'a mut [u8],
    /// Bytes written, or that would have been.
    at: usize,
}

impl<'a> HeadWriter<'a> {
    /// Begins at the start of `room`.
    #[inline]
    pub fn new(room: &'a mut [u8]) -> HeadWriter<'a> {
        HeadWriter { room, at: 0 }
    }

    /// Bytes as they are.
    #[inline(always)]
    pub fn put(&mut self, bytes: &[u8]) {
        let end = self.at + bytes.len();
        if let Some(place) = self.room.get_mut(self.at..end) {
            place.copy_from_slice(bytes);
        }
        self.at = end;
    }

    /// A number in decimal.
    #[inline]
    pub fn put_u64(&mut self, mut number: u64) {
        let mut digits = [0; 20];
        let mut first = digits.len();
        for place in digits.iter_mut().rev() {
            *place = b'0' + (number % 10) as u8;
            number /= 10;
            first -= 1;
            if number == 0 {
                break;
            }
        }
        self.put(digits.get(first..).unwrap_or_default());
    }

    /// `name: value CRLF`
    #[inline]
    pub fn field(&mut self, name: &[u8], value: &[u8]) {
        self.put(name);
        self.put(b": ");
        self.put(value);
        self.put(b"\r\n");
    }

    /// `name: number CRLF`
    #[inline]
    pub fn field_u64(&mut self, name: &[u8], number: u64) {
        self.put(name);
        self.put(b": ");
        self.put_u64(number);
        self.put(b"\r\n");
    }

    /// The fields of a head parsed from `bytes` that `keep` wants, in their order. Neighbouring lines that need no
    /// change are copied together.
    #[inline]
    pub fn fields(&mut self, bytes: &[u8], fields: &[Field], mut keep: impl FnMut(&Field) -> bool) {
        // Lines `run.0..run.1` are to be copied as they stand.
        let mut run = (0, 0);
        for field in fields {
            if !keep(field) {
                continue;
            }
            if field.plain() {
                if field.line_start() != run.1 {
                    self.put(bytes.get(run.0..run.1).unwrap_or_default());
                    run.0 = field.line_start();
                }
                run.1 = field.plain_line_end();
            } else {
                self.put(bytes.get(run.0..run.1).unwrap_or_default());
                run = (0, 0);
                self.field(field.name().of(bytes), field.value().of(bytes));
            }
        }
        self.put(bytes.get(run.0..run.1).unwrap_or_default());
    }

    /// The empty line after the last field.
    #[inline]
    pub fn end(&mut self) {
        self.put(b"\r\n");
    }

    /// Bytes so far, whether or not they fit.
    #[inline]
    pub fn len(&self) -> usize {
        self.at
    }

    /// Whether nothing was put yet.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.at == 0
    }

    /// How much of the room is used.
    ///
    /// # Errors
    /// It did not fit; what is in the room is not a head.
    #[inline]
    pub fn finish(self) -> Result<usize, Overflow> {
        if self.at <= self.room.len() { Ok(self.at) } else { Err(Overflow { needed: self.at }) }
    }
}

#[cfg(test)]
mod tests {
    use super::{HeadWriter, Overflow};
    use crate::http1::{Known, Limits, RequestHead};

    fn written(write: impl Fn(&mut HeadWriter<'_>)) -> String {
        let mut room = [0; 512];
        let mut writer = HeadWriter::new(&mut room);
        write(&mut writer);
        let length = writer.finish().expect("it fits");
        for short in 0..length {
            let mut writer = HeadWriter::new(&mut room[..short]);
            write(&mut writer);
            assert_eq!(writer.finish(), Err(Overflow { needed: length }));
        }
        String::from_utf8_lossy(&room[..length]).into_owned()
    }

    #[test]
    fn numbers_are_decimal() {
        for number in [0, 7, 10, 99, 100, 65_535, u64::MAX] {
            assert_eq!(written(|head| head.put_u64(number)), number.to_string());
        }
        assert_eq!(written(|head| head.field_u64(b"content-length", 12)), "content-length: 12\r\n");
    }

    #[test]
    fn kept_fields_are_copied_in_order_and_tidied_where_they_were_not_plain() {
        let bytes = b"GET / HTTP/1.1\r\nHost: a\r\nA: 1\r\nConnection: x-gone\r\nB:2\r\nC:  3 \r\nX-Gone: 4\r\nD: 5\r\n\
            Empty:\r\nx_y: 6\r\nE: 7\r\nF: 8\r\n\r\n";
        let mut head = RequestHead::default();
        head.parse(bytes, &Limits::default()).expect("a legal head");
        let forwarded = |out: &mut HeadWriter<'_>| {
            out.fields(bytes, head.fields.as_slice(), |field| !field.dropped() && field.known != Known::Host);
        };
        assert_eq!(written(forwarded), "A: 1\r\nB: 2\r\nC: 3\r\nD: 5\r\nEmpty: \r\nE: 7\r\nF: 8\r\n");
        let all = |out: &mut HeadWriter<'_>| out.fields(bytes, head.fields.as_slice(), |_| true);
        assert_eq!(
            written(all),
            "Host: a\r\nA: 1\r\nConnection: x-gone\r\nB: 2\r\nC: 3\r\nX-Gone: 4\r\nD: 5\r\nEmpty: \r\nx_y: 6\r\nE: 7\r\nF: 8\r\n"
        );
    }
}
