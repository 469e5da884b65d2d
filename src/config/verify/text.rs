//! What a host, a network, a retention time, an address look like.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;

/// A host name, an IPv4 address, or an IPv6 address with or without brackets. No scheme, port or path.
pub fn is_host(text: &str) -> bool {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    if let Some(inner) = bare {
        return inner.parse::<Ipv6Addr>().is_ok();
    }
    if text.parse::<IpAddr>().is_ok() {
        return true;
    }
    let name = text.strip_suffix('.').unwrap_or(text);
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|c| c.is_alphanumeric() || c == '-' || c == '_')
    };
    name.len() <= 253 && !name.is_empty() && name.split('.').all(label)
}

/// An address, a network or a host name.
pub fn is_source(text: &str) -> bool {
    match text.contains('/') {
        true => text.parse::<IpNet>().is_ok(),
        false => is_host(text),
    }
}

/// An address or a network in CIDR notation, as the network that it is.
pub fn network(text: &str) -> Option<IpNet> {
    let text = text.trim();
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

/// InfluxDB's notation of a time: `10d`, `1h30m`, `INF`.
pub fn is_influx_duration(text: &str) -> bool {
    if text.eq_ignore_ascii_case("inf") || text == "0s" || text == "0" {
        return true;
    }
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        if digits == 0 {
            return false;
        }
        rest = &rest[digits..];
        let units = ["ns", "us", "µs", "ms", "mo", "s", "m", "h", "d", "w", "y"];
        match units.iter().find(|unit| rest.starts_with(**unit)) {
            Some(unit) => rest = &rest[unit.len()..],
            None => return false,
        }
    }
    !text.is_empty()
}

/// Why a text is not an http or https address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressMistake {
    /// Scheme, host or port.
    NoAddress,
    /// A user or a password in it.
    UserInformation,
}

/// `http://host[:port][/path]` or the same with `https`, in large or small letters. User information is legal where
/// `takes_user` says so.
pub fn http_url(text: &str, takes_user: bool) -> Result<(), AddressMistake> {
    let is_scheme = |scheme: &str| ["http", "https"].iter().any(|known| known.eq_ignore_ascii_case(scheme));
    let (_, rest) =
        text.split_once("://").filter(|(scheme, _)| is_scheme(scheme)).ok_or(AddressMistake::NoAddress)?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let (user, authority) = match authority.rsplit_once('@') {
        Some((user, authority)) => (Some(user), authority),
        None => (None, authority),
    };
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    };
    match is_host(host) && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0)) {
        false => Err(AddressMistake::NoAddress),
        true if user.is_some() && !takes_user => Err(AddressMistake::UserInformation),
        true => Ok(()),
    }
}

/// Whether a path holds what no path has: in double quotes YAML makes line ends and other characters of backslashes.
pub fn has_control_character(path: &str) -> bool {
    path.chars().any(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        for good in [
            "qlik.example.com",
            "localhost",
            "10.0.0.1",
            "::",
            "[::1]",
            "a_b.c",
            "host.",
            "0.0.0.0",
            "münchen.de",
        ] {
            assert!(is_host(good), "{good}");
        }
        for bad in [
            "",
            " ",
            "https://qlik.example.com",
            "qlik.example.com:4243",
            "qlik.example.com/x",
            "a b",
            "<IP or FQDN>",
            "user@host",
            "-a",
            "a..b",
            "[10.0.0.1]",
            "*.example.com",
        ] {
            assert!(!is_host(bad), "{bad}");
        }
    }

    #[test]
    fn sources_and_networks() {
        assert!(is_source("10.1.0.0/16") && is_source("fe80::/10") && is_source("sense.example.com"));
        assert!(!is_source("10.1.0.0/33") && !is_source("sense/24"));
        assert!(network("fe80::/10").is_some() && network("proxy.example.com").is_none());
        assert_eq!(network("10.0.0.1"), "10.0.0.1/32".parse().ok());
    }

    #[test]
    fn durations() {
        for good in ["10d", "1h30m", "INF", "0s", "52w"] {
            assert!(is_influx_duration(good), "{good}");
        }
        for bad in ["", "ten days", "10", "d", "10 d"] {
            assert!(!is_influx_duration(bad), "{bad}");
        }
    }

    #[test]
    fn urls() {
        for good in [
            "http://my.server/some/path/",
            "https://[::1]:8443",
            "HTTPS://hc.example.com/ping",
            "Http://hc.example.com:80?x",
        ] {
            assert_eq!(http_url(good, false), Ok(()), "{good}");
        }
        for bad in ["my.server", "ftp://x", "http://x:0/", "http://", "https//x", "http://user@:80/"] {
            assert_eq!(http_url(bad, true), Err(AddressMistake::NoAddress), "{bad}");
        }
        for user in ["https://user:pw@hc.example.com/ping", "https://user@hc.example.com:8443"] {
            assert_eq!(http_url(user, true), Ok(()), "{user}");
            assert_eq!(http_url(user, false), Err(AddressMistake::UserInformation), "{user}");
        }
    }

    #[test]
    fn control_characters_in_paths() {
        for good in ["C:\\x", "C:/x", "\\\\server\\share\\x", "./data", "/srv/ü ö/x"] {
            assert!(!has_control_character(good), "{good}");
        }
        for bad in ["C:\new", "C:\table", "a\0b", "C:\u{2029}rogram", "a\u{85}b", "a\u{1b}"] {
            assert!(has_control_character(bad), "{bad:?}");
        }
    }
}
