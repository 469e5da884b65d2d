//! Records of the stream `audit-events`.

use butler_sos_domain::audit::{AuditEvent, AuditRecord};
use butler_sos_domain::encode::audit_csv::AuditCsv;
use butler_sos_domain::encode::audit_line::AuditPoint;
use butler_sos_domain::encode::audit_mqtt;
use butler_sos_domain::streams::Stream;

use super::{LineEncoder, MessageEncoder, RowEncoder};
use crate::journal::batch::Record;

fn event<'r>(record: &Record<'r>) -> Result<AuditEvent<'r>, String> {
    AuditEvent::from_bytes(record.data).map_err(|error| error.to_string())
}

#[derive(Debug, Clone)]
pub struct AuditEventLines(pub AuditPoint);

impl LineEncoder for AuditEventLines {
    fn encode(&mut self, record: &Record<'_>, out: &mut Vec<u8>) -> Result<(), String> {
        self.0.write(&event(record)?, out);
        Ok(())
    }

    fn measurement_with_ids(&self) -> Option<&str> {
        Some(self.0.measurement())
    }

    fn set_ids_as_fields(&mut self, are_fields: bool) {
        self.0.set_ids_as_fields(are_fields);
    }
}

pub struct AuditEventRows(pub AuditCsv);

impl RowEncoder for AuditEventRows {
    fn stream(&self) -> Stream {
        Stream::AuditEvents
    }

    fn header(&self, writer: &mut csv::Writer<&mut Vec<u8>>) -> csv::Result<()> {
        self.0.write_header(writer)
    }

    fn encode(&self, record: &Record<'_>, writer: &mut csv::Writer<&mut Vec<u8>>) -> Result<(), String> {
        self.0.write_row(writer, &event(record)?).map_err(|error| error.to_string())
    }
}

/// Every event goes to one topic:
/// `{"receivedAt":"2026-11-20T10:11:12.345Z","event":<body as received>}`, for a screenshot with
/// `screenshotSavedPaths`, `screenshotSha256` and `screenshotError` when they are set.
#[derive(Debug, Clone)]
pub struct AuditEventMessages {
    pub topic: String,
}

impl MessageEncoder for AuditEventMessages {
    fn stream(&self) -> Stream {
        Stream::AuditEvents
    }

    fn encode<'e>(&'e self, record: &Record<'_>, out: &mut Vec<(&'e str, Vec<u8>)>) -> Result<(), String> {
        let event = AuditRecord::decode(record.data).map_err(|error| error.to_string())?;
        let mut bytes = Vec::with_capacity(record.data.len() + 128);
        audit_mqtt::write(&event, &mut bytes);
        out.push((&self.topic, bytes));
        Ok(())
    }
}
