//! The rows: what goes wrong.

use rustix::process::Signal;
use tokio::time::sleep;

use super::Mode;
use super::Scale;
use super::daemon::Daemon;
use super::receiver::Conduct;
use super::receiver::Receiver;

/// A row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Stalls,
    Dies,
    StallsAndDies,
    CutsLine,
    AcknowledgesPartly,
    AcknowledgesLate,
    AnswersGarbage,
    DiskFull,
    Terminated,
    StalledAndTerminated,
    AwayAndTerminated,
    Killed,
    StalledAndKilled,
    AwayAndKilled,
}

impl Fault {
    pub(crate) const ALL: [Self; 14] = [
        Self::Stalls,
        Self::Dies,
        Self::StallsAndDies,
        Self::CutsLine,
        Self::AcknowledgesPartly,
        Self::AcknowledgesLate,
        Self::AnswersGarbage,
        Self::DiskFull,
        Self::Terminated,
        Self::StalledAndTerminated,
        Self::AwayAndTerminated,
        Self::Killed,
        Self::StalledAndKilled,
        Self::AwayAndKilled,
    ];

    /// True when it can happen in a mode.
    pub(crate) const fn concerns(self, mode: Mode) -> bool {
        match self {
            Self::AcknowledgesPartly | Self::AcknowledgesLate => mode.acknowledges(),
            Self::CutsLine | Self::AnswersGarbage => !matches!(mode, Mode::Udp),
            _ => true,
        }
    }

    /// True when pillion is killed in it.
    pub(crate) const fn kills_pillion(self) -> bool {
        matches!(self, Self::Killed | Self::StalledAndKilled | Self::AwayAndKilled)
    }

    /// True when pillion ends in it, in whatever way.
    pub(crate) const fn ends_pillion(self) -> bool {
        self.kills_pillion()
            || matches!(self, Self::Terminated | Self::StalledAndTerminated | Self::AwayAndTerminated)
    }

    /// The name of the row.
    pub(crate) fn name(self, scale: &Scale) -> String {
        let Scale { stall, away, late, .. } = scale;
        match self {
            Self::Stalls => format!("stalls {stall:?} and goes on"),
            Self::Dies => format!("dies while reading, away {away:?}"),
            Self::StallsAndDies => format!("stalls {stall:?}, dies, away {away:?}"),
            Self::CutsLine => format!("resets in the middle of a line, {TIMES} times"),
            Self::AcknowledgesPartly => format!("acknowledges a part, then resets, {TIMES} times"),
            Self::AcknowledgesLate => format!("acknowledges {late:?} late"),
            Self::AnswersGarbage => format!("answers garbage, {TIMES} times"),
            Self::DiskFull => format!("disk full for {stall:?}, then dies"),
            Self::Terminated => "pillion gets SIGTERM and starts again".to_owned(),
            Self::StalledAndTerminated => "the same while the receiver stalls".to_owned(),
            Self::AwayAndTerminated => format!("the same after the receiver stalled {stall:?} and died"),
            Self::Killed => "pillion gets SIGKILL and starts again".to_owned(),
            Self::StalledAndKilled => format!("the same after the receiver stalled {stall:?}"),
            Self::AwayAndKilled => {
                format!("the same after it stalled {stall:?}, died, and was away {away:?}")
            }
        }
    }

    /// Lets it happen; returns when it is over.
    pub(super) async fn happen(self, receiver: &mut Receiver, daemon: &mut Daemon, scale: &Scale) {
        match self {
            Self::Stalls => {
                receiver.conduct(Conduct::Still);
                sleep(scale.stall).await;
                receiver.conduct(Conduct::Healthy);
            }
            Self::Dies => {
                receiver.die().await;
                sleep(scale.away).await;
                receiver.live().await;
            }
            Self::StallsAndDies => {
                receiver.conduct(Conduct::Still);
                sleep(scale.stall).await;
                receiver.die().await;
                sleep(scale.away).await;
                receiver.live().await;
            }
            Self::CutsLine => receiver.misbehave(Conduct::CutsLine(TIMES)).await,
            Self::AcknowledgesPartly => receiver.misbehave(Conduct::AcknowledgesPartly(TIMES)).await,
            Self::AnswersGarbage => receiver.misbehave(Conduct::Garbage(TIMES)).await,
            Self::AcknowledgesLate => {
                receiver.conduct(Conduct::Late(scale.late));
                sleep(scale.late.mul_f64(1.5)).await;
                receiver.conduct(Conduct::Healthy);
            }
            Self::DiskFull => {
                receiver.conduct(Conduct::Full);
                sleep(scale.stall).await;
                receiver.die().await;
                receiver.live().await;
            }
            Self::Terminated | Self::Killed => self.restart(daemon).await,
            Self::StalledAndTerminated => {
                receiver.conduct(Conduct::Still);
                sleep(scale.stall / 2).await;
                daemon.signal(Signal::TERM);
                sleep(scale.stall / 2).await;
                receiver.conduct(Conduct::Healthy);
                daemon.ended().await;
                daemon.start().await;
            }
            Self::StalledAndKilled => {
                receiver.conduct(Conduct::Still);
                sleep(scale.stall).await;
                self.restart(daemon).await;
                receiver.conduct(Conduct::Healthy);
            }
            Self::AwayAndTerminated | Self::AwayAndKilled => {
                receiver.conduct(Conduct::Still);
                sleep(scale.stall).await;
                receiver.die().await;
                sleep(scale.away).await;
                self.restart(daemon).await;
                receiver.live().await;
            }
        }
    }

    async fn restart(self, daemon: &mut Daemon) {
        daemon.signal(if self.kills_pillion() { Signal::KILL } else { Signal::TERM });
        daemon.ended().await;
        daemon.start().await;
    }
}

/// How often what is quickly over happens.
const TIMES: u32 = 3;
