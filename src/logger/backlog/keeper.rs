//! What happens beside the sending: noting how old the oldest record is, and filling the spool.

use std::future::poll_fn;
use std::time::Duration;
use std::time::Instant;

use crate::buffer::Stats;
use crate::buffer::Tally;
use crate::clock;
use crate::logger::backlog::Backlog;

impl Backlog {
    /// Watches what waits, for ever. A dropped future loses nothing.
    pub(in crate::logger) async fn keep(&self) {
        let spool = self.spool().filter(|spool| spool.fills());
        let (tick, patience) = spool.map_or((TICK, None), |spool| {
            let interval = spool.settings().interval;
            (TICK.min(interval / 8), Some(interval * 3 / 4))
        });
        // After a failure the next try waits for the next tick, or it would be tried without a pause.
        let mut failed = false;
        let mut filling = false;
        loop {
            let pressed = tokio::select! {
                () = poll_fn(|context| self.buffer.poll_pressed(context)), if spool.is_some() && !failed => true,
                () = tokio::time::sleep(tick) => false,
            };
            let waited = self.observe(clock::now());
            let late = patience.is_some_and(|most| waited >= Some(most));
            let spills = pressed || late;
            failed = spills && !self.spill().await;
            if let Some(spool) = spool {
                filling = spool.tell(filling, spills && !failed, self.buffer.stats().spooled.is_zero());
            }
        }
    }

    /// Notes the time, and says how long the oldest record that is only in memory has been waiting.
    fn observe(&self, now: Instant) -> Option<Duration> {
        let stats = self.buffer.stats();
        // What is on disk is older than what is in memory, so without it the counters tell of memory alone.
        let in_memory = Stats { spooled: Tally::default(), ..stats };
        let mut state = self.lock();
        state.ages.note(&stats, now);
        state.ages_in_memory.note(&in_memory, now);
        state.ages_in_memory.oldest(&in_memory, now)
    }
}

/// How often the age of the oldest record is noted.
const TICK: Duration = Duration::from_millis(250);
