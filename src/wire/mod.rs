//! What goes over the wire, in each dialect: pure encoding and decoding.
//!
//! Nothing here knows a socket, a clock or a session. A dialect is one file: how a client's text becomes
//! commands, how answers and messages become text. [`websocket`] puts a payload into a frame, once, so that one
//! buffer serves all receivers. [`payload`] is what crosses between dialects: [`centrifuge`] in two encodings,
//! [`event_stream`] carries the first over plain HTTP; [`openresty_push`]'s texts, [`goim`]'s packets and those of its relatives [`orim`] and [`golang_im`]. Log servers have dialects of their
//! own: [`lumberjack`] and [`syslog`], whose lines [`frames`] finds in a stream.
//!
//! Limits are arguments of the caller; whatever a client sends, the worst outcome is an error value that says
//! what was wrong.

pub mod centrifuge;
pub mod event_stream;
pub mod frames;
pub mod goim;
pub mod golang_im;
pub mod lumberjack;
pub mod multipart;
pub mod opening;
pub mod openresty_push;
pub mod orim;
pub mod payload;
pub mod syslog;
pub mod websocket;
