//! `conf/systemd`, and the server under a service manager.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use butler_sos_integration_tests::sandbox::{PATIENCE, binary, wait_for};

use crate::prometheus_rules::repository;

const UNIT: &str = "conf/systemd/butler-sos.service";

/// The unit in a directory of its own, with the server that was built; `systemd-analyze` looks for it.
fn unit(directory: &Path) -> String {
    let text = std::fs::read_to_string(repository(UNIT)).expect("the unit");
    let server = binary("butler-sos");
    let text = text.replace("/usr/bin/butler-sos", server.to_str().expect("a plain path"));
    let path = directory.join("butler-sos.service");
    std::fs::write(&path, text).expect("a temporary directory is writable");
    path.to_str().expect("a plain path").to_owned()
}

fn analyze(arguments: &[&str]) -> String {
    let output = Command::new("systemd-analyze").args(arguments).env("SYSTEMD_COLORS", "0").output();
    let output = output.expect("systemd-analyze is installed by scripts/install");
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(output.status.success(), "{arguments:?}: {text}");
    text
}

#[test]
fn the_unit_is_valid() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let reported = analyze(&["verify", "--man=no", &unit(directory.path())]);
    // Of other units of the machine it may say what it likes.
    let about_ours: Vec<&str> = reported.lines().filter(|line| line.contains("butler-sos")).collect();
    assert_eq!(about_ours, [""; 0]);
}

/// Whatever makes the server grow, the machine stays well and the server is started anew.
#[test]
fn memory_of_the_service_is_bounded() {
    let text = std::fs::read_to_string(repository(UNIT)).expect("the unit");
    let setting = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    assert_eq!(setting("MemoryMax"), Some("2G"));
    // What the kernel ends for its memory counts as a failure, which is started anew.
    assert!(matches!(setting("Restart"), Some("on-failure" | "always")));
}

#[test]
fn the_unit_leaves_little_exposed() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let reported = analyze(&["security", "--offline=true", "--no-pager", &unit(directory.path())]);
    let exposure = reported
        .lines()
        .find_map(|line| line.split_once("Overall exposure level")?.1.split_once(": ")?.1.split(' ').next())
        .and_then(|figure| figure.parse::<f64>().ok());
    // What the documentation says of it.
    let page = std::fs::read_to_string(repository("docs/security.md")).expect("the page");
    let reported = page.split("**").find_map(|detail| detail.parse::<f64>().ok()).expect("a figure");
    assert!(
        exposure.is_some_and(|exposure| exposure <= reported),
        "{exposure:?}, not {reported}: {reported}"
    );
}

#[test]
fn ready_alive_and_stopping_are_told() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(PATIENCE)).expect("a limit");
    let (config, log) = (directory.path().join("butler-sos.yaml"), directory.path().join("log"));
    std::fs::write(
        &config,
        "Butler-SOS:\n  userEvents:\n    enable: true\n    udpServerConfig: {serverHost: 127.0.0.1, portUserActivityEvents: 0}\n\
         Pipeline:\n  operations: {port: 0}\n  csv: {userEvents: {enable: true, exportDirectory: ./csv}}\n",
    )
    .expect("a temporary directory is writable");
    let mut server = Command::new(binary("butler-sos"))
        .arg("-c")
        .arg(&config)
        .current_dir(directory.path())
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "400000")
        .stdout(std::fs::File::create(&log).expect("a temporary directory is writable"))
        .spawn()
        .expect("the server starts");
    let reported = || {
        let mut buffer = [0; 4096];
        let length = socket.recv(&mut buffer).expect("the service manager is told");
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    let alive = |reported: &str| reported.starts_with("WATCHDOG=1\nSTATUS=receiving events");

    let first = reported();
    assert!(first.starts_with("READY=1\n"), "{first}");
    // Ready means that everything listens already; the log is written a moment later.
    wait_for("the server to say where it listens", || {
        let log = std::fs::read_to_string(&log).expect("the log");
        log.lines().any(|line| line.contains("listening") && line.contains("user-events")).then_some(())
    });
    for _ in 0..3 {
        let sign = reported();
        assert!(alive(&sign), "{sign}");
    }

    let pid = server.id().to_string();
    Command::new("kill").args(["-s", "TERM", &pid]).status().expect("kill is there");
    let mut last = reported();
    while alive(&last) {
        last = reported();
    }
    assert!(last.starts_with("STOPPING=1\nEXTEND_TIMEOUT_USEC="), "{last}");
    let status = wait_for("the server to end", || server.try_wait().expect("it is a child"));
    assert!(status.success(), "{status}");
    // Nobody is told anything by a server that has ended.
    socket.set_read_timeout(Some(Duration::from_millis(10))).expect("a limit");
    let mut buffer = [0; 4096];
    while let Ok(length) = socket.recv(&mut buffer) {
        let reported = String::from_utf8_lossy(&buffer[..length]).into_owned();
        assert!(!reported.contains("READY=1"), "{reported}");
    }
}
