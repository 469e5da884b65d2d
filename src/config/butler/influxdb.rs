//! `Butler-SOS.influxdbConfig`, and the settings of InfluxDB's three versions, which audit events share.

use serde::Deserialize;

use butler_sos_settings::{secret::Secret, section};

section! {
    /// The InfluxDB for user events and own measurements.
    pub struct InfluxdbConfig {
        /// Whether anything is written there.
        "enable" was "enableInfluxdb" => enable: bool = no();
        /// `http` or `https`. Not known to Butler SOS.
        "scheme" => scheme: Scheme = one_of("http", Scheme::NAMES);
        /// Host name or address.
        "host" was "hostIP" => host: String = text("localhost");
        /// Port.
        "port" was "hostPort" => port: u16 = remote_port(8086);
        /// An additional CA certificate (PEM) to verify the server. Not known to Butler SOS.
        "ca" => ca: Option<String> = maybe_text();
        /// Version of InfluxDB: 1, 2 or 3.
        "version" => version: u8 = int(1, 1..=3);
        /// Maximum number of lines in a batch.
        "maxBatchSize" => max_batch_size: u32 = int(1_000, 1..=10_000);
        /// When `version` is 1.
        "v1Config" => v1: V1Config = group::<V1Config>();
        /// When `version` is 2.
        "v2Config" => v2: V2Config = group::<V2Config>();
        /// When `version` is 3. `description` is accepted and has no effect: InfluxDB 3 keeps none.
        "v3Config" => v3: V3Config = group::<V3Config>();
        ignored "includeFields";
        ignored "failedPollsTracking";
    }
}

/// How InfluxDB is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    Http,
    Https,
}

impl Scheme {
    pub const NAMES: &'static [&'static str] = &["http", "https"];
}

section! {
    /// InfluxDB 1.
    pub struct V1Config {
        /// Name and password.
        "auth" => auth: V1Auth = group::<V1Auth>();
        /// The database; created if it does not exist.
        "dbName" => db_name: String = text("senseops");
        /// The retention policy of a new database.
        "retentionPolicy" => retention_policy: RetentionPolicy = group::<RetentionPolicy>();
    }
}

section! {
    /// Basic authentication.
    pub struct V1Auth {
        /// Whether it is used.
        "enable" => enable: bool = no();
        /// User name.
        "username" => username: Option<String> = maybe_text();
        /// Password.
        "password" => password: Secret = secret();
    }
}

section! {
    /// How long a new database keeps points.
    pub struct RetentionPolicy {
        /// The name of the policy.
        "name" => name: String = text("10d");
        /// A duration in InfluxDB notation, such as `10d` or `12h`.
        "duration" => duration: String = text("10d");
    }
}

section! {
    /// InfluxDB 2.
    pub struct V2Config {
        /// Organisation.
        "org" => org: Option<String> = maybe_text();
        /// Bucket; created if it does not exist.
        "bucket" => bucket: Option<String> = maybe_text();
        /// The description of a new bucket.
        "description" => description: Option<String> = maybe_text();
        /// API token.
        "token" => token: Secret = secret();
        /// How long a new bucket keeps points.
        "retentionDuration" => retention_duration: String = text("10d");
    }
}

section! {
    /// InfluxDB 3.
    pub struct V3Config {
        /// Database; created if it does not exist.
        "database" => database: Option<String> = maybe_text();
        /// API token.
        "token" => token: Secret = secret();
        /// How long a new database keeps points.
        "retentionDuration" => retention_duration: String = text("10d");
        /// Time limit of a write in milliseconds.
        "writeTimeout" => write_timeout: u64 = int(10_000, 1_000..=3_600_000);
        ignored "description";
        ignored "queryTimeout";
    }
}
