//! The rules of the house, as tests: floors, sizes, words, and what may not be in the dependency tree.
//!
//! A module may use any module of a lower floor and, on its own floor, only those named beside it. `docs/` has the
//! reasons; this file has the table.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "what is not as expected ends the test"
)]

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

/// Floor, module, and the neighbours on its own floor that it may use.
const HOUSE: &[(u8, &str, &[&str])] = &[
    (3, "main", &["cli"]),
    (3, "cli", &["app"]),
    (3, "app", &["api"]),
    (3, "api", &[]),
    (2, "gateway", &["chat"]),
    (2, "chat", &[]),
    (2, "logger", &[]),
    (2, "ingest", &[]),
    (2, "diagnostics", &[]),
    (2, "sink", &[]),
    (1, "net", &["tasks", "clock"]),
    (1, "journal", &["clock"]),
    (1, "store", &["journal", "clock"]),
    (1, "tasks", &["clock"]),
    (1, "clock", &[]),
    (1, "host", &[]),
    (1, "data_dir", &[]),
    (0, "status", &["buffer", "address"]),
    (0, "why", &["members"]),
    (0, "trail", &["record", "buffer", "metrics", "ids", "tap"]),
    (0, "tap", &["filter"]),
    (0, "filter", &["members"]),
    (0, "members", &[]),
    (0, "keys", &["config", "limiter", "units"]),
    (0, "limiter", &["units"]),
    (0, "metrics", &["buffer"]),
    (0, "buffer", &[]),
    (0, "record", &[]),
    (0, "ids", &[]),
    (0, "wire", &["ids"]),
    (0, "config", &["address", "units", "ids", "record"]),
    (0, "address", &[]),
    (0, "units", &[]),
    (0, "backoff", &["units"]),
];

/// The longest file, in lines of code: tests, comments and blank lines do not count.
const CODE_MAX: usize = 400;

#[test]
fn modules_use_only_what_lies_below_them_and_their_named_neighbours() {
    let floors: BTreeMap<&str, (u8, &[&str])> =
        HOUSE.iter().map(|(floor, module, neighbours)| (*module, (*floor, *neighbours))).collect();
    let mut faults = Vec::new();
    let mut uses = 0;
    for (path, module) in sources() {
        if module == "lib" {
            continue;
        }
        let (floor, neighbours) =
            *floors.get(module.as_str()).unwrap_or_else(|| panic!("{module} has no floor"));
        for used in used_modules(&code(&path, Count::Production)) {
            uses += 1;
            let (below, _) = *floors.get(used.as_str()).unwrap_or_else(|| panic!("{used} has no floor"));
            let allowed = used == module || below < floor || neighbours.contains(&used.as_str());
            if !allowed {
                faults.push(format!(
                    "{}: {module} (floor {floor}) uses {used} (floor {below})",
                    path.display()
                ));
            }
        }
    }
    assert!(uses > 100, "only {uses} uses were seen");
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_module_of_the_table_exists() {
    let modules: Vec<String> = sources().into_iter().map(|(_, module)| module).collect();
    for (_, module, _) in HOUSE {
        assert!(modules.iter().any(|found| found == module), "{module} is in the table and not in src/");
    }
}

#[test]
fn the_ground_floor_knows_no_runtime_no_socket_no_file_and_no_clock() {
    let ground: Vec<&str> =
        HOUSE.iter().filter(|(floor, ..)| *floor == 0).map(|(_, module, _)| *module).collect();
    let mut seen = 0;
    for (path, module) in sources().into_iter().filter(|(_, module)| ground.contains(&module.as_str())) {
        seen += 1;
        for line in code(&path, Count::Production).lines() {
            for word in
                ["tokio::", "std::net::Tcp", "std::net::Udp", "std::fs", "Instant::now", "SystemTime::now"]
            {
                assert!(!line.contains(word), "{} ({module}) uses {word}: {line}", path.display());
            }
        }
    }
    assert!(seen > 20, "only {seen} files were seen");
}

#[test]
fn files_are_short_and_open_with_their_subject() {
    let mut faults = Vec::new();
    let files = sources();
    assert!(files.len() > 40, "only {} files were seen", files.len());
    for (path, _) in files {
        let lines = code(&path, Count::Production).lines().filter(|line| !line.trim().is_empty()).count();
        if lines > CODE_MAX {
            faults.push(format!("{}: {lines} lines of code", path.display()));
        }
        let text = fs::read_to_string(&path).unwrap();
        if !text.starts_with("//!") && path.file_name().is_some_and(|name| name != "tests.rs") {
            faults.push(format!("{}: no opening doc", path.display()));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn imports_are_one_path_a_line() {
    for (path, _) in sources() {
        for line in
            code(&path, Count::Everything).lines().filter(|line| line.trim_start().starts_with("use "))
        {
            assert!(!line.contains("crate::{"), "{}: {line}", path.display());
        }
    }
}

#[test]
fn nothing_unfinished_is_left_behind() {
    // Put together here, so that this file does not find itself.
    let words = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("X", "XX:"), concat!("dbg", "!(")];
    let mut seen = 0;
    for folder in ["src", "tests", "benches", "nginx", "logstash", "es-templates", "systemd", "web", "docs"] {
        for path in files(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)) {
            let Ok(text) = fs::read_to_string(&path) else { continue };
            seen += 1;
            for word in words {
                assert!(!text.contains(word), "{}: {word}", path.display());
            }
        }
    }
    assert!(seen > 100, "only {seen} files were seen");
}

#[test]
fn the_program_is_thin() {
    let main = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/main.rs");
    let lines = fs::read_to_string(main).unwrap().lines().count();
    assert!(lines <= 40, "{lines} lines");
}

#[test]
fn what_is_banned_is_not_in_the_dependency_tree() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let banned = fs::read_to_string(root.join("deny.toml")).unwrap();
    let banned: Vec<&str> = banned
        .lines()
        .filter_map(|line| line.trim().strip_prefix("{ crate = \"")?.split('"').next())
        .collect();
    assert!(banned.contains(&"openssl") && banned.len() >= 5, "{banned:?}");
    // The lock file also names what optional features could bring; the tree is what is built.
    let arguments = ["tree", "--locked", "--offline", "--edges", "all", "--prefix", "none"];
    let tree = Command::new(env!("CARGO")).current_dir(root).args(arguments).output().unwrap();
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let tree = String::from_utf8(tree.stdout).unwrap();
    let packages: BTreeSet<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(packages.len() > 100, "only {} packages were seen", packages.len());
    for package in packages {
        assert!(!banned.contains(&package), "{package} is banned: see deny.toml");
    }
}

/// Every source file, with the top module that it belongs to.
fn sources() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    for path in files(&root) {
        if path.extension().is_some_and(|extension| extension == "rs") {
            let relative = path.strip_prefix(&root).unwrap();
            let first = relative.components().next().unwrap().as_os_str().to_str().unwrap();
            let module = first.trim_end_matches(".rs").to_owned();
            found.push((path, module));
        }
    }
    found
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.unwrap().path();
        let foreign = path.ends_with("node_modules");
        if path.is_dir() && !foreign {
            found.extend(files(&path));
        } else if !foreign {
            found.push(path);
        }
    }
    found.sort();
    found
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Count {
    /// Without comments and without the tests at the foot.
    Production,
    /// All but comments.
    Everything,
}

/// The code of a file.
fn code(path: &Path, count: Count) -> String {
    let text = fs::read_to_string(path).unwrap();
    let is_tests = path.file_name().is_some_and(|name| name == "tests.rs");
    let text = match (count, text.find("#[cfg(test)]\nmod tests {")) {
        (Count::Production, _) if is_tests => "",
        (Count::Production, Some(foot)) => &text[..foot],
        _ => &text,
    };
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.map(|line| format!("{line}\n")).collect()
}

/// The top modules that code names by `crate::`, or by the name of the crate.
fn used_modules(code: &str) -> Vec<String> {
    let mut used = Vec::new();
    for prefix in ["crate::", "pillion::"] {
        for (index, _) in code.match_indices(prefix) {
            let rest = &code[index + prefix.len()..];
            let name: String = rest.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
            // Targets of diagnostics are written as paths too; they stand in quotes.
            let quoted = code[..index].ends_with('"');
            if !name.is_empty() && !quoted {
                used.push(name);
            }
        }
    }
    used
}
