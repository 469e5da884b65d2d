//! An HTTP client of one InfluxDB server of version 1, 2 or 3: writes and their addresses.
//! Contract: destinations.md, "InfluxDB".

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use awc::http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue};
use awc::http::{Method, Uri};
use butler_sos_domain::encode::line_protocol::Version;
use bytes::Bytes;
use openssl::base64;
use secrecy::{ExposeSecret, SecretString};
use url::form_urlencoded;

use crate::kit::delivery_error::DeliveryError;
use crate::net::http_client::{self, Endpoint, UNREADABLE_HEADER, compressed, sensitive};
use crate::net::tls::certificate_fault::CertificateWatch;
use crate::net::tls::reread::Reread;
use crate::net::tls::{ClientTls, TlsError, Trust};
use crate::sinks::influx::answer::Reply;

/// The default time limit from sending a request to its answer.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// The default maximum of the time limit for a slow server.
pub const WRITE_TIMEOUT_MAX: Duration = Duration::from_secs(120);
/// The default size from which bodies are compressed.
pub const GZIP_BYTES_MIN: usize = 4 * 1024;
/// The default maximum of bytes of lines in one request, uncompressed.
pub const BODY_BYTES_MAX: usize = 5 * 1024 * 1024;
/// The address of the server, and the credentials.
#[derive(Debug, Clone)]
pub struct InfluxConfig {
    pub scheme: Scheme,
    /// Name or address, IPv6 with or without brackets.
    pub host: String,
    pub port: u16,
    pub write_timeout: Duration,
    /// `Pipeline.influxdb.timeoutMaxMs`: the maximum time limit for a slow server.
    pub write_timeout_max: Duration,
    /// `Pipeline.influxdb.batchBytesMax`: lines in one request, uncompressed. A longer single line is sent alone.
    pub body_bytes_max: usize,
    /// `Pipeline.influxdb.gzipBytesMin`: bodies from this size up are compressed; 0: all.
    pub gzip_bytes_min: usize,
    /// `Pipeline.influxdb.createDatabase`: whether to create a missing database, policy or bucket. If not,
    /// writes are retried until it exists.
    pub create_database: bool,
    pub target: InfluxTarget,
    pub reread: Reread,
}

#[derive(Debug, Clone)]
pub enum Scheme {
    Http,
    /// `ca`: a PEM file of authorities that are trusted in addition to the system's.
    Https {
        ca: Option<PathBuf>,
    },
}

/// The database of one version. Durations are written as `10d`, `12h`, `1w`; `0s` and `INF` are unlimited.
#[derive(Debug, Clone)]
pub enum InfluxTarget {
    V1 { database: String, policy: RetentionPolicy, auth: Option<(String, SecretString)> },
    V2 { org: String, bucket: String, description: String, token: SecretString, retention: String },
    V3 { database: String, token: SecretString, retention: String },
}

/// The retention policy of a database of version 1.
#[derive(Debug, Clone)]
pub struct RetentionPolicy {
    pub name: String,
    pub duration: String,
}

/// An invalid configuration.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("{0:?} is not an address")]
    Address(String),
    #[error("name, password or token contain characters that HTTP does not allow")]
    Credentials,
    #[error("TLS with CA file {ca:?}: {source}")]
    Tls { ca: Option<PathBuf>, source: TlsError },
}

/// A client of one server. It belongs to the arbiter that created it.
pub struct InfluxClient {
    config: InfluxConfig,
    http: awc::Client,
    /// The time limit of the next writes.
    write_timeout: Duration,
    endpoint: Endpoint,
    base: String,
    authorization: Option<HeaderValue>,
    /// A version 3 server without `/api/v3/write_lp`, which supports only the older API.
    is_v3_without_v3_api: bool,
    /// Version 1 without the configured policy: an older database, whose default policy is used.
    is_default_policy: bool,
}

// === impl InfluxTarget ===

impl InfluxTarget {
    #[must_use]
    pub fn version(&self) -> Version {
        match self {
            Self::V1 { .. } => Version::V1,
            Self::V2 { .. } => Version::V2,
            Self::V3 { .. } => Version::V3,
        }
    }

    fn authorization(&self) -> Option<SecretString> {
        let header = match self {
            Self::V1 { auth, .. } => {
                let (name, password) = auth.as_ref()?;
                let both = format!("{name}:{}", password.expose_secret());
                format!("Basic {}", base64::encode_block(both.as_bytes()))
            }
            Self::V2 { token, .. } => format!("Token {}", not_empty(token)?),
            Self::V3 { token, .. } => format!("Bearer {}", not_empty(token)?),
        };
        Some(SecretString::from(header))
    }

    fn secret(&self) -> Option<&str> {
        match self {
            Self::V1 { auth, .. } => not_empty(&auth.as_ref()?.1),
            Self::V2 { token, .. } | Self::V3 { token, .. } => not_empty(token),
        }
    }
}

fn not_empty(secret: &SecretString) -> Option<&str> {
    Some(secret.expose_secret()).filter(|secret| !secret.is_empty())
}

// === impl InfluxClient ===

impl InfluxClient {
    /// Reads the CA file. Does not connect yet.
    ///
    /// # Errors
    /// When the address, the credentials or the CA file are invalid.
    pub fn new(config: InfluxConfig) -> Result<Self, ClientError> {
        let scheme = match &config.scheme {
            Scheme::Http => "http",
            Scheme::Https { .. } => "https",
        };
        let host = match config.host.trim_matches(['[', ']']) {
            host if host.contains(':') => format!("[{host}]"),
            host => host.to_owned(),
        };
        let base = format!("{scheme}://{host}:{}", config.port);
        let address: Option<Uri> = base.parse().ok();
        if host.is_empty() || address.is_none_or(|uri| uri.path() != "/" || uri.query().is_some()) {
            return Err(ClientError::Address(base));
        }
        let authorization = match config.target.authorization() {
            Some(text) => Some(sensitive(&text).ok_or(ClientError::Credentials)?),
            None => None,
        };
        let watch = CertificateWatch::default();
        let endpoint = Endpoint { name: format!("InfluxDB at {base}"), host, watch };
        let http = http_client(&config, &endpoint.watch)?;
        Ok(Self {
            write_timeout: config.write_timeout,
            config,
            http,
            endpoint,
            base,
            authorization,
            is_v3_without_v3_api: false,
            is_default_policy: false,
        })
    }

    #[must_use]
    pub fn target(&self) -> &InfluxTarget {
        &self.config.target
    }

    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    pub(crate) fn is_https(&self) -> bool {
        matches!(self.config.scheme, Scheme::Https { .. })
    }

    pub(crate) fn timeout(&self) -> Duration {
        self.config.write_timeout
    }

    pub(crate) fn authorization(&self) -> Option<&HeaderValue> {
        self.authorization.as_ref()
    }

    /// Sets the time limit of the next writes.
    pub(crate) fn set_write_timeout(&mut self, timeout: Duration) {
        self.write_timeout = timeout;
    }

    /// Sends a GET request.
    pub(crate) async fn get(&self, path: &str) -> Result<Reply, DeliveryError> {
        self.send(self.timeout(), Method::GET, path, "", Bytes::new(), None).await
    }

    /// Runs an InfluxQL statement, for version 1.
    pub(crate) async fn ask(&self, statement: &str) -> Result<Reply, DeliveryError> {
        self.get(&with_query("/query", &[("q", statement)])).await
    }

    /// A write without lines: the server checks address, rights and database, and stores nothing. Not for
    /// version 3, where it may create the database.
    pub(crate) async fn write_nothing(&self) -> Result<Reply, DeliveryError> {
        self.write_to(&self.write_path(), Bytes::new(), None).await
    }

    /// Sends lines, compressed from a configured size on.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn write(&mut self, lines: Bytes) -> Result<Reply, DeliveryError> {
        let (body, encoding) = if lines.len() < self.config.gzip_bytes_min {
            (lines, None)
        } else {
            (compressed(lines).await?, Some("gzip"))
        };
        let reply = self.write_to(&self.write_path(), body.clone(), encoding).await?;
        match self.config.target {
            InfluxTarget::V3 { .. } if matches!(reply.status, 404 | 405) && !self.is_v3_without_v3_api => {
                self.is_v3_without_v3_api = true;
                let older = self.write_to(&self.write_path(), body, encoding).await;
                // Only an answer from the older address shows that it is the right one.
                let is_there = older.as_ref().is_ok_and(|older| !matches!(older.status, 404 | 405));
                self.is_v3_without_v3_api = is_there;
                older
            }
            InfluxTarget::V1 { .. }
                if !self.is_default_policy
                    && reply.status >= 400
                    && reply.body.contains("retention policy not found") =>
            {
                self.is_default_policy = true;
                self.write_to(&self.write_path(), body, encoding).await
            }
            _ => Ok(reply),
        }
    }

    fn write_path(&self) -> String {
        match &self.config.target {
            InfluxTarget::V1 { database, policy, .. } => {
                let policy = if self.is_default_policy { "" } else { policy.name.as_str() };
                with_query("/write", &[("db", database), ("rp", policy), ("precision", "ns")])
            }
            InfluxTarget::V2 { org, bucket, .. } => {
                with_query("/api/v2/write", &[("org", org), ("bucket", bucket), ("precision", "ns")])
            }
            InfluxTarget::V3 { database, .. } if self.is_v3_without_v3_api => {
                with_query("/api/v2/write", &[("bucket", database), ("precision", "ns")])
            }
            InfluxTarget::V3 { database, .. } => {
                with_query("/api/v3/write_lp", &[("db", database), ("precision", "nanosecond")])
            }
        }
    }

    async fn write_to(
        &self,
        path: &str,
        body: Bytes,
        encoding: Option<&'static str>,
    ) -> Result<Reply, DeliveryError> {
        let kind = "text/plain; charset=utf-8";
        let answered = self.send(self.write_timeout, Method::POST, path, kind, body, encoding).await;
        let is_v1 = matches!(self.config.target, InfluxTarget::V1 { .. });
        match answered {
            Err(trouble) if is_v1 && trouble.class == UNREADABLE_HEADER => Ok(unreadable_refusal()),
            answered => answered,
        }
    }

    /// Sends a request and reads the answer, whatever its status.
    pub(crate) async fn send(
        &self,
        timeout: Duration,
        method: Method,
        path: &str,
        content_type: &'static str,
        body: Bytes,
        encoding: Option<&'static str>,
    ) -> Result<Reply, DeliveryError> {
        let mut request = self.http.request(method, format!("{}{path}", self.base)).timeout(timeout);
        if let Some(authorization) = &self.authorization {
            request = request.insert_header((AUTHORIZATION, authorization.clone()));
        }
        if !body.is_empty() {
            request = request.insert_header((CONTENT_TYPE, content_type));
        }
        if let Some(encoding) = encoding {
            request = request.insert_header((CONTENT_ENCODING, encoding));
        }
        http_client::exchange(request, body, timeout, &self.endpoint, self.config.target.secret())
            .await
            .map(Reply::from)
    }
}

impl fmt::Debug for InfluxClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InfluxClient({}, {:?})", self.base, self.config.target.version())
    }
}

// === helpers ===

/// Version 1 repeats lines that it cannot parse in a response header, unescaped: with control characters the
/// answer cannot be read. Only refusals have this header, so the result is a refusal that names no line.
fn unreadable_refusal() -> Reply {
    let detail = "rejected with an unreadable message that repeats control characters of the lines";
    Reply { status: 400, retry_after: None, body: format!("{{\"error\":\"{detail}\"}}") }
}

fn http_client(config: &InfluxConfig, watch: &CertificateWatch) -> Result<awc::Client, ClientError> {
    let tls = match &config.scheme {
        Scheme::Http => None,
        Scheme::Https { ca } => {
            let tls = ClientTls { trust: Trust::system_and(ca.clone()), ..ClientTls::default() };
            let tls = tls.http_connector(watch);
            Some(tls.map_err(|source| ClientError::Tls { ca: ca.clone(), source })?)
        }
    };
    Ok(http_client::client(tls, config.write_timeout))
}

/// A path with its query.
pub(crate) fn with_query(path: &str, pairs: &[(&str, &str)]) -> String {
    let mut query = form_urlencoded::Serializer::for_suffix(format!("{path}?"), path.len() + 1);
    for (key, value) in pairs {
        query.append_pair(key, value);
    }
    query.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(host: &str, target: InfluxTarget) -> Result<InfluxClient, ClientError> {
        let config = InfluxConfig {
            scheme: Scheme::Http,
            host: host.to_owned(),
            port: 8086,
            write_timeout: WRITE_TIMEOUT,
            write_timeout_max: WRITE_TIMEOUT_MAX,
            body_bytes_max: BODY_BYTES_MAX,
            gzip_bytes_min: GZIP_BYTES_MIN,
            create_database: true,
            target,
            reread: Reread::default(),
        };
        InfluxClient::new(config)
    }

    fn v1() -> InfluxTarget {
        InfluxTarget::V1 {
            database: "sense ops&x".into(),
            policy: RetentionPolicy { name: "10d".into(), duration: "10d".into() },
            auth: Some(("user".into(), "p:w".into())),
        }
    }

    fn v2() -> InfluxTarget {
        InfluxTarget::V2 {
            org: "o".into(),
            bucket: "b".into(),
            description: String::new(),
            token: "sekrit".into(),
            retention: "10d".into(),
        }
    }

    fn v3(token: &str) -> InfluxTarget {
        InfluxTarget::V3 { database: "d".into(), token: token.into(), retention: "10d".into() }
    }

    #[actix_rt::test]
    async fn builds_the_address_of_writes() {
        let check = |target, expect_path: &str, expect_auth: Option<&str>| {
            let client = client("influx.test", target).unwrap();
            assert_eq!(client.write_path(), expect_path);
            let auth = client.authorization().map(|value| value.to_str().unwrap().to_owned());
            assert_eq!(auth.as_deref(), expect_auth);
        };
        check(v1(), "/write?db=sense+ops%26x&rp=10d&precision=ns", Some("Basic dXNlcjpwOnc="));
        check(v2(), "/api/v2/write?org=o&bucket=b&precision=ns", Some("Token sekrit"));
        check(v3("t"), "/api/v3/write_lp?db=d&precision=nanosecond", Some("Bearer t"));
        check(v3(""), "/api/v3/write_lp?db=d&precision=nanosecond", None);
    }

    #[actix_rt::test]
    async fn accepts_names_and_addresses_as_host() {
        let base = |host| client(host, v2()).map(|client| client.base);
        assert_eq!(base("::1").unwrap(), "http://[::1]:8086");
        assert_eq!(base("[::1]").unwrap(), "http://[::1]:8086");
        for bad in ["", "a b", "a/b", "a?b"] {
            assert!(matches!(base(bad), Err(ClientError::Address(_))), "{bad:?}");
        }
        assert!(matches!(client("h", v3("a\nb")), Err(ClientError::Credentials)));
    }

    #[actix_rt::test]
    async fn debug_output_contains_no_secrets() {
        let client = client("h", v2()).unwrap();
        let shown = format!("{client:?} {:?}", client.config);
        assert!(!shown.contains("sekrit"), "{shown}");
    }
}
