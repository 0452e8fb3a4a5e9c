//! The configuration: a text, variables and arguments become one [`Config`], or a list of everything that is wrong.
//!
//! It does no I/O. The caller hands in what was read ([`Sources`]); only files with secrets and keys are named
//! in the configuration itself, so they are read through a function that the caller hands in as well. Thus every case is a
//! test without files, and one run reports all mistakes, those files' included.
//!
//! The path of the data:
//!
//! ```text
//! default.toml  <  file  <  PILLION_SECTION__KEY  <  --set section.key=value
//!      └── file.rs ──┘          └──────── overlay.rs ────────┘
//!                  raw.rs: values with their places, one layer over the other; unknown keys (schema.rs, nearest.rs)
//!                  read.rs: one value becomes one type, or one mistake
//!                  check.rs, logger.rs, gateway.rs, auth.rs, keys.rs, public_key.rs: sections, and what must hold between values
//!                  settings.rs: what is true
//! ```
//!
//! `default.toml` is the manual and the only source of defaults: it is compiled in, printed by `pillion defaults`, and
//! read on the same path as any other file. A value in a higher layer hides the one below it, and the mistakes in it.
//!
//! A configuration is a value. A reload makes a new one, [`changes`] says which keys differ and which of them wait for
//! a restart, and rooms are handed their own section.

mod auth;
mod changes;
mod chat;
mod check;
mod file;
mod gateway;
mod keys;
mod logger;
mod mistake;
mod namespace;
mod nearest;
mod overlay;
mod public_key;
mod raw;
mod read;
mod rules;
mod schema;
mod secret;
mod settings;
mod shipping;
mod store;

use std::io;
use std::path::Path;

pub use changes::Changes;
pub use changes::changes;
pub use chat::Chat;
pub use chat::Shop;
pub use file::File;
pub use gateway::BUILT_IN_PATHS;
pub use mistake::Mistake;
pub use mistake::Place;
pub use rules::namespace;
pub use rules::rules;
pub use secret::Secret;
pub use settings::*;
pub use shipping::*;
pub use store::Store;
pub use store::StoreDurability;

/// The commented defaults: the manual.
pub const DEFAULTS: &str = include_str!("default.toml");

/// Everything that a configuration is made of, lowest layer first.
#[derive(Clone, Copy)]
pub struct Sources<'a> {
    /// The configuration file, if there is one.
    pub file: Option<File<'a>>,
    /// Variables with their values. All of the environment may be given: what does not begin with `PILLION_` is
    /// passed over.
    pub environment: &'a [(String, String)],
    /// The `key=value` of each `--set`, later ones over earlier ones.
    pub arguments: &'a [String],
    /// The host name, from which the node takes its name if nobody gave it one.
    pub host_name: &'a str,
    /// Reads a file named by `auth.jwt_secret_file`, `auth.jwt_public_key_file` or `auth.key.key_file`.
    pub read_secret: &'a dyn Fn(&Path) -> io::Result<String>,
}

/// A configuration without mistakes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// What is true.
    pub config: Config,
    /// What an operator should know although it is allowed: keys without effect, doors without locks.
    pub notices: Vec<String>,
}

impl Default for Sources<'_> {
    /// Nothing but the compiled-in defaults, on a machine called `localhost` that has no files.
    fn default() -> Self {
        let read_secret = &|_: &Path| Err(io::ErrorKind::NotFound.into());
        Self { file: None, environment: &[], arguments: &[], host_name: "localhost", read_secret }
    }
}

impl Default for Config {
    fn default() -> Self {
        let loaded = load(&Sources::default());
        loaded.expect("a test shows that the compiled-in defaults have no mistake").config
    }
}

/// Makes a configuration from its sources.
///
/// # Errors
/// Gives every mistake at once, those of the file in the order of its lines.
pub fn load(sources: &Sources<'_>) -> Result<Loaded, Vec<Mistake>> {
    let mut report = mistake::Report::default();
    let mut layers = raw::Layers::defaults(&mut report);
    if let Some(file) = sources.file {
        let root = file.read(&mut report);
        layers.lay_file(root, &report);
    }
    for (name, value) in sources.environment {
        layers.lay_variable(name, value, &report);
    }
    for argument in sources.arguments {
        layers.lay_argument(argument, &report);
    }
    let config = check::config(read::Reader::new(&layers, &report), sources);
    report.finish().map(|notices| Loaded { config, notices })
}
