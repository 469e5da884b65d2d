//! CORS: the web pages that may read the answers.
//!
//! Not `actix-cors`, because the recorded behaviour differs: a preflight from an origin that is not allowed
//! is answered with 204 without `Access-Control-Allow-Origin`, where `actix-cors` answers 400; and `*` is
//! sent as it is, never the echoed origin. Contract: `audit-api.md`, "CORS".

use actix_web::HttpRequest;
use actix_web::http::header::{self, HeaderName, HeaderValue};

/// `cors.allowedOrigins`.
#[derive(Debug, Clone)]
pub enum Cors {
    /// Sends no headers.
    Off,
    /// The list contains `*`.
    Any,
    Only(Vec<String>),
}

type Headers = Vec<(HeaderName, HeaderValue)>;

impl Cors {
    pub fn new(allowed_origins: &[String]) -> Self {
        if allowed_origins.iter().any(|origin| origin == "*") {
            Self::Any
        } else if allowed_origins.is_empty() {
            Self::Off
        } else {
            // Browsers send scheme and host in lower case.
            let is_address = |origin: &&String| origin.contains("://");
            let small = allowed_origins.iter().filter(is_address).map(|origin| origin.to_ascii_lowercase());
            Self::Only(allowed_origins.iter().cloned().chain(small).collect())
        }
    }

    /// The headers of an answer to `request`.
    pub fn headers(&self, request: &HttpRequest, is_preflight: bool) -> Headers {
        let mut headers = Vec::new();
        let origin = request.headers().get(header::ORIGIN);
        let vary = match self {
            Self::Off => return headers,
            Self::Any => {
                headers.push((header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*")));
                is_preflight.then_some("Access-Control-Request-Headers")
            }
            Self::Only(allowed) => {
                let known =
                    |origin: &&HeaderValue| allowed.iter().any(|one| one.as_bytes() == origin.as_bytes());
                if let Some(origin) = origin.filter(known) {
                    headers.push((header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone()));
                }
                Some(if is_preflight { "Origin, Access-Control-Request-Headers" } else { "Origin" })
            }
        };
        if let Some(vary) = vary {
            headers.push((header::VARY, HeaderValue::from_static(vary)));
        }
        if is_preflight {
            let methods = HeaderValue::from_static("GET, POST, OPTIONS");
            headers.push((header::ACCESS_CONTROL_ALLOW_METHODS, methods));
            if let Some(asked) = request.headers().get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
                headers.push((header::ACCESS_CONTROL_ALLOW_HEADERS, asked.clone()));
            }
        }
        headers
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    fn check(allowed: &[&str], origin: Option<&str>, is_preflight: bool, expect: &[(&str, &str)]) {
        let allowed: Vec<String> = allowed.iter().map(|origin| (*origin).to_owned()).collect();
        let mut request = TestRequest::post().insert_header(("access-control-request-headers", "x-a,b"));
        if let Some(origin) = origin {
            request = request.insert_header(("origin", origin));
        }
        let headers = Cors::new(&allowed).headers(&request.to_http_request(), is_preflight);
        let mut got: Vec<_> =
            headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        got.sort_unstable();
        assert_eq!(got, expect, "{allowed:?} {origin:?} {is_preflight}");
    }

    #[test]
    fn sends_headers_for_allowed_origins_only() {
        const PAGE: &str = "https://a.test";
        const ORIGIN: &str = "access-control-allow-origin";
        const METHODS: (&str, &str) = ("access-control-allow-methods", "GET, POST, OPTIONS");
        const ASKED: (&str, &str) = ("access-control-allow-headers", "x-a,b");
        check(&[], Some(PAGE), false, &[]);
        check(&[], Some(PAGE), true, &[]);
        check(&["*"], None, false, &[(ORIGIN, "*")]);
        check(&[PAGE, "*"], Some(PAGE), false, &[(ORIGIN, "*")]);
        check(
            &["*"],
            Some(PAGE),
            true,
            &[ASKED, METHODS, (ORIGIN, "*"), ("vary", "Access-Control-Request-Headers")],
        );
        check(&[PAGE], Some(PAGE), false, &[(ORIGIN, PAGE), ("vary", "Origin")]);
        check(&[PAGE], None, false, &[("vary", "Origin")]);
        for other in ["https://a.test.evil", "http://a.test", "https://A.test", "https://a.test/", "null"] {
            check(&[PAGE], Some(other), false, &[("vary", "Origin")]);
        }
        check(&["HTTPS://A.Test"], Some(PAGE), false, &[(ORIGIN, PAGE), ("vary", "Origin")]);
        check(&["NULL"], Some("null"), false, &[("vary", "Origin")]);
        let vary = ("vary", "Origin, Access-Control-Request-Headers");
        check(&[PAGE], Some(PAGE), true, &[ASKED, METHODS, (ORIGIN, PAGE), vary]);
        check(&[PAGE], Some("https://evil.test"), true, &[ASKED, METHODS, vary]);
    }
}
