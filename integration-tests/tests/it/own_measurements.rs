//! What the whole server writes about itself, to stand-ins for InfluxDB 1, 2 and 3 and to a real InfluxDB 1.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use butler_sos_integration_tests::audit_client::AuditClient;
use butler_sos_integration_tests::fake_influx::{FakeInflux, FakeVersion, Fault};
use butler_sos_integration_tests::influxd::Influxd;
use butler_sos_integration_tests::sandbox::{Sandbox, wait_for};
use serde_json::Value;

/// A server that takes both kinds of events and tells everything about itself, often.
fn config(version: u8, port: u16, more: &str) -> String {
    format!(
        "\
Butler-SOS:
  logLevel: verbose
  userEvents:
    enable: true
    excludeUser: [{{directory: LAB, userId: excluded}}]
    udpServerConfig:
      serverHost: 127.0.0.1
      portUserActivityEvents: 0
      queueMetrics:
        influxdb: {{enable: true, writeFrequency: 200, tags: [{{name: qs_env, value: dev}}]}}
  auditEvents:
    enable: true
    host: 127.0.0.1
    port: 0
    queue:
      queueMetrics:
        influxdb: {{enable: true, writeFrequency: 200, tags: [{{name: qs_env, value: dev}}]}}
  qlikSenseEvents:
    influxdb: {{enable: true, writeFrequency: 200}}
    eventCount: {{enable: true, influxdb: {{tags: [{{name: qs_env, value: dev}}]}}}}
    rejectedEventCount: {{enable: true}}
  uptimeMonitor:
    enable: true
    frequency: every 1 second
    logLevel: verbose
    storeInInfluxdb: {{butlerSOSMemoryUsage: true, instanceTag: DEV}}
  errorTracking:
    enable: true
    influxdb: {{enable: true}}
  influxdbConfig:
    enable: true
    host: 127.0.0.1
    port: {port}
    version: {version}
    v2Config: {{org: o, bucket: b, token: t0ken}}
    v3Config: {{database: d, token: t0ken}}
{more}
Pipeline:
  operations: {{port: 0}}
  journal: {{directory: '{{dir}}/journal'}}
  quarantine: {{directory: '{{dir}}/quarantine'}}
  deadLetters: {{directory: '{{dir}}/dead-letters'}}
  csv: {{userEvents: {{enable: true, exportDirectory: '{{dir}}/csv'}}}}
  ownMeasurements: {{errorsWriteFrequency: 200}}
"
    )
}

/// Three events, one of an excluded user, and what is none.
fn send_events(sandbox: &Sandbox) {
    let udp = sandbox.udp();
    for datagram in [
        "/qseow-proxy-session/;server1;Start session;LAB;goran;https://sense.test;/hub;m",
        "/qseow-proxy-session/;server1;Stop session;LAB;goran;https://sense.test;/hub;m",
        "/qseow-proxy-connection/;server2;Open connection;LAB;excluded;AppAccess;/app/x;m",
        "what is this",
    ] {
        udp.send(datagram.as_bytes()).unwrap();
    }
    sandbox.settle_after(4);
}

/// One audit event that is stored and one that is refused.
fn post_events(sandbox: &Sandbox) {
    let path = format!("{}/golden/audit-events.jsonl", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    let row: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    let body = row["body"].as_str().unwrap();
    let client = AuditClient::new(sandbox.address("audit-events"));
    for (body, status) in [(body, 202), ("{}", 400)] {
        assert_eq!(client.post(body).status, status);
    }
}

/// Series, without their times, and the sum of each field that is a number.
fn sums(points: &[String]) -> BTreeMap<String, BTreeMap<String, f64>> {
    let mut sums: BTreeMap<String, BTreeMap<String, f64>> = BTreeMap::new();
    for point in points {
        let mut parts = point.split(' ');
        let series = sums.entry(parts.next().unwrap().to_owned()).or_default();
        for field in parts.next().unwrap().split(',') {
            let (key, value) = field.split_once('=').unwrap();
            if let Ok(number) = value.trim_end_matches('i').parse::<f64>() {
                *series.entry(key.to_owned()).or_default() += number;
            }
        }
    }
    sums
}

fn of(points: &[String], measurement: &str) -> Vec<String> {
    let begins = |point: &&String| point.split([',', ' ']).next() == Some(measurement);
    points.iter().filter(begins).cloned().collect()
}

/// Names of tags, and names and types of fields.
fn shape(point: &str) -> BTreeSet<String> {
    let mut parts = point.split(' ');
    let mut shape: BTreeSet<String> = parts
        .next()
        .unwrap()
        .split(',')
        .skip(1)
        .map(|tag| tag.split('=').next().unwrap().to_owned())
        .collect();
    for field in parts.next().unwrap().split(',') {
        let (key, value) = field.split_once('=').unwrap();
        let kind = if value.starts_with('"') {
            "text"
        } else if value.ends_with('i') {
            "integer"
        } else {
            "float"
        };
        shape.insert(format!("{key}: {kind}"));
    }
    shape
}

/// Rows of the first series, if there is one by now.
fn rows(influxd: &Influxd, statement: &str) -> Vec<Vec<Value>> {
    let answer = influxd.query("senseops", statement);
    let rows = answer.pointer("/series/0/values").cloned().unwrap_or_default();
    serde_json::from_value(rows).unwrap_or_default()
}

fn golden_shape(measurement: &str, version: u8) -> BTreeSet<String> {
    let path = format!("{}/golden/own-measurements.jsonl", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    let rows = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let row = rows.into_iter().find(|row| row["measurement"] == measurement).unwrap();
    shape(row[format!("influx_v{version}")][0].as_str().unwrap())
}

#[test]
fn every_version_gets_the_points_of_butler_sos() {
    for (version, fake_version, token) in
        [(1, FakeVersion::V1, None), (2, FakeVersion::V2, Some("t0ken")), (3, FakeVersion::V3, Some("t0ken"))]
    {
        let fake = match token {
            Some(token) => FakeInflux::start_with_token(fake_version, token),
            None => FakeInflux::start(fake_version),
        };
        let sandbox = Sandbox::start_new(&config(version, fake.port(), ""));
        send_events(&sandbox);
        post_events(&sandbox);

        wait_for("every event to be counted", || {
            let sums = sums(&fake.points());
            let counter = |series: &str| sums.get(series)?.get("counter").copied();
            let session = "event_count,event_type=user,source=qseow-proxy-session,host=server1,\
                           subsystem=https://sense.test,qs_env=dev";
            let connection = "event_count,event_type=user,source=qseow-proxy-connection,host=server2,\
                              subsystem=AppAccess,qs_env=dev";
            let unknown =
                "event_count,event_type=user,source=Unknown,host=Unknown,subsystem=Unknown,qs_env=dev";
            let all = counter(session)? == 2.0
                && counter(connection)? == 1.0
                && counter(unknown)? == 1.0
                && counter("rejected_event_count,source=Unknown")? == 1.0
                && counter("rejected_event_count,source=qseow-proxy-connection")? == 1.0;
            all.then_some(())
        });
        let reported = |measurement, processed: f64, failed: f64| {
            let sums = sums(&of(&fake.points(), measurement));
            let figures = sums.values().next()?;
            let all = figures["messages_received"] == processed + failed
                && figures["messages_queued"] == processed + failed
                && figures["messages_processed"] == processed
                && figures["messages_failed"] == failed
                && figures["processing_time_max_ms"] > 0.0;
            all.then_some(())
        };
        wait_for("the queue of user events to be told", || reported("user_events_queue", 3.0, 1.0));
        wait_for("the queue of audit events to be told", || reported("audit_events_queue", 1.0, 1.0));
        let memory =
            wait_for("memory to be told", || of(&fake.points(), "butlersos_memory_usage").into_iter().next());
        let names = ["heap_used", "heap_total", "external", "process_memory"];
        let expect = names.map(|name| format!("{name}: float"));
        let expect = expect.into_iter().chain(["butler_sos_instance".into(), "version".into()]);
        assert_eq!(shape(&memory), expect.collect::<BTreeSet<String>>());
        for measurement in ["event_count", "user_events_queue", "audit_events_queue"] {
            let points = of(&fake.points(), measurement);
            assert_eq!(shape(&points[0]), golden_shape(measurement, version), "{version}");
        }

        // What InfluxDB did not take is an error, told when it is back.
        assert_eq!(of(&fake.points(), "butler_sos_errors"), [""; 0]);
        fake.outage(Some(Fault::Status(503)));
        wait_for("an error to be met", || {
            let metrics = sandbox.metrics();
            let rejected = [("actor", "own_measurements"), ("reason", "http-503")];
            (metrics.sum("butler_sos_messages_rejected_total", &rejected) > 0.0).then_some(())
        });
        fake.outage(None);
        let error =
            wait_for("the error to be told", || of(&fake.points(), "butler_sos_errors").into_iter().next());
        let tags = format!("error_type=INFLUXDB_V{version}_WRITE,module=OWN_MEASUREMENTS ");
        assert!(error.contains(&tags) && error.contains("error_category=\"http_5xx\""), "{error}");

        // The log is written by another thread.
        wait_for("the log to tell it once each", || {
            let log = sandbox.log_text();
            let count = |what: &str| log.matches(what).count();
            let reported = ["cannot write own measurements", "own measurements are written again"];
            (reported.map(count) == [1, 1] && count("\"message\":\"uptime\"") > 0).then_some(())
        });
    }
}

#[test]
fn a_real_influxdb_takes_them_with_their_types() {
    let influxd = Influxd::start_new();
    let more = "    v1Config: {dbName: senseops}\n";
    let sandbox = Sandbox::start_new(&config(1, influxd.port(), more));
    send_events(&sandbox);
    wait_for("every measurement to be there", || {
        let measurements = rows(&influxd, "SHOW MEASUREMENTS");
        let names: BTreeSet<&str> = measurements.iter().filter_map(|row| row[0].as_str()).collect();
        let expect = [
            "audit_events_queue",
            "butlersos_memory_usage",
            "event_count",
            "rejected_event_count",
            "user_events_queue",
        ];
        expect.iter().all(|name| names.contains(name)).then_some(())
    });
    wait_for("every event to be counted", || {
        let rows = rows(&influxd, "SELECT SUM(counter) FROM event_count");
        (rows.first()?.get(1)?.as_f64()? == 4.0).then_some(())
    });
    for measurement in ["event_count", "user_events_queue", "audit_events_queue", "butlersos_memory_usage"] {
        let fields = rows(&influxd, &format!("SHOW FIELD KEYS FROM {measurement}"));
        assert!(
            !fields.is_empty() && fields.iter().all(|row| row[1] == "float"),
            "{measurement}: {fields:?}"
        );
    }
    let hosts = influxd.tag_values("senseops", "user_events_queue", "host");
    assert!(hosts.len() == 1 && hosts[0] != "undefined", "{hosts:?}");

    sandbox.panic("own_measurements");
    let restarts = [("actor", "own_measurements")];
    wait_for("the restart", || {
        (sandbox.metrics().sum("butler_sos_actor_restarts_total", &restarts) == 1.0).then_some(())
    });
    let points = || influxd.count("senseops", "user_events_queue", "queue_size");
    let before = points();
    wait_for("points after it", || (points() > before + 1).then_some(()));
}

#[test]
fn a_heartbeat_is_sent_and_its_path_is_kept_out_of_the_log() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let calls = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&calls);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read == 1) {
                head.push(byte[0]);
            }
            let mut heard = heard.lock().unwrap();
            let head = String::from_utf8_lossy(&head).into_owned();
            let login = head.lines().find(|line| line.to_ascii_lowercase().starts_with("authorization:"));
            heard.push(format!("{} {}", head.lines().next().unwrap_or_default(), login.unwrap_or_default()));
            // The second and third fail.
            let status = if (2..4).contains(&heard.len()) { "503 Busy" } else { "200 OK" };
            let _ = write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        }
    });
    let sandbox = Sandbox::start_new(&format!(
        "\
Butler-SOS:
  heartbeat: {{enable: true, remoteURL: 'HTTP://monitor:p%40ss@{address}/s3cret-check', frequency: every 1 second}}
Pipeline:
  operations: {{port: 0}}
  journal: {{directory: '{{dir}}/journal'}}
  quarantine: {{directory: '{{dir}}/quarantine'}}
  deadLetters: {{directory: '{{dir}}/dead-letters'}}
"
    ));
    wait_for("five heartbeats", || (calls.lock().unwrap().len() >= 5).then_some(()));
    // `monitor:p@ss` in Base64.
    let expect = "GET /s3cret-check HTTP/1.1 authorization: Basic bW9uaXRvcjpwQHNz";
    assert!(calls.lock().unwrap().iter().all(|call| call.eq_ignore_ascii_case(expect)), "{calls:?}");
    let log = sandbox.log_text();
    assert_eq!(log.matches("cannot send a heartbeat").count(), 1, "{log}");
    assert_eq!(log.matches("heartbeats succeed again").count(), 1, "{log}");
    assert!(!log.contains("s3cret") && !log.contains("p%40ss") && !log.contains("p@ss"), "{log}");
    assert_eq!(log.matches("\"machine\"").count(), 1, "{log}");
}
