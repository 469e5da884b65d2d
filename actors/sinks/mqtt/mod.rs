//! MQTT.

pub(crate) mod client;
pub mod mqtt_sink;
