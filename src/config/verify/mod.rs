//! Whether settings make sense together. Each check names the setting and what would be right.
//!
//! Only what is switched on is looked at. Nothing here opens a file or a socket, save [`resources`].

mod destinations;
mod frequency;
mod intake;
mod pipeline;
mod text;

use std::{fs::File, path::Path};

use butler_sos_settings::schema::DEFAULT_ORIGIN;

use super::{
    Config,
    butler::{influxdb::Scheme, screenshots::AuthMode},
    masked::quoted,
    mistake::{Mistake, MistakeKind},
    yaml::BACKSLASH_HINT,
};
pub use frequency::interval_seconds;
pub use pipeline::same_address;
use text::has_control_character;
pub use text::{is_host, network};

/// What was found.
pub struct Verified {
    pub mistakes: Vec<Mistake>,
    /// Legal, and probably not meant.
    pub warnings: Vec<String>,
}

/// The checks' view of a configuration: the settings, and where each was said.
struct Check<'a> {
    config: &'a Config,
    origin: &'a dyn Fn(&str) -> String,
    found: Verified,
}

/// Verifies all that is switched on. `origin` tells where the setting at a path was said.
pub fn settings(config: &Config, origin: &dyn Fn(&str) -> String) -> Verified {
    let found = Verified { mistakes: Vec::new(), warnings: Vec::new() };
    let mut check = Check { config, origin, found };
    check.user_events();
    check.audit_api();
    check.audit_destinations();
    check.screenshots();
    check.influxdb();
    check.mqtt();
    check.new_relic();
    check.qlik();
    check.services();
    check.pipeline();
    check.files();
    check.found
}

impl Check<'_> {
    fn refuse(&mut self, path: &str, detail: impl Into<String>) {
        let origin = (self.origin)(path);
        self.found.mistakes.push(Mistake::new(path, origin, MistakeKind::Sense, detail));
    }

    fn warn(&mut self, path: &str, detail: impl AsRef<str>) {
        let origin = (self.origin)(path);
        self.found.warnings.push(format!("{origin}: {path}: {}", detail.as_ref()));
    }

    /// A host name or address that must be there.
    fn host(&mut self, path: &str, host: &str) {
        if !is_host(host) {
            let detail = match host.trim() {
                "" => "a host name or address is needed".to_owned(),
                _ => format!("{} is not a host name or address", quoted(host)),
            };
            self.refuse(path, detail);
        }
    }

    fn needed(&mut self, path: &str, value: &str, because: &str) {
        if value.trim().is_empty() {
            self.refuse(path, format!("needed because {because}"));
        }
    }

    fn directory(&mut self, path: &str, directory: &str) {
        self.needed(path, directory, "files are written there");
        self.path(path, directory);
    }

    /// The name of a file or directory. Whether it is there, nobody looks.
    fn path(&mut self, path: &str, name: &str) {
        if has_control_character(name) {
            self.refuse(path, format!("{} contains a control character: {BACKSLASH_HINT}", quoted(name)));
        }
    }

    fn measurement(&mut self, path: &str, name: &str) {
        if name.trim().is_empty() || name.chars().any(char::is_control) {
            self.refuse(path, "a measurement needs a name without control characters");
        }
    }

    /// The names of files that are read.
    fn files(&mut self) {
        for (path, file) in self.config.files_needed() {
            self.path(path, file);
        }
    }

    /// A server that Butler SOS wants to be named. Without a name it is the one on this machine.
    fn server_named(&mut self, section: &str, key: &str) {
        if (self.origin)(&format!("{section}.{key}")) == DEFAULT_ORIGIN {
            let origin = (self.origin)(&format!("{section}.enable"));
            self.found.warnings.push(format!("{origin}: {section}.{key}: not set, `localhost` is used"));
        }
    }

    /// The certificates of QRS and QPS, and who needs them.
    fn qlik(&mut self) {
        let butler = &self.config.butler_sos;
        if butler.app_names.enable {
            match &butler.app_names.host_ip {
                Some(host) => self.host("Butler-SOS.appNames.hostIP", host),
                None => self.refuse(
                    "Butler-SOS.appNames.hostIP",
                    "a host name or address is needed because appNames.enableAppNameExtract is true",
                ),
            }
        }
        let Some(because) = self.config.qlik_certificates_needed_by() else { return };
        let because = format!("{because} uses certificates");
        let cert = &butler.cert;
        self.needed("Butler-SOS.cert.clientCert", cert.client_cert.as_deref().unwrap_or_default(), &because);
        self.needed(
            "Butler-SOS.cert.clientCertKey",
            cert.client_cert_key.as_deref().unwrap_or_default(),
            &because,
        );
        if butler.servers_to_monitor.reject_unauthorized {
            self.needed(
                "Butler-SOS.cert.clientCertCA",
                cert.client_cert_ca.as_deref().unwrap_or_default(),
                &format!("{because} and serversToMonitor.rejectUnauthorized is true"),
            );
        } else {
            self.warn(
                "Butler-SOS.serversToMonitor.rejectUnauthorized",
                "certificates of Qlik Sense servers are not verified",
            );
        }
    }
}

impl Config {
    /// Which feature needs the certificates of `Butler-SOS.cert`, if one does.
    pub fn qlik_certificates_needed_by(&self) -> Option<&'static str> {
        let audit = &self.butler_sos.audit_events;
        let shots = &audit.destination.screenshots;
        if audit.enable && shots.enable && shots.auth.mode != AuthMode::None {
            return Some("auditEvents.destination.screenshots.auth.mode");
        }
        self.butler_sos.app_names.enable.then_some("appNames.enableAppNameExtract")
    }

    /// Every file that the settings in use name, with the setting's path.
    fn files_needed(&self) -> Vec<(&'static str, &str)> {
        let butler = &self.butler_sos;
        let audit = &butler.audit_events;
        let mut files: Vec<(&'static str, &Option<String>)> = Vec::new();
        if self.qlik_certificates_needed_by().is_some() {
            files.push(("Butler-SOS.cert.clientCert", &butler.cert.client_cert));
            files.push(("Butler-SOS.cert.clientCertKey", &butler.cert.client_cert_key));
            files.push(("Butler-SOS.cert.clientCertCA", &butler.cert.client_cert_ca));
        }
        if audit.enable && audit.tls.enable {
            files.push(("Butler-SOS.auditEvents.tls.cert", &audit.tls.cert));
            files.push(("Butler-SOS.auditEvents.tls.key", &audit.tls.key));
            files.push(("Butler-SOS.auditEvents.tls.ca", &audit.tls.ca));
        }
        if butler.mqtt.enable && butler.mqtt.tls.enable {
            files.push(("Butler-SOS.mqttConfig.tls.ca", &butler.mqtt.tls.ca));
            files.push(("Butler-SOS.mqttConfig.tls.cert", &butler.mqtt.tls.cert));
            files.push(("Butler-SOS.mqttConfig.tls.key", &butler.mqtt.tls.key));
        }
        if butler.influxdb.enable && butler.influxdb.scheme == Scheme::Https {
            files.push(("Butler-SOS.influxdbConfig.ca", &butler.influxdb.ca));
        }
        let metadata = &audit.destination.influxdb.metadata;
        if self.audit_to(super::butler::audit_events::DestinationKind::Influxdb)
            && metadata.scheme == Scheme::Https
        {
            files.push(("Butler-SOS.auditEvents.destination.influxdb.metadata.ca", &metadata.ca));
        }
        files.into_iter().filter_map(|(path, file)| Some((path, file.as_deref()?))).collect()
    }
}

/// Whether every certificate, key and CA that is named can be read. Opens files.
pub fn resources(config: &Config, origin: &dyn Fn(&str) -> String) -> Vec<Mistake> {
    config
        .files_needed()
        .into_iter()
        .filter_map(|(path, file)| {
            let problem = match File::open(file).and_then(|open| open.metadata()) {
                Ok(metadata) if metadata.is_file() => return None,
                Ok(_) => "is not a file".to_owned(),
                Err(error) => format!("cannot be read: {error}"),
            };
            let shown = quoted(&Path::new(file).display().to_string());
            Some(Mistake::new(path, origin(path), MistakeKind::Sense, format!("{shown} {problem}")))
        })
        .collect()
}
