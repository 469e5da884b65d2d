//! The virtual proxy of a screenshot: which QPS endpoint may issue its ticket.
//!
//! With `userTicket` it is read off the *original* screenshot URL's path, never off a redirect; with
//! `qpsTicket` it is configured. Rules: contract, screenshots.md, "Virtual proxy".

use std::fmt;

use thiserror::Error;
use url::Url;

/// First path segments that belong to the default virtual proxy: Qlik Sense's own routes.
const OWN_ROUTES: [&str; 6] = ["api", "hub", "printing", "resources", "sense", "tempcontent"];

/// A virtual proxy's prefix: empty for the default one, else segments joined by `/` (`analytics`, `a/b`).
///
/// Holds only segments of `[A-Za-z0-9._~-]+` that are not `.` or `..`, so it can stand in a path as it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct VirtualProxy(String);

/// Why a virtual proxy cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum VirtualProxyError {
    /// A segment holds a character that QPS paths do not take. Shown escaped: it came from outside.
    #[error("invalid virtual proxy segment {0:?}")]
    Segment(String),
}

impl VirtualProxy {
    /// The default virtual proxy: no prefix.
    pub fn default_proxy() -> Self {
        Self::default()
    }

    /// The virtual proxy that a screenshot URL's path leads through.
    ///
    /// `/tempcontent/a.png` → default; `/analytics/tempcontent/a.png` → `analytics`; `/a/b/tempcontent/…` →
    /// `a/b`; with none of Qlik's own routes in the path the first segment alone. Empty segments do not count.
    pub fn of_url(url: &Url) -> Result<Self, VirtualProxyError> {
        let segments: Vec<&str> = url.path().split('/').map(str::trim).filter(|s| !s.is_empty()).collect();
        let Some(first) = segments.first() else { return Ok(Self::default()) };
        let prefix = match segments.iter().position(|s| is_own_route(s)) {
            Some(own) => &segments[..own],
            None => std::slice::from_ref(first),
        };
        Self::of_segments(prefix)
    }

    /// The virtual proxy of a setting such as `auth.qps.virtualProxy`: outer slashes and blanks trimmed.
    pub fn of_setting(setting: &str) -> Result<Self, VirtualProxyError> {
        let trimmed = setting.trim().trim_matches('/').trim();
        if trimmed.is_empty() {
            return Ok(Self::default());
        }
        Self::of_segments(&trimmed.split('/').collect::<Vec<_>>())
    }

    fn of_segments(segments: &[&str]) -> Result<Self, VirtualProxyError> {
        match segments.iter().find(|s| !is_valid_segment(s)) {
            Some(bad) => Err(VirtualProxyError::Segment(bad.chars().take(64).collect())),
            None => Ok(Self(segments.join("/"))),
        }
    }

    /// The prefix without slashes around it; empty for the default virtual proxy.
    pub fn prefix(&self) -> &str {
        &self.0
    }

    /// The QPS path that issues tickets: `/qps/ticket` or `/qps/analytics/ticket`.
    pub fn ticket_path(&self) -> String {
        self.qps_path("ticket")
    }

    /// The QPS path that names one session: `/qps/session/{id}` or `/qps/analytics/session/{id}`.
    ///
    /// The id came in a cookie, so everything in it but `[A-Za-z0-9-]` is percent-encoded.
    pub fn session_path(&self, id: &str) -> String {
        let mut path = self.qps_path("session/");
        for byte in id.bytes() {
            if byte.is_ascii_alphanumeric() || byte == b'-' {
                path.push(byte as char);
            } else {
                path.push_str(&format!("%{byte:02X}"));
            }
        }
        path
    }

    fn qps_path(&self, tail: &str) -> String {
        if self.0.is_empty() { format!("/qps/{tail}") } else { format!("/qps/{}/{tail}", self.0) }
    }
}

impl fmt::Display for VirtualProxy {
    /// The prefix, or `default`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "default" } else { &self.0 })
    }
}

fn is_own_route(segment: &str) -> bool {
    OWN_ROUTES.iter().any(|own| own.eq_ignore_ascii_case(segment))
}

fn is_valid_segment(segment: &str) -> bool {
    !matches!(segment, "" | "." | "..")
        && segment.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'~' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn read_off_the_url() {
        let check = |path: &str, expect: Option<&str>| {
            let url = Url::parse(&format!("https://qlik.test{path}")).unwrap();
            let found = VirtualProxy::of_url(&url).ok();
            assert_eq!(found.as_ref().map(VirtualProxy::prefix), expect, "{path}");
        };
        check("", Some(""));
        check("/", Some(""));
        check("/tempcontent/abc/screenshot.png", Some(""));
        check("/TempContent/abc/screenshot.png", Some(""));
        check("/api/v1/x.png", Some(""));
        check("/hub", Some(""));
        check("/printing/x", Some(""));
        check("/resources/x", Some(""));
        check("/sense/app/x", Some(""));
        check("/analytics/tempcontent/abc/screenshot.png", Some("analytics"));
        check("/Analytics/tempcontent/a.png", Some("Analytics"));
        check("/a/b/tempcontent/c.png", Some("a/b"));
        check("/a/b/sense/tempcontent/c.png", Some("a/b"));
        check("/my.vp_1~x-y/tempcontent/c.png", Some("my.vp_1~x-y"));
        check("//analytics//tempcontent/c.png", Some("analytics"));
        check("/other/x/y.png", Some("other"));
        check("/x.png", Some("x.png"));
        check("/tempcontents/x.png", Some("tempcontents"));
        check("/a%20b/tempcontent/a.png", None);
        check("/a/b%2Fc/tempcontent/a.png", None);
        check("/%74empcontent/a.png", None);
        check("/caf\u{e9}/tempcontent/a.png", None);
        check("/a+b/tempcontent/a.png", None);
        check("/a;b/tempcontent/a.png", None);
        // Dot segments are resolved before anyone reads the path.
        check("/x/../analytics/tempcontent/a.png", Some("analytics"));
        check("/x/%2e%2e/tempcontent/a.png", Some(""));
        // The query is no part of it.
        check("/tempcontent/a.png?x=/analytics/tempcontent", Some(""));
    }

    #[test]
    fn read_off_the_setting() {
        let check = |setting: &str, expect: Option<&str>| {
            let found = VirtualProxy::of_setting(setting).ok();
            assert_eq!(found.as_ref().map(VirtualProxy::prefix), expect, "{setting:?}");
        };
        check("", Some(""));
        check(" / ", Some(""));
        check("sales", Some("sales"));
        check("/sales/", Some("sales"));
        check("//a/b//", Some("a/b"));
        check("a//b", None);
        check("a b", None);
        check("../x", None);
        check("a/./b", None);
    }

    #[test]
    fn paths_at_qps() {
        let check = |vp: &str, ticket: &str, session: &str| {
            let vp = VirtualProxy::of_setting(vp).unwrap();
            assert_eq!(vp.ticket_path(), ticket);
            assert_eq!(vp.session_path("5d06-x/..?a"), session);
        };
        check("", "/qps/ticket", "/qps/session/5d06-x%2F%2E%2E%3Fa");
        check("analytics", "/qps/analytics/ticket", "/qps/analytics/session/5d06-x%2F%2E%2E%3Fa");
        check("a/b", "/qps/a/b/ticket", "/qps/a/b/session/5d06-x%2F%2E%2E%3Fa");
    }

    proptest! {
        #[test]
        fn what_is_taken_can_stand_in_a_path(path in "(/[a-zA-Z0-9%._~ \u{e9}-]{0,8}){0,5}") {
            let url = Url::parse(&format!("https://qlik.test{path}")).unwrap();
            if let Ok(vp) = VirtualProxy::of_url(&url) {
                let ticket = vp.ticket_path();
                let parsed = Url::parse(&format!("https://qps.test{ticket}")).unwrap();
                prop_assert_eq!(parsed.path(), ticket.as_str());
            }
        }
    }
}
