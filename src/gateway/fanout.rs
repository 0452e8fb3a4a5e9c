//! From one publication to all members of a room: encoded once per dialect, written by whoever publishes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;

use crate::config::Dialect;
use crate::gateway::link::Frame;
use crate::gateway::link::Link;
use crate::gateway::link::Sent;
use crate::gateway::rooms::Members;
use crate::gateway::rooms::Publication;
use crate::gateway::rooms::Publisher;
use crate::gateway::rooms::Step;
use crate::gateway::rooms::Welcome;
use crate::metrics::ByReason;
use crate::metrics::Metrics;
use crate::wire::centrifuge;
use crate::wire::centrifuge::Encoding;
use crate::wire::centrifuge::Push;
use crate::wire::websocket;

/// Carries out the steps of rooms.
#[derive(Debug)]
pub(super) struct Fanout {
    clock: fn() -> Duration,
    deliveries: Counter,
    lost: Counter,
    delay: Histogram,
}

impl Fanout {
    /// A fan-out that reads the gateway's time from `clock`.
    pub(super) fn new(metrics: &Metrics, clock: fn() -> Duration) -> Self {
        Self {
            clock,
            deliveries: metrics.deliveries.clone(),
            lost: metrics.undelivered.get_or_create(&ByReason { reason: "slow" }).clone(),
            delay: metrics.send_delay.clone(),
        }
    }

    /// Carries out `steps` in their order: runs of publications go out together.
    pub(super) fn work(&self, room: &str, steps: VecDeque<Step>, members: &mut Members) {
        let mut run = Vec::new();
        for step in steps {
            match step {
                Step::Publish(publication) => run.push(publication),
                Step::Join(link, arrival) => {
                    self.deliver(room, &mut run, members);
                    members.insert(link.key(), Arc::clone(&link));
                    if let Some(welcome) = arrival.arrived() {
                        self.welcome(&link, welcome);
                    }
                }
                Step::Leave(key) => {
                    self.deliver(room, &mut run, members);
                    members.remove(&key);
                }
            }
        }
        self.deliver(room, &mut run, members);
    }

    fn deliver(&self, room: &str, run: &mut Vec<Publication>, members: &Members) {
        if run.is_empty() {
            return;
        }
        let mut encoded = Encoded { room, run, centrifuge: None, push: None };
        for link in members.values() {
            let frames = encoded.frames(link.dialect());
            self.hand_over(link, frames);
        }
        run.clear();
    }

    /// Sends what must come before the first message.
    pub(super) fn welcome(&self, link: &Link, welcome: Welcome) {
        let now = (self.clock)();
        let sent = match welcome {
            Welcome::Greeting(greeting) => link.greet(greeting, now, &mut self.observer()),
            Welcome::Answer(answer) => link.send(&[Frame::control(answer)], now, &mut self.observer()),
        };
        self.count(sent);
    }

    /// A function that counts the delay of a message.
    pub(super) fn observer(&self) -> impl FnMut(Duration) {
        |delay| self.delay.observe(delay.as_secs_f64())
    }

    fn hand_over(&self, link: &Link, frames: &[Frame]) {
        let sent = link.send(frames, (self.clock)(), &mut self.observer());
        if sent == Sent::Accepted {
            self.deliveries.inc_by(frames.len() as u64);
        }
        self.count(sent);
    }

    fn count(&self, sent: Sent) {
        if let Sent::Overflow { lost } = sent {
            self.lost.inc_by(lost as u64);
        }
    }
}

/// A run of publications, encoded in each dialect that a member speaks, once.
struct Encoded<'a> {
    room: &'a str,
    run: &'a [Publication],
    centrifuge: Option<Vec<Frame>>,
    push: Option<Vec<Frame>>,
}

impl Encoded<'_> {
    fn frames(&mut self, dialect: Dialect) -> &[Frame] {
        let (room, run) = (self.room, self.run);
        match dialect {
            Dialect::Centrifuge => self.centrifuge.get_or_insert_with(|| {
                encode(run, |publication| {
                    let told = centrifuge::Publication {
                        info: publication.publisher.as_ref().map(Publisher::told),
                        ..centrifuge::Publication::new(&publication.payload)
                    };
                    Encoding::Json.push(room, &Push::Publication(told))
                })
            }),
            Dialect::OpenrestyPush => self.push.get_or_insert_with(|| {
                encode(run, |publication| publication.payload.text().into_owned().into_bytes())
            }),
        }
    }
}

fn encode(run: &[Publication], text: impl Fn(&Publication) -> Vec<u8>) -> Vec<Frame> {
    let frame = |publication: &Publication| Frame {
        bytes: websocket::text(&text(publication)),
        published: Some(publication.at),
    };
    run.iter().map(frame).collect()
}
