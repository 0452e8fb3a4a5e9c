//! The rules of one namespace as JSON: what the API takes and shows, with the keys and the checks of the file.

use serde_json::Map;
use serde_json::Value as Json;

use super::mistake::Mistake;
use super::mistake::Place;
use super::mistake::Report;
use super::namespace as written;
use super::raw::Content;
use super::raw::Layers;
use super::raw::Table;
use super::raw::Value;
use super::read::Reader;
use super::settings::Namespace;

/// Reads the rules of the namespace `name`; what is not written, or null, is as in a file that does not write it.
///
/// # Errors
///
/// Gives every mistake at once.
pub fn namespace(name: &str, rules: &Map<String, Json>) -> Result<Namespace, Vec<Mistake>> {
    let mut report = Report::default();
    let mut layers = Layers::defaults(&mut report);
    let mut table = table(rules);
    let name_is_other =
        table.get("name").is_some_and(|value| value.content != Content::Text(name.to_owned()));
    if name_is_other {
        let problem = format!("the address names the namespace \"{name}\", and the body another one");
        let key = "gateway.namespace.name".to_owned();
        report.add(Mistake { place: place("name"), key, problem, remedy: "leave name out".to_owned() });
    }
    let content = Content::Text(name.to_owned());
    table.insert("name".to_owned(), Value { place: place("name"), content });
    let content = Content::List(vec![Value { place: place(name), content: Content::Table(table) }]);
    layers.lay("gateway", "namespace", Value { place: place(name), content }, &report);
    let read = written::namespaces(Reader::new(&layers, &report));
    report.finish()?;
    Ok(read.into_iter().find(|namespace| namespace.name == name).expect("what was written was read"))
}

/// The rules of a namespace, with every key.
#[must_use]
pub fn rules(namespace: &Namespace) -> Json {
    let Namespace {
        name,
        subscribe,
        publish,
        history_size,
        history_ttl,
        durable,
        presence,
        join_leave,
        slow,
    } = namespace;
    serde_json::json!({
        "name": name,
        "subscribe": word(written::SUBSCRIBE, subscribe),
        "publish": word(written::PUBLISH, publish),
        "history_size": history_size,
        "history_ttl": format!("{}ms", history_ttl.as_millis()),
        "durable": durable,
        "presence": presence,
        "join_leave": join_leave,
        "slow": word(written::SLOW, slow),
    })
}

fn word<T: PartialEq>(words: &[(&'static str, T)], meaning: &T) -> Option<&'static str> {
    words.iter().find(|(_, known)| known == meaning).map(|(word, _)| *word)
}

fn table(rules: &Map<String, Json>) -> Table {
    let written = rules.iter().filter_map(|(key, value)| Some((key, content(key, value)?)));
    written.map(|(key, content)| (key.clone(), Value { place: place(key), content })).collect()
}

/// A JSON value as a file would write it; null is nothing.
fn content(key: &str, value: &Json) -> Option<Content> {
    Some(match value {
        Json::Null => return None,
        Json::Bool(on) => Content::Switch(*on),
        Json::String(text) => Content::Text(text.clone()),
        Json::Number(number) => match number.as_i64() {
            Some(whole) => Content::Whole(whole.into()),
            None => Content::Real(number.as_f64().unwrap_or(f64::MAX)),
        },
        Json::Array(items) => {
            let items = items.iter().filter_map(|item| content(key, item));
            Content::List(items.map(|content| Value { place: place(key), content }).collect())
        }
        Json::Object(members) => Content::Table(table(members)),
    })
}

fn place(key: &str) -> Place {
    Place::Argument(key.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Publish;
    use crate::config::Subscribe;
    use serde_json::json;

    fn read(name: &str, rules: &Json) -> Result<Namespace, String> {
        let said = |mistakes: Vec<Mistake>| {
            let said = mistakes.iter().map(|m| format!("{}: {}; {}", m.key, m.problem, m.remedy));
            said.collect::<Vec<_>>().join("\n")
        };
        namespace(name, rules.as_object().unwrap()).map_err(said)
    }

    #[test]
    fn rules_are_read_with_the_defaults_of_the_file() {
        let read = read("news", &json!({"subscribe": "anyone", "publish": null})).unwrap();
        assert_eq!((read.subscribe, read.publish), (Subscribe::Anyone, Publish::Members));
        assert_eq!(read.name, "news");
        let plain = namespace("", &Map::new()).unwrap();
        assert_eq!(plain.subscribe, Subscribe::Token);
    }

    #[test]
    fn what_is_shown_can_be_sent_back() {
        let read = read(
            "news",
            &json!({
            "subscribe": "authenticated", "publish": "nobody", "history_size": 7, "history_ttl": "1.5s",
            "durable": true, "presence": false, "join_leave": true, "slow": "conflate"}),
        )
        .unwrap();
        let shown = rules(&read);
        assert_eq!(namespace("news", shown.as_object().unwrap()), Ok(read));
    }

    #[test]
    fn mistakes_are_those_of_the_file_and_all_at_once() {
        let said = read("a:b", &json!({"subscribe": "anyon", "publsh": "nobody", "name": "c"})).unwrap_err();
        assert!(said.contains("\"anyon\" is not known; did you mean \"anyone\"?"), "{said}");
        assert!(said.contains("has a colon"), "{said}");
        assert!(said.contains("publsh"), "{said}");
        assert!(said.contains("the address names the namespace \"a:b\""), "{said}");
    }
}
