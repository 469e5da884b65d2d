//! New Relic.

pub mod client;
pub mod new_relic_sink;
