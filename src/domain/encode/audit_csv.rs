//! Audit events as rows of a CSV file: the columns of [`COLUMNS`]. Contract: `destinations.md`, "CSV".
//!
//! A null is an empty value, a Boolean `true` or `false`. The file's own rules are those of
//! [`super::csv`], whose [`writer`](super::csv::writer) writes both kinds of rows.

use std::borrow::Cow;
use std::io::Write;

use super::audit_columns::{COLUMNS, Cell, Row, StaticTag, tags_json};
use super::csv::neutralised;
use crate::audit::AuditEvent;
use crate::audit::json::write_number;

/// Encodes audit events as rows. Created once from the configuration.
#[derive(Debug, Clone, Default)]
pub struct AuditCsv {
    tags: Option<String>,
    neutralise_formulas: bool,
}

impl AuditCsv {
    /// `neutralise_formulas`: see [`neutralised`]. It applies to text only, so negative numbers are
    /// unchanged.
    pub fn new(tags: &[StaticTag], neutralise_formulas: bool) -> Self {
        Self { tags: tags_json(tags), neutralise_formulas }
    }

    /// Writes the header row of each file.
    pub fn write_header<W: Write>(&self, writer: &mut csv::Writer<W>) -> csv::Result<()> {
        writer.write_record(COLUMNS.iter().map(|column| column.name))
    }

    /// Writes the row of one event.
    pub fn write_row<W: Write>(
        &self,
        writer: &mut csv::Writer<W>,
        event: &AuditEvent<'_>,
    ) -> csv::Result<()> {
        let row = Row { event, tags: self.tags.as_deref() };
        for column in &COLUMNS {
            match (column.cell)(row) {
                Cell::Null => writer.write_field("")?,
                Cell::Integer(number) => writer.write_field(number.to_string())?,
                Cell::Float(number) => {
                    let mut text = String::new();
                    write_number(number, &mut text);
                    writer.write_field(text)?;
                }
                Cell::Boolean(value) => writer.write_field(if value { "true" } else { "false" })?,
                Cell::Text(text) => writer.write_field(self.text(&text).as_bytes())?,
            }
        }
        writer.write_record(None::<&[u8]>)
    }

    fn text<'t>(&self, text: &'t str) -> Cow<'t, str> {
        // Readers treat a NUL as the end of the file, or refuse the row.
        if text.contains('\0') {
            let text = text.replace('\0', "\u{fffd}");
            return if self.neutralise_formulas {
                neutralised(&text).into_owned().into()
            } else {
                text.into()
            };
        }
        if self.neutralise_formulas { neutralised(text) } else { text.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(event: &AuditEvent<'_>, neutralise_formulas: bool) -> Vec<csv::StringRecord> {
        let encoder = AuditCsv::new(&[("env".into(), "peer".into())], neutralise_formulas);
        let mut writer = crate::encode::csv::writer(Vec::new());
        encoder.write_header(&mut writer).expect("a header");
        encoder.write_row(&mut writer, event).expect("a row");
        let out = writer.into_inner().expect("in memory");
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
