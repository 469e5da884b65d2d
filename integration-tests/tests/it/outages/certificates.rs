//! Certificates that nobody should trust: what is wrong with them is told, nothing is sent, and nothing is lost.

use std::process::Command;

use butler_sos_integration_tests::certificates::{Pair, Role};
use butler_sos_integration_tests::sandbox::binary;
use tempfile::TempDir;

use super::yard::{BROKER, INFLUX, NEW_RELIC, Plan, Yard};

#[test]
fn what_is_wrong_with_a_certificate_is_told() {
    let directory = TempDir::with_prefix("certificates-").expect("a temporary directory");
    let authority = Pair::authority("Our Authority").expect("a certificate");
    let stranger = Pair::authority("Somebody Else").expect("a certificate");
    let ca = directory.path().join("ca.pem");
    std::fs::write(&ca, authority.certificate.to_pem().expect("PEM")).expect("a file");
    let issue = |by: &Pair, role| by.issue("far-side.test", role).expect("a certificate");
    let good = issue(&authority, Role::Server(&["localhost"]));
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
    let plan = Plan { host: "localhost", tls: Some((&good, ca)), ..Plan::default() };
    let mut yard = Yard::start(plan);
    yard.send(100);
    yard.assert_recovered();
    let all = [INFLUX, BROKER, NEW_RELIC];
    let show = |yard: &Yard, name: &str, pair: &Pair| {
        yard.fronts[name].show(pair);
        yard.proxies[name].cut_all();
    };
    // Each alone.
    for name in all {
        for (pair, words) in &wrong {
            show(&yard, name, pair);
            yard.send(50);
            yard.assert_others_go_on(&[name]);
            yard.assert_away(name, "tls", &[words]);
            assert_status_says(&yard, words);
            show(&yard, name, &good);
            yard.assert_recovered();
        }
    }
    // All at once.
    for (pair, words) in &wrong {
        all.iter().for_each(|name| show(&yard, name, pair));
        yard.send(50);
        yard.assert_others_go_on(&all);
        all.iter().for_each(|name| yard.assert_away(name, "tls", &[words]));
    }
    all.iter().for_each(|name| show(&yard, name, &good));
    yard.assert_recovered();
}

/// `butler-sos status`, as somebody types it.
fn assert_status_says(yard: &Yard, words: &str) {
    let mut command = Command::new(binary("butler-sos"));
    command.arg("-c").arg(yard.sandbox.config_path()).arg("status");
    command.arg("--server").arg(format!("http://{}", yard.sandbox.address("operations")));
    let output = command.output().expect("the binary runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains(words), "{words}: {text}");
    assert!(text.contains("what is wrong with the certificate"), "advice for TLS: {text}");
}
