//! A Qlik Sense that is not one: QPS, QRS and a proxy with images, for tests and for trying things out.
//!
//! * QPS and QRS on ports of their own, with required client certificates and the Xrfkey check.
//! * Tickets that are good once and end after a minute; sessions per virtual proxy; at most five for a user.
//! * A proxy on an https and an http port for several host names, whose images do what the query's `b` says
//!   (the table is in [`proxy`]), and which answers what it does not let in as it is told to.
//! * It records every request, and knows every secret that it gave away.
//!
//! It runs in a thread of its own, on ports that the system chooses, until it is dropped.

pub mod certificates;
mod context;
pub mod pictures;
pub mod proxy;
mod qps;
pub mod record;
mod server;
mod state;

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use tokio::sync::oneshot;

pub use self::certificates::{Certificates, NAMES};
pub use self::record::Recorded;
pub use self::state::{Counts, Limits, Unauthorized, User};

use self::context::{Context, Server};
use self::state::State;

/// TCP ports; 0 lets the system choose.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ports {
    pub qps: u16,
    pub qrs: u16,
    pub https: u16,
    pub http: u16,
}

/// The ports in `golden/screenshots.jsonl`.
pub const GOLDEN_PORTS: Ports = Ports { qps: 14243, qrs: 14242, https: 14443, http: 14081 };

/// Why it did not start.
#[derive(Debug, thiserror::Error)]
pub enum FakeQlikError {
    #[error(transparent)]
    Certificate(#[from] certificates::CertificateError),
    #[error("listening on port {0}")]
    Listen(u16, #[source] std::io::Error),
    #[error("starting the servers")]
    Start(#[source] std::io::Error),
}

/// A running fake. Dropping it stops it.
pub struct FakeQlik {
    pub certificates: Certificates,
    pub ports: Ports,
    state: Arc<State>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl FakeQlik {
    /// Starts on ports that the system chooses, with Qlik's limits. Certificates are written to `dir`.
    pub fn start(dir: &Path) -> Result<Self, FakeQlikError> {
        Self::start_with(dir, Ports::default(), Limits::default())
    }

    pub fn start_with(dir: &Path, ports: Ports, limits: Limits) -> Result<Self, FakeQlikError> {
        let certificates = Certificates::create(dir)?;
        let state = Arc::new(State::new(limits));
        let listen = |port| {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port));
            let listener = listener.map_err(|e| FakeQlikError::Listen(port, e))?;
            let port = listener.local_addr().map_err(FakeQlikError::Start)?.port();
            Ok::<_, FakeQlikError>((listener, port))
        };
        let (qps, qps_port) = listen(ports.qps)?;
        let (qrs, qrs_port) = listen(ports.qrs)?;
        let (https, https_port) = listen(ports.https)?;
        let (http, http_port) = listen(ports.http)?;
        let ports = Ports { qps: qps_port, qrs: qrs_port, https: https_port, http: http_port };
        let listeners =
            [(Server::Qps, qps), (Server::Qrs, qrs), (Server::Https, https), (Server::Http, http)];

        let (stop, stopped) = oneshot::channel();
        let (started, starting) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("fake-qlik".to_owned())
            .spawn({
                let (state, certificates) = (Arc::clone(&state), certificates.clone());
                move || {
                    actix_rt::System::new().block_on(async move {
                        let mut handles = Vec::new();
                        for (server, listener) in listeners {
                            let context = Context { server, state: Arc::clone(&state), ports };
                            match server::start(context, listener, &certificates) {
                                Ok(handle) => handles.push(handle),
                                Err(error) => {
                                    let _ = started.send(Err(error));
                                    return;
                                }
                            }
                        }
                        let _ = started.send(Ok(()));
                        let _ = stopped.await;
                        for handle in handles {
                            handle.stop(false).await;
                        }
                    });
                }
            })
            .map_err(FakeQlikError::Start)?;
        starting
            .recv()
            .unwrap_or_else(|_| Err(std::io::Error::other("its thread ended")))
            .map_err(FakeQlikError::Start)?;
        Ok(Self { certificates, ports, state, stop: Some(stop), thread: Some(thread) })
    }

    // --- what it saw

    /// Every request so far, oldest first.
    pub fn requests(&self) -> Vec<Recorded> {
        self.state.records()
    }

    /// The same, and forgets them.
    pub fn take_requests(&self) -> Vec<Recorded> {
        self.state.take_records()
    }

    /// Every ticket and session id that it ever gave away, and the key's passphrase: nothing of it may be found in
    /// a log, a file or a page.
    pub fn secrets(&self) -> Vec<String> {
        let mut secrets = self.state.secrets();
        secrets.push(certificates::PASSPHRASE.to_owned());
        secrets
    }

    pub fn counts(&self) -> Counts {
        self.state.counts()
    }

    /// The user of each open session.
    pub fn open_sessions(&self) -> Vec<User> {
        self.state.open_sessions()
    }

    // --- what it is told

    /// All sessions end, and nobody is locked out, as after a restart of the proxy.
    pub fn forget_sessions(&self) {
        self.state.forget_sessions();
    }

    /// How requests without a valid session or ticket are answered from now on.
    pub fn answer_unauthorized_with(&self, answer: Unauthorized) {
        self.state.set_unauthorized(answer);
    }

    /// The apps, as id and name, that QRS lists.
    pub fn set_apps(&self, apps: &[(&str, &str)]) {
        self.state.set_apps(apps.iter().map(|(id, name)| ((*id).to_owned(), (*name).to_owned())).collect());
    }

    // --- for a server that shall use it

    /// The part of a configuration that makes a server download from this fake, images going to `images_dir`.
    pub fn config_fragment(&self, images_dir: &Path) -> String {
        let file = |name: &str| absolute(&self.certificates.path(name));
        format!(
            "\
Butler-SOS:
  cert:
    clientCert: {client}
    clientCertKey: {key}
    clientCertCA: {root}
  auditEvents:
    enable: true
    destination:
      enable: true
      type: json
      json:
        objectdata:
          enable: true
          exportDirectory: {json}
      screenshots:
        enable: true
        downloadTimeoutMs: 3000
        allowedImageDownloadHosts: [qlik.test, proxy.test, node1.test, node2.test]
        auth:
          mode: userTicket
          qps:
            host: qlik.test
            port: {qps}
            ticketTimeoutMs: 5000
          sessionCache:
            enable: true
            ttlSeconds: 120
            maxEntries: 100
        storageTargets:
          - enable: true
            type: flat
            directory: {images}
Pipeline:
  screenshots:
    resolve:
      qlik.test: 127.0.0.1
      proxy.test: 127.0.0.1
      node1.test: 127.0.0.1
      node2.test: 127.0.0.1
      evil.test: 127.0.0.1
",
            client = file("client.pem"),
            key = file("client_key.pem"),
            root = file("root.pem"),
            qps = self.ports.qps,
            images = absolute(images_dir),
            json = absolute(&images_dir.with_file_name("json")),
        )
    }

    // --- ports of the golden file

    /// A text of the golden file (a URL, a host) with this fake's ports in it.
    pub fn with_own_ports(&self, golden: &str) -> String {
        replace_ports(golden, GOLDEN_PORTS, self.ports)
    }

    /// What was recorded, with the golden file's ports in it.
    pub fn with_golden_ports(&self, recorded: &Recorded) -> Recorded {
        Recorded { host: replace_ports(&recorded.host, self.ports, GOLDEN_PORTS), ..recorded.clone() }
    }

    /// Waits until no server thread is left.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for FakeQlik {
    fn drop(&mut self) {
        self.end();
    }
}

/// A path as a YAML value that does not depend on the working directory.
fn absolute(path: &Path) -> String {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    serde_json::Value::String(path.to_string_lossy().into_owned()).to_string()
}

fn replace_ports(text: &str, from: Ports, to: Ports) -> String {
    let pairs = [(from.qps, to.qps), (from.qrs, to.qrs), (from.https, to.https), (from.http, to.http)];
    // By way of names, so that a port that is on both sides is replaced once.
    let named = pairs.iter().enumerate().fold(text.to_owned(), |text, (index, (from, _))| {
        text.replace(&format!(":{from}"), &format!(":\u{0}{index}\u{0}"))
    });
    pairs
        .iter()
        .enumerate()
        .fold(named, |text, (index, (_, to))| text.replace(&format!(":\u{0}{index}\u{0}"), &format!(":{to}")))
}

#[cfg(test)]
mod tests;
