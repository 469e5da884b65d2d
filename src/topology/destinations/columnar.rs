//! Audit events as Parquet and as QVD files.

use butler_sos_actors::journal::message::FetchLimits;
use butler_sos_actors::net::tls::reread::Reread;
use butler_sos_actors::sinks::files::columnar::{Columnar, ColumnarConfig, Encoder};
use butler_sos_actors::sinks::files::parquet_sink::Parquet;
use butler_sos_actors::sinks::files::qvd_sink::Qvd;
use butler_sos_domain::streams::Stream;
use slog::Logger;

use super::planned::{Identity, Planned, a_file};
use super::{Entry, audit_directory, no_certificates, no_probes};
use crate::config::Config;
use crate::config::butler::NameValue;
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

fn plan_parquet(config: &Config, _: &Reread, _: &Logger) -> Vec<Planned> {
    let section = &config.butler_sos.audit_events.destination.parquet.metadata;
    let identity = Identity {
        stream: Stream::AuditEvents,
        name: "parquet_sink",
        label: "Parquet files".into(),
        error_type: ("FILE_WRITE", "AUDIT_EVENTS_PARQUET"),
        mailbox_max: bound(config.pipeline.actors.parquet_sink.mailbox),
    };
    let limits = a_file(section.max_batch_size, section.write_frequency);
    plan::<Parquet>(config, DestinationKind::Parquet, identity, limits, &section.static_tags)
}

fn plan_qvd(config: &Config, _: &Reread, _: &Logger) -> Vec<Planned> {
    let section = &config.butler_sos.audit_events.destination.qvd.metadata;
    let identity = Identity {
        stream: Stream::AuditEvents,
        name: "qvd_sink",
        label: "QVD files".into(),
        error_type: ("FILE_WRITE", "AUDIT_EVENTS_QVD"),
        mailbox_max: bound(config.pipeline.actors.qvd_sink.mailbox),
    };
    let limits = a_file(section.max_batch_size, section.write_frequency);
    plan::<Qvd>(config, DestinationKind::Qvd, identity, limits, &section.static_tags)
}

/// Files of one format, in the directory of their kind.
fn plan<E: Encoder>(
    config: &Config,
    kind: DestinationKind,
    identity: Identity,
    limits: FetchLimits,
    tags: &[NameValue],
) -> Vec<Planned> {
    let Some(directory) = audit_directory(config, kind).pop() else { return Vec::new() };
    let files = ColumnarConfig { directory: directory.path, static_tags: pairs(tags) };
    let modes = settings::modes(config);
    vec![Planned::new(identity, limits, move || Columnar::<E>::new(files.clone()).created_with(modes))]
}
