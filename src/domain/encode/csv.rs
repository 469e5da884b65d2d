//! User events as rows of a CSV file. Contract: destinations.md, "CSV".
//!
//! RFC 4180: commas, CRLF, quotes where needed, a header row. A missing part is an empty value.

use std::borrow::Cow;
use std::io::Write;

use time::OffsetDateTime;

use crate::event::UserEvent;
use crate::json_string::holds_control_or;

/// The columns of user events.
pub const USER_COLUMNS: [&str; 16] = [
    "timestamp",
    "host",
    "event_action",
    "userFull",
    "userDirectory",
    "userId",
    "origin",
    "context",
    "message",
    "appId",
    "appName",
    "uaBrowserName",
    "uaBrowserMajorVersion",
    "uaOsName",
    "uaOsVersion",
    "messageType",
];

/// The writer's buffer. Sinks create a writer for each row, so a larger buffer would only cost
/// initialisation.
const BUFFER_BYTES: usize = 1024;

/// A writer of this project's CSV.
pub fn writer<W: Write>(out: W) -> csv::Writer<W> {
    csv::WriterBuilder::new().buffer_capacity(BUFFER_BYTES).terminator(csv::Terminator::CRLF).from_writer(out)
}

/// Writes the header row of user events.
pub fn write_user_header<W: Write>(writer: &mut csv::Writer<W>) -> csv::Result<()> {
    writer.write_record(USER_COLUMNS)
}

/// Writes one user event. `neutralise_formulas`: see [`neutralised`].
pub fn write_user_row<W: Write>(
    writer: &mut csv::Writer<W>,
    event: &UserEvent<'_>,
    neutralise_formulas: bool,
) -> csv::Result<()> {
    let full = event.user_full().map(|full| full.to_string());
    let values = [
        Some(event.host.as_ref()),
        Some(event.command.as_ref()),
        full.as_deref(),
        event.user_directory.as_deref(),
        event.user_id.as_deref(),
        event.origin.as_deref(),
        event.context.as_deref(),
        event.message.as_deref(),
        event.app_id.as_deref(),
        event.app_name.as_deref(),
        event.browser_name.as_deref(),
        event.browser_major.as_deref(),
        event.os_name.as_deref(),
        event.os_version.as_deref(),
        Some(event.message_type.as_ref()),
    ];
    writer.write_field(timestamp(event.received_ns))?;
    for value in values {
        let value = value.unwrap_or_default();
        if neutralise_formulas {
            writer.write_field(neutralised(value).as_bytes())?;
        } else {
            writer.write_field(value)?;
        }
    }
    writer.write_record(None::<&[u8]>)
}

/// Prevents that a spreadsheet runs a value as a formula.
///
/// A `'` is put before `=`, `+`, `-`, `@` and their full-width forms (`＝`, `＋`, `－`, `＠`) at the beginning of
/// the value and after `;`, a tab, CR or LF, ignoring quotes in between: where `;` or a tab separates
/// columns, the rest is a cell. A value that begins with a tab, CR or LF also gets a `'` before it. The
/// function is idempotent.
pub fn neutralised(value: &str) -> Cow<'_, str> {
    let bytes = value.as_bytes();
    let (mut out, mut copied) = (String::new(), 0);
    let mut quote_at = |at: usize| {
        out.push_str(&value[copied..at]);
        out.push('\'');
        copied = at;
    };
    if value.starts_with(['\t', '\r', '\n']) {
        quote_at(0);
    }
    if let Some(at) = formula_at(value, 0) {
        quote_at(at);
    }
    // Almost every value has no separator, or no formula after it: nothing is copied then.
    if holds_control_or(b';', bytes) {
        for (at, _) in
            bytes.iter().enumerate().filter(|(_, byte)| matches!(byte, b';' | b'\t' | b'\r' | b'\n'))
        {
            if let Some(at) = formula_at(value, at + 1) {
                quote_at(at);
            }
        }
    }
    if out.is_empty() {
        return value.into();
    }
    out.push_str(&value[copied..]);
    out.into()
}

/// The position of a formula in the cell that begins at `start`, ignoring quotes before it.
fn formula_at(value: &str, start: usize) -> Option<usize> {
    let quotes = value.as_bytes()[start..].iter().take_while(|byte| **byte == b'"').count();
    let at = start + quotes;
    match value.as_bytes().get(at)? {
        b'=' | b'+' | b'-' | b'@' => Some(at),
        // The first byte of a full-width form.
        0xef => value[at..].starts_with(['＝', '＋', '－', '＠']).then_some(at),
        _ => None,
    }
}

/// A time in ns since 1970-01-01 as RFC 3339 in UTC, with nine digits: `2026-11-20T10:11:12.345000000Z`.
pub fn timestamp(ns: u64) -> String {
    let time =
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(ns)).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let (hour, minute, second, nanosecond) = time.to_hms_nano();
    let parts = [
        (0..4, time.year().unsigned_abs()),
        (5..7, u32::from(u8::from(time.month()))),
        (8..10, u32::from(time.day())),
        (11..13, u32::from(hour)),
        (14..16, u32::from(minute)),
        (17..19, u32::from(second)),
        (20..29, nanosecond),
    ];
    let mut text = *b"0000-00-00T00:00:00.000000000Z";
    for (place, mut number) in parts {
        for digit in text[place].iter_mut().rev() {
            // The cast fits: a digit is below 10.
            *digit += (number % 10) as u8;
            number /= 10;
        }
    }
    String::from_utf8_lossy(&text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rows(event: &UserEvent<'_>, neutralise_formulas: bool) -> String {
        let mut writer = writer(Vec::new());
        write_user_header(&mut writer).expect("a header");
        write_user_row(&mut writer, event, neutralise_formulas).expect("a row");
        String::from_utf8(writer.into_inner().expect("a vector")).expect("text")
    }

    #[test]
    fn header_and_row() {
        let event = UserEvent {
            received_ns: 1_795_169_472_345_000_001,
            message_type: "qseow-proxy-session".into(),
            host: "h".into(),
            command: "Start session".into(),
            user_directory: Some("LAB".into()),
            user_id: Some("=goran".into()),
            origin: Some("".into()),
            message: Some("a, \"b\"".into()),
            os_version: Some("10".into()),
            ..UserEvent::default()
        };
        let header = "timestamp,host,event_action,userFull,userDirectory,userId,origin,context,message,\
                      appId,appName,uaBrowserName,uaBrowserMajorVersion,uaOsName,uaOsVersion,messageType\r\n";
        let row = |id: &str| {
            format!(
                "{header}2026-11-20T10:11:12.345000001Z,h,Start session,LAB\\=goran,LAB,{id},,,\
                 \"a, \"\"b\"\"\",,,,,,10,qseow-proxy-session\r\n"
            )
        };
        assert_eq!(rows(&event, true), row("'=goran"));
        assert_eq!(rows(&event, false), row("=goran"));
    }

    #[test]
    fn formulas_are_neutralised() {
        let check = |value: &str, expect: &str| assert_eq!(neutralised(value), expect);
        check("=1+1", "'=1+1");
        check("+1", "'+1");
        check("-1", "'-1");
        check("@x", "'@x");
        check("\tx", "'\tx");
        check("a=1", "a=1");
        check("", "");
        for separator in [";", "\t", "\r", "\n", "\r\n", ";;", ";\"", "\t\"\""] {
            for formula in ["=1+1", "+1", "-1", "@x", "＝1", "＋1", "－1", "＠x"] {
                check(&format!("x{separator}{formula}"), &format!("x{separator}'{formula}"));
                check(&format!("å{separator}y{formula}"), &format!("å{separator}y{formula}"));
                check(&format!("x{separator} {formula}"), &format!("x{separator} {formula}"));
            }
        }
        for formula in ["＝1+1", "＋1", "－1", "＠x"] {
            check(formula, &format!("'{formula}"));
        }
        check("\r=1", "'\r'=1");
        check("\nx", "'\nx");
        check("\"=1", "\"'=1");
        check("\"x\"", "\"x\"");
        check("x;=1;=2\n-3", "x;'=1;'=2\n'-3");
        check("a, b; c; d - e", "a, b; c; d - e");
        check("UserDirectory=LAB; UserId=anna", "UserDirectory=LAB; UserId=anna");
    }

    proptest! {
        #[test]
        fn a_neutral_value_is_unchanged(value in "[;\t\r\n\"=+@＝－' xå-]{0,12}") {
            let once = neutralised(&value);
            prop_assert_eq!(neutralised(&once), once.clone());
            // Every cell that a reader can find, with any separator.
            let begins_formula = ['=', '+', '-', '@', '＝', '＋', '－', '＠'];
            for cell in once.split([';', '\t', '\r', '\n']) {
                prop_assert!(!cell.trim_start_matches('"').starts_with(begins_formula), "{:?}", once);
            }
            prop_assert_eq!(once.replace('\'', ""), value.replace('\'', ""));
        }
    }

    #[test]
    fn any_time_is_written() {
        assert_eq!(timestamp(0), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(timestamp(u64::MAX), "2554-07-21T23:34:33.709551615Z");
    }
}
