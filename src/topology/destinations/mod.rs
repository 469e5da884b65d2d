//! The list of destinations, with everything that the server knows about each kind.
//!
//! To add a kind, add a file here with its [`Entry`] and name it in [`ALL`]: the code that starts, checks and
//! shows destinations uses that list. Each destination has one sink, one consumer and one arbiter.
//!
//! The consumer's name is the actor's name, the destination's metric label and the name of its position in
//! the journal. A destination of audit events has the prefix `audit_` if there is one of the same kind for
//! user events.

mod columnar;
mod csv;
pub mod influxdb;
mod mqtt;
mod new_relic;
mod object_json;
mod planned;
pub mod probe;

use std::path::PathBuf;

use butler_sos_actors::net::tls::ClientTls;
use butler_sos_actors::net::tls::reread::Reread;
use slog::Logger;

pub use self::planned::Planned;
use self::probe::Probe;
use crate::config::Config;
use crate::config::butler::audit_events::DestinationKind;

/// A kind of destination. Every function returns only what the configuration enables.
pub struct Entry {
    /// The sinks to start.
    pub plan: fn(&Config, &Reread, &Logger) -> Vec<Planned>,
    /// Probes of its endpoints: reachability and login.
    pub probes: fn(&Config) -> Vec<Probe>,
    /// The directories that it writes to.
    pub directories: fn(&Config) -> Vec<Directory>,
    /// The certificate files of its clients.
    pub certificates: fn(&Config) -> Vec<ClientFiles>,
}

/// Every kind of destination, in the order of starting and display.
const ALL: [&[Entry]; 6] = [
    influxdb::ENTRIES,
    mqtt::ENTRIES,
    new_relic::ENTRIES,
    csv::ENTRIES,
    object_json::ENTRIES,
    columnar::ENTRIES,
];

pub fn all() -> impl Iterator<Item = &'static Entry> {
    ALL.into_iter().flatten()
}

/// A directory that the server writes to.
pub struct Directory {
    /// The setting that names it.
    pub setting: String,
    pub path: PathBuf,
}

/// Certificates and key of a client.
pub struct ClientFiles {
    /// The section with the settings.
    pub section: &'static str,
    /// Names of the settings of CA, certificate and key; empty for a missing one.
    pub settings: [&'static str; 3],
    pub tls: ClientTls,
}

/// All enabled destinations.
pub fn planned(config: &Config, reread: &Reread, log: &Logger) -> Vec<Planned> {
    all().flat_map(|entry| (entry.plan)(config, reread, log)).collect()
}

/// All directories for events.
pub fn directories(config: &Config) -> Vec<Directory> {
    all().flat_map(|entry| (entry.directories)(config)).collect()
}

/// The directory of a kind of destination that audit events go to.
fn audit_directory(config: &Config, kind: DestinationKind) -> Vec<Directory> {
    let written =
        config.butler_sos.audit_events.destination.directory(kind).filter(|_| config.audit_to(kind));
    let directory = written.map(|(setting, path)| Directory {
        setting: format!("Butler-SOS.auditEvents.destination.{setting}"),
        path: PathBuf::from(path),
    });
    directory.into_iter().collect()
}

// Defaults for kinds without these.

fn no_probes(_: &Config) -> Vec<Probe> {
    Vec::new()
}

fn no_directories(_: &Config) -> Vec<Directory> {
    Vec::new()
}

fn no_certificates(_: &Config) -> Vec<ClientFiles> {
    Vec::new()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use butler_sos_domain::streams::Stream;

    use super::*;
    use crate::config::butler::new_relic::NewRelicAccount;
    use butler_sos_settings::secret::Secret;

    fn actors(config: &Config) -> Vec<&'static str> {
        let log = Logger::root(slog::Discard, slog::o!());
        planned(config, &Reread::default(), &log).iter().map(|planned| planned.consumer.name).collect()
    }

    /// A configuration with everything enabled.
    fn everything() -> Config {
        let mut config = Config::default();
        let butler = &mut config.butler_sos;
        butler.influxdb.enable = true;
        butler.mqtt.enable = true;
        butler.new_relic.enable = true;
        butler.third_party_tools_credentials.new_relic = ["first", "second"]
            .map(|name| NewRelicAccount {
                account_name: name.into(),
                account_id: name.into(),
                insert_api_key: Secret::new("key"),
            })
            .into();
        let events = &mut butler.user_events;
        events.enable = true;
        events.send_to_influxdb.enable = true;
        events.send_to_mqtt.enable = true;
        events.send_to_new_relic.enable = true;
        events.send_to_new_relic.destination_account = vec!["first".into(), "second".into()];
        let audit = &mut butler.audit_events;
        audit.enable = true;
        audit.destination.enable = true;
        audit.destination.kinds = DestinationKind::ALL.map(DestinationKind::name).join(",");
        audit.destination.json.objectdata.enable = true;
        config.pipeline.mqtt.audit_events.topic = Some("audit".into());
        config.pipeline.csv.user_events.enable = true;
        config.pipeline.csv.audit_events.enable = true;
        config
    }

    #[test]
    fn every_destination_has_a_name_a_label_and_an_error_type_of_its_own() {
        let log = Logger::root(slog::Discard, slog::o!());
        let planned = planned(&everything(), &Reread::default(), &log);
        let streams: BTreeSet<_> = planned.iter().map(|planned| planned.consumer.stream).collect();
        assert!(Stream::of_events().all(|stream| streams.contains(&stream)), "{streams:?}");
        assert_eq!(planned.iter().map(|of| of.consumer.name).collect::<BTreeSet<_>>().len(), planned.len());
        assert_eq!(planned.iter().map(|of| &*of.label).collect::<BTreeSet<_>>().len(), planned.len());
    }

    #[test]
    fn each_name_in_the_setting_type_is_one_destination() {
        for kind in DestinationKind::ALL {
            let mut config = Config::default();
            let audit = &mut config.butler_sos.audit_events;
            audit.enable = true;
            audit.destination.enable = true;
            audit.destination.kinds = kind.name().to_owned();
            audit.destination.json.objectdata.enable = true;
            assert_eq!(actors(&config).len(), 1, "{kind:?}");
        }
    }

    #[test]
    fn disabled_destinations_are_not_listed() {
        let config = Config::default();
        assert_eq!(actors(&config), [] as [&str; 0]);
        assert_eq!(directories(&config).len(), 0);
        for entry in all() {
            assert!((entry.probes)(&config).is_empty());
            assert!((entry.certificates)(&config).is_empty());
        }
    }

    #[test]
    fn enabled_destinations_have_checks() {
        let config = everything();
        let without_a_check: Vec<_> = all()
            .filter(|entry| (entry.probes)(&config).is_empty() && (entry.directories)(&config).is_empty())
            .flat_map(|entry| {
                (entry.plan)(&config, &Reread::default(), &Logger::root(slog::Discard, slog::o!()))
            })
            .map(|planned| planned.consumer.name)
            .collect();
        assert_eq!(without_a_check, [] as [&str; 0], "an endpoint to probe, or a directory to try");
    }
}
