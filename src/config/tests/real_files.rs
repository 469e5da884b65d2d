//! Configurations as people have them: files of other versions and editors, and what is told about them.

use super::*;

const TEMPLATES: [(&str, &str); 2] = [
    ("12.0.0", include_str!("../../../integration-tests/configurations/butler-sos-12.0.0.yaml")),
    ("15.0.1", include_str!("../../../integration-tests/configurations/butler-sos-15.0.1.yaml")),
];

/// The file is taken, and these are among its warnings, in this order.
#[track_caller]
fn check_warnings(text: &str, expect: &[&str]) {
    let loaded = check_fine(text);
    let mut warnings = loaded.warnings.iter();
    for part in expect {
        assert!(warnings.any(|line| line.contains(part)), "no {part:?} in {:#?}", loaded.warnings);
    }
}

#[test]
fn templates_of_other_versions_are_taken_as_they_are() {
    for (version, text) in TEMPLATES {
        let loaded = check_fine(text);
        assert!(loaded.warnings.is_empty(), "{version}: {:#?}", loaded.warnings);
        assert!(loaded.ignored.iter().any(|path| path == "Butler-SOS.logEvents"), "{version}");
    }
}

/// The example that is shipped has every key of Butler SOS's own template and no other, so that Butler SOS takes it too.
/// Audit events are not in the template.
#[test]
fn the_production_example_has_the_shape_of_butler_sos_15() {
    fn paths(node: &yaml::Node, path: &str, found: &mut std::collections::BTreeSet<String>) {
        match &node.value {
            yaml::NodeValue::Table(entries) => entries.iter().for_each(|entry| {
                let inner = setting_path::join(path, &entry.key);
                paths(&entry.node, &inner, found);
                found.insert(inner);
            }),
            yaml::NodeValue::List(items) => {
                items.iter().for_each(|item| paths(item, &format!("{path}[]"), found))
            }
            yaml::NodeValue::Null | yaml::NodeValue::Scalar(_) => {}
        }
    }
    let paths_of = |text: &str| {
        let mut found = std::collections::BTreeSet::new();
        paths(&yaml::parse(text).expect("YAML").root, "", &mut found);
        // What stands in lists and under names of the administrator's is his.
        found.retain(|path| !path.contains("[]") && !path.contains("auditEvents"));
        found
    };
    let example = paths_of(include_str!("../../../conf/examples/production-butler-sos-15.yaml"));
    let template = paths_of(TEMPLATES[1].1);
    let differ: Vec<_> = example.symmetric_difference(&template).collect();
    assert!(differ.is_empty(), "{differ:#?}");
}

#[test]
fn comments_may_stand_anywhere_in_any_number() {
    let many = |indent: &str| format!("{indent}# - name: x\n").repeat(500);
    for text in [
        format!(
            "Butler-SOS:\n  userEvents:\n    enable: false\n    tags:\n{}  fileLogging: false\n",
            many("      ")
        ),
        format!("Butler-SOS:\n  userEvents:\n{}    enable: false\n", many("    ")),
        format!(
            "Butler-SOS:\n  userEvents:\n    tags:\n{}      - name: a\n        value: b\n",
            many("      ")
        ),
        format!("{0}Butler-SOS:\n{0}  logLevel: # here\n{0}    info\n{0}", many("")),
        format!("Butler-SOS:\n  userEvents: {{\n{0}    tags: [\n{0}      ]\n{0}  }}\n", many("  ")),
    ] {
        check_fine(&text);
    }
}

#[test]
fn old_keys_in_a_section_that_is_switched_off_are_warnings() {
    check_warnings(
        "Butler-SOS:
  influxdbConfig:
    enable: false
    hostIP: influxdb.example.com
    hostPort: 8086
    port: <port>
    auth: {enable: false, username: u, password: p}
    dbName: SenseOps
  mqttConfig: {enable: false, topik: x, brokerPort: none, tls: yes}
  newRelic: {enable: false, event: {urrl: x, header: none}}
  userEvents: {enable: false, tag: [], sendToMQTT: {enable: false, topic: x}, tags: [{name: a, value: }], udpServerConfig: 5}
  prometheus: {enable: false, hots: x}
  configVisualisation: {enable: false, hots: x}
  heartbeat: {enable: false, url: x}
  dockerHealthCheck: {enable: false, host: x}
  uptimeMonitor: {enable: false, frequenzy: x}
  errorTracking: {enable: false, influx: x}
  appNames: {enableAppNameExtract: false, host: x}
  userSessions: {enableSessionExtract: false, hots: x}
  crashFile: {enable: false, hots: x}
",
        &[
            "a.yaml:4:5: Butler-SOS.influxdbConfig.hostIP: a key of an older version; the nearest known key is `host`",
            "a.yaml:5:5: Butler-SOS.influxdbConfig.hostPort",
            "a.yaml:6:11: Butler-SOS.influxdbConfig.port: `<port>` is not a whole number",
            "a.yaml:7:5: Butler-SOS.influxdbConfig.auth: unknown key; it belongs to `v1Config.auth`",
            "Butler-SOS.influxdbConfig.dbName",
            "a.yaml:9:31: Butler-SOS.mqttConfig.topik",
            "Butler-SOS.mqttConfig.brokerPort",
            "Butler-SOS.mqttConfig.tls",
            "Butler-SOS.newRelic.event.urrl",
            "Butler-SOS.newRelic.event.header",
            "Butler-SOS.userEvents.tag:",
            "Butler-SOS.userEvents.sendToMQTT.topic: a key of an older version; the nearest known key is `postTo`",
            "Butler-SOS.userEvents.tags[0].value: a value is needed (not used: the section is disabled)",
            "Butler-SOS.userEvents.udpServerConfig",
            "Butler-SOS.prometheus.hots",
            "Butler-SOS.configVisualisation.hots",
            "Butler-SOS.heartbeat.url",
            "Butler-SOS.dockerHealthCheck.host",
            "Butler-SOS.uptimeMonitor.frequenzy",
            "Butler-SOS.errorTracking.influx",
            "Butler-SOS.appNames.host",
        ],
    );
}

#[test]
fn a_section_that_lacks_its_switch_and_audit_events_are_checked_all_the_same() {
    for (text, expect) in [
        ("Butler-SOS:\n  userEvents: {enabel: false, tag: []}\n", &["enabel", "tag:"][..]),
        ("Butler-SOS:\n  influxdbConfig: {hostPort: 8086}\n", &["the nearest known key is `port`"]),
        ("Butler-SOS:\n  auditEvents: {enable: false, prot: 1}\n", &["auditEvents.prot"]),
        (
            "Butler-SOS:\n  userEvents: {enable: true, sendToMQTT: {enable: false, topic: x}}\n",
            &["sendToMQTT.topic"],
        ),
        ("Pipeline:\n  csv: {userEvents: {enable: false, directory: x}}\n", &["userEvents.directory"]),
        ("Butler-SOS:\n  mqttConfig: {enable: maybe}\n", &["`maybe` is not true or false"]),
    ] {
        check_mistakes(text, expect);
    }
}

#[test]
fn keys_that_some_versions_had_are_accepted() {
    let loaded = check_fine(
        "Butler-SOS:
  prometheus: {enable: true, nodeMetricsHost: 0.0.0.0, nodeMetricsPort: 9843}
  userEvents:
    enable: true
    udpServerConfig: {messageQueue: {dropStrategy: oldest}, rateLimit: {violationLogThrottle: 60}, backpressure: {threshold: 80}}
  influxdbConfig: {enable: true, host: h, failedPollsTracking: {enable: false, measurementName: x}}
  logdb: {enable: true}
",
    );
    for path in ["Butler-SOS.prometheus.nodeMetricsPort", "Butler-SOS.logdb"] {
        assert!(loaded.ignored.iter().any(|ignored| ignored == path), "{path}: {:?}", loaded.ignored);
    }
}

#[test]
fn nothing_where_a_value_is_needed_hides_no_other_mistake() {
    let text = |value: &str| {
        format!(
            "Butler-SOS:\n  logLevl: info\n  userEvents:\n    tags:\n      - name: a\n        value: {value}\n  influxdbConfig: {{enable: true, port: 99999999}}\n"
        )
    };
    for value in ["", "~", "null"] {
        check_mistakes(
            &text(value),
            &[
                "a.yaml:2:3: Butler-SOS.logLevl: unknown key; the nearest known key is `logLevel`",
                "a.yaml:6:9: Butler-SOS.userEvents.tags[0].value: a value is needed",
                "a.yaml:7:40: Butler-SOS.influxdbConfig.port: `99999999` is not a whole number from 1 to 65535",
            ],
        );
    }
    let refused = load_text(&text("")).expect_err("mistakes").to_string();
    assert!(refused.contains("a.yaml:7:28: Butler-SOS.influxdbConfig.host: not set"), "{refused}");
    check_mistakes(
        "Butler-SOS:
  userEvents:
    enable: true
    excludeUser: [{directory: LAB, userId: }, {directory: ~, userId: x}, ~]
    sendToMQTT: ~
    udpServerConfig: {allowedSources: [~], portUserActivityEvents: ~}
  newRelic: {event: {header: [{name: , value: x}]}}
  auditEvents:
    enable: true
    port: 8l81
    destination:
      screenshots: {enable: true, storageTargets: [{enable: true, type: flat, directory: }]}
",
        &[
            "a.yaml:4:36: Butler-SOS.userEvents.excludeUser[0].userId: a value is needed",
            "a.yaml:4:48: Butler-SOS.userEvents.excludeUser[1].directory: a value is needed",
            "a.yaml:7:32: Butler-SOS.newRelic.event.header[0].name: a value is needed",
            "a.yaml:10:11: Butler-SOS.auditEvents.port: `8l81` is not a whole number",
            "a.yaml:12:79: Butler-SOS.auditEvents.destination.screenshots.storageTargets[0].directory: a value is needed",
        ],
    );
}

#[test]
fn numbers_are_read_in_every_notation_that_yaml_has() {
    for notation in ["0x270D", "0o23415", "9997.0", "9.997e3", "+9997", "'9997'"] {
        let loaded = check_fine(&format!(
            "Butler-SOS:\n  userEvents: {{udpServerConfig: {{portUserActivityEvents: {notation}}}, tags: [{{name: a, value: {notation}}}]}}\nPipeline: {{screenshots: {{giveUpAfter: {notation}, bytesMax: {notation}}}}}\n"
        ));
        let events = &loaded.config.butler_sos.user_events;
        assert_eq!(events.udp_server.port, 9997, "{notation}");
        assert_eq!(events.tags[0].value, notation.trim_matches('\''), "text stays what it is");
        let shots = &loaded.config.pipeline.screenshots;
        assert_eq!((shots.give_up_after_seconds, shots.bytes_max), (9997, 9997), "{notation}");
    }
}

#[test]
fn a_file_in_ansi_is_read_and_its_line_named() {
    let world = World::default().with_bytes("a.yaml", b"Butler-SOS:\n  logLevel: info\n# f\xf6r\n");
    let loaded = world.load(&named(&["a.yaml"])).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    assert_eq!(
        loaded.warnings,
        ["a.yaml:3:4: this line is not UTF-8 and is read as windows-1252: save the file as UTF-8"]
    );
    let text = b"Butler-SOS:\n  userEvents: {tags: [{name: \xf6rt, value: M\xfcnchen}]}\n# \xe5\n";
    let loaded = World::default().with_bytes("a.yaml", text).load(&named(&["a.yaml"]));
    let loaded = loaded.unwrap_or_else(|mistakes| panic!("{mistakes}"));
    assert_eq!(loaded.config.butler_sos.user_events.tags[0].value, "München");
    assert!(loaded.warnings[0].contains("this line (and 1 more) is not UTF-8"), "{:?}", loaded.warnings);
}

#[test]
fn a_file_in_utf16_is_refused_by_its_name() {
    let bytes: Vec<u8> = "\u{feff}Butler-SOS:\r\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let world = World::default().with_bytes("a.yaml", &bytes);
    let refused = world.load(&named(&["a.yaml"])).expect_err("UTF-16").to_string();
    assert!(refused.contains("a.yaml: the file is UTF-16; save it as UTF-8"), "{refused}");

    let secret = of_file("Pipeline: {operations: {token: 'file:t'}}").with_bytes("t", &bytes);
    let refused = secret.load(&named(&["a.yaml"])).expect_err("UTF-16").to_string();
    assert!(refused.contains("cannot read the secret file `t`: the file is UTF-16"), "{refused}");
    let marked = of_file("Pipeline: {operations: {token: 'file:t'}}").with_file("t", "\u{feff}token\r\n");
    let loaded = marked.load(&named(&["a.yaml"])).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    assert_eq!(loaded.config.pipeline.operations.token.expose(), "token");
}

#[test]
fn a_path_with_a_control_character_is_refused_and_the_backslash_explained() {
    let hint = "in double quotes `\\n` and `\\t` mean line feed and tab: use single quotes or `/`";
    for (text, path) in [
        ("Butler-SOS: {fileLogging: true, logDirectory: \"C:\\new\"}\n", "Butler-SOS.logDirectory"),
        ("Pipeline: {journal: {directory: \"C:\\table\"}}\n", "Pipeline.journal.directory"),
        ("Pipeline: {journal: {directory: \"C:\\Program Files\\b\"}}\n", "Pipeline.journal.directory"),
        (
            "Butler-SOS: {auditEvents: {enable: true, tls: {enable: true, cert: \"C:\\new.pem\", key: k}}}\n",
            "Butler-SOS.auditEvents.tls.cert",
        ),
        (
            "Butler-SOS: {auditEvents: {enable: true, destination: {screenshots: {enable: true, storageTargets: [{enable: true, directory: \"D:\\new\"}]}}}}\n",
            "Butler-SOS.auditEvents.destination.screenshots.storageTargets[0].directory",
        ),
    ] {
        check_mistakes(text, &[&format!("{path}: ")]);
        let refused = load_text(text).expect_err(text).to_string();
        assert!(refused.contains("contains a control character") && refused.contains(hint), "{refused}");
    }
    for path in ["\"C:\\Qlik\"", "\"C:\\Users\\me\"", "\"\\\\server\\share\""] {
        let text = format!("Pipeline: {{journal: {{directory: {path}}}}}\n");
        let refused = load_text(&text).expect_err(&text).to_string();
        assert!(refused.contains("a.yaml:1:") && refused.contains(hint), "{refused}");
    }
    for path in [
        "C:\\x\\new",
        "'C:\\x\\new'",
        "C:/x",
        "\\\\server\\share\\x",
        "'\\\\server\\share'",
        "\"C:\\\\new\"",
        "x",
    ] {
        let loaded = check_fine(&format!("Pipeline:\n  journal:\n    directory: {path}\n"));
        let expect = path.trim_matches(['\'', '"']).replace("C:\\\\new", "C:\\new");
        assert_eq!(loaded.config.pipeline.journal.directory, expect);
    }
}

#[test]
fn addresses_are_taken_in_any_case_and_with_user_information_where_it_is_of_use() {
    for address in
        ["https://user:pw@hc.example.com/ping", "HTTPS://hc.example.com/ping", "Http://hc.example.com:81"]
    {
        let loaded =
            check_fine(&format!("Butler-SOS:\n  heartbeat: {{enable: true, remoteURL: '{address}'}}\n"));
        let heartbeat = &loaded.config.butler_sos.heartbeat;
        assert_eq!(
            heartbeat.remote_url.as_ref().map(butler_sos_settings::secret::Secret::expose),
            Some(address)
        );
    }
    check_fine("Butler-SOS:\n  newRelic: {enable: true, event: {url: 'HTTPS://NR.example.com'}}\n");
    check_mistakes(
        "Butler-SOS:\n  newRelic: {enable: true, event: {url: 'https://user:SECRET@nr.example.com'}}\n",
        &["`https://***@nr.example.com` contains user information"],
    );
}

#[test]
fn frequencies_of_butler_sos_are_taken_or_their_default_with_a_warning() {
    for frequency in ["every weekday", "at 10:00 am", "at 5 minute of every hour"] {
        check_warnings(
            &format!("Butler-SOS:\n  uptimeMonitor: {{enable: true, frequency: {frequency}}}\n"),
            &[&format!(
                "a.yaml:2:44: Butler-SOS.uptimeMonitor.frequency: `{frequency}` names calendar times, which are not supported: `every 15 minutes` is used"
            )],
        );
        check_warnings(
            &format!(
                "Butler-SOS:\n  heartbeat: {{enable: true, remoteURL: http://h, frequency: {frequency}}}\n"
            ),
            &["`every 1 hour` is used"],
        );
    }
    check_warnings(
        "Butler-SOS:\n  uptimeMonitor: {enable: true, frequency: every 15 minutes starting on the 5 minute}\n",
        &["means every 900 seconds, counted from the start of the server"],
    );
}

/// Everything that a file with these lines makes the program say: mistakes or warnings, what is printed, what pages show.
fn all_that_is_said(text: &str) -> String {
    match of_file(text).load(&named(&["a.yaml"])) {
        Err(refused) => refused.to_string(),
        Ok(loaded) => {
            let pages = [Hides::Secrets, Hides::SecretsAndNames].map(|hides| loaded.configuration(hides));
            let lines = [loaded.warnings.join("\n"), loaded.ignored.join(" ")];
            format!("{} {lines:?} {pages:?}", loaded.print())
        }
    }
}

#[test]
fn no_secret_is_repeated_in_a_mistake_a_warning_or_a_page() {
    for lines in [
        "newRelic: {enable: true, event: {url: 'https://user:SECRET@nr.example.com'}}",
        "newRelic: {enable: false, event: {url: 'https://user:SECRET@nr.example.com'}}",
        "newRelic: {enable: true, event: {url: 'ftp://nr.example.com/SECRET?k=SECRET'}}",
        "influxdbConfig: {enable: true, host: 'http://admin:SECRET@influx.example.com:8086'}",
        "influxdbConfig: {enable: false, host: 'http://admin:SECRET@influx.example.com:8086'}",
        "influxdbConfig: {enable: true, host: 'admin:SECRET@influx.example.com'}",
        "influxdbConfig: {enable: true, host: h, port: 'http://admin:SECRET@h'}",
        "influxdbConfig: {enable: true, host: h, version: 2, v2Config: {org: o, bucket: b, token: [SECRET]}}",
        "influxdbConfig: {enable: true, host: h, version: 2, v2Config: {org: o, bucket: b, token: {a: SECRET}}}",
        "influxdbConfig: {enable: true, host: h, version: 2, v2Config: {org: o, bucket: b, tokn: SECRET}}",
        "influxdbConfig: {enable: true, host: h, version: 2, v2Config: {org: o, bucket: b, token:SECRET}}",
        "influxdbConfig: {enable: true, host: h, version: 2, v2Config: {org: o, bucket: b, token: a,SECRET}}",
        "influxdbConfig: {enable: false, v2Config: {org: o, bucket: b, token: a,SECRET}}",
        "influxdbConfig: {enable: true, host: h, version: 2, v2Config: {org: o, bucket: b, token=SECRET: }}",
        "influxdbConfig: {enable: true, host: h, version: 2, v2Config: token SECRET}",
        "influxdbConfig: {enable: true, host: h, v1Config: {auth: [SECRET]}}",
        "mqttConfig: {enable: true, brokerHost: 'mqtt://u:SECRET@b'}",
        "mqttConfig: {enable: false, brokerHost: 'mqtt://u:SECRET@b'}",
        "mqttConfig: {enable: true, brokerHost: 'mqtt://b?password=SECRET'}",
        "mqttConfig: {enable: true, brokerHost: b, username: {SECRET: x}}",
        "heartbeat: {enable: true, remoteURL: 'https://hc.example.com/SECRET'}",
        "heartbeat: {enable: true, remoteURL: 'https://u:SECRET@hc.example.com/?k=SECRET'}",
        "heartbeat: {enable: false, remoteURL: 'https://hc.example.com/SECRET'}",
        "heartbeat: {enable: true, remoteURL: 'htps://hc.example.com/SECRET'}",
        "heartbeat: {enable: true, remoteURL: SECRET}",
        "heartbeat: {enable: false, remoteURL: SECRET}",
        "heartbeat: {enable: true, remoteURL: [https://hc.example.com/SECRET]}",
        "heartbeat: {enable: true, remoteURI: https://hc.example.com/SECRET}",
        "heartbeat: {enable: true, remoteURL: 'https://h/', frequency: 'https://hc.example.com/SECRET'}",
        "auditEvents: {enable: true, cors: {allowedOrigins: ['https://u:SECRET@h']}}",
        "auditEvents: {enable: true, apiToken: {x: SECRET}, port: 'https://h/SECRET'}",
        "auditEvents: {enable: true, destination: {enable: true, type: 'https://u:SECRET@h'}}",
        "auditEvents: {enable: true, destination: {screenshots: {enable: true, allowedImageDownloadHosts: ['https://u:SECRET@h/SECRET', 'u:SECRET@h', 'https://*:SECRET@h']}}}",
        "userEvents: {enable: true, udpServerConfig: {serverHost: 'https://u:SECRET@h', enableSourceValidation: true, allowedSources: ['https://u:SECRET@h']}}",
        "thirdPartyToolsCredentials: {newRelic: [{accountName: a, insertApiKey: [SECRET], accountId: 1}]}",
        "thirdPartyToolsCredentials: {newRelic: [SECRET]}",
        "thirdPartyToolsCredentials: SECRET",
        "appNames: {enableAppNameExtract: true, hostIP: 'https://u:SECRET@h'}",
        "cert: {clientCertPassphrase: [SECRET], clientCertPasphrase: SECRET}",
        "password:SECRET",
        "logLevel: 'https://h/SECRET'",
        "prometheus: {enable: true, host: 'https://u:SECRET@h'}\nPipeline: {operations: {host: 'https://u:SECRET@h', token: [SECRET]}}",
        "logLevel: info\nPipeline: {screenshots: {resolve: {'https://u:SECRET@h': x, a: 'https://u:SECRET@h', 'https://u:SECRET@i': [1]}}}",
        "logLevel: info\nPipeline: {audit: {trustedProxies: ['https://u:SECRET@h']}, mqtt: {auditEvents: {topic: 'https://u:SECRET@h/#'}}}",
        "logLevel: info\nPipeline: {journal: {bytesMax: 'https://u:SECRET@h', directory: 'https://u:SECRET@h'}}",
        "'https://u:SECRET@h': 1",
        "logLevel: info\n'https://u:SECRET@h': 1",
        "userEvents: {'password:SECRET': 1, 'password:SECRET': 2}",
    ] {
        let reported = all_that_is_said(&format!("Butler-SOS:\n  {lines}\n"));
        assert!(!reported.contains("SECRET"), "{lines}\n{reported}");
    }
}

#[test]
fn of_the_address_of_heartbeats_people_see_the_host_alone() {
    let loaded = check_fine(
        "Butler-SOS:\n  heartbeat: {enable: true, remoteURL: 'https://u:SECRET@hc.example.com:8443/SECRET'}\n",
    );
    let shown = loaded.shown().into_iter().find(|of| of.path.ends_with("remoteURL")).expect("the setting");
    assert_eq!(shown.value, "\"https://hc.example.com:8443/***\"");
    let address = "https://hc.example.com/from-the-environment";
    let loaded = of_file("Butler-SOS:\n  heartbeat: {enable: true, remoteURL: '${ADDRESS}'}\n")
        .with_variable("ADDRESS", address)
        .load(&named(&["a.yaml"]))
        .unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let found = loaded
        .config
        .butler_sos
        .heartbeat
        .remote_url
        .as_ref()
        .map(butler_sos_settings::secret::Secret::expose);
    assert_eq!(found, Some(address));
}

#[test]
fn a_file_that_everybody_can_read_should_hold_no_secret_in_clear() {
    let check = |text: &str, mode: u32, expect: bool| {
        let mut world = of_file(text).with_variable("TOKEN", "t");
        world.mode = Some(mode);
        let loaded = world.load(&named(&["a.yaml"])).unwrap_or_else(|mistakes| panic!("{mistakes}"));
        let reported = loaded.warnings.iter().any(|line| {
            line.starts_with(&format!(
                "a.yaml: everybody on this machine can read the file (mode {mode:04o})"
            )) && line.contains("Pipeline.operations.token")
                && !line.contains("hunter2")
        });
        assert_eq!(reported, expect, "{text} {mode:o}: {:?}", loaded.warnings);
    };
    let clear = "Pipeline: {operations: {token: hunter2}}\n";
    check(clear, 0o644, true);
    check(clear, 0o604, true);
    check(clear, 0o640, false);
    check(clear, 0o600, false);
    check("Pipeline: {operations: {token: '${TOKEN}'}}\n", 0o644, false);
    check("Pipeline: {operations: {token: ''}}\n", 0o644, false);
    check("Pipeline: {operations: {port: 9842}}\n", 0o644, false);
}
