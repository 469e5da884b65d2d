//! Encoders: an event in, the bytes that a destination takes out.

pub mod csv;
pub mod line_protocol;
pub mod mqtt;
pub mod new_relic;
pub mod object_json;
pub mod parquet;
pub mod qvd;
pub mod user_line;
