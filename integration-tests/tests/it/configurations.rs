//! Configuration files as people have them, in the real server.
//!
//! `configurations/` holds the templates of Butler SOS: their keys, their values and every line of comment (its text is
//! left out), with the blanks filled in. A file is checked as it is, and started with local addresses in place of its own.

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};
use std::{fs, io};

use butler_sos_integration_tests::fake_influx::{FakeInflux, FakeVersion};
use butler_sos_integration_tests::fake_qlik::certificates::Certificates;
use butler_sos_integration_tests::sandbox::{Sandbox, binary};
use tempfile::TempDir;

/// Name and text of each file.
fn configurations() -> io::Result<Vec<(String, String)>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("configurations");
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        files.push((entry.file_name().to_string_lossy().into_owned(), fs::read_to_string(entry.path())?));
    }
    files.sort();
    Ok(files)
}

/// The same file with what it needs from elsewhere on this machine: the value behind each of these keys is another one.
fn with_local_addresses(text: &str, influxdb: &FakeInflux) -> String {
    let port = influxdb.port().to_string();
    let mut section = "";
    let mut out = String::new();
    for line in text.lines() {
        let indent = line.len() - line.trim_start().len();
        let (key, _) = line.trim_start().split_once(':').unwrap_or((line, ""));
        if indent == 4 && !key.starts_with('#') {
            section = key;
        }
        let value = match (section, key) {
            (_, "host" | "hostIP" | "brokerHost" | "serverHost") => "127.0.0.1",
            ("influxdbConfig", "port") => &port,
            (_, "port" | "portUserActivityEvents") => "0",
            (_, "clientCert") => "cert/client.pem",
            (_, "clientCertKey") => "cert/client_key.pem",
            (_, "clientCertCA") => "cert/root.pem",
            _ => {
                writeln!(out, "{line}").expect("text");
                continue;
            }
        };
        writeln!(out, "{}{key}: {value}", &line[..indent]).expect("text");
    }
    out.push_str(
        "Pipeline:
  operations: {port: 0}
  journal: {directory: journal}
  deadLetters: {directory: dead-letters}
  quarantine: {directory: quarantine}
",
    );
    out
}

fn check(directory: &Path) -> Output {
    let mut command = Command::new("timeout");
    command.arg("60").arg(binary("butler-sos")).args(["check", "--offline", "-c", "a.yaml"]);
    command.current_dir(directory).output().expect("the binary runs")
}

#[test]
fn templates_of_butler_sos_are_accepted_as_they_are_and_start() {
    let configurations = configurations().expect("configurations");
    assert!(configurations.len() >= 2);
    for (name, text) in configurations {
        let directory = TempDir::new().expect("a directory");
        fs::write(directory.path().join("a.yaml"), &text).expect("a file");
        let checked = check(directory.path());
        let reported = String::from_utf8_lossy(&checked.stdout);
        assert_eq!(checked.status.code(), Some(0), "{name}: {reported}");
        assert!(reported.contains("0 errors"), "{name}: {reported}");

        let version = if text.contains("version: 3") { FakeVersion::V3 } else { FakeVersion::V1 };
        let influxdb = FakeInflux::start(version);
        let mut server = Sandbox::new(&with_local_addresses(&text, &influxdb));
        Certificates::create(&server.path().join("cert")).expect("certificates");
        server.start();
        assert!(server.stop().success(), "{name}: {}", server.log_text());
    }
}

#[test]
fn a_file_with_secrets_that_everybody_can_read_is_told_by_check_and_at_the_start() {
    let text = "Pipeline:\n  operations: {port: 0, token: 'sesame-4711'}\n  journal: {directory: journal}\n  deadLetters: {directory: dead-letters}\n  quarantine: {directory: quarantine}\n";
    for (mode, expect) in [(0o644, true), (0o640, false)] {
        let directory = TempDir::new().expect("a directory");
        let file = directory.path().join("a.yaml");
        fs::write(&file, text).expect("a file");
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).expect("its mode");
        let checked = check(directory.path());
        let reported = String::from_utf8_lossy(&checked.stdout).into_owned();
        assert_eq!(checked.status.code(), Some(0), "{reported}");
        let is_told = |reported: &str| {
            reported.contains("(mode 0644), and it holds secrets in clear, such as Pipeline.operations.token")
        };
        assert_eq!(is_told(&reported), expect, "{reported}");

        let mut server = Sandbox::new(text);
        fs::set_permissions(server.config_path(), fs::Permissions::from_mode(mode)).expect("its mode");
        // Its endpoints ask for the token, so that nobody waits for them here: it is told to stop as soon as it runs.
        server.start_closed();
        assert!(server.stop().success());
        let log = server.log_text();
        assert_eq!(is_told(&log), expect, "{log}");
        assert!(!(reported + &log).contains("sesame-4711"));
    }
}
