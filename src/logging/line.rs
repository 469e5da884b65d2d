//! From a record to its line, for people or as JSON.
//!
//! For people: `2026-11-21T02:40:34.123Z info: datagrams rejected reason=size count=3`. Values with blanks, quotes or
//! `=` stand in quotes. Control characters are escaped everywhere, so that nothing from outside can forge a line or
//! steer a terminal.

use std::fmt::{self, Write};

use serde_json::{Map, Value};
use slog::{KV, Key, OwnedKVList, Record, Serializer};
use time::OffsetDateTime;

use super::level_of;
use crate::config::{butler::LogLevel, pipeline::operations::LogFormat};

/// The line without colour and, when asked for, with it. Both end with a newline.
pub fn lines(
    format: LogFormat,
    coloured: bool,
    characters_max: usize,
    now: OffsetDateTime,
    record: &Record<'_>,
    values: &OwnedKVList,
) -> (String, Option<String>) {
    let level = level_of(record);
    // Collecting into a list cannot fail; a value that does is left out. slog hands pairs over last one first.
    let mut pairs = Pairs(Vec::new());
    let _ = values.serialize(record, &mut pairs);
    let _ = record.kv().serialize(record, &mut pairs);
    pairs.0.reverse();
    match format {
        LogFormat::Json => (json(now, level, record, pairs.0, characters_max), None),
        LogFormat::Human => {
            let body = human(record, &pairs.0, characters_max);
            let stamp = stamp(now);
            let plain = format!("{stamp} {}: {body}\n", level.name());
            let bright =
                coloured.then(|| format!("{stamp} {}{}\x1b[0m: {body}\n", colour(level), level.name()));
            (plain, bright)
        }
    }
}

/// UTC with milliseconds.
pub fn stamp(now: OffsetDateTime) -> String {
    let (hour, minute, second, millisecond) = now.to_hms_milli();
    format!("{}T{hour:02}:{minute:02}:{second:02}.{millisecond:03}Z", now.date())
}

const fn colour(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Error => "\x1b[31m",
        LogLevel::Warn => "\x1b[33m",
        LogLevel::Info => "\x1b[32m",
        LogLevel::Verbose => "\x1b[36m",
        LogLevel::Debug => "\x1b[34m",
        LogLevel::Silly => "\x1b[35m",
    }
}

fn human(record: &Record<'_>, pairs: &[(Key, Value)], characters_max: usize) -> String {
    let mut body = String::new();
    escape(&record.msg().to_string(), false, &mut body);
    for (key, value) in pairs {
        body.push(' ');
        escape(key, false, &mut body);
        body.push('=');
        match value {
            Value::String(text) => {
                let is_quoted =
                    text.is_empty() || text.contains([' ', '"', '=']) || text.chars().any(is_steering);
                if is_quoted {
                    body.push('"');
                }
                escape(text, is_quoted, &mut body);
                if is_quoted {
                    body.push('"');
                }
            }
            other => body.push_str(&other.to_string()),
        }
    }
    cut(body, characters_max)
}

/// One object; time, level and message first. A value that makes the line too long is cut.
fn json(
    now: OffsetDateTime,
    level: LogLevel,
    record: &Record<'_>,
    pairs: Vec<(Key, Value)>,
    characters_max: usize,
) -> String {
    let mut object = Map::new();
    object.insert("time".into(), stamp(now).into());
    object.insert("level".into(), level.name().into());
    object.insert("message".into(), cut(record.msg().to_string(), characters_max).into());
    let mut room = characters_max;
    for (key, value) in pairs {
        let value = match value {
            Value::String(text) => {
                let text = cut(text, room);
                room = room.saturating_sub(text.chars().count());
                Value::String(text)
            }
            other => other,
        };
        object.entry(key.to_string()).or_insert(value);
    }
    let mut line = escaped_json(&Value::Object(object).to_string());
    line.push('\n');
    line
}

/// JSON with what steers a terminal escaped, in JSON's own notation; such characters stand in its strings alone.
pub fn escaped_json(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if is_steering(c) {
            let _ = write!(out, "\\u{:04x}", u32::from(c));
        } else {
            out.push(c);
        }
    }
    out
}

/// Text with control characters escaped.
pub fn escaped(text: &str) -> String {
    let mut out = String::new();
    escape(text, false, &mut out);
    out
}

fn escape(text: &str, is_quoted: bool, out: &mut String) {
    for c in text.chars() {
        match c {
            '"' | '\\' if is_quoted => out.extend(['\\', c]),
            c if is_steering(c) => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
}

/// Control characters, line separators, and what turns the direction of writing.
fn is_steering(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}')
}

fn cut(mut text: String, characters_max: usize) -> String {
    if let Some((end, _)) = text.char_indices().nth(characters_max) {
        let end = text[..end].char_indices().next_back().map_or(0, |(last, _)| last);
        text.truncate(end);
        text.push('…');
    }
    text
}

/// The keys and values of a record, numbers as numbers.
struct Pairs(Vec<(Key, Value)>);

impl Pairs {
    fn put(&mut self, key: Key, value: impl Into<Value>) -> slog::Result {
        self.0.push((key, value.into()));
        Ok(())
    }
}

impl Serializer for Pairs {
    fn emit_arguments(&mut self, key: Key, value: &fmt::Arguments<'_>) -> slog::Result {
        self.put(key, value.to_string())
    }

    fn emit_str(&mut self, key: Key, value: &str) -> slog::Result {
        self.put(key, value)
    }

    fn emit_bool(&mut self, key: Key, value: bool) -> slog::Result {
        self.put(key, value)
    }

    fn emit_unit(&mut self, key: Key) -> slog::Result {
        self.put(key, Value::Null)
    }

    fn emit_none(&mut self, key: Key) -> slog::Result {
        self.put(key, Value::Null)
    }

    fn emit_u8(&mut self, key: Key, value: u8) -> slog::Result {
        self.put(key, value)
    }

    fn emit_i8(&mut self, key: Key, value: i8) -> slog::Result {
        self.put(key, value)
    }

    fn emit_u16(&mut self, key: Key, value: u16) -> slog::Result {
        self.put(key, value)
    }

    fn emit_i16(&mut self, key: Key, value: i16) -> slog::Result {
        self.put(key, value)
    }

    fn emit_u32(&mut self, key: Key, value: u32) -> slog::Result {
        self.put(key, value)
    }

    fn emit_i32(&mut self, key: Key, value: i32) -> slog::Result {
        self.put(key, value)
    }

    fn emit_u64(&mut self, key: Key, value: u64) -> slog::Result {
        self.put(key, value)
    }

    fn emit_i64(&mut self, key: Key, value: i64) -> slog::Result {
        self.put(key, value)
    }

    fn emit_usize(&mut self, key: Key, value: usize) -> slog::Result {
        self.put(key, value)
    }

    fn emit_isize(&mut self, key: Key, value: isize) -> slog::Result {
        self.put(key, value)
    }

    fn emit_f32(&mut self, key: Key, value: f32) -> slog::Result {
        self.put(key, value)
    }

    fn emit_f64(&mut self, key: Key, value: f64) -> slog::Result {
        self.put(key, value)
    }
}
