//! TLS of the server: certificate, key, and client certificates.
//!
//! The files are checked at intervals. When one has changed, new connections get the new certificate. A
//! renewed certificate that is invalid is logged, and the previous one stays in use.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};
use std::time::SystemTime;

use openssl::error::ErrorStack;
use openssl::pkey::{PKey, Private};
use openssl::ssl::{
    SslAcceptor, SslAcceptorBuilder, SslContext, SslMethod, SslOptions, SslSessionCacheMode, SslVerifyMode,
    SslVersion,
};
use openssl::x509::X509;
use openssl::x509::store::X509StoreBuilder;
use secrecy::{ExposeSecret, SecretString};

use crate::kit::lock;
use crate::net::tls::reread::Reread;

/// `auditEvents.tls`.
#[derive(Clone)]
pub struct TlsConfig {
    /// The certificate and its intermediates, PEM.
    pub cert: PathBuf,
    pub key: PathBuf,
    /// Requires a client certificate that one of these CAs has signed.
    pub ca: Option<PathBuf>,
    pub passphrase: Option<SecretString>,
    pub min_version: TlsVersion,
    pub reread: Reread,
}

/// The minimum version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TlsVersion {
    #[default]
    V1_2,
    V1_3,
}

/// Why TLS cannot start, or cannot use new files.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("cannot read {path}")]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{path} holds no certificate")]
    NoCertificate { path: PathBuf },
    #[error("{path} is not what it should be: {what}")]
    Pem {
        path: PathBuf,
        what: &'static str,
        #[source]
        source: ErrorStack,
    },
    #[error("the key is not the certificate's, or OpenSSL refuses the setting")]
    Refused(#[from] ErrorStack),
}

/// The certificate in use, shared with the connections.
pub struct Tls {
    config: TlsConfig,
    current: Arc<RwLock<Current>>,
}

struct Current {
    identity: Identity,
    context: SslContext,
    seen: Seen,
}

/// The content of the files.
#[derive(Clone)]
struct Identity {
    chain: Vec<X509>,
    key: PKey<Private>,
    ca: Vec<X509>,
}

/// The properties of a file that show a change.
type Stamp = Option<(SystemTime, u64)>;

/// The state of all files, and the number of requests to read them again.
type Seen = (Vec<Stamp>, u64);

impl Tls {
    /// Reads the files.
    pub fn new(config: TlsConfig) -> Result<Self, TlsError> {
        let current = Arc::new(RwLock::new(Current::read(&config)?));
        Ok(Self { config, current })
    }

    /// The acceptor to start a server with. Each handshake then uses the current context.
    pub fn acceptor(&self) -> Result<SslAcceptorBuilder, TlsError> {
        let identity = lock::read(&self.current).identity.clone();
        let mut builder = identity.builder(self.config.min_version)?;
        let current = Arc::clone(&self.current);
        // Called in every handshake, also when the client names no host.
        builder.set_servername_callback(move |ssl, _| {
            let current = lock::read(&current);
            // Fails only without memory. The certificate from the start of the server is then used.
            let _ = ssl.set_ssl_context(&current.context);
            Ok(())
        });
        Ok(builder)
    }

    /// Whether somebody requested that the files be read again.
    pub fn is_asked(&self) -> bool {
        lock::read(&self.current).seen.1 != self.config.reread.asked()
    }

    /// Reads the files again when one of them has changed, or on request. Returns true when there is
    /// something new. Blocks.
    pub fn renew(&self) -> Result<bool, TlsError> {
        let seen = seen(&self.config);
        if lock::read(&self.current).seen == seen {
            return Ok(false);
        }
        let read = Current::read(&self.config);
        let mut current = lock::write(&self.current);
        match read {
            Ok(read) => {
                *current = read;
                Ok(true)
            }
            Err(error) => {
                // Report each state of the files once.
                current.seen = seen;
                Err(error)
            }
        }
    }
}

impl Current {
    fn read(config: &TlsConfig) -> Result<Self, TlsError> {
        // Read the state before the files: a change meanwhile is found at the next check.
        let seen = seen(config);
        let identity = Identity::read(config)?;
        let context = identity.builder(config.min_version)?.build().into_context();
        Ok(Self { identity, context, seen })
    }
}

fn seen(config: &TlsConfig) -> Seen {
    let stamp = |path: &PathBuf| {
        let about = fs::metadata(path).ok()?;
        Some((about.modified().ok()?, about.len()))
    };
    let stamps = [&config.cert, &config.key].into_iter().chain(&config.ca).map(stamp).collect();
    (stamps, config.reread.asked())
}

impl Identity {
    fn read(config: &TlsConfig) -> Result<Self, TlsError> {
        let chain = certificates(&config.cert)?;
        let ca = config.ca.as_deref().map(certificates).transpose()?.unwrap_or_default();
        let pem = read(&config.key)?;
        // Always with a callback, because OpenSSL would otherwise ask for the passphrase at the terminal.
        let key = PKey::private_key_from_pem_callback(&pem, |buffer| {
            let passphrase = config.passphrase.as_ref().map_or("", ExposeSecret::expose_secret).as_bytes();
            let length = passphrase.len().min(buffer.len());
            buffer[..length].copy_from_slice(&passphrase[..length]);
            Ok(length)
        })
        .map_err(|source| TlsError::Pem {
            path: config.key.clone(),
            what: "a private key (or the passphrase is wrong)",
            source,
        })?;
        Ok(Self { chain, key, ca })
    }

    fn builder(&self, min_version: TlsVersion) -> Result<SslAcceptorBuilder, TlsError> {
        let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server())?;
        builder.set_min_proto_version(Some(match min_version {
            TlsVersion::V1_2 => SslVersion::TLS1_2,
            TlsVersion::V1_3 => SslVersion::TLS1_3,
        }))?;
        let mut chain = self.chain.iter();
        if let Some(own) = chain.next() {
            builder.set_certificate(own)?;
        }
        for between in chain {
            builder.add_extra_chain_cert(between.clone())?;
        }
        builder.set_private_key(&self.key)?;
        builder.check_private_key()?;
        if !self.ca.is_empty() {
            let mut store = X509StoreBuilder::new()?;
            for ca in &self.ca {
                store.add_cert(ca.clone())?;
                builder.add_client_ca(ca)?;
            }
            builder.set_cert_store(store.build());
            builder.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
            // Every connection verifies the client certificate again, so that no session outlives a change of
            // the CA.
            builder.set_session_cache_mode(SslSessionCacheMode::OFF);
            builder.set_options(SslOptions::NO_TICKET);
        }
        Ok(builder)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|source| TlsError::Read { path: path.to_owned(), source })
}

fn certificates(path: &Path) -> Result<Vec<X509>, TlsError> {
    let chain = X509::stack_from_pem(&read(path)?).map_err(|source| TlsError::Pem {
        path: path.to_owned(),
        what: "certificates in PEM",
        source,
    })?;
    if chain.is_empty() {
        return Err(TlsError::NoCertificate { path: path.to_owned() });
    }
    Ok(chain)
}
