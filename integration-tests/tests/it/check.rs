//! `butler-sos check` as an administrator meets it: what it prints, and its exit code. Contract: config.md.

use std::fmt::Write as _;
use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Command, Output};

use butler_sos_integration_tests::fake_influx::{FakeInflux, FakeVersion};
use butler_sos_integration_tests::mosquitto::{Mosquitto, Options};
use butler_sos_integration_tests::sandbox::{Sandbox, binary};
use tempfile::TempDir;

pub const OK: i32 = 0;
const USAGE: i32 = 64;
pub const UNAVAILABLE: i32 = 69;
const CONFIG: i32 = 78;

/// A configuration of which everything can be had anywhere.
pub const LOCAL: &str = "\
Butler-SOS:
  userEvents:
    enable: true
    udpServerConfig: {serverHost: 127.0.0.1, portUserActivityEvents: 0}
Pipeline:
  operations: {port: 0}
  journal: {directory: data/journal}
  csv:
    userEvents: {enable: true, exportDirectory: data/csv}
";

/// What a run of the binary gave.
pub struct Ran {
    pub code: i32,
    /// Standard output, then standard error.
    pub text: String,
}

impl Ran {
    fn of(Output { status, stdout, stderr }: Output) -> Self {
        let text = [stdout, stderr].map(|bytes| String::from_utf8(bytes).expect("UTF-8")).concat();
        Self { code: status.code().expect("an exit code"), text }
    }

    /// The line that says this, which must be the only one.
    #[track_caller]
    pub fn line(&self, part: &str) -> &str {
        let lines: Vec<&str> = self.text.lines().filter(|line| line.contains(part)).collect();
        assert_eq!(lines.len(), 1, "{part:?} in:\n{}", self.text);
        lines[0]
    }
}

/// Runs the binary in a directory, without settings from the environment.
fn run_in(directory: &Path, arguments: &[&str]) -> Ran {
    // A server that starts although it should not would run for ever.
    let mut command = Command::new("timeout");
    command.arg("60").arg(binary("butler-sos"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("BUTLER_SOS__") {
            command.env_remove(name);
        }
    }
    // What the shipped example takes its token from.
    command.env("AUDIT_API_TOKEN", "token-4711");
    Ran::of(command.args(arguments).current_dir(directory).output().expect("the binary runs"))
}

/// Checks this file in a directory of its own.
pub fn check(config: &str, arguments: &[&str]) -> Ran {
    let directory = TempDir::new().expect("a directory");
    std::fs::write(directory.path().join("a.yaml"), config).expect("a file");
    let ran = run_in(directory.path(), &[&["check", "-c", "a.yaml"], arguments].concat());
    let left: Vec<_> = std::fs::read_dir(directory.path()).expect("a directory").flatten().collect();
    assert_eq!(left.len(), 1, "a check leaves nothing behind: {left:?}");
    ran
}

#[test]
fn all_mistakes_are_named_at_once_with_path_line_and_nearest_key() {
    let config = "\
Butler-SOS:
  logLevel: loud
  userEvents:
    enable: true
    udpServerConfig:
      portUserActivityEvents: 99970
      maxMesageSize: 100
      enableSourceValidation: true
      allowedSources: [10.0.0.0/40]
    sendToMQTT:
      enable: true
      postTo: {everythingTopic: {topic: a/#}}
  mqttConfig:
    enable: true
    brokerHost: mqtt://broker
    pasword: 'sesame-4711'
  auditEvents:
    enable: true
    tls: {enable: true}
    destination:
      enable: true
      type: influxdb, jsn
      influxdb: {metadata: {host: '', staticTags: [{name: eventId, value: x}]}}
      screenshots:
        enable: true
        allowedImageDownloadHosts: ['https://qlik.example.com']
Pipeline:
  journal: {directry: x}
  audit: {trustedProxies: [proxy]}
  drainSeconds: [1]
";
    for arguments in [&[][..], &["--offline"]] {
        let ran = check(config, arguments);
        assert_eq!(ran.code, CONFIG, "{}", ran.text);
        for (place, path, detail) in [
            ("a.yaml:2:13", "Butler-SOS.logLevel", "one of error, warn, info, verbose, debug, silly"),
            ("a.yaml:6:31", "Butler-SOS.userEvents.udpServerConfig.portUserActivityEvents", "65535"),
            ("a.yaml:7:7", "Butler-SOS.userEvents.udpServerConfig.maxMesageSize", "`maxMessageSize`"),
            ("a.yaml:9:24", "Butler-SOS.userEvents.udpServerConfig.allowedSources[0]", "`10.0.0.0/40`"),
            ("a.yaml:12:41", "Butler-SOS.userEvents.sendToMQTT.postTo.everythingTopic.topic", "wildcard"),
            ("a.yaml:15:17", "Butler-SOS.mqttConfig.brokerHost", "`mqtt://broker`"),
            ("a.yaml:16:5", "Butler-SOS.mqttConfig.pasword", "`password`"),
            ("", "Butler-SOS.auditEvents.tls.cert", "needed"),
            ("", "Butler-SOS.auditEvents.tls.key", "needed"),
            ("a.yaml:22:13", "Butler-SOS.auditEvents.destination.type", "the nearest is `json`"),
            ("a.yaml:23:35", "Butler-SOS.auditEvents.destination.influxdb.metadata.host", "needed"),
            (
                "a.yaml:23:59",
                "Butler-SOS.auditEvents.destination.influxdb.metadata.staticTags[0].name",
                "`eventId`",
            ),
            (
                "a.yaml:26:37",
                "Butler-SOS.auditEvents.destination.screenshots.allowedImageDownloadHosts[0]",
                "leave out the scheme",
            ),
            ("a.yaml:28:13", "Pipeline.journal.directry", "`directory`"),
            ("a.yaml:29:28", "Pipeline.audit.trustedProxies[0]", "`proxy`"),
            ("a.yaml:30:17", "Pipeline.drainSeconds", "found a list"),
        ] {
            let line = ran.line(&format!(" {path}: "));
            assert!(line.contains(place) && line.contains(detail), "{place} {detail}: {line}");
        }
        assert!(ran.text.contains("16 mistakes"), "{}", ran.text);
        assert!(!ran.text.contains("sesame"), "{}", ran.text);
    }
}

#[test]
fn a_production_file_of_butler_sos_15_is_taken_as_it_is() {
    let full = include_str!("full_butler_sos_15.yaml");
    let shipped = include_str!("../../../conf/examples/production-butler-sos-15.yaml");
    for config in [full, shipped] {
        let ran = check(config, &["--offline"]);
        assert_eq!(ran.code, OK, "{}", ran.text);
        let ignored = ran.line("no effect in this server: ");
        for section in
            ["Butler-SOS.logEvents", "Butler-SOS.userSessions", "Butler-SOS.serversToMonitor.servers"]
        {
            assert!(ignored.contains(section), "{section} in {ignored}");
        }
        assert!(!ran.text.contains("error  "), "{}", ran.text);
    }
}

#[test]
fn exit_codes() {
    let local = check(LOCAL, &[]);
    assert_eq!(local.code, OK, "{}", local.text);
    assert!(
        local.text.ends_with("0 errors, 0 warnings\n") || local.text.contains("rmem_max"),
        "{}",
        local.text
    );
    assert!(local.line("Pipeline.journal.directory").starts_with("ok "), "{}", local.text);

    let here = TempDir::new().expect("a directory");
    for (arguments, code) in [
        (&["check", "--nonsense"][..], USAGE),
        (&["chek"], USAGE),
        (&["check", "-l", "loud"], USAGE),
        (&["check", "--set", "nothing"], USAGE),
        (&["--help"], OK),
        (&["-V"], OK),
        (&["check", "-c", "nobody.yaml"], CONFIG),
        (&["run", "-c", "nobody.yaml"], CONFIG),
        (&["check", "--offline", "--set", "Pipeline.drainSeconds=soon"], CONFIG),
    ] {
        let ran = run_in(here.path(), arguments);
        assert_eq!(ran.code, code, "{arguments:?}: {}", ran.text);
    }
}

#[test]
fn what_this_machine_does_not_give_is_unavailable() {
    let tcp = TcpListener::bind("127.0.0.1:0").expect("a port");
    let udp = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let (tcp_port, udp_port) =
        (tcp.local_addr().expect("an address").port(), udp.local_addr().expect("an address").port());
    let set = [
        format!("Pipeline.operations.port={tcp_port}"),
        format!("Butler-SOS.userEvents.udpServerConfig.portUserActivityEvents={udp_port}"),
        "Pipeline.csv.userEvents.exportDirectory=a.yaml/csv".to_owned(),
    ];
    let flags: Vec<&str> = set.iter().flat_map(|setting| ["--set", setting.as_str()]).collect();
    let ran = check(LOCAL, &flags);
    assert_eq!(ran.code, UNAVAILABLE, "{}", ran.text);
    for (path, detail) in [
        ("Pipeline.operations.port", "is in use"),
        ("Butler-SOS.userEvents.udpServerConfig.portUserActivityEvents", "is in use"),
        ("Pipeline.csv.userEvents.exportDirectory", "is not writable"),
    ] {
        let line = ran.line(&format!(" {path}: "));
        assert!(line.starts_with("error ") && line.contains(detail), "{line}");
        assert!(line.contains("flag --set"), "{line}");
    }
    // Offline, nobody looks.
    assert_eq!(check(LOCAL, &[&flags[..], &["--offline"]].concat()).code, OK);
}

#[test]
fn a_file_that_is_no_certificate_is_a_mistake_and_outweighs_what_is_not_there() {
    let config = format!(
        "{LOCAL}  deadLetters: {{directory: a.yaml/x}}\n",
    )
    .replace("Butler-SOS:\n", "Butler-SOS:\n  auditEvents: {enable: true, host: 127.0.0.1, port: 0, tls: {enable: true, cert: a.yaml, key: nobody.pem}}\n");
    let ran = check(&config, &[]);
    assert_eq!(ran.code, CONFIG, "{}", ran.text);
    assert!(ran.line(" Pipeline.deadLetters.directory: ").starts_with("error "), "{}", ran.text);
    let line = ran.line(" Butler-SOS.auditEvents.tls.key: ");
    assert!(line.starts_with("error ") && line.contains("cannot be read"), "{line}");
    let line = ran.line(" Butler-SOS.auditEvents.tls.cert: ");
    assert!(line.starts_with("error ") && line.contains("no certificate"), "{line}");
}

#[test]
fn destinations_are_asked() {
    let (password, token) = ("swordfish-4711", "token-4711");
    let mosquitto = Mosquitto::start(&Options { login: Some(("sos", password)), ..Options::default() });
    for version in [FakeVersion::V1, FakeVersion::V2, FakeVersion::V3] {
        let secret = if version == FakeVersion::V1 { format!("sos:{password}") } else { token.to_owned() };
        let influx = FakeInflux::start_with_token(version, &secret);
        let mut config = LOCAL.to_owned();
        let number = match version {
            FakeVersion::V1 => 1,
            FakeVersion::V2 => 2,
            _ => 3,
        };
        let destinations = format!(
            "  mqttConfig: {{enable: true, brokerHost: 127.0.0.1, brokerPort: {}, username: sos, password: {password}}}
  influxdbConfig:
    enable: true
    host: 127.0.0.1
    port: {}
    version: {number}
    v1Config: {{auth: {{enable: true, username: sos, password: {password}}}, dbName: d}}
    v2Config: {{org: o, bucket: b, token: {token}}}
    v3Config: {{database: d, token: {token}}}
Pipeline:\n",
            mosquitto.port(),
            influx.port(),
        );
        config = config.replace("Pipeline:\n", &destinations);
        let ran = check(&config, &[]);
        assert_eq!(ran.code, OK, "{}", ran.text);
        assert!(ran.line(" Butler-SOS.influxdbConfig.host: ").starts_with("ok "), "{}", ran.text);
        assert!(ran.line(" Butler-SOS.mqttConfig.brokerHost: ").starts_with("ok "), "{}", ran.text);
        assert!(influx.writes().is_empty(), "a check writes nothing");

        let ran = check(&config.replace(password, "other").replace(token, "other"), &[]);
        assert_eq!(ran.code, UNAVAILABLE, "{}", ran.text);
        let line = ran.line(" Butler-SOS.mqttConfig.brokerHost: ");
        assert!(line.starts_with("error ") && line.contains("refused the connection"), "{line}");
        if version != FakeVersion::V3 {
            let line = ran.line(" Butler-SOS.influxdbConfig.host: ");
            assert!(line.starts_with("error ") && line.contains("401"), "{line}");
        }

        drop(influx);
        let ran = check(&config, &[]);
        assert_eq!(ran.code, UNAVAILABLE, "{}", ran.text);
        assert!(ran.line(" Butler-SOS.influxdbConfig.host: ").starts_with("error "), "{}", ran.text);
        assert!(!ran.text.contains(password) && !ran.text.contains(token), "{}", ran.text);
    }
}

#[test]
fn a_broker_is_asked_over_tls() {
    let mosquitto = Mosquitto::start(&Options { tls: true, client_certificate: true, ..Options::default() });
    let (cert, key) = mosquitto.client_certificate();
    let (ca, cert, key) = (mosquitto.authority(), cert.display().to_string(), key.display().to_string());
    let config = |tls: &str| {
        let tls = format!("{{enable: true{tls}}}");
        let port = mosquitto.port();
        let mqtt = format!(
            "  mqttConfig: {{enable: true, brokerHost: localhost, brokerPort: {port}, tls: {tls}}}\n"
        );
        LOCAL.replace("Pipeline:\n", &format!("{mqtt}Pipeline:\n"))
    };
    let path = " Butler-SOS.mqttConfig.brokerHost: ";
    let ca = format!(", ca: {}", ca.display());
    let ran = check(&config(&format!("{ca}, cert: {cert}, key: {key}")), &[]);
    assert_eq!(ran.code, OK, "{}", ran.text);
    assert!(ran.line(path).contains("accepted the connection"), "{}", ran.text);
    for (tls, detail) in
        [("", "which is not trusted"), (ca.as_str(), "because it rejected the client certificate")]
    {
        let ran = check(&config(tls), &[]);
        assert_eq!(ran.code, UNAVAILABLE, "{}", ran.text);
        assert!(ran.line(path).contains(detail), "{}", ran.text);
    }
}

#[test]
fn a_server_that_cannot_start_says_so_with_the_same_codes() {
    let mut sandbox = Sandbox::new(LOCAL);
    sandbox.start();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = format!("Pipeline.operations.port={}", taken.local_addr().expect("an address").port());
    let file = sandbox.config_path().display().to_string();
    let elsewhere = ["--set", "Pipeline.journal.directory=other"];
    for (flags, code) in [
        // The journal is locked.
        (vec![], UNAVAILABLE),
        ([&elsewhere[..], &["--set", port.as_str()]].concat(), UNAVAILABLE),
        (vec!["--set", "Pipeline.journal.directory=butler-sos.yaml/x"], UNAVAILABLE),
        (
            [&elsewhere[..], &["--set", "Butler-SOS.userEvents.udpServerConfig.enableSourceValidation=true"]]
                .concat(),
            CONFIG,
        ),
    ] {
        let arguments = [&["run", "-c", file.as_str()], &flags[..]].concat();
        let ran = run_in(sandbox.path(), &arguments);
        assert_eq!(ran.code, code, "{flags:?}: {}", ran.text);
    }
    // Nobody may send: that is refused also when the verification is skipped.
    let validation = "Butler-SOS.userEvents.udpServerConfig.enableSourceValidation=true";
    let skipped = ["--skip-config-verification", "run", "-c", &file, "--set", validation];
    let ran = run_in(sandbox.path(), &[&skipped[..], &elsewhere].concat());
    assert!([UNAVAILABLE, CONFIG].contains(&ran.code), "{}: {}", ran.code, ran.text);
    assert!(sandbox.stop().success());
}

/// Checking beside a running server: its ports and its journal are its own.
#[test]
fn a_running_server_is_no_mistake() {
    let mut sandbox = Sandbox::new(LOCAL);
    sandbox.start();
    let mut set = String::new();
    let (operations, intake) = (sandbox.address("operations").port(), sandbox.address("user-events").port());
    write!(set, "Pipeline.operations.port={operations}").expect("text");
    let other = format!("Butler-SOS.userEvents.udpServerConfig.portUserActivityEvents={intake}");
    let file = sandbox.config_path().display().to_string();
    let ran = run_in(sandbox.path(), &["check", "-c", &file, "--set", &set, "--set", &other]);
    assert_eq!(ran.code, OK, "{}", ran.text);
    for path in ["Pipeline.operations.port", "Butler-SOS.userEvents.udpServerConfig.portUserActivityEvents"] {
        let line = ran.line(&format!(" {path}: "));
        assert!(line.starts_with("warning ") && line.contains(&sandbox.pid().to_string()), "{line}");
    }
    assert!(ran.text.contains("a running server uses the journal"), "{}", ran.text);
    assert!(sandbox.stop().success());
}
