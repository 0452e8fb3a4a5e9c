//! Time stamps: RFC 3339 in UTC with milliseconds, the part up to the second kept per thread.
//!
//! Thousands of records share a second, so the calendar is worked out once per second and thread.

use std::cell::Cell;
use std::time::Duration;

/// `YYYY-MM-DDTHH:MM:SS`, and the second that it names.
#[derive(Clone, Copy)]
struct Second {
    unix: u64,
    text: [u8; 19],
}

thread_local! {
    static LAST: Cell<Second> = const { Cell::new(Second { unix: 0, text: *b"1970-01-01T00:00:00" }) };
}

/// Appends the time stamp of `at`, the time since 1970 in UTC.
pub fn stamp_into(out: &mut Vec<u8>, at: Duration) {
    let unix = at.as_secs();
    let mut second = LAST.get();
    if second.unix != unix {
        second = Second { unix, text: render(unix) };
        LAST.set(second);
    }
    out.extend_from_slice(&second.text);
    let millis = at.subsec_millis();
    out.extend_from_slice(&[b'.', digit(millis / 100), digit(millis / 10), digit(millis), b'Z']);
}

fn render(unix: u64) -> [u8; 19] {
    let (days, seconds) = (unix / 86_400, unix % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let d = |value: u64| digit(u32::try_from(value % 10).unwrap_or(0));
    [
        d(year / 1000),
        d(year / 100),
        d(year / 10),
        d(year),
        b'-',
        d(month / 10),
        d(month),
        b'-',
        d(day / 10),
        d(day),
        b'T',
        d(hour / 10),
        d(hour),
        b':',
        d(minute / 10),
        d(minute),
        b':',
        d(second / 10),
        d(second),
    ]
}

/// Year, month and day of a day counted from 1970, in the proleptic Gregorian calendar.
///
/// Counts from 0000-03-01, so that a leap day is the last day of its year: 400 years have 146097 days.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let of_era = shifted % 146_097;
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

fn digit(value: u32) -> u8 {
    b'0' + u8::try_from(value % 10).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stamp(millis: u64) -> String {
        let mut out = Vec::new();
        stamp_into(&mut out, Duration::from_millis(millis));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn leap_days_and_the_ends_of_years_are_right() {
        assert_eq!(stamp(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(stamp(951_782_400_007), "2000-02-29T00:00:00.007Z");
        assert_eq!(stamp(1_798_761_599_999), "2026-12-31T23:59:59.999Z");
    }

    proptest! {
        #[test]
        fn agrees_with_a_calendar_library(millis in 0_i64..253_402_300_800_000) {
            let expected = jiff::Timestamp::from_millisecond(millis).unwrap();
            prop_assert_eq!(stamp(u64::try_from(millis).unwrap()), format!("{expected:.3}"));
        }
    }
}
