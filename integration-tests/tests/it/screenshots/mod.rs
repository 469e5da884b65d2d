//! Screenshot downloads against the fake Qlik Sense.

mod conflict;
mod crash;
mod downloads;
mod golden;
mod harness;
mod newcomer;
mod plain_http;
mod privacy;
mod secrets;
mod server;
mod server_harness;
mod sessions;
mod turns;
