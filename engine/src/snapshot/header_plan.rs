//! Header operations of a route, ready to be copied: remove, then set, then add.
//!
//! Setting drops every field of that name and writes one, so all that is left to do for a head is to leave out the
//! fields [`HeaderPlan::drops`] names and to append [`HeaderPlan::lines`].

/// The operations of one route in one direction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderPlan {
    /// Lower case.
    dropped: Box<[Box<[u8]>]>,
    /// A bit for each length among `dropped`, 63 for all above: most names are told apart by it.
    lengths: u64,
    /// Some of `dropped` are [`OURS`].
    drops_ours: bool,
    lines: Box<[u8]>,
}

/// Fields made for every upstream request.
const OURS: [&[u8]; 6] =
    [b"via", b"forwarded", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-request-id"];

impl HeaderPlan {
    /// `remove` and `set` name what is dropped; `set` and `add` become lines, in this order. Of two sets of one
    /// name the last counts.
    pub fn new(remove: &[String], set: &[(String, String)], add: &[(String, String)]) -> HeaderPlan {
        let mut dropped: Vec<Box<[u8]>> = Vec::new();
        for name in remove.iter().chain(set.iter().map(|(name, _)| name)) {
            let name = name.to_ascii_lowercase().into_bytes().into_boxed_slice();
            if !dropped.contains(&name) {
                dropped.push(name);
            }
        }
        let mut lines = String::new();
        for (place, (name, value)) in set.iter().enumerate() {
            if !set[place + 1..].iter().any(|(later, _)| later.eq_ignore_ascii_case(name)) {
                lines.extend([name, ": ", value, "\r\n"]);
            }
        }
        for (name, value) in add {
            lines.extend([name, ": ", value, "\r\n"]);
        }
        let lengths = dropped.iter().fold(0, |bits, name| bits | length_bit(name));
        let drops_ours = dropped.iter().any(|name| OURS.contains(&&**name));
        HeaderPlan { dropped: dropped.into(), lengths, drops_ours, lines: lines.into_bytes().into() }
    }

    /// Nothing to do.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.lengths == 0 && self.lines.is_empty()
    }

    /// Whether a field of this name (any case) is left out.
    #[inline]
    pub fn drops(&self, name: &[u8]) -> bool {
        self.lengths & length_bit(name) != 0 && self.dropped.iter().any(|d| d.eq_ignore_ascii_case(name))
    }

    /// Whether it leaves out a field that is made anew for every upstream request.
    #[inline]
    pub fn drops_ours(&self) -> bool {
        self.drops_ours
    }

    /// What is appended: `name: value\r\n`, as often as needed.
    #[inline]
    pub fn lines(&self) -> &[u8] {
        &self.lines
    }

    /// Names left out, lower case.
    pub fn dropped(&self) -> impl Iterator<Item = &[u8]> {
        self.dropped.iter().map(|name| &**name)
    }
}

#[inline]
fn length_bit(name: &[u8]) -> u64 {
    1 << name.len().min(63)
}

#[cfg(test)]
mod tests {
    use super::HeaderPlan;

    #[test]
    fn fields_removed_or_set_are_dropped_and_lines_are_ready() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let plan = HeaderPlan::new(
            &["x-internal".to_owned(), "x-a".to_owned()],
            &[pair("X-Set", "old"), pair("x-set", "1")],
            &[pair("x-a", "2"), pair("x-add", "3")],
        );
        assert_eq!(plan.lines(), b"x-set: 1\r\nx-a: 2\r\nx-add: 3\r\n");
        for (name, dropped) in [
            ("X-Internal", true),
            ("x-SET", true),
            ("x-a", true),
            ("x-add", false),
            ("x-b", false),
            ("", false),
        ] {
            assert_eq!(plan.drops(name.as_bytes()), dropped, "{name}");
        }
        assert!(!plan.is_empty());
    }

    #[test]
    fn a_plan_without_operations_is_empty() {
        let plan = HeaderPlan::new(&[], &[], &[]);
        assert!(plan.is_empty() && !plan.drops(b"") && !plan.drops(b"host"));
    }

    #[test]
    fn names_beyond_the_length_bits_are_still_told_apart() {
        let plan = HeaderPlan::new(&["x".repeat(80)], &[], &[]);
        assert!(plan.drops("X".repeat(80).as_bytes()));
        assert!(!plan.drops("x".repeat(81).as_bytes()));
    }
}
