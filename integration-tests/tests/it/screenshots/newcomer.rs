//! What somebody does who sees the project for the first time: the example's three commands, and images appear.

use std::path::Path;
use std::process::Command;

use butler_sos_integration_tests::fake_qlik::{FakeQlik, Limits, Ports};
use butler_sos_integration_tests::sandbox::{Sandbox, binary, wait_for};

use super::server_harness::names_in;

const EXAMPLE: &str = include_str!("../../../../conf/examples/screenshots-with-fake-qlik.yaml");

#[test]
fn the_example_brings_images() {
    let sandbox = Sandbox::new("");
    let fake = FakeQlik::start(&sandbox.path().join("data/fake-qlik")).unwrap();
    // The fake's usual ports may be taken here; nothing else is changed, but that tickets may take
    // their time where all tests run at once.
    let qps = format!("port: {}\n            ticketTimeoutMs: 20000", fake.ports.qps);
    let config = EXAMPLE.replace("port: 14243", &qps).replace("port: 8181", "port: 0");
    check(sandbox, &fake, &format!("{config}  operations: {{port: 0}}\n"));
}

/// For other ports and directories: what the fake itself writes.
#[test]
fn so_does_the_configuration_that_the_fake_writes() {
    let sandbox = Sandbox::new("");
    let directory = sandbox.path().join("data/fake-qlik");
    let fake = FakeQlik::start_with(&directory, Ports::default(), Limits::default()).unwrap();
    let config = fake.config_fragment(&directory.join("images"));
    let config = config.replace("  auditEvents:\n", "  auditEvents:\n    port: 0\n");
    check(sandbox, &fake, &format!("{config}  operations: {{port: 0}}\n"));
}

fn check(mut sandbox: Sandbox, fake: &FakeQlik, config: &str) {
    sandbox.write_config(config);
    sandbox.start();
    let port = fake.ports.https;
    let send = |arguments: &[&str]| {
        let mut command = Command::new(binary("butler-sos"));
        command.arg("send-sample").arg("-c").arg(sandbox.config_path()).current_dir(sandbox.path());
        command.args(["--to", &sandbox.address("audit-events").to_string(), "--rate", "0"]);
        let output = command.args(arguments).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.success(), text(output.stdout), text(output.stderr))
    };
    let base = format!("https://qlik.test:{port}");
    let (is_sent, out, err) = send(&["--screenshots", "--count", "10", "--screenshot-url", &base]);
    assert!(is_sent && out.starts_with("10 audit events sent to http://") && err.is_empty(), "{out}{err}");
    let images = sandbox.path().join("data/fake-qlik/images");
    wait_for("every event's image", || (pictures_in(&images) == 10).then_some(()));
    // What else the fake offers.
    let with_query = format!("{base}/analytics/tempcontent?b=redirect");
    assert!(send(&["--screenshots", "--count", "2", "--screenshot-url", &with_query]).0);
    wait_for("images by a redirect", || (pictures_in(&images) == 12).then_some(()));
    let asked = fake.requests();
    assert!(asked.iter().any(|request| request.path.contains("/qps/analytics/ticket")), "{asked:#?}");
    // With whole sessions, some events name a screenshot and most do not.
    assert!(send(&["--audit", "--screenshots", "--count", "30", "--screenshot-url", &base]).0);
    sandbox.settle();
    assert!((13..42).contains(&pictures_in(&images)));
    // What cannot go well is said.
    let (is_sent, _, err) =
        send(&["--screenshots", "--count", "1", "--screenshot-url", "https://other.test/"]);
    assert!(is_sent && err.contains("other.test is not among allowedImageDownloadHosts"), "{err}");
    let (is_sent, _, err) = send(&["--screenshots", "--count", "1", "--screenshot-url", "qlik.test"]);
    assert!(!is_sent && err.contains("not a URL"), "{err}");
    assert!(sandbox.stop().success());
}

/// Images that are whole.
fn pictures_in(images: &Path) -> usize {
    names_in(images).iter().filter(|name| name.ends_with(".png")).count()
}
