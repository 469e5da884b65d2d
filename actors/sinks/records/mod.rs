//! Encoders of the records of a stream, for each kind of destination.
//!
//! A sink knows its endpoint, not the data: it has an encoder. Each stream has one file here with its
//! encoders. `encode` returns what is wrong with a record, for its dead letter; the appended bytes are then
//! removed.

pub mod audit_events;
pub mod user_events;

use butler_sos_domain::streams::Stream;

use crate::journal::batch::Record;

/// InfluxDB: a line of the line protocol.
pub trait LineEncoder {
    /// Appends the record's line with a newline, or nothing when there is no point to write.
    ///
    /// # Errors
    /// What is wrong with the record.
    fn encode(&mut self, record: &Record<'_>, out: &mut Vec<u8>) -> Result<(), String>;

    /// The measurement of points whose ids may be tags or fields; `None` without such ids.
    fn measurement_with_ids(&self) -> Option<&str> {
        None
    }

    /// Sets whether those ids are fields from now on.
    fn set_ids_as_fields(&mut self, _are_fields: bool) {}
}

/// New Relic: a JSON object.
pub trait ObjectEncoder {
    /// Appends the record's object.
    ///
    /// # Errors
    /// What is wrong with the record.
    fn encode(&self, record: &Record<'_>, out: &mut Vec<u8>) -> Result<(), String>;
}

/// CSV: a row.
pub trait RowEncoder: Send + Sync {
    /// The stream. Its name is the beginning of each file name.
    fn stream(&self) -> Stream;

    /// Writes the header row.
    ///
    /// # Errors
    /// When `writer` refuses.
    fn header(&self, writer: &mut csv::Writer<&mut Vec<u8>>) -> csv::Result<()>;

    /// Writes the record's row.
    ///
    /// # Errors
    /// What is wrong with the record.
    fn encode(&self, record: &Record<'_>, writer: &mut csv::Writer<&mut Vec<u8>>) -> Result<(), String>;
}

/// MQTT: topics and payloads.
pub trait MessageEncoder {
    /// The stream. Its name is part of the client's id.
    fn stream(&self) -> Stream;

    /// Appends the record's topics and payloads in the order of publishing.
    ///
    /// # Errors
    /// What is wrong with the record.
    fn encode<'e>(&'e self, record: &Record<'_>, out: &mut Vec<(&'e str, Vec<u8>)>) -> Result<(), String>;
}
