//! The meaning of InfluxDB's answer to a write, and the lines that it names. Pure.
//! Contract: destinations.md, "InfluxDB".
//!
//! # The answers
//!
//! | status | means |
//! |---|---|
//! | 204 | all lines were accepted |
//! | any other 2xx | not an answer of InfluxDB: retry later |
//! | 413 | the body was too large |
//! | 400, 422, 5xx, other 4xx | [`influx_refusal`] reads the cause from the message: some or all lines (the
//! body says which, and whether the others were accepted), or not the data: retry later |
//! | 3xx, 401, 403, 404 | not caused by the data: retry later |
//!
//! Bodies are JSON with the message in `error` or `message`. The versions name lines as follows:
//!
//! ```text
//! 3     {"error":"partial write of line protocol occurred","data":[{"line_number":2,"error_message":"…"}]}
//!       others taken; the lines are counted from 1
//! 3     {"error":"parsing failed for write_lp endpoint","data":{"line_number":2,"error_message":"…"}}
//!       nothing taken
//! 1     {"error":"partial write: unable to parse 'LINE': why\nunable to parse 'LINE': why dropped=0"}
//!       others taken
//! 1, 2  {"error":"unable to parse 'LINE': why"}                          nothing taken
//! 1, 2  {"error":"partial write: why dropped=N"}                         N were dropped, not said which
//!       why = field type conflict: input field "F" on measurement "M" is type T, already exists as type U
//! ```
//!
//! `dropped=N` counts one shard: with points in several shards only one of them answers. A shard covers at
//! least one hour, so the number is trusted when all lines are within one hour. It excludes lines that could
//! not be parsed, and then these are not named either: so it is trusted only when every line can be parsed.
//! In all other cases the lines are sent again in smaller groups: a point written twice is one point.

use std::collections::BTreeMap;
use std::time::Duration;

use butler_sos_domain::influx_refusal::{self, Fault};
use serde::Deserialize;
use serde_json::Value;

use crate::kit::delivery_error::DeliveryError;
use crate::net::http_client::{Answer, shortened, status_class};
use crate::sinks::delivery_job::{RejectedItems, bisect};

/// A server that lists this many lines may have omitted others.
const LISTED_BELIEVED_MAX: usize = 99;
/// The class of the delivery error when the server that answers is not InfluxDB.
pub const NOT_INFLUXDB: &str = "not-influxdb";
/// The length of the excerpt of an answer that is not from InfluxDB.
const FOREIGN_CHARS_MAX: usize = 200;

/// An HTTP answer, as far as it was read.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub retry_after: Option<Duration>,
    pub body: String,
}

impl From<Answer> for Reply {
    fn from(Answer { status, retry_after, body }: Answer) -> Self {
        Self { status, retry_after, body }
    }
}

/// The meaning of a write's answer for the lines that were sent.
#[derive(Debug)]
pub enum Verdict {
    Taken,
    /// Some or all lines were refused.
    Refused(Complaint),
    TooLarge(String),
    DeliveryError(DeliveryError),
}

/// The server's message about lines that it did not accept.
#[derive(Debug, Default)]
pub struct Complaint {
    message: String,
    /// Whether the body is JSON with a message.
    is_json: bool,
    lines: Vec<NamedLine>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct NamedLine {
    line_number: usize,
    error_message: String,
}

// === impl Reply ===

impl Reply {
    /// The meaning of this answer to a write.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        match self.status {
            204 => return Verdict::Taken,
            413 => return Verdict::TooLarge(self.detail()),
            ..400 => return Verdict::DeliveryError(self.trouble()),
            _ => {}
        }
        let complaint = Complaint::read(&self.body);
        let message = complaint.is_json.then_some(complaint.message.as_str());
        let lines = complaint.lines.iter().map(|line| line.error_message.as_str());
        match influx_refusal::fault(self.status, message, &self.body, lines) {
            Fault::Lines | Fault::Limit => Verdict::Refused(complaint),
            Fault::Server => Verdict::DeliveryError(self.trouble()),
            Fault::Foreign => Verdict::DeliveryError(self.not_influxdb("a refusal")),
        }
    }

    /// The delivery error for an answer that InfluxDB does not give in place of `expected`.
    #[must_use]
    pub fn not_influxdb(&self, expected: &str) -> DeliveryError {
        let excerpt: String = self.body.split_whitespace().collect::<Vec<_>>().join(" ");
        let excerpt: String = excerpt.chars().take(FOREIGN_CHARS_MAX).collect();
        let detail = format!(
            "what answers with status {} is not InfluxDB, or something stands before it (expected: {expected}; check \
             scheme, host, port and proxies): {}",
            self.status,
            if excerpt.is_empty() { "no words" } else { &excerpt }
        );
        DeliveryError { class: NOT_INFLUXDB, detail, retry_after: self.retry_after }
    }

    /// This answer as a delivery error, to retry later.
    #[must_use]
    pub fn trouble(&self) -> DeliveryError {
        if (200..300).contains(&self.status) {
            return self.not_influxdb("status 204");
        }
        let class = match self.detail().as_str() {
            // The server's own timeout for its shards.
            "timeout" => "timeout",
            _ => status_class(self.status),
        };
        let hint = match self.status {
            401 => " (check name, password or token)",
            403 => " (the user or token lacks the permission)",
            404 => " (no such database, bucket, organisation or address)",
            300..=399 => " (redirects are not followed; check scheme, host and port)",
            _ => "",
        };
        let detail = format!("InfluxDB answered {}{hint}: {}", self.status, self.detail());
        DeliveryError { class, detail, retry_after: self.retry_after }
    }

    /// The message of the body, for people.
    #[must_use]
    pub fn detail(&self) -> String {
        let detail = Complaint::read(&self.body).message;
        if detail.is_empty() {
            format!("status {} without a message", self.status)
        } else {
            shortened(&detail)
        }
    }
}

// === impl Complaint ===

impl std::fmt::Display for Complaint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&shortened(&self.message))
    }
}

impl Complaint {
    /// Reads a body of any version, or takes it as plain text.
    #[must_use]
    pub fn read(body: &str) -> Self {
        let Ok(Value::Object(mut object)) = serde_json::from_str::<Value>(body) else {
            return Self { message: body.trim().to_owned(), is_json: false, lines: Vec::new() };
        };
        let text = ["error", "message", "err"]
            .into_iter()
            .find_map(|key| object.get(key).and_then(Value::as_str).map(str::to_owned));
        let lines = match object.remove("data") {
            Some(data @ Value::Array(_)) => serde_json::from_value(data).unwrap_or_default(),
            Some(data @ Value::Object(_)) => {
                serde_json::from_value(data).map(|one| vec![one]).unwrap_or_default()
            }
            _ => Vec::new(),
        };
        let is_json = text.is_some();
        Self { message: text.unwrap_or_else(|| body.trim().to_owned()), is_json, lines }
    }

    /// Finds which of `lines` (without the newlines at their ends) are named.
    #[must_use]
    pub fn about(&self, lines: &[&[u8]]) -> RejectedItems {
        if lines.len() <= 1 {
            return RejectedItems { bad: self.all_bad(lines.len()), again: Vec::new() };
        }
        self.by_number(lines)
            .or_else(|| self.by_quotation(lines))
            .or_else(|| self.by_field_type(lines))
            .or_else(|| self.by_count(lines))
            .unwrap_or_else(|| bisect(lines.len()))
    }

    fn all_bad(&self, lines: usize) -> BTreeMap<usize, String> {
        let own = self.lines.first().map_or("", |line| &line.error_message);
        let detail = if own.is_empty() { &self.message } else { own };
        let detail =
            if detail.is_empty() { "rejected without a message".to_owned() } else { shortened(detail) };
        (0..lines).map(|line| (line, detail.clone())).collect()
    }

    /// Version 3 gives line numbers.
    fn by_number(&self, lines: &[&[u8]]) -> Option<RejectedItems> {
        let mut bad = BTreeMap::new();
        for named in &self.lines {
            let index = named.line_number.checked_sub(1).filter(|index| *index < lines.len())?;
            let detail = if named.error_message.is_empty() { &self.message } else { &named.error_message };
            bad.insert(index, shortened(detail));
        }
        if bad.is_empty() {
            return None;
        }
        // With a newline within a text the line numbers are ambiguous.
        if lines.iter().any(|line| line.contains(&b'\n')) {
            return Some(suspects(lines.len(), &bad.into_keys().collect::<Vec<_>>()));
        }
        let believed = self.is_partial() && bad.len() <= LISTED_BELIEVED_MAX;
        Some(found(lines.len(), bad, believed))
    }

    /// Versions 1 and 2 quote all lines that they cannot parse.
    fn by_quotation(&self, lines: &[&[u8]]) -> Option<RejectedItems> {
        const QUOTE: &str = "unable to parse '";
        let (before, mut rest) = self.message.split_once(QUOTE)?;
        if before.contains('\'') {
            return None;
        }
        let mut bad = BTreeMap::new();
        loop {
            // A line can contain the text of the next quotation, so lines are skipped as a whole.
            let quoted = |line: &&[u8]| {
                rest.as_bytes().strip_prefix(*line).is_some_and(|after| after.starts_with(b"':"))
            };
            let longest = lines.iter().filter(|line| quoted(line)).max_by_key(|line| line.len())?;
            let after = rest.get(longest.len() + 2..)?;
            let next = after.find(&format!("\n{QUOTE}"));
            let reason = after.get(..next.unwrap_or(after.len()))?;
            let reason = reason.split(" dropped=").next().unwrap_or(reason).trim();
            let detail = shortened(&format!("{QUOTE}{}': {reason}", String::from_utf8_lossy(longest)));
            for (index, _) in lines.iter().enumerate().filter(|(_, line)| *line == longest) {
                bad.insert(index, detail.clone());
            }
            match next {
                Some(next) => rest = after.get(next + 1 + QUOTE.len()..)?,
                None => break,
            }
        }
        let believed = self.is_partial() && self.dropped() == Some(0);
        Some(found(lines.len(), bad, believed))
    }

    /// Versions 1 and 2 name a field with the wrong type.
    fn by_field_type(&self, lines: &[&[u8]]) -> Option<RejectedItems> {
        let (_, rest) = self.message.split_once("input field \"")?;
        let (field, rest) = rest.split_once("\" on measurement \"")?;
        let (_, rest) = rest.split_once("\" is type ")?;
        let (kind, _) = rest.split_once(',')?;
        let read: Vec<Option<Line<'_>>> = lines.iter().map(|line| Line::read(line)).collect();
        let holds = |line: &Option<Line<'_>>| {
            line.as_ref().is_some_and(|line| line.fields.contains(&(field.as_bytes(), kind)))
        };
        let holders: Vec<usize> = (0..lines.len()).filter(|&index| holds(&read[index])).collect();
        if holders.is_empty() {
            return None;
        }
        if self.is_partial() && self.dropped() == Some(holders.len()) && are_of_one_hour(&read) {
            let detail = shortened(&self.message);
            let bad = holders.into_iter().map(|index| (index, detail.clone())).collect();
            return Some(RejectedItems { bad, again: Vec::new() });
        }
        Some(suspects(lines.len(), &holders)).filter(|_| holders.len() < lines.len())
    }

    /// The number of dropped lines equals the number of all lines.
    fn by_count(&self, lines: &[&[u8]]) -> Option<RejectedItems> {
        let all = self.is_partial() && self.dropped() == Some(lines.len());
        all.then(|| RejectedItems { bad: self.all_bad(lines.len()), again: Vec::new() })
    }

    fn is_partial(&self) -> bool {
        self.message.contains("partial write")
    }

    fn dropped(&self) -> Option<usize> {
        let (_, count) = self.message.rsplit_once(" dropped=")?;
        count.trim().parse().ok()
    }
}

// === rejected items ===

/// These lines are refused; the others were accepted, or are sent again.
fn found(lines: usize, bad: BTreeMap<usize, String>, others_taken: bool) -> RejectedItems {
    let others: Vec<usize> = (0..lines).filter(|index| !bad.contains_key(index)).collect();
    let again = if others_taken || others.is_empty() { Vec::new() } else { vec![others] };
    RejectedItems { bad, again }
}

/// These lines are probably bad: they are sent again apart from the others.
fn suspects(lines: usize, likely: &[usize]) -> RejectedItems {
    let others: Vec<usize> = (0..lines).filter(|index| !likely.contains(index)).collect();
    if others.is_empty() {
        return bisect(lines);
    }
    RejectedItems { bad: BTreeMap::new(), again: vec![others, likely.to_vec()] }
}

// === reading lines ===

/// A line, as far as an answer can refer to it.
struct Line<'l> {
    /// Name and type of each field, with InfluxDB's names of types.
    fields: Vec<(&'l [u8], &'static str)>,
    time_ns: i64,
}

impl<'l> Line<'l> {
    /// Reads a line that every version can parse; `None` for any doubt.
    fn read(line: &'l [u8]) -> Option<Self> {
        let (series, mut rest) = split_unescaped(line, b' ')?;
        if series.len() > SERIES_BYTES_MAX || !is_series(series) {
            return None;
        }
        let mut fields = Vec::new();
        loop {
            let (key, value) = split_unescaped(rest, b'=')?;
            let end = match value.first()? {
                b'"' => text_end(value)?,
                _ => value.iter().position(|byte| matches!(byte, b',' | b' '))?,
            };
            if key.is_empty() {
                return None;
            }
            fields.push((key, kind_of(&value[..end])?));
            match value[end..].split_first()? {
                (b',', next) => rest = next,
                (b' ', time) => {
                    let time_ns = std::str::from_utf8(time).ok()?.parse().ok()?;
                    return (TIMES_NS.contains(&time_ns)).then_some(Self { fields, time_ns });
                }
                _ => return None,
            }
        }
    }
}

/// InfluxDB's limit for series and field together is 65 535.
const SERIES_BYTES_MAX: usize = 64_000;

/// Times that every version accepts.
const TIMES_NS: std::ops::Range<i64> = i64::MIN + 2..i64::MAX;

fn is_series(series: &[u8]) -> bool {
    let (measurement, mut rest) = split_unescaped(series, b',').unwrap_or((series, b""));
    let mut keys = Vec::new();
    while !rest.is_empty() {
        let (tag, next) = split_unescaped(rest, b',').unwrap_or((rest, b""));
        match split_unescaped(tag, b'=') {
            Some((key, value)) if !key.is_empty() && !value.is_empty() && !keys.contains(&key) => {
                keys.push(key)
            }
            _ => return false,
        }
        rest = next;
    }
    !measurement.is_empty() && !series.ends_with(b",")
}

fn kind_of(value: &[u8]) -> Option<&'static str> {
    let text = std::str::from_utf8(value).ok()?;
    match (value.first()?, value.last()?) {
        (b'"', _) => Some("string"),
        (b't' | b'T' | b'f' | b'F', _) => matches!(text, "true" | "false").then_some("boolean"),
        (_, b'i') => text[..text.len() - 1].parse::<i64>().ok().map(|_| "integer"),
        (_, b'u') => text[..text.len() - 1].parse::<u64>().ok().map(|_| "unsigned"),
        _ => text.parse::<f64>().ok().filter(|value| value.is_finite()).map(|_| "float"),
    }
}

fn split_unescaped(bytes: &[u8], wanted: u8) -> Option<(&[u8], &[u8])> {
    let at = (0..bytes.len()).find(|&at| bytes[at] == wanted && (at == 0 || bytes[at - 1] != b'\\'))?;
    Some((&bytes[..at], &bytes[at + 1..]))
}

/// The end of a quoted text.
fn text_end(value: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        match value.get(at)? {
            b'\\' => at += 2,
            b'"' => return Some(at + 1),
            _ => at += 1,
        }
    }
}

/// Whether all times are within one hour, and so in one shard.
fn are_of_one_hour(lines: &[Option<Line<'_>>]) -> bool {
    const HOUR_NS: i64 = 3_600_000_000_000;
    let hour = |line: &Option<Line<'_>>| Some(line.as_ref()?.time_ns.div_euclid(HOUR_NS));
    let first = lines.first().and_then(hour);
    first.is_some() && lines.iter().all(|line| hour(line) == first)
}

/// The beginning and the end of long messages, because the reason often comes last.
#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LINES: [&str; 4] =
        ["m,t=a f=\"x\" 1000", "m,t=b\\ c f=1 1001", "m,t=c g=2i,f=\"1, f=3\" 1002", "m,t=d f=true 1003"];

    fn check(body: &str, bad: &[usize], again: &[&[usize]]) {
        let lines = LINES.map(str::as_bytes);
        let rejected = Complaint::read(body).about(&lines);
        assert_eq!(rejected.bad.keys().copied().collect::<Vec<_>>(), bad, "{body}");
        assert_eq!(rejected.again, again.iter().map(|group| group.to_vec()).collect::<Vec<_>>(), "{body}");
    }

    #[test]
    fn finds_lines_by_number() {
        let partial = "partial write of line protocol occurred";
        check(
            &format!(
                r#"{{"error":"{partial}","data":[{{"original_line":"m","line_number":2,"error_message":"bad"}}]}}"#
            ),
            &[1],
            &[],
        );
        check(
            &format!(
                r#"{{"error":"{partial}","data":[{{"line_number":1}},{{"line_number":4,"error_message":"b"}}]}}"#
            ),
            &[0, 3],
            &[],
        );
        check(
            r#"{"error":"parsing failed for write_lp endpoint","data":{"line_number":3,"error_message":"bad"}}"#,
            &[2],
            &[&[0, 1, 3]],
        );
        check(&format!(r#"{{"error":"{partial}","data":[{{"line_number":5}}]}}"#), &[], &[&[0, 1], &[2, 3]]);
        check(&format!(r#"{{"error":"{partial}","data":[{{"line_number":0}}]}}"#), &[], &[&[0, 1], &[2, 3]]);
        check(&format!(r#"{{"error":"{partial}","data":null}}"#), &[], &[&[0, 1], &[2, 3]]);
    }

    #[test]
    fn line_numbers_are_ignored_with_a_newline_within_a_line() {
        let body = r#"{"error":"partial write","data":[{"line_number":2,"error_message":"bad"}]}"#;
        let lines: [&[u8]; 3] = [b"m f=\"a\nb\" 1", b"m f=2 2", b"m f=3 3"];
        let rejected = Complaint::read(body).about(&lines);
        assert_eq!(rejected, RejectedItems { bad: BTreeMap::new(), again: vec![vec![0, 2], vec![1]] });
    }

    #[test]
    fn finds_quoted_lines() {
        let quoted = |line: &str| format!("unable to parse '{}': bad", line.replace('"', "\\\""));
        let (second, third) = (quoted(&LINES[1].replace('\\', "\\\\")), quoted(LINES[2]));
        check(&format!(r#"{{"error":"partial write: {second}\n{third} dropped=0"}}"#), &[1, 2], &[]);
        check(&format!(r#"{{"error":"{third}"}}"#), &[2], &[&[0, 1, 3]]);
        check(&format!(r#"{{"code":"invalid","message":"{third}"}}"#), &[2], &[&[0, 1, 3]]);
        check(r#"{"error":"unable to parse 'another line': bad"}"#, &[], &[&[0, 1], &[2, 3]]);
    }

    #[test]
    fn ignores_a_quotation_within_a_line() {
        let hostile = "m f=\"x\nunable to parse 'm f=2 2': bad\" 1";
        let lines = [hostile.as_bytes(), b"m f=2 2", b"m f=3 3"];
        let body = Value::from(format!("partial write: unable to parse '{hostile}': why dropped=0"));
        let rejected = Complaint::read(&format!("{{\"error\":{body}}}")).about(&lines);
        assert_eq!(rejected.bad.keys().copied().collect::<Vec<_>>(), [0]);
        assert!(rejected.again.is_empty());
    }

    #[test]
    fn finds_lines_by_field_type() {
        let conflict = |field: &str, kind: &str, dropped: &str| {
            let text = format!(
                "partial write: field type conflict: input field \"{field}\" on measurement \"m\" is type {kind}, \
                 already exists as type boolean{dropped}"
            );
            format!("{{\"error\":{}}}", Value::from(text))
        };
        check(&conflict("f", "float", " dropped=1"), &[1], &[]);
        check(&conflict("f", "string", " dropped=2"), &[0, 2], &[]);
        check(&conflict("f", "boolean", " dropped=1"), &[3], &[]);
        check(&conflict("g", "integer", " dropped=1"), &[2], &[]);
        check(&conflict("f", "string", " dropped=3"), &[], &[&[1, 3], &[0, 2]]);
        check(&conflict("f", "float", ""), &[], &[&[0, 2, 3], &[1]]);
        check(&conflict("h", "float", " dropped=1"), &[], &[&[0, 1], &[2, 3]]);
        check(&conflict("h", "float", " dropped=4"), &[0, 1, 2, 3], &[]);
    }

    #[test]
    fn the_number_of_dropped_lines_is_trusted_within_one_shard() {
        let body = "partial write: field type conflict: input field \"f\" on measurement \"m\" is type float, \
                    already exists as type string dropped=1";
        let lines: [&[u8]; 3] = [b"m f=1 1", b"m f=\"b\" 2", b"m f=\"c\" 3600000000001"];
        let rejected = Complaint::read(body).about(&lines);
        assert_eq!(rejected, RejectedItems { bad: BTreeMap::new(), again: vec![vec![1, 2], vec![0]] });
    }

    #[test]
    fn the_number_of_dropped_lines_is_not_trusted_beside_a_line_that_cannot_be_parsed() {
        let body = "partial write: field type conflict: input field \"f\" on measurement \"m\" is type float, \
                    already exists as type string dropped=1";
        for bad in [
            "m 2",
            "m,t f=true 2",
            "m,t= f=true 2",
            "m,t=a,t=b f=true 2",
            "m, f=true 2",
            ",t=a f=true 2",
            "m f=x 2",
            "m f=\"x 2",
            "m f= 2",
            "m f=true",
            "m f=true x",
            "m f=1i,g=2.5i 2",
            "m f=true,=1 2",
            "m f=true 9223372036854775807",
        ] {
            let lines: [&[u8]; 3] = [b"m f=1 1", bad.as_bytes(), b"m f=\"c\" 3"];
            let rejected = Complaint::read(body).about(&lines);
            assert_eq!(rejected.again, [vec![1, 2], vec![0]], "{bad}");
        }
        let good = "m\\ 1,t\\,x=\\=\\ \\a f=\"\\\"\\\\\",g=-1.5e+21,h=2u,i=-3i 2";
        let lines: [&[u8]; 3] = [b"m f=1 1", good.as_bytes(), b"m f=\"c\" 3"];
        assert_eq!(Complaint::read(body).about(&lines).bad.len(), 1);
    }

    #[test]
    fn an_unknown_message_names_no_line() {
        check("", &[], &[&[0, 1], &[2, 3]]);
        check("no", &[], &[&[0, 1], &[2, 3]]);
        check("[1]", &[], &[&[0, 1], &[2, 3]]);
        check(r#"{"error":"partial write: points beyond retention policy dropped=4"}"#, &[0, 1, 2, 3], &[]);
        check(
            r#"{"error":"partial write: points beyond retention policy dropped=1"}"#,
            &[],
            &[&[0, 1], &[2, 3]],
        );
        let one = Complaint::read("no").about(&[b"m f=1 1"]);
        assert_eq!(one.bad, BTreeMap::from([(0, "no".to_owned())]));
    }

    fn reply(status: u16, body: &str) -> Reply {
        Reply { status, retry_after: None, body: body.to_owned() }
    }

    #[test]
    fn maps_each_status_to_a_verdict() {
        let reply = |status| reply(status, r#"{"error":"words"}"#);
        assert!(matches!(reply(204).verdict(), Verdict::Taken));
        for status in [400, 422] {
            assert!(matches!(reply(status).verdict(), Verdict::Refused(_)));
        }
        assert!(matches!(reply(413).verdict(), Verdict::TooLarge(detail) if detail == "words"));
        for (status, class) in [
            (200, NOT_INFLUXDB),
            (401, "http-401"),
            (404, "http-404"),
            (429, "http-429"),
            (503, "http-503"),
            (302, "http-3xx"),
            (418, "http-4xx"),
        ] {
            let Verdict::DeliveryError(trouble) = reply(status).verdict() else {
                panic!("{status} is trouble")
            };
            assert_eq!(trouble.class, class);
            assert!(trouble.detail.contains("words"), "{trouble}");
        }
    }

    #[test]
    fn only_a_204_is_accepted() {
        let page = "<!doctype html><html><body>Sign in</body></html>";
        for status in (200..300).filter(|status| *status != 204) {
            for body in [page, "", r#"{"results":[]}"#, "OK"] {
                let Verdict::DeliveryError(trouble) = reply(status, body).verdict() else {
                    panic!("{status} {body}")
                };
                assert_eq!(trouble.class, NOT_INFLUXDB, "{status} {body}");
                assert!(trouble.detail.contains(&status.to_string()), "{trouble}");
            }
        }
        let long = "<p>x</p> ".repeat(10_000);
        assert!(reply(200, &long).trouble().detail.chars().count() < 500);
    }

    #[test]
    fn a_refusal_is_classified_by_its_message() {
        let conflict = r#"{"code":"internal error","message":"unexpected error writing points to database: field type conflict: input field \"f\" on measurement \"m\" is type float, already exists as type string"}"#;
        let Verdict::Refused(complaint) = reply(500, conflict).verdict() else { panic!("a refusal") };
        assert_eq!(complaint.about(&LINES.map(str::as_bytes)).again, [vec![0, 2, 3], vec![1]]);
        for (status, body, class) in [
            (400, "Client sent an HTTP request to an HTTPS server.", NOT_INFLUXDB),
            (400, "<html><body>Bad Request</body></html>", NOT_INFLUXDB),
            (400, r#"{"error":"engine: cache-max-memory-size exceeded: (2/1)"}"#, "http-400"),
            (500, r#"{"error":"timeout"}"#, "timeout"),
            (500, r#"{"code":"internal error","message":"internal error"}"#, "http-500"),
        ] {
            let Verdict::DeliveryError(trouble) = reply(status, body).verdict() else {
                panic!("{status} {body}")
            };
            assert_eq!(trouble.class, class, "{body}");
        }
    }

    proptest! {
        /// Nothing is lost: each line is refused, sent again once, or accepted by the server. Groups shrink,
        /// so the search ends.
        #[test]
        fn every_line_is_refused_sent_again_or_accepted(body in "\\PC{0,80}|(partial write: |\\{\"error\":\")?(unable to parse '|input field \"f\" on measurement \"m\" is type (float|string), ).{0,30}( dropped=[0-9])?", count in 1_usize..9) {
            let lines: Vec<Vec<u8>> = (0..count).map(|n| format!("m f={n} {n}").into_bytes()).collect();
            let lines: Vec<&[u8]> = lines.iter().map(Vec::as_slice).collect();
            let rejected = Complaint::read(&body).about(&lines);
            let mut seen: Vec<usize> = rejected.bad.keys().copied().chain(rejected.again.iter().flatten().copied()).collect();
            let total = seen.len();
            seen.sort_unstable();
            seen.dedup();
            prop_assert_eq!(seen.len(), total);
            prop_assert!(rejected.again.iter().all(|group| !group.is_empty() && group.len() < count));
            prop_assert!(total == count || body.contains("partial write"));
        }
    }
}
