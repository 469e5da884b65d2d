//! The one HTTP client of the commands: where the server is, who we are, and what its answers mean.
//!
//! Address and token come from `Pipeline.operations`, or from `--server`, `--token` and `--token-file`; which token goes
//! to which server is [`token`](super::token). Orders carry `X-Butler-SOS: 1`, which the server wants where it asks for
//! no token. Redirects are not followed: the token is for the server that was named.

use std::path::Path;
use std::time::Duration;

use awc::error::SendRequestError;
use awc::http::{Method, StatusCode, header};
use awc::{Client, ClientRequest, ClientResponse};
use openssl::ssl::{SslConnector, SslMethod, SslVerifyMode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use url::Url;

use super::token::{Configured, Sent, token_for};
use crate::cli::ServerArguments;
use crate::config::pipeline::operations::Operations;
use crate::config::secret::Secret;
use crate::exit;

/// Until an answer begins. The server itself waits up to 15 s for a destination.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// A thousand dead letters with all their texts fit.
const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;
/// No token is longer.
const TOKEN_FILE_BYTES_MAX: u64 = 64 * 1024;

/// Why the server cannot be asked, or does not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("--server: {0}")]
    Address(&'static str),
    #[error("the configuration sets port 0: give the address of the server with --server http://HOST:PORT")]
    NoPort,
    #[error("--token-file {path}: {detail}")]
    TokenFile { path: String, detail: String },
    #[error("no TLS: {0}")]
    Tls(#[from] openssl::error::ErrorStack),
    #[error("no response from {server}: {detail} (is the server running? --server sets another address)")]
    Unreachable { server: String, detail: String },
    #[error(
        "the token is not sent to another machine in clear text: use an https:// address, an SSH tunnel or \
         --insecure-http"
    )]
    ClearText,
    /// In the server's own words.
    #[error("{detail}{hint}")]
    Refused { status: StatusCode, detail: String, hint: &'static str },
    #[error("{server} is not a butler-sos server: {detail}")]
    Foreign { server: String, detail: String },
}

fn hint(status: StatusCode, sent: &Sent) -> &'static str {
    match (status, sent) {
        (StatusCode::UNAUTHORIZED, Sent::Withheld) => {
            " (the configured token is sent to the configured server only: give the token of this server with --token-file)"
        }
        (StatusCode::UNAUTHORIZED, _) => " (set --token-file, --token or Pipeline.operations.token)",
        _ => "",
    }
}

impl ClientError {
    /// The exit code that says the same.
    #[must_use]
    pub fn exit(&self) -> u8 {
        match self {
            Self::Address(_)
            | Self::NoPort
            | Self::ClearText
            | Self::Refused { status: StatusCode::BAD_REQUEST, .. } => exit::USAGE,
            _ => exit::UNAVAILABLE,
        }
    }

    /// Asking again as it is cannot help.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Refused { status, .. } if status.is_client_error())
    }
}

/// A server to ask.
pub struct Server {
    base: Url,
    sent: Sent,
    client: Client,
}

impl Server {
    /// # Errors
    /// An address that is none, a token file that cannot be read, a token that would be sent in clear text.
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

    /// An answer that goes on for ever: a stream of bytes.
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

    /// What the server answered, as what it should be.
    pub fn read<T: DeserializeOwned>(&self, text: &str) -> Result<T, ClientError> {
        serde_json::from_str(text)
            .map_err(|error| ClientError::Foreign { server: self.name(), detail: error.to_string() })
    }

    fn request(&self, method: Method, path: &[&str], query: &[(&str, &str)]) -> ClientRequest {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            // Segment by segment: an id cannot become another path.
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

    /// Its address, as people write it.
    #[must_use]
    pub fn name(&self) -> String {
        self.base.as_str().trim_end_matches('/').to_owned()
    }
}

/// A URL from the command line. Its text is not repeated in errors: somebody may have put a password into it.
fn address(text: &str) -> Result<Url, ClientError> {
    let url =
        Url::parse(text).map_err(|_| ClientError::Address("not a URL such as http://127.0.0.1:9842"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(ClientError::Address("the URL must begin with http:// or https://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(ClientError::Address("the URL must not contain a user or password: use --token-file"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(ClientError::Address("the URL must not contain ? or #"));
    }
    Ok(url)
}

/// Where a server that listens on `host` is reached from this machine.
fn configured_address(host: &str, port: u16) -> Result<Url, ClientError> {
    if port == 0 {
        return Err(ClientError::NoPort);
    }
    let url = Url::parse(&format!("http://{}:{port}", reachable(host)));
    url.map_err(|_| ClientError::Address("Pipeline.operations.host is not a host name: set --server"))
}

/// An address to listen on, as an address to send to.
#[must_use]
pub fn reachable(host: &str) -> String {
    match host.trim_matches(['[', ']']) {
        "0.0.0.0" | "" => "127.0.0.1".to_owned(),
        "::" => "[::1]".to_owned(),
        host if host.contains(':') => format!("[{host}]"),
        host => host.to_owned(),
    }
}

/// The token in a file.
///
/// # Errors
/// When it cannot be read, or holds what is no token.
pub fn token_in(path: &Path) -> Result<Secret, ClientError> {
    use std::io::Read;
    let failed = |detail: String| ClientError::TokenFile { path: path.display().to_string(), detail };
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|error| failed(error.to_string()))?;
    let read = file.take(TOKEN_FILE_BYTES_MAX).read_to_string(&mut text);
    read.map_err(|error| failed(error.to_string()))?;
    let token = text.trim();
    // It becomes a header: what cannot stand there is no token, and must not be shown either.
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(failed("the file holds no token".to_owned()));
    }
    Ok(Secret::new(token))
}

/// The client that all commands call out with.
///
/// # Errors
/// OpenSSL cannot be set up.
pub fn http_client(insecure: bool) -> Result<Client, openssl::error::ErrorStack> {
    let mut tls = SslConnector::builder(SslMethod::tls())?;
    if insecure {
        tls.set_verify(SslVerifyMode::NONE);
    }
    // HTTP/1.1 alone: without the offer of another protocol there is no other.
    tls.set_alpn_protos(b"\x08http/1.1")?;
    let connector = awc::Connector::new().openssl(tls.build());
    Ok(Client::builder().connector(connector).disable_redirects().timeout(ANSWER_TIMEOUT).finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_to_listen_on_are_reached() {
        let check = |host: &str, expect: &str| {
            let url = configured_address(host, 9842).expect(host);
            assert_eq!(url.as_str(), expect, "{host}");
        };
        check("127.0.0.1", "http://127.0.0.1:9842/");
        check("0.0.0.0", "http://127.0.0.1:9842/");
        check("", "http://127.0.0.1:9842/");
        check("::", "http://[::1]:9842/");
        check("::1", "http://[::1]:9842/");
        check("[fd00::2]", "http://[fd00::2]:9842/");
        check("sense.example.com", "http://sense.example.com:9842/");
        assert!(configured_address("127.0.0.1", 0).is_err());
    }

    #[test]
    fn a_url_with_a_password_is_refused_without_repeating_it() {
        for text in
            ["http://u:hunter2@h", "hunter2", "ftp://h/hunter2", "http://h/?t=hunter2", "http://hunter2@h"]
        {
            let error = address(text).expect_err(text);
            assert_eq!(error.exit(), exit::USAGE);
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
        assert_eq!(address("https://h/butler").map(String::from).ok().as_deref(), Some("https://h/butler"));
    }

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

    #[test]
    fn a_token_is_read_from_its_file() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("token");
        for (text, expect) in [("s3cret\n", Some("s3cret")), ("", None), ("a\nb", None), (" \n", None)] {
            std::fs::write(&path, text).expect("a file");
            assert_eq!(token_in(&path).ok().as_ref().map(Secret::expose), expect, "{text:?}");
        }
        assert!(token_in(&directory.path().join("gone")).is_err());
    }
}
