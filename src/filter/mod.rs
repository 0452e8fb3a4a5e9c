//! Which records somebody wants to see: what `pillion tail` and `/tail` take.
//!
//! What it is: a pure yes or no for the text of a record, found in one look at its members; no tree is built, and the
//! first member that does not fit ends the look. A record in which no wanted name stands anywhere is out before that.
//! What it is not: it knows nothing of nested objects. A field is a member of the record by the name that stands
//! there, dots included.
//!
//! **Rules.** `room`, `user`, `session` and `action` may come several times: any of them fits. `level` fits that level
//! and graver ones. `where` is one comparison, `field OP value`, and all of them must fit: `=`, `!=`, `<`, `<=`, `>`,
//! `>=`, and `~` for "contains", without regard to the case of ASCII letters. Numbers are compared as numbers, also
//! with an order the numbers that stand in strings; a value in double quotes is text. A record that lacks a field
//! fits only `!=`.
//!
//! **Limits.** [`VALUES_MAX`] values in all, each of at most [`VALUE_MAX`] bytes; more is a mistake.

mod condition;

use memchr::memmem::Finder;

use crate::members::Member;
use crate::members::members;

use condition::Condition;

/// The most values that one filter may have.
pub const VALUES_MAX: usize = 64;

/// The longest value, in bytes.
pub const VALUE_MAX: usize = 1024;

/// What is wrong with a filter, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A comparison that can not be read.
    #[error("\"{text}\", column {column}: {what}; right would be {example}")]
    Expression {
        /// The comparison as it was written.
        text: String,
        /// The character at which it is wrong, from 1.
        column: usize,
        /// What is wrong.
        what: String,
        /// What was probably meant.
        example: String,
    },
    /// A level that does not exist.
    #[error("\"{0}\" is no level; there are error, warn, info, debug and trace")]
    Level(String),
    /// A word that a filter does not have.
    #[error("\"{0}\" is no filter; there are room, user, session, action, level and where")]
    Unknown(String),
    /// An empty value, or one that is too long.
    #[error("the value of {0} has {1} bytes; it should have 1 to {VALUE_MAX}")]
    Length(&'static str, usize),
    /// A level that is given twice.
    #[error("level can be given once: it fits that level and graver ones")]
    TwoLevels,
    /// More values than a filter may have.
    #[error("the filter has more than {VALUES_MAX} values; use fewer, or look further with another program")]
    TooMany,
}

/// A filter as it is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// Rooms: any of them.
    pub rooms: Vec<String>,
    /// Users: any of them.
    pub users: Vec<String>,
    /// Sessions: any of them.
    pub sessions: Vec<String>,
    /// Actions: any of them.
    pub actions: Vec<String>,
    /// The least grave level.
    pub level: Option<String>,
    /// Comparisons: all of them.
    pub conditions: Vec<String>,
}

impl Terms {
    /// Adds the value of `name`, which is one of the words that [`Self::pairs`] gives.
    ///
    /// # Errors
    /// When there is no such word, or the level was given already.
    pub fn add(&mut self, name: &str, value: String) -> Result<(), Error> {
        match name {
            "room" => self.rooms.push(value),
            "user" => self.users.push(value),
            "session" => self.sessions.push(value),
            "action" => self.actions.push(value),
            "where" => self.conditions.push(value),
            "level" if self.level.is_some() => return Err(Error::TwoLevels),
            "level" => self.level = Some(value),
            _ => return Err(Error::Unknown(name.to_owned())),
        }
        Ok(())
    }

    /// Names and values, as [`Self::add`] takes them.
    pub fn pairs(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let lists = [
            ("room", &self.rooms),
            ("user", &self.users),
            ("session", &self.sessions),
            ("action", &self.actions),
            ("where", &self.conditions),
        ];
        let many = lists.into_iter().flat_map(|(name, list)| list.iter().map(move |value| (name, &**value)));
        many.chain(self.level.iter().map(|level| ("level", &**level)))
    }
}

/// A filter that can be used.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    tests: Vec<Test>,
}

#[derive(Clone, Debug)]
enum Test {
    /// The field has one of these values.
    AnyOf(&'static str, Vec<Finder<'static>>),
    /// The level is this one or a graver one.
    Level(usize),
    Condition(Condition),
}

impl Filter {
    /// Reads what is written.
    ///
    /// # Errors
    /// [`Error`] says what is wrong, where, and what would be right.
    pub fn new(terms: &Terms) -> Result<Self, Error> {
        if terms.pairs().count() > VALUES_MAX {
            return Err(Error::TooMany);
        }
        let wrong_length = |(name, value): &(&'static str, &str)| {
            *name != "where" && !(1..=VALUE_MAX).contains(&value.len())
        };
        if let Some((name, value)) = terms.pairs().find(wrong_length) {
            return Err(Error::Length(name, value.len()));
        }
        let mut tests = Vec::new();
        // The rarest fields first: most records are out after one look.
        for (field, values) in [
            ("session_id", &terms.sessions),
            ("room_id", &terms.rooms),
            ("user_id", &terms.users),
            ("action", &terms.actions),
        ] {
            if !values.is_empty() {
                let finder = |value: &String| Finder::new(value).into_owned();
                tests.push(Test::AnyOf(field, values.iter().map(finder).collect()));
            }
        }
        if let Some(level) = &terms.level {
            tests.push(Test::Level(gravity(level).ok_or_else(|| Error::Level(level.clone()))?));
        }
        for condition in &terms.conditions {
            tests.push(Test::Condition(Condition::read(condition)?));
        }
        Ok(Self { tests })
    }

    /// True when `record`, one JSON object, is wanted. Of a member that comes twice the first one counts.
    #[must_use]
    pub fn fits(&self, record: &[u8]) -> bool {
        if self.tests.is_empty() {
            return true;
        }
        if self.tests.iter().any(|test| test.is_out_of_the_question(record)) {
            return false;
        }
        // One bit for each test that has met its field.
        let mut met = 0_u128;
        for member in members(record) {
            for (number, test) in self.tests.iter().enumerate() {
                let bit = 1_u128 << number;
                if met & bit == 0 && member.is_called(test.field()) {
                    if !test.fits(&member) {
                        return false;
                    }
                    met |= bit;
                }
            }
            if met.count_ones() as usize == self.tests.len() {
                return true;
            }
        }
        self.tests.iter().enumerate().all(|(number, test)| met & (1 << number) != 0 || test.fits_nothing())
    }
}

impl Test {
    /// True when the wanted values are nowhere in the record, whatever its members: far quicker to find out.
    fn is_out_of_the_question(&self, record: &[u8]) -> bool {
        let Self::AnyOf(_, values) = self else { return false };
        // With escapes a value may stand there in other letters.
        !values.iter().any(|value| value.find(record).is_some()) && memchr::memchr(b'\\', record).is_none()
    }

    fn field(&self) -> &str {
        match self {
            Self::AnyOf(field, _) => field,
            Self::Level(_) => "log.level",
            Self::Condition(condition) => condition.field(),
        }
    }

    fn fits(&self, member: &Member<'_>) -> bool {
        match self {
            Self::AnyOf(_, values) => {
                let text = member.text();
                values.iter().any(|value| value.needle() == text.as_bytes())
            }
            Self::Level(least) => gravity(&member.text()).is_some_and(|found| found <= *least),
            Self::Condition(condition) => condition.fits(member),
        }
    }

    fn fits_nothing(&self) -> bool {
        matches!(self, Self::Condition(condition) if condition.fits_nothing())
    }
}

/// The levels, the gravest first, with the words that other programs have for them.
const LEVELS: [&[&str]; 5] = [
    &["error", "err", "crit", "critical", "alert", "emerg", "emergency", "fatal", "panic"],
    &["warn", "warning"],
    &["info", "notice", "information"],
    &["debug"],
    &["trace"],
];

/// How far a level is from the gravest.
fn gravity(level: &str) -> Option<usize> {
    LEVELS.iter().position(|words| words.iter().any(|word| word.eq_ignore_ascii_case(level)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Filter, Error> {
        let mut terms = Terms::default();
        for (name, value) in pairs {
            terms.add(name, (*value).to_owned())?;
        }
        Filter::new(&terms)
    }

    const RECORD: &str = concat!(
        r#"{"@timestamp":"2026-11-20T23:38:59.404Z","action":"msg_send","log.level":"warn","session_id":"s1","#,
        r#""user_id":"u1","room_id":"r1","send_time_delay":1.5,"body":{"room_id":"r9"}}"#
    );

    fn check(pairs: &[(&str, &str)], expected: bool) {
        assert_eq!(read(pairs).unwrap().fits(RECORD.as_bytes()), expected, "{pairs:?}");
    }

    #[test]
    fn any_of_a_kind_and_all_kinds_must_fit() {
        check(&[], true);
        check(&[("room", "r2"), ("room", "r1")], true);
        check(&[("room", "r2"), ("room", "r9")], false);
        check(&[("room", "r1"), ("user", "u2")], false);
        check(&[("session", "s1"), ("action", "msg_send"), ("where", "send_time_delay>1")], true);
        check(&[("where", "send_time_delay>1"), ("where", "send_time_delay>2")], false);
        check(&[("where", "err!=x"), ("where", "status!=500")], true);
        check(&[("where", "err~x")], false);
    }

    #[test]
    fn a_value_is_found_in_whatever_letters_it_is_written() {
        let filter = read(&[("room", "a\"é")]).unwrap();
        assert!(filter.fits(r#"{"room_id":"a\"\u00e9"}"#.as_bytes()));
        assert!(!filter.fits(r#"{"room_id":"a"}"#.as_bytes()));
        assert!(!filter.fits(r#"{"room_id":"a\\"}"#.as_bytes()));
    }

    #[test]
    fn a_level_fits_itself_and_graver_ones() {
        for (level, expected) in [("error", false), ("warn", true), ("WARNING", true), ("info", true)] {
            check(&[("level", level)], expected);
        }
        assert!(!read(&[("level", "trace")]).unwrap().fits(br#"{"log.level":"loud"}"#));
        assert!(!read(&[("level", "trace")]).unwrap().fits(b"{}"));
        assert!(read(&[("level", "info")]).unwrap().fits(br#"{"log.level":"Critical"}"#));
    }

    #[test]
    fn a_filter_that_can_not_be_used_says_what_would_be_right() {
        let wrong = |pairs: &[(&str, &str)]| read(pairs).unwrap_err().to_string();
        assert!(wrong(&[("level", "loud")]).contains("\"loud\" is no level; there are error"));
        assert!(wrong(&[("level", "info"), ("level", "warn")]).contains("once"));
        assert!(wrong(&[("rom", "x")]).contains("\"rom\" is no filter; there are room, user"));
        assert!(wrong(&[("room", "")]).contains("the value of room has 0 bytes"));
        assert!(wrong(&[("where", "status>>5")]).contains("column 7"));
        assert_eq!(read(&[("room", "x"); VALUES_MAX + 1]).unwrap_err(), Error::TooMany);
        assert!(read(&[("where", "a!=1"); VALUES_MAX]).unwrap().fits(b"{}"));
    }

    #[test]
    fn what_is_added_is_given_back() {
        let mut terms = Terms::default();
        let pairs = [
            ("room", "r"),
            ("user", "u"),
            ("session", "s"),
            ("action", "a"),
            ("where", "w=1"),
            ("level", "l"),
        ];
        for (name, value) in pairs {
            terms.add(name, value.to_owned()).unwrap();
        }
        assert_eq!(terms.pairs().collect::<Vec<_>>(), pairs);
    }
}
