//! The targets, one a file.

pub mod configuration;
pub mod datagram;
pub mod depth;
pub mod encode;
pub mod envelope;
pub mod influx_answer;
pub mod journal;
pub mod location;
pub mod record;
pub mod set_cookie;

use butler_sos_domain::encode::line_protocol::Version;

/// Every version of InfluxDB.
const VERSIONS: [Version; 3] = [Version::V1, Version::V2, Version::V3];

/// Fails unless `text` is one line, and one point to the strict parser of version 3. (Versions 1 and 2 take a
/// backslash for itself before what it does not escape, so lines for them are looked at less closely.)
fn assert_one_line(version: Version, text: &[u8]) {
    let text = std::str::from_utf8(text).expect("a line is UTF-8");
    let whole = text.strip_suffix('\n').expect("a line ends");
    if version == Version::V3 {
        let lines: Result<Vec<_>, _> = influxdb_line_protocol::parse_lines(text).collect();
        assert_eq!(lines.map(|lines| lines.len()).map_err(|error| error.to_string()), Ok(1), "{whole}");
    }
}
