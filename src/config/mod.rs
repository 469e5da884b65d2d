//! Configuration: `Butler-SOS:` as Butler SOS 15 knows it, and `Pipeline:`, which is ours.
//!
//! Layers, later ones win: built-in defaults, files, environment (`BUTLER_SOS__Pipeline__journal__directory`), command
//! line. Only this module reads files or the environment for settings; everything else gets its typed section.
//!
//! | file | what |
//! |---|---|
//! | `schema` | how a setting is described, and the macro that describes a section |
//! | `butler/`, `pipeline/` | the sections, one file each |
//! | `decode` | a file's bytes as text |
//! | `environment` | the environment, files, and the secrets in them |
//! | `setting_path` | how a setting is named |
//! | `yaml` | a file as a tree with lines and columns |
//! | `coerce`, `layer` | that tree held against the description |
//! | `load` | the layers put together |
//! | `verify/` | whether it all makes sense |
//! | `masked` | what messages and pages show of text from outside |
//! | `print` | the result, for people |
//! | `reference` | `conf/full.yaml` |

pub mod butler;
mod decode;
mod environment;
mod layer;
mod load;
mod masked;
mod mistake;
pub mod pipeline;
mod print;
pub mod reference;
mod setting_path;
mod verify;
mod yaml;

#[cfg(test)]
mod tests;

use butler_sos_settings::section;

use self::{
    butler::{ButlerSos, audit_events::DestinationKind, services::Prometheus},
    pipeline::Pipeline,
};
pub use self::{
    environment::Environment,
    load::{Loaded, SYSTEM_FILE, load, load_from},
    mistake::{Mistake, MistakeKind, Mistakes},
    print::{Hides, Shown, ShownConfiguration},
    verify::{interval_seconds, is_host, network},
};

section! {
    /// The whole configuration.
    pub struct Config {
        /// The keys of Butler SOS 15.
        "Butler-SOS" => butler_sos: ButlerSos = group::<ButlerSos>();
        /// Settings specific to this server.
        "Pipeline" => pipeline: Pipeline = group::<Pipeline>();
    }
}

impl Config {
    /// Whether user events go to InfluxDB: they are wanted there, and it is there.
    pub fn user_events_to_influxdb(&self) -> bool {
        let events = &self.butler_sos.user_events;
        events.enable && events.send_to_influxdb.enable && self.butler_sos.influxdb.enable
    }

    /// Whether user events go to the MQTT broker.
    pub fn user_events_to_mqtt(&self) -> bool {
        let events = &self.butler_sos.user_events;
        events.enable && events.send_to_mqtt.enable && self.butler_sos.mqtt.enable
    }

    /// Whether user events go to New Relic.
    pub fn user_events_to_new_relic(&self) -> bool {
        let events = &self.butler_sos.user_events;
        events.enable && events.send_to_new_relic.enable && self.butler_sos.new_relic.enable
    }

    /// Whether audit events go to this kind of destination.
    pub fn audit_to(&self, kind: DestinationKind) -> bool {
        let audit = &self.butler_sos.audit_events;
        let is_on = kind != DestinationKind::Json || audit.destination.json.objectdata.enable;
        audit.enable && audit.destination.has(kind) && is_on
    }

    /// Whether audit events go to the MQTT broker.
    pub fn audit_events_to_mqtt(&self) -> bool {
        let is_wanted = self.pipeline.mqtt.audit_events.topic.is_some();
        self.butler_sos.audit_events.enable && is_wanted && self.butler_sos.mqtt.enable
    }

    /// Downloads of screenshots at a time.
    pub fn screenshot_concurrency(&self) -> usize {
        self.pipeline.actors.redirect_walker.concurrency.unwrap_or(self.pipeline.screenshots.concurrency)
    }

    /// Every TCP address that the server listens on.
    ///
    /// Prometheus and the operations server have the same port by default. Where they meet they are one listener, on
    /// the wider of the two addresses.
    pub fn listeners(&self) -> Vec<Listener> {
        let butler = &self.butler_sos;
        let operations = &self.pipeline.operations;
        let mut listeners = vec![Listener {
            path: "Pipeline.operations.port",
            host: operations.host.clone(),
            port: operations.port,
            serves: vec![Service::Operations],
        }];
        if butler.prometheus.enable {
            let Prometheus { host, port, .. } = &butler.prometheus;
            let first = &mut listeners[0];
            if *port != 0 && first.port == *port && verify::same_address(&first.host, host) {
                first.serves.push(Service::Metrics);
                if !matches!(first.host.as_str(), "0.0.0.0" | "::" | "[::]") {
                    first.host.clone_from(host);
                }
            } else {
                listeners.push(Listener {
                    path: "Butler-SOS.prometheus.port",
                    host: host.clone(),
                    port: *port,
                    serves: vec![Service::Metrics],
                });
            }
        }
        if butler.docker_health_check.enable {
            listeners.push(Listener {
                path: "Butler-SOS.dockerHealthCheck.port",
                host: "0.0.0.0".into(),
                port: butler.docker_health_check.port,
                serves: vec![Service::Health],
            });
        }
        if butler.config_visualisation.enable {
            listeners.push(Listener {
                path: "Butler-SOS.configVisualisation.port",
                host: butler.config_visualisation.host.clone(),
                port: butler.config_visualisation.port,
                serves: vec![Service::Configuration],
            });
        }
        if butler.audit_events.enable {
            listeners.push(Listener {
                path: "Butler-SOS.auditEvents.port",
                host: butler.audit_events.host.clone(),
                port: butler.audit_events.port,
                serves: vec![Service::AuditApi],
            });
        }
        listeners
    }
}

/// A TCP address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// The setting that names the port.
    pub path: &'static str,
    /// Name or address.
    pub host: String,
    /// 0: the system chooses.
    pub port: u16,
    pub serves: Vec<Service>,
}

/// What is served at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// Dashboard, commands, `/metrics`, `/health`, `/ready`.
    Operations,
    /// `/metrics` alone.
    Metrics,
    /// `/health` alone.
    Health,
    /// The effective configuration as a page.
    Configuration,
    /// The audit API.
    AuditApi,
}
