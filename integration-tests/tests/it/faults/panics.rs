//! Every actor of a running server is made to panic while events come, twice, and nothing of it shows at the far ends.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use butler_sos_domain::audit::sample::session;
use butler_sos_integration_tests::audit_client::AuditClient;
use butler_sos_integration_tests::fake_qlik::{FakeQlik, Limits, Ports};
use butler_sos_integration_tests::influxd::Influxd;
use butler_sos_integration_tests::mosquitto::Mosquitto;
use butler_sos_integration_tests::numbered::{Census, NumberedSender};
use butler_sos_integration_tests::sandbox::{Sandbox, wait_for};
use butler_sos_integration_tests::written::{Row, csv_rows};
use serde_json::Value;
use tempfile::TempDir;

use super::bench::{
    Bench, DATABASE, assert_nothing_shed, assert_sound, config, without_broker, without_influxdb,
};

/// All that a server with everything switched on consists of.
const ACTORS: [&str; 20] = [
    "app_directory",
    "audit_csv_sink",
    "audit_http_ingestor",
    "audit_influx_sink",
    "audit_mqtt_sink",
    "csv_sink",
    "dead_letter_keeper",
    "image_writer",
    "influx_sink",
    "journal",
    "json_sink",
    "mqtt_sink",
    "parquet_sink",
    "quarantine_keeper",
    "qvd_sink",
    "redirect_walker",
    "session_cache_actor",
    "ticket_actor",
    "udp_ingestor",
    "user_parser",
];

fn everything(influxd: &Influxd, broker: &Mosquitto, qlik: &FakeQlik) -> String {
    let certificate = |name: &str| qlik.certificates.path(name).display().to_string();
    let butler_sos = format!(
        "\
Butler-SOS:
  cert:
    clientCert: '{client}'
    clientCertKey: '{key}'
    clientCertCA: '{root}'
  appNames: {{ enableAppNameExtract: true, extractInterval: 200, hostIP: localhost }}
  auditEvents:
    enable: true
    host: 127.0.0.1
    port: 0
    rateLimit: {{ enable: false }}
    destination:
      enable: true
      type: influxdb,json,parquet,qvd
      influxdb:
        metadata:
          host: 127.0.0.1
          port: {influxd}
          writeFrequency: 50
          v1Config: {{ dbName: {DATABASE}, retentionPolicy: {{ name: forever, duration: INF }} }}
      json: {{ objectdata: {{ enable: true, exportDirectory: '{{dir}}/json' }} }}
      parquet: {{ metadata: {{ exportDirectory: '{{dir}}/parquet', writeFrequency: 200 }} }}
      qvd: {{ metadata: {{ exportDirectory: '{{dir}}/qvd', writeFrequency: 200 }} }}
      screenshots:
        enable: true
        allowedImageDownloadHosts: [qlik.test]
        auth:
          mode: userTicket
          qps: {{ host: qlik.test, port: {qps} }}
          sessionCache: {{ enable: true }}
        storageTargets:
          - {{ enable: true, type: flat, directory: '{{dir}}/images' }}
",
        client = certificate("client.pem"),
        key = certificate("client_key.pem"),
        root = certificate("root.pem"),
        influxd = influxd.port(),
        qps = qlik.ports.qps,
    );
    let pipeline = format!(
        "\
Pipeline:
  supervision: {{ backoffMs: 10 }}
  appDirectory: {{ port: {qrs} }}
  screenshots: {{ resolve: {{ qlik.test: 127.0.0.1 }} }}
",
        qrs = qlik.ports.qrs,
    );
    let users = config(influxd.port(), broker.port())
        .replace("  csv: {", "  csv: { auditEvents: { enable: true, exportDirectory: '{dir}/audit-csv' },")
        .replace("  influxdb: {", "  mqtt: { auditEvents: { topic: sos/audit } }\n  influxdb: {");
    users.replace("Butler-SOS:\n", &butler_sos).replace("Pipeline:\n", &pipeline)
}

/// Posts audit events as a client that does not give up: the same one until it gets its 202.
struct Poster {
    client: AuditClient,
    events: Box<dyn Iterator<Item = (String, String)> + Send>,
}

impl Poster {
    fn new(address: SocketAddr, image_base: String) -> Self {
        let start_ms = butler_sos_actors::sink::unix_ms().cast_signed();
        let events = (1..).flat_map(move |seed| session(seed, start_ms, Some(&image_base)));
        let events = events.map(|event| (event.event_id, event.body));
        Self { client: AuditClient::new(address), events: Box::new(events) }
    }

    /// Posts one event for each permit; the ids of those that were acknowledged.
    fn run(mut self, permits: &Receiver<()>) -> BTreeSet<String> {
        let mut acknowledged = BTreeSet::new();
        for () in permits {
            let (id, body) = self.events.next().expect("sessions without end");
            wait_for("an audit event to be taken", || {
                let answer = self.client.try_post(&body);
                answer.is_some_and(|answer| answer.status == 202).then_some(())
            });
            acknowledged.insert(id);
        }
        acknowledged
    }
}

/// What happens around each panic.
struct Rounds<'a> {
    bench: &'a Bench,
    permits: SyncSender<()>,
    sent: u64,
}

impl Rounds<'_> {
    /// Events before, while it is down, and after; then it must have been restarted `restarts` times.
    fn panic(&mut self, actor: &str, restarts: f64) {
        let mut sender = self.bench.sender(self.sent);
        self.post(3);
        sender.send(150);
        self.post(2);
        self.bench.sandbox.panic(actor);
        self.post(2);
        sender.send(150);
        self.sent = sender.next();
        wait_for(&format!("{actor} to be restarted"), || {
            let metrics = self.bench.sandbox.metrics();
            let seen = metrics.sum("butler_sos_actor_restarts_total", &[("actor", actor)]);
            (seen == restarts).then_some(())
        });
    }

    fn post(&self, events: usize) {
        for _ in 0..events {
            self.permits.send(()).expect("somebody posts");
        }
    }
}

#[test]
fn every_actor_is_restarted_and_nothing_is_lost() {
    let certificates = TempDir::with_prefix("qlik-").expect("a temporary directory");
    let limits = Limits { sessions_per_user_max: 1_000, ..Limits::default() };
    let qlik = FakeQlik::start_with(certificates.path(), Ports::default(), limits).expect("the fake starts");
    let bench = Bench::start(|influxd, broker| everything(influxd, broker, &qlik));
    let sandbox = &bench.sandbox;
    let actors: BTreeSet<String> = sandbox.metrics().labels("butler_sos_actor_restarts_total", "actor");
    let known: BTreeSet<String> = ACTORS.iter().map(|actor| (*actor).to_owned()).collect();
    assert_eq!(actors, known, "an actor is missing here, or in the server");

    let poster = Poster::new(
        sandbox.address("audit-events"),
        format!("https://qlik.test:{}/tempcontent", qlik.ports.https),
    );
    let (permits, permitted) = sync_channel(1_000);
    let posting = thread::spawn(move || poster.run(&permitted));
    let mut rounds = Rounds { bench: &bench, permits, sent: 0 };
    for restarts in [1.0, 2.0] {
        for actor in &actors {
            rounds.panic(actor, restarts);
        }
    }
    let Rounds { sent, permits, .. } = rounds;
    drop(permits);
    let posted = posting.join().expect("the poster got its answers");

    let metrics = sandbox.settle_after(sent);
    assert_sound(&metrics);
    let shed_of_users = metrics.sum("butler_sos_events_shed_total", &[("intake", "user_events")]);
    assert_eq!(shed_of_users, 0.0);
    assert_eq!(bench.assert_delivered(0..sent).len() as u64, sent);
    check_audit_events(&bench, &posted);
    assert_eq!(sandbox.get("/ready").0, 200);
    println!("{} panics under {sent} user events and {} audit events", 2 * actors.len(), posted.len());
}

fn check_audit_events(bench: &Bench, posted: &BTreeSet<String>) {
    let path = |name: &str| bench.sandbox.path().join(name);
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

    let answer = bench.influxd.query(DATABASE, "SELECT * FROM \"audit_event\"");
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
        let ids: BTreeSet<String> = bench.subscriber.json("sos/audit").iter().map(id).collect();
        (ids.len() >= posted.len()).then_some(ids)
    });
    assert_eq!(&all, posted, "MQTT");

    assert_eq!(qvd_records(&path("qvd")), posted.len(), "QVD");
    for (directory, extension) in
        [("parquet", "parquet"), ("qvd", "qvd"), ("json", "json"), ("images", "png")]
    {
        for file in std::fs::read_dir(path(directory)).expect("a directory") {
            let name = file.expect("an entry").file_name().into_string().expect("a plain name");
            assert!(name.ends_with(extension) && !name.starts_with('.'), "{directory}/{name} is left over");
        }
    }

    let screenshots: Vec<_> =
        rows.iter().filter(|row| row["eventType"] == "screenshot.url.received").collect();
    assert!(screenshots.len() > 10, "{} screenshots", screenshots.len());
    let saved: BTreeSet<String> = screenshots
        .iter()
        .flat_map(|row| {
            serde_json::from_str::<Vec<String>>(&text(row, "screenshotSavedPaths")).unwrap_or_default()
        })
        .collect();
    let without: Vec<_> = screenshots
        .iter()
        .filter(|row| text(row, "screenshotSavedPaths").len() < 3 && text(row, "screenshotError").is_empty())
        .collect();
    assert!(without.is_empty(), "neither an image nor a reason: {without:?}");
    let files = std::fs::read_dir(path("images")).expect("images").count();
    assert_eq!(files, saved.len(), "one file for each path that was told");
    assert!(!saved.is_empty());
    assert!(saved.iter().all(|path| Path::new(path).is_file()), "{saved:?}");
}

/// What the headers of all QVD files in a directory say.
fn qvd_records(directory: &Path) -> usize {
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

/// A server that needs nobody else.
fn alone() -> String {
    let config = without_broker(&without_influxdb(&config(1, 1)));
    config.replace("Pipeline:\n", "Pipeline:\n  supervision: { backoffMs: 1 }\n")
}

#[test]
fn five_panics_in_the_window_end_the_process_with_70() {
    let mut sandbox = Sandbox::start_new(&alone());
    let mut sent = 0;
    for actor in ["journal", "csv_sink", "user_parser", "udp_ingestor", "dead_letter_keeper"] {
        let mut sender = NumberedSender::new(&sandbox, sent);
        sender.send(300);
        sent = sender.next();
        let metrics = sandbox.settle_after(300);
        assert_sound(&metrics);
        assert_nothing_shed(&metrics);
        for restarts in 1..=4 {
            sandbox.panic(actor);
            wait_for("the restart", || {
                let metrics = sandbox.metrics();
                let seen = metrics.sum("butler_sos_actor_restarts_total", &[("actor", actor)]);
                (seen == f64::from(restarts)).then_some(())
            });
        }
        assert_eq!(sandbox.exited(), None, "four are not too many");
        sandbox.panic(actor);
        assert_eq!(sandbox.wait_for_exit().code(), Some(70), "{actor}");
        let log = sandbox.log_text();
        assert!(
            log.lines().any(|line| line.contains("supervision gave up") && line.contains(actor)),
            "{log}"
        );
        // As a service manager would.
        sandbox.start();
    }
    let census = Census::of_csv(&sandbox.path().join("csv"));
    census.assert_holds("CSV", 0..sent);
    census.assert_once("CSV");
    assert!(sandbox.stop().success());
}
