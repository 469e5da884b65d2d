//! The configuration as an administrator meets it: files, layers, mistakes, what is printed.

use std::{collections::BTreeMap, io, path::Path};

mod real_files;

use butler_sos_settings::schema::{Key, Section, Shape};

use super::masked::without_credentials;
use super::*;
use crate::{
    cli::Settings,
    config::butler::{LogLevel, screenshots::AuthMode},
};

/// An environment and files that exist for one test.
#[derive(Default)]
struct World {
    variables: BTreeMap<String, String>,
    files: BTreeMap<String, Vec<u8>>,
    /// Permission bits of every file, where there are any.
    mode: Option<u32>,
}

impl Environment for World {
    fn variables(&self) -> Vec<(String, String)> {
        self.variables.clone().into_iter().collect()
    }

    fn variable(&self, name: &str) -> Option<String> {
        self.variables.get(name).cloned()
    }

    fn file(&self, path: &Path, _bytes_max: u64) -> io::Result<Vec<u8>> {
        self.files.get(&path.display().to_string()).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn exists(&self, path: &Path) -> bool {
        self.files.contains_key(&path.display().to_string())
    }

    fn mode(&self, _path: &Path) -> Option<u32> {
        self.mode
    }
}

impl World {
    fn with_file(self, name: &str, text: &str) -> Self {
        self.with_bytes(name, text.as_bytes())
    }

    fn with_bytes(mut self, name: &str, bytes: &[u8]) -> Self {
        self.files.insert(name.into(), bytes.into());
        self
    }

    fn with_variable(mut self, name: &str, value: &str) -> Self {
        self.variables.insert(name.into(), value.into());
        self
    }

    fn load(&self, settings: &Settings) -> Result<Loaded, Mistakes> {
        load_from(settings, self)
    }
}

fn of_file(text: &str) -> World {
    World::default().with_file("a.yaml", text)
}

fn named(files: &[&str]) -> Settings {
    Settings { config_files: files.iter().map(Into::into).collect(), ..Settings::default() }
}

fn load_text(text: &str) -> Result<Loaded, Mistakes> {
    of_file(text).load(&named(&["a.yaml"]))
}

/// The file must be refused with exactly these lines (each is what a mistake begins with), in any order.
fn check_mistakes(text: &str, expect: &[&str]) {
    let Mistakes { mistakes, .. } = load_text(text).expect_err(text);
    let found: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
    for line in expect {
        assert!(found.iter().any(|found| found.contains(line)), "no {line:?} in {found:#?}");
    }
    assert_eq!(found.len(), expect.len(), "{found:#?}");
}

#[track_caller]
fn check_fine(text: &str) -> Loaded {
    load_text(text).unwrap_or_else(|mistakes| panic!("{text}\n{mistakes}"))
}

#[test]
fn all_mistakes_are_told_at_once_with_line_column_and_what_would_be_right() {
    check_mistakes(
        "Butler-SOS:
  logLevel: loud
  userEvents:
    enabel: true
    udpServerConfig:
      portUserActivityEvents: 99970
      maxMesageSize: 100
  influxdbConfig:
    enable: true
    port: eighty
    version: 4
Pipeline:
  journal:
    directry: x
  drainSeconds: [1]
",
        &[
            "a.yaml:2:13: Butler-SOS.logLevel: `loud` is not one of error, warn, info, verbose, debug, silly",
            "a.yaml:4:5: Butler-SOS.userEvents.enabel: unknown key; the nearest known key is `enable`",
            "a.yaml:7:7: Butler-SOS.userEvents.udpServerConfig.maxMesageSize: unknown key; the nearest known key is `maxMessageSize`",
            "a.yaml:10:11: Butler-SOS.influxdbConfig.port: `eighty` is not a whole number from 1 to 65535",
            "a.yaml:11:14: Butler-SOS.influxdbConfig.version: `4` is not a whole number from 1 to 3",
            "a.yaml:14:5: Pipeline.journal.directry: unknown key; the nearest known key is `directory`",
            "a.yaml:15:17: Pipeline.drainSeconds: expected a whole number from 0 to 3600, found a list",
        ],
    );
}

#[test]
fn single_mistakes() {
    for (text, expect) in [
        ("Butler_SOS: {}\n", "a.yaml:1:1: Butler_SOS: unknown key; the nearest known key is `Butler-SOS`"),
        (
            "Butler-SOS:\n  userEvent: {}\n",
            "a.yaml:2:3: Butler-SOS.userEvent: unknown key; the nearest known key is `userEvents`",
        ),
        (
            "Butler-SOS:\n  userEvents: 5\n",
            "a.yaml:2:15: Butler-SOS.userEvents: expected a section, found a single value",
        ),
        (
            "Butler-SOS:\n  logLevel: info\n  logLevel: warn\n",
            "a.yaml:3:3: Butler-SOS.logLevel: duplicate key",
        ),
        ("Butler-SOS: [1\n", "invalid YAML"),
        ("- 1\n", "a.yaml:1:1: expected the sections Butler-SOS and Pipeline, found a list"),
        (
            "Butler-SOS:\n  auditEvents:\n    destination:\n      influxdb:\n        host: x\n",
            "Butler-SOS.auditEvents.destination.influxdb.host: unknown key; it belongs to `metadata.host`",
        ),
        (
            "Butler-SOS:\n  userEvents:\n    enable: true\n    tags:\n      - name: a\n",
            "a.yaml:5:9: Butler-SOS.userEvents.tags[0]: `value` is missing",
        ),
        (
            "Butler-SOS:\n  userEvents:\n    enable: true\n    udpServerConfig:\n      enableSourceValidation: true\n      allowedSources:\n",
            "a.yaml:6:21: Butler-SOS.userEvents.udpServerConfig.allowedSources: enableSourceValidation is true and nobody is allowed",
        ),
        (
            "Butler-SOS:\n  userEvents:\n    enable: true\n    udpServerConfig:\n      enableSourceValidation: true\n      allowedSources: [10.0.0.0/40]\n",
            "a.yaml:6:24: Butler-SOS.userEvents.udpServerConfig.allowedSources[0]: `10.0.0.0/40` is not a host name, address or network",
        ),
        (
            "Butler-SOS:\n  userEvents:\n    enable: true\n    udpServerConfig:\n      serverHost: <IP or FQDN>\n",
            "a.yaml:5:19: Butler-SOS.userEvents.udpServerConfig.serverHost: `<IP or FQDN>` is not a host name or address",
        ),
        (
            "Butler-SOS:\n  auditEvents:\n    enable: true\n    destination:\n      enable: true\n      type: influxdb, parket\n",
            "a.yaml:6:13: Butler-SOS.auditEvents.destination.type: `parket` is not a destination; the destinations are influxdb, json, ",
        ),
        (
            "Butler-SOS:\n  auditEvents:\n    enable: true\n    tls: {enable: true, cert: a, key: b, minVersion: TLSv1.1}\n",
            "a.yaml:4:54: Butler-SOS.auditEvents.tls.minVersion: `TLSv1.1` is not one of TLSv1.2, TLSv1.3",
        ),
        (
            "Butler-SOS:\n  auditEvents:\n    enable: true\n    apiToken: ${NOBODY}\n",
            "a.yaml:4:15: Butler-SOS.auditEvents.apiToken: the environment variable `NOBODY` is not set",
        ),
        (
            "Butler-SOS:\n  auditEvents:\n    enable: true\n    apiToken: file:/run/secrets/nobody\n",
            "a.yaml:4:15: Butler-SOS.auditEvents.apiToken: cannot read the secret file `/run/secrets/nobody`",
        ),
        (
            "Butler-SOS:\n  influxdbConfig: {enable: true, version: 2, v2Config: {org: a, token: t}}\n",
            "Butler-SOS.influxdbConfig.v2Config.bucket: needed because version is 2",
        ),
        (
            "Butler-SOS:\n  appNames: {enableAppNameExtract: true, hostIP: q}\n  cert: {clientCert: a, clientCertCA: c}\n",
            "Butler-SOS.cert.clientCertKey: needed because appNames.enableAppNameExtract uses certificates",
        ),
        (
            "Butler-SOS:\n  uptimeMonitor: {enable: true, frequency: now and then}\n",
            "Butler-SOS.uptimeMonitor.frequency: `now and then` is not a frequency such as `every 15 minutes`",
        ),
        (
            "Butler-SOS:\n  auditEvents: {enable: true, host: localhost, port: 9842}\n",
            "a.yaml:2:54: Butler-SOS.auditEvents.port: port 9842 is already used by Pipeline.operations.port",
        ),
        (
            "Butler-SOS:\n  mqttConfig: {enable: true, password: x}\n",
            "Butler-SOS.mqttConfig.username: needed because a password is given",
        ),
        (
            "Pipeline:\n  deadLetters: {directory: data/journal/}\n",
            "a.yaml:2:28: Pipeline.deadLetters.directory: is also the directory of Pipeline.journal.directory",
        ),
        (
            "Pipeline:\n  screenshots: {concurrency: 4}\n  actors: {redirectWalker: {concurrency: 5}}\n",
            "a.yaml:2:30: Pipeline.screenshots.concurrency: contradicts Pipeline.actors.redirectWalker.concurrency",
        ),
        (
            "Pipeline:\n  screenshots: {resolve: {qlik.test: nowhere}}\n",
            "Pipeline.screenshots.resolve.qlik.test: `nowhere` is not an IP address",
        ),
        ("Pipeline:\n  actors: {influxSinc: {mailbox: 5}}\n", "the nearest known key is `influxSink`"),
        ("Pipeline:\n  journal: {bytesMax: plenty}\n", "`plenty` is not a number of bytes"),
        (
            "Butler-SOS: {auditEvents: {enable: true}}\nPipeline:\n  audit: {trustedProxies: [proxy]}\n",
            "Pipeline.audit.trustedProxies[0]: `proxy` is not an address or network",
        ),
        (
            "Butler-SOS:\n  mqttConfig: {enable: true}\n  userEvents: {enable: true, sendToMQTT: {enable: true, postTo: {everythingTopic: {topic: a/#}}}}\n",
            "a.yaml:3:91: Butler-SOS.userEvents.sendToMQTT.postTo.everythingTopic.topic: `a/#` holds a wildcard",
        ),
        (
            "Butler-SOS:\n  mqttConfig: {enable: true}\n  auditEvents: {enable: true}\nPipeline:\n  mqtt: {auditEvents: {topic: \"a\\x07b\"}}\n",
            "a.yaml:5:31: Pipeline.mqtt.auditEvents.topic: `a\\u{7}b` holds a control character",
        ),
        (
            "Butler-SOS:\n  auditEvents: {enable: true, destination: {enable: true, influxdb: {metadata: {staticTags: [{name: env, value: x}, {name: sheetId, value: x}]}}}}\n",
            "a.yaml:2:124: Butler-SOS.auditEvents.destination.influxdb.metadata.staticTags[1].name: `sheetId` is the name of a tag or field of every event",
        ),
        (
            "Butler-SOS:\n  auditEvents: {enable: true, destination: {screenshots: {enable: true, auth: {mode: userTicket, qps: {host: q}, sessionCache: {enable: true, ttlSeconds: 0}}}}}\n  cert: {clientCert: c, clientCertKey: k, clientCertCA: a}\n",
            "Butler-SOS.auditEvents.destination.screenshots.auth.sessionCache.ttlSeconds: `0` is not a number from 0.001 to 2147483",
        ),
    ] {
        check_mistakes(text, &[expect]);
    }
}

#[test]
fn screenshot_hosts_are_names_alone() {
    let text = "Butler-SOS:
  auditEvents:
    enable: true
    destination:
      screenshots:
        enable: true
        allowedImageDownloadHosts:
          - qlik.example.com
          - https://qlik.example.com
          - qlik.example.com:443
          - qlik.example.com/path
          - 10.1.2.3
          - '*.example.com'
          - 999.1.1.1
          - ::1
";
    let path = "Butler-SOS.auditEvents.destination.screenshots.allowedImageDownloadHosts";
    check_mistakes(
        text,
        &[
            &format!("a.yaml:9:13: {path}[1]: \"https://qlik.example.com\" is not a host name"),
            &format!("a.yaml:10:13: {path}[2]"),
            &format!("a.yaml:11:13: {path}[3]"),
            &format!("a.yaml:13:13: {path}[5]: \"*.example.com\" holds a wildcard"),
            &format!("a.yaml:14:13: {path}[6]"),
        ],
    );
}

#[test]
fn what_is_switched_off_need_not_be_right() {
    let loaded = check_fine(
        "Butler-SOS:
  userEvents:
    enable: false
    udpServerConfig: {serverHost: <IP or FQDN>, portUserActivityEvents: <port>}
    tags: [{name: a}]
  influxdbConfig: {enable: false, port: <port>, version: none}
  mqttConfig: {enable: false, brokerHost: <IP of MQTT broker/server>}
  auditEvents:
    enable: true
    host: localhost
    destination:
      enable: false
      type: nonsense
      influxdb: {metadata: {port: <port>, v2Config: {token: '${NOBODY}'}}}
  cert: {clientCertPassphrase: '${NOBODY}'}
  thirdPartyToolsCredentials: {newRelic: [{insertApiKey: '${NOBODY}'}]}
",
    );
    assert_eq!(loaded.config.butler_sos.user_events.udp_server.port, 9997);
    check_mistakes("Butler-SOS:\n  userEvents: {enable: maybe}\n", &["Butler-SOS.userEvents.enable"]);
}

#[test]
fn the_published_examples_of_the_two_features_load() {
    let loaded = check_fine(
        "Butler-SOS:
  userEvents:
    enable: true
    excludeUser: # Optional blacklist
      - directory: LAB
        userId: testuser1
    udpServerConfig:
      serverHost: 192.168.1.100
      portUserActivityEvents: 9997
    tags:
      - tag: env
        value: PROD
    sendToMQTT:
      enable: false
      postTo:
        everythingTopic:
          enable: true
          topic: qliksense/userevent
",
    );
    let events = &loaded.config.butler_sos.user_events;
    assert_eq!((events.tags[0].name.as_str(), events.tags[0].value.as_str()), ("env", "PROD"));
    assert_eq!(events.exclude_user[0].user_id, "testuser1");
    assert_eq!(events.udp_server.message_queue.max_size, 100_000);

    let loaded = check_fine(
        "Butler-SOS:
  cert: {clientCert: a, clientCertKey: b, clientCertCA: c}
  auditEvents:
    enable: true
    destination:
      screenshots:
        enable: true
        allowedImageDownloadHosts: [qlik.example.com, qlik-proxy.example.com]
        auth:
          mode: userTicket
          qps: {host: qlik.example.com, port: 4243, ticketTimeoutMs: 5000}
          sessionCache: {enable: true, ttlSeconds: 120, maxEntries: 100}
",
    );
    let shots = &loaded.config.butler_sos.audit_events.destination.screenshots;
    assert_eq!(shots.auth.mode, AuthMode::UserTicket);
    assert!((shots.auth.session_cache.ttl_seconds - 120.0).abs() < f64::EPSILON);
}

#[test]
fn layers_win_in_their_order_and_origins_are_known() {
    let world = World::default()
        .with_file("a.yaml", "Butler-SOS:\n  logLevel: error\n  userEvents:\n    excludeUser: [{directory: A, userId: b}]\nPipeline:\n  journal: {directory: /a, bytesMax: 1GiB}\n  drainSeconds: 1\n")
        .with_file("b.yaml", "Butler-SOS:\n  userEvents:\n    excludeUser:\nPipeline:\n  journal:\n    directory: /b\n")
        .with_variable("BUTLER_SOS__Pipeline__drainSeconds", "33")
        .with_variable("BUTLER_SOS__BUTLER_SOS__userEvents__enable", "True")
        .with_variable("BUTLER_SOS__Butler_SOS__userEvents__udpServerConfig__allowedSources", "10.0.0.1, sense.test")
        .with_variable("BUTLER_SOS__PIPELINE__INFLUXDB__USERAGENTTAGPREFIX", "")
        .with_variable("BUTLER_SOS__Pipeline__log__queueMax", "")
        .with_variable("BUTLER_SOS__Butler_SOS__userEvents__tags", "[{name: env, value: 007}]");
    let settings = Settings {
        log_level: Some(LogLevel::Silly),
        set: vec![
            ("Pipeline.screenshots.resolve.qlik.test".into(), "127.0.0.1".into()),
            ("Butler-SOS.userEvents.udpServerConfig.portUserActivityEvents".into(), "0".into()),
        ],
        ..named(&["a.yaml", "b.yaml"])
    };
    let loaded = world.load(&settings).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let config = &loaded.config;
    assert_eq!(config.butler_sos.log_level, LogLevel::Silly);
    assert_eq!(config.pipeline.journal.directory, "/b");
    assert_eq!(config.pipeline.journal.bytes_max, 1 << 30);
    assert_eq!(config.pipeline.drain_seconds, 33);
    assert_eq!(config.pipeline.influxdb.user_agent_tag_prefix, "");
    assert_eq!(config.pipeline.screenshots.resolve["qlik.test"], "127.0.0.1");
    let events = &config.butler_sos.user_events;
    assert!(events.enable && events.exclude_user.is_empty());
    assert_eq!(events.udp_server.allowed_sources, ["10.0.0.1", "sense.test"]);
    assert_eq!(events.udp_server.port, 0);
    assert_eq!(events.tags[0].value, "007");
    for (path, origin) in [
        ("Butler-SOS.logLevel", "flag --loglevel"),
        ("Pipeline.journal.directory", "b.yaml:6:16"),
        ("Pipeline.journal.bytesMax", "a.yaml:6:38"),
        ("Pipeline.journal.retentionHours", "default"),
        ("Pipeline.drainSeconds", "environment BUTLER_SOS__Pipeline__drainSeconds"),
        ("Butler-SOS.userEvents.udpServerConfig.portUserActivityEvents", "flag --set"),
    ] {
        assert_eq!(loaded.origin(path), origin, "{path}");
    }
}

#[test]
fn mistakes_in_variables_and_flags_are_told() {
    let world = World::default()
        .with_file("a.yaml", "")
        .with_variable("BUTLER_SOS__Pipeline__jurnal__directory", "/x")
        .with_variable("BUTLER_SOS__Pipeline__drainSeconds", "soon")
        .with_variable("BUTLER_SOS__Pipeline__drainSeconds__x", "1");
    let settings = Settings {
        set: vec![
            ("Pipeline.journal".into(), "x".into()),
            ("Butler-SOS.userEvents.tags.0".into(), "x".into()),
        ],
        ..named(&["a.yaml", "nobody.yaml"])
    };
    let found = world.load(&settings).expect_err("mistakes").to_string();
    for line in [
        "6 mistakes in the configuration",
        "environment BUTLER_SOS__Pipeline__jurnal__directory: Pipeline.jurnal: unknown key; the nearest known key is `journal`",
        "environment BUTLER_SOS__Pipeline__drainSeconds: Pipeline.drainSeconds: `soon` is not a whole number",
        "Pipeline.drainSeconds.x: unknown key",
        "flag --set: Pipeline.journal: expected a section, found a single value",
        "flag --set: Butler-SOS.userEvents.tags: a list can only be set as a whole",
        "nobody.yaml: the file cannot be read",
    ] {
        assert!(found.contains(line), "no {line:?} in {found}");
    }
}

#[test]
fn secrets_are_found_and_never_shown() {
    let world = of_file(
        "Butler-SOS:
  auditEvents: {enable: true, apiToken: '${TOKEN}'}
  influxdbConfig: {enable: true, version: 2, v2Config: {org: o, bucket: b, token: 'file:/run/secrets/t'}}
  mqttConfig: {enable: true, username: u, password: 0815}
  newRelic: {event: {header: [{name: X-Proxy-Key, value: of-the-proxy}, {name: X-Other, value: '${TOKEN}'}]}}
Pipeline: {operations: {token: plain-text}}
",
    )
    .with_variable("TOKEN", "from-the-environment")
    .with_file("/run/secrets/t", "from-a-file\r\n");
    let settings = Settings {
        new_relic_account_name: vec!["nr".into()],
        new_relic_api_key: vec![butler_sos_settings::secret::Secret::new("from-a-flag")],
        new_relic_account_id: vec!["17".into()],
        ..named(&["a.yaml"])
    };
    let loaded = world.load(&settings).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let butler = &loaded.config.butler_sos;
    assert_eq!(butler.audit_events.api_token.expose(), "from-the-environment");
    assert_eq!(butler.influxdb.v2.token.expose(), "from-a-file");
    assert_eq!(butler.mqtt.password.expose(), "0815");
    assert_eq!(butler.third_party_tools_credentials.new_relic[0].insert_api_key.expose(), "from-a-flag");
    assert_eq!(butler.third_party_tools_credentials.new_relic[0].account_id, "17");

    let printed = loaded.print();
    let all = format!("{printed}{loaded:?}{:?}", loaded.shown());
    assert_eq!(butler.new_relic.event.header[1].value.expose(), "from-the-environment");
    for hidden in ["from-the-environment", "from-a-file", "from-a-flag", "0815", "plain-text", "of-the-proxy"]
    {
        assert!(!all.contains(hidden), "{hidden} is shown");
    }
    assert!(
        printed
            .lines()
            .any(|line| line.starts_with("    apiToken: '***'") && line.ends_with("# a.yaml:2:41"))
    );
    assert!(printed.contains("- accountName: nr"));
    let again = printed.replace("'***'", "x");
    check_fine(&again);
}

#[test]
fn names_are_hidden_where_the_page_is_for_others() {
    let loaded = of_file(
        "Butler-SOS:
  userEvents: {excludeUser: [{directory: LABOUR, userId: goran}], tags: [{name: env, value: production}]}
  influxdbConfig: {enable: true, host: influx.example.com, version: 2, v2Config: {org: example, bucket: b, token: tttt}}
  auditEvents: {cors: {allowedOrigins: ['https://qlik.example.com']}}
Pipeline: {screenshots: {resolve: {pictures.example.com: 10.20.30.41}}, csv: {userEvents: {exportDirectory: /srv/csv}}}
",
    )
    .load(&named(&["a.yaml"]))
    .unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let shown = loaded.configuration(Hides::SecretsAndNames);
    let all = format!("{}{:?}", shown.text, shown.settings);
    for hidden in ["example", "LABOUR", "goran", "tttt", "qlik.", "pictures", "10.20"] {
        assert!(!all.contains(hidden), "{hidden} in {}", shown.text);
    }
    for (path, value) in [
        ("Butler-SOS.influxdbConfig.host", "\"inf**********\""),
        ("Butler-SOS.userEvents.excludeUser[0].directory", "\"LAB**********\""),
        ("Butler-SOS.auditEvents.cors.allowedOrigins", "\"htt**********\""),
        ("Butler-SOS.influxdbConfig.v2Config.token", "'***'"),
        // What nobody set, and what names nobody.
        ("Butler-SOS.mqttConfig.brokerHost", "localhost"),
        ("Butler-SOS.userEvents.tags[0].value", "production"),
        ("Pipeline.csv.userEvents.exportDirectory", "/srv/csv"),
    ] {
        let found = shown.settings.iter().find(|of| of.path == path).unwrap_or_else(|| panic!("{path}"));
        assert_eq!(found.value, value, "{path}");
    }
    assert!(loaded.configuration(Hides::Secrets).text.contains("influx.example.com"));
}

#[test]
fn tags_that_stand_in_the_way_are_told() {
    let check = |text: &str, expect: &[&str]| {
        let loaded = of_file(text).load(&named(&["a.yaml"])).unwrap_or_else(|mistakes| panic!("{mistakes}"));
        let tells = |part: &&str| loaded.warnings.iter().any(|line| line.contains(*part));
        assert!(expect.iter().all(tells), "{:?}", loaded.warnings);
        let about_names = loaded.warnings.iter().filter(|line| line.contains(".name: ")).count();
        assert_eq!(about_names, expect.len(), "{:?}", loaded.warnings);
    };
    let tags = "tags: [{name: env, value: x}, {tag: host, value: x}, {name: qs_uaOsName, value: x}, {name: uaOsName, value: x}, {name: time, value: x}, {name: qs_host, value: x}]";
    let influx = "influxdbConfig: {enable: true}";
    check(&format!("Butler-SOS:\n  {influx}\n  userEvents: {{enable: true, {tags}}}\n"), &[]);
    let to_influx = format!(
        "Butler-SOS:\n  {influx}\n  userEvents: {{enable: true, sendToInfluxdb: {{enable: true}}, {tags}}}\n"
    );
    check(
        &to_influx,
        &[
            "a.yaml:3:98: Butler-SOS.userEvents.tags[1].name: `host` is a field of every event",
            "tags[2].name: `qs_uaOsName`",
            "tags[4].name: `time`",
        ],
    );
    let bare = format!("{to_influx}Pipeline: {{influxdb: {{userAgentTagPrefix: ''}}}}\n");
    check(&bare, &["`host`", "tags[3].name: `uaOsName`", "`time`"]);
    let new_relic =
        "thirdPartyToolsCredentials: {newRelic: [{accountName: a, insertApiKey: k, accountId: 1}]}
  newRelic: {enable: true, event: {attribute: {static: [{name: eventType, value: x}, {name: a, value: x}]}}}";
    check(
        &format!(
            "Butler-SOS:\n  {new_relic}\n  userEvents: {{enable: true, sendToNewRelic: {{enable: true, destinationAccount: [a]}}, {tags}}}\n"
        ),
        &["tags[2].name: `qs_uaOsName`", "tags[5].name: `qs_host`", "attribute.static[0].name: `eventType`"],
    );
}

#[test]
fn what_is_printed_loads_as_the_same() {
    let default = World::default().load(&Settings::default()).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    assert_eq!(default.files, ["built-in default.yaml"]);
    let again = check_fine(&default.print());
    assert_eq!(format!("{:?}", again.config), format!("{:?}", default.config));
    let system = World::default()
        .with_file(SYSTEM_FILE, "Pipeline: {drainSeconds: 7}")
        .load(&Settings::default())
        .unwrap_or_else(|mistakes| panic!("{mistakes}"));
    assert_eq!(system.config.pipeline.drain_seconds, 7);
}

#[test]
fn verification_can_be_skipped_but_not_reading() {
    let text = "Butler-SOS:\n  userEvents:\n    enable: true\n    enabel: true\n    udpServerConfig: {enableSourceValidation: true}\n";
    let settings = Settings { skip_config_verification: true, ..named(&["a.yaml"]) };
    let loaded = of_file(text).load(&settings).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    assert_eq!(loaded.warnings.iter().filter(|line| line.contains("enabel")).count(), 1);
    // Validation stays on, and the intake then refuses to start: nobody's list does not become everybody's.
    let server = &loaded.config.butler_sos.user_events.udp_server;
    assert!(server.enable_source_validation && server.allowed_sources.is_empty());
    assert!(of_file("Pipeline: {drainSeconds: soon}").load(&settings).is_err());
    assert!(of_file("Pipeline: [").load(&settings).is_err());
}

#[test]
fn what_this_server_does_not_have_is_listed_and_not_refused() {
    let loaded = check_fine(
        "Butler-SOS:\n  logEvents: {nonsense: true}\n  userSessions: {a: 1}\n  telegraf: {a: 1}\n  serversToMonitor: {servers: [1]}\n  anonTelemetry:\nx-anchors: &x {a: 1}\n",
    );
    assert_eq!(
        loaded.ignored,
        [
            "Butler-SOS.logEvents",
            "Butler-SOS.userSessions",
            "Butler-SOS.telegraf",
            "Butler-SOS.serversToMonitor.servers"
        ]
    );
}

#[test]
fn prometheus_and_the_operations_server_share_a_port() {
    let loaded = check_fine("Butler-SOS:\n  prometheus: {enable: true, host: 0.0.0.0, port: 9842}\n");
    let listeners = loaded.config.listeners();
    assert_eq!(listeners.len(), 1);
    assert_eq!((listeners[0].host.as_str(), listeners[0].port), ("0.0.0.0", 9842));
    assert_eq!(listeners[0].serves, [Service::Operations, Service::Metrics]);
    let loaded = check_fine("Butler-SOS:\n  prometheus: {enable: true, host: 10.0.0.1}\n");
    assert_eq!(loaded.config.listeners().len(), 2);
}

#[test]
fn a_file_for_butler_sos_15_is_taken_as_it_is() {
    let text = include_str!("../../conf/examples/production-butler-sos-15.yaml");
    let loaded = of_file(text)
        .with_variable("AUDIT_API_TOKEN", "t")
        .load(&named(&["a.yaml"]))
        .unwrap_or_else(|mistakes| panic!("{mistakes}"));
    assert_eq!(loaded.config.butler_sos.user_events.udp_server.message_queue.max_size, 200);
    assert!(!loaded.config.pipeline.csv.user_events.enable, "events go only where the file sends them");
    for path in ["Butler-SOS.logEvents", "Butler-SOS.userSessions", "Butler-SOS.newRelic.metric"] {
        assert!(loaded.ignored.iter().any(|ignored| ignored == path), "{path} in {:?}", loaded.ignored);
    }
}

#[test]
fn every_shipped_file_parses_and_verifies() {
    for (name, text) in [
        ("default", include_str!("../../conf/default.yaml")),
        ("package", include_str!("../../conf/package/butler-sos.yaml")),
        ("full", include_str!("../../conf/full.yaml")),
        ("influxdb-mqtt", include_str!("../../conf/examples/influxdb-mqtt.yaml")),
        ("screenshots", include_str!("../../conf/examples/screenshots.yaml")),
        ("screenshots-with-fake-qlik", include_str!("../../conf/examples/screenshots-with-fake-qlik.yaml")),
    ] {
        let loaded = of_file(text)
            .with_variable("INFLUXDB_TOKEN", "t")
            .with_variable("AUDIT_API_TOKEN", "t")
            .with_variable("QLIK_CERT_PASSPHRASE", "t")
            .with_file("/run/secrets/mqtt-password", "p\n")
            .with_file("/run/secrets/audit-api-token", "p\n")
            .load(&named(&["a.yaml"]))
            .unwrap_or_else(|mistakes| panic!("{name}: {mistakes}"));
        assert!(loaded.warnings.is_empty(), "{name}: {:?}", loaded.warnings);
        assert!(loaded.ignored.is_empty(), "{name}: {:?}", loaded.ignored);
    }
}

/// The package's file differs from the default in its directories alone, each of them absolute.
#[test]
fn the_package_has_the_default_under_its_own_directories() {
    let package = check_fine(include_str!("../../conf/package/butler-sos.yaml"));
    let directories = package.shown().into_iter().filter(|of| of.origin.starts_with("a.yaml"));
    let directories: Vec<_> =
        directories.filter(|of| of.path.to_lowercase().ends_with("directory")).collect();
    assert_eq!(directories.len(), 7);
    for of in directories {
        assert!(of.value.contains("/var/l"), "{}: {}", of.path, of.value);
    }
    let default = check_fine(include_str!("../../conf/default.yaml"));
    let settings = |loaded: &Loaded| {
        format!("{:?}", loaded.config)
            .replace("/var/lib/butler-sos/data", "./data")
            .replace("/var/log/butler-sos", "log")
    };
    assert_eq!(settings(&package), settings(&default));
}

/// `conf/full.yaml` is what the code says. To write it anew: `BLESS=1 cargo test -p butler-sos full_yaml`.
#[test]
fn full_yaml_is_what_the_code_says() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/conf/full.yaml");
    let expect = reference::yaml();
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(path, &expect).expect("conf/full.yaml can be written");
    }
    let shipped = std::fs::read_to_string(path).expect("conf/full.yaml");
    let differs = shipped.lines().zip(expect.lines()).find(|(shipped, expect)| shipped != expect);
    assert_eq!(differs, None, "write it anew with BLESS=1");
    assert_eq!(shipped.len(), expect.len(), "write it anew with BLESS=1");
    let loaded = check_fine(&expect);
    assert_eq!(format!("{:?}", loaded.config), format!("{:?}", Config::default()));
    for shown in loaded.shown().into_iter().filter(|shown| shown.value != "{}") {
        assert!(shown.origin.starts_with("a.yaml:"), "{} is not in full.yaml", shown.path);
    }
}

#[test]
fn every_setting_says_what_it_is_for_and_has_a_default_that_can_be_read() {
    fn walk(keys: &[Key], path: &str) {
        for key in keys.iter().filter(|key| !matches!(key.shape, Shape::Ignored)) {
            let path = format!("{path}.{}", key.name);
            assert!(key.about.iter().any(|line| !line.trim().is_empty()), "{path} says nothing");
            match &key.shape {
                Shape::Section(keys) => walk(keys, &path),
                Shape::Scalar(leaf) => {
                    let is_nothing = matches!(leaf.default_kind(), ::config::ValueKind::Nil);
                    assert_eq!(
                        is_nothing,
                        !matches!(leaf.default, butler_sos_settings::schema::Fallback::Text(_)),
                        "{path}"
                    );
                }
                Shape::List(item) => {
                    if let Shape::Section(keys) = &**item {
                        walk(keys, &path);
                    }
                }
                Shape::Map(_) | Shape::Ignored => {}
            }
        }
    }
    walk(&Config::keys(), "");
}

#[test]
fn files_that_are_named_must_be_there() {
    let loaded = check_fine(
        "Butler-SOS:\n  auditEvents:\n    enable: true\n    tls: {enable: true, cert: /nobody/a.pem, key: /}\n",
    );
    let Mistakes { mistakes, .. } = loaded.verify_resources().expect_err("missing files");
    let found: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
    assert_eq!(found.len(), 2);
    assert!(
        found[0].starts_with("a.yaml:4:31: Butler-SOS.auditEvents.tls.cert: `/nobody/a.pem` cannot be read")
    );
    assert!(found[1].contains("Butler-SOS.auditEvents.tls.key: `/` is not a file"), "{found:?}");
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    /// Whatever a file holds, it is taken or refused, and a refusal names something.
    #[test]
    fn any_text_is_answered(text in "(?s).{0,200}", key in "[a-zA-Z-]{0,12}", value in "(?s).{0,40}") {
        for text in [text, format!("Butler-SOS:\n  userEvents:\n    {key}: {value}\n"), format!("Pipeline: {{{key}: [{value}]}}")] {
            if let Err(Mistakes { mistakes, .. }) = load_text(&text) {
                proptest::prop_assert!(!mistakes.is_empty());
                proptest::prop_assert!(mistakes.iter().all(|mistake| !mistake.detail.is_empty()));
            }
        }
    }

    /// What is set by a flag is printed so that YAML reads the same text again, but for what is hidden in an address.
    #[test]
    fn any_text_survives_printing(text in "(?s)[^\\x00]{1,60}") {
        let settings = Settings {
            set: vec![("Butler-SOS.uptimeMonitor.storeInInfluxdb.instanceTag".into(), text.clone())],
            ..named(&["a.yaml"])
        };
        let loaded = of_file("").load(&settings).unwrap_or_else(|mistakes| panic!("{mistakes}"));
        let again = load_text(&loaded.print()).unwrap_or_else(|mistakes| panic!("{mistakes}"));
        let read = &again.config.butler_sos.uptime_monitor.store_in_influxdb.instance_tag;
        proptest::prop_assert_eq!(read.as_str(), &*without_credentials(&text));
    }
}
