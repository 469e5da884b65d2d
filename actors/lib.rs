//! The actors of butler-sos, one file each, and the kit that they share.
//!
//! An actor knows messages and mailboxes, never another actor: the server's topology is the one place that
//! connects them.

pub mod intake;
pub mod journal;
pub mod kit;
pub mod line_log;
pub mod net;
pub mod screenshots;
pub mod self_metrics;
pub mod sinks;
