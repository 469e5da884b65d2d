//! New Relic's event API: one account, its address and limits, and the meaning of answers.
//! Contract: user-events.md, "New Relic".
//!
//! `POST {url}/v1/accounts/{id}/events` with the header `Api-Key` and a gzipped JSON array. New Relic checks
//! key, headers and size before it answers, and the events only afterwards: an event that it cannot parse
//! becomes an `NrIntegrationError` in the account, and an event older than a day is lost.
//!
//! | status | means |
//! |---|---|
//! | 200 with `"success":true`, 202 with that or a `requestId` | accepted |
//! | any other 2xx | not an answer of New Relic: retried |
//! | 400, 422 with JSON | something in the request is refused: splitting finds the event |
//! | 400, 422 without | not an answer of New Relic: retried |
//! | 413 | too large: split |
//! | any other | not caused by the data (403: the key; 404: the account or the API's address; 429: too many
//! requests): retried |

use std::fmt;
use std::time::Duration;

use awc::http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue};
use bytes::Bytes;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use url::Url;

use crate::kit::delivery_error::DeliveryError;
use crate::net::http_client::{self, Answer, Endpoint, compressed, sensitive, shortened, status_class};
use crate::net::tls::certificate_fault::CertificateWatch;
use crate::net::tls::reread::Reread;
use crate::net::tls::{ClientTls, TlsError};

/// New Relic's limit of events in one request.
pub const EVENTS_MAX: usize = 2_000;
/// Bytes of events in one request, uncompressed. New Relic's limit is 10^6 bytes, compressed; events that do
/// not compress must fit too.
pub const BODY_BYTES_MAX: usize = 990_000;
/// The default time limit from sending a request to its answer.
pub const POST_TIMEOUT: Duration = Duration::from_secs(10);
/// The maximum time limit when New Relic, or a proxy, is slow.
pub const POST_TIMEOUT_MAX: Duration = Duration::from_secs(120);

/// Connection settings of one account at New Relic.
#[derive(Clone)]
pub struct NewRelicConfig {
    /// `newRelic.event.url`: an http or https address. `/v1/accounts/…` is appended.
    pub url: String,
    pub account: NewRelicAccount,
    /// `newRelic.event.header`: names and values. They never replace the headers that the API needs.
    pub headers: Vec<(String, SecretString)>,
    /// The time limit of one whole request.
    pub timeout: Duration,
    pub reread: Reread,
}

/// An entry of `thirdPartyToolsCredentials.newRelic`.
#[derive(Debug, Clone)]
pub struct NewRelicAccount {
    /// `accountId`.
    pub id: String,
    /// `insertApiKey`.
    pub api_key: SecretString,
}

/// An invalid configuration. Contains neither keys nor header values.
#[derive(Debug, thiserror::Error)]
pub enum NewRelicError {
    #[error("newRelic.event.url is not a plain http or https address")]
    Address,
    #[error("the key of account {0} is empty or contains characters that HTTP does not allow")]
    Key(String),
    #[error("newRelic.event.header: {0:?} is not a valid header")]
    Header(String),
    #[error("TLS: {0}")]
    Tls(#[from] TlsError),
}

/// A client of one account. It belongs to the arbiter that created it.
pub struct NewRelicClient {
    config: NewRelicConfig,
    http: awc::Client,
    endpoint: Endpoint,
    url: String,
    api_key: HeaderValue,
    headers: Vec<(HeaderName, HeaderValue)>,
    headers_left_out: Vec<String>,
}

/// The meaning of an answer for the events that were sent.
#[derive(Debug)]
pub(crate) enum Verdict {
    Taken,
    /// Something in the request is refused, with this message.
    Refused(String),
    TooLarge(String),
    DeliveryError(DeliveryError),
}

const API_KEY: &str = "api-key";

/// The class of the delivery error when the server that answers is not New Relic.
pub const NOT_NEW_RELIC: &str = "not-new-relic";
/// The length of the excerpt of such an answer.
const FOREIGN_CHARS_MAX: usize = 200;

/// Headers that this client or HTTP sets.
const OWN_HEADERS: [&str; 7] = [
    API_KEY,
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "host",
    "transfer-encoding",
];

// === impl NewRelicClient ===

impl NewRelicClient {
    /// Does not connect yet.
    ///
    /// # Errors
    /// When the address, the key or a header is invalid.
    pub fn new(config: NewRelicConfig) -> Result<Self, NewRelicError> {
        let url = address(&config.url, &config.account.id).ok_or(NewRelicError::Address)?;
        let key = Some(&config.account.api_key).filter(|key| !key.expose_secret().is_empty());
        let api_key = key.and_then(sensitive).ok_or_else(|| NewRelicError::Key(config.account.id.clone()))?;
        let mut headers = Vec::with_capacity(config.headers.len());
        let mut headers_left_out = Vec::new();
        for (name, value) in &config.headers {
            let parsed = HeaderName::from_bytes(name.trim().as_bytes())
                .ok()
                .zip(HeaderValue::from_str(value.expose_secret()).ok());
            let (parsed, mut value) = parsed.ok_or_else(|| NewRelicError::Header(name.clone()))?;
            if OWN_HEADERS.contains(&parsed.as_str()) {
                headers_left_out.push(name.clone());
                continue;
            }
            // Some of these values are keys of a proxy.
            value.set_sensitive(true);
            headers.push((parsed, value));
        }
        let watch = CertificateWatch::default();
        let tls =
            if url.starts_with("https:") { Some(ClientTls::default().http_connector(&watch)?) } else { None };
        let http = http_client::client(tls, config.timeout);
        let (host, origin) = host_and_origin(&url);
        let endpoint = Endpoint { name: format!("New Relic at {origin}"), host, watch };
        Ok(Self { config, http, endpoint, url, api_key, headers, headers_left_out })
    }

    /// Names of configured headers that are not sent, because this client sets them.
    #[must_use]
    pub fn headers_left_out(&self) -> &[String] {
        &self.headers_left_out
    }

    /// Sends a request without events and returns what the answer means for later events. Nothing is stored.
    ///
    /// # Errors
    /// The reason why events would not be accepted.
    pub async fn examine(&self) -> Result<String, DeliveryError> {
        let account = &self.config.account.id;
        match self.post(b"", self.config.timeout).await? {
            Verdict::Taken => Ok(format!("{} accepts events for account {account}", self.endpoint.name)),
            // New Relic checks address and key before the events, and this request has none.
            Verdict::Refused(detail) | Verdict::TooLarge(detail) => Ok(format!(
                "{} answers, and finds no fault with account {account} and its key (to a request without events it says: \
                 {detail})",
                self.endpoint.name
            )),
            Verdict::DeliveryError(trouble) => Err(trouble),
        }
    }

    /// Sends events: JSON objects, each followed by a comma.
    pub(crate) async fn post(&self, events: &[u8], timeout: Duration) -> Result<Verdict, DeliveryError> {
        let body = compressed(array(events)).await?;
        let mut request = self.http.post(&self.url).timeout(timeout);
        for (name, value) in &self.headers {
            request = request.append_header((name.clone(), value.clone()));
        }
        let request = request
            .insert_header((CONTENT_TYPE, "application/json; charset=utf-8"))
            .insert_header((CONTENT_ENCODING, "gzip"))
            .insert_header((HeaderName::from_static(API_KEY), self.api_key.clone()));
        let key = Some(self.config.account.api_key.expose_secret());
        let answer = http_client::exchange(request, body, timeout, &self.endpoint, key).await?;
        Ok(verdict(&answer))
    }
}

impl fmt::Debug for NewRelicClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NewRelicClient({})", self.url)
    }
}

// === helpers ===

/// The address of an account's events.
fn address(base: &str, account_id: &str) -> Option<String> {
    let mut url = Url::parse(base.trim()).ok()?;
    let is_plain = matches!(url.scheme(), "http" | "https")
        && url.has_host()
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    if !is_plain || account_id.trim().is_empty() {
        return None;
    }
    url.path_segments_mut().ok()?.pop_if_empty().extend(["v1", "accounts", account_id.trim(), "events"]);
    Some(url.into())
}

/// The host; and the scheme, host and port.
fn host_and_origin(url: &str) -> (String, String) {
    let parts =
        |url: Url| (url.host_str().unwrap_or_default().to_owned(), url.origin().ascii_serialization());
    Url::parse(url).map(parts).unwrap_or_default()
}

/// Converts `{…},{…},` to `[{…},{…}]`.
fn array(events: &[u8]) -> Bytes {
    let mut array = Vec::with_capacity(events.len() + 2);
    array.push(b'[');
    array.extend_from_slice(events.strip_suffix(b",").unwrap_or(events));
    array.push(b']');
    array.into()
}

fn verdict(answer: &Answer) -> Verdict {
    let json: Value = serde_json::from_str(&answer.body).unwrap_or_default();
    let detail = detail(&json, &answer.body, answer.status);
    match answer.status {
        200 | 202 if json.get("success") == Some(&Value::Bool(true)) => Verdict::Taken,
        202 if json.get("requestId").is_some_and(Value::is_string) => Verdict::Taken,
        400 | 422 if json.is_object() => Verdict::Refused(detail),
        status @ (200..=299 | 400 | 422) => {
            let excerpt: String = detail.split_whitespace().collect::<Vec<_>>().join(" ");
            let excerpt: String = excerpt.chars().take(FOREIGN_CHARS_MAX).collect();
            let detail = format!(
                "what answers with status {status} is not New Relic, or something stands before it (expected: status 200 \
                 and \"success\":true; check newRelic.event.url and proxies): {excerpt}"
            );
            Verdict::DeliveryError(DeliveryError {
                class: NOT_NEW_RELIC,
                detail,
                retry_after: answer.retry_after,
            })
        }
        413 => Verdict::TooLarge(detail),
        status => {
            let hint = match status {
                401 | 403 => " (check insertApiKey and accountId)",
                404 => " (check newRelic.event.url and accountId)",
                300..=399 => " (redirects are not followed; check newRelic.event.url)",
                _ => "",
            };
            let detail = format!("New Relic answered {status}{hint}: {detail}");
            Verdict::DeliveryError(DeliveryError {
                class: status_class(status),
                detail,
                retry_after: answer.retry_after,
            })
        }
    }
}

/// The message of an answer, for people: from JSON, or plain text.
fn detail(json: &Value, body: &str, status: u16) -> String {
    let message = ["error", "message", "errorMessage"].iter().find_map(|key| json.get(key)?.as_str());
    match message.unwrap_or(body).trim() {
        "" => format!("status {status} without a message"),
        detail => shortened(detail),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(url: &str) -> NewRelicConfig {
        NewRelicConfig {
            url: url.to_owned(),
            account: NewRelicAccount { id: "17".to_owned(), api_key: "sekrit-key".into() },
            headers: Vec::new(),
            timeout: POST_TIMEOUT,
            reread: Reread::default(),
        }
    }

    #[test]
    fn addresses() {
        let check = |base: &str, account: &str, expect: Option<&str>| {
            assert_eq!(address(base, account).as_deref(), expect, "{base} {account}");
        };
        let eu = "https://insights-collector.eu01.nr-data.net";
        let expect = "https://insights-collector.eu01.nr-data.net/v1/accounts/17/events";
        check(eu, "17", Some(expect));
        check(&format!("{eu}/"), " 17 ", Some(expect));
        check(
            "http://127.0.0.1:8080/relay/nr",
            "17",
            Some("http://127.0.0.1:8080/relay/nr/v1/accounts/17/events"),
        );
        check("http://[::1]:8080", "17", Some("http://[::1]:8080/v1/accounts/17/events"));
        check("https://h", "../1?x#y", Some("https://h/v1/accounts/..%2F1%3Fx%23y/events"));
        for bad in
            ["", "h", "ftp://h", "https://", "https://u:p@h", "https://u@h", "https://h?q", "https://h#f"]
        {
            check(bad, "17", None);
        }
        check(eu, " ", None);
    }

    #[actix_rt::test]
    async fn headers_and_keys() {
        let with = |headers: &[(&str, &str)]| {
            let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect();
            NewRelicClient::new(NewRelicConfig { headers, ..config("https://h") })
        };
        let client =
            with(&[("X-Proxy", "token-x"), ("api-KEY", "x"), ("Content-Type", "text/plain")]).unwrap();
        assert_eq!(client.headers.len(), 1);
        assert_eq!(client.headers_left_out(), ["api-KEY", "Content-Type"]);
        let shown = format!("{client:?} {:?} {:?}", client.headers, client.config.account);
        assert!(!shown.contains("sekrit") && !shown.contains("token-x"), "{shown}");
        for bad in [("a b", "x"), ("", "x"), ("a", "x\ny")] {
            assert!(matches!(with(&[bad]), Err(NewRelicError::Header(_))), "{bad:?}");
        }
        for key in ["", "a\nb"] {
            let mut config = config("https://h");
            config.account.api_key = key.into();
            let error = NewRelicClient::new(config).unwrap_err();
            assert!(matches!(error, NewRelicError::Key(_)), "{error}");
        }
        assert!(matches!(NewRelicClient::new(config("h")), Err(NewRelicError::Address)));
    }

    #[test]
    fn arrays() {
        assert_eq!(array(b"{},{\"a\":\"},\"},"), r#"[{},{"a":"},"}]"#);
        assert_eq!(array(b""), "[]");
    }

    #[test]
    fn maps_answers_to_verdicts() {
        let answer =
            |status, body: &str| verdict(&Answer { status, retry_after: None, body: body.to_owned() });
        for (status, body) in [
            (200, r#"{"success":true,"uuid":"f00d"}"#),
            (202, r#"{"success":true}"#),
            (202, r#"{"requestId":"f00d"}"#),
        ] {
            assert!(matches!(answer(status, body), Verdict::Taken), "{status} {body}");
        }
        for (status, body) in [
            (200, ""),
            (200, "<!doctype html><html><body>Sign in</body></html>"),
            (200, r#"{"success":false}"#),
            (200, r#"{"success":"true"}"#),
            (200, r#"{"requestId":"f00d"}"#),
            (201, r#"{"success":true}"#),
            (204, ""),
            (400, "<html><body>Bad Request</body></html>"),
            (422, ""),
        ] {
            let Verdict::DeliveryError(trouble) = answer(status, body) else { panic!("{status} {body}") };
            assert_eq!(trouble.class, NOT_NEW_RELIC, "{status} {body}");
            assert!(trouble.detail.contains(&status.to_string()), "{}", trouble.detail);
        }
        for status in [400, 422] {
            assert!(
                matches!(answer(status, r#"{"error":"why"}"#), Verdict::Refused(detail) if detail == "why")
            );
        }
        assert!(
            matches!(answer(413, ""), Verdict::TooLarge(detail) if detail == "status 413 without a message")
        );
        for (status, class) in [
            (302, "http-3xx"),
            (403, "http-403"),
            (404, "http-404"),
            (408, "http-408"),
            (415, "http-415"),
            (429, "http-429"),
            (503, "http-503"),
        ] {
            let Verdict::DeliveryError(trouble) = answer(status, " plain words ") else { panic!("{status}") };
            assert_eq!(trouble.class, class);
            assert!(trouble.detail.ends_with(": plain words"), "{}", trouble.detail);
        }
    }
}
