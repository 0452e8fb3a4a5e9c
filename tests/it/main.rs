//! Tests against the outside: real sockets, fake partners.

mod log_server;
mod logger_conformance;
mod logger_faults;
