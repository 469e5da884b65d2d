//! By which scheme and port a screenshot may be downloaded: `Pipeline.screenshots.allowHttp` and `allowedPorts`.
//!
//! What speaks plain http on a Qlik host is often another service (InfluxDB, an exporter), and a ticket or a session
//! in clear text belongs to everybody on the way. So http is off unless an administrator says otherwise.

use std::collections::BTreeSet;

use url::Url;

/// The port of http URLs when no list of ports is given.
const HTTP_PORT: u16 = 80;

/// What may be asked for by plain http.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PlainHttp {
    /// Nothing.
    #[default]
    Refused,
    /// Images that need no login: no ticket and no session goes out, and no redirect leads there from https.
    WithoutTickets,
    /// Everything, as Butler SOS does it.
    Allowed,
}

/// Ports that images may come from; an empty list stands for every port of https and port 80 of http.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllowedPorts(BTreeSet<u16>);

impl AllowedPorts {
    pub fn new(ports: impl IntoIterator<Item = u16>) -> Self {
        Self(ports.into_iter().collect())
    }

    /// Whether the URL's port may be asked.
    pub fn allows(&self, url: &Url) -> bool {
        let Some(port) = url.port_or_known_default() else { return false };
        if self.0.is_empty() {
            return url.scheme() == "https" || port == HTTP_PORT;
        }
        self.0.contains(&port)
    }
}

/// Whether a URL is one of plain http.
pub fn is_plain(url: &Url) -> bool {
    url.scheme() == "http"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports() {
        let check = |ports: &[u16], url: &str, expect| {
            let allowed = AllowedPorts::new(ports.iter().copied()).allows(&Url::parse(url).unwrap());
            assert_eq!(allowed, expect, "{ports:?} {url}");
        };
        check(&[], "https://qlik.test/", true);
        check(&[], "https://qlik.test:8443/", true);
        check(&[], "http://qlik.test/", true);
        check(&[], "http://qlik.test:80/", true);
        check(&[], "http://qlik.test:8086/", false);
        check(&[443], "https://qlik.test/", true);
        check(&[443], "https://qlik.test:8443/", false);
        check(&[443], "http://qlik.test/", false);
        check(&[443, 8080], "http://qlik.test:8080/", true);
    }
}
