//! Clients that come, go, are cut off and come back at random, held against a model of their room.
//!
//! The model knows the stream: offsets from 1, the last [`KEPT`] of them kept. Whatever happens, a client sees the next
//! offset and no other; when it comes back it gets everything it missed, or, when that is more than is kept, is told so
//! and goes on at the top. A failure prints the seed, and `PILLION_SEED=n` replays it.

use serde_json::Value;
use serde_json::json;

use crate::daemon::Client;
use crate::daemon::Daemon;

const CENTRIFUGE: &str = "/connection/websocket";
const KEPT: u64 = 20;
const CLIENTS: usize = 6;
const STEPS: usize = 300;

/// A generator of numbers that a seed determines: xorshift64*.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % limit
    }
}

/// A client, here or away, and how far it has heard.
struct Peer {
    client: Option<Client>,
    heard: u64,
}

impl Peer {
    /// Takes in what one frame says.
    fn hear(&mut self, frame: &str) {
        for line in frame.lines() {
            let said: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
            let publication = &said["push"]["pub"];
            if publication.is_object() {
                self.next(publication);
            }
        }
    }

    fn next(&mut self, publication: &Value) {
        let offset = publication["offset"].as_u64().unwrap();
        assert_eq!(offset, self.heard + 1, "the next message and no other: {publication}");
        assert_eq!(publication["data"], json!(offset), "in the order in which they were taken");
        self.heard = offset;
    }

    /// Hears everything up to `top`.
    async fn catch_up(&mut self, top: u64) {
        while self.heard < top {
            let Some(client) = &mut self.client else { return };
            let frame = client.next().await;
            self.hear(&frame);
        }
    }

    /// Comes back from where it was.
    async fn come_back(&mut self, daemon: &Daemon, (epoch, top): (&str, u64)) {
        let mut client = daemon.websocket(CENTRIFUGE).await;
        client.connect("peer").await;
        let subscribe =
            json!({"id":2,"subscribe":{"channel":"r","recover":true,"epoch":epoch,"offset":self.heard}});
        client.send(&subscribe.to_string()).await;
        let reply = client.json().await["subscribe"].take();
        assert_eq!(reply["offset"].as_u64().unwrap_or(0), top, "{reply}");
        let missed = top - self.heard;
        assert_eq!(reply["recovered"].as_bool().unwrap_or(false), missed <= KEPT, "{missed} missed: {reply}");
        if missed <= KEPT {
            for publication in reply["publications"].as_array().into_iter().flatten() {
                self.next(publication);
            }
        } else {
            assert_eq!(reply["publications"], Value::Null, "never a part");
            self.heard = top;
        }
        assert_eq!(self.heard, top);
        self.client = Some(client);
    }
}

#[tokio::test]
#[allow(clippy::print_stdout, reason = "a failure must say which seed replays it")]
async fn clients_that_come_and_go_hear_everything_or_are_told() {
    let seed = std::env::var("PILLION_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = seed.unwrap_or_else(|| u64::from(std::process::id()) + 1);
    println!("PILLION_SEED={seed}");
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let rules = format!("gateway.namespace=[{{ name = \"\", history_size = {KEPT} }}]");
    let daemon = Daemon::start(&["auth.insecure=true", &rules]).await;
    let mut publisher = daemon.websocket(CENTRIFUGE).await;
    publisher.connect("publisher").await;
    publisher.send(r#"{"id":2,"subscribe":{"channel":"r"}}"#).await;
    let epoch = publisher.json().await["subscribe"]["epoch"].as_str().unwrap().to_owned();
    let mut peers: Vec<Peer> = (0..CLIENTS).map(|_| Peer { client: None, heard: 0 }).collect();
    let (mut top, mut told) = (0_u64, 0);
    for _ in 0..STEPS {
        let peer = &mut peers[usize::try_from(random.below(CLIENTS as u64)).unwrap()];
        match random.below(4) {
            0 | 1 => {
                for _ in 0..=random.below(8) {
                    top += 1;
                    publisher.send(&json!({"id":9,"publish":{"channel":"r","data":top}}).to_string()).await;
                    // Its own message and the answer, in one frame or in two.
                    let mut frames = publisher.next().await;
                    while !frames.contains("\"publish\"") || !frames.contains("\"pub\"") {
                        frames.push_str(&publisher.next().await);
                    }
                }
            }
            2 if peer.client.is_some() => {
                // Sometimes it has read everything by then, sometimes nothing.
                if random.below(2) == 0 {
                    peer.catch_up(top).await;
                }
                peer.client = None;
            }
            2 => {
                told += u64::from(top - peer.heard > KEPT);
                peer.come_back(&daemon, (&epoch, top)).await;
            }
            _ => peer.catch_up(top).await,
        }
    }
    for peer in &mut peers {
        if peer.client.is_none() {
            peer.come_back(&daemon, (&epoch, top)).await;
        }
        peer.catch_up(top).await;
        assert_eq!(peer.heard, top);
    }
    println!("{top} messages; {told} times somebody had missed too much");
    assert!(top > 100, "{top} messages were published");
}
