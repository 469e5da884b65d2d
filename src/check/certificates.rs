//! Certificates and keys: whether they are valid, match each other, and when they expire.
//!
//! The server's own code loads each group of files, also those of the broker, which its library reads itself.
//! Unreadable files were reported before.

use std::path::{Path, PathBuf};

use butler_sos_actors::intake::audit_http_ingestor::{self, Tls};
use butler_sos_actors::net::tls::reread::Reread;
use butler_sos_actors::net::tls::{ClientTls, TlsError};
use openssl::{
    asn1::{Asn1Time, Asn1TimeRef},
    x509::X509,
};

use super::report::{CheckResult, Verdict};
use crate::{
    config::Config,
    topology::{destinations, settings},
};

/// Warn about a certificate with fewer days left.
const DAYS_LEFT_MIN: i64 = 30;

/// Checks every certificate and key in use. Blocks.
pub fn results(config: &Config) -> Vec<CheckResult> {
    let mut found = Vec::new();
    if config.qlik_certificates_needed_by().is_some() {
        let settings = ["clientCertCA", "clientCert", "clientCertKey"];
        found.extend(client("Butler-SOS.cert", settings, &settings::qlik_tls(config)));
    }
    if config.butler_sos.audit_events.enable
        && let Some(tls) = settings::audit_http(config, &Reread::default()).tls
    {
        found.extend(server(&tls));
    }
    for files in destinations::all().flat_map(|entry| (entry.certificates)(config)) {
        found.extend(client(files.section, files.settings, &files.tls));
    }
    found
}

/// Files of a client. `names` are the settings of CA, certificate and key. They may name the same file.
fn client(section: &str, names: [&str; 3], tls: &ClientTls) -> Vec<CheckResult> {
    let [ca, cert, key] = names.map(|name| format!("{section}.{name}"));
    let error = match tls.connector() {
        Ok(_) => return lifetimes(&ca, tls.trust.ca().map(PathBuf::as_path), &cert, tls.cert.as_deref()),
        Err(TlsError::Read { .. }) => return Vec::new(),
        Err(error) => error,
    };
    let path = match &error {
        TlsError::Key { .. } | TlsError::KeyMismatch { .. } => key,
        TlsError::Certificate { path, .. } | TlsError::NoCertificate { path } => {
            if tls.trust.ca() == Some(path) { ca } else { cert }
        }
        _ => section.to_owned(),
    };
    vec![CheckResult::new(Verdict::Mistake, path, error.to_string())]
}

/// Files of the audit API.
fn server(tls: &audit_http_ingestor::TlsConfig) -> Vec<CheckResult> {
    use audit_http_ingestor::TlsError;
    let section = "Butler-SOS.auditEvents.tls";
    let [ca, cert, key] = ["ca", "cert", "key"].map(|name| format!("{section}.{name}"));
    let error = match Tls::new(tls.clone()) {
        Ok(_) => return lifetimes(&ca, tls.ca.as_deref(), &cert, Some(&tls.cert)),
        Err(TlsError::Read { .. }) => return Vec::new(),
        Err(error) => error,
    };
    let path = match &error {
        TlsError::Pem { what, .. } if what.starts_with("a private key") => key,
        TlsError::Pem { path, .. } | TlsError::NoCertificate { path } => {
            if *path == tls.cert {
                cert
            } else {
                ca
            }
        }
        _ => section.to_owned(),
    };
    vec![CheckResult::new(Verdict::Mistake, path, error.to_string())]
}

/// Checks the expiry of certificates. In a CA bundle the one that lasts longest counts, because old ones stay
/// in such files for years. In our own chain each must be valid.
fn lifetimes(ca_path: &str, ca: Option<&Path>, cert_path: &str, cert: Option<&Path>) -> Vec<CheckResult> {
    let Ok(now) = Asn1Time::days_from_now(0) else { return Vec::new() };
    let mut found = Vec::new();
    for (path, file, is_bundle) in [(ca_path, ca, true), (cert_path, cert, false)] {
        let pem = file.and_then(|file| std::fs::read(file).ok());
        let Some(certificates) = pem.and_then(|pem| X509::stack_from_pem(&pem).ok()) else { continue };
        let spans = certificates.iter().filter_map(|certificate| Span::of(certificate, &now));
        let span = match is_bundle {
            true => spans.max_by_key(|span| span.seconds_left),
            false => spans.min_by_key(|span| span.seconds_left),
        };
        if let Some(span) = span {
            let (verdict, detail) = span.judge();
            found.push(CheckResult::new(verdict, path, detail));
        }
    }
    found
}

/// The validity period of a certificate, relative to now.
#[derive(Debug)]
struct Span {
    seconds_to_start: i64,
    seconds_left: i64,
    from: String,
    until: String,
}

impl Span {
    fn of(certificate: &X509, now: &Asn1TimeRef) -> Option<Self> {
        let seconds_to = |time: &Asn1TimeRef| {
            let difference = now.diff(time).ok()?;
            Some(i64::from(difference.days) * 86_400 + i64::from(difference.secs))
        };
        Some(Self {
            seconds_to_start: seconds_to(certificate.not_before())?,
            seconds_left: seconds_to(certificate.not_after())?,
            from: certificate.not_before().to_string(),
            until: certificate.not_after().to_string(),
        })
    }

    fn judge(&self) -> (Verdict, String) {
        let days = self.seconds_left / 86_400;
        match self {
            Self { seconds_left, until, .. } if *seconds_left <= 0 => {
                (Verdict::Warning, format!("expired on {until}"))
            }
            Self { seconds_to_start, from, .. } if *seconds_to_start > 0 => {
                (Verdict::Warning, format!("valid from {from}; check the clock"))
            }
            Self { until, .. } if days < DAYS_LEFT_MIN => {
                (Verdict::Warning, format!("expires in {days} days, on {until}"))
            }
            Self { until, .. } => (Verdict::Fine, format!("valid until {until}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use butler_sos_actors::net::tls::Trust;
    use secrecy::SecretString;

    use super::*;
    use crate::check::test_files::{CertificateFiles, PASSPHRASE};

    #[test]
    fn spans() {
        const DAY: i64 = 86_400;
        for (seconds_to_start, seconds_left, expect) in [
            (-DAY, -1, (Verdict::Warning, "expired on END")),
            (-DAY, 0, (Verdict::Warning, "expired on END")),
            (-DAY, DAY - 1, (Verdict::Warning, "expires in 0 days, on END")),
            (-DAY, 30 * DAY - 1, (Verdict::Warning, "expires in 29 days, on END")),
            (-DAY, 30 * DAY, (Verdict::Fine, "valid until END")),
            (0, 90 * DAY, (Verdict::Fine, "valid until END")),
            (1, 90 * DAY, (Verdict::Warning, "valid from START; check the clock")),
        ] {
            let span = Span { seconds_to_start, seconds_left, from: "START".into(), until: "END".into() };
            assert_eq!(span.judge(), (expect.0, expect.1.to_owned()), "{seconds_to_start} {seconds_left}");
        }
    }

    /// Checks the results for a client's files: verdict, setting, beginning of the message.
    #[track_caller]
    fn check_client(change: impl Fn(&CertificateFiles, &mut ClientTls), expect: &[(Verdict, &str, &str)]) {
        let files = CertificateFiles::new(90);
        let mut tls = files.client();
        change(&files, &mut tls);
        check_found(&client("cert", ["ca", "cert", "key"], &tls), expect);
    }

    #[track_caller]
    fn check_found(found: &[CheckResult], expect: &[(Verdict, &str, &str)]) {
        assert_eq!(found.len(), expect.len(), "{found:?}");
        for (found, (verdict, path, detail)) in found.iter().zip(expect) {
            assert_eq!((found.verdict, found.path.as_str()), (*verdict, *path), "{found:?}");
            assert!(found.detail.contains(detail), "{found:?}");
            assert!(!found.detail.contains(PASSPHRASE), "{found:?}");
        }
    }

    #[test]
    fn client_files() {
        let holds =
            [(Verdict::Fine, "cert.ca", "valid until "), (Verdict::Fine, "cert.cert", "valid until ")];
        check_client(|_, _| (), &holds);
        check_client(
            |_, tls| tls.passphrase = SecretString::from("another"),
            &[(Verdict::Mistake, "cert.key", "the passphrase is wrong")],
        );
        check_client(
            |files, tls| tls.trust = Trust::Only(files.path("key.pem")),
            &[(Verdict::Mistake, "cert.ca", "holds no certificate")],
        );
        check_client(
            |files, tls| tls.key = Some(files.path("cert.pem")),
            &[(Verdict::Mistake, "cert.key", "is not a private key")],
        );
        check_client(
            |files, tls| {
                tls.key = Some(files.path("other_key.pem"));
                tls.passphrase = SecretString::from("");
            },
            &[(Verdict::Mistake, "cert.key", "is not the key of the certificate")],
        );
        check_client(|_, tls| tls.key = None, &[(Verdict::Mistake, "cert", "needs both")]);
        // Reported before, with the other unreadable files.
        check_client(|files, tls| tls.cert = Some(files.path("nobody.pem")), &[]);
    }

    #[test]
    fn warns_before_a_certificate_expires() {
        let files = CertificateFiles::new(5);
        let found = client("cert", ["ca", "cert", "key"], &files.client());
        let near = "expires in ";
        check_found(&found, &[(Verdict::Warning, "cert.ca", near), (Verdict::Warning, "cert.cert", near)]);
    }

    #[test]
    fn server_files() {
        let files = CertificateFiles::new(90);
        let right = files.server();
        let path = |name: &str| format!("Butler-SOS.auditEvents.tls.{name}");
        let holds = (Verdict::Fine, &*path("cert"), "valid until ");
        check_found(&server(&right), &[holds]);

        let wrong =
            audit_http_ingestor::TlsConfig { passphrase: Some(SecretString::from("other")), ..right.clone() };
        check_found(&server(&wrong), &[(Verdict::Mistake, &path("key"), "the passphrase is wrong")]);
        let wrong = audit_http_ingestor::TlsConfig { cert: files.path("key.pem"), ..right.clone() };
        check_found(&server(&wrong), &[(Verdict::Mistake, &path("cert"), "no certificate")]);
        let wrong = audit_http_ingestor::TlsConfig {
            key: files.path("other_key.pem"),
            passphrase: None,
            ..right.clone()
        };
        check_found(
            &server(&wrong),
            &[(Verdict::Mistake, "Butler-SOS.auditEvents.tls", "the key is not the certificate's")],
        );
    }
}
