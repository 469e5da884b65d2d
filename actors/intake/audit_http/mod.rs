//! The modules of the audit API's server.
//!
//! ```text
//! connection ─ tls ─ service ─┬─ cors, reply         headers of every answer
//!                             ├─ client              address of the client
//!                             ├─ token, body         checks before the content
//!                             └─ intake ─┬─ recent   content, duplicates
//!                                        ├─ account  outcome of each event
//!                                        └─ group    events of one append
//! ```
//!
//! Contract: `audit-api.md`.

pub mod account;
pub mod body;
pub mod client;
pub mod cors;
pub mod group;
pub mod intake;
pub mod limits;
pub mod recent;
pub mod reply;
pub mod service;
pub mod tls;
pub mod token;
pub mod warnings;

#[cfg(test)]
mod harness;
#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
mod log_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tls_tests;
