//! What a record weighs: how many it stands for, and how much it is missed.

use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;

use crate::buffer::Rank;
use crate::record;
use crate::record::Action;
use crate::record::Level;
use crate::record::Line;

/// How many records of one action there is one for.
#[derive(Debug, Default)]
pub(super) struct Sample {
    /// 0 and 1: each is written.
    pub(super) one_in: AtomicU32,
    seen: AtomicU32,
}

impl Sample {
    /// Whether the next record is written, and how many it stands for.
    pub(super) fn draw(&self) -> Option<u32> {
        match self.one_in.load(Relaxed) {
            0 | 1 => Some(1),
            one_in => self.seen.fetch_add(1, Relaxed).is_multiple_of(one_in).then_some(one_in),
        }
    }
}

/// Says how many records of its action one stands for, when it is not alone.
pub(super) fn sampled(line: &mut Line<'_>, stands_for: u32) {
    if stands_for > 1 {
        line.integer(record::SAMPLE_RATE, u64::from(stands_for));
    }
}

/// How important a record is to whoever has to leave some out.
pub(super) fn rank(action: Option<Action>, level: Option<Level>) -> Rank {
    match (action, level) {
        (Some(Action::Login | Action::Logout | Action::LogGap | Action::Drain | Action::ConfigReload), _)
        | (_, Some(Level::Error | Level::Warn)) => Rank::High,
        (Some(Action::NginxAccess), _) | (_, Some(Level::Debug | Level::Trace)) => Rank::Low,
        (_, Some(Level::Info) | None) => Rank::Normal,
    }
}
