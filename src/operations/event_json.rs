//! Events as JSON for people and programs: typed fields, one object an event, newest first where there are several.
//!
//! User event: `offset`, `stream`, `receivedAt` (RFC 3339), `receivedUnixMs`, `type`, `host`, `command`, `user`
//! (`DIRECTORY\id`), `userDirectory`, `userId`, `origin`, `context`, `message`, `appId`, `appName`, `browser`,
//! `browserVersion`, `os`, `osVersion`, and where the datagram was not UTF-8 `notUtf8`: `fallback` when it was read as
//! the fallback encoding, `replaced` when its broken parts became U+FFFD.
//!
//! Audit event: `offset`, `stream`, `receivedAt`, `receivedUnixMs`, `timestamp`, `type`, `eventId`, `correlationId`,
//! `user`, `userDirectory`, `userId`, `appId`, `appName`, `sheetId`, `sheetName`, `objectId`, `objectType`,
//! `durationMs`, and for a screenshot `screenshot`: `{url, savedPaths, sha256, error}`. `conflictOf` when it came with the
//! ids of an earlier event, `clientTimestamp` when its timestamp was far ahead.
//!
//! Missing values are omitted. Text is cut to 1 000 characters.

use std::borrow::Cow;

use butler_sos_domain::audit::time::rfc3339;
use butler_sos_domain::audit::{AuditEvent, AuditRecord};
use butler_sos_domain::event::UserEvent;
use butler_sos_domain::streams::Stream;
use serde::{Deserialize, Serialize};

const TEXT_CHARS_MAX: usize = 1_000;
const PATHS_MAX: usize = 16;

/// One event of either stream.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EventJson {
    pub offset: u64,
    pub stream: String,
    pub received_at: String,
    pub received_unix_ms: u64,
    #[serde(rename = "type")]
    pub event_type: String,
    #[serde(flatten)]
    pub texts: Texts,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub screenshot: Option<ScreenshotJson>,
}

/// The optional strings.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Texts {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_directory: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub browser: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub browser_version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub os: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_utf8: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sheet_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sheet_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conflict_of: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_timestamp: Option<String>,
}

/// The result of a screenshot's download. While it runs, only the URL is present.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScreenshotJson {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    pub saved_paths: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A filter: each part is matched case-insensitively anywhere in the text.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Filter {
    /// In `user`, or in the user's directory or id.
    pub user: String,
    /// In the app's name or id.
    pub app: String,
    /// In `type` or `command`.
    #[serde(rename = "type")]
    pub event_type: String,
}

impl EventJson {
    /// The event in a record of `stream`; `None` when the record is damaged.
    #[must_use]
    pub fn of_record(stream: Stream, offset: u64, data: &[u8]) -> Option<Self> {
        match stream {
            Stream::UserEvents => Some(of_user(offset, &UserEvent::decode(data).ok()?)),
            Stream::AuditEvents | Stream::Screenshots => of_audit(stream, offset, data),
        }
    }
}

fn of_user(offset: u64, event: &UserEvent<'_>) -> EventJson {
    let received_unix_ms = event.received_ns / 1_000_000;
    let (browser, browser_version) = (kept(&event.browser_name), kept(&event.browser_major));
    EventJson {
        offset,
        stream: Stream::UserEvents.name().to_owned(),
        received_at: moment(received_unix_ms),
        received_unix_ms,
        event_type: cut(&event.message_type),
        texts: Texts {
            host: Some(cut(&event.host)),
            command: Some(cut(&event.command)),
            user: event.user_full().map(|user| cut(&user.to_string())),
            user_directory: kept(&event.user_directory),
            user_id: kept(&event.user_id),
            origin: kept(&event.origin),
            context: kept(&event.context),
            message: kept(&event.message),
            app_id: kept(&event.app_id),
            app_name: kept(&event.app_name),
            browser,
            browser_version,
            os: kept(&event.os_name),
            os_version: kept(&event.os_version),
            not_utf8: event.decoded.name().map(str::to_owned),
            ..Texts::default()
        },
        ..EventJson::default()
    }
}

fn of_audit(stream: Stream, offset: u64, data: &[u8]) -> Option<EventJson> {
    let record = AuditRecord::decode(data).ok()?;
    let event = AuditEvent::from_record(record).ok()?;
    let received_unix_ms = event.received_ns / 1_000_000;
    let screenshot = event.is_screenshot().then(|| ScreenshotJson {
        url: kept(&event.screenshot_url),
        saved_paths: event.screenshot.saved_paths.iter().take(PATHS_MAX).map(|path| cut(path)).collect(),
        sha256: kept(&event.screenshot.sha256),
        error: kept(&event.screenshot.error),
    });
    Some(EventJson {
        offset,
        stream: stream.name().to_owned(),
        received_at: moment(received_unix_ms),
        received_unix_ms,
        event_type: cut(&event.event_type),
        texts: Texts {
            user: kept(&event.user),
            user_directory: kept(&event.user_directory),
            user_id: kept(&event.user_id),
            app_id: kept(&event.app_id),
            app_name: kept(&event.app_name),
            timestamp: Some(cut(&event.timestamp)),
            event_id: Some(cut(&event.event_id)),
            correlation_id: kept(&event.correlation_id),
            sheet_id: kept(&event.sheet_id),
            sheet_name: kept(&event.sheet_name),
            object_id: kept(&event.object_id),
            object_type: kept(&event.object_type),
            conflict_of: event.conflict.map(|conflict| conflict.of.to_string()),
            client_timestamp: kept(&event.client_timestamp),
            ..Texts::default()
        },
        duration_ms: event.duration_ms,
        screenshot,
    })
}

fn kept(text: &Option<Cow<'_, str>>) -> Option<String> {
    text.as_deref().map(cut)
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(TEXT_CHARS_MAX) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

fn moment(unix_ms: u64) -> String {
    rfc3339(i64::try_from(unix_ms).unwrap_or(i64::MAX))
}

impl Filter {
    #[must_use]
    pub fn takes(&self, event: &EventJson) -> bool {
        let texts = &event.texts;
        let type_of = Some(&event.event_type);
        any(&self.user, [texts.user.as_ref(), texts.user_directory.as_ref(), texts.user_id.as_ref()])
            && any(&self.app, [texts.app_name.as_ref(), texts.app_id.as_ref(), None])
            && any(&self.event_type, [type_of, texts.command.as_ref(), None])
    }
}

fn any(wanted: &str, texts: [Option<&String>; 3]) -> bool {
    if wanted.is_empty() {
        return true;
    }
    let wanted = wanted.to_lowercase();
    texts.into_iter().flatten().any(|text| text.to_lowercase().contains(&wanted))
}

#[cfg(test)]
mod tests {
    use butler_sos_domain::audit::{BodyHash, ScreenshotOutcome};

    use super::*;

    fn user_record(event: &UserEvent<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        event.encode_into(&mut out);
        out
    }

    fn event() -> EventJson {
        let record = user_record(&UserEvent {
            received_ns: 1_760_000_000_123_000_000,
            message_type: "qseow-proxy-session".into(),
            host: "sense1".into(),
            command: "Start session".into(),
            user_directory: Some("LAB".into()),
            user_id: Some("Göran".into()),
            app_id: Some("0f2a".into()),
            app_name: Some("Sales <b>".into()),
            ..UserEvent::default()
        });
        EventJson::of_record(Stream::UserEvents, 7, &record).expect("an event")
    }

    #[test]
    fn a_user_event_has_its_fields_and_no_others() {
        let json = serde_json::to_value(event()).expect("JSON");
        let expect = serde_json::json!({
            "offset": 7, "stream": "user-events", "receivedAt": "2025-10-09T08:53:20.123Z",
            "receivedUnixMs": 1_760_000_000_123_u64, "type": "qseow-proxy-session", "host": "sense1",
            "command": "Start session", "user": "LAB\\Göran", "userDirectory": "LAB", "userId": "Göran",
            "appId": "0f2a", "appName": "Sales <b>",
        });
        assert_eq!(json, expect);
    }

    #[test]
    fn an_audit_event_has_its_fields() {
        let body = br#"{"schemaVersion":1,"eventId":"e1","timestamp":"2026-01-02T03:04:05.000Z","type":"screenshot.url.received",
            "payload":{"context":{"user":"UserDirectory=LAB; UserId=anna","appName":"Sales"},"event":{"screenshotUrl":"https://q/x.png"}}}"#;
        let mut data = Vec::new();
        AuditRecord::received(1_000_000_000, body).encode_into(&mut data);
        let event = EventJson::of_record(Stream::AuditEvents, 1, &data).expect("an event");
        assert_eq!(event.event_type, "screenshot.url.received");
        assert_eq!(event.texts.user_id.as_deref(), Some("anna"));
        assert_eq!(event.screenshot.expect("one").url.as_deref(), Some("https://q/x.png"));
        assert_eq!(EventJson::of_record(Stream::AuditEvents, 1, b"\x01damaged"), None);
    }

    #[test]
    fn marks_are_shown() {
        let body = br#"{"eventId":"e1","timestamp":"2036-01-02T03:04:05.000Z","type":"t"}"#;
        let conflict_of = Some(BodyHash([0xab; 16]));
        let mut data = Vec::new();
        AuditRecord { conflict_of, ..AuditRecord::received(1_000_000_000, body) }.encode_into(&mut data);
        let texts = EventJson::of_record(Stream::AuditEvents, 1, &data).expect("an event").texts;
        assert_eq!(texts.conflict_of, Some("ab".repeat(16)));
        assert_eq!(texts.client_timestamp.as_deref(), Some("2036-01-02T03:04:05.000Z"));
        assert_eq!(texts.timestamp.as_deref(), Some("1970-01-01T00:00:01.000Z"));
    }

    /// The maximum size of an event on a page, as stated in `docs/reliability.md`.
    #[test]
    fn every_event_fits_into_its_limit_on_a_page() {
        const BYTES_MAX: usize = 256 * 1024;
        let long = "\\u0001".repeat(2_000);
        let members = |names: &[&str]| {
            let members: Vec<String> = names.iter().map(|name| format!("\"{name}\":\"{long}\"")).collect();
            members.join(",")
        };
        let context = members(&["user", "appId", "appName", "sheetId", "sheetName"]);
        let event = members(&["objectId", "screenshotUrl"]);
        let deep = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
        let body = format!(
            "{{{},\"type\":\"screenshot.url.received\",\"payload\":{{\"context\":{{{context}}},\"event\":{{{event},\"objectData\":{{\"objectType\":\"{long}\",\"a\":{deep}}}}}}}}}",
            members(&["eventId", "correlationId", "timestamp"])
        );
        let paths = (0..1_000).map(|_| "\u{1}".repeat(2_000).into()).collect();
        let screenshot = ScreenshotOutcome { saved_paths: paths, ..ScreenshotOutcome::default() };
        let mut data = Vec::new();
        AuditRecord { screenshot, ..AuditRecord::received(1, body.as_bytes()) }.encode_into(&mut data);
        let event = EventJson::of_record(Stream::AuditEvents, 1, &data).expect("an event");
        let text = serde_json::to_string(&event).expect("JSON");
        assert!(text.len() <= BYTES_MAX, "{}", text.len());
    }

    #[test]
    fn long_text_is_cut_between_characters() {
        assert_eq!(cut(&"ö".repeat(1_000)).chars().count(), 1_000);
        assert_eq!(cut(&"ö".repeat(5_000)).chars().count(), 1_001);
    }

    #[test]
    fn filters_match_parts_case_insensitively() {
        let check = |user: &str, app: &str, event_type: &str, expect: bool| {
            let filter = Filter { user: user.into(), app: app.into(), event_type: event_type.into() };
            assert_eq!(filter.takes(&event()), expect, "{filter:?}");
        };
        check("", "", "", true);
        check("lab\\GÖ", "", "", true);
        check("göran", "sales", "start", true);
        check("", "0F2A", "proxy-session", true);
        check("anna", "", "", false);
        check("göran", "finance", "", false);
        check("", "", "stop", false);
        check("%", "", "", false);
        check("lab.*", "", "", false);
    }
}
