//! One line of line protocol, read by InfluxDB 3's own parser.

use std::collections::BTreeMap;

use influxdb_line_protocol::{FieldValue, ParsedLine, parse_lines};
use serde_json::{Value, json};

/// A point.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    pub measurement: String,
    pub tags: BTreeMap<String, String>,
    /// Integers and unsigned integers are told from floats by their suffix, as text: `"3i"`.
    pub fields: BTreeMap<String, Value>,
    pub time_ns: i64,
}

/// Reads a line that is for version 3, or for one of the versions before it.
pub fn read_line(line: &str, is_for_v3: bool) -> Result<Line, String> {
    read_point(line, is_for_v3, |point, tags, time_ns| {
        let value = |value: &FieldValue<'_>| match value {
            FieldValue::I64(number) => json!(format!("{number}i")),
            FieldValue::U64(number) => json!(format!("{number}u")),
            FieldValue::F64(number) => json!(number),
            FieldValue::String(text) => json!(text.as_str()),
            FieldValue::Boolean(value) => json!(value),
        };
        let read = Line {
            measurement: point.series.measurement.to_string(),
            tags,
            fields: point.field_set.iter().map(|(key, field)| (key.to_string(), value(field))).collect(),
            time_ns,
        };
        if read.fields.len() != point.field_set.len() {
            return Err("a field is there twice".to_owned());
        }
        Ok(read)
    })
}

/// What `read` makes of the one point of a line, its tags and its time.
pub(crate) fn read_point<T>(
    line: &str,
    is_for_v3: bool,
    read: impl FnOnce(&ParsedLine<'_>, BTreeMap<String, String>, i64) -> Result<T, String>,
) -> Result<T, String> {
    let line = if is_for_v3 { line.to_owned() } else { with_doubled_backslashes(line) };
    let mut lines = parse_lines(&line);
    let point = lines.next().ok_or("missing fields")?.map_err(|error| error.to_string())?;
    if lines.next().is_some() {
        return Err("one line holds two points".to_owned());
    }
    let time = point.timestamp.ok_or("no time")?;
    let all = point.series.tag_set.iter().flatten();
    let tags: BTreeMap<String, String> =
        all.clone().map(|(key, value)| (key.to_string(), value.to_string())).collect();
    if tags.len() != all.count() {
        return Err("duplicate tags".to_owned());
    }
    read(&point, tags, time)
}

/// Versions 1 and 2 take a backslash before anything but `,`, `=` and blank as itself; the parser of
/// version 3 wants such a one doubled.
fn with_doubled_backslashes(line: &str) -> String {
    let bytes = line.as_bytes();
    let mut is_escape = false;
    let series_end = bytes.iter().position(|byte| match byte {
        b' ' if !is_escape => true,
        _ => {
            is_escape = *byte == b'\\';
            false
        }
    });
    let (series, rest) = line.split_at(series_end.unwrap_or(line.len()));
    let mut out = String::with_capacity(line.len() + 8);
    let mut chars = series.chars().peekable();
    while let Some(c) = chars.next() {
        out.push(c);
        if c == '\\' && !chars.peek().is_some_and(|next| matches!(next, ',' | '=' | ' ')) {
            out.push('\\');
        }
    }
    out + rest
}
