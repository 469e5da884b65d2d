//! Logs of rejected datagrams and dead letters.

pub mod actor;
pub mod message;
pub(crate) mod store;
