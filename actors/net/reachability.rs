//! Diagnoses why a server cannot be reached: name, connection, handshake, step by step.
//!
//! For a client library that reports no details, and for `butler-sos check`. Everything here blocks.

use std::io::{self, ErrorKind, Read};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use openssl::ssl::{HandshakeError, SslConnector};

use crate::kit::delivery_error::DeliveryError;
use crate::net::tls::ClientTls;
use crate::net::tls::certificate_fault::CertificateWatch;

/// The time for a server to refuse our certificate. With TLS 1.3 it does so after the handshake.
const REFUSAL_TIMEOUT: Duration = Duration::from_millis(300);

/// A server to connect to.
#[derive(Debug, Clone)]
pub struct Server {
    /// Name or address, IPv6 with or without brackets.
    pub host: String,
    pub port: u16,
    /// Used instead of the name's addresses.
    pub address: Option<IpAddr>,
    /// The time limit of each step.
    pub patience: Duration,
}

impl Server {
    /// # Errors
    /// With the class `dns`, `timeout` or `connect`.
    pub fn connect(&self) -> Result<TcpStream, DeliveryError> {
        let Self { port, address, patience, .. } = self;
        let host = self.bare_host();
        let addresses: Vec<SocketAddr> = match address {
            Some(address) => vec![SocketAddr::new(*address, *port)],
            None => {
                let found = (host, *port).to_socket_addrs();
                let unknown = |error| {
                    DeliveryError::new("dns", format!("the name {host} cannot be resolved ({error})"))
                };
                found.map_err(unknown)?.collect()
            }
        };
        let mut last = io::Error::from(ErrorKind::AddrNotAvailable);
        for address in addresses {
            match TcpStream::connect_timeout(&address, *patience) {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        let class = if last.kind() == ErrorKind::TimedOut { "timeout" } else { "connect" };
        Err(DeliveryError::new(class, format!("no connection to {host}:{port}: {last}")))
    }

    /// Connects, does the handshake, and waits briefly for a refusal.
    ///
    /// # Errors
    /// Those of [`Server::connect`], and errors of the handshake with the class `tls` or `timeout`.
    pub fn shake_hands(&self, tls: &ClientTls) -> Result<(), DeliveryError> {
        let watch = CertificateWatch::default();
        let connector =
            tls.connector_watched(&watch).map_err(|error| DeliveryError::new("tls", error.to_string()))?;
        let stream = self.connect()?;
        let prepared = stream
            .set_read_timeout(Some(self.patience))
            .and_then(|()| stream.set_write_timeout(Some(self.patience)));
        prepared.map_err(|error| DeliveryError::new("connect", error.to_string()))?;
        self.shake(stream, &connector, &watch)
    }

    fn shake(
        &self,
        stream: TcpStream,
        connector: &SslConnector,
        watch: &CertificateWatch,
    ) -> Result<(), DeliveryError> {
        let at = format!("{}:{}", self.bare_host(), self.port);
        let mut stream = match connector.connect(self.bare_host(), stream) {
            Ok(stream) => stream,
            Err(error) => {
                if let Some(fault) = watch.take() {
                    return Err(DeliveryError::new("tls", format!("{at} is not trusted: {fault}")));
                }
                return Err(match error {
                    // A blocking socket has reached its timeout.
                    HandshakeError::WouldBlock(_) => DeliveryError::new(
                        "timeout",
                        format!("{at} does not answer the TLS handshake in time"),
                    ),
                    other => DeliveryError::new("tls", format!("{at} breaks off the TLS handshake: {other}")),
                });
            }
        };
        let listening = stream.get_ref().set_read_timeout(Some(REFUSAL_TIMEOUT));
        listening.map_err(|error| DeliveryError::new("connect", error.to_string()))?;
        match stream.read(&mut [0; 1]) {
            Err(error) if !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                let detail = format!(
                    "{at} closed the connection, probably because it rejected the client certificate: {error}"
                );
                Err(DeliveryError::new("tls", detail))
            }
            _ => Ok(()),
        }
    }

    fn bare_host(&self) -> &str {
        self.host.trim_matches(['[', ']'])
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::net::tls::Trust;
    use crate::net::tls::tests::Pki;

    fn server(host: &str, port: u16) -> Server {
        Server { host: host.to_owned(), port, address: None, patience: Duration::from_secs(5) }
    }

    #[test]
    fn each_step_has_its_error_class() {
        let pki = Pki::new();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let check = |server: Server, tls: Option<&ClientTls>, class: &str, detail: &str| {
            let reached = match tls {
                Some(tls) => server.shake_hands(tls),
                None => server.connect().map(drop),
            };
            let trouble = reached.unwrap_err();
            assert_eq!(trouble.class, class, "{trouble}");
            assert!(trouble.detail.contains(detail), "{trouble}");
        };
        server("127.0.0.1", port).connect().unwrap();
        check(server("no-such-host.invalid", port), None, "dns", "no-such-host.invalid cannot be resolved");
        // The backlog accepts the connection, and the server sends nothing.
        let silent = Server { patience: Duration::from_millis(100), ..server("127.0.0.1", port) };
        check(silent, Some(&pki.tls()), "timeout", "does not answer the TLS handshake");
        let acceptor = pki.acceptor().build();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if let Ok(mut stream) = acceptor.accept(stream) {
                    let _ = stream.read(&mut [0; 1]);
                }
            }
        });
        let other_name = Server { address: Some([127, 0, 0, 1].into()), ..server("db.test", port) };
        check(other_name, Some(&pki.tls()), "tls", "is for another host: it names localhost");
        let unknown = ClientTls { trust: Trust::System, ..pki.tls() };
        check(
            server("localhost", port),
            Some(&unknown),
            "tls",
            "authority \"test ca\", which is not trusted",
        );
        let nobody = ClientTls { cert: None, key: None, ..pki.tls() };
        check(server("localhost", port), Some(&nobody), "tls", "because it rejected the client certificate");
        server("localhost", port).shake_hands(&pki.tls()).unwrap();
        let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        check(server("127.0.0.1", gone), None, "connect", "refused");
    }
}
