//! Stand-ins for what cannot be had, and what tests share.

pub mod fake_qlik;
pub mod plain_client;
