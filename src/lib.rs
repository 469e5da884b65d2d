//! Command line, configuration and wiring of butler-sos.

pub mod config;
pub mod logging;
