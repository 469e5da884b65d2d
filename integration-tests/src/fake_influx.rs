//! Stand-ins for InfluxDB 1, 2 and 3: what they say on the wire, and what they would have stored.
//!
//! Lines are read by InfluxDB 3's own parser, types of fields are held against what was written before,
//! and each version refuses in its own words:
//!
//! | version | line that cannot be parsed | field of another type |
//! |---|---|---|
//! | 1 | 400 `partial write: unable to parse '…': … dropped=0`, others taken | 400 `partial write: field type conflict: … dropped=N`, others taken |
//! | 2 | 400 `unable to parse '…': …`, nothing taken | 422 `… partial write: field type conflict: … dropped=N`, others taken |
//! | 3 | 400 with `data[].line_number`, others taken | the same |

use std::collections::{BTreeMap, VecDeque};
use std::io::Read as _;
use std::net::SocketAddr;
use std::sync::MutexGuard;

use flate2::read::GzDecoder;
use influxdb_line_protocol::FieldValue;
use serde_json::{Value, json};

use crate::line::read_point;
use crate::sandbox::wait_for;
use crate::stand_in::{Asked, Reaction, Service, StandIn};

/// What the stand-in is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FakeVersion {
    V1,
    V2,
    V3,
    /// Version 3 that knows the older write address only.
    V3WithoutWriteLp,
}

/// What happens to a write instead of the usual.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// This status and nothing stored.
    Status(u16),
    /// The same with `Retry-After`, in seconds.
    Busy(u16, u64),
    /// A page with this status, of something that stands in its place.
    Page(u16),
    /// No answer, nothing stored.
    Hang,
    /// The connection breaks before the answer, nothing stored.
    Cut,
    /// The same, but everything is stored.
    CutAfterStoring,
}

/// A write as it arrived.
#[derive(Debug, Clone)]
pub struct FakeWrite {
    /// With the query.
    pub path: String,
    pub authorization: Option<String>,
    pub is_gzip: bool,
    pub lines: Vec<String>,
    /// Of the answer; `None` when there was none.
    pub status: Option<u16>,
}

/// The running stand-in.
pub struct FakeInflux(StandIn<State>);

struct State {
    version: FakeVersion,
    token: Option<String>,
    may_administer: bool,
    /// What stands in its place answers everything with a page.
    is_page: bool,
    /// Fields of another type are an error of the whole write, with this status.
    conflict_status: Option<u16>,
    databases: BTreeMap<String, Value>,
    /// By measurement, tags and time.
    points: BTreeMap<String, String>,
    /// By measurement and field.
    kinds: BTreeMap<(String, String), &'static str>,
    faults: VecDeque<Fault>,
    outage: Option<Fault>,
    writes: Vec<FakeWrite>,
    requests: Vec<String>,
}

impl FakeInflux {
    /// An empty server that lets everyone in.
    pub fn start(version: FakeVersion) -> Self {
        Self::start_with(version, None)
    }

    /// An empty server for this token; for version 1, `name:password`.
    pub fn start_with_token(version: FakeVersion, token: &str) -> Self {
        Self::start_with(version, Some(token.to_owned()))
    }

    fn start_with(version: FakeVersion, token: Option<String>) -> Self {
        Self(StandIn::start(State {
            version,
            token,
            may_administer: true,
            is_page: false,
            conflict_status: None,
            databases: BTreeMap::new(),
            points: BTreeMap::new(),
            kinds: BTreeMap::new(),
            faults: VecDeque::new(),
            outage: None,
            writes: Vec::new(),
            requests: Vec::new(),
        }))
    }

    pub fn address(&self) -> SocketAddr {
        self.0.address()
    }

    pub fn port(&self) -> u16 {
        self.address().port()
    }

    /// Takes the right to look for and make databases away, or gives it back.
    pub fn let_administer(&self, may: bool) {
        self.state().may_administer = may;
    }

    /// A login page stands in its place, or no longer.
    pub fn be_a_page(&self, is_page: bool) {
        self.state().is_page = is_page;
    }

    /// A field of another type makes it refuse the whole write as an error of its own, as version 2 may, with this
    /// status.
    pub fn answer_conflicts_with(&self, status: u16) {
        self.state().conflict_status = Some(status);
    }

    /// The next writes meet these, one each.
    pub fn next_writes(&self, faults: impl IntoIterator<Item = Fault>) {
        self.state().faults.extend(faults);
    }

    /// Every write meets this until it is `None` again.
    pub fn outage(&self, fault: Option<Fault>) {
        self.state().outage = fault;
    }

    /// The lines that are stored, each point once, by series and time.
    pub fn points(&self) -> Vec<String> {
        self.state().points.values().cloned().collect()
    }

    /// Every write that arrived, in order.
    pub fn writes(&self) -> Vec<FakeWrite> {
        self.state().writes.clone()
    }

    /// Method and path of everything that arrived, in order.
    pub fn requests(&self) -> Vec<String> {
        self.state().requests.clone()
    }

    /// Databases or buckets, each with what it was made with.
    pub fn databases(&self) -> BTreeMap<String, Value> {
        self.state().databases.clone()
    }

    /// Forgets a database and its points, as an administrator may.
    pub fn drop_databases(&self) {
        let mut state = self.state();
        state.databases.clear();
        state.points.clear();
        state.kinds.clear();
    }

    /// Has a field of this type already: `float`, `integer`, `string`, `boolean`.
    pub fn hold_type(&self, measurement: &str, field: &str, kind: &'static str) {
        self.state().kinds.insert((measurement.to_owned(), field.to_owned()), kind);
    }

    /// Waits until so many points are stored.
    pub fn wait_for_points(&self, count: usize) {
        wait_for(&format!("{count} points"), || (self.state().points.len() >= count).then_some(()));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.service()
    }
}

// === impl State ===

impl Service for State {
    fn react(&mut self, asked: Asked) -> Reaction {
        self.requests.push(format!("{} {}", asked.method, asked.full));
        let is_v3 = matches!(self.version, FakeVersion::V3 | FakeVersion::V3WithoutWriteLp);
        match (asked.method.as_str(), asked.path.as_str()) {
            _ if self.is_page => Reaction::page(200),
            ("GET" | "HEAD", "/ping") if is_v3 => {
                Reaction::answer(200, json!({ "version": "3.0.1", "revision": "f00d", "process_id": "1" }))
            }
            ("GET" | "HEAD", "/ping") => Reaction::answer(204, Value::Null),
            ("GET" | "HEAD", "/health") if is_v3 => Reaction::Text(200, "text/plain", "OK"),
            ("GET" | "HEAD", "/health") => {
                let message = "ready for queries and writes";
                Reaction::answer(200, json!({ "name": "influxdb", "message": message, "status": "pass" }))
            }
            ("POST", "/write") if self.version == FakeVersion::V1 => self.write(&asked, "db"),
            ("POST", "/api/v2/write") if self.version == FakeVersion::V2 || is_v3 => {
                self.write(&asked, "bucket")
            }
            ("POST", "/api/v3/write_lp") if self.version == FakeVersion::V3 => self.write(&asked, "db"),
            ("GET" | "POST", "/query") if self.version == FakeVersion::V1 => {
                self.administer(&asked, Self::query)
            }
            (_, "/api/v2/buckets" | "/api/v2/orgs") if self.version == FakeVersion::V2 => {
                self.administer(&asked, Self::bucket)
            }
            ("GET", "/api/v3/configure/database") if is_v3 => self.administer(&asked, |state, _| {
                let names = state.databases.keys().map(|name| json!({ "iox::database": name }));
                Reaction::answer(200, names.collect())
            }),
            ("POST", "/api/v3/configure/database") if is_v3 => self.administer(&asked, Self::configure),
            _ => Reaction::answer(404, json!({ "error": "no such route" })),
        }
    }
}

impl State {
    fn is_allowed(&self, asked: &Asked) -> bool {
        let Some(token) = &self.token else { return true };
        let given = asked.header("authorization");
        match self.version {
            FakeVersion::V1 => {
                let both = openssl::base64::encode_block(token.as_bytes());
                let in_query = |key| asked.query.get(key).map_or("", String::as_str);
                given == format!("Basic {both}") || format!("{}:{}", in_query("u"), in_query("p")) == *token
            }
            FakeVersion::V2 => given == format!("Token {token}"),
            FakeVersion::V3 | FakeVersion::V3WithoutWriteLp => given == format!("Bearer {token}"),
        }
    }

    fn unauthorized(&self) -> Value {
        match self.version {
            FakeVersion::V1 => json!({ "error": "authorization failed" }),
            FakeVersion::V2 => json!({ "code": "unauthorized", "message": "unauthorized access" }),
            _ => json!({ "error": "the request was not authenticated" }),
        }
    }

    // --- administration

    fn administer(&mut self, asked: &Asked, act: impl FnOnce(&mut Self, &Asked) -> Reaction) -> Reaction {
        if !self.is_allowed(asked) {
            return Reaction::answer(401, self.unauthorized());
        }
        if !self.may_administer {
            return Reaction::answer(403, json!({ "error": "forbidden", "message": "forbidden" }));
        }
        act(self, asked)
    }

    fn query(&mut self, asked: &Asked) -> Reaction {
        let statement = asked.query.get("q").cloned().unwrap_or_default();
        if statement.starts_with("SHOW DATABASES") {
            let rows: Vec<Value> = self.databases.keys().map(|name| json!([name])).collect();
            let series = json!([{ "name": "databases", "columns": ["name"], "values": rows }]);
            return Reaction::answer(200, json!({ "results": [{ "statement_id": 0, "series": series }] }));
        }
        if statement == "SHOW DIAGNOSTICS" {
            let columns = json!(["max-series-per-database", "max-values-per-tag"]);
            let series =
                json!([{ "name": "config-data", "columns": columns, "values": [[1_000_000, 100_000]] }]);
            return Reaction::answer(200, json!({ "results": [{ "statement_id": 0, "series": series }] }));
        }
        if statement.contains(" CARDINALITY ON ") {
            let series = json!([{ "columns": ["count"], "values": [[self.points.len()]] }]);
            return Reaction::answer(200, json!({ "results": [{ "statement_id": 0, "series": series }] }));
        }
        let Some(rest) = statement.strip_prefix("CREATE DATABASE \"") else {
            return Reaction::answer(400, json!({ "error": format!("error parsing query: {statement}") }));
        };
        let (name, with) = rest.split_once('"').unwrap_or((rest, ""));
        self.databases.insert(name.to_owned(), Value::from(with.trim()));
        Reaction::answer(200, json!({ "results": [{ "statement_id": 0 }] }))
    }

    fn bucket(&mut self, asked: &Asked) -> Reaction {
        let wanted = |key: &str| asked.query.get(key).cloned().unwrap_or_default();
        match (asked.method.as_str(), asked.path.as_str()) {
            ("GET", "/api/v2/orgs") => {
                Reaction::answer(200, json!({ "orgs": [{ "id": ORG_ID, "name": wanted("org") }] }))
            }
            ("GET", _) => match self.databases.get(&wanted("name")) {
                Some(made) => Reaction::answer(200, json!({ "buckets": [made] })),
                None => {
                    let message = format!("bucket {:?} not found", wanted("name"));
                    Reaction::answer(404, json!({ "code": "not found", "message": message }))
                }
            },
            _ => {
                let mut body: Value = serde_json::from_slice(&asked.body).unwrap_or_default();
                let Some(name) = body["name"].as_str().filter(|_| body["orgID"] == ORG_ID) else {
                    return Reaction::answer(
                        400,
                        json!({ "code": "invalid", "message": "orgID or name is missing" }),
                    );
                };
                self.databases.insert(name.to_owned(), body.clone());
                body["id"] = json!(BUCKET_ID);
                Reaction::answer(201, body)
            }
        }
    }

    fn configure(&mut self, asked: &Asked) -> Reaction {
        let body: Value = serde_json::from_slice(&asked.body).unwrap_or_default();
        let Some(name) = body["db"].as_str() else {
            return Reaction::answer(400, json!({ "error": "serde error: missing field `db`" }));
        };
        if self.databases.contains_key(name) {
            return Reaction::answer(
                409,
                json!({ "error": "attempted to create a resource that already exists" }),
            );
        }
        self.databases.insert(name.to_owned(), body.clone());
        Reaction::answer(200, Value::Null)
    }

    // --- writes

    fn write(&mut self, asked: &Asked, database_key: &str) -> Reaction {
        let mut text = String::new();
        let is_gzip = asked.header("content-encoding") == "gzip";
        let is_read = if is_gzip {
            GzDecoder::new(&asked.body[..]).read_to_string(&mut text).is_ok()
        } else {
            text = String::from_utf8_lossy(&asked.body).into_owned();
            std::str::from_utf8(&asked.body).is_ok()
        };
        let lines = split_lines(&text);
        let fault = self.faults.pop_front().or(self.outage);
        let reaction = match fault {
            Some(Fault::Status(status)) => {
                Reaction::answer(status, json!({ "error": "scripted", "message": "scripted" }))
            }
            Some(Fault::Busy(status, seconds)) => {
                Reaction::Answer(status, Some(seconds), json!({ "error": "scripted", "message": "scripted" }))
            }
            Some(Fault::Page(status)) => Reaction::page(status),
            Some(Fault::Hang) => Reaction::Hang,
            Some(Fault::Cut) => Reaction::Cut,
            _ if !self.is_allowed(asked) => Reaction::answer(401, self.unauthorized()),
            _ if !is_read => Reaction::answer(400, json!({ "error": "gzip: invalid header or not UTF-8" })),
            _ => {
                let precision = asked.query.get("precision").map_or("", String::as_str);
                let expect = if asked.path == "/api/v3/write_lp" { "nanosecond" } else { "ns" };
                if precision != expect {
                    Reaction::answer(
                        400,
                        json!({ "error": format!("precision {precision:?} is not expected") }),
                    )
                } else {
                    self.store(asked.query.get(database_key).map_or("", String::as_str), &lines)
                }
            }
        };
        let reaction = if fault == Some(Fault::CutAfterStoring) { Reaction::Cut } else { reaction };
        self.writes.push(FakeWrite {
            path: asked.full.clone(),
            authorization: asked.headers.get("authorization").cloned(),
            is_gzip,
            lines: lines.into_iter().map(str::to_owned).collect(),
            status: reaction.status(),
        });
        reaction
    }

    fn store(&mut self, database: &str, lines: &[&str]) -> Reaction {
        let is_v3 = matches!(self.version, FakeVersion::V3 | FakeVersion::V3WithoutWriteLp);
        if is_v3 {
            self.databases.entry(database.to_owned()).or_insert(Value::Null);
        } else if !self.databases.contains_key(database) {
            let detail = match self.version {
                FakeVersion::V1 => json!({ "error": format!("database not found: {database:?}") }),
                _ => json!({ "code": "not found", "message": format!("bucket {database:?} not found") }),
            };
            return Reaction::answer(404, detail);
        }
        if lines.is_empty() && self.version == FakeVersion::V2 {
            return Reaction::answer(400, json!({ "code": "invalid", "message": "writing requires points" }));
        }
        let parsed: Vec<Result<Point, String>> = lines.iter().map(|line| Point::parse(line, is_v3)).collect();
        let unparsed: Vec<String> = lines
            .iter()
            .zip(&parsed)
            .filter_map(|(line, point)| Some(format!("unable to parse '{line}': {}", point.as_ref().err()?)))
            .collect();
        if self.version == FakeVersion::V2 && !unparsed.is_empty() {
            return Reaction::answer(400, json!({ "code": "invalid", "message": unparsed.join("\n") }));
        }
        let conflict = parsed.iter().flatten().find_map(|point| self.conflict(point));
        if let (Some(status), Some((detail, _))) = (self.conflict_status, conflict) {
            let message = format!("unexpected error writing points to database: {detail}");
            return Reaction::answer(status, json!({ "code": "internal error", "message": message }));
        }
        let mut refused: Vec<(usize, String)> = Vec::new();
        let mut conflicts: Vec<String> = Vec::new();
        for (number, (line, point)) in lines.iter().zip(parsed).enumerate() {
            let point = match point {
                Ok(point) => point,
                Err(why) => {
                    refused.push((number + 1, why));
                    continue;
                }
            };
            match self.conflict(&point) {
                Some((detail, words_of_3)) => {
                    conflicts.push(detail);
                    refused.push((number + 1, words_of_3));
                }
                None => {
                    for (field, kind) in point.fields {
                        self.kinds.insert((point.measurement.clone(), field), kind);
                    }
                    self.points.insert(point.key, (*line).to_owned());
                }
            }
        }
        match self.version {
            _ if refused.is_empty() => Reaction::answer(204, Value::Null),
            FakeVersion::V3 | FakeVersion::V3WithoutWriteLp => {
                let data: Vec<Value> = refused
                    .iter()
                    .map(|(number, why)| {
                        let original: String =
                            lines[number - 1].chars().filter(|c| *c != '"').take(100).collect();
                        json!({ "original_line": original, "line_number": number, "error_message": why })
                    })
                    .collect();
                Reaction::answer(
                    400,
                    json!({ "error": "partial write of line protocol occurred", "data": data }),
                )
            }
            version => {
                let detail = match conflicts.first() {
                    Some(first) => format!("partial write: {first} dropped={}", conflicts.len()),
                    None if unparsed.len() == lines.len() => unparsed.join("\n"),
                    None => format!("partial write: {} dropped=0", unparsed.join("\n")),
                };
                if version == FakeVersion::V1 {
                    Reaction::answer(400, json!({ "error": detail }))
                } else {
                    let message = format!("failure writing points to database: {detail}");
                    Reaction::answer(422, json!({ "code": "unprocessable entity", "message": message }))
                }
            }
        }
    }

    /// What version 1 and 2, and what version 3 say when a field has another type than before.
    fn conflict(&self, point: &Point) -> Option<(String, String)> {
        point.fields.iter().find_map(|(field, kind)| {
            let known = self.kinds.get(&(point.measurement.clone(), field.clone()))?;
            (known != kind).then(|| {
                let older = format!(
                    "field type conflict: input field \"{field}\" on measurement \"{}\" is type {kind}, \
                     already exists as type {known}",
                    point.measurement
                );
                let newer = format!(
                    "invalid column type for column '{field}', expected iox::column_type::field::{known}, \
                     got iox::column_type::field::{kind}"
                );
                (older, newer)
            })
        })
    }
}

const ORG_ID: &str = "0a0b0c0d0e0f0a0b";
const BUCKET_ID: &str = "0b0c0d0e0f0a0b0c";

struct Point {
    measurement: String,
    /// Measurement, tags by name, and time.
    key: String,
    fields: Vec<(String, &'static str)>,
}

impl Point {
    fn parse(line: &str, is_v3: bool) -> Result<Self, String> {
        read_point(line, is_v3, |point, tags, time| {
            let measurement = point.series.measurement.to_string();
            let kind = |value: &FieldValue<'_>| match value {
                FieldValue::I64(_) => "integer",
                FieldValue::U64(_) => "unsigned",
                FieldValue::F64(_) => "float",
                FieldValue::String(_) => "string",
                FieldValue::Boolean(_) => "boolean",
            };
            let fields: Vec<(String, &'static str)> =
                point.field_set.iter().map(|(key, value)| (key.to_string(), kind(value))).collect();
            if is_v3 && fields.iter().any(|(name, _)| tags.contains_key(name)) {
                return Err("a tag and a field have one name".to_owned());
            }
            Ok(Self { key: format!("{measurement} {tags:?} {time}"), measurement, fields })
        })
    }
}

/// Lines of a body: a newline within a quoted text does not end one.
fn split_lines(text: &str) -> Vec<&str> {
    let (mut lines, mut start) = (Vec::new(), 0);
    let (mut in_fields, mut in_text, mut is_escaped) = (false, false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' if in_fields => in_text = !in_text,
            b' ' => in_fields = true,
            b'\n' if !in_text => {
                lines.push(&text[start..at]);
                (start, in_fields) = (at + 1, false);
            }
            _ => {}
        }
    }
    lines.push(&text[start..]);
    lines.retain(|line| !line.is_empty());
    lines
}
