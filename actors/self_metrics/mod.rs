//! What the server measures of itself and sends to InfluxDB and New Relic.

pub mod heartbeat;
pub mod own_measurements;
pub mod queue_view;
