//! Access control of the operations endpoints.
//!
//! `/metrics` and `/health` are open to everybody who reaches the port. Everything else requires the token,
//! if one is configured; without one it is served on loopback only. There the danger is a page in the
//! administrator's own browser: the `Host` header reveals a page whose name resolves to this machine, and the
//! header `X-Butler-SOS` prevents form posts, because no form and no other origin can send it.
//! [`origin`](super::origin) detects other requests of foreign pages, and proxies that open the loopback to
//! others.
//!
//! With a token, the dashboard's own files are open: they contain no data, and ask for the token.

use std::net::{IpAddr, SocketAddr};

use actix_web::http::StatusCode;
use openssl::memcmp;
use secrecy::{ExposeSecret, SecretString};

use super::answer::Refusal;
use super::asked::Asked;
use super::assets;
use super::origin::{is_fetched_by_another_page, looks_fetched_by_another_page};

/// The endpoints that a listener serves, and the rules of access.
#[derive(Clone)]
pub struct Access {
    token: Option<SecretString>,
    /// Reachable from other machines.
    exposed: bool,
    /// As configured: a name that may stand in `Host`.
    host: String,
    serves: Serves,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Serves {
    Everything,
    /// Butler SOS's own `prometheus` and `dockerHealthCheck`.
    Only(&'static str),
    /// Its `configVisualisation`.
    Configuration,
}

/// What the configuration's listener serves.
const CONFIGURATION_PATHS: [&str; 3] = ["/", "/configuration", "/api/configuration"];

impl Access {
    #[must_use]
    pub fn operations(address: SocketAddr, host: &str, token: Option<SecretString>) -> Self {
        let exposed = !address.ip().is_loopback();
        Self { token, exposed, host: host.to_owned(), serves: Serves::Everything }
    }

    #[must_use]
    pub fn only(path: &'static str) -> Self {
        Self { token: None, exposed: true, host: String::new(), serves: Serves::Only(path) }
    }

    /// Only the configuration, under the same rules.
    #[must_use]
    pub fn configuration(address: SocketAddr, host: &str, token: Option<SecretString>) -> Self {
        Self { serves: Serves::Configuration, ..Self::operations(address, host, token) }
    }

    /// Whether `/` is the effective configuration.
    #[must_use]
    pub fn configuration_first(&self) -> bool {
        self.serves == Serves::Configuration
    }

    #[must_use]
    pub fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// # Errors
    /// 404 for paths that this listener does not serve, 401 without the token, 403 for everything else.
    pub fn check(&self, asked: &Asked<'_>) -> Result<(), Refusal> {
        let path = asked.path;
        let is_served = match self.serves {
            Serves::Everything => true,
            Serves::Only(only) => only == path,
            Serves::Configuration => CONFIGURATION_PATHS.contains(&path) || assets::is_asset(path),
        };
        if !is_served {
            return Err(Refusal::not_found("not found"));
        }
        if matches!(path, "/metrics" | "/health") {
            return Ok(());
        }
        match &self.token {
            Some(_) if path == "/" || assets::is_asset(path) => {
                if is_fetched_by_another_page(asked) {
                    Err(of_another_page())
                } else {
                    Ok(())
                }
            }
            Some(token) if bearer_is(asked.authorization, token.expose_secret()) => Ok(()),
            Some(_) => Err(Refusal::new(StatusCode::UNAUTHORIZED, "the token is missing or wrong")),
            None if self.exposed => {
                Err(forbidden("access from other machines requires Pipeline.operations.token"))
            }
            None if !self.is_own_name(asked.host) => Err(forbidden(
                "the Host header names another machine: use localhost, or set Pipeline.operations.token",
            )),
            None if asked.is_passed_on => Err(forbidden(
                "a proxy passed this on (its headers or HTTP/1.0 say so): set Pipeline.operations.token; without one, this is answered on this machine alone",
            )),
            None if is_fetched_by_another_page(asked) || looks_fetched_by_another_page(asked) => {
                Err(of_another_page())
            }
            None if is_change(asked) && asked.own_header != Some("1") => {
                Err(forbidden("changes need the header X-Butler-SOS: 1"))
            }
            None => Ok(()),
        }
    }

    /// A name that only this machine has, or the configured one.
    fn is_own_name(&self, host: Option<&str>) -> bool {
        let Some(host) = host else { return false };
        let name = without_port(host);
        let address = name.trim_start_matches('[').trim_end_matches(']');
        address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
            || name.eq_ignore_ascii_case("localhost")
            || (!self.host.is_empty() && name.eq_ignore_ascii_case(&self.host))
    }
}

fn is_change(asked: &Asked<'_>) -> bool {
    let is_reading = matches!(asked.method, "GET" | "HEAD");
    // The endpoint of tests, which no release contains.
    let is_test = cfg!(feature = "test-panics") && asked.path.starts_with("/test/panic/");
    !is_reading && !is_test
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !is_bare_v6(host) => name,
        _ => host,
    }
}

fn is_bare_v6(host: &str) -> bool {
    !host.starts_with('[') && host.matches(':').count() > 1
}

fn of_another_page() -> Refusal {
    forbidden(
        "a page of another site asks for this: open the dashboard itself, or set Pipeline.operations.token",
    )
}

fn forbidden(detail: &str) -> Refusal {
    Refusal::new(StatusCode::FORBIDDEN, detail)
}

fn bearer_is(authorization: Option<&str>, token: &str) -> bool {
    let Some((scheme, given)) = authorization.and_then(|value| value.split_once(' ')) else { return false };
    let given = given.trim();
    scheme.eq_ignore_ascii_case("bearer")
        && given.len() == token.len()
        && memcmp::eq(given.as_bytes(), token.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operations::asked::BrowserHeaders;

    const LOOPBACK: &str = "127.0.0.1:9842";
    const EVERYWHERE: &str = "0.0.0.0:9842";

    fn access(address: &str, token: Option<&str>) -> Access {
        let address: SocketAddr = address.parse().expect("an address");
        Access::operations(address, "butler.lab", token.map(SecretString::from))
    }

    fn get(path: &str) -> Asked<'_> {
        Asked { method: "GET", path, host: Some("localhost:9842"), ..Asked::default() }
    }

    fn check(access: &Access, asked: &Asked<'_>, expect: u16) {
        let status = access.check(asked).map_or_else(|refusal| refusal.status.as_u16(), |()| 200);
        assert_eq!(status, expect, "{asked:?}");
    }

    #[test]
    fn each_endpoint_has_its_rule_of_access() {
        let bearer = |text| Some(text);
        for path in ["/ready", "/", "/app.js", "/api/state", "/api/events", "/configuration"] {
            check(&access(LOOPBACK, None), &get(path), 200);
            check(&access(EVERYWHERE, None), &get(path), 403);
            let open = if matches!(path, "/" | "/app.js") { 200 } else { 401 };
            for address in [LOOPBACK, EVERYWHERE] {
                let with_token = access(address, Some("s"));
                check(&with_token, &get(path), open);
                let wrong = Asked { authorization: bearer("Bearer t"), ..get(path) };
                check(&with_token, &wrong, open);
                let right = Asked { authorization: bearer("bearer s"), ..get(path) };
                check(&with_token, &right, 200);
            }
        }
        for path in ["/metrics", "/health"] {
            for (address, token) in
                [(LOOPBACK, None), (EVERYWHERE, None), (LOOPBACK, Some("s")), (EVERYWHERE, Some("s"))]
            {
                let stranger = Asked { host: Some("evil.example"), ..get(path) };
                check(&access(address, token), &stranger, 200);
            }
        }
    }

    #[test]
    fn a_page_with_a_foreign_host_name_is_refused() {
        let of_host = |host| Asked { host, ..get("/api/state") };
        for host in [
            "localhost",
            "LOCALHOST:9842",
            "127.0.0.1:9842",
            "127.9.9.9",
            "[::1]:9842",
            "[::1]",
            "::1",
            "butler.lab:9842",
            "Butler.Lab",
        ] {
            check(&access(LOOPBACK, None), &of_host(Some(host)), 200);
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example:9842",
            "10.0.0.1",
            "",
            ":9842",
            "[::2]:9842",
            "butler.lab.evil",
            "evil@localhost",
        ] {
            check(&access(LOOPBACK, None), &of_host(Some(host)), 403);
        }
        check(&access(LOOPBACK, None), &of_host(None), 403);
        // A client with the token is accepted under any name.
        let known = Asked { authorization: Some("Bearer s"), ..of_host(Some("proxy.lab")) };
        check(&access(LOOPBACK, Some("s")), &known, 200);
    }

    #[test]
    fn a_foreign_page_gets_only_metrics_and_health() {
        let of_page = |path, site| {
            let browser = BrowserHeaders {
                fetch_site: site,
                origin: Some("http://evil.example"),
                ..Default::default()
            };
            Asked { browser, ..get(path) }
        };
        for site in [Some("cross-site"), Some("same-site"), None] {
            for path in ["/", "/app.js", "/ready", "/api/state", "/api/live", "/configuration"] {
                check(&access(LOOPBACK, None), &of_page(path, site), 403);
            }
            for path in ["/metrics", "/health"] {
                check(&access(LOOPBACK, None), &of_page(path, site), 200);
            }
            // A page cannot send the token of another origin, so a client with the token is not a foreign
            // page.
            let known = Asked { authorization: Some("Bearer s"), ..of_page("/api/live", site) };
            check(&access(EVERYWHERE, Some("s")), &known, 200);
            check(&access(EVERYWHERE, Some("s")), &of_page("/api/live", site), 401);
        }
        check(&access(EVERYWHERE, Some("s")), &of_page("/app.js", Some("cross-site")), 403);
        // A proxy in front gives it another name.
        check(&access(EVERYWHERE, Some("s")), &of_page("/app.js", None), 200);
    }

    #[test]
    fn behind_a_proxy_a_token_is_needed() {
        for path in ["/", "/app.js", "/ready", "/api/state", "/api/live", "/configuration"] {
            let passed_on = Asked { is_passed_on: true, ..get(path) };
            check(&access(LOOPBACK, None), &passed_on, 403);
            let open = if matches!(path, "/" | "/app.js") { 200 } else { 401 };
            check(&access(LOOPBACK, Some("s")), &passed_on, open);
            check(&access(LOOPBACK, Some("s")), &Asked { authorization: Some("Bearer s"), ..passed_on }, 200);
        }
        for path in ["/metrics", "/health"] {
            check(&access(LOOPBACK, None), &Asked { is_passed_on: true, ..get(path) }, 200);
        }
    }

    #[test]
    fn a_refusal_names_the_setting_that_helps() {
        let check = |access: &Access, asked: &Asked<'_>| {
            let refusal = access.check(asked).expect_err("a refusal");
            assert!(refusal.detail.contains("Pipeline.operations.token"), "{refusal}");
        };
        let foreign = BrowserHeaders { fetch_site: Some("cross-site"), ..Default::default() };
        check(&access(EVERYWHERE, None), &get("/api/state"));
        check(&access(LOOPBACK, None), &Asked { host: Some("evil.example"), ..get("/") });
        check(&access(LOOPBACK, None), &Asked { is_passed_on: true, ..get("/") });
        check(&access(LOOPBACK, None), &Asked { browser: foreign, ..get("/") });
    }

    #[test]
    fn a_form_changes_nothing() {
        let post = Asked { method: "POST", ..get("/api/replay") };
        check(&access(LOOPBACK, None), &post, 403);
        check(&access(LOOPBACK, None), &Asked { own_header: Some("1"), ..post }, 200);
        check(&access(LOOPBACK, None), &Asked { method: "DELETE", ..post }, 403);
        check(&access(LOOPBACK, Some("s")), &Asked { own_header: Some("1"), ..post }, 401);
        check(&access(LOOPBACK, Some("s")), &Asked { authorization: Some("Bearer s"), ..post }, 200);
    }

    #[test]
    fn a_separate_listener_serves_only_its_path() {
        check(&Access::only("/metrics"), &get("/metrics"), 200);
        check(&Access::only("/metrics"), &get("/health"), 404);
        check(&Access::only("/metrics"), &get("/ready"), 404);
        let address: SocketAddr = LOOPBACK.parse().expect("an address");
        let configuration = Access::configuration(address, "", None);
        for path in ["/", "/configuration", "/api/configuration", "/style.css"] {
            check(&configuration, &get(path), 200);
        }
        for path in ["/metrics", "/api/state", "/api/events", "/api/dead-letters"] {
            check(&configuration, &get(path), 404);
        }
    }
}
