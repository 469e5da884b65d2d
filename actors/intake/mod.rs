//! Intake: user events by UDP, audit events by HTTP, and the names of apps.

pub mod app_directory;
pub(crate) mod audit_http;
pub mod audit_http_ingestor;
pub mod backpressure;
pub mod event_counts;
pub mod message;
pub(crate) mod rejection_log;
#[cfg(test)]
mod tests;
pub mod udp;
pub mod user_parser;
