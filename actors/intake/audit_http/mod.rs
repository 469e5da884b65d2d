//! The parts of the audit API's server, one idea each.
//!
//! ```text
//! connection ─ tls ─ service ─┬─ cors, reply         what every answer carries
//!                             ├─ client              whose request it is
//!                             ├─ token, body         what is looked at before the content
//!                             └─ intake ─┬─ recent   the content, duplicates
//!                                        ├─ account  how each event ended
//!                                        └─ group    what goes to the journal together
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
