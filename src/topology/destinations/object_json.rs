//! Object data as JSON files, one for each audit event that contains some.

use std::path::PathBuf;

use butler_sos_actors::net::tls::reread::Reread;
use butler_sos_actors::sinks::files::json_sink::{JsonConfig, JsonFiles};
use butler_sos_domain::streams::Stream;
use slog::Logger;

use super::planned::{Identity, Planned, at_once};
use super::{Entry, audit_directory, no_certificates, no_probes};
use crate::config::Config;
use crate::config::butler::audit_events::{DestinationKind, JsonObjectdata};
use crate::topology::settings::{self, bound, pairs};

pub const ENTRIES: &[Entry] = &[Entry {
    plan,
    probes: no_probes,
    directories: |config| audit_directory(config, DestinationKind::Json),
    certificates: no_certificates,
}];

fn section(config: &Config) -> Option<&JsonObjectdata> {
    let destination = &config.butler_sos.audit_events.destination;
    config.audit_to(DestinationKind::Json).then_some(&destination.json.objectdata)
}

fn plan(config: &Config, _: &Reread, _: &Logger) -> Vec<Planned> {
    let Some(section) = section(config) else { return Vec::new() };
    let identity = Identity {
        stream: Stream::AuditEvents,
        name: "json_sink",
        label: "JSON files".into(),
        error_type: ("FILE_WRITE", "AUDIT_EVENTS_JSON"),
        mailbox_max: bound(config.pipeline.actors.json_sink.mailbox),
    };
    let json = JsonConfig {
        directory: PathBuf::from(&section.export_directory),
        static_tags: pairs(&section.static_tags),
    };
    let modes = settings::modes(config);
    vec![Planned::new(identity, at_once(), move || JsonFiles::new(json.clone()).created_with(modes))]
}
