//! Encoders: an event in, the bytes that a destination takes out.

pub mod audit_columns;
pub mod audit_csv;
pub mod audit_line;
pub mod audit_mqtt;
pub mod covered;
pub mod csv;
mod json_text;
pub mod line_protocol;
pub mod mqtt;
pub mod new_relic;
pub mod object_json;
pub mod own_lines;
pub mod parquet;
pub mod qvd;
pub mod user_line;

#[cfg(test)]
mod audit_tests;
#[cfg(test)]
mod bounds_tests;
