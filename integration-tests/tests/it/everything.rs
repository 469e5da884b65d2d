//! A server with everything switched on, every endpoint behind a proxy of its own, under load.
//!
//! User events go to InfluxDB, MQTT, New Relic and CSV; audit events, with screenshots, to InfluxDB, MQTT, JSON,
//! Parquet, QVD and CSV; names of apps are learned from QRS, and heartbeats are sent.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use butler_sos_domain::audit::sample::session;
use butler_sos_integration_tests::audit_client::AuditClient;
use butler_sos_integration_tests::fake_new_relic::FakeNewRelic;
use butler_sos_integration_tests::fake_qlik::{FakeQlik, Limits, Ports};
use butler_sos_integration_tests::influxd::Influxd;
use butler_sos_integration_tests::mosquitto::{Mosquitto, Options};
use butler_sos_integration_tests::numbered::{Census, NumberedSender, number};
use butler_sos_integration_tests::sandbox::{Metrics, Sandbox, wait_for};
use butler_sos_integration_tests::settings::{Settings, csv, influx, new_relic, one_topic};
use butler_sos_integration_tests::subscriber::Subscriber;
use butler_sos_integration_tests::tcp_proxy::TcpProxy;
use butler_sos_integration_tests::written::{Row, csv_rows, files};
use serde_json::{Value, json};
use tempfile::TempDir;

const DATABASE: &str = "senseops";
const ACCOUNT: (&str, &str) = ("4711", "sekrit-key-1");
const AUDIT_TOPIC: &str = "sos/audit";

pub struct Everything {
    pub sandbox: Sandbox,
    /// By what is behind it.
    pub proxies: BTreeMap<&'static str, TcpProxy>,
    pub ports: AuditTarget,
    influxd: Influxd,
    _broker: Mosquitto,
    subscriber: Subscriber,
    relic: FakeNewRelic,
    _qlik: FakeQlik,
    _certificates: TempDir,
}

/// Where screenshots of audit events are.
#[derive(Debug, Clone)]
pub struct AuditTarget {
    pub image_base: String,
}

impl Everything {
    pub fn start(more: Value) -> Self {
        let certificates = TempDir::with_prefix("qlik-").expect("a temporary directory");
        let limits = Limits { sessions_per_user_max: 100_000, ..Limits::default() };
        let qlik =
            FakeQlik::start_with(certificates.path(), Ports::default(), limits).expect("the fake starts");
        let influxd = Influxd::start_new();
        let broker = Mosquitto::start(&Options::default());
        let subscriber = Subscriber::start(&broker, "sos/#");
        let relic = FakeNewRelic::start(&[ACCOUNT]);
        let local = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        let proxies: BTreeMap<&str, TcpProxy> = [
            ("influxdb", influxd.address()),
            ("audit influxdb", influxd.address()),
            ("broker", local(broker.port())),
            ("new relic", relic.address()),
            ("monitoring", relic.address()),
            ("qps", local(qlik.ports.qps)),
            ("qrs", local(qlik.ports.qrs)),
            ("images", local(qlik.ports.https)),
        ]
        .map(|(name, target)| (name, TcpProxy::start(target)))
        .into();
        let mut sandbox = Sandbox::new(&config(&proxies, &qlik, more));
        sandbox.start();
        let image_base = format!("https://qlik.test:{}/tempcontent", proxies["images"].port());
        Self {
            sandbox,
            proxies,
            ports: AuditTarget { image_base },
            influxd,
            _broker: broker,
            subscriber,
            relic,
            _qlik: qlik,
            _certificates: certificates,
        }
    }

    pub fn poster(&self, seed: u64) -> Poster {
        Poster::new(self.sandbox.address("audit-events"), &self.ports.image_base, seed)
    }

    /// Waits until everybody has been given everything; the figures then.
    pub fn settle_within(&self, limit: Duration, user_events: u64) -> Metrics {
        self.sandbox.settle_within(limit, user_events)
    }

    /// Every user event is everywhere, and once where that is promised. `lost` may be missing, everywhere alike. Answers how
    /// many came twice to the broker and to New Relic.
    pub fn assert_user_events(&self, sent: u64, lost: u64) -> [u64; 2] {
        let influxdb = Census::of_influxdb(&self.influxd, DATABASE);
        let all = influxdb.numbers();
        assert_eq!(all.len() as u64, sent - lost, "InfluxDB has all that were stored");
        influxdb.assert_once("InfluxDB");
        let csv = Census::of_csv(&self.sandbox.path().join("csv"));
        csv.assert_once("CSV");
        assert!(csv == influxdb, "CSV and InfluxDB hold different events");
        let text = |event: &Value, key: &str| event[key].as_str().unwrap_or_default().to_owned();
        let events = self.relic.events(ACCOUNT.0);
        let of = |event| number(&text(event, "qs_userId"), &text(event, "qs_appId")).expect("one of ours");
        let relic: Census = events.iter().map(of).collect();
        assert!(relic.numbers() == all, "New Relic and InfluxDB hold different events");
        let mqtt = || Census::of_mqtt(&self.subscriber, "sos/all");
        wait_for("the subscriber to have every event", || {
            (self.subscriber.count() >= all.len() && mqtt().has_all(all.iter().copied())).then_some(())
        });
        assert_eq!(mqtt().numbers(), all, "the broker has events that the others have not");
        let in_topic = self.subscriber.json("sos/all").len() as u64;
        [in_topic - all.len() as u64, events.len() as u64 - all.len() as u64]
    }

    /// Every audit event is everywhere, once where that is promised, and each screenshot has an image or a reason;
    /// answers how many have an image.
    pub fn assert_audit_events(&self, posted: &BTreeSet<String>) -> usize {
        let path = |name: &str| self.sandbox.path().join(name);
        let once: BTreeMap<&str, u64> = posted.iter().map(|id| (id.as_str(), 1)).collect();
        let count = |ids: &[String]| {
            let mut times = BTreeMap::<String, u64>::new();
            ids.iter().for_each(|id| *times.entry(id.clone()).or_default() += 1);
            times
        };
        let check = |place: &str, ids: &[String]| {
            let got = count(ids);
            let got: BTreeMap<&str, u64> = got.iter().map(|(id, times)| (id.as_str(), *times)).collect();
            let lost: Vec<_> = once.keys().filter(|id| !got.contains_key(*id)).collect();
            let wrong: Vec<_> = got.iter().filter(|(id, times)| once.get(*id) != Some(*times)).collect();
            assert!(lost.is_empty() && wrong.is_empty(), "{place}: lost {lost:?}, not once {wrong:?}");
        };

        let answer = self.influxd.query(DATABASE, "SELECT * FROM \"audit_event\"");
        let series = &answer["series"][0];
        let columns = series["columns"].as_array().expect("columns");
        let column = columns.iter().position(|name| name == "eventId").expect("the tag eventId");
        let rows = series["values"].as_array().expect("rows");
        let ids: Vec<String> =
            rows.iter().map(|row| row[column].as_str().unwrap_or_default().to_owned()).collect();
        check("InfluxDB", &ids);

        let rows = csv_rows(&path("audit-csv"));
        let text = |row: &Row, column: &str| row[column].as_str().expect("text").to_owned();
        let ids: Vec<String> = rows.iter().map(|row| text(row, "eventId")).collect();
        check("CSV", &ids);

        let id = |payload: &Value| payload["event"]["eventId"].as_str().unwrap_or("?").to_owned();
        let all = wait_for("the subscriber to have every audit event", || {
            let ids: BTreeSet<String> = self.subscriber.json(AUDIT_TOPIC).iter().map(id).collect();
            (ids.len() >= posted.len()).then_some(ids)
        });
        assert_eq!(&all, posted, "MQTT");

        assert_eq!(qvd_records(&path("qvd")), posted.len(), "QVD");
        // A later try may be under way.
        wait_for("the last image", || {
            let names = std::fs::read_dir(path("images")).into_iter().flatten();
            let is_temporary = |name: &std::ffi::OsString| name.to_string_lossy().ends_with(".tmp");
            (!names.flatten().any(|entry| is_temporary(&entry.file_name()))).then_some(())
        });
        for (name, extension) in [("parquet", "parquet"), ("qvd", "qvd"), ("json", "json")] {
            for file in std::fs::read_dir(path(name)).into_iter().flatten() {
                let file = file.expect("an entry").file_name().into_string().expect("a plain name");
                assert!(file.ends_with(extension) && !file.starts_with('.'), "{name}/{file} is left over");
            }
        }

        let screenshots: Vec<_> =
            rows.iter().filter(|row| row["eventType"] == "screenshot.url.received").collect();
        let saved: BTreeSet<PathBuf> = screenshots
            .iter()
            .flat_map(|row| {
                serde_json::from_str::<Vec<PathBuf>>(&text(row, "screenshotSavedPaths")).unwrap_or_default()
            })
            .collect();
        let without: Vec<_> = screenshots
            .iter()
            .filter(|row| {
                text(row, "screenshotSavedPaths").len() < 3 && text(row, "screenshotError").is_empty()
            })
            .collect();
        assert!(without.is_empty(), "neither an image nor a reason: {without:?}");
        // A later try may have brought one after its event was told of without.
        let there: BTreeSet<PathBuf> = files(&path("images"), "png").into_iter().collect();
        assert!(saved.is_subset(&there), "images that were told of are missing");
        saved.len()
    }
}

pub fn delivered(metrics: &Metrics, destination: &str) -> u64 {
    metrics.sum("butler_sos_events_delivered_total", &[("destination", destination)]) as u64
}

fn config(proxies: &BTreeMap<&str, TcpProxy>, qlik: &FakeQlik, more: Value) -> String {
    let port = |name: &str| proxies[name].port();
    let certificate = |name: &str| qlik.certificates.path(name).display().to_string();
    let policy = json!({ "name": "forever", "duration": "INF" });
    let directory = |name: &str| format!("{{dir}}/{name}");
    let rows =
        |name: &str| json!({ "metadata": { "exportDirectory": directory(name), "writeFrequency": 500 } });
    Settings::user_events()
        .and(influx(1, port("influxdb")))
        .and(new_relic(&format!("http://127.0.0.1:{}", port("new relic")), ACCOUNT, false))
        .and(one_topic("127.0.0.1", port("broker"), "sos/all"))
        .and(csv())
        .and(json!({
            "Butler-SOS": {
                "cert": {
                    "clientCert": certificate("client.pem"),
                    "clientCertKey": certificate("client_key.pem"),
                    "clientCertCA": certificate("root.pem"),
                },
                "appNames": { "enableAppNameExtract": true, "extractInterval": 1_000, "hostIP": "localhost" },
                "heartbeat": {
                    "enable": true, "frequency": "every 1 second",
                    "remoteURL": format!("http://127.0.0.1:{}/alive", port("monitoring")),
                },
                "influxdbConfig": { "v1Config": { "retentionPolicy": policy } },
                "auditEvents": {
                    "enable": true, "host": "127.0.0.1", "port": 0, "rateLimit": { "enable": false },
                    "destination": {
                        "enable": true,
                        "type": "influxdb,json,parquet,qvd",
                        "influxdb": { "metadata": {
                            "host": "127.0.0.1", "port": port("audit influxdb"), "writeFrequency": 50,
                            "v1Config": { "dbName": DATABASE, "retentionPolicy": policy },
                        } },
                        "json": { "objectdata": { "enable": true, "exportDirectory": directory("json") } },
                        "parquet": rows("parquet"),
                        "qvd": rows("qvd"),
                        "screenshots": {
                            "enable": true,
                            "downloadTimeoutMs": 2_000,
                            "allowedImageDownloadHosts": ["qlik.test"],
                            "auth": {
                                "mode": "userTicket",
                                "qps": { "host": "qlik.test", "port": port("qps"), "ticketTimeoutMs": 2_000 },
                                "sessionCache": { "enable": true },
                            },
                            "storageTargets":
                                [{ "enable": true, "type": "flat", "directory": directory("images") }],
                        },
                    },
                },
            },
            "Pipeline": {
                "supervision": { "backoffMs": 10 },
                "appDirectory": { "port": port("qrs"), "timeoutMs": 2_000 },
                "csv": { "auditEvents": { "enable": true, "exportDirectory": directory("audit-csv") } },
                "influxdb": { "timeoutMs": 2_000 },
                "mqtt": { "auditEvents": { "topic": AUDIT_TOPIC } },
                "screenshots": { "resolve": { "qlik.test": "127.0.0.1" } },
            },
        }))
        .and(more)
        .text()
}

// === load

/// Posts audit events as a client that does not give up: the same one until it gets its 202.
pub struct Poster {
    client: AuditClient,
    events: Box<dyn Iterator<Item = (String, String)> + Send>,
}

impl Poster {
    pub fn new(address: SocketAddr, image_base: &str, seed: u64) -> Self {
        let start_ms = butler_sos_actors::kit::clock::unix_ms().cast_signed();
        let image_base = image_base.to_owned();
        let events = (seed..).flat_map(move |seed| session(seed, start_ms, Some(&image_base)));
        let events = events.map(|event| (event.event_id, event.body));
        Self { client: AuditClient::new(address), events: Box::new(events) }
    }

    /// Posts one event until it is taken; its id.
    pub fn post(&mut self) -> String {
        let (id, body) = self.events.next().expect("sessions without end");
        wait_for("an audit event to be taken", || {
            let answer = self.client.try_post(&body);
            answer.is_some_and(|answer| answer.status == 202).then_some(())
        });
        id
    }
}

/// Ends loads when it goes, also when a test fails.
pub struct StopAtEnd<'a>(pub &'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Does something so many times a second until it is told to stop.
pub fn paced(per_second: u64, stop: &AtomicBool, mut work: impl FnMut()) {
    let pause = Duration::from_secs(1) / u32::try_from(per_second.max(1)).unwrap_or(u32::MAX);
    let mut due = Instant::now();
    while !stop.load(Ordering::SeqCst) {
        wait_for("the next turn", || (Instant::now() >= due).then_some(()));
        work();
        // What a slow turn has cost is not made up for at once.
        due = (due + pause).max(Instant::now() - 10 * pause);
    }
}

/// User events at a rate, in tens; answers how many, once it is told to stop. `sent` is how many so far.
pub fn user_load(mut sender: NumberedSender, per_second: u64, stop: &AtomicBool, sent: &AtomicU64) -> u64 {
    const AT_ONCE: u64 = 10;
    paced(per_second.div_ceil(AT_ONCE), stop, || {
        sender.send(AT_ONCE);
        sent.store(sender.next(), Ordering::SeqCst);
    });
    sender.next()
}

/// Audit events at a rate; the ids of those that were acknowledged.
pub fn audit_load(mut poster: Poster, per_second: u64, stop: &AtomicBool) -> BTreeSet<String> {
    let mut posted = BTreeSet::new();
    paced(per_second, stop, || {
        posted.insert(poster.post());
    });
    posted
}

/// What the headers of all QVD files in a directory say.
fn qvd_records(directory: &std::path::Path) -> usize {
    let of = |bytes: &[u8]| -> Option<usize> {
        let text = String::from_utf8_lossy(bytes);
        text.split_once("<NoOfRecords>")?.1.split_once('<')?.0.parse().ok()
    };
    std::fs::read_dir(directory)
        .expect("a directory of QVD files")
        .map(|entry| std::fs::read(entry.expect("an entry").path()).expect("a file"))
        .map(|bytes| of(&bytes).expect("a QVD header"))
        .sum()
}
