//! The crash machine: a server with every destination, under load, killed again and again; then ids are compared.
//!
//! * [`everything`]: the server, InfluxDB, broker, New Relic, Qlik Sense.
//! * [`held`]: what each destination holds.
//! * [`load`]: those who send, and what was acknowledged to them.
//! * [`machine`]: rounds of load and `kill -9`.
//! * [`image`]: a copy of a running server's directories, damaged or not, started elsewhere.
//! * [`soak`]: the same server for an hour: is it flat?
//! * [`verdict`]: acknowledged against held, destination by destination.
//! * [`pause`]: time that passes.
//!
//! `make torture` and `make soak` run them for long, the tests for a short while.

pub mod contents;
pub mod everything;
pub mod image;
pub mod load;
pub mod machine;
pub mod pause;
pub mod soak;
pub mod verdict;
