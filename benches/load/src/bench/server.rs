//! The server under measurement, in a directory of its own, with a default configuration but for its ports.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::Value;

use super::process::{Program, pause};
use super::site::Site;

/// What the server is to do.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    pub influx: Option<SocketAddr>,
    /// The broker's port.
    pub mqtt: Option<u16>,
    pub csv: bool,
    pub audit: bool,
    /// Another configuration file, whose settings win.
    pub besides: Option<PathBuf>,
    pub journal_bytes_max: Option<&'static str>,
}

/// A server that is ready.
pub struct Server {
    pub program: Program,
    pub user_events: SocketAddr,
    pub audit_events: Option<SocketAddr>,
    pub config: PathBuf,
    operations: SocketAddr,
    /// From its start to the first 200 of `/ready`.
    pub started_in: Duration,
}

impl Server {
    pub fn start(site: &Site, plan: &Plan) -> anyhow::Result<Self> {
        let config = site.scratch.join("butler-sos.yaml");
        std::fs::write(&config, plan.configuration(&site.scratch))?;
        let began = Instant::now();
        let mut arguments: Vec<OsString> = vec!["run".into()];
        for file in [Some(&config), plan.besides.as_ref()].into_iter().flatten() {
            arguments.extend(["-c".into(), file.into()]);
        }
        for setting in
            ["Pipeline.log.format=json"].into_iter().chain(site.settings.iter().map(String::as_str))
        {
            arguments.extend(["--set".into(), setting.into()]);
        }
        let mut program = Program::start(&site.server_cpus, &site.server, arguments)?;
        let mut addresses = BTreeMap::new();
        let wanted = if plan.audit { 3 } else { 2 };
        while addresses.len() < wanted {
            let line = program.line()?;
            let Ok(line) = serde_json::from_str::<Value>(&line) else { continue };
            let text = |key: &str| line.get(key).and_then(Value::as_str);
            if text("message") == Some("listening")
                && let (Some(service), Some(address)) = (text("service"), text("address"))
            {
                addresses.insert(service.to_owned(), address.parse::<SocketAddr>()?);
            }
        }
        program.ignore_output();
        let operations = *addresses.get("operations").context("an address of operations")?;
        while get(operations, "/ready").is_err() {
            if began.elapsed() > Duration::from_secs(60) {
                bail!("the server does not become ready");
            }
            pause(Duration::from_millis(2));
        }
        Ok(Self {
            program,
            user_events: *addresses.get("user-events").context("an address of user events")?,
            audit_events: addresses.get("audit-events").copied(),
            config,
            operations,
            started_in: began.elapsed(),
        })
    }

    pub fn metrics(&self) -> anyhow::Result<Metrics> {
        Ok(Metrics(get(self.operations, "/metrics")?))
    }
}

impl Plan {
    fn configuration(&self, directory: &Path) -> String {
        let dir = directory.display();
        let mut text = format!(
            "Butler-SOS:\n  userEvents:\n    enable: true\n    udpServerConfig:\n      serverHost: 127.0.0.1\n      \
             portUserActivityEvents: 0\n    sendToInfluxdb:\n      enable: {influx}\n    sendToMQTT:\n      enable: {mqtt}\n",
            influx = self.influx.is_some(),
            mqtt = self.mqtt.is_some(),
        );
        if let Some(to) = self.influx {
            text += &format!(
                "  influxdbConfig:\n    enable: true\n    host: {}\n    port: {}\n    version: 1\n",
                to.ip(),
                to.port()
            );
        }
        if let Some(port) = self.mqtt {
            text += &format!(
                "  mqttConfig:\n    enable: true\n    brokerHost: 127.0.0.1\n    brokerPort: {port}\n"
            );
        }
        if self.audit {
            // All posts come from one address: its limit would be the first to be reached.
            text += "  auditEvents:\n    enable: true\n    host: 127.0.0.1\n    port: 0\n    \
                     rateLimit:\n      enable: false\n";
            if let Some(to) = self.influx {
                text += &format!(
                    "    destination:\n      enable: true\n      type: influxdb\n      influxdb:\n        \
                     metadata:\n          host: {}\n          port: {}\n",
                    to.ip(),
                    to.port()
                );
            }
        }
        text += &format!(
            "Pipeline:\n  journal:\n    directory: {dir}/journal\n{bytes_max}  deadLetters:\n    directory: {dir}/dead-letters\n  \
             quarantine:\n    directory: {dir}/quarantine\n  operations:\n    host: 127.0.0.1\n    port: 0\n",
            bytes_max =
                self.journal_bytes_max.map(|bytes| format!("    bytesMax: {bytes}\n")).unwrap_or_default(),
        );
        if self.csv {
            text +=
                &format!("  csv:\n    userEvents:\n      enable: true\n      exportDirectory: {dir}/csv\n");
        }
        text
    }
}

/// The body of a 200.
pub fn get(address: SocketAddr, path: &str) -> anyhow::Result<String> {
    let agent: ureq::Agent =
        ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(20))).build().into();
    Ok(agent.get(format!("http://{address}{path}")).call()?.body_mut().read_to_string()?)
}

/// What `/metrics` says.
pub struct Metrics(String);

impl Metrics {
    /// The sum of all samples of this name that have this label; 0 when there is none.
    pub fn sum(&self, name: &str, label: &str) -> f64 {
        let of = |line: &str| {
            let (series, value) = line.rsplit_once(' ')?;
            let rest = series.strip_prefix("butler_sos_")?.strip_prefix(name)?;
            let is_it = (rest.is_empty() || rest.starts_with('{')) && rest.contains(label);
            is_it.then(|| value.parse::<f64>().ok()).flatten()
        };
        self.0.lines().filter_map(of).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_added_up() {
        let metrics = Metrics(
            "# HELP butler_sos_x y\nbutler_sos_x{a=\"b\"} 3\nbutler_sos_x{a=\"c\"} 4\nbutler_sos_xy 9\n"
                .into(),
        );
        assert_eq!(metrics.sum("x", ""), 7.0);
        assert_eq!(metrics.sum("x", "a=\"c\""), 4.0);
        assert_eq!(metrics.sum("z", ""), 0.0);
    }
}
