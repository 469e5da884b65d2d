//! The real mosquitto, on a port of its own, with persistence, in a directory that goes away with it.
//!
//! Stopped and started again it keeps its port, its certificates and what it promised to deliver.

use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use openssl::error::ErrorStack;
use tempfile::TempDir;

use crate::certificates::{Pair, Role};
use crate::sandbox::{free_port, wait_for};

/// How the broker is set up.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// TLS; the certificate is for `localhost` and `127.0.0.1`.
    pub tls: bool,
    /// Clients must bring a certificate of [`Mosquitto::authority`].
    pub client_certificate: bool,
    /// The only user and password.
    pub login: Option<(&'static str, &'static str)>,
    /// More lines of configuration.
    pub lines: Vec<String>,
}

/// A broker, running or stopped.
pub struct Mosquitto {
    directory: TempDir,
    port: u16,
    options: Options,
    child: Option<Child>,
}

impl Mosquitto {
    /// A broker that answers.
    pub fn start(options: &Options) -> Self {
        let directory = TempDir::with_prefix("mosquitto-").expect("a temporary directory");
        let mut broker = Self { port: free_port(), directory, options: options.clone(), child: None };
        broker.write_configuration();
        broker.start_again();
        broker
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn options(&self) -> &Options {
        &self.options
    }

    /// The certificate (PEM) that the broker's own is signed with.
    pub fn authority(&self) -> PathBuf {
        self.path("ca.pem")
    }

    /// A certificate and a key for a client.
    pub fn client_certificate(&self) -> (PathBuf, PathBuf) {
        (self.path("client.pem"), self.path("client.key"))
    }

    /// Ends it at once: what it did not write down is gone.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Ends it as an administrator does: it writes down what it has promised.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let pid = child.id().to_string();
            let status = Command::new("kill").args(["-s", "TERM", &pid]).status().expect("kill is there");
            assert!(status.success(), "mosquitto cannot be signalled");
            wait_for("mosquitto to end", || child.try_wait().expect("mosquitto is a child"));
        }
    }

    /// Starts it with the same port, certificates and promises.
    pub fn start_again(&mut self) {
        assert!(self.child.is_none(), "mosquitto runs already");
        let log = std::fs::File::create(self.path("mosquitto.log")).expect("the directory is writable");
        let mut child = Command::new(BINARY)
            .arg("-c")
            .arg(self.path("mosquitto.conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("mosquitto starts");
        let log = self.path("mosquitto.log");
        wait_for("mosquitto to listen", || {
            if let Some(status) = child.try_wait().expect("mosquitto is a child") {
                panic!(
                    "mosquitto ended with {status}: {}",
                    std::fs::read_to_string(&log).unwrap_or_default()
                );
            }
            TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).ok()
        });
        self.child = Some(child);
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write_configuration(&self) {
        let options = &self.options;
        let mut lines = vec![
            // As root it would become another user, who may not read the files here.
            "user root".to_owned(),
            format!("listener {} 127.0.0.1", self.port),
            "persistence true".to_owned(),
            format!("persistence_location {}/", self.directory.path().display()),
            // Nothing is thrown away while a subscriber is slow.
            "max_queued_messages 0".to_owned(),
            format!("allow_anonymous {}", options.login.is_none()),
        ];
        if let Some((user, password)) = options.login {
            let file = self.path("passwords");
            std::fs::write(&file, format!("{user}:{password}\n")).expect("the directory is writable");
            let status = Command::new("mosquitto_passwd").arg("-U").arg(&file).status();
            assert!(status.expect("mosquitto_passwd is there").success());
            lines.push(format!("password_file {}", file.display()));
        }
        if options.tls {
            write_certificates(self.directory.path()).expect("certificates");
            for (key, file) in [("cafile", "ca.pem"), ("certfile", "server.pem"), ("keyfile", "server.key")] {
                lines.push(format!("{key} {}", self.path(file).display()));
            }
            lines.push(format!("require_certificate {}", options.client_certificate));
        }
        lines.extend(options.lines.iter().cloned());
        lines.push(String::new());
        std::fs::write(self.path("mosquitto.conf"), lines.join("\n")).expect("the directory is writable");
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Where Debian puts it; not on every user's PATH.
const BINARY: &str = "/usr/sbin/mosquitto";

/// Writes `ca.pem`, and `.pem` and `.key` of `server` and `client`.
fn write_certificates(directory: &Path) -> Result<(), ErrorStack> {
    let write = |name: &str, pem: Vec<u8>| {
        std::fs::write(directory.join(name), pem).expect("the directory is writable");
    };
    let authority = Pair::authority("test authority")?;
    write("ca.pem", authority.certificate.to_pem()?);
    for (name, role) in [("server", Role::Server(&["localhost"])), ("client", Role::Client)] {
        let pair = authority.issue(name, role)?;
        write(&format!("{name}.pem"), pair.certificate.to_pem()?);
        write(&format!("{name}.key"), pair.key.private_key_to_pem_pkcs8()?);
    }
    Ok(())
}
