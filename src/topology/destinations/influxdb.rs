//! InfluxDB 1, 2 and 3: one connection for user events and the server's own metrics, one for audit events.

use std::time::Duration;

use butler_sos_actors::net::tls::reread::Reread;
use butler_sos_actors::net::tls::{ClientTls, Trust};
use butler_sos_actors::sinks::influx::check::{Examined, Growing, examine};
use butler_sos_actors::sinks::influx::client::{
    InfluxClient, InfluxConfig, InfluxTarget, RetentionPolicy, Scheme,
};
use butler_sos_actors::sinks::influx::ids::IdsAsFields;
use butler_sos_actors::sinks::influx::influx_sink::Influx;
use butler_sos_actors::sinks::records::audit_events::AuditEventLines;
use butler_sos_actors::sinks::records::user_events::UserEventLines;
use butler_sos_domain::encode::audit_line::{AuditPoint, DEFAULT_MEASUREMENT};
use butler_sos_domain::encode::user_line::{MEASUREMENT as USER_MEASUREMENT, UserPoint};
use butler_sos_domain::own_errors::influx_error_type;
use butler_sos_domain::streams::Stream;
use slog::Logger;

use super::planned::{Identity, Planned, gathered};
use super::probe::{Answer, Answered, Probe, detail};
use super::{ClientFiles, Entry, no_directories};
use crate::config::Config;
use crate::config::butler::audit_events::{AuditInfluxdbMetadata, DestinationKind};
use crate::config::butler::influxdb::{self as section, V1Config, V2Config, V3Config};
use crate::config::pipeline::network;
use crate::topology::settings::{self, bound, pairs, path, size};

pub const ENTRIES: &[Entry] = &[Entry { plan, probes, directories: no_directories, certificates }];

fn plan(config: &Config, reread: &Reread, log: &Logger) -> Vec<Planned> {
    plan_user_events(config, reread, log).into_iter().chain(plan_audit_events(config, reread, log)).collect()
}

fn plan_user_events(config: &Config, reread: &Reread, log: &Logger) -> Option<Planned> {
    if !config.user_events_to_influxdb() {
        return None;
    }
    let influx = InfluxConfig { reread: reread.clone(), ..user_events(config) };
    let version = influx.target.version();
    let identity = Identity {
        stream: Stream::UserEvents,
        name: "influx_sink",
        label: "InfluxDB".into(),
        error_type: (influx_error_type(version), "USER_EVENTS"),
        mailbox_max: bound(config.pipeline.actors.influx_sink.mailbox),
    };
    let limits = &config.pipeline.influxdb;
    let fetch_limits = gathered(config.butler_sos.influxdb.max_batch_size, limits.batch_linger_ms);
    let parking = settings::parking(config, identity.name);
    let (prefix, log) = (limits.user_agent_tag_prefix.clone(), log.clone());
    let tags = pairs(&config.butler_sos.user_events.tags);
    Some(Planned::with_parking(identity, fetch_limits, parking, move || {
        let lines = UserEventLines(UserPoint::new(version, &prefix, &tags));
        Influx::new(influx.clone(), lines, log.clone())
    }))
}

fn plan_audit_events(config: &Config, reread: &Reread, log: &Logger) -> Option<Planned> {
    if !config.audit_to(DestinationKind::Influxdb) {
        return None;
    }
    let section = &config.butler_sos.audit_events.destination.influxdb.metadata;
    let influx = InfluxConfig { reread: reread.clone(), ..audit_events(config) };
    let version = influx.target.version();
    let identity = Identity {
        stream: Stream::AuditEvents,
        name: "audit_influx_sink",
        label: "InfluxDB, audit".into(),
        error_type: (influx_error_type(version), "AUDIT_EVENTS"),
        mailbox_max: bound(config.pipeline.actors.influx_sink.mailbox),
    };
    let fetch_limits = gathered(section.max_batch_size, section.write_frequency);
    let parking = settings::parking(config, identity.name);
    let (measurement, ids, log) = (section.measurement_name.clone(), ids_as_fields(config), log.clone());
    let (schema_version, tags) = (section.audit_event_schema_version.clone(), pairs(&section.static_tags));
    Some(Planned::with_parking(identity, fetch_limits, parking, move || {
        let point = AuditPoint::new(version, &measurement, &tags).with_schema_version(&schema_version);
        let lines = AuditEventLines(point);
        Influx::new(influx.clone(), lines, log.clone()).with_ids(ids)
    }))
}

fn probes(config: &Config) -> Vec<Probe> {
    let mut probes = Vec::new();
    if config.butler_sos.influxdb.enable {
        let growing = match config.user_events_to_influxdb() {
            true => vec![growing(USER_MEASUREMENT, "userFull")],
            false => Vec::new(),
        };
        probes.push(Probe::new("Butler-SOS.influxdbConfig.host", examined(user_events(config), growing)));
    }
    if config.audit_to(DestinationKind::Influxdb) {
        let section = &config.butler_sos.audit_events.destination.influxdb.metadata;
        let measurement = match section.measurement_name.as_str() {
            "" => DEFAULT_MEASUREMENT,
            name => name,
        };
        let growing =
            ["eventId", "correlationId", "selectionTxnId", "user"].map(|tag| growing(measurement, tag));
        let setting = "Butler-SOS.auditEvents.destination.influxdb.metadata.host";
        probes.push(Probe::new(setting, examined(audit_events(config), growing.into())));
    }
    probes
}

fn growing(measurement: &str, tag: &'static str) -> Growing {
    Growing { measurement: measurement.to_owned(), tag }
}

async fn examined(config: InfluxConfig, growing: Vec<Growing>) -> Answer {
    let at = format!("{}:{}", config.host, config.port);
    let is_created = config.create_database;
    let client = InfluxClient::new(config).map_err(|error| error.to_string())?;
    let Examined { fine, warnings } = examine(&client, is_created, &growing).await.map_err(detail)?;
    let answers = [format!("InfluxDB at {at} responds")].into_iter().chain(fine);
    Ok(Answered { fine: answers.collect::<Vec<_>>().join("; "), warnings })
}

fn certificates(config: &Config) -> Vec<ClientFiles> {
    let user = config.butler_sos.influxdb.enable.then(|| ("Butler-SOS.influxdbConfig", user_events(config)));
    let audit = config
        .audit_to(DestinationKind::Influxdb)
        .then(|| ("Butler-SOS.auditEvents.destination.influxdb.metadata", audit_events(config)));
    let used = user.into_iter().chain(audit);
    used.filter_map(|(section, influx)| {
        let Scheme::Https { ca: Some(ca) } = influx.scheme else { return None };
        let tls = ClientTls { trust: Trust::SystemAnd(ca), ..ClientTls::default() };
        Some(ClientFiles { section, settings: ["ca", "", ""], tls })
    })
    .collect()
}

/// The connection for user events and the server's own metrics.
pub fn user_events(config: &Config) -> InfluxConfig {
    let of = &config.butler_sos.influxdb;
    let connection = Connection {
        scheme: of.scheme,
        host: &of.host,
        port: of.port,
        ca: of.ca.as_ref(),
        version: of.version,
        v1: &of.v1,
        v2: &of.v2,
        v3: &of.v3,
    };
    connection.influx(config)
}

/// The separate connection for audit events.
pub fn audit_events(config: &Config) -> InfluxConfig {
    let of: &AuditInfluxdbMetadata = &config.butler_sos.audit_events.destination.influxdb.metadata;
    let connection = Connection {
        scheme: of.scheme,
        host: &of.host,
        port: of.port,
        ca: of.ca.as_ref(),
        version: of.version,
        v1: &of.v1,
        v2: &of.v2,
        v3: &of.v3,
    };
    connection.influx(config)
}

/// The settings that both InfluxDB sections have.
struct Connection<'a> {
    scheme: section::Scheme,
    host: &'a str,
    port: u16,
    ca: Option<&'a String>,
    version: u8,
    v1: &'a V1Config,
    v2: &'a V2Config,
    v3: &'a V3Config,
}

impl Connection<'_> {
    fn influx(&self, config: &Config) -> InfluxConfig {
        let limits = &config.pipeline.influxdb;
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let (target, timeout_ms) = match self.version {
            2 => {
                let V2Config { org, bucket, description, token, retention_duration } = self.v2;
                let target = InfluxTarget::V2 {
                    org: text(org),
                    bucket: text(bucket),
                    description: text(description),
                    token: token.to_secret_string(),
                    retention: retention_duration.clone(),
                };
                (target, limits.timeout_ms)
            }
            3 => {
                let target = InfluxTarget::V3 {
                    database: text(&self.v3.database),
                    token: self.v3.token.to_secret_string(),
                    retention: self.v3.retention_duration.clone(),
                };
                (target, self.v3.write_timeout)
            }
            _ => {
                let auth = &self.v1.auth;
                let target = InfluxTarget::V1 {
                    database: self.v1.db_name.clone(),
                    policy: RetentionPolicy {
                        name: self.v1.retention_policy.name.clone(),
                        duration: self.v1.retention_policy.duration.clone(),
                    },
                    auth: auth.enable.then(|| (text(&auth.username), auth.password.to_secret_string())),
                };
                (target, limits.timeout_ms)
            }
        };
        InfluxConfig {
            scheme: match self.scheme {
                section::Scheme::Http => Scheme::Http,
                section::Scheme::Https => Scheme::Https { ca: path(self.ca) },
            },
            host: self.host.to_owned(),
            port: self.port,
            write_timeout: Duration::from_millis(timeout_ms),
            write_timeout_max: Duration::from_millis(limits.timeout_max_ms),
            body_bytes_max: size(limits.batch_bytes_max),
            gzip_bytes_min: size(limits.gzip_bytes_min),
            create_database: limits.create_database,
            target,
            // Whoever connects for longer than a moment puts the server's here.
            reread: Reread::default(),
        }
    }
}

/// Whether the ids of audit events are tags or fields.
fn ids_as_fields(config: &Config) -> IdsAsFields {
    match config.pipeline.influxdb.audit_ids_as_fields {
        network::IdsAsFields::Auto => IdsAsFields::Auto,
        network::IdsAsFields::True => IdsAsFields::Always,
        network::IdsAsFields::False => IdsAsFields::Never,
    }
}
