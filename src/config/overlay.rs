//! Environment variables and `--set` arguments: values laid over the file, one key each.

use toml::de::DeValue;

use super::mistake::Mistake;
use super::mistake::Place;
use super::mistake::Report;
use super::raw::Content;
use super::raw::Layers;
use super::raw::Value;
use super::schema;
use super::schema::Kind;

/// What every variable of pillion begins with.
const PREFIX: &str = "PILLION_";

impl Layers {
    /// Lays one variable over what is there; one that is not for pillion is passed over.
    pub(super) fn lay_variable(&mut self, name: &str, text: &str, report: &Report) {
        let Some(rest) = name.strip_prefix(PREFIX) else { return };
        let lower = rest.to_ascii_lowercase();
        let (section, key) = lower.split_once("__").unwrap_or(("", &lower));
        if rest.starts_with("SERVICE_") || rest.starts_with("PORT") {
            let problem = "unknown key".to_owned();
            let remedy = "Kubernetes sets it for a service called pillion, unless the pod says enableServiceLinks: false";
            let place = Place::Variable(name.to_owned());
            report.add(Mistake { place, key: lower.clone(), problem, remedy: remedy.to_owned() });
            return;
        }
        self.lay_text(section, key, text, Place::Variable(name.to_owned()), report);
    }

    /// Lays one `key=value` over what is there.
    pub(super) fn lay_argument(&mut self, argument: &str, report: &Report) {
        let Some((name, text)) = argument.split_once('=') else {
            let place = Place::Argument(argument.to_owned());
            let problem = "a key and a value are needed".to_owned();
            let remedy = format!("write --set {argument}=VALUE");
            report.add(Mistake { place, key: argument.to_owned(), problem, remedy });
            return;
        };
        let name = name.trim();
        let (section, key) = name.split_once('.').unwrap_or(("", name));
        self.lay_text(section, key, text, Place::Argument(name.to_owned()), report);
    }

    fn lay_text(&mut self, section: &str, name: &str, text: &str, place: Place, report: &Report) {
        let kind = schema::find(section, name).map(|key| key.kind);
        match content(text.trim(), kind, &place) {
            Ok(content) => self.lay(section, name, Value { place, content }, report),
            Err(message) => {
                let remedy = "the value is written as in a file".to_owned();
                report.add(Mistake { place, key: schema::dotted(section, name), problem: message, remedy });
            }
        }
    }
}

/// The variable that sets this key.
pub(super) fn variable(section: &str, name: &str) -> String {
    let joint = if section.is_empty() { "" } else { "__" };
    format!("{PREFIX}{section}{joint}{name}").to_ascii_uppercase()
}

/// Reads a value in TOML syntax; words that are none are text without its quotes.
fn content(text: &str, kind: Option<Kind>, place: &Place) -> Result<Content, String> {
    let locate = |_| place.clone();
    let quoted = text.starts_with(['"', '\'']);
    let bracketed = text.starts_with(['[', '{']);
    match DeValue::parse(text) {
        Ok(value) if quoted || bracketed => Ok(Content::from_toml(value.get_ref(), &locate)),
        Err(error) if quoted || (bracketed && kind != Some(Kind::Text)) => Err(error.message().to_owned()),
        Ok(value) if kind != Some(Kind::Text) && !value.get_ref().is_datetime() => {
            Ok(Content::from_toml(value.get_ref(), &locate))
        }
        _ => Ok(Content::Text(text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, kind: Kind, expected: &str) {
        let place = Place::Argument("key".to_owned());
        let shown = content(text, Some(kind), &place).map_or_else(|error| error, |content| content.show());
        assert_eq!(shown, expected, "{text}");
    }

    #[test]
    fn values_are_toml_or_bare_words() {
        check("4096", Kind::Scalar, "4096");
        check("0.5", Kind::Scalar, "0.5");
        check("true", Kind::Scalar, "true");
        check("64KiB", Kind::Scalar, "\"64KiB\"");
        check("\"64KiB\"", Kind::Scalar, "\"64KiB\"");
        check("2026-01-01", Kind::Scalar, "\"2026-01-01\"");
        check("", Kind::Scalar, "\"\"");
        check("[\"unix\", \"10.0.0.0/8\"]", Kind::List, "[\"unix\", \"10.0.0.0/8\"]");
        check("unix", Kind::List, "\"unix\"");
        check("[\"unix\"", Kind::List, "unclosed array, expected `]`");
    }

    #[test]
    fn a_key_for_text_takes_numbers_as_text() {
        check("7", Kind::Text, "\"7\"");
        check("true", Kind::Text, "\"true\"");
        check("[::1]", Kind::Text, "\"[::1]\"");
        check("\"7\"", Kind::Text, "\"7\"");
        check("\"7", Kind::Text, "invalid basic string, expected `\"`");
    }

    #[test]
    fn variables_are_named_after_their_keys() {
        assert_eq!(variable("logger", "flush_limit"), "PILLION_LOGGER__FLUSH_LIMIT");
        assert_eq!(variable("", "node"), "PILLION_NODE");
    }
}
