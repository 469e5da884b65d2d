//! With `Pipeline.privacy.pseudonymise` nothing that the server keeps, sends or shows names a user.
//!
//! Every way in and every way out at once, at the loudest log level; then everything is searched for the user's
//! directory and id, in the spellings in which they could have slipped through. Qlik Sense alone is asked for tickets in
//! the user's own name.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use butler_sos_integration_tests::audit_client::AuditClient;
use butler_sos_integration_tests::fake_influx::{FakeInflux, FakeVersion};
use butler_sos_integration_tests::mosquitto::{Mosquitto, Options};
use butler_sos_integration_tests::sandbox::{binary, wait_for};
use butler_sos_integration_tests::subscriber::Subscriber;
use butler_sos_integration_tests::written;
use serde_json::{Value, json};

use super::secrets::{Needles, files_below};
use super::server_harness::{API_TOKEN, Rooms, ServerHarness, event, names_in};

const DIRECTORY: &str = "GEHEIMLAB";
const ID: &str = "goran.lindqvist77";
/// Of a user whom the configuration names: it may stand there, and nowhere else.
const EXCLUDED: &str = "ausgenommen42";
const KEY: &str = "0f1e2d3c4b5a69788796a5b4c3d2e1f0";
const APP: &str = "a421f4a2-c311-4ef4-ba41-fe2e6a2b0d69";

/// The same user in other letters, as proxies and browsers write it.
fn users() -> [String; 4] {
    [
        format!("UserDirectory={DIRECTORY}; UserId={ID}"),
        format!("{DIRECTORY}; UserId={ID}"),
        format!("{DIRECTORY}\\{ID}"),
        format!("{}\\{}", DIRECTORY.to_lowercase(), ID.to_uppercase()),
    ]
}

fn additions(influx_port: u16, broker_port: u16) -> String {
    format!(
        "  userEvents:
    enable: true
    udpServerConfig: {{serverHost: 127.0.0.1, portUserActivityEvents: 0}}
    sendToInfluxdb: {{enable: true}}
    sendToMQTT: {{enable: true, postTo: {{everythingTopic: {{enable: true, topic: all}}}}}}
    excludeUser: [{{directory: {DIRECTORY}, userId: {EXCLUDED}}}]
  influxdbConfig: {{enable: true, host: 127.0.0.1, port: {influx_port}, version: 1}}
  mqttConfig: {{enable: true, brokerHost: 127.0.0.1, brokerPort: {broker_port}}}
"
    )
}

const PIPELINE: &str = "  privacy: {pseudonymise: {enable: true, key: 'file:{dir}/secrets/pseudonyms'}}
  retry: {firstMs: 100, longestMs: 500}";

/// Datagrams, and how many of them become stored events.
fn datagrams() -> (Vec<String>, usize) {
    let lower = DIRECTORY.to_lowercase();
    let stored = [
        format!(
            "/qseow-proxy-session/;sense1;Start session;{DIRECTORY};{ID};AppAccess;/app/{APP}?u={ID};of '{DIRECTORY}\\{ID}' and {ID}. UserAgent: 'Mozilla/5.0'"
        ),
        format!(
            "/qseow-proxy-connection/;sense1;Open connection;{lower};{};x;/hub;{lower}%5C{ID}",
            ID.to_uppercase()
        ),
        format!("/qseow-proxy-session/;sense1;Stop session;;;x;/hub;gone: user '{DIRECTORY}\\{ID}'"),
        format!("/proxy-user-event/;sense1;Proxy;/app/{APP};Start session for user: '{DIRECTORY}\\{ID}'"),
        format!(
            "/proxy-user-event/;sense1;Proxy;/hub;Opening connection UserDirectory={DIRECTORY}; UserId={ID}"
        ),
        // Nobody can be found in there, and yet there is somebody.
        format!("/proxy-user-event/;sense1;Proxy;session of {ID};Closing connection of {ID} ({DIRECTORY})"),
    ];
    let rejected = [
        format!("no event of {DIRECTORY}\\{ID}"),
        format!("/qseow-proxy-session/;;Start session;{DIRECTORY};{ID};a;b;c"),
        format!("/qseow-proxy-session/;sense1;Start session;{DIRECTORY};{EXCLUDED};a;b;c"),
    ];
    let count = stored.len();
    (stored.into_iter().chain(rejected).collect(), count)
}

/// An event that tells of its user wherever it can.
fn selection(number: u32, user: &str) -> String {
    let id = butler_sos_integration_tests::audit_client::event_id(number as usize);
    json!({
        "schemaVersion": 1, "eventId": id, "timestamp": "2026-11-20T10:11:12.345Z",
        "type": "selection.state.changed", "correlationId": format!("{number}-{ID}"),
        "source": { "of": format!("{DIRECTORY}\\{ID}") }, "session": [format!("UserId={ID}")],
        "payload": {
            "context": { "user": user, "userName": format!("{DIRECTORY}/{ID}"), "userAgent": "Mozilla/5.0",
                "sheetName": format!("Sheet of {ID}") },
            "event": { "selectionTxnId": id,
                "details": [{ "qField": "Owner", "qSelectedCount": 1, "qSelected": format!("{DIRECTORY}\\{ID}, {ID}") }],
                "objectData": { "objectType": "table", "rows": [[ID.to_uppercase(), { "by": format!("UserId={ID}") }]] } },
        },
    })
    .to_string()
}

#[test]
fn nothing_names_a_user_but_the_request_for_a_ticket() {
    let influx = FakeInflux::start(FakeVersion::V1);
    let broker = Mosquitto::start(&Options::default());
    let subscriber = Subscriber::start(&broker, "#");
    let mut harness =
        ServerHarness::build(&Rooms { log_level: "silly", pipeline: PIPELINE, ..Rooms::default() });
    let dir = harness.sandbox.path().to_owned();
    std::fs::create_dir(dir.join("secrets")).expect("a directory");
    std::fs::write(dir.join("secrets/pseudonyms"), KEY).expect("a file");
    let config = std::fs::read_to_string(harness.sandbox.config_path()).expect("a file");
    let more = format!("Butler-SOS:\n{}", additions(influx.port(), broker.port()));
    let csv = "  csv: {userEvents: {enable: true, exportDirectory: '{dir}/user-csv'}, auditEvents:";
    let csv = csv.replace("{dir}", &dir.display().to_string());
    let config = config.replacen("Butler-SOS:\n", &more, 1).replacen("  csv: {auditEvents:", &csv, 1);
    std::fs::write(harness.sandbox.config_path(), config).expect("a file");
    harness.sandbox.start();

    // --- in
    let (datagrams, user_events) = datagrams();
    for datagram in &datagrams {
        harness.sandbox.udp().send(datagram.as_bytes()).expect("a datagram is sent");
    }
    // InfluxDB refuses these for good: they become dead letters.
    harness.influx.hold_type("audit_event", "sheetName", "integer");
    let mut bodies: Vec<String> = (1..=4).map(|n| selection(n, &users()[n as usize - 1])).collect();
    let picture = harness.url("/tempcontent/a.png");
    bodies.extend((5..=8).map(|n| event(n, &users()[n as usize - 5], &picture)));
    // Refused by its host, which nobody knows; one that is tried again later; one whose URL names the user.
    bodies.push(event(9, &users()[0], "https://elsewhere.test/a.png"));
    bodies.push(event(10, &users()[0], &harness.url("/tempcontent/a.png?b=404")));
    bodies.push(event(11, &users()[0], &harness.url(&format!("/tempcontent/a.png?of={ID}"))));
    // To whom the fake gives no ticket, and the log says to whom.
    bodies.push(event(12, &format!("UserDirectory={DIRECTORY}; UserId=q403"), &picture));
    harness.post_all(&bodies);
    let client = AuditClient::new(harness.sandbox.address("audit-events")).with_token(API_TOKEN);
    let refused = selection(13, &users()[0]).replace("selection.state.changed", "what");
    assert_eq!(client.try_post(&refused).expect("an answer").status, 422);
    // A client that did not get its 202 sends again.
    assert_eq!(client.try_post(&bodies[0]).expect("an answer").status, 202);

    // --- out
    harness.wait_for_finished(bodies.len());
    subscriber.wait_for_messages(user_events);
    influx.wait_for_points(user_events);
    wait_for("dead letters", || {
        let letters = harness.sandbox.json("/api/dead-letters");
        (letters["deadLetters"].as_array()?.len() >= 4).then_some(())
    });
    wait_for("the quarantine", || {
        (harness.sandbox.json("/api/quarantine")["quarantine"].as_array()?.len() >= 2).then_some(())
    });
    assert_eq!(harness.sandbox.settle().unaccounted(), 0.0);

    let mut shown: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for path in [
        "/metrics",
        "/ready",
        "/configuration",
        "/api/state",
        "/api/events?stream=user-events",
        "/api/events?stream=audit-events",
        "/api/screenshots",
        "/api/quarantine",
        "/api/dead-letters",
    ] {
        let (status, text) = harness.sandbox.get(path);
        assert_eq!(status, 200, "{path}: {text}");
        shown.insert(path.to_owned(), text.into_bytes());
    }
    let answer = |lines: Vec<String>| lines.join("\n").into_bytes();
    shown.insert(
        "InfluxDB, user events".into(),
        answer(influx.writes().into_iter().flat_map(|of| of.lines).collect()),
    );
    shown.insert(
        "InfluxDB, audit events".into(),
        answer(harness.influx.writes().into_iter().flat_map(|of| of.lines).collect()),
    );
    let messages = subscriber.messages();
    assert!(messages.len() >= user_events);
    shown.insert("MQTT".into(), answer(messages.iter().map(|message| message.json().to_string()).collect()));
    let rows = |rows: Vec<written::Row>| rows.into_iter().map(|row| Value::Object(row).to_string()).collect();
    // Packed, so that a search of the file would find nothing.
    shown.insert("Parquet".into(), answer(rows(written::parquet_rows(&dir.join("parquet")))));
    let pseudonym = pseudonym(&harness, &users()[0]);
    assert!(users().iter().all(|user| self::pseudonym(&harness, user) == pseudonym));

    assert!(harness.sandbox.stop().success());
    shown.insert("the console".into(), harness.sandbox.log_text().into_bytes());
    for file in files_below(&dir) {
        let name = file.strip_prefix(&dir).expect("below it").display().to_string();
        if name != "butler-sos.yaml" && !name.starts_with("certificates/") && !name.starts_with("secrets/") {
            shown.insert(name, std::fs::read(&file).expect("a file"));
        }
    }
    for part in
        ["log/", "journal/", "images/", "json/", "qvd/", "csv/", "user-csv/", "quarantine/", "dead-letters/"]
    {
        assert!(shown.keys().any(|name| name.starts_with(part)), "nothing in {part}: {:?}", shown.keys());
    }

    let mut needles = Needles::default();
    for spelled in [str::to_owned, str::to_lowercase, str::to_uppercase] as [fn(&str) -> String; 3] {
        needles.add("the directory", &spelled(DIRECTORY));
        needles.add("the id", &spelled(ID));
        needles.add("the excluded user", &spelled(EXCLUDED));
        needles.add("the key", &spelled(KEY));
    }
    let mut found = BTreeSet::new();
    for (name, bytes) in &shown {
        let is_setting = |what: &&str| {
            name == "/configuration" && (*what == "the directory" || *what == "the excluded user")
        };
        let of_file = needles.found_in(bytes).into_iter().filter(|what| !is_setting(what));
        found.extend(of_file.map(|what| format!("{what} in {name}")));
    }
    assert!(found.is_empty(), "{found:#?}");

    // --- and yet it is of use
    let (directory, id) = pseudonym.split_once('\\').expect("both parts");
    let user_rows = written::csv_rows(&dir.join("user-csv"));
    let of_user = user_rows.iter().filter(|row| row["userId"] == id && row["userDirectory"] == directory);
    assert_eq!(of_user.count(), 4, "{user_rows:?}");
    let audit_rows = written::csv_rows(&dir.join("csv"));
    assert_eq!(audit_rows.len(), bodies.len(), "what was sent twice is stored once");
    assert_eq!(audit_rows.iter().filter(|row| row["userId"] == id).count(), bodies.len() - 1);
    assert!(
        String::from_utf8_lossy(&shown["the console"]).contains("dir-"),
        "the log tells one from the other"
    );
    let tickets = harness.fake.requests().into_iter().filter(|request| request.path.contains("/ticket"));
    let asked: Vec<String> = tickets.filter_map(|request| request.body).collect();
    assert!(asked.iter().any(|body| body.contains(DIRECTORY) && body.contains(ID)), "{asked:?}");
    let image = |n: u32| super::server_harness::image_name(n, "png");
    let images = names_in(&harness.images()[0]);
    assert!([5, 6, 7, 8, 11].iter().all(|n| images.contains(&image(*n))), "{images:?}");
}

fn pseudonym(harness: &ServerHarness, user: &str) -> String {
    let mut command = Command::new(binary("butler-sos"));
    let output = command.arg("-c").arg(harness.sandbox.config_path()).args(["pseudonym", user]).output();
    let output = output.expect("the binary runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8").trim().to_owned()
}

#[test]
fn a_download_that_waited_for_a_restart_still_knows_its_user() {
    let pipeline = PIPELINE.replace("file:{dir}/secrets/pseudonyms", KEY);
    let rooms = Rooms { pipeline: Box::leak(pipeline.into_boxed_str()), ..Rooms::default() };
    let mut harness = ServerHarness::start(&rooms);
    let picture = harness.url("/tempcontent/a.png");
    harness.post_all(&[event(1, &users()[0], &picture)]);
    // Whether it had begun or not.
    harness.sandbox.kill();
    harness.sandbox.start();
    harness.wait_for_finished(1);
    harness.settle();
    assert_eq!(names_in(&harness.images()[0]), [super::server_harness::image_name(1, "png")]);
}
