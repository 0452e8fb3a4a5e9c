//! Sizes, durations and rates as people write them: `"64KiB"`, `"250ms"`, `"1h30m"`, `"20/s"`.
//!
//! Only what can not be misread is accepted. `kB` is refused, because half of the world means 1000 by it and the
//! other half 1024, and a duration as text needs a unit. A bare number is read in the unit of its key, see [`Bare`].

use std::fmt;
use std::time::Duration;

/// The longest duration that may be configured: one year. Longer ones are typing errors, and could overflow a clock.
pub const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The unit of a bare number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bare {
    /// `500` is half a second: the keys that lua-resty-logger-socket counts in milliseconds.
    Milliseconds,
    /// `5` is five seconds: every other key.
    Seconds,
}

/// Why a text or a number is no size or no duration, and what would be one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// Not of the form number and unit.
    #[error("\"{0}\" is not a size; write a whole number with KiB, MiB or GiB, such as \"64KiB\"")]
    NotSize(String),
    /// `kB` and its relatives.
    #[error("\"{text}\" is ambiguous, since {unit} may mean 1000 or 1024; write \"{remedy}\"")]
    Ambiguous {
        /// What was written.
        text: String,
        /// The unit in it.
        unit: String,
        /// The same number with a unit that means one thing.
        remedy: String,
    },
    /// A part of something, where an amount is needed.
    #[error("\"{0}\" is a share; a size is an amount, such as \"64MiB\"")]
    Share(String),
    /// Not of the form number and unit.
    #[error("\"{0}\" is not a duration; write numbers with ms, s, m, h or d, such as \"250ms\" or \"1h30m\"")]
    NotDuration(String),
    /// A number as text, without its unit.
    #[error("\"{0}\" has no unit; write \"{0}s\" for seconds or \"{0}ms\" for milliseconds")]
    NoUnit(String),
    /// Below zero.
    #[error("{0} is negative")]
    Negative(String),
    /// NaN or infinite.
    #[error("{0} is not a number")]
    NotNumber(String),
    /// More than can be counted, or than makes sense.
    #[error("{0} is too large")]
    TooLarge(String),
    /// Not of the form number, slash and unit.
    #[error(
        "\"{0}\" is not a rate; write a number per s, m, h or d, such as \"20/s\" or \"600/m burst 100\""
    )]
    NotRate(String),
    /// A rate of which a part is outside its range.
    #[error("\"{0}\" is out of range; a rate and its burst are numbers from 1 to {RATE_MAX}")]
    RateRange(String),
}

/// The largest number in a rate.
const RATE_MAX: u32 = 1_000_000;

/// How often something may happen: so many in a second, minute, hour or day, and how many of them at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    count: u32,
    per: &'static str,
    burst: u32,
}

impl Rate {
    /// The pause between two, in nanoseconds, when they come evenly; at least one.
    #[must_use]
    pub fn pace(self) -> u64 {
        unit_nanoseconds(self.per).map_or(1, |per| (per / u64::from(self.count.max(1))).max(1))
    }

    /// How many may come at once after a quiet time; at least one.
    #[must_use]
    pub fn burst(self) -> u32 {
        self.burst
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.count, self.per)?;
        if self.burst == self.count { Ok(()) } else { write!(f, " burst {}", self.burst) }
    }
}

/// Reads a rate: `"20/s"`, `"600/m burst 100"`. Without a burst all of one unit may come at once.
///
/// # Errors
/// Says why the text is no rate.
pub fn rate(text: &str) -> Result<Rate, UnitError> {
    let wrong = || UnitError::NotRate(text.to_owned());
    let (rate, burst) = match text.split_once("burst") {
        Some((rate, burst)) => (rate, Some(burst.trim())),
        None => (text, None),
    };
    let (count, unit) = rate.split_once('/').ok_or_else(wrong)?;
    let unit = unit.trim();
    let per = ["s", "m", "h", "d"].into_iter().find(|known| *known == unit).ok_or_else(wrong)?;
    let number = |part: &str| {
        let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        let number = digits.then(|| part.parse().unwrap_or(u32::MAX)).ok_or_else(wrong)?;
        let fits = (1..=RATE_MAX).contains(&number);
        fits.then_some(number).ok_or_else(|| UnitError::RateRange(text.to_owned()))
    };
    let count = number(count.trim())?;
    Ok(Rate { count, per, burst: burst.map_or(Ok(count), number)? })
}

/// Reads a size in bytes: `"64KiB"`, `"64k"`, `"64 MiB"`, `"1g"`, `"4096"`. The factor is always 1024.
///
/// # Errors
/// Says why the text is no size.
pub fn size(text: &str) -> Result<u64, UnitError> {
    let trimmed = text.trim();
    let (digits, unit) = split_number(trimmed);
    if trimmed.starts_with('-') {
        return Err(UnitError::Negative(format!("\"{text}\"")));
    }
    if unit == "%" {
        return Err(UnitError::Share(text.to_owned()));
    }
    if digits.is_empty() || digits.contains('.') {
        return Err(UnitError::NotSize(text.to_owned()));
    }
    let shift = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kib" => 10,
        "m" | "mib" => 20,
        "g" | "gib" => 30,
        "kb" | "mb" | "gb" => {
            let remedy =
                format!("{digits}{}iB", unit.chars().take(1).collect::<String>().to_ascii_uppercase());
            return Err(UnitError::Ambiguous { text: text.to_owned(), unit: unit.to_owned(), remedy });
        }
        _ => return Err(UnitError::NotSize(text.to_owned())),
    };
    let number: Option<u64> = digits.parse().ok();
    number
        .and_then(|number| number.checked_mul(1 << shift))
        .ok_or_else(|| UnitError::TooLarge(format!("\"{text}\"")))
}

/// Reads a duration: one or more numbers with units, the larger unit first: `"250ms"`, `"1.5s"`, `"1h30m"`.
///
/// # Errors
/// Says why the text is no duration.
pub fn duration(text: &str) -> Result<Duration, UnitError> {
    let mut rest = text.trim();
    if rest.starts_with('-') {
        return Err(UnitError::Negative(format!("\"{text}\"")));
    }
    if !rest.is_empty() && split_number(rest).0 == rest {
        return Err(UnitError::NoUnit(rest.to_owned()));
    }
    let too_large = || UnitError::TooLarge(format!("\"{text}\""));
    let mut total = Duration::ZERO;
    let mut smaller_than = u64::MAX;
    loop {
        let (number, after) = split_number(rest);
        let letters = after.chars().take_while(char::is_ascii_alphabetic).count();
        let (unit, after) = after.split_at(letters);
        let Some(nanoseconds) =
            unit_nanoseconds(unit).filter(|unit| !number.is_empty() && *unit < smaller_than)
        else {
            return Err(UnitError::NotDuration(text.to_owned()));
        };
        smaller_than = nanoseconds;
        total = total.checked_add(scale(number, nanoseconds).ok_or_else(too_large)?).ok_or_else(too_large)?;
        rest = after.trim_start();
        if rest.is_empty() {
            return if total <= LONGEST { Ok(total) } else { Err(too_large()) };
        }
    }
}

/// Reads a bare number as a duration in the unit of its key. Fractions are welcome: `0.5` seconds.
///
/// # Errors
/// Says why the number is no duration.
pub fn bare_duration(number: f64, bare: Bare) -> Result<Duration, UnitError> {
    let text = number.to_string();
    if !number.is_finite() {
        return Err(UnitError::NotNumber(text));
    }
    if number < 0.0 {
        return Err(UnitError::Negative(text));
    }
    let seconds = match bare {
        Bare::Milliseconds => number / 1000.0,
        Bare::Seconds => number,
    };
    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|duration| *duration <= LONGEST)
        .ok_or(UnitError::TooLarge(text))
}

/// A size as it would be written in the configuration: `64KiB`, or bytes where no larger unit fits exactly.
#[must_use]
pub fn show_size(bytes: u64) -> String {
    for (shift, unit) in [(30, "GiB"), (20, "MiB"), (10, "KiB")] {
        if bytes != 0 && bytes.is_multiple_of(1 << shift) {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    if bytes == 1 { "1 byte".to_owned() } else { format!("{bytes} bytes") }
}

/// A duration as it would be written in the configuration: `1h30m`, `250ms`.
#[must_use]
pub fn show_duration(duration: Duration) -> String {
    let mut rest = duration.as_nanos();
    let mut text = String::new();
    for unit in ["d", "h", "m", "s", "ms", "us", "ns"] {
        let nanoseconds = unit_nanoseconds(unit).map_or(1, u128::from);
        if rest >= nanoseconds {
            text.push_str(&format!("{}{unit}", rest / nanoseconds));
            rest %= nanoseconds;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// Splits `"64 KiB"` into `"64"` and `"KiB"`.
fn split_number(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    (number, unit.trim_start())
}

fn unit_nanoseconds(unit: &str) -> Option<u64> {
    Some(match unit {
        "ns" => 1,
        "us" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        "d" => 86_400_000_000_000,
        _ => return None,
    })
}

/// `"1.5"` times a unit, in whole nanoseconds; `None` for an overflow or a second point.
fn scale(number: &str, nanoseconds: u64) -> Option<Duration> {
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(nanoseconds).map(Duration::from_nanos);
    }
    let factor: f64 = number.parse().ok()?;
    Duration::try_from_secs_f64(factor * Duration::from_nanos(nanoseconds).as_secs_f64()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn refused<T: fmt::Debug>(result: Result<T, UnitError>, part: &str) {
        let text = result.unwrap_err().to_string();
        assert!(text.contains(part), "{text}");
    }

    #[test]
    fn sizes_count_in_1024() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("17B", 17),
            ("64k", 65536),
            ("64K", 65536),
            ("64KiB", 65536),
            (" 64 kib ", 65536),
            ("1m", 1 << 20),
            ("3MiB", 3 << 20),
            ("2GiB", 2 << 30),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn decimal_units_are_refused_as_ambiguous() {
        for text in ["64kB", "64KB", "64kb"] {
            refused(size(text), "write \"64KiB\"");
        }
        refused(size("1 MB"), "write \"1MiB\"");
        refused(size("1gb"), "1000 or 1024");
    }

    #[test]
    fn what_is_no_size_is_refused_with_the_reason() {
        refused(size(""), "is not a size");
        refused(size("KiB"), "is not a size");
        refused(size("64 potatoes"), "such as \"64KiB\"");
        refused(size("1.5MiB"), "whole number");
        refused(size("50%"), "is a share");
        refused(size("-1"), "negative");
        refused(size("18446744073709551616"), "too large");
        refused(size("17179869184GiB"), "too large");
    }

    #[test]
    fn durations_add_up_from_the_larger_unit_to_the_smaller() {
        for (text, expected) in [
            ("250ms", ms(250)),
            ("1s", ms(1000)),
            ("1 s", ms(1000)),
            ("0.5s", ms(500)),
            ("5m", ms(300_000)),
            ("1h30m", ms(5_400_000)),
            ("1h 30m", ms(5_400_000)),
            ("1m30.5s", ms(90_500)),
            ("2d", ms(172_800_000)),
            ("0s", ms(0)),
            ("1500us", Duration::from_micros(1500)),
        ] {
            assert_eq!(duration(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused_with_the_reason() {
        refused(duration(""), "is not a duration");
        refused(duration("soon"), "is not a duration");
        refused(duration("5 minutes"), "is not a duration");
        refused(duration("30m1h"), "is not a duration");
        refused(duration("1s1s"), "is not a duration");
        refused(duration("1M"), "is not a duration");
        refused(duration("ms"), "is not a duration");
        refused(duration("10"), "write \"10s\" for seconds or \"10ms\"");
        refused(duration("-1s"), "negative");
        refused(duration("366d"), "too large");
        refused(duration("99999999999999999999s"), "too large");
    }

    #[test]
    fn a_bare_number_has_the_unit_of_its_key() {
        assert_eq!(bare_duration(500.0, Bare::Milliseconds), Ok(ms(500)));
        assert_eq!(bare_duration(0.5, Bare::Seconds), Ok(ms(500)));
        refused(bare_duration(-1.0, Bare::Seconds), "-1 is negative");
        refused(bare_duration(f64::NAN, Bare::Seconds), "not a number");
        refused(bare_duration(f64::INFINITY, Bare::Seconds), "not a number");
        refused(bare_duration(1e300, Bare::Seconds), "too large");
    }

    #[test]
    fn a_rate_is_a_number_per_unit_and_perhaps_a_burst() {
        for (text, pace, burst, shown) in [
            ("20/s", 50_000_000, 20, "20/s"),
            ("600/m", 100_000_000, 600, "600/m"),
            (" 1 / h ", 3_600_000_000_000, 1, "1/h"),
            ("10/s burst 100", 100_000_000, 100, "10/s burst 100"),
            ("10/d burst 10", 8_640_000_000_000, 10, "10/d"),
        ] {
            let rate = rate(text).unwrap();
            assert_eq!(
                (rate.pace(), rate.burst(), rate.to_string().as_str()),
                (pace, burst, shown),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_rate_is_refused_with_the_reason() {
        for text in
            ["", "20", "20 per s", "/s", "20/", "20/w", "-1/s", "1.5/s", "20/s 40", "20/s burst", "+1/s"]
        {
            refused(rate(text), "is not a rate; write a number per s, m, h or d");
        }
        for text in ["0/s", "1000001/s", "1/s burst 0", "99999999999999999999/s"] {
            refused(rate(text), &format!("\"{text}\" is out of range"));
        }
    }

    #[test]
    fn what_is_shown_can_be_read_again() {
        for bytes in [0, 1, 5678, 4096, 3 << 20, 2 << 30] {
            assert_eq!(size(&show_size(bytes).replace(" bytes", "").replace(" byte", "")), Ok(bytes));
        }
        for millis in [0, 1, 1500, 90_000, 5_400_000, 86_400_001] {
            assert_eq!(duration(&show_duration(ms(millis))), Ok(ms(millis)));
        }
        assert_eq!(show_duration(ms(5_400_000)), "1h30m");
    }

    proptest! {
        #[test]
        fn a_rate_that_is_shown_is_the_same_when_it_is_read(
            count in 1..=RATE_MAX, burst in 1..=RATE_MAX, unit in "[smhd]"
        ) {
            let read = rate(&format!("{count}/{unit} burst {burst}")).unwrap();
            prop_assert_eq!(rate(&read.to_string()), Ok(read));
            prop_assert!(read.pace() >= 1);
        }

        #[test]
        fn whatever_is_written_is_a_rate_or_an_error(text in ".*|[0-9]{0,12} ?/ ?[smhdw] ?(burst)? ?[0-9]{0,12}") {
            if let Err(error) = rate(&text) {
                prop_assert!(error.to_string().contains(&text));
            }
        }
    }
}
