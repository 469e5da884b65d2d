//! What people and the commands can ask of a running server, and do with it.

use butler_sos_domain::sample::{Layout, datagram};
use butler_sos_integration_tests::influxd::Influxd;
use butler_sos_integration_tests::sandbox::{Sandbox, wait_for};
use butler_sos_integration_tests::sender::Sender;
use butler_sos_integration_tests::written::csv_rows;
use serde_json::{Value, json};

/// User events to InfluxDB 1 and CSV, audit events to JSON files.
pub fn config(influx_port: u16, operations: &str) -> String {
    format!(
        "Butler-SOS:
  influxdbConfig: {{enable: true, host: 127.0.0.1, port: {influx_port}, version: 1, 
    v1Config: {{dbName: sos, retentionPolicy: {{name: forever, duration: INF}}}}}}
  userEvents:
    enable: true
    sendToInfluxdb: {{enable: true}}
    udpServerConfig: {{serverHost: 127.0.0.1, portUserActivityEvents: 0}}
  auditEvents:
    enable: true
    host: 127.0.0.1
    port: 0
    destination:
      enable: true
      type: json
      json: {{objectdata: {{enable: true, exportDirectory: {{dir}}/json}}}}
Pipeline:
  journal: {{directory: {{dir}}/journal}}
  deadLetters: {{directory: {{dir}}/dead-letters}}
  quarantine: {{directory: {{dir}}/quarantine}}
  retry: {{firstMs: 100, longestMs: 500}}
  csv: {{userEvents: {{enable: true, exportDirectory: {{dir}}/csv}}}}
  operations: {{host: 127.0.0.1, port: 0{operations}}}
"
    )
}

/// Sends sample user events of these numbers, as fast as the server takes them.
pub fn send(sandbox: &Sandbox, numbers: std::ops::Range<u64>) {
    let mut sender = Sender::new(sandbox.udp(), sandbox.address("operations"), 200);
    sender.send(numbers.map(|number| datagram(number, Layout::Eight)));
}

/// Status and answer of an order.
fn post(sandbox: &Sandbox, path: &str, body: &Value) -> (u16, Value) {
    let answer = sandbox.operations().send("POST", path, &[("X-Butler-SOS", "1")], body.to_string());
    let answer = answer.expect("the server answers");
    (answer.status, answer.json())
}

fn letters(sandbox: &Sandbox) -> Vec<Value> {
    sandbox.json("/api/dead-letters?destination=influx_sink")["deadLetters"]
        .as_array()
        .expect("a list")
        .clone()
}

#[test]
fn a_dead_letter_is_retried_to_its_destination_alone() {
    let influxd = Influxd::start_new();
    let sandbox = Sandbox::start_new(&config(influxd.port(), ""));
    send(&sandbox, 0..1);
    sandbox.settle_after(1);
    // From now on the field has another type, in the shard of today.
    influxd.query("sos", "DROP MEASUREMENT \"user_events\"");
    assert_eq!(influxd.write("sos", "user_events,host=x userId=1").0, 204);
    send(&sandbox, 1..4);
    sandbox.settle_after(4);
    let refused = wait_for("three dead letters", || Some(letters(&sandbox)).filter(|all| all.len() == 3));
    assert_eq!(refused[0]["event"]["stream"], "user-events");
    assert!(refused[0]["reason"].as_str().expect("text").contains("conflict"), "{}", refused[0]);
    let state = sandbox.json("/api/state");
    assert!(state["problems"].as_array().expect("a list").iter().any(|of| of["symptom"] == "dead-letters"));

    // Not mended yet: refused again, and still there.
    let id = refused[0]["id"].as_str().expect("text");
    let (status, answer) = post(&sandbox, &format!("/api/dead-letters/{id}/retry"), &json!({}));
    assert_eq!((status, &answer["outcome"]), (200, &json!("refused")), "{answer}");
    assert_eq!(letters(&sandbox).len(), 3);

    influxd.query("sos", "DROP MEASUREMENT \"user_events\"");
    let id = letters(&sandbox)[0]["id"].as_str().expect("text").to_owned();
    assert!(sandbox.json(&format!("/api/dead-letters/{id}"))["record"].is_string());
    let (status, answer) = post(&sandbox, &format!("/api/dead-letters/{id}/retry"), &json!({}));
    assert_eq!((status, &answer["outcome"]), (200, &json!("delivered")), "{answer}");
    assert_eq!(influxd.count("sos", "user_events", "userId"), 1);
    assert_eq!(post(&sandbox, &format!("/api/dead-letters/{id}/retry"), &json!({})).0, 404);

    let id = letters(&sandbox)[0]["id"].as_str().expect("text").to_owned();
    assert_eq!(post(&sandbox, &format!("/api/dead-letters/{id}/drop"), &json!({})).0, 200);
    let (status, answer) =
        post(&sandbox, "/api/dead-letters/retry", &json!({ "destination": "influx_sink" }));
    assert_eq!((status, &answer["job"]["total"]), (202, &json!(1)), "{answer}");
    wait_for("the last one to be delivered", || letters(&sandbox).is_empty().then_some(()));
    assert_eq!(influxd.count("sos", "user_events", "userId"), 2);
    // Nobody else got anything twice, and the books are right.
    assert_eq!(csv_rows(&sandbox.path().join("csv")).len(), 4);
    assert_eq!(sandbox.settle().unaccounted(), 0.0);
}

#[test]
fn a_replay_writes_what_is_gone_again_and_what_is_there_not_twice() {
    let influxd = Influxd::start_new();
    let sandbox = Sandbox::start_new(&config(influxd.port(), ""));
    send(&sandbox, 0..700);
    sandbox.settle_after(700);
    assert_eq!(influxd.count("sos", "user_events", "userId"), 700);
    let order = |destination: &str| json!({ "destination": destination, "from": "2020-01-01T00:00:00Z" });
    let ended = |phase: &str| {
        let state = sandbox.json("/api/state");
        let jobs = state["jobs"].as_array().expect("a list");
        jobs.iter().find(|job| job["phase"] == phase).cloned()
    };
    for emptied in [false, true] {
        if emptied {
            influxd.query("sos", "DROP MEASUREMENT \"user_events\"");
        }
        let (status, answer) = post(&sandbox, "/api/replay", &order("influx_sink"));
        assert_eq!((status, &answer["job"]["total"]), (202, &json!(700)), "{answer}");
        let job = wait_for("the replay to end", || ended("done"));
        assert_eq!((&job["delivered"], &job["done"]), (&json!(700), &json!(700)), "{job}");
        assert_eq!(influxd.count("sos", "user_events", "userId"), 700);
    }
    sandbox.settle();
    for (name, count) in [("delivered", 700.0), ("redelivered", 1400.0)] {
        let name = format!("butler_sos_events_{name}_total");
        let counted = || sandbox.metrics().sum(&name, &[("destination", "influx_sink")]);
        // Counted as soon as the journal knows, not before.
        wait_for(&name, || (counted() >= count).then_some(()));
        assert_eq!(counted(), count, "{name}");
    }

    let (status, answer) = post(&sandbox, "/api/replay", &order("csv_sink"));
    assert_eq!(status, 409);
    assert!(answer["error"].as_str().expect("text").contains("twice"), "{answer}");
    assert_eq!(post(&sandbox, "/api/replay", &order("nobody")).0, 404);
    let future = json!({ "destination": "influx_sink", "from": "2090-01-01T00:00:00Z" });
    assert_eq!(post(&sandbox, "/api/replay", &future).0, 409);
    let nonsense = json!({ "destination": "influx_sink", "from": "yesterday" });
    assert_eq!(post(&sandbox, "/api/replay", &nonsense).0, 400);
}

#[test]
fn events_are_found_and_followed() {
    let influxd = Influxd::start_new();
    let sandbox = Sandbox::start_new(&config(influxd.port(), ""));
    let udp = sandbox.udp();
    let say = |user: &str, command: &str| {
        let text = format!("/qseow-proxy-session/;sense1;{command};LAB;{user};AppAccess;/hub;hello");
        udp.send(text.as_bytes()).expect("a datagram is sent");
    };
    for number in 0..30 {
        say(&format!("user{number}"), if number % 2 == 0 { "Start session" } else { "Stop session" });
    }
    sandbox.settle_after(30);
    let users = |path: &str| -> Vec<String> {
        let events = sandbox.json(path)["events"].take();
        let events: Vec<Value> = serde_json::from_value(events).expect("a list");
        events.iter().map(|of| of["userId"].as_str().expect("text").to_owned()).collect()
    };
    assert_eq!(users("/api/events?limit=3"), ["user29", "user28", "user27"]);
    assert_eq!(users("/api/events?limit=2&before=10"), ["user9", "user8"]);
    assert_eq!(users("/api/events?user=USER1&type=stop&limit=3"), ["user19", "user17", "user15"]);
    assert_eq!(users("/api/events?user=nobody"), Vec::<String>::new());
    assert_eq!(users("/api/events?stream=audit-events"), Vec::<String>::new());
    assert_eq!(sandbox.get("/api/events?stream=else").0, 400);
    assert_eq!(sandbox.get("/api/events?before=x").0, 400);
    for gone in [
        "/api/screenshots/0/image",
        "/api/screenshots/999999/image",
        "/api/audit-events/999999/body",
        "/api/dead-letters/9-9",
    ] {
        assert_eq!(sandbox.get(gone).0, 404, "{gone}");
    }
    assert_eq!(sandbox.get("/api/screenshots/..%2f..%2fetc%2fpasswd/image").0, 400);

    // Following: from an offset on, and what comes meanwhile.
    let path = "/api/tail?stream=user-events&from=28&user=user";
    let (_, mut lines) = sandbox.operations().follow(path).expect("a stream");
    let mut next = || loop {
        let line = lines.next().expect("the stream goes on").expect("text");
        if let Some(event) = line.strip_prefix("data: ") {
            let event: Value = serde_json::from_str(event).expect("JSON");
            break event["userId"].as_str().expect("text").to_owned();
        }
    };
    assert_eq!([next(), next()], ["user28", "user29"]);
    say("somebody-else", "Start session");
    say("user30", "Start session");
    assert_eq!(next(), "user30");
}
