//! User events and the audit API.

use butler_sos_domain::encode::{new_relic, user_line};
use butler_sos_domain::fallback_encoding::FallbackEncoding;

use super::{
    Check,
    text::{is_source, network},
};
use crate::config::masked::quoted;

impl Check<'_> {
    /// Tags that would stand in the way of the event's own are left out, and somebody will look for them.
    fn user_event_tags(&mut self) {
        let to_influxdb = self.config.user_events_to_influxdb();
        let to_new_relic = self.config.user_events_to_new_relic();
        let prefix = &self.config.pipeline.influxdb.user_agent_tag_prefix;
        for (index, tag) in self.config.butler_sos.user_events.tags.iter().enumerate() {
            let path = format!("Butler-SOS.userEvents.tags[{index}].name");
            let name = quoted(&tag.name);
            if to_influxdb && user_line::is_taken(&tag.name, prefix) {
                self.warn(
                    &path,
                    format!(
                        "{name} is a field of every event or reserved by InfluxDB: this tag is not written to InfluxDB"
                    ),
                );
            }
            if to_new_relic && new_relic::is_taken(&tag.name) {
                self.warn(
                    &path,
                    format!("{name} is an attribute of every event: this tag is not sent to New Relic"),
                );
            }
        }
        if to_new_relic {
            let attributes = &self.config.butler_sos.new_relic.event.attribute.fixed;
            for (index, attribute) in
                attributes.iter().enumerate().filter(|(_, of)| new_relic::is_taken(&of.name))
            {
                let path = format!("Butler-SOS.newRelic.event.attribute.static[{index}].name");
                let name = quoted(&attribute.name);
                self.warn(&path, format!("{name} is an attribute of every event: this one is not sent"));
            }
        }
    }

    pub(super) fn user_events(&mut self) {
        let events = &self.config.butler_sos.user_events;
        if !events.enable {
            return;
        }
        let fallback = &self.config.pipeline.udp.fallback_encoding;
        if FallbackEncoding::of_label(fallback).is_none() {
            let detail = format!(
                "{} is no encoding that datagrams can have, such as windows-1252, windows-1250, windows-1251, \
                 windows-932 or none",
                quoted(fallback)
            );
            self.refuse("Pipeline.udp.fallbackEncoding", detail);
        }
        let udp = &events.udp_server;
        self.host("Butler-SOS.userEvents.udpServerConfig.serverHost", &udp.server_host);
        let path = "Butler-SOS.userEvents.udpServerConfig.allowedSources";
        if udp.enable_source_validation {
            if udp.allowed_sources.is_empty() {
                self.refuse(
                    path,
                    "enableSourceValidation is true and nobody is allowed: name the servers that may send, or \
                     switch it off",
                );
            }
            for (index, source) in udp.allowed_sources.iter().enumerate() {
                if !is_source(source) {
                    let detail = format!("{} is not a host name, address or network", quoted(source));
                    self.refuse(&format!("{path}[{index}]"), detail);
                }
            }
        } else if !udp.allowed_sources.is_empty() {
            self.warn(path, "has no effect while enableSourceValidation is false");
        }
        if udp.queue_metrics.influxdb.enable {
            let path = "Butler-SOS.userEvents.udpServerConfig.queueMetrics.influxdb.measurementName";
            self.measurement(path, &udp.queue_metrics.influxdb.measurement_name);
        }
        if self.config.user_events_to_mqtt() {
            let post = &events.send_to_mqtt.post_to;
            for (name, enable, topic) in [
                ("everythingTopic", post.everything.enable, &post.everything.topic),
                ("sessionStartTopic", post.session_start.enable, &post.session_start.topic),
                ("sessionStopTopic", post.session_stop.enable, &post.session_stop.topic),
                ("connectionOpenTopic", post.connection_open.enable, &post.connection_open.topic),
                ("connectionCloseTopic", post.connection_close.enable, &post.connection_close.topic),
            ] {
                if enable {
                    self.topic(&format!("Butler-SOS.userEvents.sendToMQTT.postTo.{name}.topic"), topic);
                }
            }
        }
        self.user_event_tags();
        let switches = [
            (
                "sendToInfluxdb",
                events.send_to_influxdb.enable,
                "influxdbConfig",
                self.config.butler_sos.influxdb.enable,
            ),
            ("sendToMQTT", events.send_to_mqtt.enable, "mqttConfig", self.config.butler_sos.mqtt.enable),
            (
                "sendToNewRelic",
                events.send_to_new_relic.enable,
                "newRelic",
                self.config.butler_sos.new_relic.enable,
            ),
        ];
        for (name, wanted, server, is_there) in switches {
            if wanted && !is_there {
                let path = format!("Butler-SOS.userEvents.{name}.enable");
                self.warn(&path, format!("has no effect while {server}.enable is false"));
            }
        }
        if switches.iter().all(|(_, wanted, _, is_there)| !(*wanted && *is_there))
            && !self.config.pipeline.csv.user_events.enable
        {
            self.warn(
                "Butler-SOS.userEvents.enable",
                "user events are received but no destination is enabled",
            );
        }
    }

    pub(super) fn audit_api(&mut self) {
        let audit = &self.config.butler_sos.audit_events;
        if !audit.enable {
            return;
        }
        self.host("Butler-SOS.auditEvents.host", &audit.host);
        if audit.tls.enable {
            for (name, file) in [("cert", &audit.tls.cert), ("key", &audit.tls.key)] {
                let path = format!("Butler-SOS.auditEvents.tls.{name}");
                self.needed(&path, file.as_deref().unwrap_or_default(), "tls.enable is true");
            }
        }
        for (index, origin) in audit.cors.allowed_origins.iter().enumerate() {
            let authority = origin.split_once("://").map(|(_, rest)| rest);
            if origin != "*" && authority.is_none_or(|rest| rest.is_empty() || rest.contains('/')) {
                self.warn(
                    &format!("Butler-SOS.auditEvents.cors.allowedOrigins[{index}]"),
                    "matches no browser: an origin consists of scheme, host and port only, such as https://qlik.example.com",
                );
            }
        }
        if audit.queue.queue_metrics.influxdb.enable {
            let path = "Butler-SOS.auditEvents.queue.queueMetrics.influxdb.measurementName";
            self.measurement(path, &audit.queue.queue_metrics.influxdb.measurement_name);
        }
        let loopback = matches!(audit.host.as_str(), "localhost" | "127.0.0.1" | "::1" | "[::1]");
        if audit.api_token.is_empty() && !loopback {
            self.warn(
                "Butler-SOS.auditEvents.apiToken",
                "is empty: every client that reaches the port can post events",
            );
        }
        for (index, proxy) in self.config.pipeline.audit.trusted_proxies.iter().enumerate() {
            if network(proxy).is_none() {
                self.refuse(
                    &format!("Pipeline.audit.trustedProxies[{index}]"),
                    format!("{} is not an address or network such as 10.1.0.0/16", quoted(proxy)),
                );
            }
        }
    }
}
