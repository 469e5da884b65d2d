//! The HTTP client of all commands: address, token, and the meaning of answers.
//!
//! Address and token come from `Pipeline.operations`, or from `--server`, `--token` and `--token-file`;
//! [`token`](super::token) decides which token is sent to which server. Orders have the header `X-Butler-SOS:
//! 1`, which the server requires when it has no token. Redirects are not followed, because the token is for
//! the named server only.

use std::time::Duration;

use awc::error::SendRequestError;
use awc::http::{Method, StatusCode, header};
use awc::{Client, ClientRequest, ClientResponse};
use butler_sos_actors::net::tls::{ClientTls, TlsError, certificate_fault::CertificateWatch};
use serde::Serialize;
use serde::de::DeserializeOwned;
use url::Url;

use super::address::{address, configured_address};
use super::client_error::ClientError;
use super::token::{Configured, Sent, token_for, token_in};
use crate::cli::ServerArguments;
use crate::config::pipeline::operations::Operations;

/// The time limit until an answer begins. The server itself waits up to 15 s for a destination.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// Enough for a thousand dead letters with all their texts.
const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;

fn hint(status: StatusCode, sent: &Sent) -> &'static str {
    match (status, sent) {
        (StatusCode::UNAUTHORIZED, Sent::Withheld) => {
            " (the configured token is sent to the configured server only: give the token of this server with --token-file)"
        }
        (StatusCode::UNAUTHORIZED, _) => " (set --token-file, --token or Pipeline.operations.token)",
        _ => "",
    }
}

/// A server to send requests to.
pub struct Server {
    base: Url,
    sent: Sent,
    client: Client,
}

impl Server {
    /// # Errors
    /// An invalid address, an unreadable token file, a token that would be sent in clear text.
    pub fn new(arguments: &ServerArguments, configured: Option<&Operations>) -> Result<Self, ClientError> {
        let base = match (&arguments.server, configured) {
            (Some(text), _) => address(text)?,
            (None, Some(operations)) => configured_address(&operations.host, operations.port)?,
            (None, None) => return Err(ClientError::NoPort),
        };
        let given = match (&arguments.token, &arguments.token_file) {
            (Some(token), _) => Some(token.clone()),
            (None, Some(path)) => Some(token_in(path)?),
            (None, None) => None,
        };
        let configured = configured.map(|of| Configured { host: &of.host, port: of.port, token: &of.token });
        let sent = token_for(&base, given, configured, arguments.insecure_http)?;
        Ok(Self { base, sent, client: http_client(arguments.insecure)? })
    }

    /// The answer to a GET, as text.
    pub async fn text(&self, path: &[&str], query: &[(&str, &str)]) -> Result<String, ClientError> {
        let answer = self.request(Method::GET, path, query).send().await;
        self.body(answer).await
    }

    /// The answer to a GET.
    pub async fn get<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> Result<T, ClientError> {
        self.read(&self.text(path, query).await?)
    }

    /// The answer to an order.
    pub async fn post<T: DeserializeOwned>(
        &self,
        path: &[&str],
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        let answer = self.request(Method::POST, path, &[]).send_json(body).await;
        self.read(&self.body(answer).await?)
    }

    /// An endless answer: a stream of bytes.
    pub async fn stream(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> Result<
        impl futures_util::Stream<Item = Result<actix_web::web::Bytes, awc::error::PayloadError>> + use<>,
        ClientError,
    > {
        let answer = self.request(Method::GET, path, query).send().await;
        let answer = answer.map_err(|error| self.unreachable(&error))?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        Err(self.refusal(answer).await)
    }

    /// Parses the server's answer.
    pub fn read<T: DeserializeOwned>(&self, text: &str) -> Result<T, ClientError> {
        serde_json::from_str(text)
            .map_err(|error| ClientError::Foreign { server: self.name(), detail: error.to_string() })
    }

    fn request(&self, method: Method, path: &[&str], query: &[(&str, &str)]) -> ClientRequest {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            // Segment by segment, so that an id cannot become another path.
            segments.pop_if_empty().push("api").extend(path);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let mut request =
            self.client.request(method, url.as_str()).insert_header(("x-butler-sos", "1")).no_decompress();
        if let Some(token) = self.sent.token() {
            request = request.insert_header((header::AUTHORIZATION, format!("Bearer {}", token.expose())));
        }
        request
    }

    async fn body<S>(
        &self,
        answer: Result<ClientResponse<S>, SendRequestError>,
    ) -> Result<String, ClientError>
    where
        S: futures_util::Stream<Item = Result<actix_web::web::Bytes, awc::error::PayloadError>> + Unpin,
    {
        let answer = answer.map_err(|error| self.unreachable(&error))?;
        if !answer.status().is_success() {
            return Err(self.refusal(answer).await);
        }
        let bytes = answer.timeout(BODY_TIMEOUT).body().limit(BODY_BYTES_MAX).await;
        let bytes = bytes
            .map_err(|error| ClientError::Unreachable { server: self.name(), detail: error.to_string() })?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    async fn refusal<S>(&self, answer: ClientResponse<S>) -> ClientError
    where
        S: futures_util::Stream<Item = Result<actix_web::web::Bytes, awc::error::PayloadError>> + Unpin,
    {
        let status = answer.status();
        let bytes = answer.timeout(BODY_TIMEOUT).body().await.unwrap_or_default();
        let json = serde_json::from_slice::<serde_json::Value>(&bytes).ok();
        match json.as_ref().and_then(|json| json.get("error")?.as_str()) {
            Some(detail) => {
                ClientError::Refused { status, detail: detail.to_owned(), hint: hint(status, &self.sent) }
            }
            None => ClientError::Foreign { server: self.name(), detail: status.to_string() },
        }
    }

    fn unreachable(&self, error: &SendRequestError) -> ClientError {
        ClientError::Unreachable { server: self.name(), detail: error.to_string() }
    }

    /// Its address, for people.
    #[must_use]
    pub fn name(&self) -> String {
        self.base.as_str().trim_end_matches('/').to_owned()
    }
}

/// The client of all commands.
///
/// # Errors
/// When TLS cannot be set up.
pub fn http_client(insecure: bool) -> Result<Client, TlsError> {
    let tls = ClientTls { verify: !insecure, ..ClientTls::default() };
    let connector = awc::Connector::new().openssl(tls.http_connector(&CertificateWatch::default())?);
    Ok(Client::builder().connector(connector).disable_redirects().timeout(ANSWER_TIMEOUT).finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_cannot_become_another_path() {
        let check = |base: &str, path: &[&str], expect: &str| {
            let arguments = ServerArguments { server: Some(base.to_owned()), ..ServerArguments::default() };
            let server = Server::new(&arguments, None).expect("a server");
            let query = [("user", "a&b")];
            assert_eq!(server.request(Method::GET, path, &query).get_uri().to_string(), expect);
        };
        actix_rt::System::new().block_on(async {
            check("http://h:1", &["state"], "http://h:1/api/state?user=a%26b");
            check(
                "http://h:1/b/",
                &["dead-letters", "../x?y"],
                "http://h:1/b/api/dead-letters/..%2Fx%3Fy?user=a%26b",
            );
        });
    }
}
