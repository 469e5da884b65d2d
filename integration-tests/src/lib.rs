//! What the integration tests stand on: the server in a sandbox, real InfluxDB and mosquitto,
//! and stand-ins, speaking the wire protocol, for what cannot be had here.

pub mod any_event;
pub mod audit_client;
pub mod audit_config;
pub mod browser;
pub mod certificates;
pub mod fake_influx;
pub mod fake_new_relic;
pub mod fake_qlik;
pub mod golden_user_events;
pub mod hostile_bodies;
pub mod http;
pub mod http_request;
pub mod influxd;
pub mod journal_append;
pub mod line;
pub mod memory;
pub mod mosquitto;
pub mod name_server;
pub mod numbered;
pub mod pty;
pub mod raw_http;
pub mod recorded;
pub mod sandbox;
pub mod seeded_rng;
pub mod sender;
pub mod settings;
pub mod stand_in;
pub mod subscriber;
pub mod tcp_proxy;
pub mod tls_front;
pub mod tools;
pub mod torture;
pub mod written;
