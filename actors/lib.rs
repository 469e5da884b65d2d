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
pub mod influx_admin;
pub mod influx_answer;
pub mod influx_client;
pub mod influx_sink;
