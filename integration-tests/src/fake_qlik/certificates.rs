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

use openssl::asn1::Asn1Time;
use openssl::bn::{BigNum, MsbOption};
use openssl::ec::{EcGroup, EcKey};
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::symm::Cipher;
use openssl::x509::extension::{BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAlternativeName};
use openssl::x509::{X509, X509NameBuilder};

/// Host names that the server's certificate holds.
pub const NAMES: [&str; 6] =
    ["qlik.test", "proxy.test", "node1.test", "node2.test", "evil.test", "localhost"];

/// Opens `client_key_encrypted.pem`.
pub const PASSPHRASE: &str = "open-sesame-7261";

/// A certificate with its key.
#[derive(Clone)]
pub struct Pair {
    pub certificate: X509,
    pub key: PKey<Private>,
}

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
        let server = root.issue("qlik.test", Role::Server)?;
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

#[derive(Clone, Copy, PartialEq)]
enum Role {
    Authority,
    Server,
    Client,
}

impl Pair {
    fn authority(name: &str) -> Result<Self, ErrorStack> {
        let key = new_key()?;
        let certificate = certificate(name, &key, Role::Authority, None)?;
        Ok(Self { certificate, key })
    }

    fn issue(&self, name: &str, role: Role) -> Result<Self, ErrorStack> {
        let key = new_key()?;
        let certificate = certificate(name, &key, role, Some(self))?;
        Ok(Self { certificate, key })
    }
}

fn new_key() -> Result<PKey<Private>, ErrorStack> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
    PKey::from_ec_key(EcKey::generate(&group)?)
}

fn certificate(
    name: &str,
    key: &PKey<Private>,
    role: Role,
    issuer: Option<&Pair>,
) -> Result<X509, ErrorStack> {
    let mut subject = X509NameBuilder::new()?;
    subject.append_entry_by_text("CN", name)?;
    let subject = subject.build();
    let mut serial = BigNum::new()?;
    serial.rand(127, MsbOption::MAYBE_ZERO, false)?;

    let mut builder = X509::builder()?;
    builder.set_version(2)?;
    builder.set_serial_number(&*serial.to_asn1_integer()?)?;
    builder.set_subject_name(&subject)?;
    builder.set_issuer_name(issuer.map_or(&*subject, |issuer| issuer.certificate.subject_name()))?;
    builder.set_pubkey(key)?;
    builder.set_not_before(&*Asn1Time::days_from_now(0)?)?;
    builder.set_not_after(&*Asn1Time::days_from_now(3650)?)?;
    match role {
        Role::Authority => {
            builder.append_extension(BasicConstraints::new().critical().ca().build()?)?;
            builder.append_extension(KeyUsage::new().critical().key_cert_sign().crl_sign().build()?)?;
        }
        Role::Server => {
            let mut names = SubjectAlternativeName::new();
            for name in NAMES {
                names.dns(name);
            }
            names.ip("127.0.0.1").ip("::1");
            let names = names.build(&builder.x509v3_context(issuer.map(|i| &*i.certificate), None))?;
            builder.append_extension(names)?;
            builder.append_extension(ExtendedKeyUsage::new().server_auth().build()?)?;
        }
        Role::Client => builder.append_extension(ExtendedKeyUsage::new().client_auth().build()?)?,
    }
    builder.sign(issuer.map_or(key, |issuer| &issuer.key), MessageDigest::sha256())?;
    Ok(builder.build())
}
