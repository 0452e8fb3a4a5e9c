//! Log ingest over real sockets: what is sent becomes records in the buffer.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use pillion::address::Address;
use pillion::address::HostPort;
use pillion::buffer::Buffer;
use pillion::buffer::Limits;
use pillion::config;
use pillion::ingest;
use pillion::metrics::Metrics;
use pillion::record::Origin;
use pillion::tasks::Tasks;
use pillion::trail::Style;
use pillion::trail::Trail;
use serde_json::Map;
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::UdpSocket;
use tokio::net::UnixDatagram;
use tokio::net::UnixStream;

use crate::daemon::Daemon;

const MAX: usize = 4096;

/// When the lines are received, if anybody asks: 2026-11-20T23:39:00.123Z.
const RECEIVED: Duration = Duration::from_millis(1_795_217_940_123);

struct Bench {
    tasks: Tasks,
    buffer: Arc<Buffer>,
    metrics: Arc<Metrics>,
    addresses: Vec<Address>,
}

impl Bench {
    fn start(addresses: &[&str]) -> Self {
        Self::start_with(addresses, 64 * 1024)
    }

    fn start_with(addresses: &[&str], receive_buffer: usize) -> Self {
        let limits = Limits { flush_limit: 1 << 20, drop_limit: 1 << 26, max_line: MAX };
        let (buffer, metrics) = (Arc::new(Buffer::new(limits)), Arc::new(Metrics::new()));
        let style = Style { plain_tokens: false, legacy_fields: false, max_line: MAX };
        let sinks = (Arc::clone(&buffer), Arc::clone(&metrics));
        let trail = Arc::new(Trail::new(Origin::new("edge-1", "aa"), style, || RECEIVED, sinks));
        let listen = addresses.iter().map(|address| address.parse().unwrap()).collect();
        let config = config::Ingest { listen, receive_buffer };
        let (ingest, worker) = ingest::build(&config, 0o600, &trail, &metrics).unwrap();
        let tasks = Tasks::new();
        tasks.spawn("ingest", pillion::tasks::OnExit::Stop, worker.run(tasks.clone()));
        Self { tasks, buffer, metrics, addresses: ingest.addresses().to_vec() }
    }

    fn internet(&self, index: usize) -> HostPort {
        self.addresses[index].to_string().split_once(':').unwrap().1.parse().unwrap()
    }

    /// Stops, which takes in what has been sent, and returns the records.
    async fn records(self) -> Vec<Map<String, Value>> {
        self.text().await.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The same, as they were written.
    async fn text(self) -> String {
        self.tasks.stop();
        self.tasks.wait().await;
        assert_eq!(self.tasks.failed(), None);
        let mut bytes = Vec::new();
        while let Some(chunk) = self.buffer.take() {
            bytes.extend_from_slice(chunk.bytes());
        }
        String::from_utf8(bytes).unwrap()
    }

    async fn messages(self) -> Vec<String> {
        let records = self.records().await;
        records.iter().map(|record| record["message"].as_str().unwrap().to_owned()).collect()
    }
}

#[tokio::test]
async fn every_golden_line_becomes_its_record() {
    for (name, expected_lines) in [("nginx.txt", 7), ("elsewhere.txt", 8)] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/syslog").join(name);
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("> ")).collect();
        let expected: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("< ")).collect();
        assert_eq!((lines.len(), expected.len()), (expected_lines, expected_lines), "{name}");

        let bench = Bench::start(&["udp:127.0.0.1:0"]);
        let at = bench.internet(0);
        let sender = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        for line in &lines {
            sender.send_to(line.as_bytes(), (at.host.as_str(), at.port)).await.unwrap();
        }
        let records = bench.records().await;
        assert_eq!(records.len(), lines.len(), "{name}");
        for (index, (mut record, expected)) in records.into_iter().zip(expected).enumerate() {
            let expected: Map<String, Value> = serde_json::from_str(expected).unwrap();
            assert_eq!(record.remove("node"), Some("edge-1".into()));
            assert_eq!(record.remove("boot_id"), Some("aa".into()));
            assert_eq!(record.remove("log.sequence"), Some(index.into()));
            assert_eq!(record.remove("event.id"), Some(format!("aa-{index}").into()));
            if !expected.contains_key("@timestamp") {
                assert!(record.remove("@timestamp").is_some(), "{name}: {}", lines[index]);
            }
            assert_eq!(record, expected, "{name}: {}", lines[index]);
        }
    }
}

#[tokio::test]
async fn all_four_kinds_of_socket_take_lines() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let (gram, stream) = (path("gram"), path("stream"));
    let bench = Bench::start(&[
        "udp:127.0.0.1:0",
        "tcp:127.0.0.1:0",
        &format!("unixgram:{}", gram.display()),
        &format!("unix:{}", stream.display()),
    ]);
    let (udp, tcp) = (bench.internet(0), bench.internet(1));
    let sender = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    sender.send_to(b"by udp", (udp.host.as_str(), udp.port)).await.unwrap();
    UnixDatagram::unbound().unwrap().send_to(b"by unixgram", &gram).await.unwrap();
    let mut by_tcp = TcpStream::connect((tcp.host.as_str(), tcp.port)).await.unwrap();
    by_tcp.write_all(b"by tcp\nby tcp, unfinished").await.unwrap();
    UnixStream::connect(&stream).await.unwrap().write_all(b"by unix\n").await.unwrap();
    let mut messages = bench.messages().await;
    messages.sort();
    assert_eq!(messages, ["by tcp", "by tcp, unfinished", "by udp", "by unix", "by unixgram"]);
    assert!(!gram.exists() && !stream.exists());
}

#[tokio::test]
async fn a_bad_line_disturbs_no_neighbour() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("lines");
    let bench = Bench::start(&[&format!("unix:{}", path.display())]);
    let mut sender = UnixStream::connect(&path).await.unwrap();
    let bomb = format!("{{\"a\":{}{}}}\n", "[".repeat(MAX / 4), "]".repeat(MAX / 4));
    let pieces: [&[u8]; 7] = [
        b"{\"message\":\"first\"}\n",
        &[b'x'; 100_000],
        b"\n",
        bomb.as_bytes(),
        b"a\xff\0b\n",
        b"\n",
        b"last\n",
    ];
    for piece in pieces {
        sender.write_all(piece).await.unwrap();
    }
    drop(sender);
    let metrics = Arc::clone(&bench.metrics);
    let records = bench.records().await;
    assert_eq!(records.len(), 5);
    assert_eq!(records[0]["message"], "first");
    assert_eq!(records[1]["log.truncated"], true);
    assert!(records[2]["message"].as_str().unwrap().starts_with("{\"a\":[[["));
    assert_eq!(records[3]["message"], "a\u{fffd}\0b");
    assert_eq!(records[4]["message"], "last");
    let metrics = metrics.render();
    for reason in ["too_long", "too_deep", "invalid_utf8"] {
        let counted = format!("pillion_ingest_faults_total{{reason=\"{reason}\"}} 1");
        assert!(metrics.contains(&counted), "{counted}: {metrics}");
    }
}

#[tokio::test]
async fn many_connections_keep_their_lines_apart() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("lines");
    let bench = Bench::start(&[&format!("unix:{}", path.display())]);
    let mut senders = Vec::new();
    for _ in 0..50 {
        senders.push(UnixStream::connect(&path).await.unwrap());
    }
    for half in ["a line of ", "sender"] {
        for (number, sender) in senders.iter_mut().enumerate() {
            let end = if half == "sender" { format!(" {number}\n") } else { String::new() };
            sender.write_all(format!("{half}{end}").as_bytes()).await.unwrap();
        }
        tokio::task::yield_now().await;
    }
    let mut messages = bench.messages().await;
    messages.sort();
    let mut expected: Vec<_> = (0..50).map(|number| format!("a line of sender {number}")).collect();
    expected.sort();
    assert_eq!(messages, expected);
}

#[tokio::test]
async fn an_address_that_can_not_be_bound_is_named_with_its_key() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    std::fs::write(&path, "").unwrap();
    let metrics = Metrics::new();
    let limits = Limits { flush_limit: 1, drop_limit: 1, max_line: MAX };
    let style = Style { plain_tokens: false, legacy_fields: false, max_line: MAX };
    let sinks = (Arc::new(Buffer::new(limits)), Arc::new(Metrics::new()));
    let trail = Arc::new(Trail::new(Origin::new("n", "b"), style, || RECEIVED, sinks));
    let config = config::Ingest { listen: vec![Address::Unixgram(path.clone())], receive_buffer: 4096 };
    let error = ingest::build(&config, 0o600, &trail, &metrics).unwrap_err();
    let source = std::error::Error::source(&error).unwrap();
    assert_eq!(
        format!("{error}: {source}"),
        format!(
            "can not take in logs: one of \"ingest.listen\" fails: unixgram:{}: there is already a file that is not \
             a socket: remove it or choose another path",
            path.display()
        )
    );
}

#[tokio::test]
async fn datagrams_that_the_kernel_drops_are_counted_and_none_is_missing_in_the_sum() {
    let bench = Bench::start_with(&["udp:127.0.0.1:0", "udp:127.0.0.1:0"], 4096);
    let at = bench.internet(0);
    // Nothing is read meanwhile: this thread is the only one, and it does not wait for anything.
    let sender = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    for _ in 0..500 {
        sender.send_to(&[b'x'; 300], (at.host.as_str(), at.port)).unwrap();
    }
    let (metrics, addresses) = (Arc::clone(&bench.metrics), bench.addresses.clone());
    let taken = bench.records().await.len();
    assert!(taken > 0 && taken < 500, "{taken}");
    let metrics = metrics.render();
    for (address, dropped) in [(&addresses[0], 500 - taken), (&addresses[1], 0)] {
        let counted = format!("pillion_ingest_kernel_drops_total{{address=\"{address}\"}} {dropped}\n");
        assert!(metrics.contains(&counted), "{counted}: {metrics}");
    }
}

#[tokio::test]
async fn a_burst_of_kernel_drops_is_told_of_in_the_log_with_its_number_and_the_remedy() {
    let daemon = Daemon::start(&["ingest.listen=[\"udp:127.0.0.1:0\"]", "ingest.receive_buffer=4KiB"]).await;
    let (_, ready) = daemon.admin("/readyz").await;
    let at: HostPort = ready.split_once("udp:").unwrap().1.split_once('"').unwrap().0.parse().unwrap();
    let sender = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    daemon.signal(rustix::process::Signal::STOP);
    for _ in 0..500 {
        sender.send_to(b"<190>Nov 20 23:40:00 edge app: a line", (at.host.as_str(), at.port)).unwrap();
    }
    daemon.signal(rustix::process::Signal::CONT);
    let (status, said, records) = daemon.stop().await;
    assert!(status.success(), "{said}");
    let taken = records.iter().filter(|record| record["action"] == "syslog").count();
    let told = |record: &&Value| {
        record["message"].as_str().is_some_and(|text| text.starts_with("the kernel dropped log lines"))
    };
    let told: Vec<_> = records.iter().filter(told).collect();
    assert_eq!(told.len(), 1, "{said}");
    assert!(told[0]["message"].as_str().unwrap().contains("\"ingest.receive_buffer\""));
    assert_eq!(told[0]["labels.dropped"], (500 - taken).to_string(), "{told:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_sender_on_a_unix_stream_knows_exactly_what_was_not_taken_at_the_stop() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("lines");
    let bench = Bench::start(&[&format!("unix:{}", path.display())]);
    let (under_way, told) = tokio::sync::oneshot::channel();
    let sender = std::thread::spawn(move || {
        let mut under_way = Some(under_way);
        let mut taken = 0_usize;
        // Some lines a connection, so that the stop also meets connections that nobody has accepted.
        'end: while let Ok(mut stream) = std::os::unix::net::UnixStream::connect(&path) {
            for _ in 0..3 {
                if std::io::Write::write(&mut stream, b"a line\n").is_err() {
                    break 'end;
                }
                taken += 1;
            }
            if taken > 3000 {
                under_way.take().map(|under_way| under_way.send(()));
            }
        }
        taken
    });
    told.await.unwrap();
    let records = bench.records().await.len();
    assert_eq!(sender.join().unwrap(), records);
}

// === Bad input ===

/// What no sender should send, each on one line.
fn bad_lines() -> Vec<Vec<u8>> {
    let mut lines: Vec<Vec<u8>> = [
        // Bytes that are no text.
        &b"a\xff\xfe\xc3b"[..],
        b"{\"a\":\"\xff\",\"\xc3\":1}",
        b"{\"a\":\"\0\"}",
        b"a\0b",
        b"<13>Nov 20 23:40:00 h app: \xff\0",
        // JSON that is none.
        b"{",
        b"}",
        b"{\"a\":1}}",
        b"{\"a\":1}{\"a\":2}",
        b"{\"a\":\"\\ud800\"}",
        b"{\"\\ud800\":1}",
        b"{\"a\":1e999,\"b\":-1e999}",
        b"{\"a\":NaN}",
        b"null",
        // Headers where none belong, and none where they do.
        br#"{"message":"<134>Nov 20 23:40:00 h app: {\"node\":\"evil\"}"}"#,
        br#"{"message":"42 <134>Nov 20 23:40:00 h app: x"}"#,
        br#"<13>Nov 20 23:40:00 h app: {"message":"<134>1 2026-11-20T23:40:00Z h app - - - x"}"#,
        br#"<13>Nov 20 23:40:00 h app: <13>Nov 20 23:40:00 h app: {"node":"evil"}"#,
        b"<999>Nov 20 23:40:00 h app: x",
        b"<13>",
        b"<>",
        // Names that are taken, once, twice and in disguise.
        br#"{"a":1,"a":2,"\u0061":3}"#,
        br#"{"node":"evil","node":"evil","\u006eode":"evil","boot_id":"evil"}"#,
        br#"{"log.sequence":0,"event.id":"evil","log.truncated":"evil","@timestamp":"evil","action":[]}"#,
        br#"{"host":"x","event":"x","process":"x","log":"x","service":"x"}"#,
        br#"<13>Nov 20 23:40:00 h app: {"host":"x","event":"x","process":"x","log":"x","service":"x"}"#,
        br#"<13>Nov 20 23:40:00 h app: {"node":"evil","\u006eode":"evil","":1,"a..b":2,"source.node":"evil"}"#,
    ]
    .map(<[u8]>::to_vec)
    .to_vec();
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        for depth in [33, 600] {
            lines.push(format!("{{\"a\":{}1{}}}", open.repeat(depth), close.repeat(depth)).into_bytes());
            lines.push(format!("{{\"a\":{}", open.repeat(depth)).into_bytes());
        }
    }
    for length in [MAX - 1, MAX, MAX + 1, 50_000] {
        lines.push(vec![b'x'; length]);
        lines.push(vec![0xff; length]);
        lines.push(format!("{{\"a\":\"{}\"}}", "é".repeat(length / 2)).into_bytes());
        lines.push(
            format!("<13>Nov 20 23:40:00 h app: {{\"a\":\"{}\"}}", "\\n".repeat(length / 2)).into_bytes(),
        );
    }
    lines.push(
        format!("{{{}\"z\":0}}", (0..1001).map(|n| format!("\"{n}\":0,")).collect::<String>()).into_bytes(),
    );
    lines
}

/// The members of a record in their order, so that none hides another.
struct Members(Vec<(String, Value)>);

impl<'de> serde::Deserialize<'de> for Members {
    fn deserialize<D: serde::Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> serde::de::Visitor<'de> for Reader {
            type Value = Members;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: serde::de::MapAccess<'de>>(self, mut map: M) -> Result<Members, M::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        json.deserialize_map(Reader)
    }
}

/// Holds a record against what every record must be: parseable, short enough, and with our own fields once.
fn checked(record: &str, sequence: usize) -> Map<String, Value> {
    assert!(record.len() < MAX, "{record}");
    let members: Members = serde_json::from_str(record).unwrap_or_else(|error| panic!("{error}: {record}"));
    for (name, value) in [
        ("node", Value::from("edge-1")),
        ("boot_id", "aa".into()),
        ("log.sequence", sequence.into()),
        ("event.id", format!("aa-{sequence}").into()),
    ] {
        let found: Vec<&Value> =
            members.0.iter().filter(|(key, _)| key == name).map(|(_, value)| value).collect();
        assert_eq!(found, [&value], "{record}");
    }
    let count = members.0.len();
    let map: Map<String, Value> = members.0.into_iter().collect();
    assert_eq!(map.len(), count, "a name comes twice: {record}");
    for name in ["@timestamp", "action", "log.level"] {
        assert!(map.contains_key(name), "{name}: {record}");
    }
    map
}

/// Sends every bad line between two good ones, by `frame` on a stream or one by one, and looks at what became of them.
async fn spray(listen: &str, mut send: impl AsyncFnMut(&Bench, &[Vec<u8>]), framed: bool) {
    let bench = Bench::start_with(&[listen], 1 << 22);
    let good =
        |index: usize, place: &str| format!("<13>Nov 20 23:40:00 h app: {{\"message\":\"{place} {index}\"}}");
    let bad = bad_lines();
    let mut lines = Vec::new();
    for (index, bad) in bad.iter().enumerate() {
        // A length needs a header behind it to be believed.
        let bad = if framed && !bad.starts_with(b"<1") {
            [&b"<13>Nov 20 23:40:00 h app: "[..], bad].concat()
        } else {
            bad.clone()
        };
        lines.extend([good(index, "before").into_bytes(), bad, good(index, "after").into_bytes()]);
    }
    send(&bench, &lines).await;
    let text = bench.text().await;
    let records: Vec<_> = text.lines().enumerate().map(|(index, record)| checked(record, index)).collect();
    assert_eq!(records.len(), 3 * bad.len());
    for (index, three) in records.chunks(3).enumerate() {
        assert_eq!(three[0]["message"], format!("before {index}"));
        assert_eq!(three[2]["message"], format!("after {index}"));
    }
}

fn lines_of(lines: &[Vec<u8>]) -> Vec<u8> {
    lines.iter().flat_map(|line| line.iter().copied().chain([b'\n'])).collect()
}

#[tokio::test]
async fn bad_lines_on_a_unix_stream_become_whole_records_beside_whole_neighbours() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("lines");
    let send = async |_: &Bench, lines: &[Vec<u8>]| {
        UnixStream::connect(&path).await.unwrap().write_all(&lines_of(lines)).await.unwrap();
    };
    spray(&format!("unix:{}", path.display()), send, false).await;
}

#[tokio::test]
async fn bad_lines_over_tcp_become_whole_records_beside_whole_neighbours() {
    let send = async |bench: &Bench, lines: &[Vec<u8>]| {
        let at = bench.internet(0);
        let mut stream = TcpStream::connect((at.host.as_str(), at.port)).await.unwrap();
        // In pieces that fall anywhere.
        for piece in lines_of(lines).chunks(1777) {
            stream.write_all(piece).await.unwrap();
        }
        stream.shutdown().await.unwrap();
    };
    spray("tcp:127.0.0.1:0", send, false).await;
}

#[tokio::test]
async fn bad_lines_with_their_length_before_them_become_whole_records_beside_whole_neighbours() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("lines");
    let send = async |_: &Bench, lines: &[Vec<u8>]| {
        let mut stream = UnixStream::connect(&path).await.unwrap();
        let framed = lines.iter().map(|line| [format!("{} ", line.len()).as_bytes(), line].concat());
        let framed: Vec<u8> = framed.flatten().collect();
        for piece in framed.chunks(1777) {
            stream.write_all(piece).await.unwrap();
        }
    };
    spray(&format!("unix:{}", path.display()), send, true).await;
}

#[tokio::test]
async fn bad_datagrams_on_a_unix_socket_become_whole_records_beside_whole_neighbours() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("gram");
    let send = async |_: &Bench, lines: &[Vec<u8>]| {
        let socket = UnixDatagram::unbound().unwrap();
        for line in lines {
            socket.send_to(line, &path).await.unwrap();
        }
    };
    spray(&format!("unixgram:{}", path.display()), send, false).await;
}

#[tokio::test]
async fn bad_datagrams_over_udp_become_whole_records_beside_whole_neighbours() {
    let send = async |bench: &Bench, lines: &[Vec<u8>]| {
        let at = bench.internet(0);
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        for line in lines {
            socket.send_to(line, (at.host.as_str(), at.port)).await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    spray("udp:127.0.0.1:0", send, false).await;
}

#[tokio::test]
async fn a_line_without_an_end_costs_no_more_memory_than_the_longest_line() {
    const MIB: usize = 1 << 20;
    let daemon = Daemon::start(&[]).await;
    let mut stream = UnixStream::connect(daemon.path("lines.sock")).await.unwrap();
    let process = stream.peer_cred().unwrap().pid().unwrap();
    let memory = || {
        let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
    };
    let before = memory();
    let piece = vec![b'x'; MIB];
    for _ in 0..64 {
        stream.write_all(&piece).await.unwrap();
    }
    stream.write_all(b"\n{\"message\":\"the next one\"}\n").await.unwrap();
    let next = daemon.log.record("the line behind it", |record| record["message"] == "the next one").await;
    let grown = memory().saturating_sub(before);
    assert!(grown < 8 * MIB, "{grown}");
    let long = daemon.log.record("the line itself", |record| record["log.truncated"] == true).await;
    assert!(long["message"].as_str().unwrap().starts_with("xxx"));
    assert_eq!(next["log.sequence"].as_u64(), long["log.sequence"].as_u64().map(|number| number + 1));
    let (_, metrics) = daemon.admin("/metrics").await;
    assert!(metrics.contains("pillion_ingest_faults_total{reason=\"too_long\"} 1"), "{metrics}");
    assert!(daemon.stop().await.0.success());
}
