//! The actors of butler-sos, one file each, and the kit that they share.
//!
//! An actor knows messages and outlets, never another actor: who is connected to whom is
//! decided in one place, the server's topology.

// --- the kit
pub mod clock;
pub mod guard;
pub mod message;
pub mod metric;
pub mod outlet;
pub mod platform;
pub mod supervisor;
#[cfg(test)]
pub mod testing;

// --- what the server says about itself
pub mod event_counts;
pub mod heartbeat;
pub mod http_server;
pub mod own_measurements;
pub mod processing_times;
pub mod queue_view;

// --- intake
pub mod allowed_sources;
pub mod app_directory;
mod audit_http;
pub mod audit_http_ingestor;
pub mod backpressure;
pub mod datagram_filter;
#[cfg(test)]
mod intake_tests;
mod rejection_log;
pub mod udp_ingestor;
mod udp_receiver;
pub mod udp_socket;
pub mod user_parser;

// --- between intake and destinations
pub mod journal;
pub mod sink;

// --- screenshots
pub mod download_places;
pub mod image_client;
pub mod image_fetch;
pub mod image_writer;
pub mod offset_window;
pub mod redirect_walker;
pub mod screenshot_message;
pub mod session_cache_actor;
pub mod session_use;
pub mod ticket_actor;

// --- destinations
pub mod columnar;
pub mod csv_sink;
mod delivery_job;
#[cfg(test)]
mod file_crash_tests;
mod file_target;
mod http_delivery;
pub mod influx_admin;
pub mod influx_answer;
pub mod influx_check;
pub mod influx_client;
mod influx_connection;
pub mod influx_ids;
mod influx_question;
pub mod influx_sink;
pub mod json_sink;
mod mqtt_client;
pub mod mqtt_sink;
pub mod new_relic_client;
pub mod new_relic_sink;
pub mod parquet_sink;
mod part_numbers;
pub mod qvd_sink;

// --- what is kept aside
pub mod keeper;
mod segment_store;

// --- clients
pub mod reach;
pub mod static_hosts;
pub mod tls;
