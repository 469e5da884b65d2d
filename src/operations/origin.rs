//! Determines what made a browser send a request: our own page, its user, or a page of another origin.
//!
//! Browsers send `Sec-Fetch-Site` (all of them since 2023, to loopback and by https). A link from Grafana, a
//! wiki or a mail opens the page; other requests of a foreign page are refused before they cost anything.
//! Without these headers (an older browser, a name that is not `localhost`), `Origin` and `Referer` decide,
//! and for a stream, which occupies a place, the header that no other page can send.
//!
//! A reverse proxy is recognised by the headers that it adds, or by HTTP/1.0, which nginx uses by default and
//! no current browser or tool. A proxy that adds no headers and speaks HTTP/1.1 cannot be distinguished from
//! a client on this machine.

use actix_web::http::header::HeaderMap;

use super::asked::Asked;

/// A stream stays open and occupies a place.
const STREAMS: [&str; 2] = ["/api/live", "/api/tail"];

/// Paths that people open.
const PAGES: [&str; 2] = ["/", "/configuration"];

/// Whether the browser reports a request of another origin's page, other than a link to a page or a document.
#[must_use]
pub fn is_fetched_by_another_page(asked: &Asked<'_>) -> bool {
    let browser = &asked.browser;
    match browser.fetch_site {
        None | Some("same-origin" | "none") => false,
        Some(_) => {
            let is_link = asked.method == "GET"
                && browser.fetch_mode == Some("navigate")
                && browser.fetch_dest == Some("document");
            !is_link || STREAMS.contains(&asked.path)
        }
    }
}

/// The same for a browser without these headers, as far as it can be determined.
#[must_use]
pub fn looks_fetched_by_another_page(asked: &Asked<'_>) -> bool {
    let browser = &asked.browser;
    if browser.fetch_site.is_some() {
        return false;
    }
    if let Some(origin) = browser.origin {
        return !is_of(origin, asked.host);
    }
    if browser.referer.is_some_and(|referer| !is_of(referer, asked.host)) {
        return asked.method != "GET" || !PAGES.contains(&asked.path);
    }
    // Every browser's value begins like this, and a page cannot change it without a preflight.
    let is_browser = browser.user_agent.is_some_and(|agent| agent.starts_with("Mozilla/"));
    is_browser && STREAMS.contains(&asked.path) && asked.own_header != Some("1")
}

/// Whether this URL has the requested host and port.
fn is_of(url: &str, host: Option<&str>) -> bool {
    let authority = url.split_once("://").map(|(_, rest)| rest.split('/').next().unwrap_or_default());
    authority.zip(host).is_some_and(|(authority, host)| authority.eq_ignore_ascii_case(host))
}

/// Whether a header shows that a proxy passed the request on.
#[must_use]
pub fn is_passed_on(headers: &HeaderMap) -> bool {
    headers.keys().any(|name| {
        let name = name.as_str();
        matches!(name, "forwarded" | "via" | "x-real-ip") || name.starts_with("x-forwarded-")
    })
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{self, HeaderName, HeaderValue};

    use super::*;
    use crate::operations::asked::BrowserHeaders;

    const HOST: &str = "localhost:9842";

    fn asked<'a>(method: &'a str, path: &'a str, browser: BrowserHeaders<'a>) -> Asked<'a> {
        Asked { method, path, host: Some(HOST), browser, ..Asked::default() }
    }

    #[test]
    fn a_link_opens_the_page_and_nothing_else_of_another_site_is_answered() {
        let check = |site: &str, mode: &str, dest: &str, method: &str, path: &str, expect: bool| {
            let browser = BrowserHeaders {
                fetch_site: Some(site),
                fetch_mode: Some(mode),
                fetch_dest: Some(dest),
                // Who says where it comes from is not asked twice.
                origin: Some("https://evil.example"),
                ..BrowserHeaders::default()
            };
            let asked = asked(method, path, browser);
            let what = format!("{site} {mode} {dest} {method} {path}");
            assert_eq!(!is_fetched_by_another_page(&asked), expect, "{what}");
            assert!(!looks_fetched_by_another_page(&asked), "{what}");
        };
        for site in ["cross-site", "same-site", "", "?"] {
            check(site, "navigate", "document", "GET", "/", true);
            check(site, "navigate", "document", "GET", "/configuration", true);
            check(site, "navigate", "document", "GET", "/api/state", true);
            check(site, "navigate", "document", "GET", "/api/live", false);
            check(site, "navigate", "document", "GET", "/api/tail", false);
            check(site, "navigate", "document", "POST", "/api/replay", false);
            check(site, "navigate", "document", "HEAD", "/", false);
            check(site, "navigate", "iframe", "GET", "/", false);
            check(site, "navigate", "object", "GET", "/", false);
            check(site, "nested-navigate", "document", "GET", "/", false);
            check(site, "no-cors", "image", "GET", "/api/screenshots/1/image", false);
            check(site, "no-cors", "script", "GET", "/app.js", false);
            check(site, "no-cors", "empty", "GET", "/api/live", false);
            check(site, "cors", "empty", "GET", "/api/state", false);
            check(site, "cors", "document", "GET", "/", false);
        }
        for site in ["same-origin", "none"] {
            check(site, "cors", "empty", "GET", "/api/live", true);
            check(site, "cors", "empty", "POST", "/api/replay", true);
            check(site, "navigate", "document", "GET", "/api/live", true);
            check(site, "no-cors", "style", "GET", "/style.css", true);
        }
    }

    #[test]
    fn a_browser_without_sec_fetch_site_is_recognised_by_other_headers() {
        let check = |origin: Option<&str>, referer: Option<&str>, method: &str, path: &str, expect: bool| {
            let browser =
                BrowserHeaders { origin, referer, user_agent: Some("Mozilla/5.0"), ..Default::default() };
            let asked = Asked { own_header: Some("1"), ..asked(method, path, browser) };
            assert_eq!(
                !looks_fetched_by_another_page(&asked),
                expect,
                "{origin:?} {referer:?} {method} {path}"
            );
        };
        check(None, None, "GET", "/api/live", true);
        check(Some("http://localhost:9842"), None, "POST", "/api/replay", true);
        check(Some("HTTP://LOCALHOST:9842"), None, "GET", "/api/live", true);
        check(None, Some("http://localhost:9842/"), "GET", "/api/state", true);
        for origin in [
            "http://localhost",
            "http://localhost:3000",
            "http://localhost:9842.evil.example",
            "http://evil.example/localhost:9842",
            "null",
            "?",
            "",
        ] {
            check(Some(origin), None, "GET", "/api/live", false);
            check(Some(origin), None, "GET", "/", false);
            check(Some(origin), None, "POST", "/api/replay", false);
            check(None, Some(origin), "GET", "/api/state", false);
            check(None, Some(origin), "GET", "/api/live", false);
            check(None, Some(origin), "GET", "/app.js", false);
            check(None, Some(origin), "POST", "/", false);
            // A link.
            check(None, Some(origin), "GET", "/", true);
            check(None, Some(origin), "GET", "/configuration", true);
        }
    }

    #[test]
    fn a_stream_without_sec_fetch_site_needs_the_header_of_our_page() {
        let check = |user_agent: Option<&str>, own_header: Option<&str>, path: &str, expect: bool| {
            let browser = BrowserHeaders { user_agent, ..BrowserHeaders::default() };
            let asked = Asked { own_header, ..asked("GET", path, browser) };
            assert_eq!(
                !looks_fetched_by_another_page(&asked),
                expect,
                "{user_agent:?} {own_header:?} {path}"
            );
        };
        for path in STREAMS {
            check(Some("Mozilla/5.0 (X11; Linux x86_64)"), None, path, false);
            check(Some("Mozilla/5.0 (X11; Linux x86_64)"), Some("1"), path, true);
            check(Some("curl/8.9.1"), None, path, true);
            check(None, None, path, true);
        }
        check(Some("Mozilla/5.0 (X11; Linux x86_64)"), None, "/api/state", true);
    }

    #[test]
    fn a_proxy_is_recognised_by_its_headers() {
        let check = |name: &'static str, expect: bool| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static(HOST));
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(""));
            assert_eq!(is_passed_on(&headers), expect, "{name}");
        };
        for name in
            ["forwarded", "via", "x-real-ip", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"]
        {
            check(name, true);
        }
        check("connection", false);
        check("x-butler-sos", false);
    }
}
