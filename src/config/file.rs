//! The text of a configuration file becomes values with line numbers, and broken syntax becomes mistakes.
//!
//! One slip does not hide the others: a broken line is reported, taken out, and the rest is parsed again. Only behind
//! a bracket or a quote that is never closed nothing is looked at, because nobody knows what it belongs to.

use std::borrow::Cow;
use std::ops::Range;

use toml::de::DeTable;
use toml::de::DeValue;

use super::mistake::Mistake;
use super::mistake::Place;
use super::mistake::Report;
use super::raw::Content;
use super::raw::Table;

/// A configuration file, already read.
#[derive(Clone, Copy, Debug)]
pub struct File<'a> {
    /// Its name, as it shall stand in messages.
    pub name: &'a str,
    /// All of its text.
    pub text: &'a str,
}

/// How many broken lines are looked for, each at the price of parsing once more.
const BROKEN_MAX: usize = 50;

impl File<'_> {
    /// The values of the file; broken syntax goes into the report.
    pub(super) fn read(self, report: &mut Report) -> Table {
        let mut lines: Vec<Cow<'_, str>> = self.text.lines().map(Cow::Borrowed).collect();
        for _ in 0..BROKEN_MAX {
            let text = lines.join("\n");
            let (root, errors) = DeTable::parse_recoverable(&text);
            let slip = |error: &toml::de::Error| Slip {
                file: self.name,
                text: &text,
                span: error.span().unwrap_or_default(),
                message: error.message().to_owned(),
            };
            let slips: Vec<_> = errors.iter().map(slip).collect();
            let Some(slip) = slips.iter().filter(|slip| !slip.is_readable()).min_by_key(|slip| slip.line())
            else {
                for slip in slips {
                    match slip.is_duplicate() {
                        true => report.add(slip.mistake()),
                        false => report.add_unquoted(slip.mistake()),
                    }
                }
                return self.values(root.into_inner(), &text);
            };
            let repair = slip.repair(root.get_ref(), report);
            match repair {
                Repair::Line(number, replaced) => {
                    if let Some(line) = lines.get_mut(number - 1) {
                        *line = Cow::Owned(replaced);
                    }
                }
                Repair::CutBefore(number) => lines.truncate(number - 1),
            }
        }
        Table::new()
    }

    fn values(self, root: DeTable<'_>, text: &str) -> Table {
        let locate = |offset: usize| Place::File {
            name: self.name.to_owned(),
            line: line(text, offset),
            column: None,
        };
        match Content::from_toml(&DeValue::Table(root), &locate) {
            Content::Table(table) => table,
            _ => Table::new(),
        }
    }
}

/// How the text is made readable again.
enum Repair {
    /// This line becomes that text.
    Line(usize, String),
    /// The text ends before this line.
    CutBefore(usize),
}

/// A place where the syntax is broken.
#[derive(Clone)]
struct Slip<'a> {
    file: &'a str,
    text: &'a str,
    span: Range<usize>,
    /// The parser's words.
    message: String,
}

impl<'a> Slip<'a> {
    /// Reports what is wrong and says how to go on.
    fn repair(&self, root: &DeTable<'_>, report: &mut Report) -> Repair {
        let opener = unclosed(root, self.span.start).filter(|at| self.line() > line(self.text, *at));
        if let Some(opener) = opener {
            let opener = Self { span: opener..opener, ..self.clone() };
            report.add_broken(opener.unclosed_mistake(), opener.line(), true);
            return Repair::CutBefore(opener.line());
        }
        let header = self.header();
        let hopeless = header.as_ref().is_some_and(String::is_empty);
        report.add_broken(self.mistake(), self.line(), hopeless);
        match hopeless {
            true => Repair::CutBefore(self.line()),
            false => Repair::Line(self.line(), header.unwrap_or_default()),
        }
    }

    /// True for a text without quotes, which the parser takes as if it had them.
    fn is_unquoted(&self) -> bool {
        self.message.starts_with("string values must be quoted") && !self.span.is_empty()
    }

    /// True for a key or a section that stands there twice; the parser keeps the first key and joins the sections.
    fn is_duplicate(&self) -> bool {
        self.message == "duplicate key"
    }

    /// True if the parser could make sense of it, so that the values around it are right.
    fn is_readable(&self) -> bool {
        self.is_unquoted() || self.is_duplicate()
    }

    fn line(&self) -> usize {
        line(self.text, self.span.start)
    }

    fn line_text(&self) -> &'a str {
        self.text.lines().nth(self.line() - 1).unwrap_or_default()
    }

    /// The section header that a broken one was meant to be, or an empty one if nobody can tell; `None` if the line
    /// is no header.
    fn header(&self) -> Option<String> {
        let line = self.line_text().trim();
        let rest = line.strip_prefix('[')?;
        let (open, close) = if rest.starts_with('[') { ("[[", "]]") } else { ("[", "]") };
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        let name: String =
            rest.trim_start_matches('[').trim_start().chars().take_while(|c| is_name(*c)).collect();
        let repaired = format!("{open}{name}{close}");
        Some(if name.is_empty() || line == repaired { String::new() } else { repaired })
    }

    /// Says in plain words what is wrong, with the parser's own words where there are none better.
    fn mistake(&self) -> Mistake {
        let line = self.line_text();
        let (problem, remedy) = if self.is_duplicate() {
            self.duplicate()
        } else if let Some(header) = self.header() {
            let remedy = if header.is_empty() { String::new() } else { format!("write {header}") };
            (format!("broken section header: {}", self.message), remedy)
        } else if let Some((key, value)) = line.split_once('=') {
            self.value_problem(key.trim(), value.trim())
        } else if let Some((key, value)) = line.split_once(':') {
            let remedy = format!("write {} = {}", key.trim(), value.trim());
            ("key and value are joined by =, and not by a colon".to_owned(), remedy)
        } else {
            (self.message.clone(), String::new())
        };
        Mistake { place: self.place(), key: String::new(), problem, remedy }
    }

    fn duplicate(&self) -> (String, String) {
        let name = self.text.get(self.span.clone()).unwrap_or_default();
        let first = self.first_line_like_this();
        let first = first.map_or_else(String::new, |first| format!(", the first time in line {first}"));
        (format!("{name} stands here for the second time{first}"), "keep one of them".to_owned())
    }

    fn value_problem(&self, key: &str, value: &str) -> (String, String) {
        let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''));
        if quote.is_none() && !value.starts_with(['[', '{']) {
            let value = value.split('#').next().unwrap_or_default().trim_end();
            let text = value.trim_matches(|c| matches!(c, '"' | '“' | '”' | '‘' | '’' | ';' | ','));
            return match value {
                "" => (format!("{key} has no value"), "write one, or remove the line".to_owned()),
                "True" | "False" | "TRUE" | "FALSE" => {
                    (format!("{value} is not known"), format!("write {key} = {}", value.to_ascii_lowercase()))
                }
                _ if key.contains("secret") => {
                    ("the secret has no quotes".to_owned(), format!("write {key} = \"...\""))
                }
                _ => (
                    format!("{value} is neither a number nor quoted text"),
                    format!("write {key} = \"{text}\""),
                ),
            };
        }
        let at_end =
            self.text.get(self.span.start..).is_none_or(|rest| rest.is_empty() || rest.starts_with('\n'));
        match quote {
            Some(quote) if at_end && value.matches(quote).count() == 1 => {
                (format!("the text of {key} has no closing quote"), format!("put {quote} behind it"))
            }
            _ => (self.message.clone(), String::new()),
        }
    }

    fn unclosed_mistake(&self) -> Mistake {
        let problem = match self.text.get(self.span.start..).and_then(|rest| rest.chars().next()) {
            Some('[') => "the list that begins here has no end, or lacks a comma",
            Some('{') => "the table that begins here has no end",
            _ => "the text that begins here has no end",
        };
        let remedy = "what follows was not looked at".to_owned();
        Mistake { place: self.place(), key: String::new(), problem: problem.to_owned(), remedy }
    }

    /// The line further up that sets the same key in the same section, or opens the same section.
    fn first_line_like_this(&self) -> Option<usize> {
        let plain = |line: &str| {
            let head = if line.trim_start().starts_with('[') {
                line
            } else {
                line.split('=').next().unwrap_or(line)
            };
            head.split('#').next().unwrap_or_default().split_whitespace().collect::<String>()
        };
        let wanted = plain(self.line_text());
        let mut found = None;
        for (number, line) in (1..self.line()).zip(self.text.lines()) {
            if plain(line) == wanted {
                found = Some(number);
            } else if !wanted.starts_with('[') && line.trim_start().starts_with('[') {
                found = None;
            }
        }
        found
    }

    fn place(&self) -> Place {
        let before = self.text.get(..self.span.start).unwrap_or_default();
        let column = 1 + before.rsplit('\n').next().unwrap_or_default().chars().count();
        Place::File { name: self.file.to_owned(), line: self.line(), column: Some(column) }
    }
}

/// The number of the line in which this byte lies.
fn line(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
}

/// The start of the value that holds the byte at `offset`, if one does: the parser gives a value that is never closed
/// all that follows. The span of a section is its header.
fn unclosed(table: &DeTable<'_>, offset: usize) -> Option<usize> {
    table.iter().find_map(|(_, value)| {
        let span = value.span();
        if span.start < offset && offset <= span.end {
            return Some(span.start);
        }
        match value.get_ref() {
            DeValue::Table(inner) => unclosed(inner, offset),
            DeValue::Array(items) => items
                .iter()
                .filter_map(|item| item.get_ref().as_table())
                .find_map(|inner| unclosed(inner, offset)),
            _ => None,
        }
    })
}
