//! A page in a real browser posts audit events over TLS, as Audit.qs does: headless Chromium.
//!
//! `browser/post_event.js` opens the page and says what it saw, preflights included.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;
use std::sync::Arc;
use std::thread;

use butler_sos_integration_tests::audit_config::AuditConfig;
use butler_sos_integration_tests::fake_qlik::certificates::Certificates;
use butler_sos_integration_tests::sandbox::Sandbox;
use butler_sos_integration_tests::tools::{node_modules, output, source};
use butler_sos_integration_tests::written::{Row, csv_rows};
use openssl::ssl::{SslAcceptor, SslMethod};
use serde_json::{Value, json};
use tempfile::TempDir;

const TOKEN: &str = "a token of the browser";

/// A server of a page that does nothing, over TLS, under any name.
struct Pages {
    port: u16,
}

impl Pages {
    fn start(certificates: &Certificates) -> Self {
        let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).expect("TLS");
        acceptor.set_certificate(&certificates.server.certificate).expect("a certificate");
        acceptor.set_private_key(&certificates.server.key).expect("a key");
        let acceptor = Arc::new(acceptor.build());
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        thread::spawn(move || {
            for tcp in listener.incoming().map_while(Result::ok) {
                let acceptor = Arc::clone(&acceptor);
                thread::spawn(move || {
                    let Ok(mut tls) = acceptor.accept(tcp) else { return };
                    let _ = tls.read(&mut [0; 8192]);
                    let page = "<!doctype html><title>a sheet</title>";
                    let _ = write!(
                        tls,
                        "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{page}",
                        page.len()
                    );
                    let _ = tls.shutdown();
                });
            }
        });
        Self { port }
    }

    fn origin(&self, host: &str) -> String {
        format!("https://{host}:{}", self.port)
    }
}

/// One request of a page, and what came of it.
struct Visit {
    origin: String,
    method: &'static str,
    path: &'static str,
    token: Option<&'static str>,
    body: Option<String>,
}

impl Visit {
    fn post(origin: &str, n: usize) -> Self {
        let body = json!({
            "schemaVersion": 1, "eventId": format!("00000000-0000-4000-8000-{n:012}"),
            "timestamp": "2026-11-20T10:11:12.345Z", "type": "navigation.sheet.loaded",
            "source": { "kind": "qlik-sense-extension", "name": "audit-qs", "version": "0.4.0" },
            "payload": { "context": { "user": "UserDirectory=LAB; UserId=göran", "sheetName": "Blatt „1“ 🦀" }, "event": {} },
        });
        Self {
            origin: origin.to_owned(),
            method: "POST",
            path: "/api/v1/audit-event",
            token: Some(TOKEN),
            body: Some(body.to_string()),
        }
    }

    fn test_connection(origin: &str) -> Self {
        Self { method: "GET", path: "/api/v1/test-connection", body: None, ..Self::post(origin, 0) }
    }
}

/// What the pages saw, in the order of `visits`.
fn browse(server: &Sandbox, visits: &[Visit]) -> Vec<Value> {
    let port = server.address("audit-events").port();
    let visits: Vec<Value> = visits
        .iter()
        .map(|visit| {
            let mut headers = json!({ "X-Audit-QS-Version": "0.4.0" });
            if let Some(token) = visit.token {
                headers["Authorization"] = json!(format!("Bearer {token}"));
            }
            if visit.body.is_some() {
                headers["Content-Type"] = json!("application/json");
            }
            json!({
                "page": format!("{}/", visit.origin),
                "url": format!("https://node1.test:{port}{}", visit.path),
                "method": visit.method, "headers": headers, "body": visit.body,
            })
        })
        .collect();
    let mut command = Command::new("node");
    command.arg(source("browser/post_event.js")).env("NODE_PATH", node_modules());
    let seen = output(command.arg(Value::from(visits).to_string()));
    serde_json::from_str(&seen).unwrap_or_else(|error| panic!("{error}: {seen}"))
}

struct Setup {
    pages: Pages,
    config: AuditConfig,
    _directory: TempDir,
}

/// A server of the API and one of pages, with certificates of an authority that nobody knows.
fn setup() -> Setup {
    let directory = TempDir::with_prefix("browser-").expect("a temporary directory");
    let certificates = Certificates::create(directory.path()).expect("certificates");
    let pem = |name: &str| directory.path().join(name).display().to_string();
    let config = AuditConfig {
        tls: Some((pem("server.pem"), pem("server_key.pem"))),
        token: TOKEN,
        files: true,
        ..AuditConfig::default()
    };
    Setup { pages: Pages::start(&certificates), config, _directory: directory }
}

/// Ids and names of sheets of everything that was stored.
fn stored(sandbox: &Sandbox) -> Vec<(String, String)> {
    sandbox.settle();
    let text = |row: &Row, column: &str| row[column].as_str().expect("text").to_owned();
    let rows = csv_rows(&sandbox.path().join("data/csv"));
    rows.iter().map(|row| (text(row, "eventId"), text(row, "sheetName"))).collect()
}

#[test]
fn an_allowed_origin_posts_and_others_are_blocked() {
    let Setup { pages, config, _directory } = setup();
    let (good, evil) = (pages.origin("qlik.test"), pages.origin("evil.test"));
    let other_port = format!("https://qlik.test:{}", pages.port + 1);
    let config = AuditConfig { allowed_origins: vec![other_port, good.clone()], ..config };
    let sandbox = Sandbox::start_new(&config.text());
    let seen = browse(
        &sandbox,
        &[
            Visit::post(&good, 1),
            Visit::post(&evil, 2),
            Visit { token: Some("wrong"), ..Visit::post(&good, 3) },
            Visit { token: None, ..Visit::post(&good, 4) },
            Visit { body: Some("{}".to_owned()), ..Visit::post(&good, 5) },
            Visit::test_connection(&good),
            Visit::test_connection(&evil),
        ],
    );
    // The page reads status and body; the browser had asked before.
    assert_eq!(seen[0]["status"], 202, "{}", seen[0]);
    assert_eq!(seen[0]["body"]["outcome"], "processed");
    assert_eq!(seen[0]["preflights"], json!([204]));
    // Blocked by the browser at the preflight: the page learns nothing, and nothing is posted.
    assert_eq!(seen[1]["error"], "TypeError: Failed to fetch", "{}", seen[1]);
    assert_eq!(seen[1]["blocked"], json!(["PreflightMissingAllowOriginHeader"]));
    // An extension that is refused can read why.
    assert_eq!((&seen[2]["status"], &seen[2]["body"]["reason"]), (&json!(401), &json!("Unauthorized")));
    assert_eq!((&seen[3]["status"], &seen[3]["body"]["reason"]), (&json!(401), &json!("Unauthorized")));
    assert_eq!(seen[4]["status"], 400);
    assert_eq!(seen[4]["body"]["reason"], "Schema validation failed");
    assert_eq!((&seen[5]["status"], &seen[5]["body"]["compatible"]), (&json!(200), &json!(true)));
    assert_eq!(seen[6]["error"], "TypeError: Failed to fetch", "{}", seen[6]);

    let metrics = sandbox.settle();
    assert_eq!(metrics.sum("butler_sos_events_received_total", &[]), 4.0, "the blocked one never came");
    let first = ("00000000-0000-4000-8000-000000000001".to_owned(), "Blatt „1“ 🦀".to_owned());
    assert_eq!(stored(&sandbox), [first]);
}

#[test]
fn a_star_lets_every_origin_post_and_an_empty_list_none() {
    let Setup { pages, config, _directory } = setup();
    let origins = [pages.origin("qlik.test"), pages.origin("evil.test")];
    for (allowed, blocked) in [(vec!["*".to_owned()], false), (Vec::new(), true)] {
        let config = AuditConfig { allowed_origins: allowed, ..config.clone() };
        let sandbox = Sandbox::start_new(&config.text());
        let visits = [Visit::post(&origins[0], 1), Visit::post(&origins[1], 2)];
        for seen in browse(&sandbox, &visits) {
            let expect = if blocked { Value::Null } else { json!(202) };
            assert_eq!(seen.get("status").unwrap_or(&Value::Null), &expect, "{seen}");
        }
        assert_eq!(stored(&sandbox).len(), if blocked { 0 } else { 2 });
    }
}
