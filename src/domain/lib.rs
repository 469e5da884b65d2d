//! What butler-sos decides, as pure functions and types.
//!
//! Nothing here opens a socket, asks for the time, logs, or knows an actor: time and
//! outside data are arguments, decisions are return values. That is what makes every
//! rule of the contract a table of cases.

// --- user events
pub mod app_id;
pub mod client_network;
pub mod datagram;
pub mod enrichment;
pub mod event;
pub mod fallback_encoding;
pub mod guesses;
pub mod identity;
pub mod sample;
pub mod streams;
pub mod user_agent;

// --- audit events
pub mod audit;

// --- what comes too often
pub mod rate_window;
pub mod throttle;

// --- users' names, where they shall not be stored
pub mod pseudonym;

// --- times of receipt
pub mod clock_watch;
pub mod receipt_clock;

// --- text in formats
mod json_string;
mod uuid;

// --- files of events
pub mod file_name;

// --- screenshots
pub mod allowed_hosts;
pub mod image;
pub mod login_page;
pub mod redirect;
pub mod refusal;
pub mod retry;
pub mod session;
pub mod session_cookie;
pub mod session_slots;
pub mod single_flight;
pub mod ticket_url;
pub mod ticket_users;
pub mod transport;
pub mod turns;
pub mod virtual_proxy;

// --- what destinations are sent, and what they answer
pub mod encode;
pub mod influx_refusal;
pub mod pace;

// --- what the server says about itself
pub mod histogram;
pub mod own_errors;

// --- what tests here share with those of the whole server
#[cfg(test)]
#[path = "../../integration-tests/src/any_event.rs"]
mod any_event;
#[cfg(test)]
#[path = "../../integration-tests/src/recorded.rs"]
mod recorded;
