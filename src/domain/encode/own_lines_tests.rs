use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::Value;

use super::*;

const VERSIONS: [(&str, Version); 3] =
    [("influx_v1", Version::V1), ("influx_v2", Version::V2), ("influx_v3", Version::V3)];

/// Where a line of ours differs from the recorded one, and why.
const DIFFERENCES: [(&str, &str, &str); 8] = [
    ("rejected_event_count", "tag app_id", "of log events, which this server does not take"),
    ("rejected_event_count", "tag app_name_set", "of log events"),
    ("rejected_event_count", "tag method", "of log events"),
    ("rejected_event_count", "tag object_type", "of log events"),
    ("rejected_event_count", "tag qs_env", "configured for log events; user events have no such setting"),
    ("rejected_event_count", "field process_time", "of log events"),
    ("butler_sos_errors", "tag server_name", "no destination of ours belongs to a Sense server"),
    (
        "butler_sos_errors",
        "field error_code",
        "documented there, and more useful than the category `unknown`",
    ),
];

/// What is the contract in a line: measurement, names of tags, names and types of fields.
fn shape(line: &str) -> BTreeSet<String> {
    let mut parts = line.split(' ');
    let mut series = parts.next().unwrap().split(',');
    let mut shape = BTreeSet::from([format!("measurement {}", series.next().unwrap())]);
    shape.extend(series.map(|tag| format!("tag {}", tag.split_once('=').unwrap().0)));
    for field in parts.next().unwrap().split(',') {
        let (key, value) = field.split_once('=').unwrap();
        let kind = match value.as_bytes() {
            [b'"', ..] => "text",
            [.., b'i'] => "integer",
            _ => "float",
        };
        shape.insert(format!("field {key}: {kind}"));
    }
    shape
}

fn ours(measurement: &str, version: Version) -> String {
    let tags = [("qs_env".to_owned(), "dev".to_owned())];
    let mut out = Vec::new();
    let figures = QueueFigures::default();
    match measurement {
        "event_count" => {
            CountPoint::new(version, measurement, &tags).received(("s", "h", "o"), 1, 7, &mut out);
        }
        "rejected_event_count" => CountPoint::new(version, measurement, &[]).rejected("s", 1, 7, &mut out),
        "user_events_queue" => {
            QueuePoint::new(version, measurement, "user_events", "h", &tags).write(&figures, 7, &mut out);
        }
        "audit_events_queue" => {
            QueuePoint::new(version, measurement, "audit_events", "h", &tags).write(&figures, 7, &mut out);
        }
        "butler_sos_errors" => {
            let error = ErrorFigures {
                error_type: "INFLUXDB_V2_WRITE",
                module: "USER_EVENTS",
                category: "unknown",
                code: "x",
                count: 1,
                ..ErrorFigures::default()
            };
            ErrorPoint::new(version, measurement).write(&error, 7, &mut out);
        }
        _ => panic!("{measurement} is not written"),
    }
    String::from_utf8(out).unwrap()
}

#[test]
fn names_and_types_are_the_recorded_ones() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../integration-tests/golden/own-measurements.jsonl");
    let text = std::fs::read_to_string(path).unwrap();
    let mut needed = BTreeSet::new();
    let mut compared: BTreeMap<String, usize> = BTreeMap::new();
    for row in text.lines() {
        let row: Value = serde_json::from_str(row).unwrap();
        let measurement = row["measurement"].as_str().unwrap();
        if measurement == "log_events_queue" {
            continue;
        }
        for (name, version) in VERSIONS {
            for line in row[name].as_array().unwrap() {
                let recorded = shape(line.as_str().unwrap());
                let written = shape(&ours(measurement, version));
                let different: Vec<String> = recorded.symmetric_difference(&written).cloned().collect();
                for part in different {
                    let known = DIFFERENCES
                        .iter()
                        .position(|(of, what, _)| *of == measurement && part.starts_with(what));
                    let known = known.unwrap_or_else(|| panic!("{name} {measurement}: {part} differs"));
                    needed.insert(known);
                }
                *compared.entry(measurement.to_owned()).or_default() += 1;
            }
        }
    }
    assert_eq!(needed.len(), DIFFERENCES.len(), "rows that nothing needs");
    assert_eq!(compared.len(), 5, "{compared:?}");
}

#[test]
fn lines() {
    let check = |out: Vec<u8>, expect: &str| assert_eq!(String::from_utf8(out).unwrap(), expect);
    let tags = [("host", "not me"), ("env", "a b"), ("empty", "")];
    let tags = tags.map(|(name, value)| (name.to_owned(), value.to_owned()));

    let mut out = Vec::new();
    let point = CountPoint::new(Version::V2, "event_count", &tags);
    point.received(("qseow-proxy-session", "h,1", ""), 3, 17, &mut out);
    check(out, "event_count,event_type=user,source=qseow-proxy-session,host=h\\,1,env=a\\ b counter=3i 17\n");

    let mut out = Vec::new();
    let figures = MemoryFigures {
        heap_used_bytes: 1_048_576,
        heap_total_bytes: 1_572_864,
        external_bytes: 0,
        process_bytes: 12_345_678,
    };
    MemoryPoint::new(Version::V3, "DEV", "1.2.3").write(&figures, 17, &mut out);
    check(
        out,
        "butlersos_memory_usage,butler_sos_instance=DEV,version=1.2.3 \
         heap_used=1,heap_total=1.5,external=0,process_memory=11.77 17\n",
    );
    let mut out = Vec::new();
    MemoryPoint::new(Version::V1, "", "1").write(&MemoryFigures::default(), 17, &mut out);
    check(out, "butlersos_memory_usage,version=1 heap_used=0,heap_total=0,external=0,process_memory=0 17\n");

    let error = ErrorFigures {
        error_type: "MQTT_PUBLISH",
        category: "http_5xx",
        http_status: Some(503),
        count: 2,
        ..ErrorFigures::default()
    };
    let mut out = Vec::new();
    ErrorPoint::new(Version::V1, "e").write(&error, 17, &mut out);
    check(out, "e,error_type=MQTT_PUBLISH error_category=\"http_5xx\",error_count=2,http_status=503 17\n");
    let mut out = Vec::new();
    ErrorPoint::new(Version::V3, "e").write(&error, 17, &mut out);
    check(out, "e,error_type=MQTT_PUBLISH error_category=\"http_5xx\",error_count=2i,http_status=503i 17\n");
}

proptest! {
    #[test]
    fn whatever_is_counted_is_one_line(
        source in ".{0,20}", host in ".{0,20}", subsystem in ".{0,20}", count in any::<u64>(),
    ) {
        for (_, version) in VERSIONS {
            let mut out = Vec::new();
            CountPoint::new(version, "event_count", &[])
                .received((&source, &host, &subsystem), count, 17, &mut out);
            let text = String::from_utf8(out).unwrap();
            prop_assert_eq!(text.matches('\n').count(), 1);
            prop_assert!(text.ends_with(" 17\n"));
        }
    }
}
