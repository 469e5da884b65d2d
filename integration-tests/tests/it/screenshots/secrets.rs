//! No secret leaves the process but on the wire to whom it is for.
//!
//! Every recorded scenario runs at the loudest log level, with secrets in every setting that takes one, with servers
//! that refuse them. Then everything that the server wrote, printed and answered is searched for each secret that
//! the configuration or the fake knows, in the spellings in which it could have slipped through.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::process::Command;

use butler_sos_domain::sample;
use butler_sos_integration_tests::audit_client::AuditClient;
use butler_sos_integration_tests::fake_influx::{FakeInflux, FakeVersion};
use butler_sos_integration_tests::fake_qlik::{Unauthorized, certificates};
use butler_sos_integration_tests::http::Http;
use butler_sos_integration_tests::mosquitto::{Mosquitto, Options};
use butler_sos_integration_tests::sandbox::{binary, wait_for};
use openssl::symm::Cipher;
use serde_json::Value;

use super::server_harness::{API_TOKEN, INFLUX_TOKEN, Rooms, ServerHarness, USER, event};

/// What the configuration holds besides, by what it is. Characters that must be escaped somewhere are among them.
const SECRETS: [(&str, &str); 11] = [
    ("the audit API's token", API_TOKEN),
    ("the token of InfluxDB", INFLUX_TOKEN),
    ("the password of the other InfluxDB", "p&ss\"w/rd+7781%"),
    ("the password of the broker", "mqtt pass;word=4410"),
    ("the token of the operations server", "operations-token-20c4"),
    ("the key of New Relic", "NRII-0badc0ffee5511"),
    ("the passphrase of the API's key", "tls-passphrase-6b02"),
    ("the passphrase of the broker's client key", "broker-passphrase-81aa"),
    ("a token for version 2 that is not used", "unused-token-v2-1199"),
    ("a token that a client made up", "made-up-token-35f0"),
    ("the certificates' passphrase", certificates::PASSPHRASE),
];

fn secret(what: &str) -> &'static str {
    SECRETS.iter().find(|(name, _)| *name == what).unwrap().1
}

/// A ticket that a page left in the URL of its screenshot. It is the event's and stored with it, but not logged.
const FOREIGN_TICKET: &str = "foreignticket8855";

#[test]
fn no_secret_is_in_anything_that_the_server_shows() {
    let other_influx = FakeInflux::start_with_token(FakeVersion::V1, "butler:another password");
    let broker =
        Mosquitto::start(&Options { login: Some(("butler", "another password")), ..Options::default() });
    let mut harness =
        ServerHarness::build(&Rooms { log_level: "silly", download_timeout_ms: 1500, ..Rooms::default() });
    let dir = harness.sandbox.path().to_owned();
    let server_key = harness.fake.certificates.server.key.private_key_to_pem_pkcs8_passphrase(
        Cipher::aes_256_cbc(),
        secret("the passphrase of the API's key").as_bytes(),
    );
    std::fs::write(dir.join("certificates/server_key_encrypted.pem"), server_key.unwrap()).unwrap();
    std::fs::create_dir(dir.join("secrets")).unwrap();
    std::fs::write(dir.join("secrets/broker"), secret("the password of the broker")).unwrap();
    let mut config = std::fs::read_to_string(harness.sandbox.config_path()).unwrap();
    for (at, more) in additions(&dir, other_influx.port(), broker.port()) {
        assert!(config.contains(at), "{at}");
        config = config.replacen(at, &format!("{at}{more}"), 1);
    }
    config = config.replace("operations: {host: 127.0.0.1, port: 0}", &operations());
    std::fs::write(harness.sandbox.config_path(), config).unwrap();
    harness.sandbox.start_closed();

    let scenarios = scenarios(&harness);
    let mut events = 0_u32;
    let mut run = |harness: &ServerHarness, scenarios: &[(String, String)]| {
        let bodies = scenarios.iter().map(|(user, url)| {
            events += 1;
            event(events, user, url)
        });
        post_with_tls(harness, &bodies.collect::<Vec<_>>());
        harness.wait_for_finished(events as usize);
    };
    run(&harness, &scenarios);
    let usual = [(USER.to_owned(), harness.url("/tempcontent/a.png"))];
    for answer in [Unauthorized::Status401, Unauthorized::LoginRedirect, Unauthorized::LoginPage] {
        harness.fake.forget_sessions();
        harness.fake.answer_unauthorized_with(answer);
        run(&harness, &usual);
    }
    let foreign = harness.url(&format!("/tempcontent/a.png?b=404&qlikTicket={FOREIGN_TICKET}"));
    run(&harness, &[(USER.to_owned(), foreign)]);
    // Strangers, and what is no event.
    let made_up = secret("a token that a client made up");
    assert_eq!(post_one(&harness, "{}", made_up), 401);
    assert_eq!(post_one(&harness, "{}", API_TOKEN), 400);
    harness.sandbox.udp().send(b"no event").unwrap();
    harness.sandbox.udp().send(sample::datagram(1, sample::Layout::Eight).as_bytes()).unwrap();
    let get = |path: &str, token: &str| harness.sandbox.operations().with_token(token).get(path).unwrap();
    assert_eq!(get("/ready", made_up).status, 401);

    let mut shown = BTreeMap::new();
    wait_for("both refusals to be told", || {
        let ready = get("/ready", secret("the token of the operations server"));
        let state = ready.json();
        let is_down = |name: &str| state["destinations"][name]["up"] == false;
        let reported = is_down("influx_sink") && is_down("mqtt_sink");
        shown.insert("/ready".to_owned(), ready.body);
        reported.then_some(())
    });
    for path in ["/metrics", "/configuration", "/health", "/"] {
        let answer = get(path, secret("the token of the operations server"));
        assert_eq!(answer.status, 200, "{path}");
        shown.insert(path.to_owned(), answer.body);
    }
    for command in ["print-config", "check"] {
        let mut process = Command::new(binary("butler-sos"));
        let output = process.arg(command).arg("-c").arg(harness.sandbox.config_path()).output().unwrap();
        assert!(command == "check" || output.status.success());
        shown.insert(command.to_owned(), [output.stdout, output.stderr].concat());
    }
    // Cut short, so that nothing is tidied up; and once more to its end.
    harness.sandbox.kill();
    shown.insert("output of the first process".to_owned(), harness.sandbox.log_text().into_bytes());
    harness.sandbox.start_closed();
    run(&harness, &usual);
    assert!(harness.sandbox.stop().success());
    shown.insert("output of the second process".to_owned(), harness.sandbox.log_text().into_bytes());
    for file in files_below(&dir) {
        let name = file.strip_prefix(&dir).unwrap().display().to_string();
        if name != "butler-sos.yaml" && !name.starts_with("certificates/") && !name.starts_with("secrets/") {
            shown.insert(name, std::fs::read(&file).unwrap());
        }
    }
    for part in ["log/", "journal/", "images/", "json/", "parquet/", "qvd/", "csv/", "quarantine/"] {
        assert!(shown.keys().any(|name| name.starts_with(part)), "nothing in {part}: {:?}", shown.keys());
    }

    let mut needles = Needles::default();
    SECRETS.iter().for_each(|(what, secret)| needles.add(what, secret));
    let of_fake = harness.fake.secrets();
    assert!(of_fake.len() > 60, "tickets and sessions were given away: {}", of_fake.len());
    of_fake.iter().for_each(|secret| needles.add("a ticket or a session of the fake", secret));
    let mut found = BTreeSet::new();
    for (name, bytes) in &shown {
        found.extend(needles.found_in(bytes).into_iter().map(|what| format!("{what} in {name}")));
    }
    assert!(found.is_empty(), "{found:#?}");
    let mut foreign = Needles::default();
    foreign.add("a ticket in an event", FOREIGN_TICKET);
    for (name, bytes) in
        shown.iter().filter(|(name, _)| name.starts_with("log/") || name.starts_with("output"))
    {
        assert!(foreign.found_in(bytes).is_empty(), "a ticket of an event's URL in {name}");
    }
    assert!(shown.values().any(|bytes| String::from_utf8_lossy(bytes).contains("qlikTicket=[redacted]")));
}

/// Settings that hold a secret, and the line of the configuration behind which they go.
fn additions(dir: &Path, influx_port: u16, broker_port: u16) -> [(&'static str, String); 2] {
    let butler_sos = format!(
        "  userEvents:
    enable: true
    udpServerConfig: {{serverHost: 127.0.0.1, portUserActivityEvents: 0}}
    sendToInfluxdb: {{enable: true}}
    sendToMQTT: {{enable: true}}
  influxdbConfig:
    enable: true
    host: 127.0.0.1
    port: {influx_port}
    version: 1
    v1Config: {{auth: {{enable: true, username: butler, password: {password}}}}}
    v2Config: {{token: {unused}}}
  mqttConfig:
    enable: true
    brokerHost: 127.0.0.1
    brokerPort: {broker_port}
    username: butler
    password: file:{dir}/secrets/broker
    tls: {{enable: false, passphrase: {broker}}}
  thirdPartyToolsCredentials:
    newRelic: [{{accountName: main, insertApiKey: {new_relic}, accountId: '12345'}}]
",
        dir = dir.display(),
        password = Value::from(secret("the password of the other InfluxDB")),
        unused = secret("a token for version 2 that is not used"),
        broker = secret("the passphrase of the broker's client key"),
        new_relic = secret("the key of New Relic"),
    );
    let tls = format!(
        "    tls: {{enable: true, cert: {dir}/server.pem, key: {dir}/server_key_encrypted.pem, passphrase: {}}}\n",
        secret("the passphrase of the API's key"),
        dir = dir.join("certificates").display(),
    );
    [("Butler-SOS:\n", butler_sos), ("    rateLimit: {enable: false}\n", tls)]
}

fn operations() -> String {
    let token = secret("the token of the operations server");
    format!("operations: {{host: 127.0.0.1, port: 0, token: {token}}}\n  drainSeconds: 1")
}

/// User and URL of every recorded scenario, each once and with a user, so a ticket, of its own.
fn scenarios(harness: &ServerHarness) -> Vec<(String, String)> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/golden/screenshots.jsonl");
    let text = std::fs::read_to_string(path).unwrap();
    let rows = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let text_of = |row: &Value, name: &str| row[name].as_str().unwrap_or_default().to_owned();
    let scenarios: BTreeSet<_> = rows
        .map(|row| {
            (
                text_of(&row, "user"),
                harness.fake.with_own_ports(&text_of(&row, "screenshotUrl").replace("%d", "1")),
            )
        })
        .collect();
    let own =
        |(n, (user, url)): (usize, (String, String))| (user.replace("goran", &format!("goran{n}")), url);
    scenarios.into_iter().enumerate().map(own).collect()
}

fn post_with_tls(harness: &ServerHarness, bodies: &[String]) {
    for body in bodies {
        assert_eq!(post_one(harness, body, API_TOKEN), 202, "{body}");
    }
}

fn post_one(harness: &ServerHarness, body: &str, token: &str) -> u16 {
    let http = Http::new(harness.sandbox.address("audit-events"));
    let http = http.with_tls("localhost", &harness.fake.certificates.root);
    AuditClient::over(http).with_token(token).post(body).status
}

pub(super) fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            files.extend(files_below(&entry.path()));
        } else {
            files.push(entry.path());
        }
    }
    files
}

// === searching

/// Spellings of secrets, by their first four bytes.
#[derive(Default)]
pub(super) struct Needles(HashMap<[u8; 4], Vec<(Vec<u8>, String)>>);

impl Needles {
    pub(super) fn add(&mut self, what: &str, secret: &str) {
        for spelling in spellings(secret) {
            let head = spelling[..4].try_into().unwrap();
            self.0.entry(head).or_default().push((spelling, what.to_owned()));
        }
    }

    pub(super) fn found_in(&self, bytes: &[u8]) -> BTreeSet<&str> {
        let mut found = BTreeSet::new();
        for (at, head) in bytes.windows(4).enumerate() {
            for (needle, what) in self.0.get(head).into_iter().flatten() {
                if bytes[at..].starts_with(needle) {
                    found.insert(what.as_str());
                }
            }
        }
        found
    }
}

/// The text itself, percent-encoded (what must be, or everything; either case), as JSON and Debug escape it, as hex,
/// and as Base64 shows it wherever it stands in a longer text.
fn spellings(secret: &str) -> BTreeSet<Vec<u8>> {
    let json = Value::from(secret).to_string();
    let debug = format!("{secret:?}");
    let some: String = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
    let all: String = secret.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let hex = hex::encode(secret);
    let mut spellings = vec![
        secret.to_owned(),
        json.trim_matches('"').to_owned(),
        debug.trim_matches('"').to_owned(),
        some.to_lowercase(),
        some.replace('+', "%20"),
        some,
        all.to_lowercase(),
        all,
        hex.to_uppercase(),
        hex,
    ];
    for before in 0..3 {
        let mut padded = vec![b'x'; before];
        padded.extend_from_slice(secret.as_bytes());
        let base64 = openssl::base64::encode_block(&padded);
        // What its neighbours have no part in.
        let whole = &base64[[0, 2, 3][before]..(padded.len() * 8 / 6).min(base64.len())];
        spellings.push(whole.to_owned());
        spellings.push(whole.replace('+', "-").replace('/', "_"));
    }
    spellings.into_iter().map(String::into_bytes).collect()
}

#[test]
fn a_secret_is_found_however_it_is_spelled() {
    let mut needles = Needles::default();
    needles.add("it", "p&ss\"w/rd+7781%");
    let check = |text: &str, expect: bool| {
        assert_eq!(!needles.found_in(text.as_bytes()).is_empty(), expect, "{text}");
    };
    check("x p&ss\"w/rd+7781% y", true);
    check(r#"{"a":"p&ss\"w/rd+7781%"}"#, true);
    check("?p=p%26ss%22w%2Frd%2B7781%25&", true);
    check("?p=p%26ss%22w%2frd%2b7781%25&", true);
    for user in ["u", "us", "use", "user"] {
        check(&openssl::base64::encode_block(format!("{user}:p&ss\"w/rd+7781%").as_bytes()), true);
        check(&openssl::base64::encode_block(format!("{user}:p&ss\"w/rd+7781%:more").as_bytes()), true);
    }
    check("p&ss\"w/rd", false);
}
