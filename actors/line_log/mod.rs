//! Lines that are kept aside: rejected datagrams and dead letters.

pub mod actor;
pub(crate) mod store;
