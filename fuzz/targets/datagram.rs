//! A datagram becomes an event that keeps its bounds and is readable everywhere, or is rejected.

use butler_sos_domain::app_id::AppNames;
use butler_sos_domain::encode::user_line::UserPoint;
use butler_sos_domain::encode::{csv, mqtt, new_relic};
use butler_sos_domain::enrichment::{Enrichment, ExcludedUsers};
use butler_sos_domain::event::UserEvent;
use butler_sos_domain::fallback_encoding::FallbackEncoding;
use serde_json::Value;

use super::{VERSIONS, assert_one_line};

const RECEIVED_NS: u64 = 1_795_169_472_345_000_000;

pub fn run(bytes: &[u8]) {
    let names = AppNames::new([("a421f4a2-c311-4ef4-ba41-fe2e6a2b0d69", "Sales, \"2026\" = \\")]);
    let fallback = FallbackEncoding::of_label(["1252", "932", "none"][bytes.len() % 3]).expect("known");
    let mut enrichment = Enrichment::new(4, ExcludedUsers::default()).decoding(fallback);
    let Ok(enriched) = enrichment.event(bytes, RECEIVED_NS, &names) else { return };
    let event = enriched.event;
    assert_bounds(&event);

    let mut record = Vec::new();
    event.encode_into(&mut record);
    assert_eq!(UserEvent::decode(&record).as_ref(), Ok(&event));

    let tags = [("env".to_owned(), "a b".to_owned())];
    for version in VERSIONS {
        let mut line = Vec::new();
        UserPoint::new(version, "qs_", &tags).write(&event, &mut line);
        assert!(!line[..line.len() - 1].contains(&b'\n'), "{}", String::from_utf8_lossy(&line));
        assert_one_line(version, &line);
    }
    let mut payload = Vec::new();
    mqtt::UserPayload::new(&tags).write(&event, &mut payload);
    let payload: Value = serde_json::from_slice(&payload).expect("JSON");
    assert_eq!(payload["host"], *event.host);
    for scramble in [false, true] {
        let mut attributes = Vec::new();
        new_relic::UserAttributes::new(scramble, &tags, &[]).write(&event, &mut attributes);
        let attributes: Value = serde_json::from_slice(&attributes).expect("JSON");
        assert_eq!(attributes["qs_event_action"], *event.command);
    }
    let mut rows = csv::writer(Vec::new());
    csv::write_user_header(&mut rows).expect("a header");
    csv::write_user_row(&mut rows, &event, true).expect("a row");
    let text = rows.into_inner().expect("written");
    let read: Vec<_> =
        ::csv::Reader::from_reader(&text[..]).records().map(|row| row.expect("a row")).collect();
    assert_eq!(read.len(), 1);
}

/// Contract, user-events.md, "Datagrams".
fn assert_bounds(event: &UserEvent<'_>) {
    let fields = [
        (Some(&event.message_type), 100),
        (Some(&event.host), 100),
        (Some(&event.command), 100),
        (event.user_directory.as_ref(), 100),
        (event.user_id.as_ref(), 100),
        (event.origin.as_ref(), 200),
        (event.context.as_ref(), 500),
        (event.message.as_ref(), 1_000),
    ];
    for (text, characters_max) in fields {
        let Some(text) = text else { continue };
        assert!(text.chars().count() <= characters_max, "{text}");
        assert!(!text.contains(|c: char| c.is_ascii_control()), "{text:?}");
    }
    assert!(!event.host.is_empty() && !event.command.is_empty());
    assert_ne!(event.browser_name.as_deref(), Some("UNKNOWN"));
}
