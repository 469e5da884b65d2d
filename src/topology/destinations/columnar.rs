//! Audit events as Parquet and as QVD files.

use std::path::PathBuf;

use butler_sos_actors::journal::message::FetchLimits;
use butler_sos_actors::net::tls::reread::Reread;
use butler_sos_actors::sinks::files::columnar::ColumnarConfig;
use butler_sos_actors::sinks::files::parquet_sink::ParquetFiles;
use butler_sos_actors::sinks::files::qvd_sink::QvdFiles;
use butler_sos_domain::streams::Stream;
use slog::Logger;

use super::planned::{Identity, Planned, a_file};
use super::{Entry, audit_directory, no_certificates, no_probes};
use crate::config::Config;
use crate::config::butler::audit_events::DestinationKind;
use crate::topology::settings::{self, bound, pairs};

pub const ENTRIES: &[Entry] = &[
    Entry {
        plan: plan_parquet,
        probes: no_probes,
        directories: |config| audit_directory(config, DestinationKind::Parquet),
        certificates: no_certificates,
    },
    Entry {
        plan: plan_qvd,
        probes: no_probes,
        directories: |config| audit_directory(config, DestinationKind::Qvd),
        certificates: no_certificates,
    },
];

/// The settings of the files, and the limits of one file.
type Files = (ColumnarConfig, FetchLimits);

fn parquet(config: &Config) -> Option<Files> {
    let section = &config.butler_sos.audit_events.destination.parquet.metadata;
    config.audit_to(DestinationKind::Parquet).then(|| {
        let directory = PathBuf::from(&section.export_directory);
        let files = ColumnarConfig { directory, static_tags: pairs(&section.static_tags) };
        (files, a_file(section.max_batch_size, section.write_frequency))
    })
}

fn qvd(config: &Config) -> Option<Files> {
    let section = &config.butler_sos.audit_events.destination.qvd.metadata;
    config.audit_to(DestinationKind::Qvd).then(|| {
        let directory = PathBuf::from(&section.export_directory);
        let files = ColumnarConfig { directory, static_tags: pairs(&section.static_tags) };
        (files, a_file(section.max_batch_size, section.write_frequency))
    })
}

fn plan_parquet(config: &Config, _: &Reread, _: &Logger) -> Vec<Planned> {
    let Some((files, limits)) = parquet(config) else { return Vec::new() };
    let identity = Identity {
        stream: Stream::AuditEvents,
        name: "parquet_sink",
        label: "Parquet files".into(),
        error_type: ("FILE_WRITE", "AUDIT_EVENTS_PARQUET"),
        mailbox_max: bound(config.pipeline.actors.parquet_sink.mailbox),
    };
    let modes = settings::modes(config);
    vec![Planned::new(identity, limits, move || ParquetFiles::new(files.clone()).created_with(modes))]
}

fn plan_qvd(config: &Config, _: &Reread, _: &Logger) -> Vec<Planned> {
    let Some((files, limits)) = qvd(config) else { return Vec::new() };
    let identity = Identity {
        stream: Stream::AuditEvents,
        name: "qvd_sink",
        label: "QVD files".into(),
        error_type: ("FILE_WRITE", "AUDIT_EVENTS_QVD"),
        mailbox_max: bound(config.pipeline.actors.qvd_sink.mailbox),
    };
    let modes = settings::modes(config);
    vec![Planned::new(identity, limits, move || QvdFiles::new(files.clone()).created_with(modes))]
}
