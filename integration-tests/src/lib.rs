//! What the integration tests stand on: the server in a sandbox, real InfluxDB and mosquitto,
//! and stand-ins, speaking the wire protocol, for what cannot be had here.

pub mod mosquitto;
pub mod sandbox;
