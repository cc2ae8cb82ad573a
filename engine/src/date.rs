//! The calendar, as heads and logs write it.
//!
//! `Date` is the same text for a whole second, so a worker keeps one and makes it anew when the second it is asked
//! for is another. Time comes in as seconds since 1970; nothing here reads a clock. On the line: `respond`, `observe`.

/// The `Date` text of one worker (IMF-fixdate, RFC 9110 §5.6.7).
#[derive(Clone, Debug)]
pub struct DateCache {
    second: u64,
    text: [u8; IMF_FIXDATE_BYTES],
}

impl DateCache {
    /// Holds the text of 1970-01-01.
    pub fn new() -> Self {
        Self { second: 0, text: imf_fixdate(0) }
    }

    /// The text of `unix_secs`, such as `Sun, 06 Nov 1994 08:49:37 GMT`.
    #[inline]
    pub fn get(&mut self, unix_secs: u64) -> &[u8; IMF_FIXDATE_BYTES] {
        if unix_secs != self.second {
            self.refresh(unix_secs);
        }
        &self.text
    }

    #[cold]
    fn refresh(&mut self, unix_secs: u64) {
        self.second = unix_secs;
        self.text = imf_fixdate(unix_secs);
    }
}

impl Default for DateCache {
    fn default() -> Self {
        Self::new()
    }
}

/// Bytes of an IMF-fixdate.
pub const IMF_FIXDATE_BYTES: usize = 29;

/// A moment in UTC, broken down. Years end at 9999: later moments read as its last second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// 1970 to 9999.
    pub year: u16,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
    /// 0 (Sunday) to 6.
    pub weekday: u8,
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
    /// 0 to 59; leap seconds do not exist in Unix time.
    pub second: u8,
}

impl Moment {
    /// The moment `unix_secs` after 1970 began.
    pub fn from_unix(unix_secs: u64) -> Self {
        let unix_secs = unix_secs.min(LAST_SECOND);
        let (days, of_day) = (unix_secs / 86_400, unix_secs % 86_400);
        // Years that begin in March put the leap day last; then months follow from a straight line, and 400 years
        // (an era) repeat exactly. 719 468 days lie between 0000-03-01 and 1970-01-01.
        let since_march_zero = days + 719_468;
        let (era, day_of_era) = (since_march_zero / 146_097, since_march_zero % 146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        Self {
            year: (era * 400 + year_of_era + u64::from(month <= 2)) as u16,
            month: month as u8,
            day: (day_of_year - (153 * month_from_march + 2) / 5 + 1) as u8,
            weekday: ((days + 4) % 7) as u8,
            hour: (of_day / 3_600) as u8,
            minute: (of_day / 60 % 60) as u8,
            second: (of_day % 60) as u8,
        }
    }

    /// `Jan` to `Dec`.
    pub fn month_name(&self) -> &'static [u8; 3] {
        MONTHS[usize::from(self.month - 1)]
    }

    /// `Sun` to `Sat`.
    pub fn weekday_name(&self) -> &'static [u8; 3] {
        WEEKDAYS[usize::from(self.weekday)]
    }
}

/// Two decimal digits of a value below 100.
pub fn two_digits(value: u8) -> [u8; 2] {
    [b'0' + value / 10, b'0' + value % 10]
}

/// Four decimal digits of a value below 10 000.
pub fn four_digits(value: u16) -> [u8; 4] {
    let [a, b] = two_digits((value / 100) as u8);
    let [c, d] = two_digits((value % 100) as u8);
    [a, b, c, d]
}

fn imf_fixdate(unix_secs: u64) -> [u8; IMF_FIXDATE_BYTES] {
    let moment = Moment::from_unix(unix_secs);
    let mut text = *b"www, dd mmm yyyy hh:mm:ss GMT";
    text[0..3].copy_from_slice(moment.weekday_name());
    text[5..7].copy_from_slice(&two_digits(moment.day));
    text[8..11].copy_from_slice(moment.month_name());
    text[12..16].copy_from_slice(&four_digits(moment.year));
    text[17..19].copy_from_slice(&two_digits(moment.hour));
    text[20..22].copy_from_slice(&two_digits(moment.minute));
    text[23..25].copy_from_slice(&two_digits(moment.second));
    text
}

/// 9999-12-31T23:59:59Z
const LAST_SECOND: u64 = 253_402_300_799;

const MONTHS: [&[u8; 3]; 12] =
    [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];
const WEEKDAYS: [&[u8; 3]; 7] = [b"Sun", b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat"];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn the_example_of_rfc_9110_comes_out() {
        assert_eq!(DateCache::new().get(784_111_777), b"Sun, 06 Nov 1994 08:49:37 GMT");
    }

    #[test]
    fn the_text_changes_with_the_second_and_back() {
        let mut cache = DateCache::new();
        assert_eq!(&cache.get(59)[17..25], b"00:00:59");
        assert_eq!(&cache.get(60)[17..25], b"00:01:00");
        assert_eq!(&cache.get(59)[17..25], b"00:00:59");
    }

    #[test]
    fn the_first_and_the_last_second_hold() {
        assert_eq!(DateCache::new().get(0), b"Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(DateCache::new().get(u64::MAX), b"Fri, 31 Dec 9999 23:59:59 GMT");
    }

    proptest! {
        #[test]
        fn every_second_reads_as_httpdate_writes_it(secs in 0..=LAST_SECOND) {
            let expected = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(secs));
            let text = imf_fixdate(secs);
            prop_assert_eq!(std::str::from_utf8(&text).unwrap(), expected);
        }
    }
}
