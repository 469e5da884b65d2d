//! HTTP and TLS, for servers and for clients.

pub(crate) mod http_client;
pub mod http_server;
pub mod reachability;
pub mod static_hosts;
pub mod tls;
