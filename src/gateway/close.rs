//! Every reason that a session ends, its close code in each dialect, and its name in log and metrics.

use std::borrow::Cow;
use std::sync::Arc;

use crate::config::Dialect;
use crate::wire::goim;
use crate::wire::orim;

/// Why a session ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The client said goodbye.
    ClientClosed,
    /// The connection broke, or ended without a goodbye.
    PeerGone,
    /// The client broke the websocket protocol.
    ProtocolError(String),
    /// A frame or message was longer than the limit.
    TooLong {
        /// The limit in bytes.
        limit: usize,
    },
    /// A text frame was not UTF-8.
    NotUtf8,
    /// A frame broke the rules of its dialect.
    BadRequest(String),
    /// A packet of goim or a relative is not what its length or header says.
    BadPacket(goim::Fault),
    /// No login within the time allowed.
    LoginTimeout,
    /// The login brought no token.
    TokenMissing,
    /// The token was not accepted.
    TokenInvalid(String),
    /// The business API refused the token, in its own words.
    Refused(String),
    /// The business API could not be asked.
    AuthUnavailable(String),
    /// The business API answered something that makes no sense.
    AuthNonsense(String),
    /// The business API named no user.
    NoUser,
    /// The token expired and was not renewed.
    Expired,
    /// The peer gave no sign of life.
    HeartbeatTimeout,
    /// The client reads too slowly: its queue is full.
    Slow {
        /// The limit in bytes.
        limit: usize,
    },
    /// Messages take too much memory in the whole process, and this client is among the slowest.
    MemoryShort {
        /// The bytes that waited for it.
        waiting: usize,
    },
    /// A session with the same device key has logged in.
    Replaced,
    /// The user has logged in too often: the oldest session goes.
    TooManySessions {
        /// The limit.
        max: usize,
    },
    /// There are too many rooms, or one of the login's has too much to do.
    NoRoom,
    /// The user is on the list of bans.
    Banned {
        /// What the user is told.
        reason: String,
    },
    /// An operator or a backend ended it.
    Kicked {
        /// The close code; none leaves the choice to the dialect.
        code: Option<u16>,
        /// The words for the client.
        reason: Arc<str>,
    },
    /// The user logs in more often than the limit allows.
    TooManyRequests {
        /// Seconds until a login may succeed.
        retry_after: u64,
    },
    /// The daemon is stopping.
    Shutdown,
}

impl CloseReason {
    /// The name in log and metrics.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::ClientClosed => "client_closed",
            Self::PeerGone => "peer_gone",
            Self::ProtocolError(_) => "protocol_error",
            Self::TooLong { .. } => "too_long",
            Self::NotUtf8 => "not_utf8",
            Self::BadRequest(_) => "bad_request",
            Self::BadPacket(fault) => fault.name(),
            Self::LoginTimeout => "login_timeout",
            Self::TokenMissing => "token_missing",
            Self::TokenInvalid(_) => "token_invalid",
            Self::Refused(_) => "refused",
            Self::AuthUnavailable(_) => "auth_unavailable",
            Self::AuthNonsense(_) => "auth_nonsense",
            Self::NoUser => "no_user",
            Self::Expired => "expired",
            Self::HeartbeatTimeout => "heartbeat_timeout",
            Self::Slow { .. } => "slow",
            Self::MemoryShort { .. } => "memory_short",
            Self::Replaced => "replaced",
            Self::TooManySessions { .. } => "too_many_sessions",
            Self::NoRoom => "no_room",
            Self::Banned { .. } => "banned",
            Self::Kicked { .. } => "kicked",
            Self::TooManyRequests { .. } => "too_many_requests",
            Self::Shutdown => "shutdown",
        }
    }

    /// The close code that the client gets.
    ///
    /// Centrifuge: 3000 to 3499 tell the client to come back, 3500 and above to stay away. The push gateway has
    /// four codes of its own; where they do not apply, the codes of RFC 6455 do, as for goim and its relatives.
    #[must_use]
    pub fn code(&self, dialect: Dialect) -> u16 {
        let (centrifuge, push) = match self {
            Self::ClientClosed => (1000, 1000),
            Self::PeerGone => (1006, 1006),
            Self::ProtocolError(_) => (1002, 1002),
            Self::TooLong { .. } => (1009, 1009),
            Self::NotUtf8 => (1007, 1007),
            Self::BadRequest(_) => (3501, 1003),
            Self::BadPacket(_) => (3501, 1002),
            Self::LoginTimeout => (3502, 4000),
            Self::TokenMissing => (3500, 4001),
            Self::TokenInvalid(_) | Self::Refused(_) => (3500, 4008),
            Self::AuthUnavailable(_) => (3004, 4006),
            Self::AuthNonsense(_) | Self::NoUser => (3004, 4008),
            Self::Expired => (3005, 4008),
            Self::HeartbeatTimeout => (3012, 4000),
            Self::Slow { .. } => (3008, 1013),
            Self::MemoryShort { .. } => (3008, 1013),
            Self::Replaced | Self::TooManySessions { .. } => (3504, 4002),
            Self::NoRoom => (3013, 1013),
            Self::Banned { .. } => (3507, 1008),
            Self::Kicked { code: Some(code), .. } => (*code, *code),
            Self::Kicked { code: None, .. } => (3503, 1008),
            Self::TooManyRequests { .. } => (3013, 1013),
            Self::Shutdown => (3001, 1012),
        };
        match dialect {
            Dialect::Centrifuge => centrifuge,
            Dialect::OpenrestyPush => push,
            Dialect::Goim | Dialect::Orim | Dialect::GolangIm => match push {
                // The originals end a login that fails, or a silent client, with the code of a normal end.
                4000..=4999 if !matches!(self, Self::Kicked { .. }) => 1000,
                code => code,
            },
        }
    }

    /// The words that the client gets beside the code.
    #[must_use]
    pub fn text(&self, dialect: Dialect) -> Cow<'static, str> {
        match (self, dialect) {
            (Self::TokenMissing, Dialect::OpenrestyPush) => "token is nil.".into(),
            (Self::AuthUnavailable(_), Dialect::OpenrestyPush) => "http server connected failed.".into(),
            (Self::AuthNonsense(_), Dialect::OpenrestyPush) => "http service return invalid nil.".into(),
            (Self::NoUser, Dialect::OpenrestyPush) => "user info get error.".into(),
            (Self::LoginTimeout | Self::HeartbeatTimeout, Dialect::OpenrestyPush) => {
                "connectted timeout".into()
            }
            (Self::TokenMissing | Self::TokenInvalid(_) | Self::Refused(_), Dialect::Orim) => {
                orim::AUTH_ERROR.into()
            }
            // What is wrong with the business API is for the operator's log, not for clients.
            (Self::AuthUnavailable(_) | Self::AuthNonsense(_) | Self::NoUser, _) => {
                "login service unavailable".into()
            }
            (Self::Refused(why), _) => why.clone().into(),
            _ => self.detail(),
        }
    }

    /// The words for the log: they say what the client is not told.
    #[must_use]
    pub fn detail(&self) -> Cow<'static, str> {
        match self {
            Self::ClientClosed => "connection closed by the client".into(),
            Self::PeerGone => "connection lost".into(),
            Self::ProtocolError(why) => format!("websocket protocol error: {why}").into(),
            Self::TooLong { limit } => format!("message longer than {limit} bytes").into(),
            Self::NotUtf8 => "text frame is not UTF-8".into(),
            Self::BadRequest(why) => format!("bad request: {why}").into(),
            Self::BadPacket(fault) => format!("bad packet: {fault}").into(),
            Self::LoginTimeout => "no login in time".into(),
            Self::TokenMissing => "token missing".into(),
            Self::TokenInvalid(why) => format!("invalid token: {why}").into(),
            Self::Refused(why) => format!("login refused: {why}").into(),
            Self::AuthUnavailable(why) => format!("login service unavailable: {why}").into(),
            Self::AuthNonsense(why) => format!("login service gave no sensible answer: {why}").into(),
            Self::NoUser => "login service named no user".into(),
            Self::Expired => "connection expired".into(),
            Self::HeartbeatTimeout => "no pong".into(),
            Self::Slow { limit } => format!("slow: more than {limit} bytes waiting").into(),
            Self::MemoryShort { waiting } => {
                format!("memory is short: {waiting} bytes waited, and they are needed").into()
            }
            Self::Replaced => "replaced by a newer session with the same key".into(),
            Self::TooManySessions { max } => {
                format!("a user may have {max} sessions: the oldest goes").into()
            }
            Self::NoRoom => "too many rooms, or a room has a backlog: try again later".into(),
            Self::Banned { reason } => format!("banned: {reason}").into(),
            Self::Kicked { reason, .. } => reason.to_string().into(),
            Self::TooManyRequests { retry_after } => {
                format!("too many logins of this user; try again in {retry_after} s").into()
            }
            Self::Shutdown => "shutdown".into(),
        }
    }

    /// True when it ended before, or instead of, a login.
    #[must_use]
    pub fn refuses_login(&self) -> bool {
        matches!(
            self,
            Self::LoginTimeout
                | Self::TokenMissing
                | Self::TokenInvalid(_)
                | Self::Refused(_)
                | Self::AuthUnavailable(_)
                | Self::AuthNonsense(_)
                | Self::NoUser
                | Self::Banned { .. }
                | Self::TooManyRequests { .. }
        )
    }

    /// True when a close frame can still reach the client.
    #[must_use]
    pub fn says_goodbye(&self) -> bool {
        !matches!(self, Self::PeerGone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_push_gateway_keeps_its_codes_and_words() {
        let cases = [
            (CloseReason::TokenMissing, 4001, "token is nil."),
            (CloseReason::AuthUnavailable("refused".into()), 4006, "http server connected failed."),
            (CloseReason::AuthNonsense("no JSON".into()), 4008, "http service return invalid nil."),
            (CloseReason::Refused("bad token".into()), 4008, "bad token"),
            (CloseReason::NoUser, 4008, "user info get error."),
            (CloseReason::HeartbeatTimeout, 4000, "connectted timeout"),
        ];
        for (reason, code, text) in cases {
            assert_eq!(reason.code(Dialect::OpenrestyPush), code, "{reason:?}");
            assert_eq!(reason.text(Dialect::OpenrestyPush), text, "{reason:?}");
        }
    }

    #[test]
    fn a_centrifuge_client_comes_back_after_faults_of_the_server_only() {
        let comes_back = |reason: &CloseReason| (3000..3500).contains(&reason.code(Dialect::Centrifuge));
        assert!(comes_back(&CloseReason::Shutdown));
        assert!(comes_back(&CloseReason::Slow { limit: 1 }));
        assert!(comes_back(&CloseReason::TooManyRequests { retry_after: 1 }));
        assert!(comes_back(&CloseReason::AuthUnavailable(String::new())));
        assert!(!comes_back(&CloseReason::TokenInvalid(String::new())));
        assert!(!comes_back(&CloseReason::BadRequest(String::new())));
    }
}
