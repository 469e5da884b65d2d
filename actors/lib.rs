//! The actors of butler-sos, one file each, and the kit that they share.
//!
//! An actor knows messages and outlets, never another actor: who is connected to whom is
//! decided in one place, the server's topology.

// --- the kit
pub mod guard;
pub mod message;
pub mod metric;
pub mod outlet;
pub mod supervisor;
#[cfg(test)]
pub mod testing;

// --- between intake and destinations
pub mod journal;
pub mod sink;

// --- destinations
pub mod columnar;
pub mod csv_sink;
#[cfg(test)]
mod file_crash_tests;
mod file_target;
pub mod json_sink;
mod mqtt_client;
pub mod mqtt_sink;
pub mod parquet_sink;
pub mod qvd_sink;
