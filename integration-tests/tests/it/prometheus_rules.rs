//! `conf/prometheus`: every rule is one, fires when it should, and names figures that the server has.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use butler_sos_actors::kit::metric::{Metrics, StreamFigures};

/// A file or directory of the repository.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// Runs `promtool` in `conf/prometheus`; what it says when it is not content.
pub fn promtool(arguments: &[&str]) {
    let output = Command::new("promtool").args(arguments).current_dir(repository("conf/prometheus")).output();
    let output = output.expect("promtool is installed by scripts/install");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{arguments:?}: {}{}", text(&output.stdout), text(&output.stderr));
}

/// Every figure that the server exposes, with the labels that it may have.
pub fn exposed() -> BTreeMap<String, BTreeSet<String>> {
    let metrics = Metrics::new();
    let intake = metrics.intake("user_events");
    for counter in
        [intake.rejected("size"), intake.shed("queue_full"), intake.remark("invalid_utf8"), intake.kernel()]
    {
        counter.inc();
    }
    let actor = metrics.actor("user_parser");
    actor.rejected("disk", 1);
    actor.set_mailbox(0, 1);
    metrics.destination("influx_sink").failed("http-503", "busy", 1);
    let journal = metrics.journal();
    journal.set_stream("user-events", &StreamFigures::default());
    journal.synced(std::time::Duration::from_millis(1));
    let mut known = BTreeMap::<String, BTreeSet<String>>::new();
    for line in metrics.expose().lines().filter(|line| !line.starts_with('#')) {
        let series = line.rsplit_once(' ').map_or(line, |(series, _)| series);
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let labels = labels.trim_end_matches('}').split(',').filter_map(|label| label.split_once('='));
        known.entry(name.to_owned()).or_default().extend(labels.map(|(label, _)| label.to_owned()));
    }
    known
}

/// Labels that Prometheus itself adds.
const OF_PROMETHEUS: [&str; 2] = ["job", "instance"];

/// Asserts that all figures that `expression` names, and the labels behind each, are exposed.
pub fn assert_exposed(expression: &str, known: &BTreeMap<String, BTreeSet<String>>) {
    let mut rest = expression;
    while let Some(at) = rest.find("butler_sos_") {
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let end = rest[at..].find(|c| !is_name(c)).map_or(rest.len(), |length| at + length);
        let labels = known.get(&rest[at..end]);
        let labels = labels.unwrap_or_else(|| panic!("{} is not exposed: {expression}", &rest[at..end]));
        rest = &rest[end..];
        let Some((matchers, _)) = rest.strip_prefix('{').and_then(|rest| rest.split_once('}')) else {
            continue;
        };
        // No value holds a comma with an equals sign behind it.
        for label in matchers.split(',').filter_map(|matcher| matcher.split_once(['=', '!'])) {
            let label = label.0.trim();
            let is_known = labels.contains(label) || OF_PROMETHEUS.contains(&label);
            assert!(is_known, "{label:?} is no label of its figure: {expression}");
        }
    }
    for group in expression.split(" by (").skip(1).filter_map(|rest| rest.split_once(')')) {
        for label in group.0.split(',').map(str::trim) {
            let is_known = label == "le"
                || OF_PROMETHEUS.contains(&label)
                || known.values().any(|labels| labels.contains(label));
            assert!(is_known, "{label:?} is no label: {expression}");
        }
    }
}

#[test]
fn the_rules_are_rules() {
    promtool(&["check", "rules", "butler_sos.rules.yml"]);
    promtool(&["check", "config", "prometheus.yml"]);
}

#[test]
fn each_rule_fires_when_it_should_and_only_then() {
    promtool(&["test", "rules", "butler_sos.rules.test.yml", "butler_sos.week.test.yml"]);
    let rules =
        std::fs::read_to_string(repository("conf/prometheus/butler_sos.rules.yml")).expect("the rules");
    let tests: String = ["butler_sos.rules.test.yml", "butler_sos.week.test.yml"]
        .map(|name| std::fs::read_to_string(repository("conf/prometheus").join(name)).expect("the tests"))
        .concat();
    let alerts: Vec<&str> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() > 15);
    for alert in alerts {
        assert!(tests.contains(&format!("alertname=\"{alert}\"")), "{alert} is never seen firing");
    }
}

#[test]
fn the_rules_name_what_the_server_exposes() {
    let known = exposed();
    let rules =
        std::fs::read_to_string(repository("conf/prometheus/butler_sos.rules.yml")).expect("the rules");
    let mut expressions = 0;
    for rule in rules.split("- alert: ").skip(1) {
        let (_, expression) = rule.split_once("expr: ").expect("an expression");
        let (expression, rest) = expression.split_once("labels:").expect("a severity");
        assert_exposed(expression, &known);
        for part in ["severity: ", "annotations:", "summary: ", "description: "] {
            assert!(rest.contains(part), "no {part} in {rule}");
        }
        expressions += 1;
    }
    assert!(expressions > 15);
}
