//! The protocol's numbers: errors in replies, ends of subscriptions, ends of connections.

use std::borrow::Cow;

/// An error that a reply can carry, with the protocol's codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// Something failed here; worth another try.
    Internal,
    /// Nobody is logged in.
    Unauthorized,
    /// There is no such room.
    UnknownChannel,
    /// The session may not do this.
    PermissionDenied,
    /// The protocol has no such method.
    MethodNotFound,
    /// The session has joined the room before.
    AlreadySubscribed,
    /// A limit of the session is reached.
    LimitExceeded,
    /// The command makes no sense.
    BadRequest,
    /// The server does not offer this.
    NotAvailable,
    /// The token has expired: get a new one and try again.
    TokenExpired,
    /// The connection or subscription has expired, and it is not a token's doing.
    Expired,
    /// Too much at once; worth another try.
    TooManyRequests,
    /// The history no longer holds what comes after the position asked for.
    UnrecoverablePosition,
    /// Another page of the same room is on its way; worth another try.
    ConcurrentPagination,
}

impl Error {
    /// The number.
    #[must_use]
    pub fn code(self) -> u32 {
        match self {
            Self::Internal => 100,
            Self::Unauthorized => 101,
            Self::UnknownChannel => 102,
            Self::PermissionDenied => 103,
            Self::MethodNotFound => 104,
            Self::AlreadySubscribed => 105,
            Self::LimitExceeded => 106,
            Self::BadRequest => 107,
            Self::NotAvailable => 108,
            Self::TokenExpired => 109,
            Self::Expired => 110,
            Self::TooManyRequests => 111,
            Self::UnrecoverablePosition => 112,
            Self::ConcurrentPagination => 113,
        }
    }

    /// The protocol's words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Internal => "internal server error",
            Self::Unauthorized => "unauthorized",
            Self::UnknownChannel => "unknown channel",
            Self::PermissionDenied => "permission denied",
            Self::MethodNotFound => "method not found",
            Self::AlreadySubscribed => "already subscribed",
            Self::LimitExceeded => "limit exceeded",
            Self::BadRequest => "bad request",
            Self::NotAvailable => "not available",
            Self::TokenExpired => "token expired",
            Self::Expired => "expired",
            Self::TooManyRequests => "too many requests",
            Self::UnrecoverablePosition => "unrecoverable position",
            Self::ConcurrentPagination => "concurrent pagination",
        }
    }

    /// Whether another try may succeed.
    #[must_use]
    pub fn is_temporary(self) -> bool {
        matches!(self, Self::Internal | Self::TooManyRequests | Self::ConcurrentPagination)
    }

    /// What a reply says of it; `detail` tells what would be right, and may be empty.
    #[must_use]
    pub fn because(self, detail: &str) -> Failure<'static> {
        let message = match detail {
            "" => Cow::Borrowed(self.words()),
            detail => Cow::Owned(format!("{}: {detail}", self.words())),
        };
        Failure { code: self.code(), message, temporary: self.is_temporary() }
    }
}

/// An error as a reply carries it: one of the protocol's, or one of the business API's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure<'a> {
    /// The number: below 400 the protocol's, above the business API's.
    pub code: u32,
    /// What is wrong.
    pub message: Cow<'a, str>,
    /// Whether another try may succeed.
    pub temporary: bool,
}

impl From<Error> for Failure<'static> {
    fn from(error: Error) -> Self {
        error.because("")
    }
}

/// Why the server ended a subscription: below 2500 the client leaves it at that, from 2500 on it joins again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsubscribed {
    /// By order of the server API.
    Server,
    /// Something was lost on the way: joining again, the client recovers what it missed.
    InsufficientState,
    /// The subscription has expired.
    Expired,
    /// What the client knows of the room no longer holds, its token neither.
    StateInvalidated,
}

impl Unsubscribed {
    /// The number.
    #[must_use]
    pub fn code(self) -> u32 {
        match self {
            Self::Server => 2000,
            Self::InsufficientState => 2500,
            Self::Expired => 2501,
            Self::StateInvalidated => 2502,
        }
    }

    /// The protocol's words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Server => "server unsubscribe",
            Self::InsufficientState => "insufficient state",
            Self::Expired => "subscription expired",
            Self::StateInvalidated => "state invalidated",
        }
    }
}

/// Why the server ended a connection: the code of the close frame, or of a push where there is no such frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disconnected {
    /// The connection is closed, for no reason of the server's.
    ConnectionClosed,
    /// The server stops.
    Shutdown,
    /// Something failed here.
    ServerError,
    /// The connection has expired.
    Expired,
    /// A subscription has expired.
    SubscriptionExpired,
    /// The client reads too slowly.
    Slow,
    /// A write failed.
    WriteError,
    /// Something was lost on the way: coming back, the client recovers what it missed.
    InsufficientState,
    /// By order of the server API, to come back at once.
    ForceReconnect,
    /// The client does not answer pings.
    NoPong,
    /// The client sends too much.
    TooManyRequests,
    /// What the client knows no longer holds, its token neither.
    StateInvalidated,
    /// The token is not accepted.
    InvalidToken,
    /// A frame makes no sense.
    BadRequest,
    /// No login within the time allowed.
    Stale,
    /// By order of the server API, to stay away.
    ForceNoReconnect,
    /// The user has too many connections.
    ConnectionLimit,
    /// The connection has too many rooms.
    ChannelLimit,
    /// The connection's encoding cannot carry what is to be sent.
    InappropriateProtocol,
    /// The client may not be here.
    PermissionDenied,
    /// The server does not offer this.
    NotAvailable,
    /// The client makes too many mistakes.
    TooManyErrors,
}

impl Disconnected {
    /// The number.
    #[must_use]
    pub fn code(self) -> u16 {
        match self {
            Self::ConnectionClosed => 3000,
            Self::Shutdown => 3001,
            Self::ServerError => 3004,
            Self::Expired => 3005,
            Self::SubscriptionExpired => 3006,
            Self::Slow => 3008,
            Self::WriteError => 3009,
            Self::InsufficientState => 3010,
            Self::ForceReconnect => 3011,
            Self::NoPong => 3012,
            Self::TooManyRequests => 3013,
            Self::StateInvalidated => 3014,
            Self::InvalidToken => 3500,
            Self::BadRequest => 3501,
            Self::Stale => 3502,
            Self::ForceNoReconnect => 3503,
            Self::ConnectionLimit => 3504,
            Self::ChannelLimit => 3505,
            Self::InappropriateProtocol => 3506,
            Self::PermissionDenied => 3507,
            Self::NotAvailable => 3508,
            Self::TooManyErrors => 3509,
        }
    }

    /// The protocol's words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::ConnectionClosed => "connection closed",
            Self::Shutdown => "shutdown",
            Self::ServerError => "internal server error",
            Self::Expired => "connection expired",
            Self::SubscriptionExpired => "subscription expired",
            Self::Slow => "slow",
            Self::WriteError => "write error",
            Self::InsufficientState => "insufficient state",
            Self::ForceReconnect => "force reconnect",
            Self::NoPong => "no pong",
            Self::TooManyRequests => "too many requests",
            Self::StateInvalidated => "state invalidated",
            Self::InvalidToken => "invalid token",
            Self::BadRequest => "bad request",
            Self::Stale => "stale",
            Self::ForceNoReconnect => "force disconnect",
            Self::ConnectionLimit => "connection limit",
            Self::ChannelLimit => "channel limit",
            Self::InappropriateProtocol => "inappropriate protocol",
            Self::PermissionDenied => "permission denied",
            Self::NotAvailable => "not available",
            Self::TooManyErrors => "too many errors",
        }
    }
}

/// Whether a client that is told `code` comes back by itself: the published clients' rule.
#[must_use]
pub fn comes_back(code: u16) -> bool {
    !matches!(code, 3500..=3999 | 4500..=4999)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_what_would_be_right() {
        let failure = Error::PermissionDenied.because("the token names no rooms");
        assert_eq!((failure.code, failure.temporary), (103, false));
        assert_eq!(failure.message, "permission denied: the token names no rooms");
        assert_eq!(Failure::from(Error::TooManyRequests).message, "too many requests");
    }

    #[test]
    fn clients_stay_away_when_the_fault_is_theirs() {
        assert!(comes_back(Disconnected::Slow.code()) && comes_back(1012) && comes_back(4000));
        assert!(!comes_back(Disconnected::InvalidToken.code()) && !comes_back(4501));
    }
}
