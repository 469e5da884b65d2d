//! `conf/grafana`: dashboards that ask for what is there, in a language that the servers understand.

use std::collections::BTreeSet;

use butler_sos_actors::kit::clock::unix_ns;
use butler_sos_domain::audit::{AuditEvent, DataStateId, ScreenshotOutcome};
use butler_sos_domain::encode::audit_line::AuditPoint;
use butler_sos_domain::encode::line_protocol::Version;
use butler_sos_domain::encode::user_line::UserPoint;
use butler_sos_domain::event::UserEvent;
use butler_sos_integration_tests::influxd::Influxd;
use influxdb_line_protocol::parse_lines;
use serde_json::Value;

use crate::prometheus_rules::{assert_exposed, exposed, promtool, repository};

/// One dashboard, and what its variables stand for in a test.
struct Dashboard {
    name: String,
    json: Value,
}

fn dashboards() -> Vec<Dashboard> {
    let files = std::fs::read_dir(repository("conf/grafana/dashboards")).expect("the dashboards");
    let mut dashboards: Vec<Dashboard> = files
        .map(|file| {
            let path = file.expect("a file").path();
            let text = std::fs::read_to_string(&path).expect("a dashboard");
            let json =
                serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            Dashboard { name: path.file_name().unwrap_or_default().to_string_lossy().into_owned(), json }
        })
        .collect();
    dashboards.sort_by(|one, other| one.name.cmp(&other.name));
    assert_eq!(dashboards.len(), 3);
    dashboards
}

impl Dashboard {
    fn list(&self, pointer: &str) -> &[Value] {
        self.json.pointer(pointer).and_then(Value::as_array).expect(pointer)
    }

    /// Every query of this language, variables still in it, with where it stands.
    fn queries(&self, language: &str) -> Vec<(String, String)> {
        let key = if language == "influxdb" { "query" } else { "expr" };
        let mut queries = Vec::new();
        for panel in self.list("/panels") {
            for target in panel["targets"].as_array().into_iter().flatten() {
                if target["datasource"]["type"] == language {
                    let query = target[key].as_str().expect("a query").to_owned();
                    queries.push((format!("{}: {}", self.name, panel["title"]), query));
                }
            }
        }
        for variable in self.list("/templating/list") {
            if variable["type"] == "query" && variable["datasource"]["type"] == language {
                let query =
                    variable["query"].as_str().or(variable["query"]["query"].as_str()).expect("a query");
                queries.push((format!("{}: {}", self.name, variable["name"]), query.to_owned()));
            }
        }
        queries
    }

    /// The query as Grafana would send it, with everything selected.
    fn filled(&self, query: &str, version: Version) -> String {
        let mut query = query
            .replace("$timeFilter", "time >= now() - 1h AND time <= now() + 1h")
            .replace("$__interval", "1m")
            .replace("$__rate_interval", "1m")
            .replace("$__range", "1h");
        for variable in self.list("/templating/list") {
            let name = variable["name"].as_str().expect("a name");
            let value = match variable["type"].as_str() {
                Some("query") => ".*",
                Some("textbox") => variable["query"].as_str().expect("a default"),
                Some("custom") => {
                    let ours = match version {
                        Version::V1 | Version::V2 => "1 and 2",
                        Version::V3 => "3",
                    };
                    let options = variable["options"].as_array().expect("options");
                    let option = options.iter().find(|option| option["text"] == ours).expect(ours);
                    option["value"].as_str().expect("a value")
                }
                _ => continue,
            };
            for place in [format!("${{{name}:regex}}"), format!("${{{name}}}"), format!("${name}")] {
                query = query.replace(&place, value);
            }
        }
        assert!(!query.replace("$/", "").contains('$'), "{}: a variable is left in {query}", self.name);
        query
    }
}

/// A user event and two audit events that have everything, as lines; ids of audit events as tags or as fields.
fn lines(version: Version, ids_as_fields: bool) -> String {
    let text = |text: &'static str| Some(text.into());
    let now = unix_ns();
    let mut out = Vec::new();
    let user = UserPoint::new(version, "qs_", &[]);
    for (number, command) in
        [(0, "Start session"), (1, "Stop session"), (2, "Open connection"), (3, "Close connection")]
    {
        let event = UserEvent {
            received_ns: now + number,
            message_type: "qseow-proxy-session".into(),
            host: "pro2-win1".into(),
            command: command.into(),
            user_directory: text("LAB"),
            user_id: text("goran"),
            origin: text("AppAccess"),
            app_id: text("a421f4a2-c311-4ef4-ba41-fe2e6a2b0d69"),
            app_name: text("Sales"),
            browser_name: text("Chrome"),
            browser_major: text("131"),
            os_name: text("Windows"),
            os_version: text("10"),
            ..UserEvent::default()
        };
        user.write(&event, &mut out);
    }
    let mut audit = AuditPoint::new(version, "", &[]);
    audit.set_ids_as_fields(ids_as_fields);
    for (id, event_type, screenshot) in [
        ("1", "screenshot.url.received", ScreenshotOutcome { error: text("timeout"), ..Default::default() }),
        (
            "2",
            "object.view.duration",
            ScreenshotOutcome {
                saved_paths: vec!["/a.png".into()],
                sha256: text("00ff"),
                ..ScreenshotOutcome::default()
            },
        ),
    ] {
        let event = AuditEvent {
            timestamp_ms: i64::try_from(now / 1_000_000).expect("a time"),
            event_type: event_type.into(),
            event_id: id.into(),
            correlation_id: text("c"),
            user: text("UserDirectory=LAB; UserId=goran"),
            user_directory: text("LAB"),
            user_id: text("goran"),
            app_id: text("a421f4a2-c311-4ef4-ba41-fe2e6a2b0d69"),
            app_name: text("Sales"),
            sheet_id: text("s"),
            sheet_name: text("Sheet"),
            object_id: text("o"),
            object_type: text("barchart"),
            selection_txn_id: text("t"),
            enter_selection_txn_id: text("t"),
            leave_selection_txn_id: text("t"),
            duration_ms: Some(1234.5),
            data_state_id: Some(DataStateId::Number(5.0, "5")),
            visible: Some(true),
            entered_at: text("2026-11-20T10:11:10.000Z"),
            left_at: text("2026-11-20T10:11:11.234Z"),
            screenshot_url: text("https://qlik.test/a.png"),
            selection_details: Some("[]".into()),
            screenshot,
            ..AuditEvent::default()
        };
        audit.write(&event, &mut out);
    }
    // An event that holds nothing.
    audit.write(
        &AuditEvent {
            timestamp_ms: i64::try_from(now / 1_000_000).expect("a time"),
            event_type: "audit.event".into(),
            event_id: "3".into(),
            ..AuditEvent::default()
        },
        &mut out,
    );
    String::from_utf8(out).expect("lines are text")
}

/// Names that points have.
#[derive(Default)]
struct Names {
    measurements: BTreeSet<String>,
    tags: BTreeSet<(String, String)>,
    fields: BTreeSet<(String, String)>,
}

fn schema(version: Version) -> Names {
    let mut schema = Names::default();
    let text = lines(version, false);
    for line in parse_lines(&text) {
        let line = line.expect("a line");
        let measurement = line.series.measurement.to_string();
        for (tag, _) in line.series.tag_set.iter().flatten() {
            schema.tags.insert((measurement.clone(), tag.to_string()));
        }
        for (field, _) in &line.field_set {
            schema.fields.insert((measurement.clone(), field.to_string()));
        }
        schema.measurements.insert(measurement);
    }
    schema
}

/// Every `"name"` of a statement, with what stands before and behind it.
fn identifiers(statement: &str) -> Vec<(&str, &str, &str)> {
    let quotes: Vec<usize> = statement.match_indices('"').map(|(at, _)| at).collect();
    let pairs = quotes.as_chunks::<2>().0.iter();
    pairs
        .map(|[open, close]| (&statement[..*open], &statement[open + 1..*close], &statement[close + 1..]))
        .collect()
}

/// Asserts that the points have all that the statement names.
fn assert_known(place: &str, statement: &str, schema: &Names) {
    let all = identifiers(statement);
    let is_measurement = |before: &str| before.ends_with("FROM ");
    let of: BTreeSet<&str> =
        all.iter().filter(|(before, ..)| is_measurement(before)).map(|(_, name, _)| *name).collect();
    assert_eq!(of.len(), 1, "{place}: one measurement in {statement}");
    let of = *of.first().expect("one");
    assert!(schema.measurements.contains(of), "{place}: no measurement {of:?}");
    let is_tag = |name: &str| schema.tags.contains(&(of.to_owned(), name.to_owned()));
    let mut given: BTreeSet<&str> = all
        .iter()
        .filter(|(before, _, after)| before.ends_with(" AS ") || after.starts_with("::"))
        .map(|(_, name, _)| *name)
        .collect();
    given.extend(all.iter().filter(|(_, name, _)| is_tag(name)).map(|(_, name, _)| *name));
    for (before, name, after) in all {
        if is_measurement(before) || before.ends_with(" AS ") {
            continue;
        }
        if after.starts_with("::tag") || before.ends_with("KEY = ") {
            assert!(is_tag(name), "{place}: no tag {name:?} in {of}");
        } else if after.starts_with("::field") {
            assert!(
                schema.fields.contains(&(of.to_owned(), name.to_owned())),
                "{place}: no field {name:?} in {of}"
            );
        } else {
            assert!(given.contains(name), "{place}: {name:?} is nothing in {statement}");
        }
    }
}

#[test]
fn dashboards_fit_together() {
    let mut uids = BTreeSet::new();
    for dashboard in dashboards() {
        let name = &dashboard.name;
        assert!(uids.insert(dashboard.json["uid"].as_str().expect("uid").to_owned()), "{name}");
        let (mut ids, mut cells) = (BTreeSet::new(), BTreeSet::new());
        for panel in dashboard.list("/panels") {
            let title = panel["title"].as_str().expect("a title");
            assert!(!title.is_empty() && ids.insert(panel["id"].as_u64().expect("an id")), "{name}: {title}");
            let at = |key: &str| panel["gridPos"][key].as_u64().expect(key);
            assert!(at("x") + at("w") <= 24, "{name}: {title} is too wide");
            for (x, y) in
                (at("x")..at("x") + at("w")).flat_map(|x| (at("y")..at("y") + at("h")).map(move |y| (x, y)))
            {
                assert!(cells.insert((x, y)), "{name}: {title} lies over another panel");
            }
            let targets = panel["targets"].as_array().map_or(&[][..], Vec::as_slice);
            assert!(panel["type"] == "row" || !targets.is_empty(), "{name}: {title} asks nothing");
            assert!(
                targets.iter().all(|target| target["datasource"]["uid"] == "${datasource}"),
                "{name}: {title}"
            );
        }
    }
}

#[test]
fn provisioning_names_what_the_dashboards_use() {
    let read = |path: &str| {
        let text = std::fs::read_to_string(repository("conf/grafana/provisioning").join(path)).expect(path);
        serde_saphyr::from_str::<Value>(&text).unwrap_or_else(|error| panic!("{path}: {error}"))
    };
    let sources = read("datasources/butler-sos.yml");
    for dashboard in dashboards() {
        let variables = dashboard.list("/templating/list");
        let source =
            variables.iter().find(|variable| variable["type"] == "datasource").expect("a data source");
        let provided = sources["datasources"].as_array().expect("a list").iter();
        let is_it = |provided: &&Value| {
            provided["uid"] == source["current"]["value"] && provided["type"] == source["query"]
        };
        assert_eq!(provided.filter(is_it).count(), 1, "{}", dashboard.name);
    }
    let provider = read("dashboards/butler-sos.yml");
    assert_eq!(provider["providers"][0]["type"], "file");
}

#[test]
fn influxql_names_what_the_encoders_write() {
    for version in [Version::V1, Version::V2, Version::V3] {
        let schema = schema(version);
        let mut count = 0;
        for dashboard in dashboards() {
            for (place, query) in dashboard.queries("influxdb") {
                assert_known(&place, &dashboard.filled(&query, version), &schema);
                count += 1;
            }
        }
        assert!(count > 30, "{count}");
    }
}

#[test]
fn promql_names_what_the_server_exposes() {
    let known = exposed();
    let mut rules = "groups:\n  - name: dashboards\n    rules:\n".to_owned();
    let mut count = 0;
    for dashboard in dashboards() {
        for (_, query) in dashboard.queries("prometheus") {
            let query = dashboard.filled(&query, Version::V1);
            assert_exposed(&query, &known);
            // Grafana's own function, for variables.
            if !query.starts_with("label_values(") {
                let quoted = query.replace('\'', "''");
                rules.push_str(&format!("      - {{record: 'dashboard:query:{count}', expr: '{quoted}'}}\n"));
                count += 1;
            }
        }
    }
    assert!(count > 30, "{count}");
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("dashboards.rules.yml");
    std::fs::write(&path, rules).expect("a temporary directory is writable");
    promtool(&["check", "rules", path.to_str().expect("a plain path")]);
}

#[test]
fn influxdb_answers_every_query() {
    for ids_as_fields in [false, true] {
        check_answers(&lines(Version::V1, ids_as_fields));
    }
}

/// Every query finds something among these points.
fn check_answers(lines: &str) {
    let influxd = Influxd::start_new();
    influxd.query("", "CREATE DATABASE \"senseops\"");
    let (status, detail) = influxd.write("senseops", lines);
    assert_eq!(status, 204, "{detail}");
    for dashboard in dashboards() {
        for (place, query) in dashboard.queries("influxdb") {
            let query = dashboard.filled(&query, Version::V1);
            let answer = influxd.query("senseops", &query);
            assert!(answer.get("error").is_none(), "{place}: {answer} to {query}");
            let rows = answer["series"][0]["values"].as_array().map_or(0, Vec::len);
            assert!(rows > 0, "{place}: nothing to {query}");
        }
    }
    // What is counted over events of several kinds is exact.
    let audit = dashboards().into_iter().find(|dashboard| dashboard.name == "audit-events.json").expect("it");
    let (_, count) = audit.queries("influxdb").into_iter().next().expect("the first panel");
    let answer = influxd.query("senseops", &audit.filled(&count, Version::V1));
    assert_eq!(answer["series"][0]["values"][0][1], 3, "{answer}");
}
