//! The configured list of allowed senders, with its names resolved.
//!
//! Resolving blocks, so it happens at start and then on a blocking thread. A name that no longer resolves
//! keeps its last addresses, because a broken name server must not block the senders.

use std::net::{IpAddr, ToSocketAddrs};

use ipnet::IpNet;
use slog::{Logger, warn};

use crate::intake::udp::datagram_filter::AllowedSources;

/// The entries of `allowedSources`.
#[derive(Debug, Clone)]
pub struct SourceList {
    entries: Vec<Entry>,
}

#[derive(Debug, Clone)]
enum Entry {
    Network(IpNet),
    Name { name: String, addresses: Vec<IpAddr> },
}

#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("source validation is on, but nothing in allowedSources resolves to an address")]
    NothingResolves,
}

impl SourceList {
    /// Accepts addresses, networks in CIDR notation, and names. Names have no address yet.
    pub fn new<'a>(texts: impl IntoIterator<Item = &'a str>) -> Self {
        Self { entries: texts.into_iter().filter_map(entry).collect() }
    }

    /// Whether there are names to resolve again.
    pub fn has_names(&self) -> bool {
        self.entries.iter().any(|entry| matches!(entry, Entry::Name { .. }))
    }

    /// Resolves the names with the system's resolver. Blocks.
    pub fn resolve(&mut self, log: &Logger) {
        self.resolve_with(log, |name| {
            (name, 0).to_socket_addrs().map(|found| found.map(|addr| addr.ip()).collect())
        });
    }

    fn resolve_with(&mut self, log: &Logger, lookup: impl Fn(&str) -> std::io::Result<Vec<IpAddr>>) {
        for entry in &mut self.entries {
            let Entry::Name { name, addresses } = entry else { continue };
            match lookup(name) {
                Ok(found) if !found.is_empty() => *addresses = found,
                Ok(_) => {
                    warn!(log, "allowed source does not resolve to an address"; "name" => &*name, "kept" => addresses.len());
                }
                Err(error) => {
                    warn!(log, "cannot resolve an allowed source";
                        "name" => &*name, "error" => %error, "kept" => addresses.len());
                }
            }
        }
    }

    /// The allowed senders, as far as names are resolved.
    ///
    /// # Errors
    /// `NothingResolves` when the list would allow nobody, which is always a mistake.
    pub fn allowed(&self) -> Result<AllowedSources, SourceError> {
        let mut networks = Vec::new();
        for entry in &self.entries {
            match entry {
                Entry::Network(network) => networks.push(*network),
                Entry::Name { addresses, .. } => networks.extend(addresses.iter().copied().map(IpNet::from)),
            }
        }
        if networks.is_empty() {
            return Err(SourceError::NothingResolves);
        }
        Ok(AllowedSources::only(networks))
    }
}

fn entry(text: &str) -> Option<Entry> {
    let text = text.trim();
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    if bare.is_empty() {
        return None;
    }
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Some(Entry::Network(IpNet::from(address)));
    }
    if let Ok(network) = bare.parse::<IpNet>() {
        return Some(Entry::Network(network));
    }
    Some(Entry::Name { name: bare.to_owned(), addresses: Vec::new() })
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::kit::testing::discard_log;

    #[test]
    fn names_that_no_longer_resolve_keep_their_last_addresses() {
        let mut list = SourceList::new(["sense.example.com", "10.0.0.0/8", " [fd00::1] ", ""]);
        assert!(list.has_names());
        let (first, second): (IpAddr, IpAddr) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let log = discard_log();
        list.resolve_with(&log, |_| Ok(vec![first]));
        list.resolve_with(&log, |_| Err(io::Error::other("no name server")));
        list.resolve_with(&log, |_| Ok(Vec::new()));
        let allowed = list.allowed().unwrap();
        assert!(allowed.allow(first) && !allowed.allow(second));
        assert!(allowed.allow("10.9.9.9".parse().unwrap()) && allowed.allow("fd00::1".parse().unwrap()));
        list.resolve_with(&log, |_| Ok(vec![second]));
        let allowed = list.allowed().unwrap();
        assert!(!allowed.allow(first) && allowed.allow(second));
    }

    #[test]
    fn a_list_without_addresses_is_an_error() {
        assert!(SourceList::new([]).allowed().is_err());
        let mut list = SourceList::new(["no.such.name.invalid"]);
        list.resolve_with(&discard_log(), |_| Err(io::Error::other("no such name")));
        assert!(list.allowed().is_err());
    }

    #[test]
    fn the_system_resolver_finds_localhost() {
        let mut list = SourceList::new(["localhost"]);
        list.resolve(&discard_log());
        let allowed = list.allowed().unwrap();
        assert!(["127.0.0.1", "::1"].iter().any(|text| allowed.allow(text.parse().unwrap())));
    }
}
