//! The fake's certificates: an authority of its own, a server, a client, and one that nobody should trust.
//!
//! | file | what |
//! |---|---|
//! | `root.pem` | the authority's certificate |
//! | `server.pem`, `server_key.pem` | for all of the fake's ports: every name of [`NAMES`], `127.0.0.1` and `::1` |
//! | `client.pem`, `client_key.pem` | what QPS and QRS ask their clients for |
//! | `client_key_encrypted.pem` | the same key under [`PASSPHRASE`] |
//! | `stranger_root.pem`, `stranger.pem`, `stranger_key.pem` | another authority and a client of its, which QPS refuses |
//!
//! Names of the first three pairs are those of Qlik's own certificate export.

use std::path::{Path, PathBuf};

use openssl::error::ErrorStack;
use openssl::symm::Cipher;
use openssl::x509::X509;

use crate::certificates::{Pair, Role};

/// Host names that the server's certificate holds.
pub const NAMES: [&str; 6] =
    ["qlik.test", "proxy.test", "node1.test", "node2.test", "evil.test", "localhost"];

/// Opens `client_key_encrypted.pem`.
pub const PASSPHRASE: &str = "open-sesame-7261";

/// What was made, and where it was written.
#[derive(Clone)]
pub struct Certificates {
    pub dir: PathBuf,
    pub root: X509,
    pub server: Pair,
    pub client: Pair,
    pub stranger: Pair,
}

/// Why there are no certificates.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    #[error("making a certificate")]
    Make(#[from] ErrorStack),
    #[error("writing {0}")]
    Write(PathBuf, #[source] std::io::Error),
}

impl Certificates {
    /// Makes all of them anew and writes them into `dir`.
    pub fn create(dir: &Path) -> Result<Self, CertificateError> {
        let root = Pair::authority("fake Qlik root")?;
        let server = root.issue("qlik.test", Role::Server(&NAMES))?;
        let client = root.issue("QlikClient", Role::Client)?;
        let stranger_root = Pair::authority("stranger root")?;
        let stranger = stranger_root.issue("stranger", Role::Client)?;

        std::fs::create_dir_all(dir).map_err(|e| CertificateError::Write(dir.to_owned(), e))?;
        let write = |name: &str, pem: Vec<u8>| {
            let path = dir.join(name);
            std::fs::write(&path, pem).map_err(|e| CertificateError::Write(path, e))
        };
        write("root.pem", root.certificate.to_pem()?)?;
        write("server.pem", server.certificate.to_pem()?)?;
        write("server_key.pem", server.key.private_key_to_pem_pkcs8()?)?;
        write("client.pem", client.certificate.to_pem()?)?;
        write("client_key.pem", client.key.private_key_to_pem_pkcs8()?)?;
        let encrypted =
            client.key.private_key_to_pem_pkcs8_passphrase(Cipher::aes_256_cbc(), PASSPHRASE.as_bytes())?;
        write("client_key_encrypted.pem", encrypted)?;
        write("stranger_root.pem", stranger_root.certificate.to_pem()?)?;
        write("stranger.pem", stranger.certificate.to_pem()?)?;
        write("stranger_key.pem", stranger.key.private_key_to_pem_pkcs8()?)?;

        Ok(Self { dir: dir.to_owned(), root: root.certificate, server, client, stranger })
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}
