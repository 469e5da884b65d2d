//! `butler-sos check` against far sides that would not take events: what it can tell before the first one is lost.

use butler_sos_integration_tests::fake_influx::{FakeInflux, FakeVersion, Fault};
use butler_sos_integration_tests::fake_new_relic::FakeNewRelic;
use butler_sos_integration_tests::influxd::Influxd;

use crate::check::{LOCAL, OK, Ran, UNAVAILABLE, check};

const INFLUX: &str = " Butler-SOS.influxdbConfig.host: ";
const NEW_RELIC: &str = " Butler-SOS.newRelic.event.url: ";
const PASSWORD: &str = "swordfish-4711";

fn v1(port: u16, user: &str, database: &str, more: &str) -> Ran {
    let auth = format!("auth: {{enable: true, username: {user}, password: {PASSWORD}}}");
    let section = format!(
        "  influxdbConfig: {{enable: true, host: 127.0.0.1, port: {port}, version: 1, v1Config: {{{auth}, dbName: {database}}}}}
Pipeline:
{more}"
    );
    let local =
        LOCAL.replace("    udpServerConfig", "    sendToInfluxdb: {enable: true}\n    udpServerConfig");
    let ran = check(&local.replace("Pipeline:\n", &section), &[]);
    assert!(!ran.text.contains(PASSWORD), "{}", ran.text);
    ran
}

#[test]
fn missing_rights_and_a_missing_database_are_told_by_a_real_influxdb() {
    let influxd = Influxd::start_new_with_admin("admin", PASSWORD);
    influxd.query("", "CREATE DATABASE d WITH NAME \"10d\"");
    for user in ["none", "reader", "writer"] {
        influxd.query("", &format!("CREATE USER {user} WITH PASSWORD '{PASSWORD}'"));
    }
    influxd.query("", "GRANT READ ON d TO reader");
    influxd.query("", "GRANT WRITE ON d TO writer");
    let port = influxd.port();
    let off = "  influxdb: {createDatabase: false}\n";
    for (user, database, more, expect) in [
        ("admin", "d", "", Ok("accepts writes")),
        ("writer", "d", "", Ok("accepts writes")),
        ("none", "d", "", Err("403")),
        ("reader", "d", "", Err("403")),
        ("nobody", "d", "", Err("401")),
        ("admin", "other", "", Ok("will be created")),
        ("admin", "other", off, Err("createDatabase")),
        ("writer", "other", "", Err("administrator")),
        ("writer", "other", off, Err("database not found")),
    ] {
        let ran = v1(port, user, database, more);
        let (code, word, detail) = match expect {
            Ok(detail) => (OK, "ok ", detail),
            Err(detail) => (UNAVAILABLE, "error ", detail),
        };
        assert_eq!(ran.code, code, "{user} {database}: {}", ran.text);
        let line = ran.text.lines().find(|line| line.contains(INFLUX) && line.contains(detail));
        let line = line.unwrap_or_else(|| panic!("{user} {database}: {detail} in {}", ran.text));
        assert!(line.starts_with(word), "{line}");
    }
    assert!(influxd.query("d", "SHOW MEASUREMENTS").get("series").is_none(), "a check stores nothing");
    assert_eq!(influxd.rows("", "SHOW DATABASES").len(), 1, "and makes nothing");
}

#[test]
fn limits_that_are_near_are_told_by_a_real_influxdb() {
    let influxd = Influxd::start_new_with_limits(10, 20);
    influxd.query("", "CREATE DATABASE d WITH NAME \"10d\"");
    let lines = |count: u32| -> String {
        (0..count).map(|n| format!("user_events,userFull=u{n} f=1 {n}\n")).collect()
    };
    influxd.write("d", &lines(5));
    let ran = v1(influxd.port(), "nobody", "d", "");
    assert!(!ran.text.contains("max-"), "{}", ran.text);
    influxd.write("d", &lines(9));
    let ran = v1(influxd.port(), "nobody", "d", "");
    assert_eq!(ran.code, OK, "{}", ran.text);
    let line = ran.line("max-values-per-tag");
    assert!(line.starts_with("warning ") && line.contains("9 values of the tag userFull"), "{line}");
    let others: String = (0..8).map(|n| format!("m,t=t{n} f=1 {n}\n")).collect();
    influxd.write("d", &others);
    let line = v1(influxd.port(), "nobody", "d", "").line("max-series-per-database").to_owned();
    assert!(line.starts_with("warning "), "{line}");
}

#[test]
fn a_page_in_place_of_influxdb_is_told() {
    for (number, version) in [(1, FakeVersion::V1), (2, FakeVersion::V2), (3, FakeVersion::V3)] {
        let fake = FakeInflux::start(version);
        let section = format!(
            "  influxdbConfig: {{enable: true, host: 127.0.0.1, port: {}, version: {number}, v1Config: {{dbName: d}},
    v2Config: {{org: o, bucket: d, token: {PASSWORD}}}, v3Config: {{database: d, token: {PASSWORD}}}}}
Pipeline:\n",
            fake.port()
        );
        let config = LOCAL.replace("Pipeline:\n", &section);
        assert_eq!(check(&config, &[]).code, OK, "version {number}");
        fake.be_a_page(true);
        let ran = check(&config, &[]);
        assert_eq!(ran.code, UNAVAILABLE, "{}", ran.text);
        let line = ran.line(INFLUX);
        assert!(line.starts_with("error ") && line.contains("not InfluxDB"), "{line}");
        assert!(fake.points().is_empty() && fake.databases().is_empty(), "a check stores nothing");
    }
}

#[test]
fn new_relic_is_asked_and_nothing_is_stored() {
    let fake = FakeNewRelic::start(&[("17", PASSWORD)]);
    let config = |key: &str| {
        let section = format!(
            "    sendToNewRelic: {{enable: true, destinationAccount: [ours]}}
  thirdPartyToolsCredentials: {{newRelic: [{{accountName: ours, insertApiKey: {key}, accountId: 17}}]}}
  newRelic: {{enable: true, event: {{url: '{}'}}}}
Pipeline:\n",
            fake.url()
        );
        LOCAL.replace("Pipeline:\n", &section)
    };
    let ran = check(&config(PASSWORD), &[]);
    assert_eq!(ran.code, OK, "{}", ran.text);
    assert!(ran.line(NEW_RELIC).starts_with("ok "), "{}", ran.text);
    let ran = check(&config("another-4711"), &[]);
    assert_eq!(ran.code, UNAVAILABLE, "{}", ran.text);
    let line = ran.line(NEW_RELIC);
    assert!(
        line.contains("403") && line.contains("insertApiKey") && !line.contains("another-4711"),
        "{line}"
    );
    for (fault, detail) in [(Fault::Page(200), "not New Relic"), (Fault::Status(429), "429")] {
        fake.next_posts("17", [fault]);
        let line = check(&config(PASSWORD), &[]).line(NEW_RELIC).to_owned();
        assert!(line.starts_with("error ") && line.contains(detail), "{line}");
    }
    assert!(fake.events("17").is_empty());
}
