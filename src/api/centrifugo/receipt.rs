//! What a backend asks to know of a message that it publishes: who got it.

use std::time::Duration;

use serde::Deserialize;
use serde::Serialize;

use crate::api::centrifugo::fault::Fault;
use crate::gateway::Counts;
use crate::gateway::Published;

/// How long a receipt is waited for when nothing is said, and at the longest.
const PATIENCE: u64 = 5_000;
const PATIENCE_MAX: u64 = 60_000;

/// What is asked.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wish {
    /// Users whose acknowledgements are waited for; none: only the writing is.
    #[serde(default)]
    acks: Option<usize>,
    /// Milliseconds.
    #[serde(default)]
    timeout: Option<u64>,
}

/// What is answered.
#[derive(Debug, Serialize)]
pub(super) struct Receipt {
    msg_id: String,
    /// Sessions that were to get it.
    queued: usize,
    /// Sessions whose socket has taken it.
    written: usize,
    /// Sessions that will not get it.
    lost: usize,
    /// Users who have acknowledged it.
    acknowledged: usize,
}

impl Wish {
    /// Acknowledgements that are waited for, and for how long.
    pub(super) fn read(self) -> Result<(Option<usize>, Duration), Fault> {
        let timeout = self.timeout.unwrap_or(PATIENCE);
        if timeout > PATIENCE_MAX {
            return Err(Fault::BadRequest(format!("receipt.timeout is longer than {PATIENCE_MAX} ms")));
        }
        Ok((self.acks, Duration::from_millis(timeout)))
    }
}

impl Receipt {
    /// The receipt of a message.
    pub(super) fn of(published: &Published, counts: Counts) -> Self {
        let Counts { queued, written, lost, acknowledged } = counts;
        Self { msg_id: published.id.to_string(), queued, written, lost, acknowledged }
    }
}
