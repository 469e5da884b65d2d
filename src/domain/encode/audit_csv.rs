//! Audit events as CSV: RFC 4180, a header row, the columns of [`COLUMNS`], UTF-8, lines end in CR LF.
//!
//! A null is an empty field, a Boolean `true` or `false`. Contract: `destinations.md`, "CSV".

use std::borrow::Cow;

use super::audit_columns::{COLUMNS, Cell, Row, StaticTag, tags_json};
use crate::audit::AuditEvent;
use crate::audit::json::write_number;

/// Writes rows for one file after the other.
#[derive(Debug, Clone, Default)]
pub struct AuditCsv {
    tags: Option<String>,
    /// Put `'` before text that a spreadsheet would run as a formula.
    neutralise_formulas: bool,
}

impl AuditCsv {
    pub fn new(tags: &[StaticTag], neutralise_formulas: bool) -> Self {
        Self { tags: tags_json(tags), neutralise_formulas }
    }

    /// Appends the header row, with which each file begins.
    pub fn write_header(&self, out: &mut Vec<u8>) {
        write_record(out, COLUMNS.iter().map(|column| Cow::Borrowed(column.name)));
    }

    /// Appends the row of one event.
    pub fn write_row(&self, event: &AuditEvent<'_>, out: &mut Vec<u8>) {
        let row = Row { event, tags: self.tags.as_deref() };
        write_record(out, COLUMNS.iter().map(|column| self.field((column.cell)(row))));
    }

    fn field<'r>(&self, cell: Cell<'r>) -> Cow<'r, str> {
        match cell {
            Cell::Null => Cow::Borrowed(""),
            Cell::Integer(number) => Cow::Owned(number.to_string()),
            Cell::Float(number) => {
                let mut text = String::new();
                write_number(number, &mut text);
                Cow::Owned(text)
            }
            Cell::Boolean(true) => Cow::Borrowed("true"),
            Cell::Boolean(false) => Cow::Borrowed("false"),
            Cell::Text(text) => {
                // Readers take a NUL for the end of the file or refuse the row.
                let text =
                    if text.contains('\0') { Cow::Owned(text.replace('\0', "\u{fffd}")) } else { text };
                if self.neutralise_formulas && text.starts_with(['=', '+', '-', '@', '\t']) {
                    Cow::Owned(format!("'{text}"))
                } else {
                    text
                }
            }
        }
    }
}

fn write_record<'r>(out: &mut Vec<u8>, fields: impl Iterator<Item = Cow<'r, str>>) {
    let mut writer =
        csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).buffer_capacity(4096).from_writer(out);
    // Writing into memory does not fail, and every record has the same number of fields.
    let _ = writer.write_record(fields.map(|field| field.into_owned().into_bytes()));
    let _ = writer.flush();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(event: &AuditEvent<'_>, neutralise_formulas: bool) -> Vec<csv::StringRecord> {
        let encoder = AuditCsv::new(&[("env".into(), "peer".into())], neutralise_formulas);
        let mut out = Vec::new();
        encoder.write_header(&mut out);
        encoder.write_row(event, &mut out);
        assert_eq!(out.windows(2).filter(|pair| pair == b"\r\n").count(), 2);
        let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(out.as_slice());
        reader.records().map(|record| record.expect("a record")).collect()
    }

    #[test]
    fn a_row() {
        let event = AuditEvent {
            timestamp_ms: 1_795_169_472_345,
            event_id: "id".into(),
            event_type: "audit.event".into(),
            app_name: Some("=1+1;\"x\",\ny\0".into()),
            duration_ms: Some(1234.5),
            visible: Some(false),
            ..AuditEvent::default()
        };
        let rows = rows(&event, true);
        assert_eq!(rows[0].iter().collect::<Vec<_>>(), COLUMNS.map(|column| column.name));
        let field =
            |name: &str| rows[0].iter().position(|column| column == name).and_then(|at| rows[1].get(at));
        assert_eq!(field("timestamp"), Some("1795169472345"));
        assert_eq!(field("date"), Some("20261120"));
        assert_eq!(field("appName"), Some("'=1+1;\"x\",\ny\u{fffd}"));
        assert_eq!(field("durationMs"), Some("1234.5"));
        assert_eq!(field("visible"), Some("false"));
        assert_eq!(field("dataStateId"), Some(""));
        assert_eq!(field("tags"), Some("{\"env\":\"peer\"}"));
    }

    #[test]
    fn formulas() {
        let check = |name: &'static str, neutralise: bool, expect: &str| {
            let event = AuditEvent { app_name: Some(name.into()), ..AuditEvent::default() };
            assert_eq!(rows(&event, neutralise)[1].get(9), Some(expect));
        };
        for (name, neutral) in
            [("=a", "'=a"), ("+a", "'+a"), ("-a", "'-a"), ("@a", "'@a"), ("\ta", "'\ta"), ("a=", "a=")]
        {
            check(name, true, neutral);
            check(name, false, name);
        }
    }
}
