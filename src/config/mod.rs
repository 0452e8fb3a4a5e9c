//! STUB: the validated configuration, as far as ingest and diagnostics need it.
#![allow(missing_docs, reason = "stub")]

use crate::address::Address;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenMode {
    Hashed,
    Plain,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Log {
    pub level: Level,
    pub format: LogFormat,
    pub ship: bool,
    pub token: TokenMode,
    pub legacy_fields: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Ingest {
    pub listen: Vec<Address>,
    pub receive_buffer: usize,
}
