//! TLS of clients: the trusted CAs, and the client certificate.
//!
//! All TLS clients here use one builder. The MQTT library creates its own context from the same settings.

pub mod certificate_fault;
pub mod reread;

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use openssl::error::ErrorStack;
use openssl::pkey::PKey;
use openssl::ssl::{SslConnector, SslConnectorBuilder, SslMethod, SslVerifyMode, SslVersion};
use openssl::x509::X509;
use openssl::x509::store::X509StoreBuilder;
use secrecy::{ExposeSecret, SecretString};

use self::certificate_fault::CertificateWatch;
use self::reread::Reread;

/// Certificates by file, PEM. `Debug` does not show the passphrase.
#[derive(Clone)]
pub struct ClientTls {
    pub trust: Trust,
    /// The client certificate with its chain. It is sent only when the server requests it.
    pub cert: Option<PathBuf>,
    pub key: Option<PathBuf>,
    /// The passphrase of the key. Empty: none.
    pub passphrase: SecretString,
    /// Whether the server's certificate is verified.
    pub verify: bool,
}

/// The trusted CAs. A file contains one or more CA certificates.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Trust {
    /// The system's CAs.
    #[default]
    System,
    /// The system's CAs and these: InfluxDB, screenshot hosts.
    SystemAnd(PathBuf),
    /// Only these: Qlik Sense's own services, whose CA no other CA may replace, and the broker.
    Only(PathBuf),
}

impl Trust {
    /// The system's CAs, and those of the file if there is one.
    #[must_use]
    pub fn system_and(ca: Option<PathBuf>) -> Self {
        ca.map_or(Self::System, Self::SystemAnd)
    }

    /// Only the CAs of the file; without a file, the system's.
    #[must_use]
    pub fn only(ca: Option<PathBuf>) -> Self {
        ca.map_or(Self::System, Self::Only)
    }

    /// The file of CAs.
    #[must_use]
    pub fn ca(&self) -> Option<&PathBuf> {
        match self {
            Self::System => None,
            Self::SystemAnd(ca) | Self::Only(ca) => Some(ca),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("cannot read {path}: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path} is not a certificate in PEM format: {source}")]
    Certificate { path: PathBuf, source: ErrorStack },
    #[error("{path} holds no certificate")]
    NoCertificate { path: PathBuf },
    /// The key is unreadable, or its passphrase is wrong.
    #[error("{path} is not a private key in PEM format, or the passphrase is wrong")]
    Key { path: PathBuf },
    #[error("{path} is not the key of the certificate: {source}")]
    KeyMismatch { path: PathBuf, source: ErrorStack },
    #[error("a client certificate needs both its certificate file and its key file")]
    Incomplete,
    #[error("cannot set up TLS: {0}")]
    Setup(#[from] ErrorStack),
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTls")
            .field("trust", &self.trust)
            .field("cert", &self.cert)
            .field("key", &self.key)
            .field("verify", &self.verify)
            .finish_non_exhaustive()
    }
}

impl Default for ClientTls {
    fn default() -> Self {
        Self { trust: Trust::System, cert: None, key: None, passphrase: SecretString::from(""), verify: true }
    }
}

impl ClientTls {
    /// Reads the files and creates a connector. Blocks.
    pub fn connector(&self) -> Result<SslConnector, TlsError> {
        self.connector_watched(&CertificateWatch::default())
    }

    /// Like [`ClientTls::connector`]; `watch` records refused certificates. Blocks.
    pub fn connector_watched(&self, watch: &CertificateWatch) -> Result<SslConnector, TlsError> {
        Ok(self.builder(watch)?.build())
    }

    /// Like [`ClientTls::connector_watched`], with ALPN for HTTP/1.1, for servers that would choose another
    /// protocol. Blocks.
    pub fn http_connector(&self, watch: &CertificateWatch) -> Result<SslConnector, TlsError> {
        let mut builder = self.builder(watch)?;
        builder.set_alpn_protos(b"\x08http/1.1")?;
        Ok(builder.build())
    }

    fn builder(&self, watch: &CertificateWatch) -> Result<SslConnectorBuilder, TlsError> {
        // The builder starts with the system's CAs, host name verification, and secure ciphers.
        let mut builder = SslConnector::builder(SslMethod::tls_client())?;
        builder.set_min_proto_version(Some(SslVersion::TLS1_2))?;
        match &self.trust {
            Trust::System => {}
            Trust::SystemAnd(ca) => {
                for certificate in certificates(ca)? {
                    builder.cert_store_mut().add_cert(certificate)?;
                }
            }
            Trust::Only(ca) => {
                let mut store = X509StoreBuilder::new()?;
                for certificate in certificates(ca)? {
                    store.add_cert(certificate)?;
                }
                builder.set_cert_store(store.build());
            }
        }
        match (&self.cert, &self.key) {
            (None, None) => {}
            (Some(cert), Some(key)) => {
                let mut chain = certificates(cert)?.into_iter();
                if let Some(own) = chain.next() {
                    builder.set_certificate(&own)?;
                }
                for above in chain {
                    builder.add_extra_chain_cert(above)?;
                }
                let read = PKey::private_key_from_pem_passphrase(
                    &read(key)?,
                    self.passphrase.expose_secret().as_bytes(),
                )
                .map_err(|_| TlsError::Key { path: key.clone() })?;
                let mismatch = |source| TlsError::KeyMismatch { path: key.clone(), source };
                builder.set_private_key(&read).map_err(mismatch)?;
                builder.check_private_key().map_err(mismatch)?;
            }
            _ => return Err(TlsError::Incomplete),
        }
        if self.verify {
            watch.watch(&mut builder);
        } else {
            builder.set_verify(SslVerifyMode::NONE);
        }
        Ok(builder)
    }

    /// Size and time of each file, which change when a certificate is replaced.
    fn stamps(&self) -> Vec<Option<(u64, SystemTime)>> {
        let stamp = |path: &PathBuf| {
            let found = fs::metadata(path).ok()?;
            Some((found.len(), found.modified().ok()?))
        };
        [self.trust.ca(), self.cert.as_ref(), self.key.as_ref()].into_iter().flatten().map(stamp).collect()
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|source| TlsError::Read { path: path.to_owned(), source })
}

fn certificates(path: &Path) -> Result<Vec<X509>, TlsError> {
    let found = X509::stack_from_pem(&read(path)?)
        .map_err(|source| TlsError::Certificate { path: path.to_owned(), source })?;
    if found.is_empty() { Err(TlsError::NoCertificate { path: path.to_owned() }) } else { Ok(found) }
}

/// A connector that follows its files: they are read again when the size or the time of one has changed, and when
/// [`Reread`] was asked for.
#[derive(Debug)]
pub struct ReloadingTls {
    tls: ClientTls,
    reread: Reread,
    watch: CertificateWatch,
    stamps: Vec<Option<(u64, SystemTime)>>,
    /// [`Reread::asked`] when they were read; `None` before the first time.
    read_at: Option<u64>,
}

impl ReloadingTls {
    #[must_use]
    pub fn new(tls: ClientTls, reread: Reread) -> Self {
        Self { tls, reread, watch: CertificateWatch::default(), stamps: Vec::new(), read_at: None }
    }

    /// Observes all connectors created here.
    #[must_use]
    pub fn watch(&self) -> CertificateWatch {
        self.watch.clone()
    }

    /// A new connector when there is none yet or a file has changed; `None` when the last one is still valid.
    /// Blocks.
    ///
    /// # Errors
    /// When a file is unreadable or invalid. The last connector may still be used; the next call tries again.
    pub fn changed(&mut self) -> Result<Option<SslConnector>, TlsError> {
        // Taken before the files are read: a change in between is seen by the next call.
        let (stamps, asked) = (self.tls.stamps(), self.reread.asked());
        if self.read_at == Some(asked) && stamps == self.stamps {
            return Ok(None);
        }
        let connector = self.tls.connector_watched(&self.watch)?;
        self.stamps = stamps;
        self.read_at = Some(asked);
        Ok(Some(connector))
    }
}

/// An HTTP/1.1 client over this connector. Redirects are not followed, and every phase has a limit.
pub fn http_client(connector: SslConnector, timeout: Duration) -> awc::Client {
    let connector = awc::Connector::new().timeout(timeout).handshake_timeout(timeout).openssl(connector);
    awc::Client::builder()
        .connector(connector)
        .timeout(timeout)
        .disable_redirects()
        .no_default_headers()
        .finish()
}

#[cfg(test)]
pub(crate) mod tests;
