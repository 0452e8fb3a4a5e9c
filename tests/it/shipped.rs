//! Reads the files that are shipped beside the program, and the defaults that they must agree with.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// A shipped file, by its path from the root.
pub(crate) fn text(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every file below a folder as (path from the root, text), sorted.
pub(crate) fn folder(path: &str) -> Vec<(String, String)> {
    let mut files = Vec::new();
    walk(&root().join(path), &mut files);
    files.sort();
    files
}

fn walk(directory: &Path, files: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display())) {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(&path, files);
        } else {
            let name = path.strip_prefix(root()).unwrap().display().to_string();
            let text = text(&name);
            files.push((name, text));
        }
    }
}

/// The default of a key such as `gateway.ping_interval`, from the manual of the program.
pub(crate) fn default_of(key: &str) -> String {
    let manual: toml::Table = pillion::config::DEFAULTS.parse().expect("default.toml is TOML");
    let (section, name) = key.rsplit_once('.').map_or((None, key), |(section, name)| (Some(section), name));
    let table = match section {
        None => Some(&manual),
        Some(section) => manual.get(section).and_then(toml::Value::as_table),
    };
    match table.and_then(|table| table.get(name)) {
        Some(toml::Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => panic!("default.toml has no {key}, which a shipped file depends on"),
    }
}

/// `75s`, `250ms`, `10` (seconds): what nginx, systemd and the configuration have in common.
pub(crate) fn duration(text: &str) -> Duration {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().unwrap_or_else(|_| panic!("not a duration: {text}"));
    match unit {
        "ms" => Duration::from_millis(number),
        "" | "s" => Duration::from_secs(number),
        "m" | "min" => Duration::from_secs(60 * number),
        _ => panic!("unknown unit in {text}"),
    }
}

/// `4MiB`, `64KiB`, `1k`, `512`: bytes.
pub(crate) fn bytes(text: &str) -> u64 {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().unwrap_or_else(|_| panic!("not a size: {text}"));
    match unit {
        "" => number,
        "k" | "KiB" => number << 10,
        "m" | "MiB" => number << 20,
        _ => panic!("unknown unit in {text}"),
    }
}
