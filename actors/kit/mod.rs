//! The parts of every actor: mailboxes, supervision, meters, clocks, and the platform layer.

pub mod clock;
pub mod delivery_error;
pub mod guard;
pub mod lock;
pub mod mailbox;
pub mod message;
pub mod metric;
pub mod platform;
pub mod supervisor;
#[cfg(test)]
pub mod testing;
