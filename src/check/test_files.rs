//! Certificates for tests, generated each time.

use std::{fs, path::PathBuf};

use butler_sos_actors::intake::audit_http_ingestor::{TlsConfig, TlsVersion};
use butler_sos_actors::net::tls::reread::Reread;
use butler_sos_actors::net::tls::{ClientTls, Trust};
use openssl::{
    asn1::Asn1Time,
    bn::BigNum,
    ec::{EcGroup, EcKey},
    hash::MessageDigest,
    nid::Nid,
    pkey::{PKey, Private},
    symm::Cipher,
    x509::{X509, X509NameBuilder, extension::SubjectAlternativeName},
};
use secrecy::SecretString;
use tempfile::TempDir;

pub const PASSPHRASE: &str = "open-4711-sesame";

/// `cert.pem`, also usable as its own CA; `key.pem`, its key with a passphrase; `other_key.pem`, another key.
pub struct CertificateFiles {
    directory: TempDir,
}

impl CertificateFiles {
    /// For `localhost`, valid for this many days.
    pub fn new(days: u32) -> Self {
        let made = Self { directory: tempfile::tempdir().expect("a directory") };
        let (key, other) = (new_key(), new_key());
        let locked = key.private_key_to_pem_pkcs8_passphrase(Cipher::aes_256_cbc(), PASSPHRASE.as_bytes());
        for (name, pem) in [
            ("cert.pem", certificate(&key, days).to_pem()),
            ("key.pem", locked),
            ("other_key.pem", other.private_key_to_pem_pkcs8()),
        ] {
            fs::write(made.path(name), pem.expect("PEM")).expect("a file");
        }
        made
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn client(&self) -> ClientTls {
        ClientTls {
            trust: Trust::Only(self.path("cert.pem")),
            cert: Some(self.path("cert.pem")),
            key: Some(self.path("key.pem")),
            passphrase: SecretString::from(PASSPHRASE),
            verify: true,
        }
    }

    pub fn server(&self) -> TlsConfig {
        TlsConfig {
            cert: self.path("cert.pem"),
            key: self.path("key.pem"),
            ca: None,
            passphrase: Some(SecretString::from(PASSPHRASE)),
            min_version: TlsVersion::V1_2,
            reread: Reread::default(),
        }
    }
}

fn new_key() -> PKey<Private> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).expect("a curve");
    PKey::from_ec_key(EcKey::generate(&group).expect("a key")).expect("a key")
}

fn certificate(key: &PKey<Private>, days: u32) -> X509 {
    let make = || {
        let mut name = X509NameBuilder::new()?;
        name.append_entry_by_text("CN", "localhost")?;
        let name = name.build();
        let mut builder = X509::builder()?;
        builder.set_version(2)?;
        builder.set_serial_number(&*BigNum::from_u32(7)?.to_asn1_integer()?)?;
        builder.set_subject_name(&name)?;
        builder.set_issuer_name(&name)?;
        builder.set_pubkey(key)?;
        builder.set_not_before(&*Asn1Time::days_from_now(0)?)?;
        builder.set_not_after(&*Asn1Time::days_from_now(days)?)?;
        let names = SubjectAlternativeName::new()
            .dns("localhost")
            .ip("127.0.0.1")
            .build(&builder.x509v3_context(None, None))?;
        builder.append_extension(names)?;
        builder.sign(key, MessageDigest::sha256())?;
        Ok::<_, openssl::error::ErrorStack>(builder.build())
    };
    make().expect("a certificate")
}
