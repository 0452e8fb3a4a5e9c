//! Sending to a log server that acknowledges: windows under way, what their acknowledgements settle, and the record
//! that the log server can not read.

use std::future::poll_fn;
use std::io;
use std::time::Duration;

use crate::buffer::DropCause;
use crate::clock;
use crate::config::Format;
use crate::logger::complaints::Complaint;
use crate::logger::flush::Effort;
use crate::logger::flush::Setback;
use crate::logger::line::PROBE_MAX;
use crate::logger::orders::Rank;
use crate::logger::parcel::Parcel;
use crate::logger::transport::Transport;
use crate::logger::transport::beats::Event;
use crate::logger::transport::beats::unasked;
use crate::logger::worker::Shipper;
use crate::net::dial::within;

/// A window under way.
#[derive(Debug)]
pub(super) struct Window {
    pub(super) parcel: Parcel,
    /// Records in it.
    count: usize,
    /// How many of them were acknowledged.
    acknowledged: usize,
}

impl Window {
    fn is_last_of_its_chunk(&self) -> bool {
        self.parcel.pending_count() == self.count - self.acknowledged
    }
}

impl Shipper {
    /// Sends until the work is done and acknowledged; what came meanwhile may still be under way then.
    pub(super) async fn send_windows(&mut self, effort: &mut Effort, kept: bool) -> Result<(), Setback> {
        while self.has_work(effort) {
            if !self.draining && self.orders.urgent() {
                return Err(Setback::Interrupted);
            }
            if self.is_aged() {
                if self.flight.is_empty() {
                    self.hang_up().await;
                    self.connect().await?;
                }
            } else {
                self.fill(effort).await;
            }
            if self.flight.is_empty() && !self.is_writing() {
                return Ok(());
            }
            let kept = |error: io::Error| {
                let kept = kept && error.kind() != io::ErrorKind::TimedOut;
                Setback::Send { error, kept }
            };
            match self.next_event().await? {
                None | Some(Ok(Event::Written | Event::Acknowledged(0))) => {}
                Some(Ok(Event::Acknowledged(number))) => self.acknowledged(number, effort).map_err(kept)?,
                Some(Err(error)) => return Err(kept(error)),
            }
        }
        Ok(())
    }

    /// Opens as many windows as may be under way, as far as there is something to send.
    async fn fill(&mut self, effort: &mut Effort) {
        while self.has_room() && !self.is_writing() {
            if self.parcel.is_none() {
                self.parcel = self.next_parcel().await;
            }
            let Some(mut parcel) = self.parcel.take() else { return };
            // What is no JSON object would make the log server hang up: that is known beforehand.
            if parcel.pending().next().is_some_and(|record| !is_object(record)) {
                self.bury(parcel, effort, "not a JSON object");
                continue;
            }
            let objects = parcel.pending().take_while(|record| is_object(record)).count();
            let count = objects.min(self.suspicion.window_max());
            let Some(Transport::Beats(line)) = &mut self.line else { return };
            let (records, again) = parcel.open_window(count);
            line.open_window(records);
            if !again.is_zero() {
                self.report.change(|stats| stats.resent += again);
                self.tell_resent(again.records);
            }
            self.flight.push_back(Window { parcel, count, acknowledged: 0 });
        }
    }

    /// True when one more window may be opened.
    ///
    /// Behind a window that holds only a part of its chunk none is: the rest of that chunk goes first, and one such
    /// rest at a time has a place to wait.
    fn has_room(&self) -> bool {
        let most = if self.suspicion.is_searching() { 1 } else { WINDOWS_MAX };
        self.flight.len() < most && self.flight.back().is_none_or(Window::is_last_of_its_chunk)
    }

    /// Waits for the log server, or until there is more to send than is under way; then gives `None`.
    async fn next_event(&mut self) -> Result<Option<io::Result<Event>>, Setback> {
        let more_fits = !self.is_writing() && !self.is_aged() && self.has_room();
        let patience = self.patience();
        let Self { line, buffer, orders, draining, .. } = self;
        let Some(Transport::Beats(line)) = line else { return Ok(None) };
        tokio::select! {
            biased;
            event = within(patience, line.work()) => Ok(Some(event)),
            () = orders.wait(Rank::Stop), if !*draining => Err(Setback::Interrupted),
            () = async {
                poll_fn(|context| buffer.poll_waiting(context)).await;
                // One window per record would cost the log server more than the records do.
                tokio::select! {
                    () = poll_fn(|context| buffer.poll_full(context)) => {}
                    () = tokio::time::sleep(LINGER) => {}
                }
            }, if more_fits => Ok(None),
        }
    }

    /// Settles the records of the oldest window up to this number.
    fn acknowledged(&mut self, number: u32, effort: &mut Effort) -> io::Result<()> {
        let number = number as usize;
        let window = self.flight.front_mut().filter(|window| number <= window.count);
        let Some(window) = window else { return Err(unasked(u32::try_from(number).unwrap_or(u32::MAX))) };
        let fresh = number.saturating_sub(window.acknowledged);
        window.acknowledged += fresh;
        window.parcel.acknowledge(fresh);
        let (settled, ticket) = (window.parcel.settle(), window.parcel.ticket());
        if window.acknowledged == window.count
            && let Some(window) = self.flight.pop_front()
        {
            if window.parcel.is_done() {
                window.parcel.recycle(&self.buffer);
            } else {
                self.parcel = Some(window.parcel);
            }
        }
        self.suspicion.acknowledged(fresh);
        self.report.change(|stats| stats.acknowledged += settled.sent);
        self.account(effort, ticket, &settled, DropCause::DeadLetter);
        Ok(())
    }

    /// Passes over the next record of a parcel and puts it among the dead letters.
    fn bury(&mut self, mut parcel: Parcel, effort: &mut Effort, reason: &str) {
        let record = parcel.pending().next().unwrap_or_default().to_vec();
        parcel.skip_record();
        let (settled, ticket) = (parcel.settle(), parcel.ticket());
        let kept = self.dead_letters.as_ref().map(|letters| letters.keep(&record, reason, clock::wall()));
        let cause = match kept {
            Some(Ok(())) => DropCause::DeadLetter,
            Some(Err(error)) => {
                self.complain(Complaint::Buried, 1, &io::Error::other(error));
                DropCause::Refused
            }
            None => DropCause::Refused,
        };
        if !parcel.is_done() {
            self.parcel = Some(parcel);
        }
        self.account(effort, ticket, &settled, cause);
    }

    /// Asks a log server that has hung up on a record whether it is there before it gets the record again.
    pub(super) async fn probe(&mut self) -> Result<(), Setback> {
        if !self.suspicion.is_searching() {
            return Ok(());
        }
        let Some(Transport::Beats(line)) = &mut self.line else { return Ok(()) };
        line.open_window([]);
        let answer = within(PROBE_MAX, async {
            while line.work().await? == Event::Written {}
            Ok(())
        });
        match answer.await {
            Err(error) if error.kind() != io::ErrorKind::TimedOut => {
                Err(Setback::Send { error, kept: false })
            }
            Ok(()) => {
                // It lives, and hangs up on a record: pauses that grow would only hold up all others.
                self.failures = 0;
                Ok(())
            }
            Err(_) => Ok(()),
        }
    }

    /// The connection has ended with this error: was it for a record?
    pub(super) fn suspect(&mut self, error: &io::Error) {
        // Who is silent for too long, or talks nonsense, has not hung up.
        let hung_up = matches!(
            error.kind(),
            io::ErrorKind::UnexpectedEof
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::BrokenPipe
        );
        let Some(window) = self.flight.front().filter(|_| hung_up) else { return };
        if self.suspicion.hung_up(window.count - window.acknowledged)
            && let Some(window) = self.flight.pop_front()
        {
            let mut effort = Effort::none();
            self.bury(window.parcel, &mut effort, "the log server hung up on it, again and again");
        }
    }

    /// Waits until nothing is under way, at most this long.
    pub(super) async fn await_acknowledgements(&mut self, most: Duration) {
        let mut effort = Effort::none();
        let waited = tokio::time::timeout(most, async {
            while !self.flight.is_empty() {
                let Some(Transport::Beats(line)) = &mut self.line else { return };
                match line.work().await {
                    Ok(Event::Written | Event::Acknowledged(0)) => {}
                    Ok(Event::Acknowledged(number)) if self.acknowledged(number, &mut effort).is_ok() => {}
                    Ok(Event::Acknowledged(_)) | Err(_) => return,
                }
            }
        });
        // What is not acknowledged by now is sent again on the next connection.
        waited.await.unwrap_or_default();
    }

    fn is_writing(&self) -> bool {
        matches!(&self.line, Some(Transport::Beats(line)) if line.is_writing())
    }

    /// How long the log server may be silent.
    fn patience(&self) -> Duration {
        match &self.settings.format {
            Format::Beats(beats) => beats.ack_timeout,
            Format::Ndjson | Format::Syslog(_) => self.settings.timeout,
        }
    }
}

/// The quick look that tells records from other bytes; what it can not see, the log server finds.
fn is_object(record: &[u8]) -> bool {
    let record = record.trim_ascii();
    record.starts_with(b"{") && record.ends_with(b"}")
}

/// Windows under way at once: with one chunk each, half a MiB, more than a network of a millisecond can hold.
const WINDOWS_MAX: usize = 8;

/// How long records may gather for the next window while others are under way.
const LINGER: Duration = Duration::from_millis(1);
