//! Command line, configuration and wiring of butler-sos.

pub mod cli;
pub mod config;
pub mod exit;
pub mod logging;
