//! What has arrived: each numbered line, how often, and in which order.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::MutexGuard;

use serde::Deserialize;
use tokio::sync::watch;

use super::within;

/// The record of all arrivals.
#[derive(Debug)]
pub(super) struct Book {
    state: Mutex<State>,
    tally: watch::Sender<Tally>,
}

#[derive(Debug, Default)]
struct State {
    /// How often each number came.
    times: Vec<u32>,
    highest: Option<u64>,
    /// The lines that each `log_gap` record tells of, by its id: it may come twice as well.
    gaps: HashMap<String, u64>,
    tally: Tally,
}

/// The sums.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub(super) distinct: u64,
    pub(super) duplicates: u64,
    pub(super) disordered: u64,
    pub(super) torn: u64,
    pub(super) gap_lines: u64,
    pub(super) shortest: u64,
    /// True when the last line of all has come.
    pub(super) ended: bool,
}

/// What is looked at in a line.
#[derive(Deserialize)]
struct Line<'a> {
    n: Option<u64>,
    #[serde(default)]
    last: bool,
    #[serde(rename = "event.id", borrow)]
    id: Option<Cow<'a, str>>,
    #[serde(rename = "gap.lines")]
    gap: Option<u64>,
}

impl Default for Book {
    fn default() -> Self {
        Self { state: Mutex::default(), tally: watch::channel(Tally::default()).0 }
    }
}

impl Book {
    /// Takes lines, in their order.
    pub(super) fn take<'l>(&self, lines: impl IntoIterator<Item = &'l [u8]>) {
        let mut state = self.lock();
        for line in lines {
            state.take(line);
        }
        self.tally.send_replace(state.tally);
    }

    pub(super) fn tally(&self) -> Tally {
        self.lock().tally
    }

    /// Waits until the sums are as wished.
    pub(super) async fn until(&self, what: &str, condition: impl Fn(&Tally) -> bool) {
        let mut tally = self.tally.subscribe();
        within(what, tally.wait_for(condition)).await.unwrap();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl State {
    fn take(&mut self, bytes: &[u8]) {
        let Ok(line) = serde_json::from_slice::<Line<'_>>(bytes) else {
            self.tally.torn += 1;
            return;
        };
        self.tally.ended |= line.last;
        if let (Some(id), Some(lines)) = (line.id, line.gap)
            && self.gaps.insert(id.into_owned(), lines).is_none()
        {
            self.tally.gap_lines += lines;
        }
        let Some(number) = line.n else { return };
        let index = usize::try_from(number).unwrap();
        if index >= self.times.len() {
            self.times.resize(index + 1, 0);
        }
        let length = bytes.len() as u64;
        self.tally.shortest = if self.tally.shortest == 0 { length } else { self.tally.shortest.min(length) };
        let Some(times) = self.times.get_mut(index) else { return };
        *times += 1;
        if *times > 1 {
            self.tally.duplicates += 1;
            return;
        }
        self.tally.distinct += 1;
        if self.highest.is_some_and(|highest| number < highest) {
            self.tally.disordered += 1;
        }
        self.highest = self.highest.max(Some(number));
    }
}
