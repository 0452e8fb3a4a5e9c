//! One flush: tries with pauses between them, until everything that was queued at its start is through.

use std::io;
use std::time::Duration;

use crate::buffer::DropCause;
use crate::buffer::Outcome;
use crate::clock;
use crate::logger::FlushError;
use crate::logger::backlog::Ticket;
use crate::logger::complaints::Complaint;
use crate::logger::orders::Rank;
use crate::logger::parcel::Parcel;
use crate::logger::parcel::Settled;
use crate::logger::tail::Ending;
use crate::logger::transport::Transport;
use crate::logger::worker::Shipper;
use crate::logger::worker::describe;

/// How a flush ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Everything that was queued at the start is through.
    Done,
    /// A stop or a reload goes first; the flush is asked for again.
    Interrupted,
    /// The last retry failed; nothing was discarded.
    Failed,
}

/// What a flush has done and has yet to do.
pub(super) struct Effort {
    pub(super) left: u64,
    sent: u64,
    retries: u32,
}

impl Effort {
    /// For what happens outside of a flush.
    pub(super) fn none() -> Self {
        Self { left: 0, sent: 0, retries: 0 }
    }
}

/// Why a try ended early.
pub(super) enum Setback {
    Interrupted,
    Connect(io::Error),
    Send { error: io::Error, kept: bool },
}

impl Shipper {
    /// Sends what is queued now; records that come meanwhile may ride along.
    pub(super) async fn flush(&mut self) -> End {
        let waiting = self.orders.take_waiting();
        let mut effort = Effort { left: self.backlog.begin_flush(), sent: 0, retries: 0 };
        let had_work = self.has_work(&effort);
        let start = clock::now();
        let failure = loop {
            match self.attempt(&mut effort).await {
                Ok(()) => break None,
                Err(Setback::Interrupted) => {
                    self.orders.put_back(waiting);
                    return End::Interrupted;
                }
                Err(Setback::Send { error, kept: true }) => {
                    // The connection had died since the last flush. That costs no try.
                    self.suspect(&error);
                    self.lose_line(Ending::of(&error));
                    self.complain(Complaint::Closed, 1, &error);
                    self.spare_the_server().await;
                }
                Err(setback) => {
                    if let Some(text) = self.set_back(&setback, &mut effort) {
                        break Some(text);
                    }
                    if matches!(setback, Setback::Connect(_)) {
                        self.secure_doubt(false).await;
                    }
                    self.pause(Rank::Urgent).await;
                }
            }
        };
        let answer = match &failure {
            None => Ok(effort.sent),
            Some(text) => Err(FlushError::Failed(text.clone())),
        };
        for sender in waiting {
            // Whoever asked may have gone.
            sender.send(answer.clone()).ok();
        }
        match failure {
            None if had_work => self.note_success(clock::now() - start),
            None => {}
            Some(text) => self.note_failure(text).await,
        }
        if answer.is_ok() { End::Done } else { End::Failed }
    }

    /// One try: connects if need be and sends until the work is done.
    async fn attempt(&mut self, effort: &mut Effort) -> Result<(), Setback> {
        if !self.has_work(effort) {
            return Ok(());
        }
        self.renew().await;
        let kept = self.line.is_some();
        if !kept {
            self.connect().await?;
        }
        if matches!(self.line, Some(Transport::Beats(_))) {
            return self.send_windows(effort, kept).await;
        }
        while self.has_work(effort) {
            if !self.draining && self.orders.urgent() {
                return Err(Setback::Interrupted);
            }
            if self.parcel.is_none() {
                self.parcel = self.next_parcel().await;
            }
            let (Some(line), Some(parcel)) = (&mut self.line, &mut self.parcel) else { return Ok(()) };
            parcel.frame(&self.settings.framing);
            let stream = line.is_plain_stream();
            let send = line.send(parcel, self.settings.timeout);
            let result = if self.draining {
                send.await
            } else {
                // A send that is interrupted goes on where it was: on this connection, or else from the start of
                // the record. A reload does not interrupt it, so that the old server gets whole lines.
                tokio::select! {
                    biased;
                    result = send => result,
                    () = self.orders.wait(Rank::Stop) => return Err(Setback::Interrupted),
                }
            };
            self.settle(effort);
            result.map_err(|error| {
                let kept = kept && stream && error.kind() != io::ErrorKind::TimedOut;
                Setback::Send { error, kept }
            })?;
            if self.is_aged() && self.parcel.is_none() {
                self.hang_up().await;
                self.connect().await?;
            }
        }
        Ok(())
    }

    /// The next parcel: what is to be sent again, or else what waits.
    pub(super) async fn next_parcel(&mut self) -> Option<Parcel> {
        let now = clock::now();
        if let Some(parcel) = self.tail.next(now) {
            return Some(parcel);
        }
        let (chunk, ticket) = self.backlog.next().await?;
        Some(Parcel::new(chunk, ticket, now))
    }

    /// True while something is to be sent, for the first time or again.
    pub(super) fn has_work(&self, effort: &Effort) -> bool {
        effort.left > 0 || self.tail.owes() || self.parcel.as_ref().is_some_and(Parcel::repeats)
    }

    /// Counts what is through.
    fn settle(&mut self, effort: &mut Effort) {
        let Some(parcel) = &mut self.parcel else { return };
        let (settled, ticket) = (parcel.settle(), parcel.ticket());
        if parcel.is_done()
            && let Some(parcel) = self.parcel.take()
        {
            let Self { buffer, tail, .. } = self;
            tail.keep(parcel, clock::now(), &mut |parcel| parcel.recycle(buffer));
        }
        if !settled.resent.is_zero() {
            self.report.change(|stats| stats.resent += settled.resent);
            self.tell_resent(settled.resent.records);
        }
        self.account(effort, ticket, &settled, DropCause::Datagram);
    }

    /// Counts records that are through for the first time, and those that were passed over for a cause.
    pub(super) fn account(
        &mut self,
        effort: &mut Effort,
        ticket: Ticket,
        settled: &Settled,
        skipped_for: DropCause,
    ) {
        self.backlog.release(ticket, Outcome::Sent, settled.sent);
        self.backlog.release(ticket, Outcome::Dropped(skipped_for), settled.skipped);
        self.settle_doubt();
        effort.sent += settled.sent.bytes;
        effort.left = effort.left.saturating_sub(settled.sent.bytes + settled.skipped.bytes);
        if !settled.sent.is_zero() || !settled.skipped.is_zero() {
            (self.on_room)();
        }
    }

    /// Notes a failed try; the text of the failed flush if it was the last one.
    fn set_back(&mut self, setback: &Setback, effort: &mut Effort) -> Option<String> {
        match setback {
            Setback::Send { error, .. } => {
                self.targets.demote(self.current, clock::now());
                self.suspect(error);
                self.lose_line(Ending::of(error));
            }
            Setback::Interrupted | Setback::Connect(_) => self.lose_line(Ending::Ours),
        }
        self.failures = self.failures.saturating_add(1);
        let retries = effort.retries;
        let (complaint, error, text) = match setback {
            Setback::Interrupted => return None,
            // Each target that could not be reached was complained about by itself.
            Setback::Connect(error) => (None, error, connect_failed(retries, error)),
            Setback::Send { error, .. } => (Some(Complaint::Broken), error, describe(error)),
        };
        self.report.change(|stats| stats.last_error = Some(describe(error)));
        if let Some(complaint) = complaint {
            self.complain(complaint, 1, error);
        }
        self.tell_drops();
        if self.settings.retries_max.is_some_and(|max| retries >= max) {
            return Some(format!(
                "try to send log messages to the log server failed after {retries} retries: {text}"
            ));
        }
        effort.retries += 1;
        self.report.change(|stats| stats.retries += 1);
        None
    }

    fn note_success(&mut self, time: Duration) {
        self.report.flush_times.observe(time.as_secs_f64());
        self.targets.restore(self.current);
        self.report.change(|stats| stats.flushes += 1);
        self.flushes_carried = self.flushes_carried.saturating_add(1);
        if self.failures > 0 && self.flushes_carried == 1 {
            self.tell_recovery();
        }
        if self.proven() {
            self.failures = 0;
        }
    }

    /// Rests after a flush that failed, so that triggers that come at once do not make it spin.
    async fn note_failure(&mut self, text: String) {
        self.report.change(|stats| stats.flushes_failed += 1);
        self.report.leave_error(text);
        if !self.draining {
            self.pause(Rank::Awaited).await;
        }
    }
}

fn connect_failed(retries: u32, error: &io::Error) -> String {
    format!("try to connect to the log server failed after {retries} retries: {}", describe(error))
}
