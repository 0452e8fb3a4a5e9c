//! What the documents say, held against the program.

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::Arc;

use pillion::buffer::Buffer;
use pillion::buffer::DropCause;
use pillion::buffer::Limits;
use pillion::config;
use pillion::config::Dialect;
use pillion::config::File;
use pillion::config::Sources;
use pillion::gateway::CloseReason;
use pillion::metrics::ByAction;
use pillion::metrics::ByCall;
use pillion::metrics::ByDialect;
use pillion::metrics::ByKind;
use pillion::metrics::ByReason;
use pillion::metrics::ByStatus;
use pillion::metrics::KernelDrops;
use pillion::metrics::Metrics;
use pillion::metrics::Shipping;
use pillion::metrics::Spooling;
use pillion::metrics::Storing;
use pillion::metrics::times;
use pillion::trail::Action;
use pillion::why::Case;
use pillion::why::Question;

use crate::shipped;

/// The words of a text that begin with `prefix` and go on with lower-case letters, digits and underscores.
fn words<'a>(text: &'a str, prefix: &str) -> BTreeSet<&'a str> {
    let of_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    text.match_indices(prefix)
        .map(|(at, _)| {
            let rest = &text[at..];
            &rest[..rest.find(|c| !of_name(c)).unwrap_or(rest.len())]
        })
        .collect()
}

#[test]
fn every_metric_that_the_documents_name_exists() {
    let metrics = Metrics::new();
    metrics.watch_log(
        Arc::new(Buffer::new(Limits { flush_limit: 1, drop_limit: 2, max_line: 1 })),
        times(),
        || Shipping { spool: Some(Spooling::default()), ..Shipping::default() },
    );
    metrics.watch_store(Storing::default);
    metrics.watch_ingest(|| vec![KernelDrops { address: "udp:127.0.0.1:1".to_owned(), dropped: 0 }]);
    // A family without members is not rendered.
    for family in [
        &metrics.logins_failed,
        &metrics.closes,
        &metrics.auth_api_logins,
        &metrics.auth_jwks_reads,
        &metrics.limits_refused,
        &metrics.undelivered,
        &metrics.ingest_faults,
        &metrics.connections_refused,
    ] {
        family.get_or_create(&ByReason { reason: "r" }).inc();
    }
    metrics.logins.get_or_create(&ByDialect { dialect: "d" }).inc();
    metrics.sessions.get_or_create(&ByDialect { dialect: "d" }).inc();
    metrics.actions.get_or_create(&ByAction { action: "a" }).inc();
    metrics.ingest_lines.get_or_create(&ByKind { kind: "k" }).inc();
    metrics.chat_removed.get_or_create(&ByKind { kind: "k" }).inc();
    metrics.api_calls.get_or_create(&ByCall { endpoint: "e", outcome: "o" }).inc();
    metrics.http_answers.get_or_create(&ByStatus { status: 200 }).inc();
    let rendered = metrics.render();
    let exist = words(&rendered, "pillion_");
    let operations = shipped::text("docs/OPERATIONS.md");
    let named = words(&operations, "pillion_");
    assert!(named.len() >= 10, "{named:?}");
    for metric in named {
        assert!(exist.contains(metric), "docs/OPERATIONS.md names {metric}, and there is none: {exist:?}");
    }
}

#[test]
fn every_action_that_the_documents_name_exists() {
    let known: Vec<&str> = Action::ALL.iter().map(|action| action.as_str()).collect();
    let later = ["redis_connected_msg"];
    let operations = shipped::text("docs/OPERATIONS.md");
    let mut seen = 0;
    for (at, marker) in operations.match_indices("action: ") {
        let rest = &operations[at + marker.len()..];
        let name = &rest[..rest.find(|c: char| !(c.is_ascii_lowercase() || c == '_')).unwrap()];
        assert!(known.contains(&name) || later.contains(&name), "docs/OPERATIONS.md names the action {name}");
        seen += 1;
    }
    assert!(seen >= 5, "only {seen} actions were seen");
}

#[test]
fn every_cause_of_a_drop_is_explained_and_no_other() {
    let operations = shipped::text("docs/OPERATIONS.md");
    let table = operations.split("| `cause` of a drop |").nth(1).unwrap().split("\n\n").next().unwrap();
    let rows: Vec<&str> =
        table.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    let mut causes = DropCause::ALL.map(DropCause::name).to_vec();
    causes.sort_by_key(|cause| rows.iter().position(|row| row == cause));
    assert_eq!(rows, causes);
}

#[test]
fn every_configuration_in_the_manual_is_right() {
    let operations = shipped::text("docs/OPERATIONS.md");
    let mut seen = 0;
    for block in operations.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()) {
        let file = Some(File { name: "OPERATIONS.md", text: block });
        let loaded = config::load(&Sources { file, ..Sources::default() });
        let notices = loaded.map(|loaded| loaded.notices);
        assert!(matches!(&notices, Ok(notices) if notices.is_empty()), "{notices:?}: {block}");
        seen += 1;
    }
    assert_eq!(seen, 3);
}

#[test]
fn every_link_within_the_manual_leads_to_a_heading() {
    let operations = shipped::text("docs/OPERATIONS.md");
    // As forges make them: lower case, blanks to hyphens, and nothing else but letters and digits.
    let anchor = |heading: &str| {
        let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-'));
        kept.collect::<String>().to_lowercase().replace(' ', "-")
    };
    let headings: Vec<String> =
        operations.lines().filter_map(|line| line.split_once("# ")).map(|(_, text)| anchor(text)).collect();
    let mut seen = 0;
    for link in operations.split("](#").skip(1).filter_map(|rest| rest.split(')').next()) {
        assert!(headings.iter().any(|heading| heading == link), "#{link} is none of {headings:?}");
        seen += 1;
    }
    assert!(seen >= 5, "only {seen} links");
}

#[test]
fn every_close_code_is_in_the_protocol_document() {
    let why = String::new;
    let reasons = [
        CloseReason::ClientClosed,
        CloseReason::PeerGone,
        CloseReason::ProtocolError(why()),
        CloseReason::TooLong { limit: 1 },
        CloseReason::NotUtf8,
        CloseReason::BadRequest(why()),
        CloseReason::LoginTimeout,
        CloseReason::TokenMissing,
        CloseReason::TokenInvalid(why()),
        CloseReason::Refused(why()),
        CloseReason::AuthUnavailable(why()),
        CloseReason::AuthNonsense(why()),
        CloseReason::NoUser,
        CloseReason::Expired,
        CloseReason::HeartbeatTimeout,
        CloseReason::Slow { limit: 1 },
        CloseReason::TooManyRequests { retry_after: 1 },
        CloseReason::Shutdown,
    ];
    let protocol = shipped::text("docs/PROTOCOL.md");
    for reason in reasons {
        let name = format!("`{}`", reason.name());
        let row = protocol.lines().find(|line| line.starts_with('|') && line.contains(&name));
        let row = row.unwrap_or_else(|| panic!("docs/PROTOCOL.md does not have {name}"));
        let codes: Vec<&str> = row.split('|').map(str::trim).skip(2).take(2).collect();
        let expected =
            [Dialect::Centrifuge, Dialect::OpenrestyPush].map(|dialect| reason.code(dialect).to_string());
        assert_eq!(codes, expected, "{name}");
        check_words(&reason);
    }
}

/// What `pillion why` says of a session that ended for a reason is more than the reason's name.
fn check_words(reason: &CloseReason) {
    let mut case = Case::new(Question { who: "u".to_owned(), ..Question::default() });
    case.take(
        format!(r#"{{"user_id":"u","action":"logout","err":"{}","desc":"-"}}"#, reason.name()).as_bytes(),
    );
    let answer = case.close();
    let expected = if *reason == CloseReason::ClientClosed { "nothing went wrong" } else { " - the " };
    assert!(answer.conclusion.contains(expected), "{}", answer.conclusion);
}

#[test]
fn every_command_and_option_of_the_readme_exists() {
    let readme = shipped::text("README.md");
    assert!(readme.lines().count() <= 150, "the README is longer than 150 lines");
    let mut seen = 0;
    for line in readme.lines().filter(|line| line.starts_with("| `pillion ")) {
        let usage = line.trim_start_matches("| `pillion ").split('`').next().unwrap();
        let command = usage.split(' ').next().unwrap();
        let help = Command::new(env!("CARGO_BIN_EXE_pillion")).args([command, "--help"]).output().unwrap();
        assert!(help.status.success(), "the README names the command {command}");
        let help = String::from_utf8(help.stdout).unwrap();
        for option in words(usage, "--") {
            assert!(help.contains(option), "the README names {option} of pillion {command}");
        }
        seen += 1;
    }
    assert_eq!(seen, 9);
    for path in readme.match_indices("](").filter_map(|(at, _)| readme[at + 2..].split(')').next()) {
        if !path.starts_with("http") {
            assert!(shipped::root().join(path).exists(), "the README links to {path}");
        }
    }
}
