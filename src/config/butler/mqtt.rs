//! `Butler-SOS.mqttConfig`: the MQTT broker (destinations contract).

use serde::Deserialize;

use butler_sos_settings::{secret::Secret, section};

section! {
    /// The MQTT broker.
    pub struct MqttConfig {
        /// Whether anything is published.
        "enable" was "enableMQTT" => enable: bool = no();
        /// Host name or address.
        "brokerHost" => broker_host: String = text("localhost");
        /// Port; 8883 is usual with TLS.
        "brokerPort" => broker_port: u16 = remote_port(1883);
        /// TLS. Not known to Butler SOS.
        "tls" => tls: MqttTls = group::<MqttTls>();
        /// User name. Not known to Butler SOS.
        "username" => username: Option<String> = maybe_text();
        /// Password. Not known to Butler SOS.
        "password" => password: Secret = secret();
        /// The client id; it must be unique at the broker. Not known to Butler SOS.
        "clientId" => client_id: String = text("butler-sos");
        /// 1: the broker acknowledges each message. Butler SOS sends with 0.
        "qos" => qos: u8 = int(1, 0..=2);
        /// Version of MQTT: 3 (3.1.1) or 5. Not known to Butler SOS.
        "version" => version: MqttVersion = one_of("3", MqttVersion::NAMES);
        /// Keep-alive interval in seconds. Not known to Butler SOS.
        "keepAliveSeconds" => keep_alive_seconds: u16 = int(30, 1..=65_535);
        ignored "baseTopic";
    }
}

/// Versions of MQTT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum MqttVersion {
    /// 3.1.1.
    #[serde(rename = "3")]
    V3,
    #[serde(rename = "5")]
    V5,
}

impl MqttVersion {
    pub const NAMES: &'static [&'static str] = &["3", "5"];
}

section! {
    /// TLS to the broker.
    pub struct MqttTls {
        /// Whether it is used.
        "enable" => enable: bool = no();
        /// CA certificate (PEM) to verify the broker. Empty: the CAs of the system.
        "ca" => ca: Option<String> = maybe_text();
        /// The client certificate (PEM), if the broker requires one.
        "cert" => cert: Option<String> = maybe_text();
        /// Its key (PEM).
        "key" => key: Option<String> = maybe_text();
        /// The passphrase of the key.
        "passphrase" => passphrase: Secret = secret();
    }
}
