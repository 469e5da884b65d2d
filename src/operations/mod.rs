//! What the server shows about itself: `/metrics`, `/health`, `/ready`.
//!
//! Reads counters and asks the journal for its state; changes nothing. On an address that is
//! not loopback, without a token, only `/metrics` and `/health` answer.

pub mod machine;
pub mod process;
pub mod server;
pub mod view;
