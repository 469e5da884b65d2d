//! Events with any text in them are readable in every file format, with what was sent.

use ::parquet::file::reader::{FileReader, SerializedFileReader};
use ::parquet::record::Field;
use butler_sos_domain::audit::{AuditEvent, AuditRecord, check};
use butler_sos_domain::encode::audit_csv::AuditCsv;
use butler_sos_domain::encode::audit_line::AuditPoint;
use butler_sos_domain::encode::object_json::object_file;
use butler_sos_domain::encode::{csv, parquet, qvd};
use bytes::Bytes;
use serde_json::{Value, json};

use super::{VERSIONS, assert_one_line};

/// `bytes` are texts apart from each other by 0xff; four of them make an event.
pub fn run(bytes: &[u8]) {
    let texts: Vec<String> = bytes
        .split(|byte| *byte == 0xff)
        .take(32)
        .map(|text| String::from_utf8_lossy(text).into_owned())
        .collect();
    let records: Vec<Vec<u8>> = texts.chunks(4).map(record).collect();
    let events: Vec<AuditEvent<'_>> =
        records.iter().map(|record| AuditEvent::from_bytes(record).expect("an event")).collect();
    let tags = [("env".to_owned(), texts[0].clone())];
    let sent: Vec<&str> = texts.chunks(4).map(|texts| texts.get(1).map_or("", String::as_str)).collect();

    let mut file = Vec::new();
    parquet::write_file(&mut file, &events, &tags, None).expect("written");
    assert_eq!(parquet_column(file, "appName"), sent);

    let mut file = Vec::new();
    qvd::write_file(&mut file, &events, &tags, None, 0).expect("written");
    let read = crate::qvd::column(&file, "appName");
    let expect: Vec<_> = sent.iter().map(|text| text.replace('\0', "\u{fffd}")).collect();
    assert_eq!(read.into_iter().map(Option::unwrap_or_default).collect::<Vec<_>>(), expect);

    let encoder = AuditCsv::new(&tags, false);
    let mut rows = csv::writer(Vec::new());
    encoder.write_header(&mut rows).expect("a header");
    events.iter().for_each(|event| encoder.write_row(&mut rows, event).expect("a row"));
    let text = rows.into_inner().expect("written");
    let mut reader = ::csv::Reader::from_reader(&text[..]);
    let place =
        reader.headers().expect("a header").iter().position(|name| name == "appName").expect("a column");
    let read: Vec<String> = reader.records().map(|row| row.expect("a row")[place].to_owned()).collect();
    assert_eq!(read, expect);

    for event in &events {
        for version in VERSIONS {
            let mut line = Vec::new();
            AuditPoint::new(version, "", &tags).write(event, &mut line);
            assert_one_line(version, &line);
        }
        if let Some(file) = object_file(event, &tags) {
            let content: Value = serde_json::from_str(&file.content).expect("JSON");
            assert_eq!(content["appName"].as_str(), event.app_name.as_deref());
            assert!(!file.name.contains(['/', '\\', '\0']));
        }
    }
}

fn record(texts: &[String]) -> Vec<u8> {
    let text = |n: usize| texts.get(n).map_or("", String::as_str);
    let body = json!({
        "schemaVersion": 1,
        "eventId": "00000000-0000-4000-8000-000000000001",
        "timestamp": "2026-11-20T10:11:12.345Z",
        "type": format!("event.x{}", text(3)),
        "payload": {
            "context": { "user": text(0), "appName": text(1), "sheetName": text(3) },
            "event": { "objectId": text(2), "objectData": { "objectType": text(2), text(3): text(0) }, "duration": texts.len() },
        },
    })
    .to_string();
    check(body.as_bytes(), None).expect("any text is legal");
    let mut record = Vec::new();
    AuditRecord::received(1, body.as_bytes()).encode_into(&mut record);
    record
}

fn parquet_column(file: Vec<u8>, wanted: &str) -> Vec<String> {
    let reader = SerializedFileReader::new(Bytes::from(file)).expect("a Parquet file");
    let rows = reader.get_row_iter(None).expect("rows").map(|row| {
        let row = row.expect("a row");
        let field = row.get_column_iter().find(|(name, _)| *name == wanted).expect("the column").1;
        match field {
            Field::Str(text) => text.clone(),
            Field::Null => String::new(),
            other => panic!("{other:?}"),
        }
    });
    rows.collect()
}
