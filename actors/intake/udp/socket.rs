//! The socket for user events. It is bound once, and outlives restarts of the actor that reads it.
//!
//! [`open`] does everything that can fail, before any actor starts: resolving, binding, requesting buffer
//! space.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};

use slog::{Logger, warn};

use crate::kit::platform::sockets::{BoundUdp, OpenUdpError, open_udp};

/// The address to listen at, and the size of the receive buffer.
#[derive(Debug, Clone)]
pub struct SocketConfig {
    /// A name, IPv4 or IPv6. `0.0.0.0` and `::` mean all addresses; `::` includes IPv4.
    pub host: String,
    /// With 0 the kernel chooses.
    pub port: u16,
    pub receive_buffer_bytes: usize,
}

#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    #[error("cannot resolve {host} to listen on: {source}")]
    Resolve { host: String, source: io::Error },
    #[error("{host} has no address to listen on")]
    NoAddress { host: String },
    #[error("cannot listen on UDP {address}: {source}")]
    Bind { address: SocketAddr, source: io::Error },
    #[error("cannot prepare UDP {address}: {source}")]
    Prepare { address: SocketAddr, source: io::Error },
}

/// Binds the socket. Blocks while a name is resolved.
pub fn open(config: &SocketConfig, log: &Logger) -> Result<BoundUdp, SocketError> {
    let host = config.host.trim();
    let host = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    let addresses: Vec<SocketAddr> = (host, config.port)
        .to_socket_addrs()
        .map_err(|source| SocketError::Resolve { host: host.to_owned(), source })?
        .collect();
    let mut last = SocketError::NoAddress { host: host.to_owned() };
    for address in addresses {
        match open_at(address, config.receive_buffer_bytes, log) {
            Ok(bound) => return Ok(bound),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn open_at(address: SocketAddr, buffer_bytes: usize, log: &Logger) -> Result<BoundUdp, SocketError> {
    let bound = open_udp(address, buffer_bytes).map_err(|error| match error {
        OpenUdpError::Bind(source) => SocketError::Bind { address, source },
        OpenUdpError::Prepare(source) => SocketError::Prepare { address, source },
    })?;
    let got = bound.receive_buffer_bytes;
    if got < buffer_bytes {
        warn!(log, "the kernel gives the UDP socket a smaller receive buffer than configured; \
            raise the sysctl net.core.rmem_max";
            "wanted_bytes" => buffer_bytes, "got_bytes" => got, "sysctl" => "net.core.rmem_max");
    }
    Ok(bound)
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;
    use crate::kit::platform::sockets::{ReceiveArea, WhenEmpty};
    use crate::kit::testing::discard_log;

    fn bound(host: &str) -> BoundUdp {
        let config = SocketConfig { host: host.to_owned(), port: 0, receive_buffer_bytes: 1 << 16 };
        open(&config, &discard_log()).unwrap()
    }

    /// Sends from `client` to the socket at `to`, and checks that it arrives from `source`.
    fn check_arrives(listen: &str, client: &str, to: &str, source: &str) {
        let bound = bound(listen);
        let sender = UdpSocket::bind((client, 0)).unwrap();
        for datagram in [&b"one"[..], b"", b"three, which is too large"] {
            sender.send_to(datagram, (to, bound.address.port())).unwrap();
        }
        let mut area = ReceiveArea::new(8);
        let mut seen = Vec::new();
        while seen.len() < 3 {
            let _ = area.receive(&bound.socket, WhenEmpty::Wait, |received| {
                seen.push((received.bytes.len(), received.source.ip().to_string()));
                assert_eq!(received.source.port(), sender.local_addr().unwrap().port());
            });
        }
        let lengths: Vec<usize> = seen.iter().map(|(len, _)| *len).collect();
        assert_eq!(&lengths[..2], [3, 0]);
        assert!(lengths[2] > 8, "a datagram over the limit shows as such");
        assert!(seen.iter().all(|(_, ip)| ip == source), "{listen}: {seen:?}");
    }

    #[test]
    fn opens_every_kind_of_host() {
        check_arrives("127.0.0.1", "127.0.0.1", "127.0.0.1", "127.0.0.1");
        check_arrives("0.0.0.0", "127.0.0.1", "127.0.0.1", "127.0.0.1");
        if UdpSocket::bind("[::1]:0").is_ok() {
            check_arrives("::1", "::1", "::1", "::1");
            check_arrives("[::1]", "::1", "::1", "::1");
            check_arrives("::", "::1", "::1", "::1");
            check_arrives("::", "127.0.0.1", "127.0.0.1", "127.0.0.1");
        }
        assert!(bound("localhost").address.ip().is_loopback());
    }

    #[test]
    fn an_error_names_the_reason() {
        let check = |host: &str, port: u16| {
            open(&SocketConfig { host: host.into(), port, receive_buffer_bytes: 4096 }, &discard_log())
        };
        let taken = bound("127.0.0.1");
        assert!(matches!(check("127.0.0.1", taken.address.port()), Err(SocketError::Bind { .. })));
        assert!(matches!(check("192.0.2.1", 0), Err(SocketError::Bind { .. })));
        assert!(matches!(check("no such host", 0), Err(SocketError::Resolve { .. })));
    }
}
