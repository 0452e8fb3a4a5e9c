//! The Centrifuge client protocol, version 2, in JSON.
//!
//! A client sends commands, one JSON object per line, several lines per frame; each has an `id` and one method.
//! The server answers with replies that carry the same `id`, and sends pushes without one. An empty object is a
//! ping from the server, and the client's pong. Source: `client.proto` of the protocol's published definitions.

mod command;
mod reply;

pub use command::Command;
pub use command::Connect;
pub use command::Fault;
pub use command::Method;
pub use command::Publish;
pub use command::Subscribe;
pub use command::commands;
pub use reply::ConnectResult;
pub use reply::Error;
pub use reply::Publisher;
pub use reply::connected;
pub use reply::done;
pub use reply::failed;
pub use reply::publication;
pub use reply::refreshed;

/// A ping from the server: an empty reply.
pub const PING: &str = "{}";
