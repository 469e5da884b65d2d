//! A server with every kind of destination, and all that these need: real InfluxDB and mosquitto, stand-ins for
//! New Relic and Qlik Sense.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::contents::{Contents, at_least_once, once};
use super::load::{Book, event_number, is_screenshot};
use super::verdict::Verdict;
use crate::audit_config::{AuditConfig, DATABASE, TOPIC};
use crate::fake_new_relic::FakeNewRelic;
use crate::fake_qlik::{FakeQlik, Limits, Ports};
use crate::influxd::Influxd;
use crate::mosquitto::{Mosquitto, Options};
use crate::numbered::{Census, number};
use crate::sandbox::{Sandbox, wait_for};
use crate::settings::{Settings, csv, influx, new_relic, one_topic};
use crate::subscriber::Subscriber;
use crate::written::{Row, csv_rows, files, json_files, parquet_rows, qvd_rows};

const USER_DATABASE: &str = "senseops";
const USER_TOPIC: &str = "sos/users";
const ACCOUNT: (&str, &str) = ("1", "key");

/// The server and its environment.
pub struct Everything {
    pub sandbox: Sandbox,
    pub world: World,
}

/// What a server delivers to that is not its own disk. It stays when the server's machine burns.
pub struct World {
    pub influxd: Influxd,
    pub broker: Mosquitto,
    subscriber: Subscriber,
    new_relic: FakeNewRelic,
    qlik: FakeQlik,
    _certificates: TempDir,
}

impl World {
    pub fn start() -> Self {
        let certificates = TempDir::with_prefix("qlik-").expect("a temporary directory");
        // Nobody ends the sessions of a process that was killed.
        let limits = Limits { sessions_per_user_max: 1_000_000, ..Limits::default() };
        let qlik = FakeQlik::start_with(certificates.path(), Ports::default(), limits);
        let broker = Mosquitto::start(&Options::default());
        let subscriber = Subscriber::start(&broker, "sos/#");
        Self {
            influxd: Influxd::start_new(),
            broker,
            subscriber,
            new_relic: FakeNewRelic::start(&[ACCOUNT]),
            qlik: qlik.expect("the fake Qlik Sense starts"),
            _certificates: certificates,
        }
    }

    /// The configuration of a server that delivers here, and to files in its own directory.
    pub fn config(&self) -> String {
        let url = self.new_relic.url();
        config(&self.influxd, &self.broker, &self.qlik).and(new_relic(&url, ACCOUNT, false)).text()
    }

    /// Where screenshots are asked for; a path and a query follow.
    pub fn image_base(&self) -> String {
        image_base(&self.qlik)
    }
}

/// Everything but New Relic.
pub fn config(influxd: &Influxd, broker: &Mosquitto, qlik: &FakeQlik) -> Settings {
    let certificate = |name: &str| qlik.certificates.path(name).display().to_string();
    AuditConfig::everywhere(influxd, broker)
        .settings()
        .and(Settings::user_events().value())
        .and(influx(1, influxd.port()))
        .and(one_topic("127.0.0.1", broker.port(), USER_TOPIC))
        .and(csv())
        .and(json!({
            "Butler-SOS": {
                "cert": {
                    "clientCert": certificate("client.pem"),
                    "clientCertKey": certificate("client_key.pem"),
                    "clientCertCA": certificate("root.pem"),
                },
                "auditEvents": { "destination": { "screenshots": {
                    "enable": true,
                    "allowedImageDownloadHosts": ["qlik.test", "proxy.test", "node1.test"],
                    "auth": {
                        "mode": "userTicket",
                        "qps": { "host": "qlik.test", "port": qlik.ports.qps },
                        "sessionCache": { "enable": true },
                    },
                    "storageTargets": [{ "enable": true, "type": "flat", "directory": "{dir}/images" }],
                } } },
            },
            "Pipeline": {
                // Many files, so that a kill meets one that begins.
                "journal": { "commitIntervalMs": 50, "segmentBytesMax": "256 KiB" },
                "screenshots": { "resolve": {
                    "qlik.test": "127.0.0.1", "proxy.test": "127.0.0.1", "node1.test": "127.0.0.1",
                } },
            },
        }))
}

/// See [`World::image_base`].
pub fn image_base(qlik: &FakeQlik) -> String {
    format!("https://qlik.test:{}/tempcontent", qlik.ports.https)
}

/// Directories of a server's own: the journal, and what it writes.
pub const JOURNAL: &str = "journal";
pub const WRITTEN: [&str; 6] = ["csv", "data/csv", "data/json", "data/parquet", "data/qvd", "images"];

impl Everything {
    /// Running and ready.
    pub fn start() -> Self {
        let world = World::start();
        let sandbox = Sandbox::start_new(&world.config());
        Self { sandbox, world }
    }

    /// Waits until nothing is under way, and reads every destination. Whoever listens at the broker is waited for until
    /// it has `due`, and what InfluxDB has as well unless `is_copy`: a server that is no more may have delivered there alone.
    pub fn held(&self, due: &Book, is_copy: bool) -> Contents {
        self.sandbox.settle();
        let World { influxd, subscriber, new_relic, .. } = &self.world;
        let at = |directory: &str| self.sandbox.path().join(directory);
        let influxdb = Census::of_influxdb(influxd, USER_DATABASE);
        // The broker has acknowledged them; the subscriber may still be reading.
        let expected = |due: &BTreeSet<u64>, influxdb: &Census| {
            if is_copy { due.clone() } else { due | &influxdb.numbers() }
        };
        let all = expected(&due.users, &influxdb);
        wait_for("the subscriber to have every user event", || {
            Census::of_mqtt(subscriber, USER_TOPIC).has_all(all.iter().copied()).then_some(())
        });
        let of_new_relic = |event: &Value| number(event["qs_userId"].as_str()?, event["qs_appId"].as_str()?);
        let events = new_relic.events(ACCOUNT.0);
        let in_new_relic: Census = events.iter().filter_map(of_new_relic).collect();
        assert_eq!(new_relic.integration_errors(ACCOUNT.0), Vec::<String>::new());
        let users = vec![
            (once("InfluxDB"), influxdb),
            (once("CSV"), Census::of_csv(&at("csv"))),
            (at_least_once("MQTT"), Census::of_mqtt(subscriber, USER_TOPIC)),
            (at_least_once("New Relic"), in_new_relic),
        ];

        let rows = csv_rows(&at("data/csv"));
        let points = influxd.tag_of_points(DATABASE, "audit_event", "eventId", "objectId");
        let audit_influxdb: Census = points.iter().map(|id| expect_event(id)).collect();
        let published = || -> Census {
            let payloads = subscriber.json(TOPIC);
            payloads.iter().map(|payload| expect_event(text(&payload["event"]["eventId"]))).collect()
        };
        let all = expected(&due.audits, &audit_influxdb);
        wait_for("the subscriber to have every audit event", || {
            published().has_all(all.iter().copied()).then_some(())
        });
        let json = json_files(&at("data/json"));
        let of_json = |content: &String| -> u64 {
            let event: Value = serde_json::from_str(content).expect("JSON");
            expect_event(text(&event["eventId"]))
        };
        let audits = vec![
            (once("InfluxDB"), audit_influxdb),
            (once("CSV"), census(&rows)),
            (once("JSON"), json.values().map(of_json).collect()),
            (once("Parquet"), census(&parquet_rows(&at("data/parquet")))),
            (once("QVD"), census(&qvd_rows(&at("data/qvd")))),
            (at_least_once("MQTT"), published()),
        ];
        let (without_picture, stray_files) = self.pictures(&rows);
        Contents { users, audits, without_picture, stray_files }
    }

    fn pictures(&self, rows: &[Row]) -> (BTreeSet<u64>, Vec<PathBuf>) {
        let (mut without, mut logged) = (BTreeSet::new(), BTreeSet::new());
        for row in rows {
            let number = expect_event(text(&row["eventId"]));
            let saved: Vec<PathBuf> =
                serde_json::from_str(text(&row["screenshotSavedPaths"])).unwrap_or_default();
            let has_ended = !saved.is_empty() || !text(&row["screenshotError"]).is_empty();
            if is_screenshot(number) && !(has_ended && saved.iter().all(|path| self.has(path))) {
                without.insert(number);
            }
            logged.extend(saved.iter().filter_map(|path| Some(path.file_name()?.to_owned())));
        }
        let all = |directory: &str| std::fs::read_dir(self.sandbox.path().join(directory));
        let pictures = all("images").into_iter().flatten().map(|entry| entry.expect("an entry"));
        let mut strays: Vec<PathBuf> =
            pictures.filter(|entry| !logged.contains(&entry.file_name())).map(|entry| entry.path()).collect();
        for (directory, extension) in
            [("data/csv", "csv"), ("data/json", "json"), ("data/parquet", "parquet"), ("data/qvd", "qvd")]
        {
            let whole = files(&self.sandbox.path().join(directory), extension);
            let entries = all(directory).into_iter().flatten().map(|entry| entry.expect("an entry").path());
            strays.extend(entries.filter(|path| !whole.contains(path)));
        }
        (without, strays)
    }

    /// A picture is here, whatever directory the event was finished in: that of a server which is no more, maybe.
    fn has(&self, path: &Path) -> bool {
        path.file_name().is_some_and(|name| self.sandbox.path().join("images").join(name).is_file())
    }

    /// When something was found: everything stays where it is, and is named.
    pub fn keep_unless_clean(self, verdict: &Verdict) {
        if !verdict.is_clean() {
            eprintln!("the server's directory is kept: {}", self.sandbox.keep().display());
        }
    }
}

fn census(rows: &[Row]) -> Census {
    rows.iter().map(|row| expect_event(text(&row["eventId"]))).collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn expect_event(id: &str) -> u64 {
    event_number(id).unwrap_or_else(|| panic!("an event that nobody sent: {id:?}"))
}
