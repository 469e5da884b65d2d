//! The parts of a request that decide about access.

use actix_web::http::header::{self, HeaderMap};

/// The parts of a request that decide about access.
#[derive(Debug, Clone, Copy, Default)]
pub struct Asked<'a> {
    pub method: &'a str,
    pub path: &'a str,
    pub authorization: Option<&'a str>,
    pub host: Option<&'a str>,
    /// The header `X-Butler-SOS`.
    pub own_header: Option<&'a str>,
    pub browser: BrowserHeaders<'a>,
    /// Whether a proxy passed it on.
    pub is_passed_on: bool,
}

/// Headers that a browser adds.
#[derive(Debug, Clone, Copy, Default)]
pub struct BrowserHeaders<'a> {
    pub fetch_site: Option<&'a str>,
    pub fetch_mode: Option<&'a str>,
    pub fetch_dest: Option<&'a str>,
    pub origin: Option<&'a str>,
    pub referer: Option<&'a str>,
    pub user_agent: Option<&'a str>,
}

/// Replaces a value that is not text. It matches nothing that is allowed.
const UNREADABLE: &str = "?";

impl<'a> BrowserHeaders<'a> {
    #[must_use]
    pub fn of(headers: &'a HeaderMap) -> Self {
        let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or(UNREADABLE));
        Self {
            fetch_site: text("sec-fetch-site"),
            fetch_mode: text("sec-fetch-mode"),
            fetch_dest: text("sec-fetch-dest"),
            origin: text(header::ORIGIN.as_str()),
            referer: text(header::REFERER.as_str()),
            user_agent: text(header::USER_AGENT.as_str()),
        }
    }
}
