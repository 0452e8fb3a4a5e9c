//! The connection of the shipper: making it, renewing it, and what its end means.

use std::io;
use std::time::Duration;
use std::time::Instant;

use futures_util::FutureExt as _;

use crate::clock;
use crate::logger::complaints::Complaint;
use crate::logger::flush::Setback;
use crate::logger::orders::Rank;
use crate::logger::parcel::Parcel;
use crate::logger::tail::Ending;
use crate::logger::transport::Transport;
use crate::logger::worker::Shipper;
use crate::logger::worker::random;

impl Shipper {
    /// Connects to the first target that can be reached.
    pub(super) async fn connect(&mut self) -> Result<(), Setback> {
        let mut last = None;
        for index in self.targets.sequence(clock::now(), random()) {
            let Some(destination) = self.settings.destinations.get(index) else { continue };
            let connect = Transport::connect(destination, &self.settings.format, self.settings.timeout);
            let line = if self.draining {
                connect.await
            } else {
                tokio::select! {
                    biased;
                    () = self.orders.wait(Rank::Urgent) => return Err(Setback::Interrupted),
                    line = connect => line,
                }
            };
            self.current = index;
            match line {
                Ok(line) => {
                    self.begin(line);
                    return self.probe().await;
                }
                Err(error) => {
                    self.targets.demote(index, clock::now());
                    self.complain(Complaint::Unreachable, 1, &error);
                    last = Some(error);
                }
            }
        }
        Err(Setback::Connect(last.unwrap_or_else(|| io::ErrorKind::NotFound.into())))
    }

    fn begin(&mut self, line: Transport) {
        self.tail.begin(line.is_plain_stream());
        let stream = !matches!(line, Transport::Datagram(_));
        self.line = Some(line);
        self.flushes_carried = 0;
        // Scattered, so that the connections of many nodes do not end together.
        let age = self.settings.max_connection_age.map(|age| age.mul_f64(1.0 - AGE_SCATTER * random()));
        let patience = self.targets.patience(self.current);
        let most = [age, patience].into_iter().flatten().min().filter(|_| stream);
        self.renew_at = most.map(|most| clock::now() + most);
        self.report.change(|stats| {
            stats.reconnects += u64::from(stats.connects > 0);
            stats.connects += 1;
            stats.connected = true;
        });
    }

    /// True when the connection is to be replaced as soon as nothing is on its way.
    pub(super) fn is_aged(&self) -> bool {
        self.line.is_some() && self.renew_at.is_some_and(|at| clock::now() >= at)
    }

    /// Ends the connection if it is to be replaced and nothing is on its way.
    pub(super) async fn renew(&mut self) {
        if self.is_aged() && self.parcel.is_none() && self.flight.is_empty() {
            self.hang_up().await;
        }
    }

    /// Ends the connection in good order; true if it had ended before and left something to send again.
    pub(super) async fn hang_up(&mut self) -> bool {
        self.await_acknowledgements(self.settings.timeout).await;
        let ending = match self.line.take() {
            None => Ending::Ours,
            Some(mut line) => match line.closed().now_or_never() {
                Some(error) => Ending::of(&error),
                None => {
                    line.close(self.settings.timeout).await.map_or_else(|e| Ending::of(&e), |()| Ending::Ours)
                }
            },
        };
        self.lose_line(ending);
        self.note_doubt();
        self.tail.owes()
    }

    /// The connection is gone; what it cut, left in doubt or did not acknowledge starts again.
    pub(super) fn lose_line(&mut self, ending: Ending) {
        let ended = self.line.take().is_some();
        self.renew_at = None;
        let Self { buffer, tail, parcel, flight, .. } = self;
        let freed = &mut |parcel: Parcel| parcel.recycle(buffer);
        if flight.is_empty() {
            tail.end(parcel.take(), ending, clock::now(), freed);
        } else {
            tail.put_back(flight.drain(..).map(|window| window.parcel).chain(parcel.take()), freed);
        }
        if ended {
            self.note_doubt();
        }
        self.report.change(|stats| stats.connected = false);
    }
}

/// The part of its age by which a connection may be replaced early.
const AGE_SCATTER: f64 = 0.1;

/// Resolves when the connection is to be replaced.
pub(super) async fn aged(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

/// The longest wait for the answer to a probe; a log server that does not know probes answers nothing.
pub(super) const PROBE_MAX: Duration = Duration::from_secs(5);
