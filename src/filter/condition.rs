//! One comparison, as in `send_time_delay>1`: read from text, and held against a member of a record.

use std::cmp::Ordering;

use super::Error;
use super::VALUE_MAX;
use crate::members::Member;

/// A field, a comparison, and what it is compared with.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Condition {
    field: String,
    comparison: Comparison,
    value: String,
    /// The value as a number, unless it stood in quotes or is none.
    number: Option<Number>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Contains,
}

/// The comparisons as they are written; the longer of two that begin alike comes first.
const COMPARISONS: [(&str, Comparison); 7] = [
    ("!=", Comparison::Unequal),
    ("<=", Comparison::LessOrEqual),
    (">=", Comparison::GreaterOrEqual),
    ("=", Comparison::Equal),
    ("<", Comparison::Less),
    (">", Comparison::Greater),
    ("~", Comparison::Contains),
];

/// What people write who know another language, and what it is called here.
const FOREIGN: [(&str, &str); 7] =
    [("==", "="), ("=>", ">="), ("=<", "<="), ("<>", "!="), ("=~", "~"), ("~=", "~"), ("!", "!=")];

impl Condition {
    /// Reads `field OP value`. Blanks around the three parts do not count; a value in double quotes is text.
    pub(super) fn read(text: &str) -> Result<Self, Error> {
        let wrong = |at: usize, what: String, example: String| Error::Expression {
            text: text.to_owned(),
            column: text.get(..at).unwrap_or(text).chars().count() + 1,
            what,
            example,
        };
        let Some(at) = text.find(is_sign) else {
            let field = text.split_whitespace().next().filter(|field| field.chars().all(is_of_field));
            let what = "a comparison is missing: =, !=, <, <=, >, >= or ~ (contains)".to_owned();
            return Err(wrong(text.len(), what, format!("{}=…", field.unwrap_or("err"))));
        };
        let (before, after) = text.split_at_checked(at).unwrap_or((text, ""));
        let field = before.trim();
        if field.is_empty() {
            let what = "the name of a field is missing before the comparison".to_owned();
            return Err(wrong(0, what, format!("err_code{}", after.trim_end())));
        }
        if let Some(odd) = field.find(|c| !is_of_field(c)) {
            let start = before.len() - before.trim_start().len();
            let what = "a field's name has only letters, digits and the characters . _ - @".to_owned();
            return Err(wrong(start + odd, what, format!("send_time_delay{}", after.trim_end())));
        }
        let signs: String = after.chars().take_while(|c| is_sign(*c)).collect();
        let Some((sign, comparison)) = COMPARISONS.iter().find(|(sign, _)| signs == *sign) else {
            let meant = FOREIGN.iter().find(|(foreign, _)| *foreign == signs).map_or("=", |(_, own)| own);
            let rest = after.get(signs.len()..).unwrap_or_default().trim();
            let what = format!(
                "{signs} is no comparison: there are =, !=, <, <=, >, >= and ~ (contains); a value that begins \
                 with such a sign is written in double quotes"
            );
            return Err(wrong(at, what, format!("{field}{meant}{rest}")));
        };
        let raw = after.get(sign.len()..).unwrap_or_default();
        let start = at + sign.len() + (raw.len() - raw.trim_start().len());
        let (value, quoted) = read_value(raw.trim()).map_err(|(offset, what)| {
            let example = format!("{field}{sign}\"{}\"", raw.trim().replace('"', ""));
            wrong(start + offset, what, example)
        })?;
        let number = if quoted { None } else { Number::read(&value) };
        Ok(Self { field: field.to_owned(), comparison: *comparison, value, number })
    }

    pub(super) fn field(&self) -> &str {
        &self.field
    }

    /// Whether a record fits that does not have the field.
    pub(super) fn fits_nothing(&self) -> bool {
        self.comparison == Comparison::Unequal
    }

    pub(super) fn fits(&self, member: &Member<'_>) -> bool {
        let comparison = self.comparison;
        match comparison {
            Comparison::Equal => self.is_equal(member),
            Comparison::Unequal => !self.is_equal(member),
            Comparison::Contains => contains(&member.text(), &self.value),
            Comparison::Less | Comparison::LessOrEqual | Comparison::Greater | Comparison::GreaterOrEqual => {
                self.order(member).is_some_and(|order| match comparison {
                    Comparison::Less => order.is_lt(),
                    Comparison::LessOrEqual => order.is_le(),
                    Comparison::Greater => order.is_gt(),
                    _ => order.is_ge(),
                })
            }
        }
    }

    /// A number equals by its value, everything else by its text: `"007"` is another user than `"7"`.
    fn is_equal(&self, member: &Member<'_>) -> bool {
        let text = member.text();
        if text == self.value {
            return true;
        }
        let read = || Number::read(&text).filter(|_| !member.is_string());
        self.number.zip(read()).is_some_and(|(wanted, found)| found.order(wanted) == Some(Ordering::Equal))
    }

    /// How the member's value stands to the wanted one, when both are of one kind.
    fn order(&self, member: &Member<'_>) -> Option<Ordering> {
        let text = member.text();
        match self.number {
            Some(wanted) => Number::read(&text)?.order(wanted),
            None => member.is_string().then(|| text.as_ref().cmp(&self.value)),
        }
    }
}

/// A number: whole ones are compared to the last digit.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Number {
    Whole(i128),
    Real(f64),
}

impl Number {
    fn read(text: &str) -> Option<Self> {
        // Rust would also read "inf" and "nan".
        let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
        if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
            return None;
        }
        if let Ok(whole) = text.parse() {
            return Some(Self::Whole(whole));
        }
        text.parse().ok().filter(|real: &f64| real.is_finite()).map(Self::Real)
    }

    fn order(self, other: Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Whole(one), Self::Whole(other)) => Some(one.cmp(&other)),
            _ => self.real().partial_cmp(&other.real()),
        }
    }

    fn real(self) -> f64 {
        match self {
            Self::Whole(whole) => whole as f64,
            Self::Real(real) => real,
        }
    }
}

/// The value without its quotes, and whether it had some; or what is wrong with it, and where in it.
fn read_value(raw: &str) -> Result<(String, bool), (usize, String)> {
    if raw.is_empty() {
        return Err((0, "the value is missing; an empty one is written \"\"".to_owned()));
    }
    if raw.len() > VALUE_MAX {
        return Err((0, format!("the value is longer than {VALUE_MAX} bytes")));
    }
    let Some(inner) = raw.strip_prefix('"') else { return Ok((raw.to_owned(), false)) };
    let (mut value, mut escaped) = (String::with_capacity(inner.len()), false);
    for (at, letter) in inner.char_indices() {
        match letter {
            _ if escaped => {
                escaped = false;
                value.push(letter);
            }
            '\\' => escaped = true,
            '"' if at + 1 == inner.len() => return Ok((value, true)),
            '"' => return Err((at + 2, "something follows the closing quote".to_owned())),
            _ => value.push(letter),
        }
    }
    Err((0, "the quote is not closed".to_owned()))
}

/// True when `part` is in `text`; the case of ASCII letters does not count.
fn contains(text: &str, part: &str) -> bool {
    let (text, part) = (text.as_bytes(), part.as_bytes());
    part.is_empty() || text.windows(part.len()).any(|window| window.eq_ignore_ascii_case(part))
}

fn is_sign(c: char) -> bool {
    matches!(c, '=' | '!' | '<' | '>' | '~')
}

fn is_of_field(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '@')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::members::members;
    use proptest::prelude::*;

    fn fits(condition: &str, record: &str) -> bool {
        let condition = Condition::read(condition).unwrap_or_else(|error| panic!("{error}"));
        let member = members(record.as_bytes()).find(|member| member.is_called(condition.field()));
        member.map_or(condition.fits_nothing(), |member| condition.fits(&member))
    }

    fn check(record: &str, yes: &[&str], no: &[&str]) {
        for (conditions, expected) in [(yes, true), (no, false)] {
            for condition in conditions {
                assert_eq!(fits(condition, record), expected, "{condition} on {record}");
            }
        }
    }

    #[test]
    fn numbers_are_compared_as_numbers() {
        check(
            r#"{"d":10.5}"#,
            &["d>9", "d >= 10.50", "d<1e2", "d<=10.5", "d=10.5", "d=10.50", "d!=10", "d>-1"],
            &["d>10.5", "d<9", "d=10", "d!=10.50", "d>\"9\""],
        );
        check(r#"{"d":9007199254740993}"#, &["d>9007199254740992"], &["d=9007199254740992"]);
    }

    #[test]
    fn a_number_in_a_string_has_an_order_and_its_own_text() {
        check(
            r#"{"err_code":"4001","user_id":"007"}"#,
            &["err_code>=4000", "err_code=4001", "user_id=007", "user_id!=7", "user_id<8"],
            &["err_code<4000", "err_code=4001.0", "user_id=7"],
        );
    }

    #[test]
    fn texts_are_compared_as_texts() {
        check(
            r#"{"@timestamp":"2026-11-20T23:38:59.404Z","err":"Read \"timeout\"","n":null,"l":[1]}"#,
            &[
                "@timestamp>\"2026-11-20\"",
                "@timestamp>2026-11-20T23",
                "err~TIMEOUT",
                "err ~ \"\\\"time\"",
                "err~\"\"",
                "n=null",
                "l~1",
                "n!=0",
            ],
            &["@timestamp>2027-01-01T", "@timestamp>2026", "err~timeouts", "n>0", "n=\"\"", "l>0"],
        );
    }

    #[test]
    fn a_missing_field_is_unequal_to_everything() {
        check("{}", &["status!=500"], &["status=500", "status<500", "status>=0", "err~x", "err~\"\""]);
    }

    fn check_wrong(text: &str, column: usize, what: &str, example: &str) {
        let message = Condition::read(text).unwrap_err().to_string();
        let place = format!("\"{text}\", column {column}: ");
        assert!(message.starts_with(&place), "{message}");
        assert!(message.contains(what), "{message}");
        assert!(message.ends_with(&format!("; right would be {example}")), "{message}");
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place_and_what_would_be_right() {
        check_wrong("status", 7, "a comparison is missing", "status=…");
        check_wrong("", 1, "a comparison is missing", "err=…");
        check_wrong("=500", 1, "the name of a field is missing", "err_code=500");
        check_wrong("send time>1", 5, "a field's name has only", "send_time_delay>1");
        check_wrong("status==500", 7, "== is no comparison", "status=500");
        check_wrong("status => 500", 8, "=> is no comparison", "status>=500");
        check_wrong("é!5", 2, "! is no comparison", "é!=5");
        check_wrong("status>=", 9, "the value is missing", "status>=\"\"");
        check_wrong("err=\"a b", 5, "the quote is not closed", "err=\"a b\"");
        check_wrong("err=\"a\" b", 8, "something follows the closing quote", "err=\"a b\"");
        let long = format!("a={}", "x".repeat(VALUE_MAX + 1));
        assert!(Condition::read(&long).unwrap_err().to_string().contains("longer than"));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[a-z=!<>~\" \\\\é.0-9-]{0,12}") {
            if let Err(error) = Condition::read(&text) {
                prop_assert!(error.to_string().contains("column"));
            }
        }

        #[test]
        fn agrees_with_the_order_of_numbers(one in -1000_i32..1000, other in -1000_i32..1000, scale in 1..100_i32) {
            let (one, other) = (f64::from(one) / f64::from(scale), f64::from(other) / f64::from(scale));
            let record = format!("{{\"d\":{one}}}");
            for (sign, expected) in
                [("=", one == other), ("<", one < other), ("<=", one <= other), (">", one > other), (">=", one >= other)]
            {
                prop_assert_eq!(fits(&format!("d{sign}{other}"), &record), expected);
            }
            prop_assert_ne!(fits(&format!("d={other}"), &record), fits(&format!("d!={other}"), &record));
        }

        #[test]
        fn a_text_in_quotes_equals_itself(text in "\\PC{0,20}") {
            let quoted = text.replace('\\', "\\\\").replace('"', "\\\"");
            let record = serde_json::json!({"err": text}).to_string();
            let (equal, part) = (format!("err=\"{quoted}\""), format!("err~\"{quoted}\""));
            prop_assert!(fits(&equal, &record));
            prop_assert!(fits(&part, &record));
        }
    }
}
