//! The services around the pipeline and `Pipeline:` itself.

use std::net::IpAddr;

use butler_sos_actors::kit::platform::Modes;
use butler_sos_domain::pseudonym::KEY_BYTES_MIN;

use butler_sos_settings::secret::Secret;

use super::{
    Check,
    frequency::{Frequency, frequency},
    text::{http_url, is_host},
};
use crate::config::{
    butler::services::{Heartbeat, UptimeMonitor},
    masked::quoted,
};

impl Check<'_> {
    pub(super) fn services(&mut self) {
        let butler = &self.config.butler_sos;
        if butler.heartbeat.enable {
            let url = butler.heartbeat.remote_url.as_ref().map(Secret::expose).unwrap_or_default();
            if http_url(url.trim(), true).is_err() {
                self.refuse("Butler-SOS.heartbeat.remoteURL", "an http or https address is needed");
            }
            let default = Heartbeat::default().frequency;
            self.frequency("Butler-SOS.heartbeat.frequency", &butler.heartbeat.frequency, &default);
        }
        if butler.uptime_monitor.enable {
            let default = UptimeMonitor::default().frequency;
            self.frequency("Butler-SOS.uptimeMonitor.frequency", &butler.uptime_monitor.frequency, &default);
        }
        if butler.prometheus.enable {
            self.host("Butler-SOS.prometheus.host", &butler.prometheus.host);
        }
        if butler.config_visualisation.enable {
            self.host("Butler-SOS.configVisualisation.host", &butler.config_visualisation.host);
        }
        if butler.file_logging {
            self.directory("Butler-SOS.logDirectory", &butler.log_directory);
        }
        self.ports();
    }

    fn frequency(&mut self, path: &str, text: &str, default: &str) {
        let shown = quoted(text);
        match frequency(text) {
            Some(Frequency::Every(_)) => {}
            Some(Frequency::EveryFrom(seconds)) => {
                let detail =
                    format!("{shown} means every {seconds} seconds, counted from the start of the server");
                self.warn(path, detail);
            }
            Some(Frequency::Calendar) => {
                let detail =
                    format!("{shown} names calendar times, which are not supported: `{default}` is used");
                self.warn(path, detail);
            }
            None => self.refuse(path, format!("{shown} is not a frequency such as `every 15 minutes`")),
        }
    }

    /// Two servers cannot have one TCP port. Prometheus and the operations server may: they share it.
    fn ports(&mut self) {
        let listeners = self.config.listeners();
        for (index, one) in listeners.iter().enumerate() {
            for other in &listeners[..index] {
                if one.port != 0 && one.port == other.port && same_address(&one.host, &other.host) {
                    let detail = format!("port {} is already used by {}", one.port, other.path);
                    self.refuse(one.path, detail);
                }
            }
        }
    }

    pub(super) fn pipeline(&mut self) {
        let pipeline = &self.config.pipeline;
        self.host("Pipeline.operations.host", &pipeline.operations.host);
        if Modes::of_files(&pipeline.files.mode).is_none() {
            let detail = format!(
                "{} is not a file mode such as 0640: use octal digits from 0600 to 0664 without execute permission",
                quoted(&pipeline.files.mode)
            );
            self.refuse("Pipeline.files.mode", detail);
        }
        let csv = &pipeline.csv;
        let mut directories = vec![
            ("Pipeline.journal.directory", &pipeline.journal.directory),
            ("Pipeline.deadLetters.directory", &pipeline.dead_letters.directory),
            ("Pipeline.quarantine.directory", &pipeline.quarantine.directory),
        ];
        if csv.user_events.enable {
            directories.push(("Pipeline.csv.userEvents.exportDirectory", &csv.user_events.export_directory));
        }
        if csv.audit_events.enable {
            directories
                .push(("Pipeline.csv.auditEvents.exportDirectory", &csv.audit_events.export_directory));
        }
        for (index, (path, directory)) in directories.iter().enumerate() {
            self.directory(path, directory);
            let plain = |text: &str| text.trim_start_matches("./").trim_end_matches('/').to_owned();
            if let Some((other, _)) =
                directories[..index].iter().find(|(_, it)| plain(it) == plain(directory))
            {
                self.refuse(path, format!("is also the directory of {other}; each needs its own directory"));
            }
        }
        if pipeline.retry.first_ms > pipeline.retry.longest_ms {
            self.refuse("Pipeline.retry.firstMs", "must not exceed longestMs");
        }
        let pseudonymise = &pipeline.privacy.pseudonymise;
        if pseudonymise.enable && pseudonymise.key.expose().len() < KEY_BYTES_MIN {
            let detail = format!(
                "a key of at least {KEY_BYTES_MIN} characters is needed, such as from `openssl rand -hex 32`"
            );
            self.refuse("Pipeline.privacy.pseudonymise.key", detail);
        }
        let prefix = &pipeline.influxdb.user_agent_tag_prefix;
        if prefix.chars().any(|c| c.is_control() || c.is_whitespace() || ",=\\\"".contains(c)) {
            self.refuse(
                "Pipeline.influxdb.userAgentTagPrefix",
                "must not contain a space, comma, quote, = or \\",
            );
        }
        for (host, address) in &pipeline.screenshots.resolve {
            let path = format!("Pipeline.screenshots.resolve.{host}");
            if !is_host(host) {
                self.refuse(&path, format!("{} is not a host name", quoted(host)));
            }
            if address.parse::<IpAddr>().is_err() {
                self.refuse(&path, format!("{} is not an IP address", quoted(address)));
            }
        }
        let (reported, meant) =
            (pipeline.screenshots.concurrency, pipeline.actors.redirect_walker.concurrency);
        let path = "Pipeline.screenshots.concurrency";
        if (self.origin)(path) != "default" && meant.is_some_and(|meant| meant != reported) {
            self.refuse(path, "contradicts Pipeline.actors.redirectWalker.concurrency; set only one of them");
        }
    }
}

/// Whether two addresses to listen on meet: the same one, or one of them is all addresses.
pub fn same_address(one: &str, other: &str) -> bool {
    let all = |host: &str| matches!(host, "0.0.0.0" | "::" | "[::]" | "*");
    let plain = |host: &str| match host {
        "localhost" => "127.0.0.1".to_owned(),
        _ => host.trim_matches(['[', ']']).to_lowercase(),
    };
    all(one) || all(other) || plain(one) == plain(other)
}
