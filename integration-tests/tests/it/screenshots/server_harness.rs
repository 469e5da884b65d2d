//! The real server with the fake Qlik Sense on one side and every kind of destination on the other.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::thread;

use butler_sos_integration_tests::audit_client::{self, AuditClient};
use butler_sos_integration_tests::fake_influx::{FakeInflux, FakeVersion};
use butler_sos_integration_tests::fake_qlik::{FakeQlik, Limits, Ports, certificates};
use butler_sos_integration_tests::line::read_line;
use butler_sos_integration_tests::sandbox::{Sandbox, wait_for};
use butler_sos_integration_tests::written;
use serde_json::{Value, json};

pub const USER: &str = "UserDirectory=LAB; UserId=goran";

/// What events ask for when they come from Audit.qs.
pub const API_TOKEN: &str = "audit-token-5a1c77";
pub const INFLUX_TOKEN: &str = "influx-token-93be01";

/// Every destination of audit events that writes files, and InfluxDB.
pub const DESTINATIONS: [&str; 5] = ["influxdb", "json", "parquet", "qvd", "csv"];

/// The server, the fake and the stand-in of InfluxDB, in one directory.
pub struct ServerHarness {
    pub fake: FakeQlik,
    pub influx: FakeInflux,
    pub sandbox: Sandbox,
}

/// What a test may want otherwise.
#[derive(Clone)]
pub struct Rooms {
    pub concurrency: usize,
    pub cache_entries: usize,
    pub download_timeout_ms: u64,
    pub log_level: &'static str,
    /// More of the configuration: lines that stand below `Butler-SOS`, indented by two.
    pub butler_sos: &'static str,
    /// The same below `Pipeline`.
    pub pipeline: &'static str,
}

impl Default for Rooms {
    fn default() -> Self {
        Self {
            concurrency: 16,
            cache_entries: 100,
            download_timeout_ms: 5000,
            log_level: "info",
            butler_sos: "",
            pipeline: "",
        }
    }
}

impl ServerHarness {
    pub fn start(rooms: &Rooms) -> Self {
        let mut harness = Self::build(rooms);
        harness.sandbox.start();
        harness
    }

    /// Everything but the server runs.
    pub fn build(rooms: &Rooms) -> Self {
        let sandbox = Sandbox::new("");
        // Everybody may have as many sessions as there are kills in a test.
        let limits = Limits { sessions_per_user_max: 50, ..Limits::default() };
        let directory = sandbox.path().join("certificates");
        let fake = FakeQlik::start_with(&directory, Ports::default(), limits).unwrap();
        let influx = FakeInflux::start_with_token(FakeVersion::V2, INFLUX_TOKEN);
        sandbox.write_config(&config(rooms, &fake, &influx));
        Self { fake, influx, sandbox }
    }

    /// Both directories of images.
    pub fn images(&self) -> [PathBuf; 2] {
        ["images", "more-images"].map(|name| self.sandbox.path().join(name))
    }

    /// A URL of the golden file's host with the fake's port.
    pub fn url(&self, tail: &str) -> String {
        self.fake.with_own_ports(&format!("https://qlik.test:14443{tail}"))
    }

    pub fn post(&self, bodies: &[String]) -> Vec<Option<u16>> {
        post(self.sandbox.address("audit-events"), bodies)
    }

    pub fn post_all(&self, bodies: &[String]) {
        let statuses = self.post(bodies);
        assert!(statuses.iter().all(|status| *status == Some(202)), "{statuses:?}");
    }

    /// Waits until so many events have ended, as the CSV files tell it.
    pub fn wait_for_finished(&self, events: usize) {
        wait_for(&format!("{events} finished events"), || {
            (written::csv_rows_so_far(&self.sandbox.path().join("csv")) >= events).then_some(())
        });
    }

    /// What each destination says about each event.
    pub fn delivered(&self) -> BTreeMap<&'static str, Vec<Reported>> {
        let reported = DESTINATIONS.map(|destination| {
            let directory = self.sandbox.path().join(destination);
            let rows = match destination {
                "influxdb" => self.influx.points().iter().map(|line| row_of_line(line)).collect(),
                "csv" => objects(written::csv_rows(&directory)),
                "json" => {
                    let files = written::json_files(&directory).into_values();
                    files.map(|text| serde_json::from_str(&text).unwrap()).collect()
                }
                "parquet" => objects(written::parquet_rows(&directory)),
                _ => objects(written::qvd_rows(&directory)),
            };
            let mut reported: Vec<_> = rows.iter().map(Reported::from_row).collect();
            reported.sort();
            (destination, reported)
        });
        reported.into_iter().collect()
    }

    /// No event is under way, and conservation holds.
    pub fn settle(&self) {
        let metrics = self.sandbox.settle();
        assert_eq!(metrics.unaccounted(), 0.0);
    }
}

/// What a destination says about the download of an event.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reported {
    pub event_id: String,
    pub saved_paths: Vec<String>,
    pub sha256: Option<String>,
    pub error: Option<String>,
}

impl Reported {
    fn from_row(row: &Value) -> Self {
        let text = |name: &str| row[name].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        let saved_paths = match &row["screenshotSavedPaths"] {
            Value::Array(paths) => paths.clone(),
            Value::String(paths) if !paths.is_empty() => serde_json::from_str(paths).unwrap(),
            _ => Vec::new(),
        };
        Self {
            event_id: text("eventId").unwrap(),
            saved_paths: saved_paths.iter().map(|path| path.as_str().unwrap().to_owned()).collect(),
            sha256: text("screenshotSha256"),
            error: text("screenshotError"),
        }
    }
}

/// A screenshot event with data, so that every destination has something to write.
pub fn event(number: u32, user: &str, url: &str) -> String {
    json!({
        "schemaVersion": 1,
        "eventId": event_id(number),
        "correlationId": "1777868693436",
        "timestamp": "2026-11-20T10:11:12.345Z",
        "type": "screenshot.url.received",
        "payload": {
            "context": {"user": user},
            "event": {"screenshotUrl": url, "selectionTxnId": event_id(number), "objectData": {
                "schemaVersion": 1, "objectType": "barchart", "dimensions": [], "measures": [],
            }},
        },
    })
    .to_string()
}

pub fn event_id(number: u32) -> String {
    audit_client::event_id(number as usize)
}

/// The name that the contract gives to the image of [`event`].
pub fn image_name(number: u32, extension: &str) -> String {
    format!("20261120T101112.345Z_{}_1777868693436.{extension}", event_id(number))
}

pub fn sha256(bytes: &[u8]) -> String {
    hex::encode(openssl::sha::sha256(bytes))
}

/// Names in a directory, sorted.
pub fn names_in(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Posts from several connections at once; the status of each, `None` where the connection broke.
pub fn post(to: SocketAddr, bodies: &[String]) -> Vec<Option<u16>> {
    const CLIENTS: usize = 8;
    let per_client = bodies.len().div_ceil(CLIENTS).max(1);
    thread::scope(|scope| {
        let clients: Vec<_> = bodies
            .chunks(per_client)
            .map(|bodies| {
                scope.spawn(move || {
                    let client = AuditClient::new(to).with_token(API_TOKEN);
                    let post = |body: &String| client.try_post(body).map(|answer| answer.status);
                    bodies.iter().map(post).collect::<Vec<_>>()
                })
            })
            .collect();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    })
}

/// The configuration: passwords everywhere, and ports that the system chooses.
fn config(rooms: &Rooms, fake: &FakeQlik, influx: &FakeInflux) -> String {
    let Rooms { concurrency, cache_entries, download_timeout_ms, log_level, butler_sos, pipeline } = rooms;
    format!(
        "\
Butler-SOS:
  logLevel: {log_level}
  fileLogging: true
  logDirectory: '{{dir}}/log'
  cert:
    clientCert: '{{dir}}/certificates/client.pem'
    clientCertKey: '{{dir}}/certificates/client_key_encrypted.pem'
    clientCertCA: '{{dir}}/certificates/root.pem'
    clientCertPassphrase: {passphrase}
  auditEvents:
    enable: true
    host: 127.0.0.1
    port: 0
    apiToken: {API_TOKEN}
    rateLimit: {{enable: false}}
    destination:
      enable: true
      type: influxdb, json, parquet, qvd
      influxdb:
        metadata:
          host: 127.0.0.1
          port: {influx}
          version: 2
          writeFrequency: 100
          v2Config: {{org: butler, bucket: audit, token: {INFLUX_TOKEN}}}
      json: {{objectdata: {{enable: true, exportDirectory: '{{dir}}/json'}}}}
      parquet: {{metadata: {{exportDirectory: '{{dir}}/parquet', writeFrequency: 200}}}}
      qvd: {{metadata: {{exportDirectory: '{{dir}}/qvd', writeFrequency: 200}}}}
      screenshots:
        enable: true
        downloadTimeoutMs: {download_timeout_ms}
        allowedImageDownloadHosts: [qlik.test, proxy.test, node1.test, node2.test]
        auth:
          mode: userTicket
          qps: {{host: qlik.test, port: {qps}, ticketTimeoutMs: 6000}}
          sessionCache: {{enable: true, ttlSeconds: 120, maxEntries: {cache_entries}}}
        storageTargets:
          - {{enable: true, type: flat, directory: '{{dir}}/images'}}
          - {{enable: false, type: flat, directory: '{{dir}}/no-images'}}
          - {{enable: true, type: flat, directory: '{{dir}}/more-images'}}
{butler_sos}
Pipeline:
  journal: {{directory: '{{dir}}/journal'}}
  csv: {{auditEvents: {{enable: true, exportDirectory: '{{dir}}/csv'}}}}
  deadLetters: {{directory: '{{dir}}/dead-letters'}}
  quarantine: {{directory: '{{dir}}/quarantine'}}
  screenshots:
    concurrency: {concurrency}
    perHostConcurrency: {concurrency}
    resolve: {{qlik.test: 127.0.0.1, proxy.test: 127.0.0.1, node1.test: 127.0.0.1, node2.test: 127.0.0.1, evil.test: 127.0.0.1}}
{pipeline}
",
        passphrase = certificates::PASSPHRASE,
        influx = influx.port(),
        qps = fake.ports.qps,
    )
    // Unless a test has a token for them.
    + if pipeline.contains("operations:") { "" } else { "  operations: {host: 127.0.0.1, port: 0}\n" }
}

// === what destinations hold, as rows

/// Tags and texts.
fn row_of_line(line: &str) -> Value {
    let line = read_line(line, false).unwrap();
    let tags = line.tags.into_iter().map(|(name, value)| (name, Value::String(value)));
    Value::Object(tags.chain(line.fields).collect())
}

fn objects(rows: Vec<written::Row>) -> Vec<Value> {
    rows.into_iter().map(Value::Object).collect()
}
