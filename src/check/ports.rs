//! Ports: whether the server can listen on each of them, and which process holds it otherwise.
//!
//! A running server with this configuration holds its ports itself. The check then reports the running
//! server, not a mistake in the file.

use std::{
    io::{self, ErrorKind},
    net::TcpListener,
};

use butler_sos_actors::intake::udp::allowed_sources::SourceList;
use butler_sos_actors::intake::udp::socket::{self, SocketError};
use butler_sos_actors::journal::store;
use butler_sos_actors::kit::platform::process::{Holder, Protocol, holder_of_port};
use slog::{Discard, Logger, o};

use super::report::{CheckResult, Verdict};
use crate::{config::Config, topology::settings};

const UDP_PORT: &str = "Butler-SOS.userEvents.udpServerConfig.portUserActivityEvents";
const UDP_HOST: &str = "Butler-SOS.userEvents.udpServerConfig.serverHost";
const SOURCES: &str = "Butler-SOS.userEvents.udpServerConfig.allowedSources";

/// The name of this program in the list of processes.
const OUR_NAME: &str = "butler-sos";

/// Listens on every address for a moment. Blocks.
pub fn results(config: &Config) -> Vec<CheckResult> {
    let is_running = store::is_held(config.pipeline.journal.directory.as_ref());
    let mut found: Vec<CheckResult> = config
        .listeners()
        .into_iter()
        .map(|listener| {
            let host = listener.host.trim_matches(['[', ']']);
            let outcome = TcpListener::bind((host, listener.port)).map(drop);
            let attempt = Attempt { protocol: Protocol::Tcp, host, port: listener.port, is_running };
            attempt.judge(listener.path, outcome, holder_of_port)
        })
        .collect();
    if config.butler_sos.user_events.enable {
        found.extend(udp(config, is_running));
    }
    found
}

fn udp(config: &Config, is_running: bool) -> Vec<CheckResult> {
    let socket = settings::udp(config).socket;
    let host = socket.host.trim_matches(['[', ']']);
    let attempt = Attempt { protocol: Protocol::Udp, host, port: socket.port, is_running };
    let silent = Logger::root(Discard, o!());
    match socket::open(&socket, &silent) {
        Ok(bound) => {
            let mut found = vec![attempt.judge(UDP_PORT, Ok(()), holder_of_port)];
            let (wanted, got) = (socket.receive_buffer_bytes, bound.receive_buffer_bytes);
            if got < wanted {
                let detail =
                    format!("the kernel grants only {got} bytes; raise the sysctl net.core.rmem_max");
                found.push(CheckResult::new(Verdict::Warning, "Pipeline.udp.receiveBufferBytes", detail));
            }
            found
        }
        Err(SocketError::Bind { source, .. }) => vec![attempt.judge(UDP_PORT, Err(source), holder_of_port)],
        Err(error) => vec![CheckResult::new(Verdict::Unavailable, UDP_HOST, error.to_string())],
    }
}

/// Whether the names of allowed sources resolve. The server does not start if none does. Blocks.
pub fn sources(config: &Config) -> Vec<CheckResult> {
    let server = &config.butler_sos.user_events.udp_server;
    if !config.butler_sos.user_events.enable || !server.enable_source_validation {
        return Vec::new();
    }
    let silent = Logger::root(Discard, o!());
    let mut found: Vec<CheckResult> = Vec::new();
    for (index, source) in server.allowed_sources.iter().enumerate() {
        let mut list = SourceList::new([source.as_str()]);
        list.resolve(&silent);
        if list.allowed().is_err() {
            let detail = "does not resolve: datagrams from it are rejected";
            found.push(CheckResult::new(Verdict::Warning, format!("{SOURCES}[{index}]"), detail));
        }
    }
    if found.len() == server.allowed_sources.len() {
        let detail = "no entry resolves to an address: the server does not start";
        found.push(CheckResult::new(Verdict::Unavailable, SOURCES, detail));
    }
    found
}

fn name_of(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "TCP",
        Protocol::Udp => "UDP",
    }
}

/// The result of listening on an address.
struct Attempt<'a> {
    protocol: Protocol,
    host: &'a str,
    port: u16,
    /// Whether another process has the journal open.
    is_running: bool,
}

impl Attempt<'_> {
    fn judge(
        &self,
        path: &str,
        outcome: io::Result<()>,
        holder: impl Fn(Protocol, u16) -> Option<Holder>,
    ) -> CheckResult {
        let Self { protocol, host, port, is_running } = self;
        let at = match host.contains(':') {
            true => format!("{} [{host}]:{port}", name_of(*protocol)),
            false => format!("{} {host}:{port}", name_of(*protocol)),
        };
        let Err(error) = outcome else {
            let detail = match port {
                0 => format!("{at} is available; the system chooses the port"),
                _ => format!("{at} is free"),
            };
            return CheckResult::new(Verdict::Fine, path, detail);
        };
        let (verdict, detail) = match error.kind() {
            ErrorKind::AddrInUse => match holder(*protocol, *port) {
                Some(Holder { process, name }) if name == OUR_NAME => {
                    (Verdict::Warning, format!("a running {OUR_NAME} (process {process}) listens on {at}"))
                }
                Some(Holder { process, name }) => {
                    (Verdict::Unavailable, format!("{at} is in use by {name} (process {process})"))
                }
                None if *is_running => {
                    let detail = format!("{at} is in use, probably by the server that uses the journal");
                    (Verdict::Warning, detail)
                }
                None => (Verdict::Unavailable, format!("{at} is in use by a process of another user")),
            },
            ErrorKind::PermissionDenied => {
                let hint = "ports below 1024 need root or the capability CAP_NET_BIND_SERVICE";
                (Verdict::Unavailable, format!("this user must not listen on {at}: {hint}"))
            }
            ErrorKind::AddrNotAvailable => {
                (Verdict::Unavailable, format!("{at} is not an address of this machine"))
            }
            _ => (Verdict::Unavailable, format!("cannot listen on {at}: {error}")),
        };
        CheckResult::new(verdict, path, detail)
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn verdicts() {
        let other = |name: &str| Some(Holder { process: 7, name: name.into() });
        let taken = ErrorKind::AddrInUse;
        let check =
            |host: &str, port, error: Option<ErrorKind>, is_running, holder: Option<Holder>, expect| {
                let attempt = Attempt { protocol: Protocol::Tcp, host, port, is_running };
                let outcome = error.map_or(Ok(()), |kind| Err(kind.into()));
                let result = attempt.judge("x.port", outcome, |_, _| holder.clone());
                let found = (result.verdict, result.detail.as_str());
                assert_eq!(found, expect);
            };
        use Verdict::{Fine, Unavailable, Warning};
        check("::1", 80, None, false, None, (Fine, "TCP [::1]:80 is free"));
        check("a", 0, None, false, None, (Fine, "TCP a:0 is available; the system chooses the port"));
        let expect = "a running butler-sos (process 7) listens on TCP a:80";
        check("a", 80, Some(taken), false, other("butler-sos"), (Warning, expect));
        let expect = "TCP a:80 is in use by nginx (process 7)";
        check("a", 80, Some(taken), true, other("nginx"), (Unavailable, expect));
        let expect = "TCP a:80 is in use, probably by the server that uses the journal";
        check("a", 80, Some(taken), true, None, (Warning, expect));
        let expect = "TCP a:80 is in use by a process of another user";
        check("a", 80, Some(taken), false, None, (Unavailable, expect));
        let expect = "TCP a:80 is not an address of this machine";
        check("a", 80, Some(ErrorKind::AddrNotAvailable), false, None, (Unavailable, expect));
        let expect = "this user must not listen on TCP a:80: ports below 1024 need root or the capability CAP_NET_BIND_SERVICE";
        check("a", 80, Some(ErrorKind::PermissionDenied), false, None, (Unavailable, expect));
    }

    #[test]
    fn taken_ports_and_sources_of_a_configuration() {
        let tcp = TcpListener::bind("127.0.0.1:0").expect("a port");
        let udp = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let directory = tempfile::tempdir().expect("a directory");
        let mut config = Config::default();
        config.pipeline.journal.directory = directory.path().display().to_string();
        config.pipeline.operations.port = tcp.local_addr().expect("an address").port();
        config.butler_sos.user_events.enable = true;
        let server = &mut config.butler_sos.user_events.udp_server;
        server.server_host = "127.0.0.1".into();
        server.port = udp.local_addr().expect("an address").port();
        server.enable_source_validation = true;
        server.allowed_sources = vec!["no.such.name.invalid".into()];

        let found = results(&config);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found.iter().all(|result| result.verdict == Verdict::Unavailable), "{found:?}");
        assert_eq!(found[0].path, "Pipeline.operations.port");
        assert!(found[0].detail.contains(&format!("(process {})", std::process::id())), "{found:?}");
        assert_eq!(found[1].path, UDP_PORT);

        let verdicts = |config: &Config| -> Vec<Verdict> {
            sources(config).iter().map(|result| result.verdict).collect()
        };
        assert_eq!(verdicts(&config), [Verdict::Warning, Verdict::Unavailable]);
        config.butler_sos.user_events.udp_server.allowed_sources.push("10.0.0.0/8".into());
        assert_eq!(verdicts(&config), [Verdict::Warning]);

        drop((tcp, udp));
        let found = results(&config);
        assert!(found.iter().all(|result| result.verdict != Verdict::Unavailable), "{found:?}");
    }
}
