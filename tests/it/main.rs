//! The tests that look at pillion from outside: one binary, one file per subject.

mod config;
mod ops_elastic;
mod ops_kibana;
mod ops_logstash;
mod ops_nginx;
mod ops_nginx_live;
mod ops_systemd;
mod shipped;
mod trial;
