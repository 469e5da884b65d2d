//! What the people who run it see: `/metrics`, `/health`, `/ready`, and who sees them.

use std::io::Write;
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use butler_sos_domain::audit::sample::session;
use butler_sos_domain::sample::{Layout, datagram};
use butler_sos_integration_tests::audit_client::AuditClient;
use butler_sos_integration_tests::fake_influx::{FakeInflux, FakeVersion, Fault};
use butler_sos_integration_tests::fake_new_relic::FakeNewRelic;
use butler_sos_integration_tests::http::Http;
use butler_sos_integration_tests::mosquitto::{Mosquitto, Options};
use butler_sos_integration_tests::sandbox::{Sandbox, free_port, get, wait_for};
use butler_sos_integration_tests::sender::send;
use butler_sos_integration_tests::settings::{Settings, csv, influx, mqtt, new_relic};
use serde_json::{Value, json};

/// Every destination, and everything else that counts.
fn everything(influx_1: &FakeInflux, influx_3: &FakeInflux, broker: &Mosquitto) -> Settings {
    let (cert, key) = broker.client_certificate();
    let static_tags = json!([{ "name": "env", "value": "test" }]);
    let files = |name: &str| json!({ "exportDirectory": format!("{{dir}}/{name}"), "writeFrequency": 0, "staticTags": static_tags });
    Settings::user_events().and(influx(1, influx_1.port())).and(mqtt(broker)).and(csv()).and(json!({
        "Butler-SOS": {
            "userEvents": { "excludeUser": [{ "directory": "LAB", "userId": "excluded" }] },
            "appNames": { "enableAppNameExtract": true, "extractInterval": 100, "hostIP": "127.0.0.1" },
            "cert": { "clientCert": cert, "clientCertKey": key, "clientCertCA": broker.authority() },
            "auditEvents": {
                "enable": true, "port": 0, "apiToken": "sekrit",
                "destination": {
                    "enable": true, "type": "influxdb, json, parquet, qvd",
                    "influxdb": { "metadata": {
                        "host": "127.0.0.1", "port": influx_3.port(), "version": 3, "writeFrequency": 0,
                        "v3Config": { "database": "audit", "token": "t0ken" },
                    } },
                    "json": { "objectdata": { "enable": true, "exportDirectory": "{dir}/json" } },
                    "parquet": { "metadata": files("parquet") },
                    "qvd": { "metadata": files("qvd") },
                    "screenshots": {
                        "enable": true, "allowedImageDownloadHosts": ["qlik.example"],
                        "storageTargets": [{ "enable": true, "type": "flat", "directory": "{dir}/screenshots" }],
                    },
                },
            },
            "prometheus": { "enable": true, "host": "127.0.0.1", "port": 0 },
            "dockerHealthCheck": { "enable": true, "port": 0 },
        },
        "Pipeline": {
            // Nobody answers there.
            "appDirectory": { "port": free_port() },
            "mqtt": { "auditEvents": { "topic": "qliksense/audit" } },
            "csv": { "auditEvents": { "enable": true, "exportDirectory": "{dir}/audit-csv" } },
        },
    }))
}

fn post(audit: SocketAddr, token: &str, body: &str) -> u16 {
    AuditClient::new(audit).with_token(token).post(body).status
}

#[test]
fn metrics_are_clean_with_every_destination_and_every_kind_of_event() {
    let influx_1 = FakeInflux::start(FakeVersion::V1);
    let influx_3 = FakeInflux::start_with_token(FakeVersion::V3, "t0ken");
    influx_1.next_writes([Fault::Status(500), Fault::Cut]);
    // Its certificates serve as those of Qlik Sense, too.
    let options = Options { tls: true, client_certificate: true, ..Options::default() };
    let broker = Mosquitto::start(&options);
    let fake = FakeNewRelic::start(&[("4711", "k3y")]);
    let settings = everything(&influx_1, &influx_3, &broker);
    let settings = settings.and(new_relic(&fake.url(), ("4711", "k3y"), true));
    let sandbox = Sandbox::start_new(&settings.text());
    check_exposition(&sandbox.get("/metrics").1);

    let mut datagrams: Vec<Vec<u8>> = (0..200).map(|n| datagram(n, Layout::Mixed).into_bytes()).collect();
    datagrams.push(b"no event".to_vec());
    datagrams.push(b"qseow-proxy-session;h\xff;Start session;LAB;excluded;;;".to_vec());
    datagrams.push(b"qseow-proxy-session;h\xff;Start session;LAB;goran;;;".to_vec());
    datagrams.push(b"proxy-user-event;h;s;/hub;Start session for nobody".to_vec());
    let audit = sandbox.address("audit-events");
    // From a host that is not on the list: each download ends with that.
    let events = session(1, 1_795_169_472_345, Some("https://elsewhere.example"));
    for event in &events {
        assert_eq!(post(audit, "sekrit", &event.body), 202, "{}", event.event_type);
    }
    assert_eq!(post(audit, "wrong", &events[0].body), 401);
    assert_eq!(post(audit, "sekrit", "no JSON"), 400);
    send(&sandbox, &datagrams);

    let (status, exposition) = sandbox.get("/metrics");
    assert_eq!(status, 200);
    check_exposition(&exposition);
    // Every destination took something, the one that failed said why.
    for destination in DESTINATIONS {
        let series = format!("butler_sos_destination_lag_seconds{{destination=\"{destination}\"}}");
        assert!(exposition.contains(&series), "{destination} has no lag in seconds");
        for name in ["events_delivered", "batches_delivered", "bytes_delivered"] {
            // Counted as soon as the journal knows, not before.
            wait_for(&format!("{name} of {destination}"), || {
                let label = [("destination", destination)];
                let count = sandbox.metrics().sum(&format!("butler_sos_{name}_total"), &label);
                (count > 0.0).then_some(())
            });
        }
    }
    let metrics = sandbox.metrics();
    let errors = metrics.sum("butler_sos_delivery_errors_total", &[("destination", "influx_sink")]);
    assert_eq!(errors, 2.0);
    check_series(&exposition);
}

const DESTINATIONS: [&str; 10] = [
    "influx_sink",
    "mqtt_sink",
    "csv_sink",
    "new_relic_sink",
    "audit_influx_sink",
    "audit_mqtt_sink",
    "audit_csv_sink",
    "json_sink",
    "parquet_sink",
    "qvd_sink",
];

/// What Prometheus's own tool has to say of it: nothing.
fn check_exposition(text: &str) {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is installed (Debian: `apt-get install prometheus`)");
    promtool.stdin.take().expect("it reads").write_all(text.as_bytes()).expect("it reads to the end");
    let output = promtool.wait_with_output().expect("it ends");
    let reported = [output.stdout, output.stderr].concat();
    assert_eq!(String::from_utf8_lossy(&reported), "");
    assert!(output.status.success());
}

/// Nothing is shown that is not so: bounds of actors that pull their work, kernel buffers of HTTP.
fn check_series(exposition: &str) {
    let series = |name: &str| -> Vec<&str> {
        let lines = exposition.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('{'));
        lines.map(|line| line.split('}').next().unwrap_or_default()).collect()
    };
    assert_eq!(series("butler_sos_events_dropped_by_kernel_total"), ["intake=\"user_events\""]);
    let mut bounds = series("butler_sos_mailbox_bound");
    let mut depths = series("butler_sos_mailbox_depth");
    bounds.sort_unstable();
    depths.sort_unstable();
    assert_eq!(bounds, depths);
    for actor in ["user_parser", "journal", "audit_http_ingestor"] {
        assert!(bounds.contains(&format!("actor=\"{actor}\"").as_str()), "{actor}: {bounds:?}");
    }
    let sinks = bounds.iter().filter(|label| label.contains("_sink"));
    assert_eq!(sinks.count(), 0, "{bounds:?}");
    let zero = exposition
        .lines()
        .filter(|line| line.starts_with("butler_sos_mailbox_bound") && line.ends_with(" 0"));
    assert_eq!(zero.count(), 0);
    for name in [
        "butler_sos_messages_received_total",
        "butler_sos_messages_sent_total",
        "butler_sos_actor_restarts_total",
        "butler_sos_journal_bytes",
        "butler_sos_process_resident_bytes",
        "butler_sos_process_cpu_seconds_total",
    ] {
        assert!(exposition.contains(&format!("\n{name}")), "{name} is missing");
    }
    assert!(exposition.contains("\nbutler_sos_journal_sync_seconds_bucket{"));
}

#[test]
fn listeners_of_butler_sos_answer_their_path_alone() {
    let settings = Settings::user_events().and(csv()).and(json!({ "Butler-SOS": {
        "prometheus": { "enable": true, "host": "127.0.0.1", "port": 0 },
        "dockerHealthCheck": { "enable": true, "port": 0 },
    } }));
    let sandbox = Sandbox::start_new(&settings.text());
    let operations = sandbox.address("operations");
    assert!(operations.ip().is_loopback());
    let check = |address: SocketAddr, path: &str, expect: u16| {
        let answer = get(address, path).unwrap_or_else(|| panic!("{address}{path} does not answer"));
        assert_eq!(answer.0, expect, "{address}{path}");
        answer.1
    };
    for path in ["/", "/metrics", "/health", "/ready", "/configuration"] {
        check(operations, path, 200);
    }
    check(operations, "/nothing", 404);
    let metrics = check(sandbox.address("metrics"), "/metrics", 200);
    assert!(metrics.contains("butler_sos_events_received_total"));
    let health = sandbox.address("health");
    assert!(health.ip().is_unspecified(), "Docker asks from elsewhere");
    let body: Value = serde_json::from_str(&check(health, "/health", 200)).expect("JSON");
    assert_eq!(body["status"], "ok");
    for path in ["/", "/ready", "/configuration", "/health"] {
        check(sandbox.address("metrics"), path, 404);
    }
    for path in ["/", "/ready", "/configuration", "/metrics"] {
        check(health, path, 404);
    }
    let posted = Http::new(operations).send("POST", "/metrics", &[], "").expect("an answer");
    assert_eq!(posted.status, 405);
}

/// The configuration has a page of its own, for others than the dashboard's: names are hidden there unless told otherwise.
#[test]
fn the_page_of_the_configuration_hides_names() {
    let at = |obfuscate: bool| {
        let page = json!({ "enable": true, "host": "127.0.0.1", "port": 0, "obfuscate": obfuscate });
        let settings = Settings::user_events().and(csv()).and(json!({
            "Butler-SOS": { "configVisualisation": page, "influxdbConfig": { "host": "evidence.example.com" } },
        }));
        Sandbox::start_new(&settings.text())
    };
    for (obfuscate, hidden) in [(true, "evi**********"), (false, "evidence.example.com")] {
        let sandbox = at(obfuscate);
        let page = sandbox.address("configuration");
        for path in ["/", "/configuration", "/api/configuration"] {
            let (status, text) = get(page, path).expect("an answer");
            assert_eq!(status, 200, "{path}");
            assert!(text.contains(hidden), "{path}: {text}");
            assert!(!obfuscate || !text.contains("example.com"), "{path}: {text}");
        }
        assert!(
            get(sandbox.address("operations"), "/configuration")
                .expect("an answer")
                .1
                .contains("evidence.example")
        );
    }
}

/// Both have port 9842 by default, so a Butler SOS file that enables one must not stop the other.
#[test]
fn prometheus_and_operations_may_have_one_port() {
    let port = free_port();
    let settings = Settings::user_events().and(csv()).and(json!({
        "Butler-SOS": { "prometheus": { "enable": true, "host": "0.0.0.0", "port": port } },
        "Pipeline": { "operations": { "port": port, "token": "sekrit" } },
    }));
    let mut sandbox = Sandbox::new(&settings.text());
    sandbox.start_closed();
    let address = sandbox.address("operations");
    assert_eq!(address.port(), port);
    assert_eq!(get(address, "/metrics").expect("an answer").0, 200);
    assert_eq!(get(address, "/health").expect("an answer").0, 200);
}

/// Seen from other machines, only figures and life are shown to those without the token.
#[test]
fn exposed_without_a_token_and_with_one() {
    let at = |token: &str| {
        let settings = Settings::user_events()
            .and(csv())
            .and(json!({ "Pipeline": { "operations": { "host": "0.0.0.0", "token": token } } }));
        let mut sandbox = Sandbox::new(&settings.text());
        sandbox.start_closed();
        sandbox
    };
    for (token, refused) in [("", 403), ("sekrit", 401)] {
        let sandbox = at(token);
        for (path, expect) in [
            ("/metrics", 200),
            ("/health", 200),
            ("/ready", refused),
            // The page itself holds nothing, and asks for the token.
            ("/", if token.is_empty() { refused } else { 200 }),
            ("/api/state", refused),
            ("/configuration", refused),
            ("/nothing", refused),
        ] {
            assert_eq!(sandbox.get(path).0, expect, "{path} with {token:?}");
        }
        let status = sandbox.operations().with_token("sekrit").get("/ready").expect("an answer").status;
        assert_eq!(status, if token.is_empty() { 403 } else { 200 });
    }
}

/// A destination that is away is told, and the server is ready all the same: nothing is lost.
#[test]
fn a_destination_that_is_away_is_told() {
    let fake = FakeInflux::start_with_token(FakeVersion::V2, "another t0ken");
    let settings = Settings::user_events().and(influx(2, fake.port())).and(csv());
    let sandbox = Sandbox::start_new(&settings.text());
    assert_eq!(sandbox.ready().1["status"], "ok");
    for n in 0..5 {
        sandbox.udp().send(datagram(n, Layout::Mixed).as_bytes()).expect("a datagram can be sent");
    }
    let (status, body) = wait_for("the outage to be told", || {
        Some(sandbox.ready()).filter(|(_, body)| {
            body["status"] == "degraded" && body["destinations"]["influx_sink"]["lagEvents"] == 5
        })
    });
    assert_eq!(status, 200);
    let influx = &body["destinations"]["influx_sink"];
    assert_eq!(influx["up"], false);
    assert!(influx["lastError"].as_str().is_some_and(|detail| detail.contains("401")), "{influx}");
    assert_eq!(body["destinations"]["csv_sink"]["up"], true);
    let detail = body.to_string() + &sandbox.get("/metrics").1 + &sandbox.log_text();
    assert!(!detail.contains("t0ken"), "{detail}");
    let metrics = sandbox.metrics();
    assert_eq!(metrics.sum("butler_sos_destination_up", &[("destination", "influx_sink")]), 0.0);
    assert_eq!(metrics.sum("butler_sos_destination_lag_events", &[("destination", "influx_sink")]), 5.0);
    assert_eq!(metrics.sum("butler_sos_destination_lag_events", &[("destination", "csv_sink")]), 0.0);
}
