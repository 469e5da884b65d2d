//! Explains why a server's certificate was refused, so that an administrator can act on it.
//!
//! OpenSSL's error only says "certificate verify failed". Its verification knows the reason and the
//! certificate: a [`CertificateWatch`] observes it and stores the last fault until a caller takes it.

use std::fmt;
use std::sync::{Arc, Mutex};

use crate::kit::lock::lock;
use openssl::nid::Nid;
use openssl::ssl::{SslConnectorBuilder, SslVerifyMode};
use openssl::x509::{X509NameRef, X509Ref, X509StoreContextRef, X509VerifyResult};

/// Observes the verifications of one connector.
#[derive(Clone, Default)]
pub struct CertificateWatch(Arc<Mutex<Option<String>>>);

impl fmt::Debug for CertificateWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CertificateWatch")
    }
}

impl CertificateWatch {
    /// Enables verification for this builder's connector, and observes it. Does not change what is accepted.
    pub fn watch(&self, builder: &mut SslConnectorBuilder) {
        let found = Arc::clone(&self.0);
        builder.set_verify_callback(SslVerifyMode::PEER, move |is_fine, context| {
            if !is_fine {
                *lock(&found) = Some(fault(context));
            }
            is_fine
        });
    }

    /// Takes the reason why the last certificate was refused.
    pub fn take(&self) -> Option<String> {
        lock(&self.0).take()
    }
}

/// OpenSSL's codes (x509_vfy.h).
mod code {
    pub const UNABLE_TO_GET_ISSUER_CERT: i32 = 2;
    pub const NOT_YET_VALID: i32 = 9;
    pub const HAS_EXPIRED: i32 = 10;
    pub const DEPTH_ZERO_SELF_SIGNED: i32 = 18;
    pub const SELF_SIGNED_IN_CHAIN: i32 = 19;
    pub const UNABLE_TO_GET_ISSUER_CERT_LOCALLY: i32 = 20;
    pub const UNABLE_TO_VERIFY_LEAF_SIGNATURE: i32 = 21;
    pub const HOSTNAME_MISMATCH: i32 = 62;
    pub const IP_ADDRESS_MISMATCH: i32 = 64;
}

fn fault(context: &X509StoreContextRef) -> String {
    let error = context.error();
    match context.current_cert() {
        Some(certificate) => detail(error, context.error_depth(), certificate),
        None => format!("the server's certificate is not accepted: {error}"),
    }
}

fn detail(error: X509VerifyResult, depth: u32, certificate: &X509Ref) -> String {
    let name = common_name(certificate.subject_name());
    // The upper end of the chain is a CA certificate.
    let whose = match depth {
        0 => format!("the server's certificate (\"{name}\")"),
        _ => format!("the certificate of the authority \"{name}\", in the server's chain,"),
    };
    match error.as_raw() {
        code::HAS_EXPIRED => format!("{whose} has expired on {}", certificate.not_after()),
        code::NOT_YET_VALID => {
            format!("{whose} is not valid before {}; is the clock right?", certificate.not_before())
        }
        code::DEPTH_ZERO_SELF_SIGNED => {
            format!("{whose} is signed by itself and not among those that are trusted (ca)")
        }
        code::SELF_SIGNED_IN_CHAIN => {
            format!(
                "the server's certificate is signed by the authority \"{name}\", which is not trusted (ca)"
            )
        }
        code::UNABLE_TO_GET_ISSUER_CERT
        | code::UNABLE_TO_GET_ISSUER_CERT_LOCALLY
        | code::UNABLE_TO_VERIFY_LEAF_SIGNATURE => {
            let issuer = common_name(certificate.issuer_name());
            format!("{whose} is signed by the authority \"{issuer}\", which is not trusted (ca)")
        }
        code::HOSTNAME_MISMATCH | code::IP_ADDRESS_MISMATCH => {
            format!("{whose} is for another host: it names {}", hosts(certificate))
        }
        _ => format!("{whose} is not accepted: {error}"),
    }
}

fn common_name(name: &X509NameRef) -> String {
    let entry = name.entries_by_nid(Nid::COMMONNAME).next();
    let text = entry.and_then(|entry| entry.data().to_string().ok());
    text.map_or_else(|| "without a name".to_owned(), |text| printable(&text))
}

/// The hosts that a certificate is for.
fn hosts(certificate: &X509Ref) -> String {
    let names = certificate.subject_alt_names();
    let mut hosts: Vec<String> = Vec::new();
    for name in names.iter().flatten().take(HOSTS_MAX) {
        if let Some(host) = name.dnsname() {
            hosts.push(printable(host));
        } else if let Some(address) = name.ipaddress().and_then(address) {
            hosts.push(address);
        }
    }
    if hosts.is_empty() { "none".to_owned() } else { hosts.join(", ") }
}

fn address(bytes: &[u8]) -> Option<String> {
    let v4 = <[u8; 4]>::try_from(bytes).map(|bytes| std::net::IpAddr::from(bytes).to_string());
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(|bytes| std::net::IpAddr::from(bytes).to_string())).ok()
}

/// The text comes from the server's certificate and may contain anything.
fn printable(text: &str) -> String {
    text.chars().take(NAME_CHARS_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

const NAME_CHARS_MAX: usize = 100;
const HOSTS_MAX: usize = 5;

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use openssl::ssl::SslVerifyMode;

    use super::*;
    use crate::net::tls::tests::Pki;
    use crate::net::tls::{ClientTls, Trust};

    /// The fault that a connection as `host` with this trust finds at a server with `pki`'s certificate.
    fn found(pki: &Pki, tls: &ClientTls, host: &str) -> Option<String> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut acceptor = pki.acceptor();
        acceptor.set_verify(SslVerifyMode::NONE);
        let acceptor = acceptor.build();
        let server = std::thread::spawn(move || acceptor.accept(listener.accept().unwrap().0).is_ok());
        let watch = CertificateWatch::default();
        let connector = tls.connector_watched(&watch).unwrap();
        let connected = connector.connect(host, TcpStream::connect(address).unwrap());
        let found = watch.take();
        assert_eq!(connected.is_err(), found.is_some());
        assert_eq!(watch.take(), None, "told once");
        drop(connected);
        server.join().unwrap();
        found
    }

    #[test]
    fn names_the_fault_of_a_certificate() {
        let pki = Pki::new();
        assert_eq!(found(&pki, &pki.tls(), "localhost"), None);
        assert_eq!(
            found(&pki, &pki.tls(), "influx.test").as_deref(),
            Some(
                "the server's certificate (\"localhost\") is for another host: it names localhost, 127.0.0.1"
            )
        );
        assert_eq!(
            found(&pki, &pki.tls(), "127.0.0.2").as_deref(),
            Some(
                "the server's certificate (\"localhost\") is for another host: it names localhost, 127.0.0.1"
            )
        );
        assert_eq!(
            found(&pki, &ClientTls { trust: Trust::System, ..pki.tls() }, "localhost").as_deref(),
            Some(
                "the server's certificate is signed by the authority \"test ca\", which is not trusted (ca)"
            )
        );
        let expired = Pki::with_days(-2..-1);
        let detail = found(&expired, &expired.tls(), "localhost").unwrap();
        assert!(detail.starts_with("the server's certificate (\"localhost\") has expired on "), "{detail}");
        assert_eq!(found(&pki, &ClientTls { verify: false, ..pki.tls() }, "elsewhere.test"), None);
    }

    #[test]
    fn names_are_printable_and_short() {
        assert_eq!(printable("a\nb"), "a b");
        assert_eq!(printable(&"x".repeat(200)).len(), NAME_CHARS_MAX);
        assert_eq!(address(&[127, 0, 0, 1]).as_deref(), Some("127.0.0.1"));
        assert_eq!(address(&[1, 2]), None);
    }
}
