//! The actors.

pub mod journal;
