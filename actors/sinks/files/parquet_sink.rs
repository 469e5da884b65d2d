//! Audit events as Parquet files. See [`columnar`](crate::sinks::files::columnar) for what it receives, sends
//! and keeps.

use std::fs::File;
use std::io;

use butler_sos_domain::audit::AuditEvent;
use butler_sos_domain::encode::audit_columns::StaticTag;
use butler_sos_domain::encode::covered::Covered;
use butler_sos_domain::encode::parquet;

use crate::sinks::files::columnar::{Columnar, Encoder};
use crate::sinks::sink::Sink;

pub type ParquetSink = Sink<ParquetFiles>;
pub type ParquetFiles = Columnar<Parquet>;

/// The file format Parquet.
pub struct Parquet;

impl Encoder for Parquet {
    const EXTENSION: &'static str = ".parquet";

    fn encode(
        events: &[AuditEvent<'_>],
        tags: &[StaticTag],
        covered: &Covered,
        _now_ms: i64,
    ) -> Result<Vec<u8>, String> {
        let mut out = Vec::new();
        parquet::write_file(&mut out, events, tags, Some(covered)).map_err(|error| {
            std::error::Error::source(&error).map_or(error.to_string(), |why| format!("{error}: {why}"))
        })?;
        Ok(out)
    }

    fn covered(file: File) -> io::Result<Option<Covered>> {
        // A file that is not Parquet is not ours.
        Ok(parquet::read_covered(file).ok().flatten())
    }
}
