//! `[[auth.key]]`: the keys of backends.

use std::io;
use std::path::Path;

use super::read::Reader;
use super::secret;
use super::settings::ApiKey;
use super::settings::Scope;

/// The least length of a key in bytes: 128 bits in hexadecimal digits have twice as many.
const KEY_MIN: usize = 16;

/// The longest name of a key in bytes: it appears in logs.
const NAME_MAX: usize = 64;

/// The words for [`Scope`].
const SCOPES: &[(&str, Scope)] = &[
    ("publish", Scope::Publish),
    ("subscribe", Scope::Subscribe),
    ("disconnect", Scope::Disconnect),
    ("presence", Scope::Presence),
    ("history", Scope::History),
    ("info", Scope::Info),
    ("goim", Scope::Goim),
    ("chat", Scope::Chat),
    ("namespaces", Scope::Namespaces),
    ("*", Scope::All),
];

impl Scope {
    /// The word for it in the configuration.
    #[must_use]
    pub fn word(self) -> &'static str {
        SCOPES.iter().find(|(_, scope)| *scope == self).map_or("", |(word, _)| word)
    }
}

/// The keys. The files of those that have one are read with `read_secret`.
pub(super) fn keys(
    read: Reader<'_>,
    insecure: bool,
    read_secret: &dyn Fn(&Path) -> io::Result<String>,
) -> Vec<ApiKey> {
    let mut keys: Vec<ApiKey> = Vec::new();
    for (table, place) in read.tables("auth.key", "auth.key.") {
        let name = table.written_text("name");
        match &name {
            Some(name) => check_name(table, name, &keys),
            None if table.has("name") => {}
            None => {
                let remedy = "write name = \"shop\", for the log";
                table.wrong_at(place.clone(), "name", "a key needs a name", remedy);
            }
        }
        let written = secret::secret(table, ("key", "key_file"), read_secret);
        if !table.has("key") && !table.has("key_file") {
            let remedy = "write key = \"...\" or key_file = \"/etc/pillion/shop.key\"";
            table.wrong_at(place.clone(), "key", "a key needs its text", remedy);
        }
        if let Some((at, secret)) = &written {
            let problem =
                format!("the key has {} bytes, and one below {KEY_MIN} can be guessed", secret.len());
            if secret.len() < KEY_MIN && !insecure {
                table.wrong(at, problem, "make one with: openssl rand -hex 24");
            } else if keys.iter().any(|other| other.secret == *secret) {
                table.wrong(at, "another key has the same text", "give each backend its own");
            }
        }
        if !table.has("scopes") {
            let remedy = "write what it is for, such as scopes = [\"publish\"], or [\"*\"] for everything";
            table.wrong_at(place, "scopes", "a key needs scopes", remedy);
        }
        let scopes = table.words("scopes", SCOPES);
        if scopes.is_empty() && table.has("scopes") && table.sound(&["scopes"]) {
            table.wrong("scopes", "without scopes a key may do nothing", "write [\"*\"] for everything");
        }
        keys.push(ApiKey {
            name: name.unwrap_or_default(),
            secret: written.map(|(_, secret)| secret).unwrap_or_default(),
            scopes,
            rate: if table.has("rate") { table.rate("rate") } else { None },
        });
    }
    keys
}

fn check_name(table: Reader<'_>, name: &str, others: &[ApiKey]) {
    if name.is_empty() || name.len() > NAME_MAX || name.chars().any(|c| c.is_control() || c.is_whitespace()) {
        let problem = format!("\"{name}\" is no name for a key");
        table.wrong("name", problem, format!("write 1 to {NAME_MAX} bytes without white space"));
    } else if others.iter().any(|other| other.name == name) {
        table.wrong("name", format!("\"{name}\" names a key already"), "give each key its own name");
    }
}
