//! What was written: values that know where they stand, and the layers in which they lie over each other.

use std::collections::BTreeMap;

use toml::de::DeValue;

use super::file::File;
use super::mistake::Mistake;
use super::mistake::Place;
use super::mistake::Report;
use super::schema;
use super::schema::Key;
use super::schema::Kind;
use super::schema::Meant;

/// A value and where it was written.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Value {
    /// The place of its key, or its own in a list.
    pub(super) place: Place,
    /// What stands there.
    pub(super) content: Content,
}

/// The forms that a value can have.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Content {
    /// `"text"`
    Text(String),
    /// `7`; a number that is too large for the type is kept as the largest.
    Whole(i128),
    /// `0.5`
    Real(f64),
    /// `true`
    Switch(bool),
    /// `1979-05-27`, which no key wants.
    Date(String),
    /// `[1, 2]`
    List(Vec<Value>),
    /// `{ a = 1 }` or the lines below a `[header]`
    Table(Table),
}

/// Values by their names.
pub(super) type Table = BTreeMap<String, Value>;

/// The defaults, and what lies over them. The names are whole ones: `logger.flush_limit`.
#[derive(Debug, Default)]
pub(super) struct Layers {
    /// The compiled-in values alone, as examples for messages.
    pub(super) defaults: Table,
    /// What is in force.
    pub(super) values: Table,
}

impl Layers {
    /// The compiled-in values alone.
    pub(super) fn defaults(report: &mut Report) -> Self {
        let mut layers = Self::default();
        let root = File { name: "default.toml", text: super::DEFAULTS }.read(report);
        layers.lay_file(root, report);
        for value in layers.values.values_mut() {
            value.forget_place();
        }
        layers.defaults = layers.values.clone();
        layers
    }

    /// Lays a whole file over what is there, section by section.
    pub(super) fn lay_file(&mut self, root: Table, report: &Report) {
        for (name, value) in root {
            match value.content {
                Content::Table(keys) if schema::is_section(&name) => {
                    for (key, value) in keys {
                        self.lay(&name, &key, value, report);
                    }
                }
                content if schema::is_section(&name) => {
                    let problem = match content {
                        Content::List(_) => format!("the section [{name}] stands in double brackets"),
                        _ => format!("{name} is a section, and not a key"),
                    };
                    let remedy = format!("write [{name}] on a line of its own, and its keys below it");
                    report.add(Mistake { place: value.place, key: String::new(), problem, remedy });
                }
                Content::Table(_) => report.add(unknown_section(&name, value.place)),
                Content::List(items)
                    if items.iter().any(|item| matches!(item.content, Content::Table(_))) =>
                {
                    report.add(unknown_section(&name, value.place));
                }
                content => self.lay("", &name, Value { content, ..value }, report),
            }
        }
    }

    /// Lays one value over what is there, or reports that there is no such key.
    pub(super) fn lay(&mut self, section: &str, name: &str, value: Value, report: &Report) {
        match schema::find(section, name) {
            Some(Key { kind: Kind::Tables(known), .. }) => {
                report_unknown_in_tables(&schema::dotted(section, name), known, &value, report);
                self.values.insert(schema::dotted(section, name), value);
            }
            Some(_) => drop(self.values.insert(schema::dotted(section, name), value)),
            None => report.add(unknown_key(section, name, value.place)),
        }
    }
}

impl Value {
    /// Makes it a value that nobody wrote.
    fn forget_place(&mut self) {
        self.place = Place::Default;
        match &mut self.content {
            Content::List(items) => items.iter_mut().for_each(Self::forget_place),
            Content::Table(keys) => keys.values_mut().for_each(Self::forget_place),
            _ => {}
        }
    }
}

impl Content {
    /// Takes over a parsed value; `locate` turns a byte offset into a place.
    pub(super) fn from_toml(value: &DeValue<'_>, locate: &dyn Fn(usize) -> Place) -> Self {
        match value {
            DeValue::String(text) => Self::Text(text.to_string()),
            DeValue::Integer(number) => {
                let extreme = if number.as_str().starts_with('-') { i128::MIN } else { i128::MAX };
                Self::Whole(i128::from_str_radix(number.as_str(), number.radix()).unwrap_or(extreme))
            }
            DeValue::Float(number) => Self::Real(number.as_str().parse().unwrap_or(f64::NAN)),
            DeValue::Boolean(on) => Self::Switch(*on),
            DeValue::Datetime(date) => Self::Date(date.to_string()),
            DeValue::Array(items) => Self::List(
                items
                    .iter()
                    .map(|item| Value {
                        place: locate(item.span().start),
                        content: Self::from_toml(item.get_ref(), locate),
                    })
                    .collect(),
            ),
            DeValue::Table(keys) => Self::Table(
                keys.iter()
                    .map(|(key, value)| {
                        // A section is where its header stands; it has no value of its own in the text.
                        let content = Self::from_toml(value.get_ref(), locate);
                        (key.get_ref().to_string(), Value { place: locate(key.span().start), content })
                    })
                    .collect(),
            ),
        }
    }

    /// How the value is called in a message.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Text(text) => format!("\"{text}\" is text"),
            Self::Whole(number) => format!("{number} is a number"),
            Self::Real(number) => format!("{number} is a fraction"),
            Self::Switch(on) => format!("{on} is a switch"),
            Self::Date(date) => format!("{date} is a date"),
            Self::List(_) => "this is a list".to_owned(),
            Self::Table(_) => "this is a table".to_owned(),
        }
    }

    /// The value as it would be written in a file, for examples in messages.
    pub(super) fn show(&self) -> String {
        match self {
            Self::Text(text) => format!("\"{text}\""),
            Self::Whole(number) => number.to_string(),
            Self::Real(number) => number.to_string(),
            Self::Switch(on) => on.to_string(),
            Self::Date(date) => date.clone(),
            Self::List(items) => {
                let items: Vec<_> = items.iter().map(|item| item.content.show()).collect();
                format!("[{}]", items.join(", "))
            }
            Self::Table(keys) => {
                let keys: Vec<_> =
                    keys.iter().map(|(key, value)| format!("{key} = {}", value.content.show())).collect();
                format!("{{ {} }}", keys.join(", "))
            }
        }
    }
}

fn report_unknown_in_tables(key: &str, known: &[&'static str], value: &Value, report: &Report) {
    let Content::List(items) = &value.content else { return };
    for item in items {
        let Content::Table(keys) = &item.content else { continue };
        for (name, value) in keys.iter().filter(|(name, _)| !known.contains(&name.as_str())) {
            let remedy = match super::nearest::nearest(name, known.iter().copied()) {
                Some(near) => format!("did you mean \"{near}\"?"),
                None => format!("[[{key}]] has {}", known.join(", ")),
            };
            let problem = "unknown key".to_owned();
            report.add(Mistake { place: value.place.clone(), key: format!("{key}.{name}"), problem, remedy });
        }
    }
}

fn unknown_section(name: &str, place: Place) -> Mistake {
    let remedy = match (schema::nearest_section(name), schema::meant("", name)) {
        (Some(near), _) => format!("did you mean [{near}]?"),
        (None, Meant::Elsewhere(found)) => match found.first() {
            Some((section, name)) => format!("did you mean [[{section}.{name}]]?"),
            None => String::new(),
        },
        (None, _) => HELP.to_owned(),
    };
    Mistake { place, key: String::new(), problem: format!("unknown section [{name}]"), remedy }
}

fn unknown_key(section: &str, name: &str, place: Place) -> Mistake {
    let in_file = matches!(place, Place::File { .. } | Place::Default);
    let spell = |section: &str, name: &str| match place {
        Place::Variable(_) => super::overlay::variable(section, name),
        _ => schema::dotted(section, name),
    };
    let remedy = match schema::meant(section, name) {
        Meant::Here(near) if in_file => format!("did you mean \"{near}\"?"),
        Meant::Elsewhere(found) if in_file => {
            let sections: Vec<_> = found.iter().map(|(section, name)| home(section, name)).collect();
            format!("{name} belongs {}", sections.join(" or "))
        }
        Meant::Perhaps(section, near) if in_file => {
            format!("did you mean \"{near}\" {}?", home(section, near))
        }
        Meant::Here(near) => format!("did you mean {}?", spell(section, near)),
        Meant::Elsewhere(found) => {
            let names: Vec<_> = found.iter().map(|(section, name)| spell(section, name)).collect();
            format!("did you mean {}?", names.join(" or "))
        }
        Meant::Perhaps(section, near) => format!("did you mean {}?", spell(section, near)),
        Meant::Nothing => HELP.to_owned(),
    };
    Mistake { place, key: schema::dotted(section, name), problem: "unknown key".to_owned(), remedy }
}

/// Where a key stands in a file.
fn home(section: &str, name: &str) -> String {
    match schema::find(section, name).map(|key| key.kind) {
        _ if section.is_empty() => "at the top of the file, above all sections".to_owned(),
        Some(Kind::Tables(_)) => format!("as [[{section}.{name}]]"),
        _ => format!("under [{section}]"),
    }
}

/// What to do when nothing near is known.
const HELP: &str = "\"pillion defaults\" prints all that there is";
