//! An MQTT broker: topics of user events, and one of audit events.

use std::time::Duration;

use butler_sos_actors::net::tls::reread::Reread;
use butler_sos_actors::sinks::mqtt::mqtt_sink::{self, Mqtt, MqttConfig, MqttTls, MqttVersion};
use butler_sos_actors::sinks::records::audit_events::AuditEventMessages;
use butler_sos_actors::sinks::records::user_events::UserEventMessages;
use butler_sos_domain::encode::mqtt::{UserPayload, UserTopics};
use butler_sos_domain::streams::Stream;
use slog::Logger;

use super::planned::{Identity, Planned, at_once};
use super::probe::{PATIENCE, Probe, connect, detail, server, shake_hands};
use super::{ClientFiles, Entry, no_directories};
use crate::config::Config;
use crate::config::butler::mqtt as section;
use crate::topology::settings::{bound, given, pairs, path};

pub const ENTRIES: &[Entry] = &[Entry { plan, probes, directories: no_directories, certificates }];

fn plan(config: &Config, _: &Reread, _: &Logger) -> Vec<Planned> {
    let mut planned = Vec::new();
    if config.user_events_to_mqtt() {
        let identity = Identity {
            stream: Stream::UserEvents,
            name: "mqtt_sink",
            label: "MQTT".into(),
            error_type: ("MQTT_PUBLISH", "USER_EVENTS_MQTT"),
            mailbox_max: bound(config.pipeline.actors.mqtt_sink.mailbox),
        };
        let payload = UserPayload::new(&pairs(&config.butler_sos.user_events.tags));
        let messages = UserEventMessages { payload, topics: user_topics(config) };
        let mqtt = mqtt(config);
        planned.push(Planned::new(identity, at_once(), move || Mqtt::new(mqtt.clone(), messages.clone())));
    }
    if let Some(topic) = &config.pipeline.mqtt.audit_events.topic
        && config.audit_events_to_mqtt()
    {
        let identity = Identity {
            stream: Stream::AuditEvents,
            name: "audit_mqtt_sink",
            label: "MQTT, audit".into(),
            error_type: ("MQTT_PUBLISH", "AUDIT_EVENTS_MQTT"),
            mailbox_max: bound(config.pipeline.actors.mqtt_sink.mailbox),
        };
        let (mqtt, messages) = (mqtt(config), AuditEventMessages { topic: topic.clone() });
        planned.push(Planned::new(identity, at_once(), move || Mqtt::new(mqtt.clone(), messages.clone())));
    }
    planned
}

fn probes(config: &Config) -> Vec<Probe> {
    if !config.butler_sos.mqtt.enable {
        return Vec::new();
    }
    let mqtt = MqttConfig { timeout: PATIENCE, ..mqtt(config) };
    vec![Probe::plain("Butler-SOS.mqttConfig.brokerHost", broker(mqtt))]
}

/// First tests the connection with our own client, because the MQTT library reports few details; then logs
/// in.
async fn broker(mqtt: MqttConfig) -> Result<String, String> {
    let server = server(&mqtt.host, mqtt.port, None);
    match mqtt.tls.clone() {
        None => connect(server).await?,
        Some(files) => drop(shake_hands(server, files.client_tls()).await?),
    }
    let at = format!("{}:{}", mqtt.host, mqtt.port);
    let refused = |error| format!("the broker at {at} refused the connection: {}", detail(error));
    mqtt_sink::reachable(&mqtt).await.map_err(refused)?;
    Ok(format!("the broker at {at} accepted the connection"))
}

fn certificates(config: &Config) -> Vec<ClientFiles> {
    let tls = config.butler_sos.mqtt.enable.then(|| mqtt(config).tls).flatten();
    let files = tls.map(|tls| ClientFiles {
        section: "Butler-SOS.mqttConfig.tls",
        settings: ["ca", "cert", "key"],
        tls: tls.client_tls(),
    });
    files.into_iter().collect()
}

fn mqtt(config: &Config) -> MqttConfig {
    let of = &config.butler_sos.mqtt;
    MqttConfig {
        host: of.broker_host.clone(),
        port: of.broker_port,
        tls: of.tls.enable.then(|| MqttTls {
            ca: path(of.tls.ca.as_ref()),
            cert: path(of.tls.cert.as_ref()),
            key: path(of.tls.key.as_ref()),
            passphrase: given(&of.tls.passphrase),
        }),
        username: of.username.clone(),
        password: given(&of.password),
        client_id: Some(of.client_id.clone()).filter(|id| !id.is_empty()),
        qos: of.qos,
        version: match of.version {
            section::MqttVersion::V3 => MqttVersion::V3,
            section::MqttVersion::V5 => MqttVersion::V5,
        },
        keep_alive: Duration::from_secs(u64::from(of.keep_alive_seconds)),
        in_flight_max: config.pipeline.mqtt.in_flight_max,
        timeout: MQTT_TIMEOUT,
    }
}

/// The time limit of connecting, and of the broker's acknowledgement.
const MQTT_TIMEOUT: Duration = Duration::from_secs(10);

fn user_topics(config: &Config) -> UserTopics {
    let to = &config.butler_sos.user_events.send_to_mqtt.post_to;
    let topic = |enable: bool, topic: &str| enable.then(|| topic.to_owned());
    UserTopics {
        everything: topic(to.everything.enable, &to.everything.topic),
        session_start: topic(to.session_start.enable, &to.session_start.topic),
        session_stop: topic(to.session_stop.enable, &to.session_stop.topic),
        connection_open: topic(to.connection_open.enable, &to.connection_open.topic),
        connection_close: topic(to.connection_close.enable, &to.connection_close.topic),
    }
}
