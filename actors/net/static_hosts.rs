//! A static host table, and an HTTP client that uses it.
//!
//! The table (`Pipeline.screenshots.resolve`) takes precedence over the system's resolver: for hosts that the
//! system does not know, or whose address cannot be reached from here. It changes the address of a
//! connection, never the name that certificates, host lists and headers use.

use std::collections::BTreeMap;
use std::error::Error;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use actix_tls::connect::{Connector, Resolve, Resolver};
use futures_util::future::LocalBoxFuture;
use openssl::ssl::SslConnector;

/// The table. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct StaticHosts(Arc<BTreeMap<String, IpAddr>>);

impl StaticHosts {
    /// Names are case-insensitive.
    pub fn new(entries: impl IntoIterator<Item = (String, IpAddr)>) -> Self {
        let lower = |(name, address): (String, IpAddr)| (name.to_ascii_lowercase(), address);
        Self(Arc::new(entries.into_iter().map(lower).collect()))
    }

    fn get(&self, host: &str) -> Option<IpAddr> {
        if let Some(address) = self.0.get(&host.to_ascii_lowercase()) {
            return Some(*address);
        }
        // The one form of an address that the client's own resolver does not support.
        let inner = host.strip_prefix('[')?.strip_suffix(']')?;
        inner.parse::<Ipv6Addr>().ok().map(IpAddr::V6)
    }
}

impl Resolve for StaticHosts {
    fn lookup<'a>(
        &'a self,
        host: &'a str,
        port: u16,
    ) -> LocalBoxFuture<'a, Result<Vec<SocketAddr>, Box<dyn Error>>> {
        Box::pin(async move {
            if let Some(address) = self.get(host) {
                return Ok(vec![SocketAddr::new(address, port)]);
            }
            Ok(tokio::net::lookup_host((host, port)).await?.collect())
        })
    }
}

/// An HTTP/1.1 client that follows no redirects, stores no cookies, decompresses nothing, and adds no
/// headers.
///
/// `connect_timeout` limits resolving and connecting, and then the handshake. The caller limits the rest.
pub fn plain_http_client(
    tls: SslConnector,
    hosts: &StaticHosts,
    connect_timeout: Duration,
    connections_max: usize,
) -> awc::Client {
    let connector = awc::Connector::new()
        .connector(Connector::new(Resolver::custom(hosts.clone())).service())
        .timeout(connect_timeout)
        .handshake_timeout(connect_timeout)
        .limit(connections_max)
        .openssl(tls);
    awc::Client::builder()
        .connector(connector)
        .disable_timeout()
        .disable_redirects()
        .no_default_headers()
        .add_default_header(("User-Agent", concat!("butler-sos/", env!("CARGO_PKG_VERSION"))))
        .finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[actix_rt::test]
    async fn the_table_takes_precedence() {
        let hosts = StaticHosts::new([("Qlik.test".to_owned(), IpAddr::from([127, 0, 0, 9]))]);
        let check = async |host: &str, expect: &str| {
            let found = hosts.lookup(host, 443).await.map(|found| found[0].to_string());
            assert_eq!(found.ok().as_deref(), Some(expect), "{host}");
        };
        check("qlik.TEST", "127.0.0.9:443").await;
        check("[::1]", "[::1]:443").await;
        check("127.0.0.1", "127.0.0.1:443").await;
        assert!(hosts.lookup("no-such-host.invalid", 443).await.is_err());
    }
}
