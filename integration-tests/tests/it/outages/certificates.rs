//! Certificates that nobody should trust: what is wrong with them is told, nothing is sent, and nothing is lost.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use butler_sos_integration_tests::certificates::{Pair, Role};
use butler_sos_integration_tests::fake_new_relic::FakeNewRelic;
use butler_sos_integration_tests::sandbox::{Sandbox, binary, wait_for};
use butler_sos_integration_tests::settings::Settings;
use butler_sos_integration_tests::tls_front::TlsFront;
use butler_sos_integration_tests::written::csv_rows;
use serde_json::json;
use tempfile::TempDir;

use crate::everything::Poster;

use super::harness::{BROKER, Harness, INFLUX, NEW_RELIC, Plan};

#[test]
fn what_is_wrong_with_a_certificate_is_told() {
    let directory = TempDir::with_prefix("certificates-").expect("a temporary directory");
    let Certificates { ca, good, wrong, .. } = Certificates::new(directory.path());
    let plan = Plan { host: "localhost", tls: Some((&good, ca)), ..Plan::default() };
    let mut harness = Harness::start(plan);
    harness.send(100);
    harness.assert_recovered();
    let all = [INFLUX, BROKER, NEW_RELIC];
    let show = |harness: &Harness, name: &str, pair: &Pair| {
        harness.fronts[name].show(pair);
        harness.proxies[name].cut_all();
    };
    // Each alone.
    for name in all {
        for (pair, detail) in &wrong {
            show(&harness, name, pair);
            harness.send(50);
            harness.assert_others_go_on(&[name]);
            harness.assert_away(name, "tls", &[detail]);
            assert_status_says(&harness, detail);
            show(&harness, name, &good);
            harness.assert_recovered();
        }
    }
    // All at once.
    for (pair, detail) in &wrong {
        all.iter().for_each(|name| show(&harness, name, pair));
        harness.send(50);
        harness.assert_others_go_on(&all);
        all.iter().for_each(|name| harness.assert_away(name, "tls", &[detail]));
    }
    all.iter().for_each(|name| show(&harness, name, &good));
    harness.assert_recovered();
}

/// A new authority in the file of the old one: what was read before counts until a hangup says to read it again.
#[test]
fn a_hangup_has_authorities_read_again() {
    let directory = TempDir::with_prefix("certificates-").expect("a temporary directory");
    let Certificates { ca, good, .. } = Certificates::new(directory.path());
    let newcomer = Pair::authority("Somebody New").expect("a certificate");
    let renewed = newcomer.issue("far-side.test", Role::Server(&["localhost"])).expect("a certificate");
    let plan = Plan { host: "localhost", tls: Some((&good, ca.clone())), ..Plan::default() };
    let mut harness = Harness::start(plan);
    harness.send(20);
    harness.assert_recovered();
    harness.fronts[INFLUX].show(&renewed);
    harness.proxies[INFLUX].cut_all();
    harness.send(20);
    harness.assert_away(INFLUX, "tls", &["signed by the authority \"Somebody New\", which is not trusted"]);
    let new = newcomer.certificate.to_pem().expect("PEM");
    let both = [std::fs::read(&ca).expect("a file"), new].concat();
    std::fs::write(&ca, both).expect("a file");
    harness.sandbox.signal("HUP");
    harness.assert_recovered();
}

/// Certificates of Qlik Sense's services that nobody should trust: no ticket comes from there, and what is wrong is in
/// the log.
#[test]
fn what_is_wrong_with_a_certificate_of_qlik_sense_is_told() {
    let directory = TempDir::with_prefix("certificates-").expect("a temporary directory");
    let shown = Certificates::new(directory.path());
    let own = shown.authority.issue("butler-sos", Role::Client).expect("a certificate");
    let file = |name: &str| directory.path().join(name);
    std::fs::write(file("client.pem"), own.certificate.to_pem().expect("PEM")).expect("a file");
    std::fs::write(file("client_key.pem"), own.key.private_key_to_pem_pkcs8().expect("PEM")).expect("a file");
    // Nobody gets as far as to speak with what is behind.
    let behind = FakeNewRelic::start(&[]);
    let front = TlsFront::start(behind.address(), &shown.good);
    let settings = Settings::user_events().and(json!({
        "Butler-SOS": {
            "cert": {
                "clientCert": file("client.pem"),
                "clientCertKey": file("client_key.pem"),
                "clientCertCA": shown.ca,
            },
            "appNames": { "enableAppNameExtract": true, "extractInterval": 1_000, "hostIP": "localhost" },
            "auditEvents": {
                "enable": true, "host": "127.0.0.1", "port": 0,
                "destination": { "enable": true, "type": "json", "screenshots": {
                    "enable": true,
                    "allowedImageDownloadHosts": ["localhost"],
                    "auth": { "mode": "userTicket", "qps": { "host": "localhost", "port": front.address().port() } },
                    "storageTargets": [{ "enable": true, "type": "flat", "directory": "{dir}/images" }],
                } },
            },
        },
        "Pipeline": {
            "appDirectory": { "port": front.address().port() },
            "csv": { "auditEvents": { "enable": true, "exportDirectory": "{dir}/audit-csv" } },
        },
    }));
    let sandbox = Sandbox::start_new(&settings.text());
    let met = |actor| {
        let labels = [("actor", actor), ("reason", "tls")];
        sandbox.metrics().sum("butler_sos_messages_rejected_total", &labels)
    };
    let mut poster = Poster::new(sandbox.address("audit-events"), "https://localhost/tempcontent", 1);
    for (pair, detail) in &shown.wrong {
        let (reported, before) = (sandbox.log_lines().len(), ["ticket_actor", "app_directory"].map(met));
        front.show(pair);
        (0..12).for_each(|_| drop(poster.post()));
        wait_for(&format!("both to tell of a certificate that {detail}"), || {
            let now = ["ticket_actor", "app_directory"].map(met);
            let lines = sandbox.log_lines().split_off(reported);
            let lines: Vec<_> = lines.iter().map(|line| line.replace("\\\"", "\"")).collect();
            let is_told = |by: &str| lines.iter().any(|line| line.contains(by) && line.contains(detail));
            let are_both_told = is_told("cannot get a ticket from") && is_told("the app names");
            (are_both_told && now.iter().zip(before).all(|(now, before)| *now > before)).then_some(())
        });
    }
    sandbox.settle();
    let rows = csv_rows(&sandbox.path().join("audit-csv"));
    let screenshots = rows.iter().filter(|row| row["eventType"] == "screenshot.url.received");
    let reasons: BTreeSet<&str> = screenshots.filter_map(|row| row["screenshotError"].as_str()).collect();
    assert_eq!(reasons, BTreeSet::from(["ticket-failed"]));
}

/// Certificates to show, and what is said of those that are wrong.
struct Certificates {
    authority: Pair,
    /// Where the certificate of the authority is.
    ca: PathBuf,
    good: Pair,
    wrong: [(Pair, &'static str); 3],
}

impl Certificates {
    fn new(directory: &Path) -> Self {
        let authority = Pair::authority("Our Authority").expect("a certificate");
        let stranger = Pair::authority("Somebody Else").expect("a certificate");
        let ca = directory.join("ca.pem");
        std::fs::write(&ca, authority.certificate.to_pem().expect("PEM")).expect("a file");
        let issue = |by: &Pair, role| by.issue("far-side.test", role).expect("a certificate");
        let wrong = [
            (
                issue(&stranger, Role::Server(&["localhost"])),
                "signed by the authority \"Somebody Else\", which is not trusted",
            ),
            (
                issue(&authority, Role::ServerElsewhere(&["db.example"])),
                "is for another host: it names db.example",
            ),
            (
                issue(&authority, Role::ServerUntilYesterday(&["localhost"])),
                "(\"far-side.test\") has expired on ",
            ),
        ];
        let good = issue(&authority, Role::Server(&["localhost"]));
        Self { authority, ca, good, wrong }
    }
}

/// `butler-sos status`, as somebody types it.
fn assert_status_says(harness: &Harness, detail: &str) {
    let mut command = Command::new(binary("butler-sos"));
    command.arg("-c").arg(harness.sandbox.config_path()).arg("status");
    command.arg("--server").arg(format!("http://{}", harness.sandbox.address("operations")));
    let output = command.output().expect("the binary runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains(detail), "{detail}: {text}");
    assert!(text.contains("names the problem with the certificate"), "advice for TLS: {text}");
}
