//! The journal.
pub mod batch;
pub mod frame;
