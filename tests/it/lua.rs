//! The Lua logger in a real nginx, with a real daemon behind it.
//!
//! The machine must have nginx's Lua module (`make test` installs it); without it these tests fail.

use std::fs;
use std::io::BufReader;
use std::io::Read;
use std::io::Write;
use std::net::Ipv4Addr;
use std::net::TcpStream;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::thread;
use std::thread::JoinHandle;

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::daemon::Daemon;
use crate::nginx::free_port;
use crate::nginx::ready;
use crate::nginx::require_nginx;
use crate::shipped;
use crate::trial::PATIENCE;

const MODULES: &str = "/usr/lib/nginx/modules";

/// A running nginx with one worker that logs by Lua.
struct Lua {
    child: Child,
    port: u16,
    said: Option<JoinHandle<String>>,
    directory: TempDir,
}

impl Lua {
    /// Starts nginx; `init` is the table that its logger gets, with PATH for pillion's socket.
    fn start(init: &str) -> Self {
        require_nginx();
        let module = Path::new(MODULES).join("ngx_http_lua_module.so");
        assert!(
            module.exists(),
            "{} is missing, and these tests run it: apt-get install libnginx-mod-http-lua",
            module.display()
        );
        let directory = tempfile::tempdir().unwrap();
        let init = init.replace("PATH", &format!("\"{}\"", directory.path().join("lines.sock").display()));
        for _ in 0..5 {
            let port = free_port();
            fs::write(directory.path().join("nginx.conf"), configuration(port, &init)).unwrap();
            let script = "PATH=$PATH:/usr/sbin:/usr/local/sbin; [ \"$(id -u)\" -ne 0 ] || set -- -g 'user root;'; \
                          exec nginx -e stderr -p \"$0\" -c nginx.conf \"$@\"";
            let mut child = Command::new("sh")
                .args(["-c", script])
                .arg(directory.path())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            let mut stderr = BufReader::new(child.stderr.take().unwrap());
            if ready(&mut stderr) {
                let said = thread::spawn(move || {
                    let mut text = String::new();
                    stderr.read_to_string(&mut text).unwrap();
                    text
                });
                return Self { child, port, said: Some(said), directory };
            }
            child.wait().unwrap();
        }
        panic!("nginx did not start, five times");
    }

    /// A daemon that takes lines where the logger sends them.
    async fn pillion(&self) -> Daemon {
        let lines = self.directory.path().join("lines.sock");
        Daemon::start(&[&format!("ingest.listen=[\"unix:{}\"]", lines.display())]).await
    }

    fn signal(&self, signal: Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal).unwrap();
    }

    /// One request for each number; each logs a line with it when it ends.
    fn requests(&self, numbers: std::ops::Range<u64>) {
        requests(self.port, numbers);
    }

    /// What a piece of Lua gives in a request, as text.
    fn run(&self, code: &str) -> String {
        let mut stream = connect(self.port);
        let request = format!("POST /run HTTP/1.0\r\nContent-Length: {}\r\n\r\n{code}", code.len());
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(" 200 "), "{code}: {answer}");
        body.trim_end().to_owned()
    }

    /// Waits for the end; gives what nginx said.
    fn ended(mut self) -> String {
        self.child.wait().unwrap();
        self.said.take().unwrap().join().unwrap()
    }
}

impl Drop for Lua {
    #[expect(clippy::print_stderr, reason = "what nginx said explains a failed test")]
    fn drop(&mut self) {
        if self.said.is_some() {
            self.signal(Signal::TERM);
            self.child.wait().expect("nginx ends on SIGTERM");
            if let (true, Some(said)) = (thread::panicking(), self.said.take()) {
                eprintln!("{}", said.join().unwrap_or_default());
            }
        }
    }
}

fn configuration(port: u16, init: &str) -> String {
    let library = shipped::root().join("nginx/lua");
    format!(
        r#"load_module {MODULES}/ndk_http_module.so;
load_module {MODULES}/ngx_http_lua_module.so;
daemon off; pid nginx.pid; worker_processes 1; error_log stderr notice;
events {{ worker_connections 256; }}
http {{
    access_log off; keepalive_requests 100000; client_body_temp_path t1; proxy_temp_path t2; fastcgi_temp_path t3; uwsgi_temp_path t4;
    scgi_temp_path t5; lua_package_path "{}/?.lua;;";
    init_worker_by_lua_block {{ assert(require("pillion.logger").init({init})) }}
    server {{
        listen 127.0.0.1:{port};
        location /log {{
            log_by_lua_block {{
                require("pillion.logger").log('{{"action":"lua_test","n":' .. ngx.var.arg_n .. ',"room_id":"r1"}}')
            }}
            return 204;
        }}
        location /run {{
            content_by_lua_block {{
                ngx.req.read_body()
                local found = {{ assert(loadstring(ngx.req.get_body_data()))() }}
                for i = 1, table.maxn(found) do found[i] = tostring(found[i]) end
                ngx.say(table.concat(found, " | "))
            }}
        }}
    }}
}}
"#,
        library.display()
    )
}

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn requests(port: u16, numbers: std::ops::Range<u64>) {
    let mut stream = connect(port);
    for n in numbers {
        // In one piece, or the kernel would wait for an answer to the first.
        let request = format!("GET /log?n={n} HTTP/1.1\r\nHost: test\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let mut piece = [0; 1024];
            let size = stream.read(&mut piece).unwrap();
            assert!(size > 0, "{n}: {}", String::from_utf8_lossy(&answer));
            answer.extend_from_slice(&piece[..size]);
        }
        assert!(answer.starts_with(b"HTTP/1.1 204"), "{n}: {}", String::from_utf8_lossy(&answer));
    }
}

/// The numbers in the records of the test's requests, in their order.
fn numbers(records: &[Value]) -> Vec<u64> {
    let ours = records.iter().filter(|record| record["action"] == "lua_test");
    ours.map(|record| record["n"].as_u64().unwrap()).collect()
}

fn number(n: u64) -> impl Fn(&Value) -> bool {
    move |record| record["n"] == n
}

#[tokio::test]
async fn a_line_that_a_request_logs_becomes_a_record_with_its_keys() {
    let lua = Lua::start("{ path = PATH, host = \"logs.example.com\", port = 5170 }");
    let pillion = lua.pillion().await;
    lua.requests(7..8);
    let record = pillion.log.record("the line", number(7)).await;
    assert_eq!((&record["action"], &record["room_id"]), (&"lua_test".into(), &"r1".into()));
    assert!(record["event.id"].is_string() && record["@timestamp"].is_string(), "{record}");
}

#[tokio::test]
async fn a_thousand_requests_lose_nothing_and_keep_their_order() {
    let lua = Lua::start("{ path = PATH, flush_limit = 1 }");
    let pillion = lua.pillion().await;
    lua.requests(0..1000);
    pillion.log.record("the last line", number(999)).await;
    assert_eq!(numbers(&pillion.log.records()), (0..1000).collect::<Vec<_>>());
    let sent = "local s = require('pillion.logger').stats() return s.queued_bytes, s.dropped_lines";
    assert_eq!(lua.run(sent), "0 | 0");
}

#[tokio::test]
async fn a_restart_of_pillion_under_way_loses_nothing() {
    let lua = Lua::start("{ path = PATH, flush_limit = 100, retry_interval = 20 }");
    let first = lua.pillion().await;
    let port = lua.port;
    let traffic = thread::spawn(move || requests(port, 0..20_000));
    first.log.record("a line before", number(300)).await;
    let (status, said, mut records) = first.stop().await;
    assert!(status.success(), "{said}");
    let second = lua.pillion().await;
    second.log.record("the last line", number(19_999)).await;
    traffic.join().unwrap();
    records.extend(second.log.records());
    assert_eq!(numbers(&records), (0..20_000).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_the_buffer_can_not_hold_is_counted_and_told_of() {
    let lua = Lua::start("{ path = PATH, flush_limit = 100, drop_limit = 1000, retry_interval = 20 }");
    lua.requests(0..100);
    let dropped: u64 = lua.run("return require('pillion.logger').stats().dropped_lines").parse().unwrap();
    assert!(dropped > 50 && dropped < 100, "{dropped}");
    let pillion = lua.pillion().await;
    let gap = pillion.log.record("the gap", |record| record["action"] == "log_gap").await;
    assert_eq!(gap["gap.lines"], dropped, "{gap}");
    assert_eq!(gap["gap.cause"], "overflow");
    lua.requests(100..101);
    pillion.log.record("a line after", number(100)).await;
    let kept = 100 - dropped;
    assert_eq!(numbers(&pillion.log.records()), (0..kept).chain([100]).collect::<Vec<_>>());
}

#[tokio::test]
async fn reload_and_quit_of_nginx_lose_nothing_that_waits() {
    let lua = Lua::start("{ path = PATH, flush_limit = 1000000, periodic_flush = 600 }");
    let pillion = lua.pillion().await;
    lua.requests(0..100);
    assert_eq!(pillion.log.records().len(), 0, "the lines wait");
    lua.signal(Signal::HUP);
    pillion.log.record("the last line of the old worker", number(99)).await;
    lua.requests(100..200);
    lua.signal(Signal::QUIT);
    let said = lua.ended();
    pillion.log.record("the last line of the new worker", number(199)).await;
    assert_eq!(numbers(&pillion.log.records()), (0..200).collect::<Vec<_>>());
    assert!(!said.contains("[error]") && !said.contains("open socket"), "{said}");
}

#[tokio::test]
async fn a_worker_that_ends_without_pillion_ends_soon_and_says_what_is_lost() {
    let lua = Lua::start("{ path = PATH, max_retry_times = 2, retry_interval = 20 }");
    lua.requests(0..20);
    lua.signal(Signal::QUIT);
    let said = lua.ended();
    assert!(said.contains("20 log lines are lost with this worker: try to connect"), "{said}");
}

#[test]
fn however_many_lines_wait_there_are_few_timers() {
    let lua = Lua::start("{ path = PATH, flush_limit = 1 }");
    let code = "local l = require('pillion.logger') for i = 1, 3000 do l.log('{\"n\":' .. i .. '}') end \
                return ngx.timer.pending_count(), l.stats().dropped_lines";
    for _ in 0..3 {
        let (timers, dropped) =
            lua.run(code).split_once(" | ").map(|(t, d)| (t.parse::<u32>().unwrap(), d == "0")).unwrap();
        assert!(timers <= 2 && dropped, "{timers}");
    }
}

#[tokio::test]
async fn a_flush_sends_at_once_and_says_how_much() {
    let lua = Lua::start("{ path = PATH, periodic_flush = 600, max_retry_times = 0 }");
    let failed = "local l = require('pillion.logger') l.log('{\"n\":1}') return l.flush()";
    assert!(lua.run(failed).starts_with("nil | try to connect to the log server failed: "));
    let said = lua.run("return require('pillion.logger').log('')");
    assert!(said.starts_with("0 | try to "), "the error is told once: {said}");
    let pillion = lua.pillion().await;
    let sends = "local l = require('pillion.logger') l.log('{\"n\":2}\\n') l.log(3) return l.flush()";
    let flushed = lua.run(sends);
    // The first line may have gone by itself in the meantime, as soon as somebody listened.
    assert!(flushed == "18" || flushed == "10", "{flushed}");
    pillion.log.record("the number", |record| record["message"] == "3").await;
    let records = pillion.log.records();
    let kept: Vec<_> = records.iter().filter(|record| record["action"] != "diagnostic").collect();
    assert_eq!(
        kept.iter().map(|record| &record["n"]).collect::<Vec<_>>(),
        [&Value::from(1), &2.into(), &Value::Null]
    );
    assert_eq!(lua.run("return require('pillion.logger').flush()"), "true");
}

#[test]
fn calls_answer_as_the_original_did() {
    let lua = Lua::start("{ path = PATH }");
    let fresh = "package.loaded['pillion.logger'] = nil local l = require('pillion.logger') return ";
    let check =
        |code: &str, expected: &str| assert_eq!(lua.run(&format!("{fresh}{code}")), expected, "{code}");
    check("l.log('x')", "nil | not initialized");
    check("l.flush()", "true");
    check("l.initted()", "false");
    check("l.init{}, l.initted()", "true | true");
    check(
        "l.init{ flush_limit = 4, drop_limit = 8 }, l.log('aaa'), l.log('bb'), l.log('cccc')",
        "true | 3 | 2 | 0 | log lines are dropped: drop_limit is reached",
    );
    check("l.init('hello')", "nil | user_config must be a table");
    for (table, err) in [
        ("flush_limit = 2, drop_limit = 1", "\"flush_limit\" should be < \"drop_limit\""),
        ("host = 1", "\"host\" must be a string"),
        ("port = 'x'", "\"port\" must be a number"),
        ("port = 70000", "\"port\" out of range 0~65535"),
        ("port = 80.5", "\"port\" out of range 0~65535"),
        ("path = 1", "\"path\" must be a string"),
        ("sock_type = 1", "\"sock_type\" must be a string"),
        ("sock_type = 'sctp'", "\"sock_type\" must be \"tcp\" or \"udp\""),
        ("flush_limit = 'x'", "invalid \"flush_limit\""),
        ("drop_limit = -1", "invalid \"drop_limit\""),
        ("timeout = 0/0", "invalid \"timeout\""),
        ("max_retry_times = 'x'", "invalid \"max_retry_times\""),
        ("retry_interval = -1", "invalid \"retry_interval\""),
        ("pool_size = 0", "invalid \"pool_size\""),
        ("max_buffer_reuse = 'x'", "invalid \"max_buffer_reuse\""),
        ("periodic_flush = 0", "invalid \"periodic_flush\""),
        ("ssl = 1", "\"ssl\" must be a boolean value"),
        ("ssl_verify = 1", "\"ssl_verify\" must be a boolean value"),
        ("sni_host = true", "\"sni_host\" must be a string"),
    ] {
        check(&format!("l.init{{ {table} }}"), &format!("nil | {err}"));
    }
}
