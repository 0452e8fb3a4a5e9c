//! The tests that look at pillion from outside: one binary, one file per subject.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "what is not as expected ends the test"
)]

mod auth;
mod chaos;
mod chat;
mod chat_security;
mod config;
mod daemon;
mod dialects;
mod docs;
mod gateway;
mod gateway_limits;
mod ingest;
mod journal;
mod log_on_disk;
mod log_server;
mod log_server_killed;
mod logger_beats;
mod logger_conformance;
mod logger_conformance_keys;
mod logger_faults;
mod logger_replay;
mod logger_spool;
mod logger_targets;
mod login;
mod lua;
mod namespaces;
mod nginx;
mod operations;
mod ops_elastic;
mod ops_kibana;
mod ops_logstash;
mod ops_nginx;
mod ops_nginx_live;
mod ops_systemd;
mod originals;
mod people;
mod receipts;
mod sdk;
mod server_api;
mod server_api_goim;
mod server_api_rooms;
mod shipped;
mod simulation;
mod sink;
mod sink_beats;
mod sink_faults;
mod sink_formats;
mod store;
mod streaming;
mod tail;
mod through_nginx;
mod trial;
