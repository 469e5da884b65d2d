//! CSV files of user events and of audit events.

use std::path::PathBuf;

use butler_sos_actors::net::tls::reread::Reread;
use butler_sos_actors::sinks::files::csv_sink::{CsvConfig, CsvFile};
use butler_sos_actors::sinks::records::audit_events::AuditEventRows;
use butler_sos_actors::sinks::records::user_events::UserEventRows;
use butler_sos_domain::encode::audit_csv::AuditCsv;
use butler_sos_domain::streams::Stream;
use slog::Logger;

use super::planned::{Identity, Planned, rows};
use super::{Directory, Entry, no_certificates, no_probes};
use crate::config::Config;
use crate::topology::settings::{self, bound};

pub const ENTRIES: &[Entry] = &[
    Entry {
        plan: plan_user_events,
        probes: no_probes,
        directories: |config| directory(user_events(config), "Pipeline.csv.userEvents.exportDirectory"),
        certificates: no_certificates,
    },
    Entry {
        plan: plan_audit_events,
        probes: no_probes,
        directories: |config| directory(audit_events(config), "Pipeline.csv.auditEvents.exportDirectory"),
        certificates: no_certificates,
    },
];

fn user_events(config: &Config) -> Option<CsvConfig> {
    let section = &config.pipeline.csv.user_events;
    let is_on = section.enable && config.butler_sos.user_events.enable;
    is_on.then(|| CsvConfig {
        directory: PathBuf::from(&section.export_directory),
        rotate_bytes: section.rotate_bytes,
    })
}

fn audit_events(config: &Config) -> Option<CsvConfig> {
    let section = &config.pipeline.csv.audit_events;
    let is_on = section.enable && config.butler_sos.audit_events.enable;
    is_on.then(|| CsvConfig {
        directory: PathBuf::from(&section.export_directory),
        rotate_bytes: section.rotate_bytes,
    })
}

fn plan_user_events(config: &Config, _: &Reread, _: &Logger) -> Vec<Planned> {
    let Some(csv) = user_events(config) else { return Vec::new() };
    let neutralise_formulas = config.pipeline.csv.user_events.neutralise_formulas;
    let identity = Identity {
        stream: Stream::UserEvents,
        name: "csv_sink",
        label: "CSV files".into(),
        error_type: ("FILE_WRITE", "USER_EVENTS_CSV"),
        mailbox_max: bound(config.pipeline.actors.csv_sink.mailbox),
    };
    let modes = settings::modes(config);
    vec![Planned::new(identity, rows(), move || {
        CsvFile::new(csv.clone(), UserEventRows { neutralise_formulas }).created_with(modes)
    })]
}

fn plan_audit_events(config: &Config, _: &Reread, _: &Logger) -> Vec<Planned> {
    let Some(csv) = audit_events(config) else { return Vec::new() };
    let neutralise_formulas = config.pipeline.csv.audit_events.neutralise_formulas;
    let identity = Identity {
        stream: Stream::AuditEvents,
        name: "audit_csv_sink",
        label: "CSV files, audit".into(),
        error_type: ("FILE_WRITE", "AUDIT_EVENTS_CSV"),
        mailbox_max: bound(config.pipeline.actors.csv_sink.mailbox),
    };
    let modes = settings::modes(config);
    vec![Planned::new(identity, rows(), move || {
        CsvFile::new(csv.clone(), AuditEventRows(AuditCsv::new(&[], neutralise_formulas))).created_with(modes)
    })]
}

fn directory(csv: Option<CsvConfig>, setting: &str) -> Vec<Directory> {
    csv.map(|csv| Directory { setting: setting.to_owned(), path: csv.directory }).into_iter().collect()
}
