//! TLS of the audit API, tested with OpenSSL's client.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;

use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::ssl::{SslConnector, SslConnectorBuilder, SslMethod, SslStream, SslVerifyMode, SslVersion};
use openssl::symm::Cipher;
use openssl::x509::{X509, X509NameBuilder};
use secrecy::SecretString;

use super::harness::{Got, Harness, PLAIN, event, read_answer, request, unlimited};
use super::tls::{Tls, TlsConfig, TlsError, TlsVersion};
use crate::intake::audit_http_ingestor::AuditHttpConfig;
use crate::net::tls::reread::Reread;

struct Authority {
    cert: X509,
    key: PKey<Private>,
}

/// A self-signed certificate that can also serve as a CA.
fn authority(name: &str) -> Authority {
    let key = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
    let mut subject = X509NameBuilder::new().unwrap();
    subject.append_entry_by_text("CN", name).unwrap();
    let subject = subject.build();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    let serial = BigNum::from_u32(7).unwrap().to_asn1_integer().unwrap();
    builder.set_serial_number(&serial).unwrap();
    builder.set_subject_name(&subject).unwrap();
    builder.set_issuer_name(&subject).unwrap();
    builder.set_pubkey(&key).unwrap();
    builder.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
    builder.set_not_after(&Asn1Time::days_from_now(2).unwrap()).unwrap();
    builder.sign(&key, MessageDigest::sha256()).unwrap();
    Authority { cert: builder.build(), key }
}

fn write(directory: &Path, authority: &Authority, passphrase: Option<&str>) -> TlsConfig {
    let (cert, key) = (directory.join("cert.pem"), directory.join("key.pem"));
    let pem = match passphrase {
        None => authority.key.private_key_to_pem_pkcs8(),
        Some(detail) => {
            authority.key.private_key_to_pem_pkcs8_passphrase(Cipher::aes_256_cbc(), detail.as_bytes())
        }
    };
    fs::write(&cert, authority.cert.to_pem().unwrap()).unwrap();
    fs::write(&key, pem.unwrap()).unwrap();
    TlsConfig {
        cert,
        key,
        ca: None,
        passphrase: passphrase.map(SecretString::from),
        min_version: TlsVersion::default(),
        reread: Reread::default(),
    }
}

fn serve(tls: TlsConfig) -> Harness {
    Harness::start(AuditHttpConfig { tls: Some(tls), ..unlimited() })
}

type Setup = fn(&mut SslConnectorBuilder);

fn connect(
    address: SocketAddr,
    own: Option<&Authority>,
    setup: Setup,
) -> Result<SslStream<TcpStream>, String> {
    let mut builder = SslConnector::builder(SslMethod::tls_client()).unwrap();
    builder.set_verify(SslVerifyMode::NONE);
    if let Some(own) = own {
        builder.set_certificate(&own.cert).unwrap();
        builder.set_private_key(&own.key).unwrap();
    }
    setup(&mut builder);
    let stream = TcpStream::connect(address).unwrap();
    builder.build().connect("audit.test", stream).map_err(|error| error.to_string())
}

/// Posts an event. An error means that the connection failed.
fn post(address: SocketAddr, own: Option<&Authority>, setup: Setup, n: u32) -> Result<Got, String> {
    use std::io::{Read, Write};
    let mut stream = connect(address, own, setup)?;
    let sent = request("POST", "/api/v1/audit-event", &PLAIN, event(n).as_bytes());
    stream.write_all(&sent).map_err(|error| error.to_string())?;
    // In TLS 1.3 a client learns only with its first read that its certificate was refused.
    let mut first = [0];
    stream.read_exact(&mut first).map_err(|error| error.to_string())?;
    Ok(read_answer(&mut first.as_slice().chain(stream), false))
}

async fn on_a_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    actix_rt::task::spawn_blocking(work).await.unwrap()
}

#[actix_rt::test]
async fn accepts_events_over_tls_from_the_minimum_version_on() {
    let directory = tempfile::tempdir().unwrap();
    let own = authority("audit.test");
    let harness = serve(write(directory.path(), &own, Some("open sesame")));
    let address = harness.address;
    on_a_thread(move || {
        let got = post(address, None, |_| {}, 1).unwrap();
        assert_eq!(got.status, 202);
        let hsts = "max-age=31536000; includeSubDomains";
        assert_eq!(got.header("strict-transport-security"), Some(hsts));
        let with_1_2: Setup = |b| b.set_max_proto_version(Some(SslVersion::TLS1_2)).unwrap();
        assert_eq!(post(address, None, with_1_2, 2).unwrap().status, 202);
        let with_1_1: Setup = |b| {
            b.set_security_level(0);
            b.set_min_proto_version(Some(SslVersion::TLS1)).unwrap();
            b.set_max_proto_version(Some(SslVersion::TLS1_1)).unwrap();
        };
        post(address, None, with_1_1, 3).unwrap_err();
    })
    .await;
    let strict = TlsConfig { min_version: TlsVersion::V1_3, ..write(directory.path(), &own, None) };
    let harness = serve(strict);
    let address = harness.address;
    on_a_thread(move || {
        assert_eq!(post(address, None, |_| {}, 1).unwrap().status, 202);
        let with_1_2: Setup = |b| b.set_max_proto_version(Some(SslVersion::TLS1_2)).unwrap();
        post(address, None, with_1_2, 2).unwrap_err();
    })
    .await;
}

#[actix_rt::test]
async fn requires_a_client_certificate_when_a_ca_is_set() {
    let directory = tempfile::tempdir().unwrap();
    let (client, stranger) = (authority("client"), authority("stranger"));
    let ca = directory.path().join("ca.pem");
    fs::write(&ca, client.cert.to_pem().unwrap()).unwrap();
    let tls = TlsConfig { ca: Some(ca), ..write(directory.path(), &authority("audit.test"), None) };
    let harness = serve(tls);
    let address = harness.address;
    on_a_thread(move || {
        post(address, None, |_| {}, 1).unwrap_err();
        post(address, Some(&stranger), |_| {}, 1).unwrap_err();
        assert_eq!(post(address, Some(&client), |_| {}, 1).unwrap().status, 202);
        assert_eq!(post(address, Some(&client), |_| {}, 2).unwrap().status, 202);
    })
    .await;
    assert_eq!(harness.stored().len(), 2);
}

#[actix_rt::test]
async fn uses_a_renewed_certificate_and_ignores_a_broken_one() {
    let directory = tempfile::tempdir().unwrap();
    let config = write(directory.path(), &authority("first"), None);
    let tls = Tls::new(config.clone()).unwrap();
    let acceptor = tls.acceptor().unwrap().build();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // The served certificate identifies the connection.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = acceptor.accept(stream.unwrap());
        }
    });
    let shown = || {
        let stream = connect(address, None, |_| {}).unwrap();
        let cert = stream.ssl().peer_certificate().unwrap();
        let name = cert.subject_name().entries().next().unwrap().data();
        String::from_utf8(name.as_slice().to_vec()).unwrap()
    };
    assert_eq!((shown().as_str(), tls.renew().unwrap()), ("first", false));
    write(directory.path(), &authority("the second one"), None);
    assert!(tls.renew().unwrap());
    assert_eq!(shown(), "the second one");
    // A key of another certificate, as when only one file has been copied yet.
    fs::write(&config.key, authority("x").key.private_key_to_pem_pkcs8().unwrap()).unwrap();
    fs::write(&config.cert, authority("half renewed").cert.to_pem().unwrap()).unwrap();
    assert!(matches!(tls.renew(), Err(TlsError::Refused(_))));
    assert!(!tls.renew().unwrap(), "the same trouble is told once");
    assert_eq!(shown(), "the second one");
    write(directory.path(), &authority("third"), None);
    assert!(tls.renew().unwrap());
    assert_eq!(shown(), "third");
}

#[test]
fn errors_name_the_file_and_contain_no_secret() {
    let directory = tempfile::tempdir().unwrap();
    let config = write(directory.path(), &authority("a"), Some("open sesame"));
    let check = |config: TlsConfig, expect: &str| {
        let error = Tls::new(config).err().expect("cannot be used");
        let detail = format!("{error} {error:?}");
        assert!(detail.contains(expect) && !detail.contains("sesame"), "{detail}");
    };
    check(TlsConfig { passphrase: None, ..config.clone() }, "passphrase is wrong");
    let wrong = Some(SecretString::from("not the sesame"));
    check(TlsConfig { passphrase: wrong, ..config.clone() }, "passphrase is wrong");
    check(TlsConfig { cert: directory.path().join("none.pem"), ..config.clone() }, "cannot read");
    check(TlsConfig { cert: config.key.clone(), ..config }, "holds no certificate");
}
