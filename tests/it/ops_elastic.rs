//! The index templates of Elasticsearch and OpenSearch against the fields that the program logs, and their installer.

use std::collections::BTreeMap;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Write;
use std::net::Ipv4Addr;
use std::net::TcpListener;
use std::process::Command;
use std::sync::mpsc;
use std::thread;

use pillion::record::FIELDS;
use pillion::record::Kind;
use serde_json::Value;

use crate::shipped;

/// The name of every field that a record can have.
pub(crate) fn fields() -> Vec<&'static str> {
    FIELDS.iter().map(|field| field.name).collect()
}

/// What Logstash adds, and the second names that searches of other programs use.
const NOT_LOGGED: &[&str] =
    &["data_stream.dataset", "data_stream.namespace", "data_stream.type", "event.action", "tags", "user.id"];

const VARIANTS: [&str; 2] = ["elasticsearch", "opensearch"];

fn json(path: &str) -> Value {
    serde_json::from_str(&shipped::text(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The fields of a variant's mapping by their full name; objects are not among them.
pub(crate) fn mapped(variant: &str) -> BTreeMap<String, Value> {
    let template = json(&format!("es-templates/{variant}/component-pillion@mappings.json"));
    let mut fields = BTreeMap::new();
    collect("", &template["template"]["mappings"]["properties"], &mut fields);
    fields
}

fn collect(prefix: &str, properties: &Value, fields: &mut BTreeMap<String, Value>) {
    for (name, field) in properties.as_object().unwrap() {
        assert!(!name.contains('.'), "{prefix}{name}: objects are written as objects here");
        if field.get("properties").is_some() {
            collect(&format!("{prefix}{name}."), &field["properties"], fields);
        } else {
            assert!(field["type"].is_string(), "{prefix}{name} has no type");
            fields.insert(format!("{prefix}{name}"), field.clone());
        }
    }
}

fn kind<'a>(fields: &'a BTreeMap<String, Value>, name: &str) -> &'a str {
    fields.get(name).unwrap_or_else(|| panic!("{name} is not mapped"))["type"].as_str().unwrap()
}

#[test]
fn every_file_is_what_its_name_says() {
    let files = shipped::folder("es-templates");
    let names: Vec<&str> = files.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(names.len(), 13, "{names:?}");
    let mut parsed = 0;
    for (path, text) in &files {
        if path.ends_with(".json") {
            assert!(serde_json::from_str::<Value>(text).unwrap().is_object(), "{path}");
            parsed += 1;
        }
    }
    assert_eq!(parsed, 9);
}

#[test]
fn every_logged_field_is_mapped_and_every_mapped_field_is_logged() {
    for variant in VARIANTS {
        let fields = mapped(variant);
        for field in FIELDS {
            let fits: &[&str] = match field.kind {
                Kind::Keyword => &["keyword"],
                Kind::Text => &["match_only_text", "text", "keyword"],
                Kind::Integer => &["short", "integer", "long", "keyword"],
                Kind::Real => &["double"],
                Kind::Bool => &["boolean"],
                Kind::Date => &["date"],
                Kind::Labels => &["flattened", "flat_object"],
            };
            let mapped = kind(&fields, field.name);
            assert!(
                fits.contains(&mapped),
                "{variant} maps {} as {mapped}, it is {:?}",
                field.name,
                field.kind
            );
        }
        for field in fields.keys().map(String::as_str) {
            assert!(
                self::fields().contains(&field) || NOT_LOGGED.contains(&field),
                "{variant} maps {field}: who logs it?"
            );
        }
    }
}

#[test]
fn no_field_is_both_a_value_and_an_object() {
    // Elasticsearch expands the dots: "log" beside "log.level" would refuse one of the two documents.
    let all: Vec<&str> = fields().into_iter().chain(NOT_LOGGED.iter().copied()).collect();
    for field in &all {
        let object = format!("{field}.");
        assert!(!all.iter().any(|other| other.starts_with(&object)), "{field} is a field and an object");
    }
}

#[test]
fn an_alias_points_to_a_field_of_its_own_mapping_and_is_never_logged() {
    for variant in VARIANTS {
        let fields = mapped(variant);
        let mut seen = 0;
        for (name, field) in fields.iter().filter(|(_, field)| field["type"] == "alias") {
            assert_ne!(kind(&fields, field["path"].as_str().unwrap()), "alias", "{name}");
            assert!(!self::fields().contains(&name.as_str()), "{name} is an alias and cannot be written");
            seen += 1;
        }
        assert_eq!(seen, 2);
    }
}

#[test]
fn fields_have_the_types_that_their_searches_need() {
    for variant in VARIANTS {
        let fields = mapped(variant);
        for field in ["send_time_delay", "heartbeat", "time", "request_time"] {
            assert_eq!(kind(&fields, field), "double", "{field} is compared as a number with a fraction");
        }
        for field in
            ["log.sequence", "gap.lines", "gap.bytes", "gap.from_sequence", "gap.to_sequence", "bytes_sent"]
        {
            assert_eq!(kind(&fields, field), "long", "{field} is summed or compared");
        }
        for field in self::fields().iter().filter(|field| field.ends_with("_id") || field.ends_with(".id")) {
            assert_eq!(
                kind(&fields, field),
                "keyword",
                "{field} is an id, even where it looks like a number"
            );
        }
        assert_eq!(kind(&fields, "err_code"), "keyword", "a string or an integer");
        assert_eq!(kind(&fields, "upstream_time"), "keyword", "\"-\" or a list of numbers");
        // A keyword without a limit refuses the document when the value has more than 32 766 bytes.
        for (name, field) in &fields {
            if field["type"] == "keyword" && field["index"] != false {
                assert!(field["ignore_above"].as_u64().unwrap() <= 8191, "{name}");
            }
        }
    }
}

#[test]
fn both_variants_map_alike() {
    let (elastic, open) = (mapped("elasticsearch"), mapped("opensearch"));
    for (name, field) in &open {
        let expected = match kind(&elastic, name) {
            "match_only_text" => "text",
            "flattened" => "flat_object",
            other => other,
        };
        assert_eq!(field["type"], expected, "{name}");
    }
    for name in elastic.keys().filter(|name| !open.contains_key(*name)) {
        assert!(name.starts_with("data_stream."), "OpenSearch lacks {name}");
    }
}

#[test]
fn templates_refer_to_what_is_shipped() {
    for variant in VARIANTS {
        let index = json(&format!("es-templates/{variant}/index-logs-pillion.json"));
        let optional: Vec<Value> =
            index["ignore_missing_component_templates"].as_array().cloned().unwrap_or_default();
        for component in index["composed_of"].as_array().unwrap() {
            let file = format!("es-templates/{variant}/component-{}.json", component.as_str().unwrap());
            assert!(shipped::root().join(&file).exists() || optional.contains(component), "{file}");
        }
        // Above the built-in logs-*-* (100) and what Elastic Agent installs (200).
        assert_eq!(index["priority"], 250);
        assert_eq!(index["index_patterns"], serde_json::json!(["logs-pillion.*-*"]));
        assert!(index["data_stream"].is_object());
    }
    let settings = json("es-templates/elasticsearch/component-pillion@settings.json");
    let policy = settings["template"]["settings"]["index"]["lifecycle"]["name"].as_str().unwrap();
    assert!(shipped::root().join(format!("es-templates/elasticsearch/ilm-{policy}.json")).exists());
}

#[test]
fn opensearch_gets_nothing_that_it_does_not_know() {
    for (path, text) in shipped::folder("es-templates/opensearch") {
        for unknown in
            ["logsdb", "match_only_text", "ecs@mappings", "ignore_missing", "lifecycle", "constant_keyword"]
        {
            assert!(!text.contains(unknown), "{path} says {unknown}");
        }
    }
    let policy = json("es-templates/opensearch/ism-pillion-logs.json");
    let states = policy["policy"]["states"].as_array().unwrap();
    let named = |name: &Value| states.iter().any(|state| state["name"] == *name);
    assert!(named(&policy["policy"]["default_state"]));
    let transitions = states.iter().flat_map(|state| state["transitions"].as_array().unwrap());
    for transition in transitions {
        assert!(named(&transition["state_name"]), "{transition}");
    }
}

// === the installer ===

/// One request as the server saw it: `PUT /path`, and the body.
type Request = (String, String);

/// Runs install.sh against a server that answers everything with `body`.
fn install(what: &str, body: &'static str) -> Vec<Request> {
    let version = Command::new("curl").arg("--version").output();
    assert!(
        version.is_ok_and(|output| output.status.success()),
        "curl is not installed, and install.sh needs it: apt-get install curl"
    );
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (sender, requests) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let request = read_request(&mut BufReader::new(stream.try_clone().unwrap()), &mut stream);
            // Before the answer, so that it is there when the script ends; the test may have failed and gone.
            _ = sender.send(request);
            let head =
                format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
            stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
        }
    });
    let output = Command::new("sh")
        .arg(shipped::root().join("es-templates/install.sh"))
        .arg(what)
        .envs([
            ("ES_URL", url.as_str()),
            ("KIBANA_URL", &url),
            ("ES_USER", "elastic"),
            ("ES_PASSWORD", "secret"),
        ])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    requests.try_iter().collect()
}

fn read_request(reader: &mut impl BufRead, answer: &mut impl Write) -> Request {
    let mut first = String::new();
    reader.read_line(&mut first).unwrap();
    let mut length = 0;
    let mut authorized = false;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let line = line.trim().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line == "expect: 100-continue" {
            answer.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").unwrap();
        }
        authorized |= line.starts_with("authorization: basic ");
    }
    assert!(authorized, "{first} came without the credentials");
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    (first.trim().trim_end_matches(" HTTP/1.1").to_owned(), String::from_utf8(body).unwrap())
}

fn check_install(what: &str, body: &'static str, expected: &[(&str, &str)]) {
    let requests = install(what, body);
    let lines: Vec<&str> = requests.iter().map(|(line, _)| line.as_str()).collect();
    assert_eq!(lines, expected.iter().map(|(line, _)| *line).collect::<Vec<_>>());
    for ((line, body), (_, file)) in requests.iter().zip(expected) {
        if !file.is_empty() {
            assert!(
                body.contains(&shipped::text(&format!("es-templates/{file}"))),
                "{line} should carry {file}"
            );
        }
    }
}

#[test]
fn the_installer_puts_what_templates_refer_to_before_them() {
    check_install(
        "elasticsearch",
        "{ \"version\" : { \"number\" : \"8.17.0\", \"build_flavor\" : \"default\" } }",
        &[
            ("GET /", ""),
            ("PUT /_ilm/policy/pillion-logs", "elasticsearch/ilm-pillion-logs.json"),
            ("PUT /_component_template/pillion@mappings", "elasticsearch/component-pillion@mappings.json"),
            ("PUT /_component_template/pillion@settings", "elasticsearch/component-pillion@settings.json"),
            ("PUT /_component_template/pillion@logsdb", "elasticsearch/component-pillion@logsdb.json"),
            ("PUT /_index_template/logs-pillion", "elasticsearch/index-logs-pillion.json"),
        ],
    );
    check_install(
        "opensearch",
        "{}",
        &[
            ("PUT /_plugins/_ism/policies/pillion-logs", "opensearch/ism-pillion-logs.json"),
            ("PUT /_component_template/pillion@mappings", "opensearch/component-pillion@mappings.json"),
            ("PUT /_component_template/pillion@settings", "opensearch/component-pillion@settings.json"),
            ("PUT /_index_template/logs-pillion", "opensearch/index-logs-pillion.json"),
        ],
    );
}

#[test]
fn the_installer_leaves_logsdb_out_where_it_is_not_known() {
    for (version, puts) in [
        ("{\"version\":{\"number\":\"8.11.4\"}}", 4),
        ("{\"version\":{\"number\":\"8.9.0\"}}", 4),
        ("{\"version\":{\"number\":\"9.1.0\"}}", 5),
    ] {
        let requests = install("elasticsearch", version);
        assert_eq!(requests.iter().filter(|(line, _)| line.starts_with("PUT ")).count(), puts, "{version}");
    }
}

#[test]
fn the_installer_imports_the_dashboards() {
    let done = "{\"successCount\":7,\"success\":true}";
    let import = "POST /api/saved_objects/_import?overwrite=true";
    check_install("kibana", done, &[(import, "kibana/pillion-8.9.ndjson")]);
    check_install("dashboards", done, &[(import, "kibana/pillion-7.10.ndjson")]);
}
