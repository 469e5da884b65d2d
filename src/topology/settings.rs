//! Converts the configuration to the settings of actors. Does no I/O and decides nothing else.

use std::num::NonZero;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use butler_sos_actors::intake::app_directory::AppDirectoryConfig;
use butler_sos_actors::intake::audit_http_ingestor::{self, AuditHttpConfig, AuditHttpLimits, Privacy};
use butler_sos_actors::intake::udp::socket::SocketConfig;
use butler_sos_actors::intake::udp::udp_ingestor::UdpConfig;
use butler_sos_actors::intake::user_parser::UserParserConfig;
use butler_sos_actors::journal::store::{OnFull, ROOM_BYTES_DEFAULT, StoreConfig, StreamConfig};
use butler_sos_actors::kit::clock::Clock;
use butler_sos_actors::kit::platform::Modes;
use butler_sos_actors::kit::supervisor::RestartPolicy;
use butler_sos_actors::line_log::actor::LineLogConfig;
use butler_sos_actors::net::static_hosts::StaticHosts;
use butler_sos_actors::net::tls::reread::Reread;
use butler_sos_actors::net::tls::{ClientTls, Trust};
use butler_sos_actors::sinks::sink::{ParkingConfig, Pauses};
use butler_sos_domain::fallback_encoding::FallbackEncoding;
use butler_sos_domain::pseudonym::Pseudonymizer;
use butler_sos_domain::streams::Stream;
use secrecy::SecretString;

use crate::config::butler::NameValue;
use crate::config::butler::audit_events;
use crate::config::butler::screenshots::AuthMode;
use crate::config::pipeline::journal::FullPolicy;
use crate::config::{Config, network};
use crate::open_files;
use butler_sos_settings::secret::Secret;

pub fn restart_policy(config: &Config) -> RestartPolicy {
    let supervision = &config.pipeline.supervision;
    RestartPolicy {
        restarts_max: size(supervision.max_restarts),
        window: Duration::from_secs(supervision.window_seconds),
        backoff: Duration::from_millis(supervision.backoff_ms),
    }
}

// === journal

pub fn store(config: &Config) -> StoreConfig {
    let journal = &config.pipeline.journal;
    let stream = |stream: Stream| StreamConfig {
        name: stream.name().to_owned(),
        bytes_max: journal.bytes_max,
        on_full: match journal.on_full.of(stream) {
            FullPolicy::Block => OnFull::Block,
            FullPolicy::DropOldest => OnFull::DropOldest,
        },
        // Room that is written ahead pays off only where each append is synced.
        room_bytes: if stream.is_acknowledged() { ROOM_BYTES_DEFAULT } else { 0 },
    };
    StoreConfig {
        directory: PathBuf::from(&journal.directory),
        streams: Stream::ALL.into_iter().map(stream).collect(),
        segment_bytes_max: journal.segment_bytes_max,
        retention: Duration::from_secs(journal.retention_hours * 3600),
        tail_bytes_max: size(journal.tail_bytes_max),
    }
}

pub fn dead_letters(config: &Config) -> LineLogConfig {
    let section = &config.pipeline.dead_letters;
    LineLogConfig { directory: PathBuf::from(&section.directory), bytes_max: section.bytes_max }
}

/// The directory for parked events of this destination. It is inside the directory of dead letters, which
/// ignores foreign files.
pub fn parking(config: &Config, destination: &str) -> ParkingConfig {
    let section = &config.pipeline.dead_letters;
    ParkingConfig {
        directory: PathBuf::from(&section.directory).join("parked").join(destination),
        bytes_max: section.parked_bytes_max,
        retry_every: Duration::from_secs(section.parked_retry_seconds),
    }
}

pub fn quarantine(config: &Config) -> LineLogConfig {
    let section = &config.pipeline.quarantine;
    LineLogConfig { directory: PathBuf::from(&section.directory), bytes_max: section.bytes_max }
}

// === intake

pub fn udp(config: &Config) -> UdpConfig {
    let server = &config.butler_sos.user_events.udp_server;
    let udp = &config.pipeline.udp;
    UdpConfig {
        socket: SocketConfig {
            host: server.server_host.clone(),
            port: server.port,
            receive_buffer_bytes: size(udp.receive_buffer_bytes),
        },
        datagram_bytes_max: size(server.max_message_size),
        per_minute_max: server
            .rate_limit
            .enable
            .then(|| u64::from(server.rate_limit.max_messages_per_minute)),
        allowed_sources: server.enable_source_validation.then(|| server.allowed_sources.clone()),
        limits: udp.clone(),
        backpressure_percent: server.message_queue.backpressure_threshold,
    }
}

/// Replaces users' names, if they must not be stored.
pub fn pseudonymizer(config: &Config) -> Option<Arc<Pseudonymizer>> {
    let pseudonymise = &config.pipeline.privacy.pseudonymise;
    pseudonymise.enable.then(|| Arc::new(Pseudonymizer::new(pseudonymise.key.expose().as_bytes())))
}

pub fn user_parser(config: &Config) -> UserParserConfig {
    let excluded = &config.butler_sos.user_events.exclude_user;
    UserParserConfig {
        excluded_users: excluded.iter().map(|user| (user.directory.clone(), user.user_id.clone())).collect(),
        limits: config.pipeline.user_parsing.clone(),
        app_names_expected: config.butler_sos.app_names.enable,
        // An unknown label was rejected when the configuration was read.
        fallback: FallbackEncoding::of_label(&config.pipeline.udp.fallback_encoding).unwrap_or_default(),
        pseudonymizer: pseudonymizer(config),
    }
}

pub fn app_directory(config: &Config, reread: &Reread) -> Option<AppDirectoryConfig> {
    let section = &config.butler_sos.app_names;
    section.enable.then(|| AppDirectoryConfig {
        host: section.host_ip.clone().unwrap_or_default(),
        interval: Duration::from_millis(section.extract_interval),
        limits: config.pipeline.app_directory.clone(),
        tls: qlik_tls(config),
        reread: reread.clone(),
    })
}

/// The number of processors that this process may use.
fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}

pub fn audit_http(config: &Config, reread: &Reread) -> AuditHttpConfig {
    let audit = &config.butler_sos.audit_events;
    let limits = &config.pipeline.audit;
    let queue = &audit.queue;
    AuditHttpConfig {
        tls: audit.tls.enable.then(|| audit_http_ingestor::TlsConfig {
            cert: path(audit.tls.cert.as_ref()).unwrap_or_default(),
            key: path(audit.tls.key.as_ref()).unwrap_or_default(),
            ca: path(audit.tls.ca.as_ref()),
            passphrase: given(&audit.tls.passphrase),
            min_version: match audit.tls.min_version {
                audit_events::TlsVersion::V1_2 => audit_http_ingestor::TlsVersion::V1_2,
                audit_events::TlsVersion::V1_3 => audit_http_ingestor::TlsVersion::V1_3,
            },
            reread: reread.clone(),
        }),
        // More threads would only alternate, and collect smaller groups.
        threads: config.pipeline.actors.audit_http_ingestor.threads.min(processors()),
        api_token: given(&audit.api_token),
        allowed_origins: audit.cors.allowed_origins.clone(),
        client_per_minute: audit.rate_limit.enable.then_some(audit.rate_limit.max_per_minute),
        // Invalid networks were reported when the configuration was read, and are not trusted.
        trusted_proxies: limits.trusted_proxies.iter().filter_map(|text| network(text)).collect(),
        queue_max: queue.message_queue.max_size,
        backpressure_percent: queue.message_queue.backpressure_threshold,
        queue_per_minute: queue.rate_limit.enable.then_some(queue.rate_limit.max_messages_per_minute),
        limits: AuditHttpLimits {
            connections_max: open_files::connections_within(limits.connections_max),
            ..limits.clone()
        },
        screenshots: audit.destination.screenshots.enable,
        privacy: pseudonymizer(config).map(|pseudonymizer| Privacy {
            pseudonymizer,
            user_is_needed: audit.destination.screenshots.auth.mode == AuthMode::UserTicket,
        }),
        // Replaced at start with the clock of user events.
        clock: Clock::default(),
    }
}

// === Qlik Sense

/// The certificates that Qlik Sense exported.
pub fn qlik_tls(config: &Config) -> ClientTls {
    let cert = &config.butler_sos.cert;
    ClientTls {
        trust: Trust::only(path(cert.client_cert_ca.as_ref())),
        cert: path(cert.client_cert.as_ref()),
        key: path(cert.client_cert_key.as_ref()),
        passphrase: cert.client_cert_passphrase.to_secret_string(),
        verify: config.butler_sos.servers_to_monitor.reject_unauthorized,
    }
}

/// For screenshot hosts, which may be Qlik Sense's and get no client certificate.
pub fn image_tls(config: &Config) -> ClientTls {
    ClientTls {
        trust: Trust::system_and(path(config.butler_sos.cert.client_cert_ca.as_ref())),
        verify: config.butler_sos.servers_to_monitor.reject_unauthorized,
        ..ClientTls::default()
    }
}

pub fn static_hosts(config: &Config) -> StaticHosts {
    let resolve = &config.pipeline.screenshots.resolve;
    StaticHosts::new(resolve.iter().filter_map(|(host, address)| Some((host.clone(), address.parse().ok()?))))
}

// === destinations

pub fn pauses(config: &Config) -> Pauses {
    let retry = &config.pipeline.retry;
    Pauses { min: Duration::from_millis(retry.first_ms), max: Duration::from_millis(retry.longest_ms) }
}

/// The modes of files for other accounts. An invalid mode was rejected when the configuration was read.
pub fn modes(config: &Config) -> Modes {
    Modes::of_files(&config.pipeline.files.mode).unwrap_or_default()
}

// === small things

/// Pairs of name and value for encoders.
pub fn pairs(values: &[NameValue]) -> Vec<(String, String)> {
    values.iter().map(|pair| (pair.name.clone(), pair.value.clone())).collect()
}

pub fn path(text: Option<&String>) -> Option<PathBuf> {
    text.filter(|text| !text.is_empty()).map(PathBuf::from)
}

pub fn given(secret: &Secret) -> Option<SecretString> {
    (!secret.is_empty()).then(|| secret.to_secret_string())
}

/// A size from the configuration, or the maximum where it does not fit.
pub fn size(number: impl TryInto<usize>) -> usize {
    number.try_into().unwrap_or(usize::MAX)
}

/// The bound of a mailbox.
pub fn bound(number: impl TryInto<u32>) -> u32 {
    number.try_into().unwrap_or(u32::MAX)
}
