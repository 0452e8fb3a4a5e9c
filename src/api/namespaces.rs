//! `/namespaces`: the rules of rooms, changed while the daemon runs.
//!
//! What is put here lies over the rules of the configuration file, also after a reload and after a restart: it is kept
//! in `data_dir/namespaces.json`, which is replaced as a whole and is on disk before the answer. Taking it away brings
//! back what the file says. Rules count at once, for sessions and rooms that are there already, too.
//!
//! Limits: [`LIVE_MAX`] namespaces. A file that can not be read ends the start, because rooms would be open or
//! closed otherwise than they were.

use std::collections::BTreeMap;
use std::fs;
use std::fs::File;
use std::io;
use std::io::Write as _;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use hyper::Method;
use hyper::Request;
use hyper::StatusCode;
use hyper::body::Incoming;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use crate::api::Means;
use crate::api::query;
use crate::api::reply;
use crate::api::reply::Answer;
use crate::config;
use crate::config::Config;
use crate::config::Mistake;
use crate::config::Namespace;

/// The most namespaces that are changed here.
const LIVE_MAX: usize = 1000;

/// The file in `data_dir`.
const FILE: &str = "namespaces.json";

/// Why rules can not be kept, or are none.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What was kept can not be read.
    #[error("{} can not be read: mend it, or remove it and put the rules of namespaces again", .0.display())]
    Read(PathBuf, #[source] io::Error),
    /// What was kept is wrong.
    #[error("{} is wrong: {why}; mend it, or remove it and put the rules of namespaces again", .path.display())]
    Wrong {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The disk does not take it.
    #[error("{} can not be written; the rules stay as they were", .0.display())]
    Write(PathBuf, #[source] io::Error),
    /// The rules are no rules.
    #[error("{0}")]
    Mistakes(String),
    /// There are too many.
    #[error("{LIVE_MAX} namespaces are changed here already; write the others into the configuration file")]
    TooMany,
}

impl Error {
    fn status(&self) -> StatusCode {
        match self {
            Self::Read(..) | Self::Wrong { .. } | Self::Write(..) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Mistakes(_) => StatusCode::BAD_REQUEST,
            Self::TooMany => StatusCode::CONFLICT,
        }
    }
}

/// Rules as they were written, by the names of their namespaces.
type Written = BTreeMap<String, Map<String, Value>>;

/// The rules that lie over those of the configuration file.
#[derive(Debug)]
pub struct Namespaces {
    path: PathBuf,
    rules: Mutex<Rules>,
}

#[derive(Debug, Default)]
struct Rules {
    live: Written,
    /// What the configuration file says.
    file: Vec<Namespace>,
}

/// The right to change rules, or the configuration that they lie over; one at a time.
#[derive(Debug)]
pub struct Turn<'a> {
    path: &'a Path,
    rules: MutexGuard<'a, Rules>,
}

impl Namespaces {
    /// What was kept in `data_dir`.
    ///
    /// # Errors
    ///
    /// [`Error`] when it is not what was written there.
    pub fn open(data_dir: &Path) -> Result<Self, Error> {
        let path = data_dir.join(FILE);
        let live = match fs::read(&path) {
            Ok(text) => read(&text).map_err(|why| Error::Wrong { path: path.clone(), why })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Written::new(),
            Err(error) => return Err(Error::Read(path, error)),
        };
        Ok(Self { path, rules: Mutex::new(Rules { live, file: Vec::new() }) })
    }

    /// Takes the right to change rules.
    pub fn turn(&self) -> Turn<'_> {
        Turn { path: &self.path, rules: self.rules.lock().unwrap_or_else(PoisonError::into_inner) }
    }
}

fn read(text: &[u8]) -> Result<Written, String> {
    let written: Written = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    for (name, rules) in &written {
        config::namespace(name, rules).map_err(|mistakes| format!("{name:?}: {}", listed(&mistakes)))?;
    }
    Ok(written)
}

impl Turn<'_> {
    /// Lays the rules over those of a configuration that was just read.
    pub fn lay_over(&mut self, config: &mut Config) {
        self.rules.file.clone_from(&config.gateway.namespaces);
        config.gateway.namespaces = self.laid();
    }

    /// All rules: those of the file, and over them those that were put here.
    fn laid(&self) -> Vec<Namespace> {
        let Rules { live, file } = &*self.rules;
        let mut laid: Vec<Namespace> =
            file.iter().filter(|namespace| !live.contains_key(&namespace.name)).cloned().collect();
        laid.extend(live.iter().filter_map(|(name, rules)| config::namespace(name, rules).ok()));
        laid.sort_by(|one, other| one.name.cmp(&other.name));
        laid
    }

    /// Puts rules in force and keeps them.
    fn put(&mut self, means: &Means, name: &str, rules: &Map<String, Value>) -> Result<(), Error> {
        config::namespace(name, rules).map_err(|mistakes| Error::Mistakes(listed(&mistakes)))?;
        if self.rules.live.len() >= LIVE_MAX && !self.rules.live.contains_key(name) {
            return Err(Error::TooMany);
        }
        let mut live = self.rules.live.clone();
        live.insert(name.to_owned(), rules.clone());
        self.change(means, live)
    }

    /// Brings the rules of the file back; false if none lay over them.
    fn remove(&mut self, means: &Means, name: &str) -> Result<bool, Error> {
        let mut live = self.rules.live.clone();
        if live.remove(name).is_none() {
            return Ok(false);
        }
        self.change(means, live).map(|()| true)
    }

    fn change(&mut self, means: &Means, live: Written) -> Result<(), Error> {
        keep(self.path, &live).map_err(|error| Error::Write(self.path.to_owned(), error))?;
        self.rules.live = live;
        let mut config = Config::clone(&means.config.load());
        config.gateway.namespaces = self.laid();
        means.gateway.set_namespaces(&config.gateway.namespaces);
        means.config.store(config.into());
        Ok(())
    }

    fn shown(&self, namespace: &Namespace) -> Value {
        let mut shown = config::rules(namespace);
        let source = if self.rules.live.contains_key(&namespace.name) { "api" } else { "file" };
        if let Some(members) = shown.as_object_mut() {
            members.insert("source".to_owned(), source.into());
        }
        shown
    }
}

/// Replaces the file as a whole: whatever happens, the old one or the new one is there.
fn keep(path: &Path, live: &Written) -> io::Result<()> {
    let fresh = path.with_extension("json.new");
    let mut file = File::create(&fresh)?;
    file.write_all(&serde_json::to_vec_pretty(live)?)?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

fn listed(mistakes: &[Mistake]) -> String {
    let said = mistakes.iter().map(|mistake| {
        let key = mistake.key.strip_prefix("gateway.namespace.").unwrap_or(&mistake.key);
        let remedy = if mistake.remedy.is_empty() { "" } else { "; " };
        format!("{key}: {}{remedy}{}", mistake.problem, mistake.remedy)
    });
    said.collect::<Vec<_>>().join(". ")
}

/// All rules in force.
fn list(means: &Means) -> Answer {
    let turn = means.namespaces.turn();
    let all: Vec<Value> = turn.laid().iter().map(|namespace| turn.shown(namespace)).collect();
    reply::json(StatusCode::OK, &json!({ "namespaces": all }))
}

/// The rules of one namespace.
fn show(means: &Means, name: &str) -> Answer {
    let turn = means.namespaces.turn();
    match turn.laid().iter().find(|namespace| namespace.name == name) {
        Some(namespace) => reply::json(StatusCode::OK, &turn.shown(namespace)),
        None => {
            reply::error(StatusCode::NOT_FOUND, &format!("no rules are written for the namespace {name:?}"))
        }
    }
}

async fn put(means: &Means, name: &str, body: Incoming) -> Answer {
    let limits = means.config.load().limits.clone();
    let body = match means.bodies.read(body, &limits).await {
        Ok(body) => body,
        Err(error) => return reply::error(error.status(), &error.to_string()),
    };
    let rules: Map<String, Value> = match serde_json::from_slice(&body) {
        Ok(rules) => rules,
        Err(error) => {
            let message = format!(
                "the body should be a JSON object of rules such as {{\"subscribe\":\"anyone\"}}: {error}"
            );
            return reply::error(StatusCode::BAD_REQUEST, &message);
        }
    };
    if let Err(error) = means.namespaces.turn().put(means, name, &rules) {
        return failed(means, name, &error);
    }
    let written = Value::Object(rules);
    means.trail.config_reload(&format!("namespace {name:?} put by the API: {written}"), None);
    show(means, name)
}

fn remove(means: &Means, name: &str) -> Answer {
    match means.namespaces.turn().remove(means, name) {
        Ok(true) => {}
        Ok(false) => {
            let message = format!(
                "nothing was put here for the namespace {name:?}; the configuration file is not changed"
            );
            return reply::error(StatusCode::NOT_FOUND, &message);
        }
        Err(error) => return failed(means, name, &error),
    }
    means.trail.config_reload(&format!("namespace {name:?} removed by the API"), None);
    reply::json(StatusCode::OK, &json!({ "removed": name }))
}

fn failed(means: &Means, name: &str, error: &Error) -> Answer {
    let source = std::error::Error::source(error).map(|source| format!(": {source}")).unwrap_or_default();
    let message = format!("{error}{source}");
    means.trail.config_reload(&format!("namespace {name:?} not changed"), Some(&message));
    reply::error(error.status(), &message)
}

/// Answers a request for `/namespaces` or what is below.
pub(super) async fn answer(means: &Means, request: Request<Incoming>) -> Answer {
    let (head, body) = request.into_parts();
    let name = head.uri.path().strip_prefix("/namespaces/").map(query::unescaped_path);
    match (head.method, name) {
        (Method::GET | Method::HEAD, None) => list(means),
        (_, None) => reply::method_not_allowed("GET, HEAD"),
        (Method::GET | Method::HEAD, Some(name)) => show(means, &name),
        (Method::PUT, Some(name)) => put(means, &name, body).await,
        (Method::DELETE, Some(name)) => remove(means, &name),
        (_, Some(_)) => reply::method_not_allowed("GET, HEAD, PUT, DELETE"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_kept_is_read_again_and_what_is_wrong_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let open = || Namespaces::open(folder.path()).map_err(|error| error.to_string());
        assert!(open().unwrap().turn().rules.live.is_empty());
        let rules = json!({"news": {"subscribe": "anyone"}});
        keep(&folder.path().join(FILE), &serde_json::from_value(rules).unwrap()).unwrap();
        let mut config = Config::default();
        open().unwrap().turn().lay_over(&mut config);
        let laid: Vec<&str> =
            config.gateway.namespaces.iter().map(|namespace| namespace.name.as_str()).collect();
        assert_eq!(laid, ["", "live", "news"]);
        fs::write(folder.path().join(FILE), r#"{"news": {"subscribe": "all"}}"#).unwrap();
        let said = open().unwrap_err();
        assert!(
            said.contains("namespaces.json is wrong: \"news\": subscribe: \"all\" is not known"),
            "{said}"
        );
        fs::write(folder.path().join(FILE), "{").unwrap();
        assert!(open().unwrap_err().contains("line 1"));
    }
}
