//! Which token is sent to which server, and over which wire.
//!
//! The configured token is for the configured server: another one gets the token that it is given on the command
//! line, or none. And no token leaves this machine in clear text unless that is asked for.

use std::io::{self, Read};
use std::net::{IpAddr, UdpSocket};
use std::path::Path;

use url::{Host, Url};

use super::address::reachable;
use super::client_error::ClientError;
use butler_sos_settings::secret::Secret;

/// No token is longer.
const TOKEN_FILE_BYTES_MAX: u64 = 64 * 1024;

/// A server as the configuration names it, with its token.
#[derive(Debug, Clone, Copy)]
pub struct Configured<'a> {
    pub host: &'a str,
    /// 0: any.
    pub port: u16,
    pub token: &'a Secret,
}

/// What is sent along.
#[derive(Debug)]
pub enum Sent {
    Token(Secret),
    /// There is a configured one, for another server.
    Withheld,
    Nothing,
}

impl Sent {
    #[must_use]
    pub fn token(&self) -> Option<&Secret> {
        match self {
            Self::Token(token) => Some(token),
            Self::Withheld | Self::Nothing => None,
        }
    }
}

/// The token in a file.
///
/// # Errors
/// When it cannot be read, or holds what is no token.
pub fn token_in(path: &Path) -> Result<Secret, ClientError> {
    let failed = |detail: String| ClientError::TokenFile { path: path.display().to_string(), detail };
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|error| failed(error.to_string()))?;
    let read = file.take(TOKEN_FILE_BYTES_MAX).read_to_string(&mut text);
    read.map_err(|error| failed(error.to_string()))?;
    let token = text.trim();
    // It becomes a header: what cannot stand there is no token, and must not be shown either.
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(failed("the file holds no token".to_owned()));
    }
    Ok(Secret::new(token))
}

/// What is sent to `server`: the token that was `given` on the command line, else the configured one.
///
/// # Errors
/// When it would be sent to another machine in clear text and `insecure_http` does not say that it may.
pub fn token_for(
    server: &Url,
    given: Option<Secret>,
    configured: Option<Configured<'_>>,
    insecure_http: bool,
) -> Result<Sent, ClientError> {
    let sent = match (given, configured) {
        (Some(token), _) => Sent::Token(token),
        (None, Some(configured)) if configured.is_at(server) => Sent::Token(configured.token.clone()),
        (None, Some(configured)) if !configured.token.is_empty() => Sent::Withheld,
        (None, _) => Sent::Nothing,
    };
    match sent {
        Sent::Token(token) if token.is_empty() => Ok(Sent::Nothing),
        Sent::Token(_) if !insecure_http && server.scheme() != "https" && !is_this_machine(server) => {
            Err(ClientError::ClearText)
        }
        sent => Ok(sent),
    }
}

impl Configured<'_> {
    /// Whether `server` is the one that is configured.
    fn is_at(&self, server: &Url) -> bool {
        if self.port != 0 && server.port_or_known_default() != Some(self.port) {
            return false;
        }
        let configured = reachable(self.host);
        let Ok(configured) = Host::parse(&configured) else { return false };
        let Some(host) = server.host() else { return false };
        configured == host.to_owned() || (is_localhost(&configured) && is_localhost(&host))
    }
}

/// `localhost` is either of the two.
fn is_localhost<S: AsRef<str>>(host: &Host<S>) -> bool {
    match host {
        Host::Domain(name) => name.as_ref().eq_ignore_ascii_case("localhost"),
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
    }
}

/// Whether what is sent there stays on this machine: loopback, or an address of its own. A name but `localhost` may
/// lead anywhere.
fn is_this_machine(server: &Url) -> bool {
    let address: IpAddr = match server.host() {
        Some(Host::Ipv4(address)) => address.into(),
        Some(Host::Ipv6(address)) => IpAddr::from(address).to_canonical(),
        Some(host @ Host::Domain(_)) => return is_localhost(&host),
        None => return false,
    };
    address.is_loopback() || (!address.is_unspecified() && is_own(address).unwrap_or(false))
}

/// The system sends from an address of its own to itself. Nothing is sent to find out.
fn is_own(address: IpAddr) -> io::Result<bool> {
    let any = if address.is_ipv6() { IpAddr::from([0_u16; 8]) } else { IpAddr::from([0_u8; 4]) };
    let socket = UdpSocket::bind((any, 0))?;
    // Any port will do.
    socket.connect((address, 9))?;
    Ok(socket.local_addr()?.ip() == address)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit;

    fn url(text: &str) -> Url {
        Url::parse(text).expect("a URL")
    }

    #[test]
    fn the_configured_token_is_for_the_configured_server() {
        let token = Secret::new("configured");
        let check = |host: &str, port: u16, server: &str, expect: bool| {
            let configured = Configured { host, port, token: &token };
            let sent = token_for(&url(server), None, Some(configured), true).expect("it may be sent");
            assert_eq!(
                sent.token().map(Secret::expose),
                expect.then_some("configured"),
                "{host}:{port} {server}"
            );
            assert_eq!(matches!(sent, Sent::Withheld), !expect);
        };
        check("127.0.0.1", 9842, "http://127.0.0.1:9842", true);
        check("127.0.0.1", 9842, "http://localhost:9842", true);
        check("localhost", 9842, "http://127.0.0.1:9842/", true);
        check("localhost", 9842, "http://[::1]:9842/", true);
        check("0.0.0.0", 9842, "http://localhost:9842/", true);
        check("::", 9842, "http://[::1]:9842/", true);
        check("sense.lab", 9842, "http://SENSE.lab:9842", true);
        check("sense.lab", 443, "https://sense.lab/butler", true);
        check("127.0.0.1", 0, "http://127.0.0.1:4711", true);
        check("127.0.0.1", 0, "http://sense.lab:4711", false);
        check("127.0.0.1", 9842, "http://127.0.0.1:9843", false);
        check("127.0.0.1", 9842, "http://sense.lab:9842", false);
        check("sense.lab", 9842, "http://sense.lab.evil.example:9842", false);
        check("sense.lab", 9842, "http://sense.lab", false);
        check("sense.lab", 9842, "https://evil.example:9842", false);
        check("", 9842, "http://evil.example:9842", false);
    }

    #[test]
    fn a_given_token_goes_where_it_is_said_to() {
        let configured = Secret::new("configured");
        let configured = Configured { host: "127.0.0.1", port: 9842, token: &configured };
        let given = Some(Secret::new("given"));
        let sent =
            token_for(&url("https://sense.lab"), given, Some(configured), false).expect("it may be sent");
        assert_eq!(sent.token().map(Secret::expose), Some("given"));
        let sent = token_for(&url("http://sense.lab"), None, None, false).expect("nothing is sent");
        assert!(matches!(sent, Sent::Nothing));
    }

    #[test]
    fn an_address_of_this_machine_is_told_from_others() {
        let check = |address: &str, expect: bool| {
            let address = address.parse().expect("an address");
            assert_eq!(is_own(address).unwrap_or(false), expect, "{address}");
        };
        check("127.0.0.1", true);
        check("192.0.2.1", false);
        check("2001:db8::1", false);
    }

    #[test]
    fn no_token_leaves_this_machine_in_clear_text() {
        let check = |server: &str, expect: bool| {
            let send = |insecure| token_for(&url(server), Some(Secret::new("hunter2")), None, insecure);
            assert_eq!(send(false).is_ok(), expect, "{server}");
            assert!(send(true).is_ok(), "{server}");
            if let Err(error) = send(false) {
                assert_eq!(error.exit(), exit::USAGE);
                assert!(error.to_string().contains("--insecure-http"), "{error}");
                assert!(!error.to_string().contains("hunter2"), "{error}");
            }
            // Without a token there is nothing to lose.
            assert!(token_for(&url(server), None, None, false).is_ok(), "{server}");
            assert!(token_for(&url(server), Some(Secret::new("")), None, false).is_ok(), "{server}");
        };
        check("http://127.0.0.1:9842", true);
        check("http://127.1:9842", true);
        check("http://localhost", true);
        check("http://[::1]:1", true);
        check("https://sense.lab", true);
        check("https://192.0.2.1:9842", true);
        check("http://192.0.2.1:9842", false);
        check("http://sense.lab:9842", false);
        check("http://localhost.sense.lab:9842", false);
        check("http://[2001:db8::1]:9842", false);
        check("http://0.0.0.0:9842", false);
    }

    #[test]
    fn a_token_is_read_from_its_file() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("token");
        for (text, expect) in [("s3cret\n", Some("s3cret")), ("", None), ("a\nb", None), (" \n", None)] {
            std::fs::write(&path, text).expect("a file");
            assert_eq!(token_in(&path).ok().as_ref().map(Secret::expose), expect, "{text:?}");
        }
        assert!(token_in(&directory.path().join("gone")).is_err());
    }
}
