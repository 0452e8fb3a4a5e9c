//! What is wrong with a configuration, where, and what would be right; and the list in which mistakes are gathered.

use std::cell::RefCell;
use std::fmt;
use std::fmt::Write;

/// Where a value stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Nobody set it: it comes from the compiled-in defaults.
    Default,
    /// In the configuration file.
    File {
        /// The name of the file as the operator gave it.
        name: String,
        /// The line, counted from 1.
        line: usize,
        /// The column in characters, counted from 1; only where it helps to find a sign in a line.
        column: Option<usize>,
    },
    /// In this environment variable.
    Variable(String),
    /// In a `--set` argument for this key.
    Argument(String),
}

/// One mistake in a configuration. `Display` is one line that says where, what, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Where it stands.
    pub place: Place,
    /// The whole name of the key, such as `logger.flush_limit`; empty if it is about no key.
    pub key: String,
    /// What is wrong.
    pub problem: String,
    /// What would be right; empty if the problem says it already.
    pub remedy: String,
}

impl std::error::Error for Mistake {}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("built-in defaults"),
            Self::File { name, line, column: None } => write!(f, "{name}:{line}"),
            Self::File { name, line, column: Some(column) } => write!(f, "{name}:{line}:{column}"),
            Self::Variable(name) => f.write_str(name),
            Self::Argument(key) => write!(f, "--set {key}"),
        }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, key, problem, remedy } = self;
        let mut line = format!("{place}: ");
        // A variable and an argument are named after their key, which need not be said twice.
        if !key.is_empty() && matches!(place, Place::Default | Place::File { .. }) {
            line.push_str(&format!("{key}: "));
        }
        line.push_str(problem);
        if !remedy.is_empty() {
            line.push_str(&format!("; {remedy}"));
        }
        // What was written is repeated, and must neither break the line nor move the cursor of a terminal.
        for c in line.chars() {
            if c.is_control() { write!(f, "{}", c.escape_default())? } else { f.write_char(c)? }
        }
        Ok(())
    }
}

/// Everything found so far. It is shared by all readers of one configuration, on one thread.
#[derive(Debug, Default)]
pub(super) struct Report {
    mistakes: RefCell<Vec<Mistake>>,
    notices: RefCell<Vec<(Place, String)>>,
    /// Text without quotes. The value is clear, so it is read like any other, and what is wrong with it says more.
    unquoted: Vec<Mistake>,
    /// Lines of the file whose syntax is broken: what was read from them is not worth a second mistake.
    broken_lines: Vec<usize>,
    /// From this line on nothing in the file can be trusted, because something was opened there and never closed.
    broken_from: Option<usize>,
}

impl Report {
    /// Adds a mistake, unless it only follows from a broken line.
    pub(super) fn add(&self, mistake: Mistake) {
        if !self.is_broken(&mistake.place) {
            self.mistakes.borrow_mut().push(mistake);
        }
    }

    /// Adds a mistake of syntax in this line. The line is then left alone, or with `to_end` the rest of the file.
    pub(super) fn add_broken(&mut self, mistake: Mistake, line: usize, to_end: bool) {
        self.add(mistake);
        self.broken_lines.push(line);
        if to_end {
            self.broken_from = Some(line);
        }
    }

    /// Adds a mistake that counts only if nothing else is wrong in its line.
    pub(super) fn add_unquoted(&mut self, mistake: Mistake) {
        self.unquoted.push(mistake);
    }

    /// Adds something that an operator should know although it is allowed.
    pub(super) fn notice(&self, place: Place, text: String) {
        self.notices.borrow_mut().push((place, text));
    }

    /// True if none of these keys has a mistake and no part of the file was lost to broken syntax, so that
    /// comparing their values tells something.
    pub(super) fn sound(&self, keys: &[&str]) -> bool {
        let mistakes = self.mistakes.borrow();
        self.broken_lines.is_empty() && !mistakes.iter().any(|mistake| keys.contains(&mistake.key.as_str()))
    }

    /// The notices, or all mistakes: those of the file in the order of its lines, then variables, then arguments.
    pub(super) fn finish(self) -> Result<Vec<String>, Vec<Mistake>> {
        let order = |place: &Place| match place {
            Place::File { line, .. } => (0, *line),
            Place::Variable(_) => (1, 0),
            Place::Argument(_) => (2, 0),
            Place::Default => (3, 0),
        };
        let mut mistakes = self.mistakes.into_inner();
        for mistake in self.unquoted {
            let line = line_of(&mistake.place);
            if !mistakes.iter().any(|other| line_of(&other.place) == line) {
                mistakes.push(mistake);
            }
        }
        if mistakes.is_empty() {
            let mut notices = self.notices.into_inner();
            notices.sort_by_key(|(place, _)| order(place));
            return Ok(notices.into_iter().map(|(_, text)| text).collect());
        }
        mistakes.sort_by_key(|mistake| order(&mistake.place));
        Err(mistakes)
    }

    fn is_broken(&self, place: &Place) -> bool {
        line_of(place).is_some_and(|line| {
            self.broken_lines.contains(&line) || self.broken_from.is_some_and(|broken| line >= broken)
        })
    }
}

fn line_of(place: &Place) -> Option<usize> {
    match place {
        Place::File { line, .. } => Some(*line),
        Place::Default | Place::Variable(_) | Place::Argument(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistake(place: Place) -> Mistake {
        Mistake {
            place,
            key: "logger.port".to_owned(),
            problem: "no number".to_owned(),
            remedy: "write 5170".to_owned(),
        }
    }

    fn line(line: usize) -> Place {
        Place::File { name: "pillion.toml".to_owned(), line, column: None }
    }

    #[test]
    fn a_mistake_is_one_line_that_starts_with_its_place() {
        for (place, expected) in [
            (line(12), "pillion.toml:12: logger.port: no number; write 5170"),
            (
                Place::Variable("PILLION_LOGGER__PORT".to_owned()),
                "PILLION_LOGGER__PORT: no number; write 5170",
            ),
            (Place::Argument("logger.port".to_owned()), "--set logger.port: no number; write 5170"),
            (Place::Default, "built-in defaults: logger.port: no number; write 5170"),
        ] {
            assert_eq!(mistake(place).to_string(), expected);
        }
    }

    #[test]
    fn control_characters_in_a_value_stay_harmless() {
        let mistake = Mistake { problem: "\"a\n\u{1b}[2J\" is text".to_owned(), ..mistake(line(1)) };
        let expected = "pillion.toml:1: logger.port: \"a\\n\\u{1b}[2J\" is text; write 5170";
        assert_eq!(mistake.to_string(), expected);
    }

    #[test]
    fn nothing_is_reported_twice_for_a_broken_line() {
        let mut report = Report::default();
        report.add_broken(mistake(line(3)), 3, false);
        report.add(mistake(line(3)));
        report.add(mistake(line(2)));
        report.add_broken(mistake(line(7)), 7, true);
        report.add(mistake(line(8)));
        report.add(mistake(Place::Argument("logger.port".to_owned())));
        let places: Vec<_> =
            report.finish().unwrap_err().iter().map(|mistake| mistake.place.to_string()).collect();
        assert_eq!(places, ["pillion.toml:2", "pillion.toml:3", "pillion.toml:7", "--set logger.port"]);
    }

    #[test]
    fn values_with_a_mistake_are_not_compared() {
        let report = Report::default();
        assert!(report.sound(&["logger.port"]));
        report.add(mistake(line(1)));
        assert!(!report.sound(&["logger.host", "logger.port"]));
        assert!(report.sound(&["logger.host"]));
    }
}
