//! Hostile bodies: every one gets a valid answer, and accepted ones can be read.

use std::borrow::Cow;

use proptest::prelude::*;

use super::json::Json;
use super::{AuditEvent, AuditRecord, check};

const ID: &str = "00000000-0000-4000-8000-000000000001";

/// An event of `event_type` whose `payload.event` is `event`.
fn body(event_type: &str, event: &str) -> String {
    format!(
        "{{\"schemaVersion\":1,\"eventId\":\"{ID}\",\"timestamp\":\"2026-11-20T10:11:12.345Z\",\
         \"type\":\"{event_type}\",\"payload\":{{\"context\":{{\"user\":\"LAB\\\\goran\"}},\"event\":{event}}}}}"
    )
}

fn view(body: &str) -> AuditEvent<'_> {
    AuditEvent::from_record(AuditRecord::received(1_795_169_473_000_000_000, body.as_bytes()))
        .expect("an event")
}

#[test]
fn invalid_envelopes_are_refused() {
    let whole = body("audit.event", "{}");
    let check = |from: &str, to: &str, expect: Result<(), (u16, &str)>| {
        let body = whole.replacen(from, to, 1);
        assert_ne!(body, whole);
        let answer = check(body.as_bytes(), None).map(|_| ()).map_err(|refusal| {
            let path = refusal.details["errors"][0]["instancePath"].as_str().unwrap_or("-").to_owned();
            (refusal.status, path)
        });
        assert_eq!(answer, expect.map_err(|(status, path)| (status, path.to_owned())), "{body}");
    };
    let version = "\"schemaVersion\":1";
    for accepted in ["\"1\"", "\"12\"", "1.0", "1e0", "2"] {
        check(version, &format!("\"schemaVersion\":{accepted}"), Ok(()));
    }
    for refused in ["0", "-1", "1.5", "\"01\"", "\"\"", "\"x\"", "null", "true", "[1]", "{}", "1e-400"] {
        check(version, &format!("\"schemaVersion\":{refused}"), Err((400, "/schemaVersion")));
    }
    for accepted in ["\"\"", "123", "1e3", "-0.5", "\"\\ud800\""] {
        check("\"type\"", &format!("\"correlationId\":{accepted},\"type\""), Ok(()));
    }
    for refused in ["null", "true", "[]", "{}"] {
        check("\"type\"", &format!("\"correlationId\":{refused},\"type\""), Err((400, "/correlationId")));
    }
    check("\"type\"", &format!("\"correlationId\":{},\"type\"", "9".repeat(65)), Err((422, "-")));
    check("2026-11-20T10:11:12.345Z", "yesterday", Err((400, "/timestamp")));
    check("2026-11-20T10:11:12.345Z", "2026-11-20", Err((400, "/timestamp")));
    check("\"timestamp\"", "\"time\"", Err((400, "")));
    check(&format!("\"{ID}\""), "\"\"", Err((400, "/eventId")));
    check(&format!("\"{ID}\""), "5", Err((400, "/eventId")));
    check("\"audit.event\"", "\"\"", Err((400, "/type")));
    check("\"type\"", "\"source\":5,\"type\"", Err((400, "/source")));
    check("\"type\"", "\"source\":{\"version\":\"\"},\"type\"", Err((400, "/source/version")));
    check("\"type\"", "\"source\":{\"version\":\" \"},\"type\"", Err((422, "-")));
    check("\"type\"", "\"source\":{\"name\":\"x\"},\"type\"", Err((400, "/source/name")));
    check("\"payload\":{", "\"payload\":[],\"payload\":{", Ok(()));
    check("{\"schemaVersion\"", "\u{feff}{\"schemaVersion\"", Ok(()));
    check("{\"schemaVersion\"", "{\"\\ud800\":1,\"__proto__\":{},\"schemaVersion\"", Ok(()));
}

#[test]
fn a_body_that_is_not_one_json_object_is_refused() {
    for body in ["", "null", "true", "5", "\"x\"", "[]", "[{}]", "{}{}", "{", "\u{0}", "{\"a\":\u{1}}"] {
        let refusal = check(body.as_bytes(), None).expect_err("refused");
        assert_eq!((refusal.status, refusal.reason), (400, "Schema validation failed"), "{body:?}");
    }
    assert_eq!(check(b"{\"a\":\"\xff\"}", None).expect_err("refused").status, 400);
}

#[test]
fn invalid_payloads_are_refused() {
    let check = |event_type: &str, event: &str, expect: &[&str]| {
        let body = body(event_type, event);
        let broken = match check(body.as_bytes(), Some("0.4.0")) {
            Ok(_) => Vec::new(),
            Err(refusal) => {
                let errors = refusal.details["errors"].as_array().cloned().unwrap_or_default();
                let paths = errors.iter().filter_map(|error| error["instancePath"].as_str());
                paths.map(str::to_owned).collect()
            }
        };
        assert_eq!(broken, expect, "{body}");
    };
    const TXN: &str = "\"selectionTxnId\":\"11111111-2222-4333-8444-555555555555\"";
    let url = |url: &str| format!("{{\"screenshotUrl\":\"{url}\",{TXN}}}");
    for good in ["https://q.test/a.png?x=1", "http://[::1]:80/", "x:y", "https://q.test/%20a"] {
        check("screenshot.url.received", &url(good), &[]);
    }
    for bad in ["", "a", "//q.test/a", "https://q.test/a b", "https://q.test/å", "https://q.test/\\u0000"] {
        let broken = check as fn(&str, &str, &[&str]);
        let expect: &[&str] =
            if bad.is_empty() { &["/event/screenshotUrl"; 2] } else { &["/event/screenshotUrl"] };
        broken("screenshot.url.received", &url(bad), expect);
    }
    check(
        "object.view.duration",
        "{\"objectId\":\"o\",\"duration\":1e400,\"leftAt\":\"2026-11-20T10:11:12Z\"}",
        &[],
    );
    check(
        "object.view.duration",
        "{\"objectId\":\"\",\"duration\":\"1\",\"leftAt\":null,\"enteredAt\":\"x\",\"dataStateId\":1.5}",
        &["/event/dataStateId", "/event/duration", "/event/enteredAt", "/event/leftAt", "/event/objectId"],
    );
    check("app.model.validated", "[]", &["/event"]);
    check("app.model.validated", "null", &["/event"]);
    check("selection.state.changed", &format!("{{{TXN},\"details\":{{}}}}"), &["/event/details"]);
    let many = format!("{{{TXN},\"details\":[{}1]}}", "1,".repeat(499));
    check("selection.state.changed", &many, &[]);
    check("event.anything", "5", &[]);
}

#[test]
fn unusual_bodies_are_accepted_and_read() {
    let long = body("audit.event", &format!("{{\"objectId\":\"{}\"}}", "\\u0000\\ud800".repeat(80_000)));
    assert!(check(long.as_bytes(), None).is_ok());
    assert_eq!(view(&long).object_id.map(|id| id.chars().count()), Some(160_000));

    let twice =
        body("audit.event", "{\"visible\":true,\"visible\":false,\"dataStateId\":1,\"dataStateId\":\"x\"}");
    assert!(check(twice.as_bytes(), None).is_ok());
    let event = view(&twice);
    assert_eq!(
        (event.visible, event.data_state_number(), event.data_state_integer()),
        (Some(false), None, None)
    );
}

#[test]
fn bodies_deeper_than_128_levels_are_refused() {
    let deep_body = |event: &str, levels: usize| {
        let (open, close) = if event.is_empty() { ("{\"a\":", "}") } else { ("[", "]") };
        body(
            "audit.event",
            &format!(
                "{event}{}0{}{}",
                open.repeat(levels),
                close.repeat(levels),
                "}".repeat(event.matches('{').count())
            ),
        )
    };
    // Levels around the nested value: the body, its payload, the event and its member, unless they are nested
    // themselves.
    for (event, around) in [
        ("", 2),
        ("{\"objectData\":", 3),
        ("{\"objectData\":{\"a\":", 4),
        ("{\"details\":", 3),
        ("{\"x\":", 3),
    ] {
        let accepts = |depth: usize| {
            let body = deep_body(event, depth - around);
            check(body.as_bytes(), None).map(|_| ()).map_err(|refusal| {
                assert_eq!((refusal.status, refusal.outcome), (400, "dropped"));
                assert_eq!(refusal.reason, "Schema validation failed");
                let error = &refusal.details["errors"][0];
                assert_eq!(error["instancePath"], "");
                error["message"].as_str().unwrap_or_default().to_owned()
            })
        };
        for depth in [40, 63, 64, 65, 66, 67, 68, 127, 128] {
            assert_eq!(accepts(depth), Ok(()), "{event} {depth}");
        }
        for depth in [129, 130, 400_000] {
            let reported = format!("must NOT be nested deeper than 128 levels (depth={depth})");
            assert_eq!(accepts(depth), Err(reported), "{event}");
        }
    }
    let outside = |levels: usize| {
        let deep = format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        body("audit.event", "{}").replacen('{', &format!("{{\"x\":{deep},"), 1)
    };
    assert!(check(outside(127).as_bytes(), None).is_ok());
    assert!(check(outside(128).as_bytes(), None).is_err());
    // Brackets in text do not count as nesting, and a truncated body is not JSON at any depth.
    let text = body("audit.event", &format!("{{\"x\":\"{}\"}}", "[{".repeat(1_000)));
    assert!(check(text.as_bytes(), None).is_ok());
    assert_eq!(check("[".repeat(1_000_000).as_bytes(), None).expect_err("refused").outcome, "error");
}

#[test]
fn records_in_the_journal_may_have_any_depth() {
    let deep = format!("{{\"objectData\":{{\"a\":{}{}}}}}", "[".repeat(200_000), "]".repeat(200_000));
    let deep = body("audit.event", &deep);
    assert!(view(&deep).object_data.is_some_and(|data| data.compact().len() > 400_000));
}

#[test]
fn object_data_of_any_type_is_kept() {
    for data in
        ["{}", "[1, 2.0]", "[]", "\"text\"", "\"\"", "1e400", "-0", "true", "null", "{\"objectType\":\"t\"}"]
    {
        let text = body("audit.event", &format!("{{\"objectData\": {data} }}"));
        assert!(check(text.as_bytes(), None).is_ok());
        let event = view(&text);
        assert_eq!(event.object_data.map(Json::text), Some(data));
        assert_eq!(event.object_type.as_deref(), data.contains("objectType").then_some("t"));
    }
    assert_eq!(view(&body("audit.event", "{}")).object_data, None);
    // Of two, the last one counts.
    let twice = body("audit.event", "{\"objectData\":{\"objectType\":\"t\"},\"objectData\":[7]}");
    let event = view(&twice);
    assert_eq!((event.object_data.map(Json::text), event.object_type), (Some("[7]"), None));
}

#[test]
fn a_timestamp_far_in_the_future_is_not_used() {
    let check = |timestamp: &str, is_ahead: bool| {
        let text = body("audit.event", "{}").replace("2026-11-20T10:11:12.345Z", timestamp);
        let event = view(&text);
        if is_ahead {
            assert_eq!(event.client_timestamp.as_deref(), Some(timestamp));
            assert_eq!(
                (&*event.timestamp, event.timestamp_ms),
                ("2026-11-20T10:11:13.000Z", 1_795_169_473_000)
            );
        } else {
            assert_eq!((event.client_timestamp.as_deref(), &*event.timestamp), (None, timestamp));
        }
    };
    // Received on 2026-11-20 at 10:11:13.
    check("2026-11-21T10:11:13.000Z", false);
    check("2026-11-21T10:11:13.001Z", true);
    check("2026-11-21T12:11:13.000+02:00", false);
    check("2030-01-01T00:00:00Z", true);
    check("9999-12-31T23:59:59Z", true);
    check("2016-12-31T23:59:60Z", false);
    check("1970-01-01T00:00:00Z", false);
    check("0000-01-01T00:00:00Z", false);
}

#[test]
fn values_of_another_type_are_absent() {
    let text = body(
        "audit.event",
        "{\"objectId\":5,\"visible\":\"true\",\"duration\":\"5\",\"enteredAt\":\"\",\"leftAt\":null,\
         \"screenshotUrl\":[],\"details\":[{\"qField\":\"F\"}],\"dataStateId\":true}",
    );
    let event = view(&text);
    let expect = AuditEvent {
        received_ns: 1_795_169_473_000_000_000,
        timestamp: "2026-11-20T10:11:12.345Z".into(),
        timestamp_ms: 1_795_169_472_345,
        event_type: "audit.event".into(),
        event_id: ID.into(),
        user: Some("LAB\\goran".into()),
        user_directory: Some("LAB".into()),
        user_id: Some("goran".into()),
        body_bytes: text.len(),
        ..AuditEvent::default()
    };
    assert_eq!(event, expect);
}

#[test]
fn reads_data_state_ids_as_number_or_text() {
    let check = |id: &str, number: Option<f64>, integer: Option<i64>| {
        let text = body("audit.event", &format!("{{\"dataStateId\":{id}}}"));
        let event = view(&text);
        assert_eq!((event.data_state_number(), event.data_state_integer()), (number, integer), "{id}");
    };
    check("1777868693436", Some(1_777_868_693_436.0), Some(1_777_868_693_436));
    check("9223372036854775807", Some(9_223_372_036_854_775_807.0), Some(i64::MAX));
    check("9223372036854775808", Some(9_223_372_036_854_775_808.0), None);
    check("1.0", Some(1.0), Some(1));
    check("1e3", Some(1000.0), Some(1000));
    check("1.5", Some(1.5), None);
    check("1e400", None, None);
    check("\"12\"", None, Some(12));
    check("\"abc\"", None, None);
    check("\"\"", None, None);
    check("null", None, None);
}

#[test]
fn selections_keep_three_members() {
    let check = |details: &str, expect: Option<&str>| {
        let text = body("selection.state.changed", &format!("{{\"details\":{details}}}"));
        assert_eq!(view(&text).selection_details.as_deref(), expect);
    };
    check("[]", None);
    check("{}", None);
    check(
        "[ {\"qSelected\" : \"a, b\", \"x\": 1, \"qSelectedCount\": 2.0, \"qField\": \"\\u00e5\" }, null, [1]]",
        Some("[{\"qField\":\"å\",\"qSelectedCount\":2.0,\"qSelected\":\"a, b\"},{},{}]"),
    );
    check("[{\"qField\":1,\"qField\":[ {} ]}]", Some("[{\"qField\":[{}]}]"));
}

#[test]
fn times_that_do_not_exist_are_replaced_by_the_time_of_receipt() {
    let text = body("audit.event", "{}").replace("2026-11-20T10:11:12.345Z", "2016-12-31T23:59:60Z");
    assert!(check(text.as_bytes(), None).is_ok());
    assert_eq!(view(&text).timestamp_ms, 1_795_169_473_000);
}

#[test]
fn damaged_records_are_reported() {
    for bytes in [&b""[..], b"\x01", b"\x01\0\0\0\0\0\0\0\0\0\0\0{", b"\x01\0\0\0\0\0\0\0\0\0\0\0\xff"] {
        assert!(AuditEvent::from_bytes(bytes).is_err());
    }
    assert_eq!(
        AuditEvent::from_bytes(b"\x01\0\0\0\0\0\0\0\0\0\0\0[]").expect("an event of nothing").event_id,
        Cow::Borrowed("")
    );
}

/// JSON of every type, with the names that the server reads.
fn any_json() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec![
        "schemaVersion",
        "eventId",
        "correlationId",
        "timestamp",
        "type",
        "source",
        "payload",
        "context",
        "event",
        "user",
        "appId",
        "objectData",
        "objectType",
        "details",
        "qField",
        "duration",
        "dataStateId",
        "x\\ud800",
    ]);
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|value| value.to_string()),
        any::<i64>().prop_map(|value| value.to_string()),
        any::<f64>().prop_filter("JSON has no NaN", |n| n.is_finite()).prop_map(|value| format!("{value:e}")),
        Just("1e400".to_owned()),
        Just("\"audit.event\"".to_owned()),
        Just(format!("\"{ID}\"")),
        Just("\"2026-11-20T10:11:12Z\"".to_owned()),
        Just("\"\\ud800\\u0000\\\\\\\"\"".to_owned()),
        any::<String>().prop_map(|text| serde_json::to_string(&text).expect("text")),
    ];
    leaf.prop_recursive(5, 64, 12, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(|items| format!("[{}]", items.join(" , "))),
            prop::collection::vec((name.clone(), inner), 0..12).prop_map(|members| {
                let members: Vec<_> =
                    members.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_json_is_answered(body in any_json(), header: Option<String>) {
        match check(body.as_bytes(), header.as_deref()) {
            Ok(_) => {
                AuditEvent::from_record(AuditRecord::received(1, body.as_bytes())).expect("what is accepted is read");
            }
            Err(refusal) => prop_assert!(matches!(refusal.status, 400 | 422)),
        }
        let _ = AuditEvent::from_record(AuditRecord::received(1, body.as_bytes()));
    }

    #[test]
    fn any_bytes_are_answered(bytes: Vec<u8>, header: Option<String>) {
        prop_assert!(check(&bytes, header.as_deref()).is_err());
    }
}
