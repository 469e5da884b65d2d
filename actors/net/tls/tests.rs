use std::net::{TcpListener, TcpStream};
use std::ops::Range;

use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::Private;
use openssl::ssl::{SslAcceptor, SslVerifyMode};
use openssl::symm::Cipher;
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl::x509::{X509Name, X509NameBuilder};
use tempfile::TempDir;

use super::*;

/// Generated certificates: a CA, a server `localhost`/127.0.0.1 and a client, as files.
pub(crate) struct Pki {
    pub dir: TempDir,
    ca: (X509, PKey<Private>),
    server: (X509, PKey<Private>),
}

pub(crate) const PASSPHRASE: &str = "pass-4711";

impl Pki {
    pub fn new() -> Self {
        Self::with_days(0..2)
    }

    /// The server's certificate is valid in this range of days from now.
    pub fn with_days(days: Range<i64>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let ca = make("test ca", None, 1, 0..2);
        let server = make("localhost", Some(&ca), 2, days);
        let client = make("client", Some(&ca), 3, 0..2);
        fs::write(dir.path().join("ca.pem"), ca.0.to_pem().unwrap()).unwrap();
        fs::write(dir.path().join("client.pem"), client.0.to_pem().unwrap()).unwrap();
        let locked =
            client.1.private_key_to_pem_pkcs8_passphrase(Cipher::aes_256_cbc(), PASSPHRASE.as_bytes());
        fs::write(dir.path().join("client_key.pem"), locked.unwrap()).unwrap();
        Self { dir, ca, server }
    }

    pub fn tls(&self) -> ClientTls {
        ClientTls {
            trust: Trust::Only(self.dir.path().join("ca.pem")),
            cert: Some(self.dir.path().join("client.pem")),
            key: Some(self.dir.path().join("client_key.pem")),
            passphrase: SecretString::from(PASSPHRASE),
            verify: true,
        }
    }

    /// The acceptor of a server that requires a client certificate of the CA.
    pub fn acceptor(&self) -> openssl::ssl::SslAcceptorBuilder {
        let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).unwrap();
        acceptor.set_private_key(&self.server.1).unwrap();
        acceptor.set_certificate(&self.server.0).unwrap();
        let mut store = X509StoreBuilder::new().unwrap();
        store.add_cert(self.ca.0.clone()).unwrap();
        acceptor.set_cert_store(store.build());
        acceptor.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
        acceptor
    }
}

fn name(common: &str) -> X509Name {
    let mut name = X509NameBuilder::new().unwrap();
    name.append_entry_by_nid(Nid::COMMONNAME, common).unwrap();
    name.build()
}

fn make(
    common: &str,
    signer: Option<&(X509, PKey<Private>)>,
    serial: u32,
    days: Range<i64>,
) -> (X509, PKey<Private>) {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
    let mut cert = X509::builder().unwrap();
    cert.set_version(2).unwrap();
    cert.set_serial_number(&BigNum::from_u32(serial).unwrap().to_asn1_integer().unwrap()).unwrap();
    cert.set_subject_name(&name(common)).unwrap();
    cert.set_issuer_name(signer.map_or(&name(common), |signer| signer.0.subject_name())).unwrap();
    let now = crate::kit::clock::unix_ms().cast_signed() / 1_000;
    let day = |days: i64| Asn1Time::from_unix(now + days * 86_400).unwrap();
    cert.set_not_before(&day(days.start)).unwrap();
    cert.set_not_after(&day(days.end)).unwrap();
    cert.set_pubkey(&key).unwrap();
    if signer.is_none() {
        cert.append_extension(BasicConstraints::new().critical().ca().build().unwrap()).unwrap();
    }
    if common == "localhost" {
        let context = cert.x509v3_context(None, None);
        let names = SubjectAlternativeName::new().dns("localhost").ip("127.0.0.1").build(&context).unwrap();
        cert.append_extension(names).unwrap();
    }
    cert.sign(signer.map_or(&key, |signer| &signer.1), MessageDigest::sha256()).unwrap();
    (cert.build(), key)
}

/// Whether a connection as `name` succeeds. The server requires our certificate.
fn connects(pki: &Pki, tls: &ClientTls, name: &str) -> bool {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = pki.acceptor().build();
    let server = std::thread::spawn(move || acceptor.accept(listener.accept().unwrap().0).is_ok());
    let connector = tls.connector().unwrap();
    let connected = connector.connect(name, TcpStream::connect(address).unwrap()).is_ok();
    server.join().unwrap() && connected
}

#[test]
fn both_sides_are_verified() {
    let pki = Pki::new();
    assert!(connects(&pki, &pki.tls(), "localhost"));
    assert!(connects(&pki, &pki.tls(), "127.0.0.1"));
    assert!(!connects(&pki, &pki.tls(), "elsewhere.test"), "another name");
    assert!(!connects(&pki, &ClientTls { trust: Trust::System, ..pki.tls() }, "localhost"), "an unknown CA");
    assert!(connects(
        &pki,
        &ClientTls { trust: Trust::System, verify: false, ..pki.tls() },
        "elsewhere.test"
    ));
    assert!(
        !connects(&pki, &ClientTls { cert: None, key: None, ..pki.tls() }, "localhost"),
        "no certificate"
    );
}

/// The number of CAs that a connector trusts.
fn trusted(trust: Trust) -> usize {
    let connector = ClientTls { trust, ..ClientTls::default() }.connector().unwrap();
    connector.context().cert_store().all_certificates().len()
}

#[test]
fn a_ca_file_extends_or_replaces_the_cas_of_the_system() {
    let pki = Pki::new();
    let ca = pki.dir.path().join("ca.pem");
    let of_system = trusted(Trust::System);
    assert_eq!(trusted(Trust::SystemAnd(ca.clone())), of_system + 1);
    assert_eq!(trusted(Trust::Only(ca.clone())), 1);
    let beside = ClientTls { trust: Trust::SystemAnd(ca), ..pki.tls() };
    assert!(connects(&pki, &beside, "localhost"));
    assert_eq!((Trust::system_and(None), Trust::only(None)), (Trust::System, Trust::System));
}

#[test]
fn errors_name_the_file_and_contain_no_secrets() {
    let pki = Pki::new();
    let check = |tls: ClientTls, expect: &str| {
        let error = tls.connector().err().unwrap().to_string();
        assert!(error.contains(expect), "{error}");
        assert!(!error.contains(PASSPHRASE) && !format!("{tls:?}").contains(PASSPHRASE));
    };
    let file = |name: &str| Some(pki.dir.path().join(name));
    check(ClientTls { trust: Trust::only(file("absent.pem")), ..pki.tls() }, "cannot read");
    check(ClientTls { trust: Trust::system_and(file("client_key.pem")), ..pki.tls() }, "certificate");
    check(ClientTls { key: None, ..pki.tls() }, "both");
    check(ClientTls { passphrase: SecretString::from("wrong"), ..pki.tls() }, "passphrase");
    check(ClientTls { passphrase: SecretString::from(""), ..pki.tls() }, "passphrase");
    check(ClientTls { cert: file("ca.pem"), ..pki.tls() }, "not the key");
}

#[test]
fn files_are_read_again_when_they_change() {
    let pki = Pki::new();
    let mut tls = ReloadingTls::new(pki.tls(), Reread::default());
    assert!(tls.changed().unwrap().is_some());
    assert!(tls.changed().unwrap().is_none());
    let path = pki.dir.path().join("ca.pem");
    let (good, other) = (fs::read(&path).unwrap(), make("another ca", None, 9, 0..2).0.to_pem().unwrap());
    fs::write(&path, "broken").unwrap();
    assert!(tls.changed().is_err());
    assert!(tls.changed().is_err());
    fs::write(&path, [good, other].concat()).unwrap();
    assert!(tls.changed().unwrap().is_some());
    assert!(tls.changed().unwrap().is_none());
}
