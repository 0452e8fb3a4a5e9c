//! What the gateway goes by; replaced as a whole when the configuration is read again.

use std::sync::Arc;
use std::time::Duration;

use crate::config::Carrier;
use crate::config::Config;
use crate::config::Dialect;
use crate::config::Namespace;
use crate::config::Route;
use crate::gateway::Error;
use crate::gateway::Means;
use crate::gateway::auth::Auth;
use crate::gateway::pulse::Rhythm;
use crate::gateway::rules::Rules;
use crate::gateway::throttle::Rates;

/// How long a client of goim and its relatives may be silent, as their servers have it: it sends the heartbeats.
const GOIM_SILENCE: Duration = Duration::from_secs(480);
const ORIM_SILENCE: Duration = Duration::from_secs(60);
const GOLANG_IM_SILENCE: Duration = Duration::from_secs(120);

/// The original push gateway gives a client up after 60 s of silence: 1.5 times this interval.
const PUSH_INTERVAL: Duration = Duration::from_secs(40);

/// A client that can say nothing is not given up for its silence: that it has gone shows at its connection.
const FOREVER: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// The settings in force. Sessions take their times and limits when they begin, rules and logins as they are.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) rules: Rules,
    pub(super) rates: Rates,
    pub(super) auth: Arc<Auth>,
    pub(super) routes: Vec<Route>,
    pub(super) origins: Vec<String>,
    pub(super) frame_max: usize,
    pub(super) queue_max: usize,
    pub(super) sessions_per_user: usize,
    pub(super) inbox_size: usize,
    pub(super) inbox_ttl: Duration,
    interval: Duration,
    patience: Duration,
    login: Duration,
}

impl Settings {
    /// The settings of a configuration.
    ///
    /// `former` are those in force until now: logins that are checked as before keep what they know, such as answers,
    /// keys, and whether the business API is away.
    pub(super) fn new(config: &Config, means: &Means, former: Option<&Self>) -> Result<Self, Error> {
        let (gateway, limits) = (&config.gateway, &config.limits);
        Ok(Self {
            rules: Rules::new(
                &gateway.namespaces,
                limits.room_name,
                limits.rooms_per_session,
                config.auth.insecure,
            ),
            rates: Rates::new(limits),
            auth: match former.filter(|former| former.auth.is_of(&config.auth)) {
                Some(former) => Arc::clone(&former.auth),
                None => Arc::new(Auth::new(&config.auth, &means.metrics, &means.tasks)?),
            },
            routes: gateway.routes.clone(),
            origins: gateway.allowed_origins.clone(),
            frame_max: limits.frame,
            queue_max: gateway.client_queue,
            sessions_per_user: limits.sessions_per_user,
            inbox_size: gateway.inbox_size,
            inbox_ttl: gateway.inbox_ttl,
            interval: gateway.ping_interval,
            patience: gateway.pong_timeout,
            login: gateway.login_timeout,
        })
    }

    /// The same settings with other rules of rooms.
    pub(super) fn with_namespaces(&self, namespaces: &[Namespace]) -> Self {
        Self { rules: self.rules.with_namespaces(namespaces), ..self.clone() }
    }

    /// The heartbeat of sessions on a route: a dead peer is noticed within 1.5 intervals.
    pub(super) fn rhythm(&self, route: &Route) -> Rhythm {
        let usual = match route.dialect {
            Dialect::Centrifuge => self.interval,
            Dialect::OpenrestyPush => PUSH_INTERVAL,
            Dialect::Goim => GOIM_SILENCE,
            Dialect::Orim => ORIM_SILENCE,
            Dialect::GolangIm => GOLANG_IM_SILENCE,
        };
        let interval = route.ping_interval.unwrap_or(usual);
        let patience = match route.dialect {
            Dialect::Centrifuge if matches!(route.carrier, Carrier::UniSse | Carrier::UniHttpStream) => {
                FOREVER
            }
            Dialect::Centrifuge => self.patience.min(interval / 2),
            Dialect::OpenrestyPush | Dialect::Goim | Dialect::Orim | Dialect::GolangIm => interval / 2,
        };
        let pings = matches!(route.dialect, Dialect::Centrifuge | Dialect::OpenrestyPush);
        Rhythm { interval, patience, login: self.login, pings }
    }
}
