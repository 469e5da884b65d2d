//! `Butler-SOS:`, the keys that Butler SOS 15 has. Same keys, same meaning; each section in its own file.

pub mod app_names;
pub mod audit_events;
pub mod cert;
pub mod influxdb;
pub mod mqtt;
pub mod new_relic;
pub mod qlik_sense_events;
pub mod screenshots;
pub mod services;
pub mod user_events;

use serde::Deserialize;

use self::{
    app_names::AppNames,
    audit_events::AuditEvents,
    cert::{Cert, ServersToMonitor},
    influxdb::InfluxdbConfig,
    mqtt::MqttConfig,
    new_relic::{NewRelic, ThirdPartyToolsCredentials},
    qlik_sense_events::QlikSenseEvents,
    services::{
        ConfigVisualisation, DockerHealthCheck, ErrorTracking, Heartbeat, Prometheus, SystemInfo,
        UptimeMonitor,
    },
    user_events::UserEvents,
};
use butler_sos_settings::section;

section! {
    /// The keys of Butler SOS 15.
    pub struct ButlerSos {
        /// The log level: error, warn, info, verbose, debug or silly. Each level includes the previous ones.
        "logLevel" => log_level: LogLevel = one_of("info", LogLevel::NAMES);
        /// Whether the log also goes to a file, a new one each day (UTC).
        "fileLogging" => file_logging: bool = no();
        /// Directory of the log files, relative to the working directory or absolute.
        "logDirectory" => log_directory: String = text("log");
        /// Details of the machine in the start-up lines.
        "systemInfo" => system_info: SystemInfo = group::<SystemInfo>();
        /// The certificates for QRS and QPS.
        "cert" => cert: Cert = group::<Cert>();
        /// Settings of the Qlik Sense servers.
        "serversToMonitor" => servers_to_monitor: ServersToMonitor = group::<ServersToMonitor>();
        /// User events by UDP.
        "userEvents" => user_events: UserEvents = group::<UserEvents>();
        /// Audit events by HTTP.
        "auditEvents" => audit_events: AuditEvents = group::<AuditEvents>();
        /// Counts of events written to InfluxDB.
        "qlikSenseEvents" => qlik_sense_events: QlikSenseEvents = group::<QlikSenseEvents>();
        /// The InfluxDB for user events and own measurements.
        "influxdbConfig" => influxdb: InfluxdbConfig = group::<InfluxdbConfig>();
        /// The MQTT broker. `baseTopic` is accepted and has no effect: Butler SOS puts it before topics of health metrics
        /// and user sessions, which this server does not publish; user events have topics of their own.
        "mqttConfig" => mqtt: MqttConfig = group::<MqttConfig>();
        /// New Relic.
        "newRelic" => new_relic: NewRelic = group::<NewRelic>();
        /// Accounts of third parties.
        "thirdPartyToolsCredentials" => third_party_tools_credentials: ThirdPartyToolsCredentials =
            group::<ThirdPartyToolsCredentials>();
        /// App names from QRS.
        "appNames" => app_names: AppNames = group::<AppNames>();
        /// Metrics for Prometheus on a separate port.
        "prometheus" => prometheus: Prometheus = group::<Prometheus>();
        /// An endpoint for Docker's health checks.
        "dockerHealthCheck" => docker_health_check: DockerHealthCheck = group::<DockerHealthCheck>();
        /// Uptime and memory usage of the server.
        "uptimeMonitor" => uptime_monitor: UptimeMonitor = group::<UptimeMonitor>();
        /// A heartbeat to a monitoring tool.
        "heartbeat" => heartbeat: Heartbeat = group::<Heartbeat>();
        /// Errors counted and reported.
        "errorTracking" => error_tracking: ErrorTracking = group::<ErrorTracking>();
        /// The effective configuration as a page.
        "configVisualisation" => config_visualisation: ConfigVisualisation =
            group::<ConfigVisualisation>();
        ignored "anonTelemetry";
        ignored "crashFile";
        ignored "logEvents";
        ignored "userSessions";
    }
}

/// Butler SOS's level names, the quietest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Verbose,
    Debug,
    Silly,
}

impl LogLevel {
    pub const NAMES: &'static [&'static str] = &["error", "warn", "info", "verbose", "debug", "silly"];

    pub const fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }
}

section! {
    /// A name with its value.
    pub struct NameValue {
        /// The name.
        "name" | "tag" => name: String = needed_text();
        /// The value.
        "value" => value: String = needed_text();
    }
}

section! {
    /// A user, matched exactly.
    pub struct User {
        /// User directory.
        "directory" => directory: String = needed_text();
        /// User id.
        "userId" => user_id: String = needed_text();
    }
}
