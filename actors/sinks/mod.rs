//! Destinations: one delivery loop, and one module per destination.

pub(crate) mod delivery_job;
pub mod files;
pub mod influx;
pub mod message;
pub mod mqtt;
pub mod new_relic;
pub mod records;
pub mod sink;
