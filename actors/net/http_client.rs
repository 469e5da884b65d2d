//! The common part of HTTP destinations: one request, its answer, and the error without an answer.
//!
//! Connections are reused. Redirects are not followed and proxies of the environment not used, so that a
//! token goes only to the configured server. HTTP/1.1 only, TLS verified.

use std::io::{ErrorKind, Write as _};
use std::time::Duration;

use actix_web::error::ParseError;
use awc::ClientRequest;
use awc::error::{ConnectError, SendRequestError};
use awc::http::header::{HeaderValue, RETRY_AFTER};
use butler_sos_domain::retry;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::StreamExt;
use openssl::ssl::SslConnector;
use secrecy::{ExposeSecret, SecretString};
use time::OffsetDateTime;

use crate::kit::delivery_error::DeliveryError;
use crate::net::tls::certificate_fault::CertificateWatch;

/// The limit of name resolution, TCP and TLS.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The limit of the test whether name resolution caused a timeout.
const LOOK_UP_TIMEOUT: Duration = Duration::from_secs(2);
/// A connection that was idle for longer is not reused.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// One connection is used at a time. A second one helps while the first is being closed.
const CONNECTIONS_MAX: usize = 2;
/// Bodies from this size up are compressed on another thread.
const GZIP_ELSEWHERE_BYTES_MIN: usize = 256 * 1024;
/// At most this much of an answer's body is read.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// A longer `Retry-After` is reduced to this.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);
/// The maximum length of a server's message.
const WORDS_CHARS_MAX: usize = 900;
/// Shorter secrets also occur in ordinary text.
const SECRET_BYTES_MIN: usize = 4;
/// The class of the delivery error for an answer with a header that HTTP does not allow.
pub(crate) const UNREADABLE_HEADER: &str = "unreadable-header";

/// An HTTP answer, as far as it was read.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub status: u16,
    pub retry_after: Option<Duration>,
    pub body: String,
}

/// A client for the current arbiter. Without `tls` it supports only `http:` addresses.
pub(crate) fn client(tls: Option<SslConnector>, timeout: Duration) -> awc::Client {
    let mut connector = awc::Connector::new()
        .timeout(CONNECT_TIMEOUT)
        .handshake_timeout(CONNECT_TIMEOUT)
        .conn_keep_alive(KEEP_ALIVE)
        .limit(CONNECTIONS_MAX);
    if let Some(tls) = tls {
        connector = connector.openssl(tls);
    }
    awc::Client::builder().connector(connector).timeout(timeout).disable_redirects().finish()
}

/// A header value that no log shows; `None` when HTTP does not allow it.
pub(crate) fn sensitive(text: &SecretString) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text.expose_secret()).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// The server, for messages about a missing answer.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    /// `InfluxDB at http://db:8086`. Contains no secret.
    pub name: String,
    /// The name or address.
    pub host: String,
    /// Observes the client's connector.
    pub watch: CertificateWatch,
}

/// Sends a request and reads the answer, whatever its status. Removes `secret` from the answer.
pub(crate) async fn exchange(
    request: ClientRequest,
    body: Bytes,
    timeout: Duration,
    to: &Endpoint,
    secret: Option<&str>,
) -> Result<Answer, DeliveryError> {
    let mut answer = match request.send_body(body).await {
        Ok(answer) => answer,
        Err(error) => return Err(no_answer(to, &error).await),
    };
    let status = answer.status().as_u16();
    let pause = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let pause = pause.and_then(|value| retry_after(value, OffsetDateTime::now_utc()));
    // The status decides. A truncated body only shortens the message.
    let mut read = Vec::new();
    let reading = async {
        while let Some(Ok(chunk)) = answer.next().await {
            read.extend_from_slice(&chunk[..chunk.len().min(ANSWER_BYTES_MAX - read.len())]);
            if read.len() == ANSWER_BYTES_MAX {
                break;
            }
        }
    };
    let _in_time = tokio::time::timeout(timeout, reading).await;
    Ok(Answer { status, retry_after: pause, body: without_secret(&read, secret) })
}

/// A server may repeat the request in its answer.
pub(crate) fn without_secret(answer: &[u8], secret: Option<&str>) -> String {
    let text = String::from_utf8_lossy(answer);
    match secret {
        Some(secret) if secret.len() >= SECRET_BYTES_MIN && text.contains(secret) => {
            text.replace(secret, "***")
        }
        _ => text.into_owned(),
    }
}

/// The pause that a `Retry-After` header requests, up to the maximum.
fn retry_after(value: &str, now: OffsetDateTime) -> Option<Duration> {
    retry::retry_after(value, now).map(|pause| pause.min(RETRY_AFTER_MAX))
}

async fn no_answer(to: &Endpoint, error: &SendRequestError) -> DeliveryError {
    let (mut class, mut detail) = (class_of_no_response(error), no_response(error, &to.watch));
    // The time limit may have passed during name resolution.
    if class == "timeout"
        && let Some(fault) = name_fault(&to.host).await
    {
        (class, detail) = ("dns", fault);
    }
    DeliveryError::new(class, format!("no response from {}: {detail}", to.name))
}

/// Why a host has no address; `None` when it has one.
async fn name_fault(host: &str) -> Option<String> {
    let looking = tokio::net::lookup_host((host.trim_matches(['[', ']']), 0));
    match tokio::time::timeout(LOOK_UP_TIMEOUT, looking).await {
        Ok(Ok(_)) => None,
        Ok(Err(error)) => Some(unresolved(&error)),
        Err(_) => Some("its host name is not resolved in time".to_owned()),
    }
}

fn unresolved(error: &dyn std::fmt::Display) -> String {
    format!("its host name cannot be resolved ({error})")
}

/// Why there was no answer, for people.
pub(crate) fn no_response(error: &SendRequestError, watch: &CertificateWatch) -> String {
    if class_of_no_response(error) == "tls"
        && let Some(fault) = watch.take()
    {
        return fault;
    }
    match error {
        SendRequestError::Timeout => "it does not answer in time".to_owned(),
        SendRequestError::Connect(ConnectError::Timeout) => "no connection in time".to_owned(),
        SendRequestError::Connect(ConnectError::Resolver(error)) => unresolved(error),
        SendRequestError::Connect(ConnectError::NoRecords) => "its host name has no address".to_owned(),
        SendRequestError::Connect(ConnectError::Io(error)) if is_handshake(error) => {
            format!("the TLS handshake fails: {error}")
        }
        SendRequestError::Connect(ConnectError::Io(error)) => format!("no connection: {error}"),
        // The client reports a closed connection as a disconnected connector.
        SendRequestError::Connect(ConnectError::Disconnected) => {
            "the connection ended before the answer".to_owned()
        }
        error => error.to_string(),
    }
}

/// The metric label of a request without an answer.
pub(crate) fn class_of_no_response(error: &SendRequestError) -> &'static str {
    match error {
        SendRequestError::Timeout | SendRequestError::Connect(ConnectError::Timeout) => "timeout",
        SendRequestError::Connect(ConnectError::SslError(_)) => "tls",
        SendRequestError::Connect(ConnectError::Io(error)) if is_handshake(error) => "tls",
        SendRequestError::Connect(ConnectError::Resolver(_) | ConnectError::NoRecords) => "dns",
        SendRequestError::Connect(ConnectError::Disconnected) => "connection",
        SendRequestError::Connect(_) => "connect",
        SendRequestError::Response(ParseError::Header) => UNREADABLE_HEADER,
        _ => "connection",
    }
}

/// A failed handshake is an I/O error without its own kind.
fn is_handshake(error: &std::io::Error) -> bool {
    error.kind() == ErrorKind::Other
}

/// The metric label of an HTTP status.
pub(crate) fn status_class(status: u16) -> &'static str {
    match status {
        300..=399 => "http-3xx",
        400 => "http-400",
        401 => "http-401",
        403 => "http-403",
        404 => "http-404",
        405 => "http-405",
        408 => "http-408",
        409 => "http-409",
        413 => "http-413",
        415 => "http-415",
        422 => "http-422",
        429 => "http-429",
        402..=499 => "http-4xx",
        500 => "http-500",
        502 => "http-502",
        503 => "http-503",
        504 => "http-504",
        _ => "http-5xx",
    }
}

/// A server's message, shortened in the middle.
pub(crate) fn shortened(detail: &str) -> String {
    let count = detail.chars().count();
    if count <= WORDS_CHARS_MAX {
        return detail.to_owned();
    }
    let part = WORDS_CHARS_MAX / 2;
    let head = detail.chars().take(part);
    let tail = detail.chars().skip(count - part);
    head.chain(" … ".chars()).chain(tail).collect()
}

/// Compresses with gzip, outside the arbiter for large bodies.
pub(crate) async fn compressed(body: Bytes) -> Result<Bytes, DeliveryError> {
    let done = if body.len() < GZIP_ELSEWHERE_BYTES_MIN {
        gzip(&body)
    } else {
        let work = actix_rt::task::spawn_blocking(move || gzip(&body));
        work.await.map_err(|error| DeliveryError::new("compress", error.to_string()))?
    };
    done.map_err(|error| DeliveryError::new("compress", error.to_string()))
}

fn gzip(body: &[u8]) -> std::io::Result<Bytes> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
    encoder.write_all(body)?;
    encoder.finish().map(Bytes::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_retry_after() {
        let now = time::macros::datetime!(2026-11-21 03:00:00 UTC);
        let check = |value: &str, expect: Option<u64>| {
            assert_eq!(retry_after(value, now), expect.map(Duration::from_secs), "{value:?}");
        };
        check("7", Some(7));
        check(" 120 ", Some(120));
        check("Sat, 21 Nov 2026 03:00:30 GMT", Some(30));
        check("Sat, 21 Nov 2026 02:00:30 GMT", Some(0));
        check("99999999999999999999999", Some(3600));
        check("soon", None);
        check("", None);
        check("-3", None);
    }

    #[test]
    fn removes_secrets_from_answers() {
        let check = |secret: Option<&str>, expect: &str| {
            assert_eq!(without_secret(b"token sekrit is bad", secret), expect);
        };
        check(Some("sekrit"), "token *** is bad");
        check(Some("is"), "token sekrit is bad");
        check(None, "token sekrit is bad");
    }
}
