//! The heartbeat of one session: when to ping, and when a silent peer is given up. No I/O, no clock.
//!
//! Times are on the gateway's clock: the time since it started. A peer is pinged when the interval has passed
//! since the last ping, whatever else it sends, because clients time the server's pings too. It is given up when
//! it has not been heard for `patience` after a ping: with `patience` below half the interval, within 1.5
//! intervals after its last sign of life.

use std::time::Duration;

/// What a session's heartbeat asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beat {
    /// Nothing before this time.
    WaitUntil(Duration),
    /// Send a ping; look again at this time.
    Ping(Duration),
    /// The login did not come in time.
    LoginTimeout,
    /// The peer is silent.
    Dead,
    /// The token has expired.
    Expired,
}

/// What the heartbeat needs to know of a session at the moment it looks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Signs {
    /// True after the login.
    pub(super) logged_in: bool,
    /// When the peer was last heard.
    pub(super) heard: Duration,
    /// When the token expires.
    pub(super) expires: Option<Duration>,
}

/// The times that a heartbeat goes by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rhythm {
    /// Between two pings.
    pub(super) interval: Duration,
    /// From a ping to a sign of life.
    pub(super) patience: Duration,
    /// From the start to the login.
    pub(super) login: Duration,
    /// False when the client sends the heartbeats: it is given up when it was silent for `interval`.
    pub(super) pings: bool,
}

/// The heartbeat of one session.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pulse {
    started: Duration,
    pinged: Option<Duration>,
    next_ping: Duration,
}

impl Pulse {
    /// The heartbeat of a session that starts at `now`.
    pub(super) fn new(now: Duration, rhythm: &Rhythm) -> Self {
        Self { started: now, pinged: None, next_ping: now + rhythm.interval }
    }

    /// Looks at the session at `now`.
    pub(super) fn beat(&mut self, now: Duration, signs: &Signs, rhythm: &Rhythm) -> Beat {
        if !signs.logged_in {
            let deadline = self.started + rhythm.login;
            return if now >= deadline { Beat::LoginTimeout } else { Beat::WaitUntil(deadline) };
        }
        if signs.expires.is_some_and(|expires| now >= expires) {
            return Beat::Expired;
        }
        if !rhythm.pings {
            let silent_until = signs.heard + rhythm.interval;
            let next = signs.expires.map_or(silent_until, |expires| expires.min(silent_until));
            return if now >= silent_until { Beat::Dead } else { Beat::WaitUntil(next) };
        }
        if self.pinged.is_some_and(|pinged| signs.heard >= pinged) {
            self.pinged = None;
        }
        if self.pinged.is_some_and(|pinged| now >= pinged + rhythm.patience) {
            return Beat::Dead;
        }
        let pings = now >= self.next_ping;
        if pings {
            self.pinged = Some(self.pinged.unwrap_or(now));
            self.next_ping = now + rhythm.interval;
        }
        let next = self.next_look(signs, rhythm);
        if pings { Beat::Ping(next) } else { Beat::WaitUntil(next) }
    }

    fn next_look(&self, signs: &Signs, rhythm: &Rhythm) -> Duration {
        let given_up = self.pinged.map(|pinged| pinged + rhythm.patience);
        let looks = [given_up, signs.expires].into_iter().flatten();
        looks.fold(self.next_ping, Duration::min)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RHYTHM: Rhythm = Rhythm { interval: s(25), patience: s(8), login: s(10), pings: true };

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn signs(heard: u64) -> Signs {
        Signs { logged_in: true, heard: s(heard), expires: None }
    }

    #[test]
    fn a_session_without_login_ends_in_time() {
        let mut pulse = Pulse::new(s(100), &RHYTHM);
        let waiting = Signs { logged_in: false, heard: s(109), expires: None };
        assert_eq!(pulse.beat(s(105), &waiting, &RHYTHM), Beat::WaitUntil(s(110)));
        assert_eq!(pulse.beat(s(110), &waiting, &RHYTHM), Beat::LoginTimeout);
    }

    #[test]
    fn a_live_peer_is_pinged_at_every_interval() {
        let mut pulse = Pulse::new(s(0), &RHYTHM);
        assert_eq!(pulse.beat(s(0), &signs(0), &RHYTHM), Beat::WaitUntil(s(25)));
        assert_eq!(pulse.beat(s(25), &signs(0), &RHYTHM), Beat::Ping(s(33)));
        assert_eq!(pulse.beat(s(33), &signs(26), &RHYTHM), Beat::WaitUntil(s(50)));
        assert_eq!(pulse.beat(s(50), &signs(49), &RHYTHM), Beat::Ping(s(58)));
    }

    #[test]
    fn a_dead_peer_is_noticed_within_one_and_a_half_intervals() {
        let mut pulse = Pulse::new(s(0), &RHYTHM);
        pulse.beat(s(0), &signs(0), &RHYTHM);
        pulse.beat(s(25), &signs(0), &RHYTHM);
        assert_eq!(pulse.beat(s(32), &signs(0), &RHYTHM), Beat::WaitUntil(s(33)));
        assert_eq!(pulse.beat(s(33), &signs(0), &RHYTHM), Beat::Dead);
    }

    #[test]
    fn a_client_that_sends_the_heartbeats_may_be_silent_for_an_interval() {
        let rhythm = Rhythm { pings: false, ..RHYTHM };
        let mut pulse = Pulse::new(s(0), &rhythm);
        assert_eq!(pulse.beat(s(20), &signs(10), &rhythm), Beat::WaitUntil(s(35)));
        assert_eq!(pulse.beat(s(35), &signs(30), &rhythm), Beat::WaitUntil(s(55)));
        assert_eq!(pulse.beat(s(55), &signs(30), &rhythm), Beat::Dead);
    }

    #[test]
    fn an_expired_token_ends_the_session_at_its_time() {
        let mut pulse = Pulse::new(s(0), &RHYTHM);
        let signs = Signs { logged_in: true, heard: s(0), expires: Some(s(7)) };
        assert_eq!(pulse.beat(s(0), &signs, &RHYTHM), Beat::WaitUntil(s(7)));
        assert_eq!(pulse.beat(s(7), &signs, &RHYTHM), Beat::Expired);
    }
}
