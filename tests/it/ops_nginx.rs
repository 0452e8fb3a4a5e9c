//! The nginx files held against the program: routes, timeouts, addresses, log fields.

use std::time::Duration;

use pillion::config::BUILT_IN_PATHS;
use pillion::config::Carrier;
use pillion::config::Config;
use pillion::config::Dialect;

use crate::shipped;

/// The routes of the public listener that are carried by one of these.
fn carried(by: impl Fn(Carrier) -> bool) -> Vec<String> {
    let routes = Config::default().gateway.routes.into_iter();
    routes.filter(|route| by(route.carrier)).map(|route| route.path).collect()
}

/// The routes of the public listener that are websockets.
fn websocket_routes() -> Vec<String> {
    carried(|carrier| carrier == Carrier::WebSocket)
}

/// Every route of the public listener: those of the configuration, and what the program serves itself.
fn routes() -> Vec<String> {
    carried(|_| true).into_iter().chain(BUILT_IN_PATHS.iter().map(ToString::to_string)).collect()
}

/// The location that takes a route: nginx takes an exact match first and then the longest prefix.
fn location_of(route: &str) -> (String, Vec<Directive>) {
    let (_, path, directives) = locations()
        .into_iter()
        .filter(|(modifier, path, _)| matches(modifier, path, route))
        .max_by_key(|(modifier, path, _)| (modifier == "=", path.len()))
        .unwrap_or_else(|| panic!("no location for {route}"));
    (path, directives)
}

/// The fields that an nginx access line can have; `tag` is added by the ingest from the syslog header.
pub(crate) fn access_fields() -> Vec<&'static str> {
    "request_id client method path status bytes_sent request_time upstream_time upstream user_agent referer \
     server_name protocol session_id room_id user_id time"
        .split_whitespace()
        .collect()
}

#[derive(Debug, Clone)]
struct Directive {
    words: Vec<String>,
    block: Vec<Self>,
}

impl Directive {
    fn is(&self, name: &str) -> bool {
        self.words[0] == name
    }
}

/// The directives of a file of `nginx/`.
fn parse(file: &str) -> Vec<Directive> {
    let text = shipped::text(&format!("nginx/{file}"));
    let mut chars = text.chars().peekable();
    let directives = block(&mut chars, file);
    assert!(chars.next().is_none(), "{file} has a closing brace too many");
    directives
}

fn block(chars: &mut std::iter::Peekable<std::str::Chars<'_>>, file: &str) -> Vec<Directive> {
    let mut directives = Vec::new();
    let mut words: Vec<String> = Vec::new();
    while let Some(&next) = chars.peek() {
        match next {
            '}' => break,
            '#' => while chars.next().is_some_and(|c| c != '\n') {},
            ';' | '{' => {
                chars.next();
                let inner = if next == '{' { block(chars, file) } else { Vec::new() };
                assert!(next != '{' || chars.next() == Some('}'), "{file}: a block does not end");
                assert!(!words.is_empty(), "{file}: a directive without a name");
                directives.push(Directive { words: std::mem::take(&mut words), block: inner });
            }
            c if c.is_whitespace() => _ = chars.next(),
            _ => words.push(word(chars)),
        }
    }
    assert!(words.is_empty(), "{file}: {words:?} does not end with a semicolon");
    directives
}

fn word(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> String {
    let mut word = String::new();
    if let Some(quote) = chars.next_if(|c| matches!(c, '"' | '\'')) {
        while let Some(c) = chars.next().filter(|c| *c != quote) {
            word.push(c);
        }
        return word;
    }
    while let Some(c) = chars.next_if(|c| !c.is_whitespace() && !matches!(c, ';' | '{' | '}')) {
        word.push(c);
    }
    word
}

/// The locations of locations.conf as (modifier, path, directives with the included files read in).
fn locations() -> Vec<(String, String, Vec<Directive>)> {
    let mut locations = Vec::new();
    for directive in parse("locations.conf").into_iter().filter(|directive| directive.is("location")) {
        let path = directive.words.last().unwrap().clone();
        let modifier = if directive.words.len() == 3 { directive.words[1].clone() } else { String::new() };
        locations.push((modifier, path, flat(directive.block)));
    }
    locations
}

fn flat(directives: Vec<Directive>) -> Vec<Directive> {
    let mut all = Vec::new();
    for directive in directives {
        if directive.is("include") {
            all.extend(flat(parse(directive.words[1].strip_prefix("pillion/").unwrap())));
        } else {
            all.push(directive);
        }
    }
    all
}

fn argument<'a>(directives: &'a [Directive], name: &str) -> &'a str {
    let found: Vec<&Directive> = directives.iter().filter(|directive| directive.is(name)).collect();
    assert_eq!(found.len(), 1, "{name} should be said once");
    &found[0].words[1]
}

fn matches(modifier: &str, path: &str, route: &str) -> bool {
    match modifier {
        "=" => route == path,
        "" => route.starts_with(path),
        other => panic!("a location with {other} is more than this test understands"),
    }
}

#[test]
fn every_file_parses_and_every_include_exists() {
    let files: Vec<String> = shipped::folder("nginx")
        .into_iter()
        .filter_map(|(path, _)| path.strip_prefix("nginx/").map(str::to_owned))
        .filter(|name| name.ends_with(".conf"))
        .collect();
    assert_eq!(files.len(), 9, "{files:?}");
    let mut included = Vec::new();
    for file in &files {
        let mut open = parse(file);
        while let Some(directive) = open.pop() {
            if directive.is("include") {
                included.push(directive.words[1].strip_prefix("pillion/").unwrap().to_owned());
            }
            open.extend(directive.block);
        }
    }
    for file in files.iter().filter(|file| !["site.conf", "trial.conf"].contains(&file.as_str())) {
        assert!(included.contains(file), "nobody includes {file}");
    }
    for file in &included {
        assert!(files.contains(file), "{file} is included and does not exist");
    }
}

#[test]
fn every_location_is_a_route_and_every_route_has_a_location() {
    for (modifier, path, _) in locations() {
        let below =
            |route: &str| route.len() > 1 && route.ends_with('/') && format!("{path}/").starts_with(route);
        let known = routes().iter().any(|route| matches(&modifier, &path, route) || below(route));
        assert!(known, "location {modifier} {path} leads to no route of the program");
    }
    for route in &websocket_routes() {
        let (path, directives) = location_of(route);
        let upgrade =
            directives.iter().any(|directive| directive.words[1..] == ["Upgrade", "$pillion_upgrade"]);
        assert!(upgrade, "location {path} takes {route} and does not pass Upgrade on");
    }
}

#[test]
fn answers_without_end_are_passed_on_as_they_come() {
    let streams = carried(|carrier| !matches!(carrier, Carrier::WebSocket | Carrier::Emulation));
    assert_eq!(streams.len(), 4);
    for route in streams {
        let (path, directives) = location_of(&route);
        assert_ne!(path, "/", "{route} has no location of its own");
        assert_eq!(argument(&directives, "proxy_buffering"), "off", "{path}");
    }
    for route in carried(|carrier| carrier == Carrier::Emulation) {
        assert_eq!(location_of(&route).0, route);
    }
}

#[test]
fn what_backends_call_is_closed_to_the_world_and_what_clients_ask_is_not() {
    let closed =
        |route: &str| location_of(route).1.iter().any(|directive| directive.words == ["deny", "all"]);
    for route in ["/api", "/api/publish", "/goim/push/all", "/goim/online/top", "/goim/nodes/instances"] {
        assert!(closed(route), "{route} is open");
    }
    for route in ["/", "/ws", "/connection/websocket", "/emulation", "/goim/nodes/weighted", "/apical"] {
        assert!(!closed(route), "{route} is closed");
    }
}

#[test]
fn nginx_waits_longer_than_the_heartbeat() {
    let pinged = shipped::duration(&shipped::default_of("gateway.ping_interval"))
        + shipped::duration(&shipped::default_of("gateway.pong_timeout"));
    let mut seen = 0;
    for (_, path, directives) in locations() {
        let routes = Config::default().gateway.routes;
        let long = routes.iter().filter(|route| route.carrier != Carrier::Emulation);
        let Some(route) = long.clone().find(|route| path != "/" && route.path.starts_with(&path)) else {
            continue;
        };
        seen += 1;
        // Clients of packets send the heartbeats, and are given up after this silence.
        let silence = match route.dialect {
            Dialect::Centrifuge | Dialect::OpenrestyPush => 2 * pinged,
            Dialect::Goim => Duration::from_secs(480),
            Dialect::Orim => Duration::from_secs(60),
            Dialect::GolangIm => Duration::from_secs(120),
        };
        for timeout in ["proxy_read_timeout", "proxy_send_timeout"] {
            let value = shipped::duration(argument(&directives, timeout));
            assert!(value >= silence, "{timeout} of {path} is {value:?}, a healthy silence is {silence:?}");
        }
    }
    assert_eq!(seen, websocket_routes().len());
}

#[test]
fn nginx_lets_go_of_an_idle_upstream_connection_before_pillion_does() {
    let upstream = parse("upstream.conf");
    let idle = shipped::duration(argument(&upstream[0].block, "keepalive_timeout"));
    let header_timeout = shipped::duration(&shipped::default_of("limits.header_timeout"));
    assert!(idle < header_timeout, "{idle:?} is not less than {header_timeout:?}");
}

#[test]
fn the_log_format_has_known_fields_and_no_query() {
    let http = parse("http.conf");
    let format = http.iter().find(|directive| directive.is("log_format")).unwrap();
    assert_eq!(format.words[1..3], ["pillion_json", "escape=json"]);
    let format = format.words[3..].concat();
    let keys: Vec<&str> =
        format.split('"').filter(|part| part.chars().all(|c| c.is_ascii_lowercase() || c == '_')).collect();
    let keys: Vec<&str> = keys.into_iter().filter(|key| !key.is_empty()).collect();
    assert_eq!(keys.len(), access_fields().len(), "{keys:?}");
    for key in keys {
        assert!(access_fields().contains(&key), "{key} is not a field of an access line");
    }
    for variable in
        ["$request_uri", "$request\"", "$args", "$query_string", "$http_referer", "$http_user_agent", "$arg_"]
    {
        assert!(!format.contains(variable), "{variable} can carry a token or is not cut to a length");
    }
    let logs = parse("logs.conf");
    assert!(logs.iter().any(|line| line.is("access_log") && line.words.last().unwrap() == "pillion_json"));
}

#[test]
fn the_addresses_are_those_the_program_listens_on() {
    let socket = shipped::default_of("listen.public");
    let upstream = parse("upstream.conf");
    let server = argument(&upstream[0].block, "server");
    assert!(socket.contains(&format!("\"{server}\"")), "{server} is not in {socket}");
    let ingest = shipped::default_of("ingest.listen");
    let mut seen = 0;
    for line in parse("logs.conf") {
        let Some(address) = line.words[1].strip_prefix("syslog:server=") else { continue };
        let address = address.split(',').next().unwrap();
        assert!(ingest.contains(&format!("\"udp:{address}\"")), "{address} is not in {ingest}");
        assert!(!line.words[1].contains("nohostname"));
        seen += 1;
    }
    assert_eq!(seen, 2);
}

#[test]
fn a_picture_that_pillion_takes_is_let_through() {
    let found = locations().into_iter().find(|(_, path, _)| path == "/upload/file").unwrap();
    let allowed =
        argument(&found.2, "client_max_body_size").strip_suffix('m').unwrap().parse::<usize>().unwrap();
    let taken = Config::default().chat.upload_size;
    // The form around the file takes its part.
    assert!(allowed << 20 >= taken + (64 << 10), "client_max_body_size {allowed}m is below {taken} bytes");
    assert_eq!(argument(&found.2, "proxy_request_buffering"), "off");
}
