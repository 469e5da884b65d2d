//! The hosts that screenshots may be downloaded from: `allowedImageDownloadHosts`.
//!
//! Hosts are compared in the form of the URL standard after parsing, never as text: case, percent-encoding,
//! international names and unusual spellings of IPv4 addresses are normalised on both sides first, so the
//! compared name is the name of the connection. A trailing dot makes a different name. The administrator is
//! responsible for the addresses of listed names. Rules: contract, screenshots.md, "The walk" 1 and 6.

use std::collections::BTreeSet;
use std::net::Ipv6Addr;

use thiserror::Error;
use url::{Host, Url};

/// A set of host names. An empty set allows no host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllowedHosts(BTreeSet<String>);

/// Why an entry of the list is not a host name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AllowedHostError {
    #[error("empty host name")]
    Empty,
    #[error("{0:?} is not a host name: leave out the scheme, the port and the path")]
    NotOnlyAName(String),
    #[error("{0:?} holds a wildcard: each host is listed by its full name")]
    Wildcard(String),
    #[error("{0:?} is not a valid host name")]
    Invalid(String),
}

impl AllowedHostError {
    /// Replaces the entry in the message by `shown`, because it may contain a secret.
    #[must_use]
    pub fn map(self, shown: impl FnOnce(String) -> String) -> Self {
        match self {
            Self::Empty => Self::Empty,
            Self::NotOnlyAName(entry) => Self::NotOnlyAName(shown(entry)),
            Self::Wildcard(entry) => Self::Wildcard(shown(entry)),
            Self::Invalid(entry) => Self::Invalid(shown(entry)),
        }
    }
}

impl AllowedHosts {
    /// The set of `entries`, or the error of every invalid entry with its index.
    pub fn new<S: AsRef<str>>(
        entries: impl IntoIterator<Item = S>,
    ) -> Result<Self, Vec<(usize, AllowedHostError)>> {
        let mut hosts = BTreeSet::new();
        let mut mistakes = Vec::new();
        for (index, entry) in entries.into_iter().enumerate() {
            match host_of_entry(entry.as_ref()) {
                Ok(host) => {
                    hosts.insert(host);
                }
                Err(mistake) => mistakes.push((index, mistake)),
            }
        }
        if mistakes.is_empty() { Ok(Self(hosts)) } else { Err(mistakes) }
    }

    /// Whether the URL's host is in the list.
    pub fn allows(&self, url: &Url) -> bool {
        url.host_str().is_some_and(|host| self.0.contains(host))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The host in the form of `Url::host_str`.
fn host_of_entry(entry: &str) -> Result<String, AllowedHostError> {
    let entry = entry.trim();
    if entry.is_empty() {
        return Err(AllowedHostError::Empty);
    }
    if let Ok(address) = entry.trim_start_matches('[').trim_end_matches(']').parse::<Ipv6Addr>() {
        return Ok(format!("{}", Host::<String>::Ipv6(address)));
    }
    if entry.contains('*') {
        return Err(AllowedHostError::Wildcard(entry.to_owned()));
    }
    if entry.contains(|c: char| matches!(c, '/' | '\\' | ':' | '@' | '?' | '#' | '%') || c.is_whitespace()) {
        return Err(AllowedHostError::NotOnlyAName(entry.to_owned()));
    }
    // Parse a whole URL, so that the same code normalises list and download.
    let url =
        Url::parse(&format!("https://{entry}/")).map_err(|_| AllowedHostError::Invalid(entry.to_owned()))?;
    url.host_str().map(str::to_owned).ok_or_else(|| AllowedHostError::Invalid(entry.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn entries_are_normalised_or_rejected() {
        let check = |entry: &str, expect: Result<&str, ()>| {
            let found = host_of_entry(entry);
            assert_eq!(found.as_deref().map_err(|_| ()), expect, "{entry:?}: {found:?}");
        };
        check("qlik.example.com", Ok("qlik.example.com"));
        check(" QLIK.Example.com ", Ok("qlik.example.com"));
        check("localhost", Ok("localhost"));
        check("qlik_server", Ok("qlik_server"));
        check("10.0.0.1", Ok("10.0.0.1"));
        check("::1", Ok("[::1]"));
        check("[::1]", Ok("[::1]"));
        check("2001:DB8:0:0::1", Ok("[2001:db8::1]"));
        check("b\u{fc}cher.example", Ok("xn--bcher-kva.example"));
        check("", Err(()));
        check("  ", Err(()));
        check("https://qlik.example.com", Err(()));
        check("qlik.example.com:443", Err(()));
        check("qlik.example.com/", Err(()));
        check("qlik.example.com\\x", Err(()));
        check("user@qlik.example.com", Err(()));
        check("ql%69k.example.com", Err(()));
        check("*.example.com", Err(()));
        check("*", Err(()));
        check("a b", Err(()));
        check("[::1", Ok("[::1]"));
        check("[::1]:443", Err(()));
        check("a<b", Err(()));
        check("999.999.999.999", Err(()));
    }

    #[test]
    fn reports_all_invalid_entries() {
        let mistakes = AllowedHosts::new(["ok", "https://x", "", "*"]).unwrap_err();
        assert_eq!(mistakes.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [1, 2, 3]);
        assert!(AllowedHosts::new(Vec::<String>::new()).unwrap().is_empty());
    }

    #[test]
    fn only_listed_hosts_are_allowed() {
        let hosts = AllowedHosts::new(["qlik.test", "::1", "10.0.0.1", "b\u{fc}cher.test"]).unwrap();
        let check = |url: &str, expect| {
            let allowed = Url::parse(url).is_ok_and(|url| hosts.allows(&url));
            assert_eq!(allowed, expect, "{url}");
        };
        check("https://qlik.test/a.png", true);
        check("https://QLIK.Test:14443/a.png", true);
        check("http://qlik.test/a.png", true);
        check("https://ql%69k.test/a.png", true);
        check("https://evil.test@qlik.test/", true);
        check("https://[::1]:8443/", true);
        check("https://[0:0:0:0:0:0:0:1]/", true);
        check("https://0xa.1/", true);
        check("https://xn--bcher-kva.test/", true);
        check("https://B\u{dc}CHER.test/", true);
        check("https://b%C3%BCcher.test/", true);
        check("https://qlik\u{3002}test/", true);
        check("https:qlik.test", true);
        check("https:/\\qlik.test/", true);

        check("https://evil.test/", false);
        check("https://qlik.test./a.png", false);
        check("https://qlik.test../a.png", false);
        check("https://.qlik.test/", false);
        check("https://a.qlik.test/", false);
        check("https://qlik.test.evil.test/", false);
        check("https://qlik.testx/", false);
        check("https://qlik.test@evil.test/", false);
        check("https://qlik.test:pw@evil.test/", false);
        check("https://qlik.test%40evil.test/", false);
        check("https://qlik.test%2eevil.test/", false);
        check("https://qlik.test%00.evil.test/", false);
        check("https://evil.test\\@qlik.test/", false);
        check("https://evil.test#@qlik.test/", false);
        check("https://evil.test?@qlik.test/", false);
        check("https://[::2]/", false);
        check("https://[::ffff:10.0.0.1]/", false);
        check("https://10.0.0.2/", false);
        check("https://167772162/", false);
        check("https://ql\u{131}k.test/", false);
        check("https://\u{443}lik.test/", false);
        check("https://bucher.test/", false);
        check("https:///", false);
        check("file://qlik.test/etc/passwd", true); // The scheme is another check's matter.
        check("data:text/html,qlik.test", false);
    }

    #[test]
    fn an_empty_list_allows_no_host() {
        let hosts = AllowedHosts::new(Vec::<String>::new()).unwrap();
        assert!(!hosts.allows(&Url::parse("https://qlik.test/").unwrap()));
    }

    proptest! {
        #[test]
        fn any_allowed_url_has_a_listed_host(text in "https?:[/\\\\]{0,3}(qlik\\.test|evil\\.test|[@:.%#?\\\\/a-z0-9\u{3002}]){0,6}") {
            let hosts = AllowedHosts::new(["qlik.test"]).unwrap();
            if let Ok(url) = Url::parse(&text) && hosts.allows(&url) {
                prop_assert_eq!(url.host_str(), Some("qlik.test"));
                // An independent parse of the URL to be sent: the text between `//` and the next `/`, without
                // user information and port.
                let sent = url.as_str();
                let authority = sent.split_once("//").unwrap().1.split(['/', '?', '#']).next().unwrap();
                let host = authority.rsplit('@').next().unwrap().split(':').next().unwrap();
                prop_assert_eq!(host, "qlik.test");
            }
        }
    }
}
