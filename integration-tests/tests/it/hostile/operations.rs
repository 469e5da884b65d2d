//! Who wants to see the operations endpoints, or to disturb the server from this machine, and may not.

use std::process::Command;

use butler_sos_integration_tests::raw_http::RawHttp;
use butler_sos_integration_tests::sandbox::{Sandbox, binary, free_port, get, wait_for};
use butler_sos_integration_tests::settings::{Settings, csv};
use serde_json::json;

const UNAVAILABLE: i32 = 69;

fn server(operations: &serde_json::Value) -> Sandbox {
    let settings =
        Settings::user_events().and(csv()).and(json!({ "Pipeline": { "operations": operations } }));
    let mut sandbox = Sandbox::new(&settings.text());
    sandbox.start_closed();
    sandbox
}

/// Asks with these lines; only a refusal may come back, and nothing of what the server knows.
fn refused(sandbox: &Sandbox, first: &str, headers: &[&str]) {
    let mut request = format!("{first} HTTP/1.1\r\n");
    for header in headers.iter().chain(&["Connection: close"]) {
        request += header;
        request += "\r\n";
    }
    let heard = RawHttp::ask(sandbox.address("operations"), request + "\r\n");
    let [status] = heard.statuses[..] else { panic!("{first} {headers:?}: {}", heard.text) };
    assert!((400..500).contains(&status), "{first} {headers:?}: {}", heard.text);
    for known in ["csv_sink", "destinations", "exportDirectory", "right"] {
        assert!(!heard.text.contains(known), "{first} {headers:?}: {}", heard.text);
    }
}

#[test]
fn no_spelling_of_a_request_goes_past_the_token() {
    let sandbox = server(&json!({ "token": "right" }));
    let host = format!("Host: {}", sandbox.address("operations"));
    let right = "Authorization: Bearer right";
    for authorization in [
        "Authorization: Bearer wrong",
        "Authorization: Bearer righ",
        "Authorization: Bearer right2",
        "Authorization: Bearer RIGHT",
        "Authorization: Bearer",
        "Authorization: Basic right",
        "Authorization: right",
        "Authorization: Bearer \"right\"",
        "Cookie: token=right",
        "X-Authorization: Bearer right",
        "Proxy-Authorization: Bearer right",
        "X-Butler-SOS: 1",
    ] {
        refused(&sandbox, "GET /api/state", &[&host, authorization]);
    }
    // The first of two counts.
    refused(&sandbox, "GET /api/state", &[&host, "Authorization: Bearer wrong", right]);
    for path in [
        "/api/state?token=right",
        "/api/state/",
        "//api/state",
        "/./api/state",
        "/metrics/../api/state",
        "/metrics/%2e%2e/api/state",
        "/metrics;/api/state",
        "/metrics%2f..%2fapi%2fstate",
        "/app.js/../api/state",
        "/API/state",
        "/api%2fstate",
        "/api/state%00",
        "/app.js%00/api/state",
        "/ready",
        "/configuration",
        "http://localhost/api/state",
        "http://localhost/metrics/../api/state",
        "*",
    ] {
        refused(&sandbox, &format!("GET {path}"), &[&host]);
    }
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "HEAD", "get", "FOO"] {
        refused(&sandbox, &format!("{method} /api/state"), &[&host]);
        refused(&sandbox, &format!("{method} /api/replay"), &[&host, "X-HTTP-Method-Override: GET"]);
    }
    for header in ["X-Original-URL: /metrics", "X-Rewrite-URL: /metrics", "X-Forwarded-For: 127.0.0.1"] {
        refused(&sandbox, "GET /api/state", &[&host, header]);
    }
    for path in ["..%2f..%2fetc%2fpasswd", "../../../etc/passwd", "%2e%2e/%2e%2e/etc/passwd"] {
        refused(&sandbox, &format!("GET /{path}"), &[&host, right]);
        refused(&sandbox, &format!("GET /api/screenshots/{path}/image"), &[&host, right]);
        refused(&sandbox, &format!("GET /api/dead-letters/{path}"), &[&host, right]);
    }
}

#[test]
fn without_a_token_no_other_name_and_no_form_is_answered() {
    let sandbox = server(&json!({}));
    let address = sandbox.address("operations");
    let port = address.port();
    for name in [
        format!("evil.example:{port}"),
        format!("localhost.evil.example:{port}"),
        format!("127.0.0.1.evil.example:{port}"),
        format!("evil@localhost:{port}"),
        format!("localhost:{port}, evil.example"),
        "0.0.0.0".to_owned(),
        "2130706433".to_owned(),
        "127.1".to_owned(),
        String::new(),
    ] {
        refused(&sandbox, "GET /api/state", &[&format!("Host: {name}")]);
        refused(&sandbox, &format!("GET http://{name}/api/state"), &["Host: localhost"]);
    }
    refused(&sandbox, "GET /api/state", &[]);
    let host = format!("Host: {address}");
    for form in ["application/x-www-form-urlencoded", "text/plain", "application/json"] {
        let kind = format!("Content-Type: {form}");
        refused(&sandbox, "POST /api/replay", &[&host, &kind, "Content-Length: 0"]);
        refused(&sandbox, "POST /api/dead-letters/drop", &[&host, &kind, "Content-Length: 0"]);
    }
}

#[test]
fn a_second_server_on_the_same_files_ends_and_the_first_goes_on() {
    let sandbox = server(&json!({}));
    let second = Command::new(binary("butler-sos"))
        .arg("run")
        .arg("-c")
        .arg(sandbox.config_path())
        .current_dir(sandbox.path())
        .output()
        .expect("the binary runs");
    assert_eq!(second.status.code(), Some(UNAVAILABLE));
    assert_eq!(sandbox.get("/ready").0, 200);
}

#[test]
fn a_server_without_standard_output_and_error_runs() {
    let port = free_port();
    let settings =
        Settings::user_events().and(csv()).and(json!({ "Pipeline": { "operations": { "port": port } } }));
    let mut sandbox = Sandbox::new(&settings.text());
    sandbox.wrap(["sh", "-c", "exec \"$@\" >&- 2>&-", "sh"].map(str::to_owned).to_vec());
    sandbox.spawn();
    let address = ([127, 0, 0, 1], port).into();
    wait_for("the server to be ready", || (get(address, "/ready")?.0 == 200).then_some(()));
    assert!(sandbox.exited().is_none());
    let status = Command::new("sh")
        .args(["-c", "exec \"$@\" >&-", "sh"])
        .arg(binary("butler-sos"))
        .args(["status", "--server", &format!("http://{address}")])
        .current_dir(sandbox.path())
        .output()
        .expect("the binary runs");
    let reported = String::from_utf8_lossy(&status.stderr);
    assert!(status.status.code().is_some() && !reported.contains("panicked"), "{reported}");
    assert_eq!(get(address, "/ready").map(|answer| answer.0), Some(200));
}
