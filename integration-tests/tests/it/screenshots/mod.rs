//! Screenshot downloads against the fake Qlik Sense.

mod bench;
mod downloads;
mod golden;
mod sessions;
