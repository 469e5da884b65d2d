//! Decides whether to accept a datagram, before it is parsed. Pure: addresses, sizes and times are arguments.
//!
//! The contract defines the order (user-events.md, "Before parsing"): source, size, rate limit. The owner of
//! the queue checks its room last.

use std::collections::HashSet;
use std::net::IpAddr;
use std::time::Duration;

use butler_sos_domain::rate_window::RateWindow;
use ipnet::{IpNet, Ipv4Net};

/// Why a datagram is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    Source,
    Size,
    RateLimit,
}

impl Refusal {
    pub const ALL: [Self; 3] = [Self::Source, Self::Size, Self::RateLimit];

    /// The one name of the reason: metric label and log value.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Size => "size",
            Self::RateLimit => "rate_limit",
        }
    }
}

/// The checks that need no queue.
#[derive(Debug)]
pub struct Admission {
    /// The largest accepted datagram, in bytes.
    pub bytes_max: usize,
    pub rate: Option<RateWindow>,
}

impl Admission {
    /// `since_start` is monotonic time since a fixed moment.
    pub fn check(
        &mut self,
        sources: &AllowedSources,
        source: IpAddr,
        bytes: usize,
        since_start: Duration,
    ) -> Result<(), Refusal> {
        if !sources.allow(source) {
            return Err(Refusal::Source);
        }
        if bytes > self.bytes_max {
            return Err(Refusal::Size);
        }
        let fits = self.rate.as_mut().is_none_or(|rate| rate.take(since_start));
        if fits { Ok(()) } else { Err(Refusal::RateLimit) }
    }
}

/// The allowed senders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AllowedSources {
    Everyone,
    Only { addresses: HashSet<IpAddr>, networks: Vec<IpNet> },
}

impl AllowedSources {
    /// Only these networks. An IPv4-mapped IPv6 address (`::ffff:10.0.0.1`) counts as its IPv4 address.
    pub fn only(networks: impl IntoIterator<Item = IpNet>) -> Self {
        let (single, wide): (Vec<IpNet>, Vec<IpNet>) =
            networks.into_iter().map(unmapped).partition(|net| net.prefix_len() == net.max_prefix_len());
        Self::Only { addresses: single.iter().map(IpNet::addr).collect(), networks: wide }
    }

    #[must_use]
    pub fn allow(&self, source: IpAddr) -> bool {
        match self {
            Self::Everyone => true,
            Self::Only { addresses, networks } => {
                let source = source.to_canonical();
                addresses.contains(&source) || networks.iter().any(|net| net.contains(&source))
            }
        }
    }
}

/// Converts a network of IPv4-mapped addresses to its IPv4 network.
fn unmapped(net: IpNet) -> IpNet {
    let IpNet::V6(v6) = net else { return net };
    match (v6.addr().to_ipv4_mapped(), v6.prefix_len().checked_sub(MAPPED_BITS)) {
        (Some(addr), Some(prefix)) => Ipv4Net::new(addr, prefix).map_or(net, IpNet::V4),
        _ => net,
    }
}

/// The prefix length of `::ffff:0:0`.
const MAPPED_BITS: u8 = 96;

#[cfg(test)]
mod tests {
    use super::*;

    fn nets(texts: &[&str]) -> AllowedSources {
        AllowedSources::only(texts.iter().map(|text| {
            text.parse::<IpNet>().unwrap_or_else(|_| IpNet::from(text.parse::<IpAddr>().unwrap()))
        }))
    }

    #[test]
    fn sources() {
        let allowed = nets(&["10.1.0.0/16", "192.168.1.7", "fd00::/8", "::1", "::ffff:172.16.0.0/108"]);
        let check = |source: &str, expect: bool| {
            assert_eq!(allowed.allow(source.parse().unwrap()), expect, "{source}");
        };
        check("10.1.255.255", true);
        check("10.2.0.0", false);
        check("::ffff:10.1.2.3", true);
        check("192.168.1.7", true);
        check("::ffff:192.168.1.7", true);
        check("192.168.1.8", false);
        check("fd12::1", true);
        check("fe80::1", false);
        check("::1", true);
        check("127.0.0.1", false);
        check("172.31.255.255", true);
        check("172.32.0.0", false);
        assert!(!nets(&[]).allow("127.0.0.1".parse().unwrap()));
        assert!(AllowedSources::Everyone.allow("fe80::1".parse().unwrap()));
        assert!(nets(&["0.0.0.0/0"]).allow("::ffff:1.2.3.4".parse().unwrap()));
        assert!(!nets(&["0.0.0.0/0"]).allow("2001:db8::1".parse().unwrap()));
    }

    #[test]
    fn checks_source_then_size_then_rate() {
        let sources = nets(&["10.0.0.1"]);
        let mut admission = Admission { bytes_max: 10, rate: Some(RateWindow::new(1)) };
        let mut check = |source: &str, bytes: usize, expect: Result<(), Refusal>| {
            let got = admission.check(&sources, source.parse().unwrap(), bytes, Duration::ZERO);
            assert_eq!(got, expect, "{source} {bytes}");
        };
        check("10.0.0.2", 11, Err(Refusal::Source));
        check("10.0.0.1", 11, Err(Refusal::Size));
        // Datagrams that were refused before do not count for the rate.
        check("10.0.0.1", 10, Ok(()));
        check("10.0.0.1", 10, Err(Refusal::RateLimit));
        check("10.0.0.1", 11, Err(Refusal::Size));
        check("10.0.0.2", 1, Err(Refusal::Source));
    }
}
