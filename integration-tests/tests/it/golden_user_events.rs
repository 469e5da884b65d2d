//! Every recorded datagram through the whole server: UDP in; InfluxDB, MQTT, New Relic and CSV out.
//!
//! What differs from the recordings must be in the table of
//! [`butler_sos_integration_tests::golden_user_events`]. After each recording come four marks, one for
//! each command, so that it is known what came of which.

use std::collections::{BTreeMap, BTreeSet};

use butler_sos_actors::kit::clock::unix_ns;
use butler_sos_integration_tests::fake_influx::{FakeInflux, FakeVersion};
use butler_sos_integration_tests::fake_new_relic::FakeNewRelic;
use butler_sos_integration_tests::golden_user_events::{
    Comparison, Row, Values, add, add_line, add_object, rows,
};
use butler_sos_integration_tests::influxd::{Influxd, Point};
use butler_sos_integration_tests::mosquitto::{Mosquitto, Options};
use butler_sos_integration_tests::sandbox::Sandbox;
use butler_sos_integration_tests::sender::send;
use butler_sos_integration_tests::settings::{Settings, csv, influx, mqtt, new_relic};
use butler_sos_integration_tests::subscriber::{Message, Subscriber};
use butler_sos_integration_tests::written::{self, csv_rows};
use serde_json::{Value, json};

use crate::ordered_object::members;
use crate::pipeline::COLUMNS;

#[test]
fn influxdb_1() {
    check_with_stand_in(FakeVersion::V1, 1, "influx_v1");
}

#[test]
fn influxdb_2() {
    check_with_stand_in(FakeVersion::V2, 2, "influx_v2");
}

#[test]
fn influxdb_3() {
    check_with_stand_in(FakeVersion::V3, 3, "influx_v3");
}

#[test]
fn real_influxdb_1() {
    let influxd = Influxd::start_new();
    let run = Run::new(1, influxd.port());
    let points = influxd.points("senseops", "user_events");
    let times = points.iter().map(|point| point.time).collect();
    let by_row = by_row(points, MARKS, |point| point.tags.get("host").is_some_and(|host| host == MARK));
    let written = by_row.map(|points| {
        let mut values = Values::new();
        points.into_iter().for_each(|point| add_point(&mut values, point));
        values
    });
    // What influxd tells is as it was meant, not as it stood in a line.
    run.check(written, times, |(destination, key), value| match destination.as_str() {
        "influx_v1 tag" => Some(((destination.clone(), key.clone()), plain_tag(value))),
        "influx_v1 field" => Some(((destination.clone(), key.clone()), plain_field(value))),
        "influx_v1" => Some(((destination.clone(), key.clone()), value.clone())),
        _ => None,
    });
}

fn check_with_stand_in(version: FakeVersion, number: u8, name: &str) {
    let token = if version == FakeVersion::V1 { None } else { Some("t0ken") };
    let fake = match token {
        Some(token) => FakeInflux::start_with_token(version, token),
        None => FakeInflux::start(version),
    };
    let run = Run::new(number, fake.port());
    let lines = fake.points().into_iter().map(|line| {
        let (line, time) = line.rsplit_once(' ').expect("a time");
        (line.to_owned(), time.parse::<u64>().expect("nanoseconds"))
    });
    let mut lines: Vec<_> = lines.collect();
    lines.sort_by_key(|(_, time)| *time);
    let times = lines.iter().map(|(_, time)| *time).collect();
    let by_row = by_row(lines, MARKS, |(line, _)| line.contains(&format!(",host={MARK},")));
    let written = by_row.map(|lines| {
        let mut values = Values::new();
        lines.iter().for_each(|(line, _)| add_line(&mut values, name, line));
        values
    });
    run.check(written, times, |key, value| key.0.starts_with(name).then(|| (key.clone(), value.clone())));
}

// === one server and what it wrote

/// The host of marks.
const MARK: &str = "mark";
/// After each recording.
const MARKS: usize = COMMANDS.len();
const COMMANDS: [(&str, &str); 4] = [
    ("Start session", "/session/start"),
    ("Stop session", "/session/stop"),
    ("Open connection", "/connection/open"),
    ("Close connection", "/connection/close"),
];
const EVERYTHING: &str = "qliksense/userevent";
/// At New Relic: id and key.
const ACCOUNT: (&str, &str) = ("4711", "k3y");

/// What a server has made of the recordings, besides the points in InfluxDB.
struct Run {
    rows: Vec<Row>,
    began_ns: u64,
    messages: Vec<Message>,
    /// What New Relic has is called so in the recordings.
    new_relic_name: &'static str,
    new_relic: Vec<Value>,
    /// By column.
    csv: Vec<written::Row>,
}

impl Run {
    fn new(version: u8, port: u16) -> Self {
        let broker = Mosquitto::start(&Options::default());
        let subscriber = Subscriber::start(&broker, "#");
        let fake = FakeNewRelic::start(&[ACCOUNT]);
        // One of the servers keeps users to itself.
        let scramble = version == 2;
        let settings = Settings::user_events()
            .and(influx(version, port))
            .and(mqtt(&broker))
            .and(new_relic(&fake.url(), ACCOUNT, scramble))
            .and(csv())
            .and(json!({
                "Butler-SOS": { "userEvents": {
                    "tags": [{ "name": "qs_env", "value": "dev" }],
                    "excludeUser": [{ "directory": "LAB", "userId": "excluded" }],
                } },
                "Pipeline": {
                    "influxdb": { "userAgentTagPrefix": "" },
                    "csv": { "userEvents": { "neutraliseFormulas": false } },
                },
            }));
        let sandbox = Sandbox::start_new(&settings.text());
        let began_ns = unix_ns();
        let rows = rows();
        let mut datagrams = Vec::new();
        for row in &rows {
            datagrams.push(row.datagram.clone());
            let mark = |(command, _)| format!("qseow-proxy-session;{MARK};{command};;;;;");
            datagrams.extend(COMMANDS.map(mark).map(String::into_bytes));
        }
        let metrics = send(&sandbox, &datagrams);
        let stored = metrics.sum("butler_sos_events_stored_total", &[]) as usize;
        let rejected = metrics.sum("butler_sos_events_rejected_total", &[]) as usize;
        assert_eq!(stored + rejected, datagrams.len());
        let refused = metrics.sum("butler_sos_events_dead_lettered_total", &[]);
        assert_eq!(refused, 0.0, "{}", sandbox.log_text());

        let csv = csv_rows(&sandbox.path().join("csv"));
        assert_eq!(csv.len(), stored);
        let of_a_command = csv.iter().filter(|row| COMMANDS.iter().any(|(c, _)| *c == row["event_action"]));
        let messages = subscriber.wait_for_messages(stored + of_a_command.count());
        let new_relic = fake.events(ACCOUNT.0);
        assert_eq!(fake.integration_errors(ACCOUNT.0), [""; 0]);
        let new_relic_name = if scramble { "new_relic_scrambled" } else { "new_relic" };
        Self { rows, began_ns, messages, new_relic_name, new_relic, csv }
    }

    /// Holds everything that was written against the recordings. `written` is what InfluxDB has, for each
    /// recording; `times` are those of all points; `recorded` chooses the recorded values of this InfluxDB.
    fn check(
        &self,
        written: ByRow<Values>,
        times: Vec<u64>,
        recorded: impl Fn(&(String, String), &String) -> Option<((String, String), String)>,
    ) {
        let mut topics = BTreeMap::<&str, Vec<&Message>>::new();
        for message in &self.messages {
            topics.entry(&message.topic).or_default().push(message);
        }
        let own_topics = COMMANDS.map(|(_, topic)| format!("{EVERYTHING}{topic}"));
        let expected: BTreeSet<&str> = own_topics.iter().map(String::as_str).chain([EVERYTHING]).collect();
        assert_eq!(topics.keys().copied().collect::<BTreeSet<_>>(), expected);

        let mut ours = written.0;
        assert_eq!(ours.len(), self.rows.len());
        for (topic, messages) in topics {
            let marks = if topic == EVERYTHING { MARKS } else { 1 };
            let is_mark = |message: &&Message| message.json()["host"] == MARK;
            let by_row = by_row(messages, marks, is_mark);
            assert_eq!(by_row.0.len(), self.rows.len(), "{topic}");
            for (values, messages) in ours.iter_mut().zip(by_row.0) {
                for message in messages {
                    add_object(values, &format!("mqtt {topic}"), &message.json());
                }
            }
        }
        let events = by_row(self.new_relic.iter().collect(), MARKS, |event| event["qs_host"] == MARK);
        assert_eq!(events.0.len(), self.rows.len());
        for (values, events) in ours.iter_mut().zip(events.0) {
            for event in events {
                let mut event = event.clone();
                // The recordings have none.
                event.as_object_mut().expect("an object").remove("timestamp");
                add_object(values, self.new_relic_name, &event);
            }
        }
        let mut comparison = Comparison::default();
        for (row, ours) in self.rows.iter().zip(&ours) {
            let recorded = row.recorded.iter().filter_map(|(key, value)| {
                recorded(key, value).or_else(|| self.is_common(&key.0).then(|| (key.clone(), value.clone())))
            });
            comparison.add(&row.name, &recorded.collect(), ours);
        }
        comparison.assert_no_more_than_tabled();

        self.check_times(&times);
        self.check_csv();
        self.messages.iter().for_each(check_order_of_keys);
    }

    /// Whether a recorded value is of a destination that all these servers have.
    fn is_common(&self, destination: &str) -> bool {
        destination.starts_with("mqtt") || destination == self.new_relic_name
    }

    /// Nanoseconds of receipt, strictly increasing, the same for every destination.
    fn check_times(&self, times: &[u64]) {
        assert!(times.windows(2).all(|two| two[0] < two[1]));
        assert!(self.began_ns <= times[0] && times[times.len() - 1] <= unix_ns());
        let as_csv: Vec<String> =
            times.iter().map(|time| butler_sos_domain::encode::csv::timestamp(*time)).collect();
        let in_csv: Vec<&str> = self.csv.iter().filter_map(|row| row["timestamp"].as_str()).collect();
        assert_eq!(as_csv, in_csv);
        let in_ms: Vec<u64> = times.iter().map(|time| time / 1_000_000).collect();
        let at_new_relic: Vec<_> =
            self.new_relic.iter().filter_map(|event| event["timestamp"].as_u64()).collect();
        assert_eq!(in_ms, at_new_relic);
    }

    /// A row says what the message of the same event says.
    fn check_csv(&self) {
        let everything = self.messages.iter().filter(|message| message.topic == EVERYTHING);
        for (row, message) in self.csv.iter().zip(everything) {
            let payload = message.json();
            let text = |key: &str| payload[key].as_str().unwrap_or_default();
            for (column, key) in COLUMNS.into_iter().filter(|(_, key)| !key.is_empty()) {
                assert_eq!(row[column], text(key), "{column} of {payload}");
            }
            let full = match (text("userDir"), text("userId")) {
                ("", _) | (_, "") => String::new(),
                (directory, id) => format!("{directory}\\{id}"),
            };
            assert_eq!(row["userFull"], full);
        }
    }
}

/// The contract's order of a payload's keys.
const KEYS: [&str; 15] = [
    "messageType",
    "host",
    "command",
    "userDir",
    "userId",
    "origin",
    "context",
    "message",
    "tags",
    "appId",
    "appName",
    "uaBrowserName",
    "uaBrowserMajorVersion",
    "uaOsName",
    "uaOsVersion",
];

fn check_order_of_keys(message: &Message) {
    let members = members(&message.payload);
    let keys: Vec<&str> = members.iter().map(|(key, _)| key.as_str()).collect();
    let expect: Vec<&str> = KEYS.into_iter().filter(|key| keys.contains(key)).collect();
    assert_eq!(keys, expect);
}

// === what belongs to which recording

/// One item for each recording, in their order.
struct ByRow<T>(Vec<T>);

impl<T> ByRow<T> {
    fn map<U>(self, change: impl FnMut(T) -> U) -> ByRow<U> {
        ByRow(self.0.into_iter().map(change).collect())
    }
}

/// What came before each group of `marks` marks.
fn by_row<T>(items: Vec<T>, marks: usize, is_mark: impl Fn(&T) -> bool) -> ByRow<Vec<T>> {
    let (mut rows, mut row, mut seen) = (Vec::new(), Vec::new(), 0);
    for item in items {
        if !is_mark(&item) {
            assert_eq!(seen, 0, "something between marks");
            row.push(item);
            continue;
        }
        seen += 1;
        if seen == marks {
            rows.push(std::mem::take(&mut row));
            seen = 0;
        }
    }
    assert!(row.is_empty() && seen == 0, "something after the last mark");
    ByRow(rows)
}

// === values as influxd tells them

fn add_point(values: &mut Values, point: Point) {
    add(values, "influx_v1", "measurement", "user_events".to_owned());
    for (key, value) in point.tags {
        add(values, "influx_v1 tag", &key, value);
    }
    for (key, value) in point.fields {
        let text = value.as_str().map_or_else(|| format!("not text: {value}"), str::to_owned);
        add(values, "influx_v1 field", &key, text);
    }
}

/// As InfluxDB 1 reads a tag's value: a backslash stands for itself, unless the next is one of three.
fn plain_tag(value: &str) -> String {
    value.replace("\\,", ",").replace("\\=", "=").replace("\\ ", " ")
}

fn plain_field(value: &str) -> String {
    let inner = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
    let inner = inner.unwrap_or_else(|| panic!("not a text: {value}"));
    inner.replace("\\\"", "\"").replace("\\\\", "\\")
}
