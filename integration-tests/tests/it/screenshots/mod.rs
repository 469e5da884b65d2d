//! Screenshot downloads against the fake Qlik Sense.

mod bench;
mod conflict;
mod crash;
mod downloads;
mod golden;
mod house;
mod newcomer;
mod privacy;
mod secrets;
mod server;
mod sessions;
