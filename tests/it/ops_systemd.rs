//! The systemd units and the kernel settings against the defaults of the program, and by systemd's own checker.

use std::fs;
use std::process::Command;
use std::time::Duration;

use crate::shipped;

const UNITS: [&str; 3] = ["pillion.service", "pillion.socket", "pillion-admin.socket"];

/// What a unit may say twice; systemd adds those up, and takes the last of all others.
const MANY: [&str; 4] = ["ExecStartPre", "ExecReload", "Environment", "EnvironmentFile"];

/// The lines of a unit as (section, key, value).
fn unit(name: &str) -> Vec<(String, String, String)> {
    let mut lines = Vec::new();
    let mut section = String::new();
    for line in shipped::text(&format!("systemd/{name}")).lines() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(title) = line.strip_prefix('[') {
            section = title.strip_suffix(']').unwrap_or_else(|| panic!("{name}: {line}")).to_owned();
            continue;
        }
        let (key, value) = line.split_once('=').unwrap_or_else(|| panic!("{name}: {line}"));
        // A comment behind a value would be part of it, and blanks around the sign a matter of luck.
        assert!(!value.contains(" #") && key.trim() == key && value.trim() == value, "{name}: {line}");
        assert!(!section.is_empty(), "{name}: {line} stands in no section");
        lines.push((section.clone(), key.to_owned(), value.to_owned()));
    }
    lines
}

fn values(name: &str, key: &str) -> Vec<String> {
    unit(name).into_iter().filter(|(_, found, _)| found == key).map(|(_, _, value)| value).collect()
}

fn value(name: &str, key: &str) -> String {
    let mut values = values(name, key);
    assert_eq!(values.len(), 1, "{name} should say {key} once");
    values.remove(0)
}

fn kernel(key: &str) -> u64 {
    let text = shipped::text("systemd/pillion.sysctl.conf");
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.trim().strip_prefix('='));
    line.unwrap_or_else(|| panic!("pillion.sysctl.conf does not set {key}")).trim().parse().unwrap()
}

#[test]
fn every_unit_is_read_and_says_nothing_twice() {
    let files = shipped::folder("systemd");
    assert_eq!(files.len(), 6, "{:?}", files.iter().map(|(path, _)| path).collect::<Vec<_>>());
    for name in UNITS {
        let lines = unit(name);
        assert!(lines.len() >= 9, "{name}");
        for (section, key, _) in &lines {
            let count = lines.iter().filter(|line| line.0 == *section && line.1 == *key).count();
            assert!(count == 1 || MANY.contains(&key.as_str()), "{name} says {key} {count} times");
        }
    }
}

#[test]
fn every_command_and_option_is_one_of_the_program() {
    let mut seen = 0;
    for key in ["ExecStartPre", "ExecStart", "ExecReload"] {
        for line in values("pillion.service", key) {
            let Some(line) = line.trim_start_matches('-').strip_prefix("/usr/bin/pillion ") else { continue };
            let mut words = line.split_whitespace();
            let command = words.next().unwrap();
            let help =
                Command::new(env!("CARGO_BIN_EXE_pillion")).args([command, "--help"]).output().unwrap();
            assert!(help.status.success(), "the program has no command {command}");
            let help = String::from_utf8(help.stdout).unwrap();
            for option in words.filter(|word| word.starts_with('-')) {
                assert!(help.contains(&format!("{option} ")), "pillion {command} has no {option}");
            }
            seen += 1;
        }
    }
    assert_eq!(seen, 3);
}

#[test]
fn systemd_waits_longer_than_the_program_needs() {
    let drain = shipped::duration(&shipped::default_of("shutdown_timeout"));
    let stop = shipped::duration(&value("pillion.service", "TimeoutStopSec"));
    assert!(stop >= drain + Duration::from_secs(10), "{stop:?} against {drain:?}");
    assert_eq!(value("pillion.service", "Type"), "notify");
    assert!(shipped::duration(&value("pillion.service", "WatchdogSec")) >= Duration::from_secs(10));
}

#[test]
fn the_spool_fits_into_what_the_unit_allows() {
    // A segment is larger than any sensible limit of this kind, and the signal of passing it kills.
    for limiting in ["LimitFSIZE", "IOWriteBandwidthMax", "MemoryMax", "ReadOnlyPaths"] {
        assert!(values(UNITS[0], limiting).is_empty(), "{limiting} stands in the way of the spool");
    }
    // What is left after the drain is written to disk; 10 MiB/s is a slow one.
    let drain = shipped::duration(&shipped::default_of("shutdown_timeout"));
    let waiting = shipped::bytes(&shipped::default_of("logger.drop_limit"));
    let stop = shipped::duration(&value(UNITS[0], "TimeoutStopSec"));
    assert!(stop >= drain + Duration::from_secs(waiting / (10 << 20)), "{stop:?}");
    // The comments speak of these defaults.
    let text = shipped::text("systemd/pillion.service");
    for (key, said) in [
        ("logger.spool_limit", "1 GiB"),
        ("logger.dead_letter_limit", "16 MiB"),
        ("logger.drop_limit", "64 MiB"),
    ] {
        assert_eq!(
            shipped::default_of(key).trim_matches('"').replace("GiB", " GiB").replace("MiB", " MiB"),
            said
        );
        assert!(text.contains(said), "{key}");
    }
}

#[test]
fn a_bad_configuration_is_final_and_everything_else_is_started_again() {
    assert_eq!(value("pillion.service", "RestartPreventExitStatus"), "64");
    assert_eq!(value("pillion.service", "Restart"), "on-failure");
    // RestartPreventExitStatus looks at the main process only: a check that could fail the start would loop.
    assert!(value("pillion.service", "ExecStartPre").starts_with('-'));
    let reload = values("pillion.service", "ExecReload");
    assert!(reload[0].contains(" check ") && reload[1] == "/bin/kill -HUP $MAINPID", "{reload:?}");
}

#[test]
fn the_sockets_are_where_the_program_and_nginx_look_for_them() {
    for (name, unit, key) in [("public", UNITS[1], "listen.public"), ("admin", UNITS[2], "listen.admin")] {
        let path = value(unit, "ListenStream");
        let listen = shipped::default_of(key);
        assert!(listen.contains(&format!("\"unix:{path}\"")), "{path} is not in {listen}");
        assert_eq!(value(unit, "FileDescriptorName"), name);
        assert_eq!(value(unit, "Service"), UNITS[0]);
        assert_eq!(value(unit, "SocketMode"), shipped::default_of("listen.socket_mode"));
        // With PartOf= a restart of the service would close the socket that should outlive it.
        assert!(values(unit, "PartOf").is_empty());
        assert!(path.starts_with(&format!("/run/{}/", value(UNITS[0], "RuntimeDirectory"))));
    }
    let server = format!("server unix:{};", value(UNITS[1], "ListenStream"));
    assert!(shipped::text("nginx/upstream.conf").contains(&server));
    // nginx passes through the directory, and the directory outlives the service that systemd holds sockets for.
    assert_eq!(value(UNITS[0], "RuntimeDirectoryMode"), "0755");
    assert_eq!(value(UNITS[0], "RuntimeDirectoryPreserve"), "yes");
    let data = shipped::default_of("data_dir");
    assert_eq!(format!("/var/lib/{}", value(UNITS[0], "StateDirectory")), data);
}

#[test]
fn nginx_is_in_the_group_that_owns_the_sockets() {
    let users = shipped::text("systemd/pillion.sysusers.conf");
    let group = value(UNITS[0], "Group");
    assert_eq!(value(UNITS[1], "SocketGroup"), group);
    assert!(users.lines().any(|line| line.starts_with(&format!("u {} ", value(UNITS[0], "User")))));
    assert!(users.lines().any(|line| line == format!("m www-data {group}")));
}

#[test]
fn limits_and_kernel_settings_are_large_enough_for_the_defaults() {
    let connections: u64 = shipped::default_of("limits.connections").parse().unwrap();
    let files: u64 = value(UNITS[0], "LimitNOFILE").parse().unwrap();
    assert!(files >= connections + 4096, "{files} files for {connections} connections");
    let buffer = shipped::bytes(&shipped::default_of("ingest.receive_buffer"));
    assert!(kernel("net.core.rmem_max") >= buffer);
    let backlog: u64 = value(UNITS[1], "Backlog").parse().unwrap();
    assert!(kernel("net.core.somaxconn") >= backlog);
    // `pillion check` warns below this.
    assert!(kernel("net.unix.max_dgram_qlen") >= 512);
}

#[test]
fn what_the_program_needs_is_not_forbidden_to_it() {
    let families = value(UNITS[0], "RestrictAddressFamilies");
    for family in ["AF_UNIX", "AF_INET", "AF_INET6"] {
        assert!(families.split(' ').any(|allowed| allowed == family), "{family}");
    }
    let calls = value(UNITS[0], "SystemCallFilter");
    assert!(calls.starts_with("@system-service") && calls.contains("pidfd_getfd"), "{calls}");
    for hiding in ["ProcSubset", "ProtectProc", "PrivateUsers", "PrivateNetwork"] {
        assert!(values(UNITS[0], hiding).is_empty(), "{hiding} hides what pillion looks at");
    }
}

/// A directory with the units, in which the binary is one that every machine has.
fn staged() -> tempfile::TempDir {
    let version = Command::new("systemd-analyze").arg("--version").output();
    assert!(
        version.is_ok_and(|output| output.status.success()),
        "systemd-analyze is not installed, and these tests run it: apt-get install systemd"
    );
    let directory = tempfile::tempdir().unwrap();
    for name in UNITS {
        let text = shipped::text(&format!("systemd/{name}")).replace("/usr/bin/pillion", "/bin/true");
        fs::write(directory.path().join(name), text).unwrap();
    }
    directory
}

#[test]
fn systemd_has_nothing_to_say_against_the_units() {
    let directory = staged();
    let units = UNITS.map(|name| directory.path().join(name));
    let output = Command::new("systemd-analyze").args(["verify", "--man=no"]).args(units).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    // Of units that the machine brings along it may say anything.
    let ours: Vec<&str> = said.lines().filter(|line| line.contains("pillion")).collect();
    assert!(ours.is_empty(), "{said}");
    assert!(output.status.success(), "{said}");
}

#[test]
fn the_service_stays_hardened() {
    let directory = staged();
    let mut command = Command::new("systemd-analyze");
    // In tenths: 2.5 of 10, where 0 is a service that may do nothing.
    command.args(["security", "--offline=true", "--no-pager", "--threshold=25"]);
    let output = command.arg(directory.path().join(UNITS[0])).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!said.contains("unrecognized option"), "judging a file needs systemd 250 or later: {said}");
    assert!(output.status.success(), "{}{said}", String::from_utf8_lossy(&output.stdout));
}
