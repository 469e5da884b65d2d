//! Bodies that break what is careless, for every layer that takes one: the audit API, and all that is behind it.

use proptest::prelude::*;
use serde_json::Value;

use super::any_event::{accepted_body, any_value};

/// Of all these events.
pub const ID: &str = "00000000-0000-4000-8000-000000000001";

/// An event whose `payload.context` and `payload.event` hold this.
fn event(context: &str, event: &str) -> String {
    format!(
        r#"{{"schemaVersion":1,"eventId":"{ID}","timestamp":"2026-11-20T10:11:12.345Z","type":"event.test","payload":{{"context":{{{context}}},"event":{{{event}}}}}}}"#
    )
}

/// Events that are accepted.
pub fn accepted() -> Vec<(&'static str, String)> {
    let mega = "x".repeat(1_000_000);
    // Less than a megabyte, more as soon as it is escaped.
    let quotes = r#"\""#.repeat(500_000);
    let deep = format!("{}{}", r#"{"a":["#.repeat(50), "]}".repeat(50));
    let nines = "9".repeat(100_000);
    let plain = event("", r#""objectId":"o""#);
    vec![
        ("deep nesting", event("", &format!(r#""objectData":{deep},"details":[{deep}]"#))),
        (
            "huge numbers",
            event("", r#""duration":1e999999,"dataStateId":-1e999999,"objectData":{"n":1e999999}"#),
        ),
        (
            "largest numbers",
            event("", r#""duration":1.7976931348623157e308,"dataStateId":-1.7976931348623157e308"#),
        ),
        ("smallest number", event("", r#""duration":5e-324,"dataStateId":-0.0"#)),
        (
            "long numbers",
            event("", &format!(r#""duration":{nines},"dataStateId":{nines},"objectData":{{"n":{nines}}}"#)),
        ),
        (
            "duplicate keys",
            event(r#""user":"a","user":"b""#, r#""objectId":"o","objectId":5,"visible":true,"visible":"x""#),
        ),
        (
            "duplicate object data",
            event("", r#""objectData":{"objectType":"a","objectType":5},"objectData":{"objectType":"b"}"#),
        ),
        (
            "lone surrogates",
            event(
                r#""user":"\ud800","appName":"\udc00x","sheetName":"\ud800\ud800""#,
                r#""objectId":"\udfff","objectData":{"\ud800":"\ud800"}"#,
            ),
        ),
        (
            "NUL",
            event(
                r#""user":"a\u0000b","appName":"\u0000","sheetName":"\u0000""#,
                r#""objectId":"\u0000","objectData":{"\u0000":"\u0000"}"#,
            ),
        ),
        (
            "line ends",
            event(
                r#""user":"a\nb,c=d e=1i 5\n","appName":"\r\n","sheetName":"\n""#,
                r#""objectId":"a\nm f=1 1\n""#,
            ),
        ),
        (
            "backslashes",
            event(
                r#""user":"\\","appName":"\\\\","sheetName":"\\""#,
                r#""objectId":"\\\"","enteredAt":"\\\\\"""#,
            ),
        ),
        (
            "all control characters",
            event(r#""user":"\u0001\u0002\u0003\u001f\u007f\u0085","sheetId":"\u0001\u001f""#, ""),
        ),
        ("a megabyte of tag", event(&format!(r#""user":"{mega}""#), "")),
        ("a megabyte of field", event(&format!(r#""sheetName":"{mega}""#), "")),
        ("a megabyte of object data", event("", &format!(r#""objectData":{{"k":"{mega}"}}"#))),
        ("a megabyte of quotes", event(&format!(r#""sheetName":"{quotes}""#), "")),
        ("a megabyte of objects", event("", &format!(r#""details":[{}{{}}]"#, "{},".repeat(300_000)))),
        ("a megabyte of blanks", format!("{}{plain}", " ".repeat(1_000_000))),
        ("a byte order mark", format!("\u{feff}{plain}")),
        ("the first year", plain.replace("2026-", "0000-")),
        ("the last year", plain.replace("2026-", "9999-")),
        (
            "the edge of InfluxDB's times",
            plain.replace("2026-11-20T10:11:12.345Z", "2262-04-11T23:47:16.854Z"),
        ),
        ("the other edge", plain.replace("2026-11-20T10:11:12.345Z", "1677-09-21T00:12:43.146Z")),
        ("a leap second", plain.replace("2026-11-20T10:11:12.345Z", "2016-12-31T23:59:60Z")),
        ("nothing in it", event("", "")),
        ("a long type", plain.replace("event.test", &format!("event.{}", ", =".repeat(10_000)))),
        ("a megabyte of name", plain.replacen('{', &format!("{{\"{mega}\":1,"), 1)),
        ("the same name twice", plain.replacen('{', r#"{"extra":1,"extra":2,"#, 1)),
        ("the same id twice", plain.replacen('{', r#"{"eventId":"x","#, 1)),
        ("a deep user", event(&format!(r#""user":{deep}"#), "")),
        ("a huge number for a user", event(r#""user":1e999999"#, "")),
        ("a long number for a user", event(&format!(r#""user":{nines}"#), "")),
        ("names that InfluxDB keeps", event("", r#""objectData":{"time":1,"_field":2,"objectType":"time"}"#)),
    ]
}

/// What is refused, and the status.
pub fn refused() -> Vec<(&'static str, Vec<u8>, u16)> {
    let texts = [
        ("nothing", String::new(), 400),
        ("blanks", " \n\t".to_owned(), 400),
        ("deep arrays", "[".repeat(1_000_000), 400),
        ("deep objects", r#"{"a":"#.repeat(200_000), 400),
        ("deep and whole", format!("{}{}", "[".repeat(500_000), "]".repeat(500_000)), 400),
        ("a raw NUL", event("", "\"objectId\":\"a\0b\""), 400),
        ("two values", format!("{0}{0}", event("", "")), 400),
        ("a number alone", "9".repeat(1_000_000), 400),
        ("a text alone", format!("\"{}\"", "x".repeat(1_000_000)), 400),
        ("more than is taken", " ".repeat(1_048_577), 413),
        ("a wrong id of a megabyte", event("", "").replace(ID, &"x".repeat(1_000_000)), 422),
    ];
    let bytes = [&b"\xff\xfe"[..], b"{\"a\":\"\xff\"}", b"\0", b"\xed\xa0\x80"];
    let texts = texts.into_iter().map(|(name, text, status)| (name, text.into_bytes(), status));
    texts.chain(bytes.map(|bytes| ("no text", bytes.to_vec(), 400))).collect()
}

/// Any JSON, and events with a part that is anything.
pub fn nearly_an_event() -> impl Strategy<Value = String> {
    let places = vec![
        "",
        "/schemaVersion",
        "/eventId",
        "/correlationId",
        "/timestamp",
        "/type",
        "/source",
        "/payload",
        "/payload/context",
        "/payload/context/appId",
        "/payload/event",
    ];
    (accepted_body(), prop::sample::select(places), any_value()).prop_map(|(body, place, part)| {
        let mut body: Value = serde_json::from_str(&body).expect("JSON");
        match body.pointer_mut(place) {
            Some(old) => *old = part,
            None => body["source"] = part,
        }
        body.to_string()
    })
}
