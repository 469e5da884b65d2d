//! What a host, a network, a retention time, a frequency look like.

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

/// `http://host[:port][/path]` or the same with `https`.
pub fn is_http_url(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://")) else {
        return false;
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    };
    is_host(host) && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
}

/// Seconds between two times in the words of Butler SOS: `every 15 minutes`, `every 1 hour`, `every day`.
pub fn frequency_seconds(text: &str) -> Option<u64> {
    let words: Vec<String> = text.split_whitespace().map(str::to_lowercase).collect();
    let (count, unit): (u64, String) = match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["every", unit] => (1, unit.to_owned()),
        ["every", count, unit] => (count.parse().ok()?, unit.to_owned()),
        _ => return None,
    };
    let seconds: u64 = match unit.strip_suffix('s').unwrap_or(&unit) {
        "second" | "sec" | "" => 1,
        "minute" | "min" | "m" => 60,
        "hour" | "h" => 3_600,
        "day" => 86_400,
        "week" => 604_800,
        _ => return None,
    };
    count.checked_mul(seconds).filter(|seconds| *seconds > 0)
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
    fn durations_and_frequencies() {
        for good in ["10d", "1h30m", "INF", "0s", "52w"] {
            assert!(is_influx_duration(good), "{good}");
        }
        for bad in ["", "ten days", "10", "d", "10 d"] {
            assert!(!is_influx_duration(bad), "{bad}");
        }
        assert_eq!(frequency_seconds("every 15 minutes"), Some(900));
        assert_eq!(frequency_seconds("every 1 hour"), Some(3_600));
        assert_eq!(frequency_seconds("every 15 seconds"), Some(15));
        assert_eq!(frequency_seconds("Every day"), Some(86_400));
        assert_eq!(frequency_seconds("every 0 hours"), None);
        assert_eq!(frequency_seconds("at 5 o'clock"), None);
    }

    #[test]
    fn urls() {
        assert!(is_http_url("http://my.server/some/path/") && is_http_url("https://[::1]:8443"));
        assert!(!is_http_url("my.server") && !is_http_url("ftp://x") && !is_http_url("http://x:0/"));
    }
}
