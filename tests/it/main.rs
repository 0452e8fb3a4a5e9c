//! Integration tests: one binary, one file per subject.

mod ops_elastic;
mod ops_kibana;
mod ops_logstash;
mod ops_nginx;
mod ops_nginx_live;
mod ops_systemd;
mod shipped;
mod trial;
