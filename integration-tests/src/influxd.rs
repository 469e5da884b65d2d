//! A real InfluxDB 1 (Debian's `influxdb`), in a directory of its own.
//!
//! Data and port stay the same over stops and starts, as a real server's would.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::http::Http;
use crate::sandbox::{free_port, get, wait_for};

/// The server, running or not. Killed and thrown away at the end.
pub struct Influxd {
    directory: TempDir,
    address: SocketAddr,
    admin: Option<(String, String)>,
    /// Of its environment.
    limits: Vec<(&'static str, String)>,
    server: Option<Child>,
}

/// A point as InfluxDB tells it.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// Unix nanoseconds.
    pub time: u64,
    pub tags: BTreeMap<String, String>,
    pub fields: BTreeMap<String, Value>,
}

impl Influxd {
    /// A new, empty server that lets everyone in, running.
    pub fn start_new() -> Self {
        let mut influxd = Self::new(false);
        influxd.start();
        influxd
    }

    /// A new, empty server with this administrator, running.
    pub fn start_new_with_admin(name: &str, password: &str) -> Self {
        let mut influxd = Self::new(true);
        influxd.start();
        let create = format!("CREATE USER \"{name}\" WITH PASSWORD '{password}' WITH ALL PRIVILEGES");
        influxd.query("", &create);
        influxd.admin = Some((name.to_owned(), password.to_owned()));
        influxd
    }

    /// A new, empty server that lets everyone in, with limits of its own, running.
    pub fn start_new_with_limits(values_per_tag: u32, series_per_database: u32) -> Self {
        let mut influxd = Self::new(false);
        influxd.limit(values_per_tag, series_per_database);
        influxd.start();
        influxd
    }

    /// Limits from its next start on; 0: none.
    pub fn limit(&mut self, values_per_tag: u32, series_per_database: u32) {
        self.limits = [
            ("INFLUXDB_DATA_MAX_VALUES_PER_TAG", values_per_tag.to_string()),
            ("INFLUXDB_DATA_MAX_SERIES_PER_DATABASE", series_per_database.to_string()),
        ]
        .into();
    }

    fn new(needs_password: bool) -> Self {
        let directory = TempDir::with_prefix("influxd-").expect("a temporary directory");
        let (http, rpc) = (free_address(), free_address());
        let config = config(directory.path(), http, rpc, needs_password);
        std::fs::write(directory.path().join("influxdb.conf"), config).expect("a temporary directory");
        Self { directory, address: http, admin: None, limits: Vec::new(), server: None }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Starts it again after [`Influxd::stop`] or [`Influxd::kill`], and waits until it answers.
    pub fn start(&mut self) {
        assert!(self.server.is_none(), "influxd runs already");
        let mut command = Command::new("influxd");
        command.arg("-config").arg(self.directory.path().join("influxdb.conf"));
        command.env("HOME", self.directory.path()).stdout(Stdio::null()).stderr(Stdio::null());
        command.envs(self.limits.iter().map(|(name, value)| (name, value)));
        let server = command.spawn().expect("influxd is installed (Debian: `apt-get install influxdb`)");
        self.server = Some(server);
        wait_for("influxd to answer", || {
            let ended = self.server.as_mut()?.try_wait().expect("influxd is a child");
            assert!(ended.is_none(), "influxd ended at its start: {ended:?}");
            (get(self.address, "/ping")?.0 == 204).then_some(())
        });
    }

    /// Stops it as a service manager would.
    pub fn stop(&mut self) {
        let mut server = self.server.take().expect("influxd runs");
        let pid = server.id().to_string();
        let status = Command::new("kill").args(["-s", "TERM", &pid]).status().expect("kill is there");
        assert!(status.success(), "influxd cannot be signalled");
        wait_for("influxd to end", || server.try_wait().expect("influxd is a child"));
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        let mut server = self.server.take().expect("influxd runs");
        server.kill().expect("influxd can be killed");
        server.wait().expect("influxd is a child");
    }

    /// Runs an InfluxQL statement; its first result.
    pub fn query(&self, database: &str, statement: &str) -> Value {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.extend_pairs([("db", database), ("epoch", "ns"), ("q", statement)]);
        if let Some((name, password)) = &self.admin {
            query.extend_pairs([("u", name), ("p", password)]);
        }
        let path = format!("/query?{}", query.finish());
        let answer = Http::new(self.address).send("POST", &path, &[], "").expect("influxd answers");
        assert_eq!(answer.status, 200, "{statement}: {answer:?}");
        let result = answer.json()["results"][0].take();
        assert!(result["error"].is_null(), "{statement}: {result}");
        result
    }

    /// The rows of the first series: `SHOW …`, `SELECT …`.
    pub fn rows(&self, database: &str, statement: &str) -> Vec<Vec<Value>> {
        let rows = self.query(database, statement)["series"][0]["values"].take();
        serde_json::from_value(rows).unwrap_or_default()
    }

    /// Every point of a measurement, by time.
    pub fn points(&self, database: &str, measurement: &str) -> Vec<Point> {
        let statement = format!("SELECT *::field FROM \"{measurement}\" GROUP BY *");
        let mut points = Vec::new();
        for series in self.query(database, &statement)["series"].as_array().into_iter().flatten() {
            let texts = |value: &Value| value.as_str().map(str::to_owned).filter(|text| !text.is_empty());
            let tags = series["tags"].as_object().into_iter().flatten();
            let tags: BTreeMap<_, _> =
                tags.filter_map(|(key, value)| Some((key.clone(), texts(value)?))).collect();
            let columns: Vec<&str> =
                series["columns"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            for row in series["values"].as_array().into_iter().flatten() {
                let values = row.as_array().into_iter().flatten();
                let mut fields: BTreeMap<String, Value> = columns
                    .iter()
                    .zip(values)
                    .filter(|(_, value)| !value.is_null())
                    .map(|(column, value)| ((*column).to_owned(), value.clone()))
                    .collect();
                let time = fields.remove("time").and_then(|time| time.as_u64()).expect("a time");
                points.push(Point { time, tags: tags.clone(), fields });
            }
        }
        points.sort_by_key(|point| point.time);
        points
    }

    /// How many points have this field.
    pub fn count(&self, database: &str, measurement: &str, field: &str) -> u64 {
        let rows = self.rows(database, &format!("SELECT COUNT(\"{field}\") FROM \"{measurement}\""));
        rows.first().and_then(|row| row.get(1)?.as_u64()).unwrap_or(0)
    }

    /// The values of a tag, one for each point that has this field. A series without a point has none:
    /// InfluxDB knows series of points that it refused.
    pub fn tag_of_points(&self, database: &str, measurement: &str, tag: &str, field: &str) -> Vec<String> {
        let statement = format!("SELECT \"{field}\", \"{tag}\" FROM \"{measurement}\"");
        let values = self.rows(database, &statement).into_iter();
        values.filter_map(|row| Some(row.get(2)?.as_str()?.to_owned())).collect()
    }

    /// The different values of a tag.
    pub fn tag_values(&self, database: &str, measurement: &str, tag: &str) -> Vec<String> {
        let statement = format!("SHOW TAG VALUES FROM \"{measurement}\" WITH KEY = \"{tag}\"");
        let values = self.rows(database, &statement).into_iter();
        values.filter_map(|row| Some(row.get(1)?.as_str()?.to_owned())).collect()
    }

    /// Writes lines with times in ns; the status and the server's words.
    pub fn write(&self, database: &str, lines: &str) -> (u16, String) {
        let path = format!("/write?db={database}&precision=ns");
        let answer = Http::new(self.address).send("POST", &path, &[], lines).expect("influxd answers");
        (answer.status, answer.text())
    }
}

impl Drop for Influxd {
    fn drop(&mut self) {
        if let Some(server) = &mut self.server {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

fn free_address() -> SocketAddr {
    ([127, 0, 0, 1], free_port()).into()
}

fn config(directory: &Path, http: SocketAddr, rpc: SocketAddr, needs_password: bool) -> String {
    let at = directory.display();
    format!(
        "reporting-disabled = true\n\
         bind-address = \"{rpc}\"\n\
         [meta]\n  dir = \"{at}/meta\"\n\
         [data]\n  dir = \"{at}/data\"\n  wal-dir = \"{at}/wal\"\n  query-log-enabled = false\n\
         [http]\n  bind-address = \"{http}\"\n  auth-enabled = {needs_password}\n  log-enabled = false\n\
         [monitor]\n  store-enabled = false\n"
    )
}
