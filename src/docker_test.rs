//! `conf/docker` held against the rest of the project: what is copied and mounted is there, what is run can be run, and
//! what one file names the other defines.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::cli::{Cli, Command, Settings};
use crate::config::{Environment, Loaded, load_from};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const FOLDER: &str = "conf/docker";

fn read(path: impl AsRef<Path>) -> String {
    let path = Path::new(ROOT).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The instructions of the Dockerfile: word and rest, continued lines joined.
fn instructions() -> Vec<(String, String)> {
    let text = read(format!("{FOLDER}/Dockerfile")).replace("\\\n", " ");
    let lines = text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    let split = |line: &str| {
        let (word, rest) = line.split_once(' ').unwrap_or_else(|| panic!("{line}"));
        (word.to_owned(), rest.trim().to_owned())
    };
    lines.map(split).collect()
}

/// Of the last stage, which is the image.
fn of_image(word: &str) -> Vec<String> {
    let all = instructions();
    let last = all.iter().rposition(|(word, _)| word == "FROM").expect("a stage");
    all[last..].iter().filter(|(of, _)| of == word).map(|(_, rest)| rest.clone()).collect()
}

fn compose() -> Value {
    let text = read(format!("{FOLDER}/compose.yaml"));
    serde_saphyr::from_str(&text).expect("YAML")
}

fn list<'a>(value: &'a Value, key: &str) -> Vec<&'a str> {
    let items = value[key].as_array().map(Vec::as_slice).unwrap_or_default();
    items.iter().map(|item| item.as_str().expect("text")).collect()
}

fn services(compose: &Value) -> Vec<(&String, &Value)> {
    compose["services"].as_object().expect("services").iter().collect()
}

/// The configuration that the server's container is given, with its variables set.
fn server_config() -> Loaded {
    struct World;
    impl Environment for World {
        fn variables(&self) -> Vec<(String, String)> {
            Vec::new()
        }

        fn variable(&self, name: &str) -> Option<String> {
            let compose = compose();
            compose["services"]["butler-sos"]["environment"].get(name).map(|_| "secret".to_owned())
        }

        fn file(&self, path: &Path, _bytes_max: u64) -> io::Result<Vec<u8>> {
            fs::read(path)
        }

        fn exists(&self, path: &Path) -> bool {
            path.exists()
        }
    }
    let file = Path::new(ROOT).join(FOLDER).join("butler-sos.yaml");
    let settings = Settings { config_files: vec![file], ..Settings::default() };
    load_from(&settings, &World).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

#[test]
fn the_image_is_made_of_what_is_there() {
    const KNOWN: [&str; 13] = [
        "FROM",
        "RUN",
        "WORKDIR",
        "COPY",
        "USER",
        "VOLUME",
        "EXPOSE",
        "STOPSIGNAL",
        "HEALTHCHECK",
        "ENTRYPOINT",
        "CMD",
        "ENV",
        "ARG",
    ];
    let all = instructions();
    for (word, rest) in &all {
        assert!(KNOWN.contains(&word.as_str()), "{word} {rest}");
        if word == "COPY" && !rest.starts_with("--from=build ") {
            let source = rest.split(' ').next().expect("a source");
            assert!(Path::new(ROOT).join(source).exists(), "{rest}");
        }
    }
    // The toolchain that the manifest asks for, and what scripts/install installs for a build.
    let version = read("Cargo.toml").split("rust-version = \"").nth(1).expect("a version")[..4].to_owned();
    assert_eq!(all[0].1, format!("rust:{version}-bookworm AS build"));
    let install = read("scripts/install");
    let packages = install.split("build) echo ").nth(1).and_then(|rest| rest.split(" ;;").next());
    assert!(all[1].1.contains(packages.expect("a group")), "{}", all[1].1);
    // What git does not keep has no business in the image either.
    let left_out = read(".dockerignore");
    for line in read(".gitignore").lines() {
        assert!(left_out.lines().any(|of| of == line.trim_start_matches('/')), "{line}");
    }
}

#[test]
fn the_image_runs_the_server_as_nobody_special() {
    let user = of_image("USER");
    assert!(
        user.len() == 1 && !user[0].starts_with('0') && user[0].as_bytes()[0].is_ascii_digit(),
        "{user:?}"
    );
    let detail =
        |text: &str| -> Vec<String> { serde_json::from_str(text).expect("the form without a shell") };
    let [entry, command] = ["ENTRYPOINT", "CMD"].map(|word| detail(&of_image(word)[0]));
    let cli = Cli::read([entry, command].concat()).expect("a command line");
    assert!(matches!(cli.task(), Command::Run));
    let health = of_image("HEALTHCHECK");
    let (_, asks) = health[0].split_once("CMD ").expect("a command");
    assert!(matches!(Cli::read(detail(asks)).expect("a command line").task(), Command::Status(_)));
}

#[test]
fn what_compose_mounts_is_there() {
    let compose = compose();
    let named = compose["volumes"].as_object().expect("volumes");
    let mut used = BTreeSet::new();
    for (name, service) in services(&compose) {
        for volume in list(service, "volumes") {
            let source = volume.split(':').next().expect("a source");
            if source.starts_with('.') {
                let path: PathBuf = [ROOT, FOLDER, source].iter().collect();
                assert!(path.exists(), "{name}: {volume}");
                assert!(volume.ends_with(":ro"), "{name}: {volume}");
            } else {
                assert!(named.contains_key(source), "{name}: {volume}");
                used.insert(source.to_owned());
            }
        }
        for other in list(service, "depends_on") {
            assert!(compose["services"].get(other).is_some(), "{name} depends on {other}");
        }
    }
    assert_eq!(used, named.keys().cloned().collect());
    let build = &compose["services"]["butler-sos"]["build"];
    let context: PathBuf = [ROOT, FOLDER, build["context"].as_str().expect("a folder")].iter().collect();
    assert!(context.join(build["dockerfile"].as_str().expect("a file")).exists());
    // The provider of dashboards looks where they are mounted.
    let provider = read("conf/grafana/provisioning/dashboards/butler-sos.yml");
    let mounts = list(&compose["services"]["grafana"], "volumes");
    let dashboards =
        mounts.iter().find(|mount| mount.starts_with("../grafana/dashboards:")).expect("dashboards");
    let inside = dashboards.split(':').nth(1).expect("a path");
    assert!(provider.contains(&format!("path: {inside}\n")), "{inside}");
}

#[test]
fn every_variable_is_in_the_example() {
    let variables = |text: &str| -> BTreeSet<String> {
        let names = text.split("${").skip(1).filter_map(|rest| rest.split([':', '}']).next());
        names.map(str::to_owned).collect()
    };
    let wanted = variables(&read(format!("{FOLDER}/compose.yaml")));
    let example = read(format!("{FOLDER}/example.env"));
    let given = example.lines().filter_map(|line| Some(line.split_once('=')?.0.to_owned()));
    let given: BTreeSet<String> = given.filter(|name| name != "COMPOSE_PROJECT_NAME").collect();
    assert_eq!(wanted, given);
    // Grafana's data sources find theirs too.
    let grafana = &compose()["services"]["grafana"]["environment"];
    for name in variables(&read("conf/grafana/provisioning/datasources/butler-sos.yml")) {
        assert!(grafana.get(&name).is_some(), "{name}");
    }
}

#[test]
fn the_server_of_the_containers_finds_its_neighbours() {
    let loaded = server_config();
    assert!(loaded.warnings.is_empty() && loaded.ignored.is_empty(), "{:?}", loaded.warnings);
    let shown = loaded.shown();
    let value = |path: &str| {
        let found = shown.iter().find(|of| of.path == path).unwrap_or_else(|| panic!("{path}"));
        found.value.trim_matches('\'').to_owned()
    };
    let compose = compose();
    for host in [
        "Butler-SOS.influxdbConfig.host",
        "Butler-SOS.mqttConfig.brokerHost",
        "Butler-SOS.auditEvents.destination.influxdb.metadata.host",
    ] {
        assert!(compose["services"].get(value(host)).is_some(), "{host}");
    }
    let ports = list(&compose["services"]["butler-sos"], "ports");
    let exposed = of_image("EXPOSE")[0].clone();
    for (path, kind) in [
        ("Butler-SOS.userEvents.udpServerConfig.portUserActivityEvents", "/udp"),
        ("Butler-SOS.auditEvents.port", ""),
        ("Pipeline.operations.port", ""),
    ] {
        let port = format!("{}{kind}", value(path));
        assert!(ports.iter().any(|of| of.ends_with(&format!(":{port}"))), "{path}: {ports:?}");
        assert!(exposed.split(' ').any(|of| of == port), "{path}: {exposed}");
    }
    let (target, scraped) = ("butler-sos:", read(format!("{FOLDER}/prometheus.yml")));
    assert!(scraped.contains(&format!("'{target}{}'", value("Pipeline.operations.port"))), "{scraped}");
    // The configuration lies where the server looks for it, and its data on the volume.
    let mounts = list(&compose["services"]["butler-sos"], "volumes");
    assert!(mounts.contains(&format!("./butler-sos.yaml:{}:ro", crate::config::SYSTEM_FILE).as_str()));
    let volume = of_image("VOLUME")[0].clone();
    for of in shown.iter().filter(|of| of.origin.contains("butler-sos.yaml") && of.path.ends_with("irectory"))
    {
        assert!(of.value.contains(&volume), "{}: {}", of.path, of.value);
    }
    let alone = read("conf/prometheus/prometheus.yml");
    let (_, jobs) = alone.split_once("rule_files").expect("rules");
    let (_, ours) = scraped.split_once("rule_files").expect("rules");
    assert_eq!(jobs.split("targets").count(), ours.split("targets").count());
}
