//! How often clients may connect, log in, join and publish: `limits.connect_rate` and its relatives.
//!
//! The past of each address and user is kept over a reload, and new rates count at once. What happens at a limit is said
//! by whoever asks: connects are answered with 429, logins end with [`CloseReason::TooManyRequests`], joins and
//! publishes get an error.
//!
//! [`CloseReason::TooManyRequests`]: crate::gateway::CloseReason::TooManyRequests

use std::net::IpAddr;
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::Duration;

use crate::config::Limits;
use crate::limiter::Table;
use crate::metrics::ByReason;
use crate::metrics::Metrics;
use crate::units::Rate;

/// The rates in force; `None`: no limit.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rates {
    connect: Option<Rate>,
    login: Option<Rate>,
    join: Option<Rate>,
    publish: Option<Rate>,
}

impl Rates {
    /// The rates of a configuration.
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            connect: limits.connect_rate,
            login: limits.connect_rate_user,
            join: limits.join_rate,
            publish: limits.publish_rate,
        }
    }
}

/// What a session does that has a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// Its login was accepted.
    Login,
    /// It asks to enter a room.
    Join,
    /// It publishes.
    Publish,
}

/// Who was how often here.
#[derive(Debug)]
pub(super) struct Throttle {
    connects: Table,
    logins: Table,
    joins: Table,
    publishes: Table,
    metrics: Arc<Metrics>,
}

impl Throttle {
    /// Nobody was here yet.
    pub(super) fn new(metrics: &Arc<Metrics>) -> Self {
        Self {
            connects: Table::new(),
            logins: Table::new(),
            joins: Table::new(),
            publishes: Table::new(),
            metrics: Arc::clone(metrics),
        }
    }

    /// May this address connect now? If not, when it may.
    pub(super) fn connect(
        &self,
        rates: &Rates,
        address: Option<IpAddr>,
        now: Duration,
    ) -> Result<(), Duration> {
        let (Some(rate), Some(address)) = (rates.connect, address) else { return Ok(()) };
        self.counted("connect", self.connects.check(&neighbourhood(address), rate, now))
    }

    /// May this user, or this session without a user, do this now? If not, when.
    fn act(
        &self,
        rates: &Rates,
        act: Act,
        (user, session): (&str, &str),
        now: Duration,
    ) -> Result<(), Duration> {
        let (rate, table, name) = match act {
            Act::Login => (rates.login, &self.logins, "connect_user"),
            Act::Join => (rates.join, &self.joins, "join"),
            Act::Publish => (rates.publish, &self.publishes, "publish"),
        };
        let Some(rate) = rate else { return Ok(()) };
        let is_anonymous = user.is_empty();
        if is_anonymous && act == Act::Login {
            return Ok(());
        }
        let name_or_session = if is_anonymous { session } else { user };
        // A user who is called like a session is not that session.
        self.counted(name, table.check(&(is_anonymous, name_or_session), rate, now))
    }

    fn counted(&self, reason: &'static str, outcome: Result<(), Duration>) -> Result<(), Duration> {
        if outcome.is_err() {
            self.metrics.limits_refused.get_or_create(&ByReason { reason }).inc();
        }
        outcome
    }
}

/// Whoever has an IPv6 address usually has 2^64 of them.
fn neighbourhood(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(address) => {
            let network = u128::from(address) & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from(network))
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// The throttle as one step of a session sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace<'a> {
    /// Who was how often here.
    pub(super) throttle: &'a Throttle,
    /// The rates in force.
    pub(super) rates: &'a Rates,
    /// The time, on the gateway's clock.
    pub(super) now: Duration,
}

impl Pace<'_> {
    /// May this user, or this session without a user, do this now? If not, when.
    pub(super) fn check(&self, act: Act, user: &str, session: &str) -> Result<(), Duration> {
        self.throttle.act(self.rates, act, (user, session), self.now)
    }
}

/// A wait in whole seconds, at least one, as clients are told.
pub(super) fn seconds(wait: Duration) -> u64 {
    u64::try_from(wait.as_millis().div_ceil(1000)).unwrap_or(u64::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::rate;

    const NOW: Duration = Duration::from_secs(9);

    fn rates() -> Rates {
        let rate = Some(rate("1/s").unwrap());
        Rates { connect: rate, login: rate, join: rate, publish: rate }
    }

    #[test]
    fn addresses_are_counted_apart_and_networks_of_one_client_together() {
        let throttle = Throttle::new(&Arc::new(Metrics::new()));
        let connect = |address: &str| throttle.connect(&rates(), Some(address.parse().unwrap()), NOW);
        assert_eq!(connect("192.0.2.7"), Ok(()));
        assert_eq!(connect("192.0.2.8"), Ok(()));
        assert_eq!(connect("192.0.2.7"), Err(Duration::from_secs(1)));
        assert_eq!(connect("2001:db8:1:2::3"), Ok(()));
        assert!(connect("2001:db8:1:2:ffff::4").is_err());
        assert_eq!(connect("2001:db8:1:3::3"), Ok(()));
        assert_eq!(
            [throttle.connect(&rates(), None, NOW); 2],
            [Ok(()); 2],
            "whom nobody names is not counted"
        );
        let free = Rates::default();
        let address = Some("192.0.2.7".parse().unwrap());
        assert_eq!([throttle.connect(&free, address, NOW); 2], [Ok(()); 2]);
        assert!(throttle.metrics.render().contains("pillion_limits_refused_total{reason=\"connect\"} 2"));
    }

    #[test]
    fn users_are_counted_over_their_sessions_and_the_anonymous_one_by_one() {
        let (throttle, rates) = (Throttle::new(&Arc::new(Metrics::new())), rates());
        let pace = Pace { throttle: &throttle, rates: &rates, now: NOW };
        assert_eq!(pace.check(Act::Publish, "u1", "s1"), Ok(()));
        assert!(pace.check(Act::Publish, "u1", "s2").is_err());
        assert_eq!(pace.check(Act::Join, "u1", "s1"), Ok(()), "each act has its own count");
        assert_eq!(pace.check(Act::Publish, "", "s3"), Ok(()));
        assert!(pace.check(Act::Publish, "", "s3").is_err());
        assert_eq!(pace.check(Act::Publish, "", "s4"), Ok(()));
        assert_eq!(pace.check(Act::Publish, "s4", "s5"), Ok(()));
        assert_eq!([pace.check(Act::Login, "", "s1"); 2], [Ok(()); 2], "nobody is no user");
        assert_eq!(pace.check(Act::Login, "u1", "s1"), Ok(()));
        assert!(pace.check(Act::Login, "u1", "s2").is_err());
    }

    #[test]
    fn waits_are_told_in_whole_seconds() {
        assert_eq!([0, 1, 1000, 1001].map(|ms| seconds(Duration::from_millis(ms))), [1, 1, 1, 2]);
    }
}
