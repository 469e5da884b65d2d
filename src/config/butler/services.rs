//! The small services of Butler SOS around the pipeline: Prometheus, health, uptime, heartbeat, errors, pages.

use super::LogLevel;
use butler_sos_settings::{secret::Secret, section};

section! {
    /// Metrics for Prometheus on an address of their own.
    pub struct Prometheus {
        /// Whether `/metrics` is served there.
        "enable" => enable: bool = no();
        /// Address to listen on.
        "host" => host: String = text("0.0.0.0");
        /// Port to listen on.
        "port" => port: u16 = listen_port(9842);
        ignored "nodeMetricsHost";
        ignored "nodeMetricsPort";
    }
}

section! {
    /// An endpoint for Docker's health checks.
    pub struct DockerHealthCheck {
        /// Whether `/health` is served there, on all addresses.
        "enable" => enable: bool = no();
        /// Port to listen on.
        "port" => port: u16 = listen_port(12_398);
    }
}

section! {
    /// Uptime and memory usage of the server.
    pub struct UptimeMonitor {
        /// Whether it is logged.
        "enable" => enable: bool = no();
        /// How often, such as `every 15 minutes`.
        "frequency" => frequency: String = text("every 15 minutes");
        /// Level of the log lines.
        "logLevel" => log_level: LogLevel = one_of("verbose", LogLevel::NAMES);
        /// To the InfluxDB of `influxdbConfig`.
        "storeInInfluxdb" => store_in_influxdb: UptimeInfluxdb = group::<UptimeInfluxdb>();
        ignored "storeNewRelic";
    }
}

section! {
    /// Memory use in InfluxDB.
    pub struct UptimeInfluxdb {
        /// Whether the measurement `butlersos_memory_usage` is written: memory in MB. `heap_used` is the process's own
        /// memory that is in RAM, `heap_total` all that it has asked for, `external` what is backed by files (the
        /// program itself among it), `process_memory` all that is in RAM.
        "butlerSOSMemoryUsage" => memory_usage: bool = no();
        /// The tag that distinguishes several servers.
        "instanceTag" => instance_tag: String = text("");
    }
}

section! {
    /// A heartbeat to a monitoring tool.
    pub struct Heartbeat {
        /// Whether heartbeats are sent.
        "enable" => enable: bool = no();
        /// The address that is called with GET, first when the server starts. Such addresses often contain a secret:
        /// log and pages show only the host, and it can be set as `${NAME}` or `file:/path`.
        "remoteURL" => remote_url: Option<Secret> = maybe_secret_address();
        /// How often, such as `every 1 hour`.
        "frequency" => frequency: String = text("every 1 hour");
    }
}

section! {
    /// Errors counted and reported.
    pub struct ErrorTracking {
        /// Whether errors are reported.
        "enable" => enable: bool = no();
        /// A summary of the day in the log after midnight, UTC.
        "logSummary" => log_summary: ErrorLogSummary = group::<ErrorLogSummary>();
        /// To the InfluxDB of `influxdbConfig`: how many errors of each kind since the write before. Errors during an
        /// outage are written afterwards.
        "influxdb" => influxdb: ErrorInfluxdb = group::<ErrorInfluxdb>();
    }
}

section! {
    /// The summary of errors in the log.
    pub struct ErrorLogSummary {
        /// Whether it is written.
        "enable" => enable: bool = yes();
    }
}

section! {
    /// Errors in InfluxDB.
    pub struct ErrorInfluxdb {
        /// Whether they are written.
        "enable" => enable: bool = no();
        /// The measurement.
        "measurementName" => measurement_name: String = text("butler_sos_errors");
    }
}

section! {
    /// The effective configuration as a page.
    pub struct ConfigVisualisation {
        /// Whether the page is served.
        "enable" => enable: bool = no();
        /// Address to listen on.
        "host" => host: String = text("localhost");
        /// Port to listen on.
        "port" => port: u16 = listen_port(3100);
        /// Whether the page shows only three characters of the names of hosts, users, certificates, topics and
        /// accounts. Secrets are always hidden; the dashboard at `Pipeline.operations` shows the names.
        "obfuscate" => obfuscate: bool = yes();
    }
}

section! {
    /// Details of the machine.
    pub struct SystemInfo {
        /// Whether they are logged at start.
        "enable" => enable: bool = yes();
    }
}
