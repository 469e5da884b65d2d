//! What the records of a stream become in each kind of destination.
//!
//! A sink knows its far end, not what it carries: it has an encoder. A stream has one file here with its encoders.
//! Every `encode` answers what is wrong with a record, for its dead letter; what it appended is taken back then.

pub mod audit_events;
pub mod user_events;

use butler_sos_domain::streams::Stream;

use crate::journal::batch::Record;

/// InfluxDB: a line of the line protocol.
pub trait LineEncoder {
    /// Appends the record's line, newline included, or nothing when there is no point to write.
    ///
    /// # Errors
    /// What is wrong with the record.
    fn encode(&mut self, record: &Record<'_>, out: &mut Vec<u8>) -> Result<(), String>;

    /// The measurement of points whose ids may be tags or fields; `None` where there are no such ids.
    fn measurement_with_ids(&self) -> Option<&str> {
        None
    }

    /// Whether those ids are fields from now on.
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
    /// Its name begins the name of each file.
    fn stream(&self) -> Stream;

    /// Writes the row with the names of the columns.
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
    /// Its name is part of the client's id.
    fn stream(&self) -> Stream;

    /// Appends the record's topics and payloads, in the order in which they are published.
    ///
    /// # Errors
    /// What is wrong with the record.
    fn encode<'e>(&'e self, record: &Record<'_>, out: &mut Vec<(&'e str, Vec<u8>)>) -> Result<(), String>;
}
