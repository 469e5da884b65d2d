//! Audit events as QVD files. See [`columnar`](crate::sinks::files::columnar) for what it receives, sends and
//! keeps.

use std::fs::File;
use std::io::{self, Read};

use butler_sos_domain::audit::AuditEvent;
use butler_sos_domain::encode::audit_columns::StaticTag;
use butler_sos_domain::encode::covered::Covered;
use butler_sos_domain::encode::qvd;

use crate::sinks::files::columnar::{Columnar, Encoder};
use crate::sinks::sink::Sink;

pub type QvdSink = Sink<QvdFiles>;
pub type QvdFiles = Columnar<Qvd>;

/// The file format QVD.
pub struct Qvd;

/// The header of our table is about 20 kB.
const HEADER_BYTES_MAX: u64 = 256 * 1024;

impl Encoder for Qvd {
    const EXTENSION: &'static str = ".qvd";

    fn encode(
        events: &[AuditEvent<'_>],
        tags: &[StaticTag],
        covered: &Covered,
        now_ms: i64,
    ) -> Result<Vec<u8>, String> {
        let mut out = Vec::new();
        qvd::write_file(&mut out, events, tags, Some(covered), now_ms).map_err(|error| error.to_string())?;
        Ok(out)
    }

    fn covered(file: File) -> io::Result<Option<Covered>> {
        let mut head = Vec::new();
        file.take(HEADER_BYTES_MAX).read_to_end(&mut head)?;
        Ok(qvd::read_covered(&head))
    }
}
