//! What Butler SOS 15.0.1 was observed to write for user events, held against what this server writes.
//!
//! What is recorded and what is written are taken apart into single values, and every value that
//! differs must be in [`DIFFERENCES`], the one place that says where this server goes another way, and
//! why. A row there that no recording needs fails as well.
//!
//! Recorded with the tag `qs_env=dev`, the user `LAB\excluded` excluded, all topics of MQTT on, no names
//! of apps, and no prefix of the user agent's tags.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// One deliberate difference. `"*"` fits anything; `recorded` and `ours` are the values on either
/// side, `None` where there is none.
struct Difference {
    /// Names of the recorded datagrams.
    names: &'static [&'static str],
    /// Beginning of the destination: `influx_v1`, `mqtt qliksense/…`, `new_relic`, …
    destination: &'static str,
    /// End of the key: `userFull` fits `qs_userFull`.
    key: &'static str,
    recorded: Option<&'static str>,
    ours: Option<&'static str>,
    reason: &'static str,
}

const ANY: &str = "*";

const DIFFERENCES: [Difference; 13] = [
    Difference {
        names: &[ANY],
        destination: ANY,
        key: "uaOsVersion",
        recorded: Some("NT 10.0"),
        ours: Some("10"),
        reason: "Windows is named as people name it (user-events.md, Enrichment)",
    },
    Difference {
        names: &["x23_ua"],
        destination: ANY,
        key: "uaBrowserName",
        recorded: Some("BingCrawler"),
        ours: Some("bingbot"),
        reason: "robots keep the name they give themselves (user-agents.jsonl)",
    },
    Difference {
        names: &["u19_long_ua"],
        destination: ANY,
        key: "uaBrowserName",
        recorded: Some("Mozilla"),
        ours: None,
        reason: "a user agent that names no browser has none",
    },
    Difference {
        names: &["u19_long_ua"],
        destination: ANY,
        key: "uaBrowserMajorVersion",
        recorded: Some("5"),
        ours: None,
        reason: "a browser that is not known has no version",
    },
    Difference {
        names: &["u09_empty_userid", "y16_empty_dir"],
        destination: "influx",
        key: ANY,
        recorded: None,
        ours: Some(ANY),
        reason: "an event with an empty user is kept",
    },
    Difference {
        names: &["u09_empty_userid", "y16_empty_dir"],
        destination: "new_relic",
        key: "userFull",
        recorded: Some(ANY),
        ours: None,
        reason: "the full user is there when both parts are",
    },
    Difference {
        names: &["y17_empty_host", "y18_empty_cmd"],
        destination: ANY,
        key: ANY,
        recorded: Some(ANY),
        ours: None,
        reason: "an empty host or command is rejected, for every destination",
    },
    Difference {
        names: &["u15_backslash_user"],
        destination: "influx",
        key: ANY,
        recorded: Some(ANY),
        ours: Some(ANY),
        reason: "the recorded line ends a tag in a backslash, which swallows the next; ours gets a blank",
    },
    Difference {
        names: &["u27_spaces"],
        destination: "influx_v3 tag",
        key: "userFull",
        recorded: Some(r"\ LAB\ \\ goran\ "),
        ours: Some(r"\ LAB\ \\\ goran\ "),
        reason: "InfluxDB 3 refuses an escaped blank behind a single backslash",
    },
    Difference {
        names: &["u28_latin1_latin1"],
        destination: ANY,
        key: "userFull",
        recorded: Some(ANY),
        ours: Some(ANY),
        reason: "bytes that are not UTF-8 are read as Pipeline.udp.fallbackEncoding: gören stays gören (user-events.md)",
    },
    Difference {
        names: &["u28_latin1_latin1"],
        destination: ANY,
        key: "userId",
        recorded: Some(ANY),
        ours: Some(ANY),
        reason: "bytes that are not UTF-8 are read as Pipeline.udp.fallbackEncoding: gören stays gören (user-events.md)",
    },
    Difference {
        names: &["u28_latin1_latin1"],
        destination: ANY,
        key: "userFull_field",
        recorded: Some(ANY),
        ours: Some(ANY),
        reason: "bytes that are not UTF-8 are read as Pipeline.udp.fallbackEncoding: gören stays gören (user-events.md)",
    },
    Difference {
        names: &["u28_latin1_latin1"],
        destination: ANY,
        key: "userId_field",
        recorded: Some(ANY),
        ours: Some(ANY),
        reason: "bytes that are not UTF-8 are read as Pipeline.udp.fallbackEncoding: gören stays gören (user-events.md)",
    },
];

/// Single values by destination (`influx_v2 tag`, `mqtt qliksense/userevent`) and key.
pub type Values = BTreeMap<(String, String), String>;

/// One recording.
pub struct Row {
    pub name: String,
    pub datagram: Vec<u8>,
    pub recorded: Values,
}

/// Every recording.
pub fn rows() -> Vec<Row> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/golden/user-events.jsonl");
    let text = std::fs::read_to_string(path).expect("the golden file");
    let row = |line: &str| {
        let row: Value = serde_json::from_str(line).expect("a row");
        let name = row["name"].as_str().expect("a name").to_owned();
        Row { name, datagram: datagram(&row), recorded: recorded(&row) }
    };
    text.lines().map(row).collect()
}

/// Collects what differs and is not in the table.
#[derive(Default)]
pub struct Comparison {
    failures: Vec<String>,
    needed: BTreeSet<usize>,
}

impl Comparison {
    /// Holds one recording's values against ours.
    pub fn add(&mut self, name: &str, recorded: &Values, ours: &Values) {
        let keys: BTreeSet<_> = recorded.keys().chain(ours.keys()).collect();
        for key in keys {
            let (recorded, ours) = (recorded.get(key), ours.get(key));
            if recorded == ours {
                continue;
            }
            let (recorded, ours) = (recorded.map(String::as_str), ours.map(String::as_str));
            match DIFFERENCES.iter().position(|row| row.fits(name, &key.0, &key.1, recorded, ours)) {
                Some(at) => _ = self.needed.insert(at),
                None => self
                    .failures
                    .push(format!("{name}: {} {}: recorded {recorded:?}, ours {ours:?}", key.0, key.1)),
            }
        }
    }

    /// Panics with everything that differs without a reason.
    pub fn assert_no_more_than_tabled(&self) {
        assert!(self.failures.is_empty(), "{}", self.failures.join("\n"));
    }

    /// Panics when the table has a row that nothing needed.
    pub fn assert_all_of_the_table_needed(&self) {
        for (at, row) in DIFFERENCES.iter().enumerate() {
            assert!(self.needed.contains(&at), "nothing needs: {:?} {}", row.names, row.reason);
        }
    }
}

// === impl Difference ===

impl Difference {
    fn fits(
        &self,
        name: &str,
        destination: &str,
        key: &str,
        recorded: Option<&str>,
        ours: Option<&str>,
    ) -> bool {
        let side = |expect: Option<&str>, got: Option<&str>| expect == got || (expect == Some(ANY));
        // Values of lines are escaped.
        let plain = |value: Option<&str>| value.map(|text| text.replace("\\ ", " "));
        let sides = side(self.recorded, recorded) && side(self.ours, ours)
            || side(self.recorded, plain(recorded).as_deref()) && side(self.ours, plain(ours).as_deref());
        (self.names == [ANY] || self.names.contains(&name))
            && (self.destination == ANY || destination.starts_with(self.destination))
            && (self.key == ANY || key.ends_with(self.key))
            && sides
    }
}

// === both sides taken apart ===

fn datagram(row: &Value) -> Vec<u8> {
    match (row["datagram"].as_str(), row["datagram_hex"].as_str()) {
        (Some(text), _) => text.as_bytes().to_vec(),
        (None, Some(digits)) => hex::decode(digits).expect("pairs of hexadecimal digits"),
        (None, None) => panic!("a row without a datagram: {row}"),
    }
}

fn recorded(row: &Value) -> Values {
    let mut values = Values::new();
    for version in ["influx_v1", "influx_v2", "influx_v3"] {
        for line in row[version].as_array().expect("lines") {
            add_line(&mut values, version, line.as_str().expect("a line").trim_end());
        }
    }
    for message in row["mqtt"].as_array().expect("messages") {
        let topic = message["topic"].as_str().expect("a topic");
        add_object(&mut values, &format!("mqtt {topic}"), &message["payload"]);
    }
    for kind in ["new_relic", "new_relic_scrambled"] {
        for object in row[kind].as_array().expect("objects") {
            add_object(&mut values, kind, object);
        }
    }
    values
}

/// Adds measurement, tags and fields of a line without its time, values as they stand there.
pub fn add_line(values: &mut Values, version: &str, line: &str) {
    let Some((series, fields)) = split_unescaped(line, ' ', false) else {
        return add(values, version, "unreadable", line.to_owned());
    };
    let mut parts = split_all(series, ',', false).into_iter();
    let measurement = parts.next().unwrap_or_default().to_owned();
    add(values, version, "measurement", measurement);
    for tag in parts {
        let (key, value) = tag.split_once('=').expect("a tag");
        add(values, &format!("{version} tag"), key, value.to_owned());
    }
    for field in split_all(fields, ',', true) {
        let (key, value) = field.split_once('=').expect("a field");
        add(values, &format!("{version} field"), key, value.to_owned());
    }
}

/// Adds the members of a JSON object.
pub fn add_object(values: &mut Values, destination: &str, object: &Value) {
    for (key, value) in object.as_object().expect("an object") {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        add(values, destination, key, text);
    }
}

/// Adds one value, which must be the only one of its key.
pub fn add(values: &mut Values, destination: &str, key: &str, value: String) {
    let before = values.insert((destination.to_owned(), key.to_owned()), value);
    assert_eq!(before, None, "{destination} {key} twice");
}

/// The parts around the first `at` that has no backslash before it and, where quotes count as in
/// fields, is not in quotes.
fn split_unescaped(text: &str, at: char, quotes: bool) -> Option<(&str, &str)> {
    let (mut escaped, mut quoted) = (false, false);
    for (position, c) in text.char_indices() {
        if c == at && !escaped && !quoted {
            return Some((&text[..position], &text[position + c.len_utf8()..]));
        }
        quoted ^= quotes && c == '"' && !escaped;
        // In quotes a backslash may itself be escaped; in tags it is read as it stands.
        escaped = c == '\\' && !(quoted && escaped);
    }
    None
}

fn split_all(mut text: &str, at: char, quotes: bool) -> Vec<&str> {
    let mut parts = Vec::new();
    while let Some((head, rest)) = split_unescaped(text, at, quotes) {
        parts.push(head);
        text = rest;
    }
    parts.push(text);
    parts
}

#[cfg(test)]
mod tests {
    use butler_sos_domain::app_id::AppNames;
    use butler_sos_domain::encode::line_protocol::Version;
    use butler_sos_domain::encode::mqtt::{UserPayload, UserTopics};
    use butler_sos_domain::encode::new_relic::UserAttributes;
    use butler_sos_domain::encode::user_line::UserPoint;
    use butler_sos_domain::enrichment::{Enrichment, ExcludedUsers};
    use butler_sos_domain::event::UserEvent;
    use butler_sos_domain::fallback_encoding::FallbackEncoding;

    use super::*;

    /// Parsing, enrichment, the journal's record and every encoder, without a server.
    #[test]
    fn user_events_are_encoded_as_recorded() {
        let excluded = ExcludedUsers::new([("LAB".to_owned(), "excluded".to_owned())]);
        let western = FallbackEncoding::of_label("windows-1252").expect("the default");
        let mut enrichment = Enrichment::new(64, excluded).decoding(western);
        let mut comparison = Comparison::default();
        for row in rows() {
            comparison.add(&row.name, &row.recorded, &written(&mut enrichment, &row.datagram));
        }
        comparison.assert_no_more_than_tabled();
        comparison.assert_all_of_the_table_needed();
    }

    fn written(enrichment: &mut Enrichment, datagram: &[u8]) -> Values {
        let mut values = Values::new();
        let names = AppNames::default();
        let Ok(enriched) = enrichment.event(datagram, 17, &names) else { return values };
        if enriched.excluded {
            return values;
        }
        let mut record = Vec::new();
        enriched.event.encode_into(&mut record);
        let event = UserEvent::decode(&record).expect("own record");
        assert_eq!(event, enriched.event);

        let tags = [("qs_env".to_owned(), "dev".to_owned())];
        for (name, version) in
            [("influx_v1", Version::V1), ("influx_v2", Version::V2), ("influx_v3", Version::V3)]
        {
            let mut line = Vec::new();
            UserPoint::new(version, "", &tags).write(&event, &mut line);
            let line = String::from_utf8(line).expect("text");
            add_line(&mut values, name, line.strip_suffix(" 17\n").expect("a time"));
        }

        let topic = |name: &str| Some(format!("qliksense/userevent{name}"));
        let topics = UserTopics {
            everything: topic(""),
            session_start: topic("/session/start"),
            session_stop: topic("/session/stop"),
            connection_open: topic("/connection/open"),
            connection_close: topic("/connection/close"),
        };
        let object = |write: &dyn Fn(&mut Vec<u8>)| -> Value {
            let mut out = Vec::new();
            write(&mut out);
            serde_json::from_slice(&out).expect("JSON")
        };
        for topic in topics.of(&event.command) {
            let payload = object(&|out| UserPayload::new(&tags).write(&event, out));
            add_object(&mut values, &format!("mqtt {topic}"), &payload);
        }
        for (name, scramble) in [("new_relic", false), ("new_relic_scrambled", true)] {
            let mut body = object(&|out| UserAttributes::new(scramble, &tags, &[]).write(&event, out));
            // The recording has none.
            body.as_object_mut().expect("an object").remove("timestamp");
            add_object(&mut values, name, &body);
        }
        values
    }
}
