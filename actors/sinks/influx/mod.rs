//! InfluxDB 1, 2 and 3.

pub mod admin;
pub mod answer;
pub mod check;
pub mod client;
pub(crate) mod connection;
pub mod ids;
pub mod influx_sink;
pub(crate) mod question;
