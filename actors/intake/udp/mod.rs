//! User events from the socket to batches of datagrams.

pub mod allowed_sources;
pub mod datagram_filter;
pub mod limits;
pub mod port;
pub(crate) mod receiver;
pub mod socket;
pub mod udp_ingestor;
