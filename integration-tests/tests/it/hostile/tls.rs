//! TLS: nothing old, nothing beside HTTP/1.1, and nobody kept out by those who never say hello.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use butler_sos_integration_tests::audit_config::AuditConfig;
use butler_sos_integration_tests::certificates::{Pair, Role};
use butler_sos_integration_tests::sandbox::Sandbox;
use openssl::ssl::{SslConnector, SslMethod, SslStream, SslVerifyMode, SslVersion};

use super::{event, post};

fn tls_server() -> Sandbox {
    let config = |cert: String, key: String| AuditConfig { tls: Some((cert, key)), ..AuditConfig::default() };
    let sandbox = Sandbox::new(&config("{dir}/cert.pem".to_owned(), "{dir}/key.pem".to_owned()).text());
    let authority = Pair::authority("ca").expect("an authority");
    let pair = authority.issue("localhost", Role::Server(&["localhost"])).expect("a certificate");
    let write = |name: &str, pem: Vec<u8>| std::fs::write(sandbox.path().join(name), pem).expect("written");
    write("cert.pem", pair.certificate.to_pem().expect("PEM"));
    write("key.pem", pair.key.private_key_to_pem_pkcs8().expect("PEM"));
    let mut sandbox = sandbox;
    sandbox.start();
    sandbox
}

/// What a client offers.
#[derive(Default)]
struct Offer {
    only: Option<SslVersion>,
    protocols: &'static [u8],
}

fn connect(server: SocketAddr, offer: &Offer) -> Option<SslStream<TcpStream>> {
    let mut connector = SslConnector::builder(SslMethod::tls_client()).expect("a connector");
    connector.set_verify(SslVerifyMode::NONE);
    connector.set_min_proto_version(offer.only).expect("a version");
    connector.set_max_proto_version(offer.only).expect("a version");
    // Old versions need what today's OpenSSL holds for unsafe.
    connector.set_cipher_list("ALL:@SECLEVEL=0").expect("ciphers");
    if !offer.protocols.is_empty() {
        connector.set_alpn_protos(offer.protocols).expect("protocols");
    }
    let stream = TcpStream::connect(server).expect("the server listens");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a time-out");
    connector.build().connect("localhost", stream).ok()
}

/// The status of an event posted.
fn post_event(stream: &mut SslStream<TcpStream>, n: usize) -> String {
    stream.write_all(post("Connection: close\r\n", &event(n)).as_bytes()).expect("sent");
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    answer.split(' ').nth(1).unwrap_or_default().to_owned()
}

#[test]
fn nothing_old_is_spoken() {
    let sandbox = tls_server();
    let server = sandbox.address("audit-events");
    for (version, is_spoken) in [
        (SslVersion::TLS1, false),
        (SslVersion::TLS1_1, false),
        (SslVersion::TLS1_2, true),
        (SslVersion::TLS1_3, true),
    ] {
        let offer = Offer { only: Some(version), ..Offer::default() };
        assert_eq!(connect(server, &offer).is_some(), is_spoken, "{version:?}");
    }
    // HTTP/2 would let one connection past the limits for each; it is not chosen, and not needed.
    let mut stream = connect(server, &Offer { protocols: b"\x02h2\x08http/1.1", ..Offer::default() })
        .expect("a connection");
    assert_ne!(stream.ssl().selected_alpn_protocol(), Some(&b"h2"[..]));
    assert_eq!(post_event(&mut stream, 1), "202");
    // Plain HTTP is no handshake.
    let heard = butler_sos_integration_tests::raw_http::RawHttp::ask(server, post("", &event(2)));
    assert_eq!(heard.statuses, [] as [u16; 0]);
    assert_eq!(sandbox.settle().sum("butler_sos_events_stored_total", &[]), 1.0);
}

#[test]
fn those_who_never_say_hello_keep_nobody_out() {
    let sandbox = tls_server();
    let server = sandbox.address("audit-events");
    let silent: Vec<TcpStream> =
        (0..1_500).map(|_| TcpStream::connect(server).expect("a connection")).collect();
    let begun = std::time::Instant::now();
    for n in 0..20 {
        let mut stream = connect(server, &Offer::default()).expect("a handshake");
        assert_eq!(post_event(&mut stream, n), "202");
    }
    // The silent ones are given ten seconds; nobody waits for them.
    assert!(begun.elapsed() < Duration::from_secs(9), "{:?}", begun.elapsed());
    drop(silent);
    assert_eq!(sandbox.settle().sum("butler_sos_events_stored_total", &[]), 20.0);
}
