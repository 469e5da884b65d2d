//! The real mosquitto, on a port of its own, with persistence, in a directory that goes away with it.
//!
//! Stopped and started again it keeps its port, its certificates and what it promised to deliver.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use openssl::asn1::Asn1Time;
use openssl::bn::{BigNum, MsbOption};
use openssl::ec::{EcGroup, EcKey};
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl::x509::{X509, X509NameBuilder};
use tempfile::TempDir;

use crate::sandbox::wait_for;

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
    child: Option<Child>,
}

impl Mosquitto {
    /// A broker that answers.
    pub fn start(options: &Options) -> Self {
        let directory = TempDir::with_prefix("mosquitto-").expect("a temporary directory");
        let mut broker = Self { port: free_port(), directory, child: None };
        broker.write_configuration(options);
        broker.start_again();
        broker
    }

    pub fn port(&self) -> u16 {
        self.port
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

    fn write_configuration(&self, options: &Options) {
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
            make_certificates(self.directory.path()).expect("certificates");
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

/// A port that nobody listens on just now.
fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("a bound socket").port()
}

// === certificates

struct Pair {
    certificate: X509,
    key: PKey<Private>,
}

/// Writes `ca.pem`, and `.pem` and `.key` of `server` and `client`.
fn make_certificates(directory: &Path) -> Result<(), ErrorStack> {
    let write = |name: &str, pem: Vec<u8>| {
        std::fs::write(directory.join(name), pem).expect("the directory is writable");
    };
    let authority = make_pair("test authority", None)?;
    write("ca.pem", authority.certificate.to_pem()?);
    for name in ["server", "client"] {
        let pair = make_pair(name, Some(&authority))?;
        write(&format!("{name}.pem"), pair.certificate.to_pem()?);
        write(&format!("{name}.key"), pair.key.private_key_to_pem_pkcs8()?);
    }
    Ok(())
}

fn make_pair(name: &str, issuer: Option<&Pair>) -> Result<Pair, ErrorStack> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
    let key = PKey::from_ec_key(EcKey::generate(&group)?)?;
    let mut subject = X509NameBuilder::new()?;
    subject.append_entry_by_text("CN", name)?;
    let subject = subject.build();
    let mut serial = BigNum::new()?;
    serial.rand(127, MsbOption::MAYBE_ZERO, false)?;

    let mut builder = X509::builder()?;
    builder.set_version(2)?;
    builder.set_serial_number(&*serial.to_asn1_integer()?)?;
    builder.set_subject_name(&subject)?;
    builder.set_issuer_name(issuer.map_or(&*subject, |issuer| issuer.certificate.subject_name()))?;
    builder.set_pubkey(&key)?;
    builder.set_not_before(&*Asn1Time::days_from_now(0)?)?;
    builder.set_not_after(&*Asn1Time::days_from_now(30)?)?;
    match issuer {
        None => builder.append_extension(BasicConstraints::new().critical().ca().build()?)?,
        Some(issuer) => {
            let context = builder.x509v3_context(Some(&issuer.certificate), None);
            let names = SubjectAlternativeName::new().dns("localhost").ip("127.0.0.1").build(&context)?;
            builder.append_extension(names)?;
        }
    }
    builder.sign(issuer.map_or(&key, |issuer| &issuer.key), MessageDigest::sha256())?;
    Ok(Pair { certificate: builder.build(), key })
}
