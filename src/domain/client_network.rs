//! Groups addresses of one client: a client with an IPv6 network of 2^64 addresses would otherwise be a new
//! client with every request.

use std::net::{IpAddr, Ipv6Addr};

/// The prefix length that a site or a single machine usually has.
pub const IPV6_PREFIX: u8 = 64;

/// The key of the client at `address`: an IPv4 address itself, also when it is IPv4-mapped, else the network
/// of the first `ipv6_prefix` bits.
#[must_use]
pub fn network_of(address: IpAddr, ipv6_prefix: u8) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let left = 128_u32.saturating_sub(ipv6_prefix.into());
            let mask = u128::MAX.checked_shl(left).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & mask))
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_network_are_one_client() {
        let check = |address: &str, prefix: u8, expect: &str| {
            let got = network_of(address.parse().expect("an address"), prefix);
            assert_eq!(got, expect.parse::<IpAddr>().expect("an address"), "{address}/{prefix}");
        };
        check("2001:db8:1:2:3:4:5:6", 64, "2001:db8:1:2::");
        check("2001:db8:1:2:ffff::1", 64, "2001:db8:1:2::");
        check("2001:db8:1:3::1", 64, "2001:db8:1:3::");
        check("2001:db8:1:3::1", 48, "2001:db8:1::");
        check("2001:db8:1:3::1", 128, "2001:db8:1:3::1");
        check("2001:db8::1", 0, "::");
        check("2001:db8::1", 255, "2001:db8::1");
        check("192.0.2.1", 64, "192.0.2.1");
        check("::ffff:192.0.2.1", 64, "192.0.2.1");
        check("::ffff:192.0.2.2", 0, "192.0.2.2");
        check("::1", 64, "::");
    }
}
