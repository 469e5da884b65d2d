//! Certificates of authorities that nobody knows but a test.

use std::time::{SystemTime, UNIX_EPOCH};

use openssl::asn1::Asn1Time;
use openssl::bn::{BigNum, MsbOption};
use openssl::ec::{EcGroup, EcKey};
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::x509::extension::{BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAlternativeName};
use openssl::x509::{X509, X509NameBuilder};

/// A certificate with its key.
#[derive(Clone)]
pub struct Pair {
    pub certificate: X509,
    pub key: PKey<Private>,
}

/// What a certificate is for.
#[derive(Debug, Clone, Copy)]
pub enum Role {
    /// A server of these names, `127.0.0.1` and `::1`.
    Server(&'static [&'static str]),
    /// A server of these names alone.
    ServerElsewhere(&'static [&'static str]),
    /// Like [`Role::Server`], until yesterday.
    ServerUntilYesterday(&'static [&'static str]),
    Client,
}

impl Pair {
    /// One that signs itself and others.
    pub fn authority(name: &str) -> Result<Self, ErrorStack> {
        Self::make(name, None)
    }

    /// One that this authority signs.
    pub fn issue(&self, name: &str, role: Role) -> Result<Self, ErrorStack> {
        Self::make(name, Some((self, role)))
    }

    fn make(name: &str, issued: Option<(&Self, Role)>) -> Result<Self, ErrorStack> {
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
        let key = PKey::from_ec_key(EcKey::generate(&group)?)?;
        let mut subject = X509NameBuilder::new()?;
        subject.append_entry_by_text("CN", name)?;
        let subject = subject.build();
        let mut serial = BigNum::new()?;
        serial.rand(127, MsbOption::MAYBE_ZERO, false)?;

        let mut builder = X509::builder()?;
        builder.set_version(2)?;
        builder.set_serial_number(&*serial.to_asn1_integer()?)?;
        builder.set_subject_name(&subject)?;
        builder.set_issuer_name(issued.map_or(&*subject, |(issuer, _)| issuer.certificate.subject_name()))?;
        builder.set_pubkey(&key)?;
        let day = |days: i64| {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
            Asn1Time::from_unix(now.cast_signed() + days * 86_400)
        };
        let is_over = matches!(issued, Some((_, Role::ServerUntilYesterday(_))));
        builder.set_not_before(&*day(if is_over { -2 } else { 0 })?)?;
        builder.set_not_after(&*day(if is_over { -1 } else { 3650 })?)?;
        match issued {
            None => {
                builder.append_extension(BasicConstraints::new().critical().ca().build()?)?;
                builder.append_extension(KeyUsage::new().critical().key_cert_sign().crl_sign().build()?)?;
            }
            Some((
                issuer,
                role @ (Role::Server(hosts)
                | Role::ServerElsewhere(hosts)
                | Role::ServerUntilYesterday(hosts)),
            )) => {
                let mut names = SubjectAlternativeName::new();
                for host in hosts {
                    names.dns(host);
                }
                if !matches!(role, Role::ServerElsewhere(_)) {
                    names.ip("127.0.0.1").ip("::1");
                }
                let names = names.build(&builder.x509v3_context(Some(&issuer.certificate), None))?;
                builder.append_extension(names)?;
                builder.append_extension(ExtendedKeyUsage::new().server_auth().build()?)?;
            }
            Some((_, Role::Client)) => {
                builder.append_extension(ExtendedKeyUsage::new().client_auth().build()?)?;
            }
        }
        builder.sign(issued.map_or(&key, |(issuer, _)| &issuer.key), MessageDigest::sha256())?;
        Ok(Self { certificate: builder.build(), key })
    }
}
