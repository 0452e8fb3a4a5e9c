//! The reader that turns written values into typed ones and never stops at a mistake.
//!
//! Each method looks up one key, and on a mistake reports it and gives an empty value, which nobody sees, because a
//! configuration with a mistake is never handed out.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::mistake::Mistake;
use super::mistake::Place;
use super::mistake::Report;
use super::nearest::nearest;
use super::raw::Content;
use super::raw::Layers;
use super::raw::Table;
use super::raw::Value;
use super::secret::Secret;
use crate::address::Address;
use crate::units;
use crate::units::Bare;
use crate::units::Rate;

/// The largest size that any key takes: what the kernel takes for a socket buffer.
pub(super) const SIZE_MAX: u64 = 1 << 30;

/// Reads the keys of a whole configuration, or those of one table in a list.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    values: &'a Table,
    defaults: &'a Table,
    /// What stands before the names of the keys: empty, or `gateway.route.`.
    prefix: &'a str,
    report: &'a Report,
}

impl<'a> Reader<'a> {
    /// A reader of everything.
    pub(super) fn new(layers: &'a Layers, report: &'a Report) -> Self {
        Self { values: &layers.values, defaults: &layers.defaults, prefix: "", report }
    }

    /// Where a key was set; for a key that is not there, where the table is.
    pub(super) fn place(&self, key: &str) -> Place {
        self.values.get(key).map_or(Place::Default, |value| value.place.clone())
    }

    /// True if an operator wrote this key, even with the value that it has anyway.
    pub(super) fn is_set(&self, key: &str) -> bool {
        self.values.get(key).is_some_and(|value| value.place != Place::Default)
    }

    /// True if the value is not the default. A file that began as a copy of the manual sets everything.
    pub(super) fn is_changed(&self, key: &str) -> bool {
        self.content(key) != self.defaults.get(key).map(|value| &value.content)
    }

    /// True if the key has a value at all; keys of a table in a list may be left out.
    pub(super) fn has(&self, key: &str) -> bool {
        self.values.contains_key(key)
    }

    /// Reports a mistake of this key.
    pub(super) fn wrong(&self, key: &str, problem: impl Into<String>, remedy: impl Into<String>) {
        self.wrong_at(self.place(key), key, problem, remedy);
    }

    /// Reports a mistake of this key at another place, such as an item of its list.
    pub(super) fn wrong_at(
        &self,
        place: Place,
        key: &str,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let key = format!("{}{key}", self.prefix);
        self.report.add(Mistake { place, key, problem: problem.into(), remedy: remedy.into() });
    }

    /// Tells the operator something about this key, which is not wrong.
    pub(super) fn notice(&self, key: &str, text: &str) {
        let place = self.place(key);
        // A variable and an argument are named after their key, which need not be said twice.
        let text = match place {
            Place::Default | Place::File { .. } => format!("{place}: {}{key}: {text}", self.prefix),
            Place::Variable(_) | Place::Argument(_) => format!("{place}: {text}"),
        };
        self.report.notice(place, text);
    }

    /// True if all of these keys are right as such, so that they can be compared.
    pub(super) fn sound(&self, keys: &[&str]) -> bool {
        let keys: Vec<_> = keys.iter().map(|key| format!("{}{key}", self.prefix)).collect();
        self.report.sound(&keys.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Reports a relation between keys that does not hold, at the first of them that an operator has set.
    pub(super) fn relation(&self, keys: &[&str], holds: bool, problem: impl Into<String>, remedy: &str) {
        if !holds && self.sound(keys) {
            let key = keys.iter().find(|key| self.is_set(key)).or(keys.first()).copied().unwrap_or_default();
            self.wrong(key, problem, remedy);
        }
    }

    /// `true` or `false`.
    pub(super) fn switch(&self, key: &str) -> bool {
        match self.content(key) {
            Some(Content::Switch(on)) => *on,
            Some(other) => {
                let on = match other {
                    Content::Text(word) => {
                        matches!(word.to_ascii_lowercase().as_str(), "true" | "yes" | "on" | "1")
                    }
                    other => *other == Content::Whole(1),
                };
                self.mistyped(key, other, "true or false", &on.to_string());
                false
            }
            None => false,
        }
    }

    /// A text, which may be empty.
    pub(super) fn text(&self, key: &str) -> String {
        self.written_text(key).unwrap_or_default()
    }

    /// A text; `None` if the key is not there, or its value is no text.
    pub(super) fn written_text(&self, key: &str) -> Option<String> {
        let other = match self.content(key)? {
            Content::Text(text) => return Some(text.clone()),
            other => other,
        };
        let example = match other {
            Content::List(items) => {
                items.first().map_or_else(|| "\"\"".to_owned(), |item| item.content.show())
            }
            Content::Table(_) => "\"\"".to_owned(),
            scalar => format!("\"{}\"", scalar.show()),
        };
        self.mistyped(key, other, "text", &example);
        None
    }

    /// A text, where the empty one means that there is none.
    pub(super) fn optional_text(&self, key: &str) -> Option<String> {
        Some(self.text(key)).filter(|text| !text.is_empty())
    }

    /// A text that no message may repeat.
    pub(super) fn secret(&self, key: &str) -> Option<Secret> {
        match self.content(key) {
            Some(Content::Text(text)) => Some(Secret::new(text.clone())).filter(|secret| !secret.is_empty()),
            Some(_) => {
                self.wrong(key, "this is not text", format!("put the secret in quotes: {key} = \"...\""));
                None
            }
            None => None,
        }
    }

    /// An absolute path; the empty text means that there is none.
    pub(super) fn path(&self, key: &str) -> Option<PathBuf> {
        let text = self.optional_text(key)?;
        if !text.starts_with('/') {
            let problem = format!("\"{text}\" is relative, and a daemon may be started from anywhere");
            // Only a path through a folder looks like one that lost its first slash.
            let lost_slash = text.contains('/') && !text.starts_with('.');
            let meant = lost_slash.then(|| format!("did you mean \"/{text}\"?"));
            self.wrong(key, problem, meant.unwrap_or_else(|| "write the whole path".to_owned()));
        }
        Some(PathBuf::from(text))
    }

    /// One of several words.
    pub(super) fn word<T: Copy>(&self, key: &str, words: &[(&str, T)]) -> Option<T> {
        let known = words.iter().map(|(word, _)| *word);
        let list = known.clone().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", ");
        let choice = format!("write {}{list}", if words.len() > 1 { "one of " } else { "" });
        match self.content(key)? {
            Content::Text(text) => {
                let found = words.iter().find(|(word, _)| word == text).map(|(_, meaning)| *meaning);
                if found.is_none() {
                    let near = nearest(text, known).map(|near| format!("did you mean \"{near}\"?"));
                    self.wrong(key, format!("\"{text}\" is not known"), near.unwrap_or(choice));
                }
                found
            }
            other => {
                self.wrong(key, format!("{}, a word is needed", other.describe()), choice);
                None
            }
        }
    }

    /// A whole number in a range.
    pub(super) fn count(&self, key: &str, range: RangeInclusive<i64>) -> i64 {
        let number = match self.content(key) {
            Some(Content::Whole(number)) => *number,
            Some(other) => {
                let example = match other {
                    Content::Text(text) if text.parse::<i64>().is_ok() => text.clone(),
                    _ => self.example(key),
                };
                self.mistyped(key, other, "a whole number", &example);
                return 0;
            }
            None => return 0,
        };
        match i64::try_from(number).ok().filter(|number| range.contains(number)) {
            Some(number) => number,
            None => {
                // A number beyond the type was cut to the edge of it, and would not look like what was written.
                let edge = matches!(number, i128::MIN | i128::MAX);
                let problem = if edge {
                    "the number is out of range".to_owned()
                } else {
                    format!("{number} is out of range")
                };
                self.wrong(key, problem, format!("write a number from {} to {}", range.start(), range.end()));
                0
            }
        }
    }

    /// A whole number in a range, for what is counted in memory.
    pub(super) fn amount(&self, key: &str, range: RangeInclusive<i64>) -> usize {
        usize::try_from(self.count(key, range)).unwrap_or_default()
    }

    /// A size in bytes in a range.
    pub(super) fn size(&self, key: &str, range: RangeInclusive<u64>) -> usize {
        let size = match self.content(key) {
            Some(Content::Whole(bytes)) => u64::try_from(*bytes).map_err(|_| {
                let edge = matches!(*bytes, i128::MIN | i128::MAX);
                let text = if edge { "the number".to_owned() } else { bytes.to_string() };
                if *bytes < 0 { units::UnitError::Negative(text) } else { units::UnitError::TooLarge(text) }
            }),
            Some(Content::Text(text)) => units::size(text),
            Some(other) => {
                self.mistyped(key, other, "a size", &self.example(key));
                return 0;
            }
            None => return 0,
        };
        match size {
            Ok(bytes) if range.contains(&bytes) => return usize::try_from(bytes).unwrap_or(usize::MAX),
            Ok(bytes) => {
                let (least, most) = (units::show_size(*range.start()), units::show_size(*range.end()));
                let problem = format!("{} is out of range", units::show_size(bytes));
                self.wrong(key, problem, format!("write a size from {least} to {most}"));
            }
            Err(error) => self.wrong(key, error.to_string(), ""),
        }
        0
    }

    /// A duration; `zero` says what would happen without any time, which is always refused.
    pub(super) fn duration(&self, key: &str, bare: Bare, zero: &str) -> Duration {
        let duration = match self.content(key) {
            // Where this loses digits, the number is too large anyway.
            Some(Content::Whole(number)) => units::bare_duration(*number as f64, bare),
            Some(Content::Real(number)) => units::bare_duration(*number, bare),
            Some(Content::Text(text)) => units::duration(text),
            Some(other) => {
                self.mistyped(key, other, "a duration", &self.example(key));
                return Duration::ZERO;
            }
            None => return Duration::ZERO,
        };
        match duration {
            Ok(duration) if duration.is_zero() => self.wrong(key, format!("0 {zero}"), self.such_as(key)),
            Ok(duration) => return duration,
            Err(error) => self.wrong(key, error.to_string(), ""),
        }
        Duration::ZERO
    }

    /// A rate; `None` for "off" or `false`, which is no limit.
    pub(super) fn rate(&self, key: &str) -> Option<Rate> {
        match self.content(key)? {
            _ if self.is_off(key) => return None,
            Content::Text(text) => match units::rate(text) {
                Ok(rate) => return Some(rate),
                Err(error) => self.wrong(key, error.to_string(), ""),
            },
            other => {
                let example = match other {
                    Content::Whole(number) => format!("\"{number}/s\""),
                    _ => "\"20/s\"".to_owned(),
                };
                self.mistyped(key, other, "a rate", &example);
            }
        }
        None
    }

    /// True if the value is this word or `false`, which turns the key off.
    pub(super) fn is_off(&self, key: &str) -> bool {
        matches!(self.content(key), Some(Content::Switch(false)))
            || matches!(self.content(key), Some(Content::Text(word)) if word == "off")
    }

    /// A list of texts, each with its place.
    pub(super) fn texts(&self, key: &str) -> Vec<(String, Place)> {
        let items = match self.content(key) {
            Some(Content::List(items)) => items,
            Some(other) => {
                let example = match other {
                    Content::Text(_) => format!("[{}]", other.show()),
                    _ => self.example(key),
                };
                self.mistyped(key, other, "a list", &example);
                return Vec::new();
            }
            None => return Vec::new(),
        };
        let mut texts = Vec::new();
        for item in items {
            match &item.content {
                Content::Text(text) => texts.push((text.clone(), item.place.clone())),
                other => {
                    let problem = format!("{}, text is needed", other.describe());
                    self.wrong_at(item.place.clone(), key, problem, format!("write \"{}\"", other.show()));
                }
            }
        }
        texts
    }

    /// A list of words, each at most once.
    pub(super) fn words<T: Copy + PartialEq>(&self, key: &str, words: &[(&str, T)]) -> Vec<T> {
        let known = words.iter().map(|(word, _)| *word);
        let mut found = Vec::new();
        for (text, place) in self.texts(key) {
            match words.iter().find(|(word, _)| *word == text) {
                Some((_, meaning)) if found.contains(meaning) => {
                    self.wrong_at(place, key, format!("\"{text}\" is listed twice"), "write each word once");
                }
                Some((_, meaning)) => found.push(*meaning),
                None => {
                    let near = nearest(&text, known.clone()).map(|near| format!("did you mean \"{near}\"?"));
                    let all =
                        || known.clone().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", ");
                    let remedy = near.unwrap_or_else(|| format!("there are {}", all()));
                    self.wrong_at(place, key, format!("\"{text}\" is not known"), remedy);
                }
            }
        }
        found
    }

    /// A list of addresses, each with its place.
    pub(super) fn addresses(&self, key: &str) -> Vec<(Address, Place)> {
        let mut addresses = Vec::new();
        for (text, place) in self.texts(key) {
            match text.parse::<Address>() {
                Ok(address) => addresses.push((address, place)),
                Err(error) => self.wrong_at(place, key, error.to_string(), ""),
            }
        }
        addresses
    }

    /// The tables of a list: `[[gateway.route]]`. `prefix` stands before their keys in messages.
    pub(super) fn tables(&self, key: &str, prefix: &'a str) -> Vec<(Self, Place)> {
        let brackets = format!("write [[{key}]] on a line of its own, and the keys below it");
        let items = match self.content(key) {
            Some(Content::List(items)) => items,
            Some(_) => {
                self.wrong(key, "there may be several of these, each in double brackets", brackets);
                return Vec::new();
            }
            None => return Vec::new(),
        };
        let mut readers = Vec::new();
        for item in items {
            match &item.content {
                Content::Table(values) => {
                    readers.push((Self { values, prefix, ..*self }, item.place.clone()));
                }
                other => {
                    let problem = format!("{}, a table is needed", other.describe());
                    self.wrong_at(item.place.clone(), key, problem, brackets.clone());
                }
            }
        }
        readers
    }

    fn content(&self, key: &str) -> Option<&'a Content> {
        self.values.get(key).map(|Value { content, .. }| content)
    }

    /// The default as an example of a right value.
    fn example(&self, key: &str) -> String {
        self.defaults
            .get(&format!("{}{key}", self.prefix))
            .map_or_else(|| "\"1s\"".to_owned(), |value| value.content.show())
    }

    fn such_as(&self, key: &str) -> String {
        format!("the default is {}", self.example(key))
    }

    fn mistyped(&self, key: &str, found: &Content, needed: &str, example: &str) {
        let name = key.rsplit('.').next().unwrap_or(key);
        let problem = format!("{}, {needed} is needed", found.describe());
        self.wrong(key, problem, format!("write {name} = {example}"));
    }
}
