//! What a real nginx makes of the shipped files: it accepts them, passes on what pillion needs, and logs in JSON.

use std::fs;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::io::Write;
use std::net::Ipv4Addr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::process::Command;
use std::sync::Arc;
use std::thread;

use crate::nginx::free_port;
use crate::nginx::require_nginx;
use crate::ops_nginx::access_fields;
use crate::shipped;
use crate::trial::PATIENCE;
use crate::trial::Trial;
use crate::trial::certificate;
use crate::trial::header;

#[test]
fn nginx_accepts_the_shipped_site_inside_a_debian_configuration() {
    require_nginx();
    let directory = tempfile::tempdir().unwrap();
    certificate(directory.path());
    let target = directory.path().join("pillion");
    fs::create_dir(&target).unwrap();
    for (path, text) in shipped::folder("nginx") {
        let copy = directory.path().join(path.replacen("nginx/", "pillion/", 1));
        fs::create_dir_all(copy.parent().unwrap()).unwrap();
        fs::write(copy, text).unwrap();
    }
    let replace = |file: &str, changes: &[(&str, String)]| {
        let mut text = fs::read_to_string(target.join(file)).unwrap();
        for (from, to) in changes {
            assert!(text.contains(from), "{file} no longer says {from}");
            text = text.replace(from, to);
        }
        fs::write(target.join(file), text).unwrap();
    };
    let v6 = TcpListener::bind("[::1]:0").is_ok();
    let drop_v6 = if v6 { "" } else { "# " };
    replace(
        "site.conf",
        &[
            ("listen      [::]:80;", format!("{drop_v6}listen [::]:{};", free_port())),
            ("listen      [::]:443 ssl;", format!("{drop_v6}listen [::]:{} ssl;", free_port())),
            ("listen      80;", format!("listen {};", free_port())),
            ("listen      443 ssl;", format!("listen {} ssl;", free_port())),
            ("/etc/ssl/certs/pillion.pem", "cert.pem".to_owned()),
            ("/etc/ssl/private/pillion.key", "key.pem".to_owned()),
        ],
    );
    replace("logs.conf", &[("/var/log/nginx/error.log", "error.log".to_owned())]);
    // What the http level of Debian's nginx.conf says that could get into the way.
    let debian = "pid nginx.pid;\nevents { worker_connections 768; }\nhttp {\n sendfile on;\n tcp_nopush on;\n \
                  types_hash_max_size 2048;\n default_type application/octet-stream;\n \
                  ssl_protocols TLSv1 TLSv1.1 TLSv1.2 TLSv1.3;\n ssl_prefer_server_ciphers on;\n \
                  access_log off;\n error_log stderr;\n gzip on;\n include pillion/site.conf;\n}\n";
    fs::write(directory.path().join("nginx.conf"), debian).unwrap();
    let mut command = Command::new("sh");
    command.args([
        "-c",
        "PATH=$PATH:/usr/sbin:/usr/local/sbin; exec nginx -e stderr -t -p \"$0\" -c nginx.conf",
    ]);
    let output = command.arg(directory.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(!said.contains("[warn]"), "{said}");
}

#[test]
fn one_request_is_one_json_line_with_one_id_everywhere() {
    let trial = Trial::start(true);
    let answer = trial
        .get("/page?token=secret", b"Referer: https://a.example/x?token=secret\r\nUser-Agent: probe\r\n");
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("ok"), "{answer}");
    let head = trial.head();
    let line = trial.access();
    let keys: Vec<&str> = line.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys.len(), access_fields().len());
    assert!(keys.iter().all(|key| access_fields().contains(key)), "{keys:?}");

    let id = line["request_id"].as_str().unwrap();
    assert_eq!(header(&head, "X-Request-Id"), Some(id), "sent upstream");
    assert_eq!(header(&answer, "X-Request-Id"), Some(id), "given back");
    assert_eq!(answer.matches("X-Request-Id").count(), 1, "and not pillion's copy of it too: {answer}");

    assert_eq!(line["method"], "GET");
    assert_eq!(line["path"], "/page");
    assert_eq!(line["status"], 200);
    assert_eq!(line["client"], "127.0.0.1");
    assert_eq!(line["user_agent"], "probe");
    assert_eq!(line["referer"], "https://a.example/x");
    assert_eq!(line["server_name"], "localhost");
    assert_eq!(line["protocol"], "HTTP/1.1");
    assert_eq!(line["room_id"], "r42");
    assert!(line["time"].as_f64().unwrap() > 1.7e9);
    assert!(
        line["request_time"].is_number() && line["bytes_sent"].is_u64() && line["upstream_time"].is_string()
    );
    assert!(!line.to_string().contains("secret"));

    assert_eq!(header(&head, "X-Real-IP"), Some("127.0.0.1"));
    assert_eq!(header(&head, "X-Forwarded-For"), Some("127.0.0.1"));
    assert_eq!(header(&head, "X-Forwarded-Proto"), Some("http"));
    assert_eq!(header(&head, "Host"), Some("localhost"));
    assert!(header(&head, "Upgrade").is_none() && header(&head, "Connection").is_none(), "{head}");
    assert!(header(&answer, "X-Room-Id").is_none(), "{answer}");

    // The next line is that of the next request: the first gave one and no more.
    trial.get("/second", b"");
    assert_eq!(trial.access()["path"], "/second");
}

#[test]
fn nothing_that_a_client_sends_breaks_the_json_or_loses_the_line() {
    let trial = Trial::start(true);
    let long =
        [b"User-Agent: ".as_slice(), &vec![1; 7000], b"\r\nReferer: ", &vec![2; 7000], b"\r\n"].concat();
    let umlauts = format!("User-Agent: {}\r\n", "\u{e4}".repeat(400));
    let agents: [(&[u8], &str); 6] = [
        (b"User-Agent: a \"quoted\" \\ one\r\n", "a \"quoted\" \\ one"),
        (
            "User-Agent: m\u{f6}v\u{e9} \u{65e5}\u{672c} \u{1f680}\r\n".as_bytes(),
            "m\u{f6}v\u{e9} \u{65e5}\u{672c} \u{1f680}",
        ),
        (
            b"User-Agent: tab\there, bell\x07 and escape\x1b[31m\r\n",
            "tab\there, bell\u{7} and escape\u{1b}[31m",
        ),
        (b"User-Agent: latin \xe4\r\n", "latin \u{fffd}"),
        (&long, &"\u{1}".repeat(512)),
        (umlauts.as_bytes(), &"\u{e4}".repeat(256)),
    ];
    for (headers, expected) in agents {
        let answer = trial.get("/", headers);
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert_eq!(trial.access()["user_agent"], *expected);
    }
    trial.get("/%22%5c%01%c3%a4?token=secret", b"");
    assert_eq!(trial.access()["path"], "/\"\\\u{1}\u{e4}");
    // No method, no protocol, no upstream: the empty values must still make valid JSON.
    assert!(trial.exchange(b"\x16\x03\x01 this is not HTTP\r\n\r\n").contains("400 Bad Request"));
    assert_eq!(trial.access()["status"], 400);
    // HTTP/1.0 without a host gets the name of the server.
    trial.exchange(b"GET /old HTTP/1.0\r\n\r\n");
    assert_eq!(trial.access()["protocol"], "HTTP/1.0");
    let head = std::iter::repeat_with(|| trial.head()).find(|head| head.starts_with("GET /old")).unwrap();
    assert_eq!(header(&head, "Host"), Some("localhost"));
}

#[test]
fn a_sane_request_id_is_kept_and_a_silly_one_replaced() {
    let trial = Trial::start(true);
    let long = "x".repeat(65);
    for (given, kept) in [
        ("0b5c-4e.11_A", true),
        ("short", false),
        ("has space in it", false),
        ("quote\"quote", false),
        (&long, false),
    ] {
        trial.get("/", format!("X-Request-Id: {given}\r\n").as_bytes());
        let line = trial.access();
        let id = line["request_id"].as_str().unwrap();
        assert_eq!(id == given, kept, "{given} became {id}");
        assert_eq!(header(&trial.head(), "X-Request-Id"), Some(id));
        assert!(id.len() >= 8);
    }
}

#[test]
fn a_websocket_passes_whole_and_its_line_names_the_session_and_not_the_token() {
    let trial = Trial::start(true);
    for route in ["/connection/websocket", "/ws?token=secret"] {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, trial.nginx.http)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let request = format!(
            "GET {route} HTTP/1.1\r\nHost: localhost:{}\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             X-Forwarded-For: 6.6.6.6\r\n\r\n",
            trial.nginx.http
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut answer = String::new();
        while !answer.ends_with("\r\n\r\n") {
            assert!(reader.read_line(&mut answer).unwrap() > 0, "{answer}");
        }
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        assert!(
            header(&answer, "X-Session-Id").is_none() && header(&answer, "X-Request-Id").is_some(),
            "{answer}"
        );

        let head = trial.head();
        assert_eq!(header(&head, "Upgrade"), Some("websocket"));
        assert_eq!(header(&head, "Connection"), Some("upgrade"));
        assert_eq!(header(&head, "X-Forwarded-For"), Some("127.0.0.1"), "the client's own is not passed on");
        assert_eq!(header(&head, "Host"), Some(format!("localhost:{}", trial.nginx.http).as_str()));
        assert!(head.starts_with(&format!("GET {route} ")), "the query is passed on: {head}");

        // Far more than the buffers of nginx, both ways at once.
        let sent: Arc<[u8]> = (0..300_000u32).map(|n| n.to_le_bytes()[0]).collect();
        let copy = Arc::clone(&sent);
        let mut writer = stream.try_clone().unwrap();
        let writing = thread::spawn(move || writer.write_all(&copy).unwrap());
        let mut received = vec![0; sent.len()];
        reader.read_exact(&mut received).unwrap();
        writing.join().unwrap();
        assert!(received[..] == sent[..]);
        drop((reader, stream));

        let line = trial.access();
        assert_eq!(line["status"], 101);
        assert_eq!(line["session_id"], "session-7");
        assert_eq!(line["path"], route.split('?').next().unwrap());
        assert!(!line.to_string().contains("secret"), "{line}");
    }
}

#[test]
fn an_upgrade_to_anything_else_is_not_passed_on() {
    let trial = Trial::start(true);
    for route in ["/connection/websocket", "/ws", "/"] {
        trial.exchange(
            format!("GET {route} HTTP/1.0\r\nHost: localhost\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n").as_bytes(),
        );
        let head = trial.head();
        assert!(header(&head, "Upgrade").is_none() && header(&head, "Connection").is_none(), "{head}");
    }
}

#[test]
fn without_pillion_the_client_hears_502_and_both_logs_say_so() {
    let trial = Trial::start(false);
    assert!(trial.get("/ws", b"").starts_with("HTTP/1.1 502 "));
    let (tag, text) = trial.line();
    assert_eq!(tag, "nginx_error");
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains("connect() to unix:") && text.contains("client: 127.0.0.1"), "{text}");
    let line = trial.access();
    assert_eq!(line["status"], 502);
    assert!(line["upstream"].as_str().unwrap().ends_with("pillion.sock"), "{line}");
}

#[test]
fn a_flood_from_one_address_is_refused_and_this_machine_is_not_limited() {
    let trial = Trial::start(true);
    let request = b"GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    // 50 at once and 10 a second are allowed: 120 in a row are refused in part, unless they take 7 seconds.
    let count = |source| (0..120).filter(|_| trial.exchange_from(source, request).contains(" 429 ")).count();
    assert!(count(Ipv4Addr::new(127, 0, 0, 2)) > 0);
    assert_eq!(count(Ipv4Addr::LOCALHOST), 0);
}

#[test]
fn tls_reaches_pillion_as_https() {
    let trial = Trial::start(true);
    let mut roots = rustls::RootCertStore::empty();
    roots.add(trial.certificate.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let client = rustls::ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();
    let socket = TcpStream::connect((Ipv4Addr::LOCALHOST, trial.nginx.https)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut stream = rustls::StreamOwned::new(client, socket);
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(header(&trial.head(), "X-Forwarded-Proto"), Some("https"));
}
