//! Command line, configuration and wiring of butler-sos.

pub mod check;
pub mod cli;
pub mod commands;
pub mod config;
#[cfg(test)]
mod docker_test;
#[cfg(test)]
mod docs_test;
pub mod exit;
#[cfg(test)]
mod house_test;
pub mod logging;
pub mod manual;
pub mod open_files;
pub mod operations;
pub mod print_log4net;
pub mod run;
pub mod send_sample;
pub mod service_manager;
pub mod signals;
pub mod topology;
