//! Metrics that the server sends about itself to InfluxDB and the log.

pub mod heartbeat;
pub mod own_measurements;
pub mod queue_view;
