//! InfluxDB, MQTT, New Relic, files, screenshots.

use butler_sos_actors::sinks::mqtt::mqtt_sink::topic_mistake;
use butler_sos_domain::{allowed_hosts::AllowedHosts, encode::audit_line, ticket_users::is_entry};

use super::{
    Check,
    text::{AddressMistake, http_url, is_influx_duration},
};
use crate::config::{
    butler::{
        audit_events::{AuditInfluxdbMetadata, DestinationKind},
        influxdb::{V1Config, V2Config, V3Config},
        screenshots::AuthMode,
    },
    masked::{masked, quoted},
    pipeline::screenshots::AllowHttp,
};

const DESTINATION: &str = "Butler-SOS.auditEvents.destination";

impl Check<'_> {
    pub(super) fn audit_destinations(&mut self) {
        let audit = &self.config.butler_sos.audit_events;
        if !audit.enable {
            return;
        }
        let destination = &audit.destination;
        if destination.enable {
            for name in destination.kinds.split(',').map(str::trim).filter(|name| !name.is_empty()) {
                if DestinationKind::parse(name).is_none() {
                    let known = DestinationKind::ALL.map(DestinationKind::name);
                    let distance = |known: &&str| strsim::damerau_levenshtein(known, &name.to_lowercase());
                    let nearest = known.into_iter().min_by_key(distance).unwrap_or_default();
                    let detail = format!(
                        "{} is not a destination; the destinations are {}, the nearest is `{nearest}`",
                        quoted(name),
                        known.join(", ")
                    );
                    self.refuse(&format!("{DESTINATION}.type"), detail);
                }
            }
        }
        let config = self.config;
        let has = |kind| config.audit_to(kind);
        let to_csv_or_mqtt =
            self.config.pipeline.csv.audit_events.enable || self.config.audit_events_to_mqtt();
        if !DestinationKind::ALL.into_iter().any(has) && !to_csv_or_mqtt {
            self.warn(
                &format!("{DESTINATION}.enable"),
                "audit events are accepted but no destination is enabled",
            );
        }
        if has(DestinationKind::Influxdb) {
            self.audit_influxdb(&destination.influxdb.metadata);
        }
        let written = DestinationKind::ALL.into_iter().filter(|kind| has(*kind));
        for (setting, directory) in written.filter_map(|kind| destination.directory(kind)) {
            self.directory(&format!("{DESTINATION}.{setting}"), directory);
        }
        if destination.has(DestinationKind::Json) && !self.config.audit_to(DestinationKind::Json) {
            let path = format!("{DESTINATION}.json.objectdata.enable");
            self.warn(&path, "nothing is written although destination.type names json");
        }
    }

    fn audit_influxdb(&mut self, metadata: &AuditInfluxdbMetadata) {
        let path = format!("{DESTINATION}.influxdb.metadata");
        self.measurement(&format!("{path}.measurementName"), &metadata.measurement_name);
        for (index, tag) in metadata.static_tags.iter().enumerate() {
            if audit_line::is_taken(&tag.name) {
                let detail = match tag.name.as_str() {
                    "" => "a tag needs a name".to_owned(),
                    name => format!("{} is the name of a tag or field of every event", quoted(name)),
                };
                self.refuse(&format!("{path}.staticTags[{index}].name"), detail);
            }
        }
        self.influxdb_server(
            &path,
            &metadata.host,
            metadata.version,
            &metadata.v1,
            &metadata.v2,
            &metadata.v3,
        );
    }

    pub(super) fn screenshots(&mut self) {
        let audit = &self.config.butler_sos.audit_events;
        let shots = &audit.destination.screenshots;
        if !audit.enable || !shots.enable {
            return;
        }
        let path = format!("{DESTINATION}.screenshots");
        let hosts = format!("{path}.allowedImageDownloadHosts");
        if let Err(mistakes) = AllowedHosts::new(&shots.allowed_image_download_hosts) {
            for (index, mistake) in mistakes {
                let mistake = mistake.map(|entry| masked(&entry).into_owned());
                self.refuse(&format!("{hosts}[{index}]"), mistake.to_string());
            }
        }
        if shots.allowed_image_download_hosts.is_empty() {
            self.warn(&hosts, "is empty: no screenshots are downloaded");
        }
        for (index, target) in shots.storage_targets.iter().enumerate().filter(|(_, target)| target.enable) {
            self.directory(&format!("{path}.storageTargets[{index}].directory"), &target.directory);
        }
        if !shots.storage_targets.iter().any(|target| target.enable) {
            self.warn(&format!("{path}.storageTargets"), "none is enabled: no screenshots are stored");
        }
        let limits = &self.config.pipeline.screenshots;
        if limits.allow_http == AllowHttp::True {
            self.warn(
                "Pipeline.screenshots.allowHttp",
                "is true: tickets and session cookies are sent in clear text",
            );
        }
        for (list, entries) in [("allow", &limits.ticket_users.allow), ("deny", &limits.ticket_users.deny)] {
            for (index, entry) in entries.iter().enumerate().filter(|(_, entry)| !is_entry(entry)) {
                let detail = format!("{} is neither a directory nor a user (DIRECTORY\\ID)", quoted(entry));
                self.refuse(&format!("Pipeline.screenshots.ticketUsers.{list}[{index}]"), detail);
            }
        }
        if shots.auth.mode == AuthMode::None {
            return;
        }
        let qps = &shots.auth.qps;
        self.host(&format!("{path}.auth.qps.host"), qps.host.as_deref().unwrap_or_default());
        if shots.auth.mode == AuthMode::QpsTicket {
            for (name, value) in [("userDirectory", &qps.user_directory), ("userId", &qps.user_id)] {
                let path = format!("{path}.auth.qps.{name}");
                let value = value.as_deref().unwrap_or_default();
                self.needed(&path, value, "auth.mode is qpsTicket");
                if value.contains('\\') {
                    self.refuse(&path, "QPS does not accept a backslash here");
                }
            }
            let prefix = qps.virtual_proxy.as_deref().unwrap_or_default().trim_matches('/');
            let segment = |part: &str| {
                !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || "._~-".contains(c))
            };
            if !prefix.is_empty() && !prefix.split('/').all(segment) {
                self.refuse(&format!("{path}.auth.qps.virtualProxy"), "is not a prefix of a virtual proxy");
            }
        }
        let name = qps.session_cookie_name.as_deref().unwrap_or("X-Qlik-Session");
        if !name.chars().all(|c| c.is_ascii_graphic() && !"()<>@,;:\\\"/[]?={}".contains(c)) {
            self.refuse(&format!("{path}.auth.qps.sessionCookieName"), "is not a cookie name");
        }
    }

    pub(super) fn influxdb(&mut self) {
        let butler = &self.config.butler_sos;
        let influxdb = &butler.influxdb;
        let counts = &butler.qlik_sense_events;
        if !influxdb.enable {
            for (path, wanted) in [
                ("Butler-SOS.qlikSenseEvents.influxdb.enable", counts.influxdb.enable),
                (
                    "Butler-SOS.userEvents.udpServerConfig.queueMetrics.influxdb.enable",
                    butler.user_events.enable && butler.user_events.udp_server.queue_metrics.influxdb.enable,
                ),
                (
                    "Butler-SOS.auditEvents.queue.queueMetrics.influxdb.enable",
                    butler.audit_events.enable && butler.audit_events.queue.queue_metrics.influxdb.enable,
                ),
            ] {
                if wanted {
                    self.warn(path, "has no effect while influxdbConfig.enable is false");
                }
            }
            return;
        }
        self.server_named("Butler-SOS.influxdbConfig", "host");
        self.influxdb_server(
            "Butler-SOS.influxdbConfig",
            &influxdb.host,
            influxdb.version,
            &influxdb.v1,
            &influxdb.v2,
            &influxdb.v3,
        );
        if counts.influxdb.enable && counts.event_count.enable {
            let path = "Butler-SOS.qlikSenseEvents.eventCount.influxdb.measurementName";
            self.measurement(path, &counts.event_count.influxdb.measurement_name);
        }
        if counts.influxdb.enable && counts.rejected_event_count.enable {
            let path = "Butler-SOS.qlikSenseEvents.rejectedEventCount.influxdb.measurementName";
            self.measurement(path, &counts.rejected_event_count.influxdb.measurement_name);
        }
        if butler.error_tracking.enable && butler.error_tracking.influxdb.enable {
            let path = "Butler-SOS.errorTracking.influxdb.measurementName";
            self.measurement(path, &butler.error_tracking.influxdb.measurement_name);
        }
    }

    fn influxdb_server(
        &mut self,
        path: &str,
        host: &str,
        version: u8,
        v1: &V1Config,
        v2: &V2Config,
        v3: &V3Config,
    ) {
        self.host(&format!("{path}.host"), host);
        let because = format!("version is {version}");
        let (keeps_path, keeps) = match version {
            1 => {
                self.needed(&format!("{path}.v1Config.dbName"), &v1.db_name, &because);
                self.needed(
                    &format!("{path}.v1Config.retentionPolicy.name"),
                    &v1.retention_policy.name,
                    &because,
                );
                if v1.auth.enable {
                    let username = v1.auth.username.as_deref().unwrap_or_default();
                    self.needed(&format!("{path}.v1Config.auth.username"), username, "auth.enable is true");
                }
                ("v1Config.retentionPolicy.duration", &v1.retention_policy.duration)
            }
            2 => {
                for (name, value) in [("org", &v2.org), ("bucket", &v2.bucket)] {
                    let path = format!("{path}.v2Config.{name}");
                    self.needed(&path, value.as_deref().unwrap_or_default(), &because);
                }
                self.needed(&format!("{path}.v2Config.token"), v2.token.expose(), &because);
                ("v2Config.retentionDuration", &v2.retention_duration)
            }
            _ => {
                let database = v3.database.as_deref().unwrap_or_default();
                self.needed(&format!("{path}.v3Config.database"), database, &because);
                ("v3Config.retentionDuration", &v3.retention_duration)
            }
        };
        if !is_influx_duration(keeps) {
            let detail = format!("{} is not a duration such as 10d or 12h", quoted(keeps));
            self.refuse(&format!("{path}.{keeps_path}"), detail);
        }
    }

    pub(super) fn mqtt(&mut self) {
        let mqtt = &self.config.butler_sos.mqtt;
        let audit_topic = self.config.pipeline.mqtt.audit_events.topic.as_deref();
        if !mqtt.enable {
            if audit_topic.is_some() {
                self.warn(
                    "Pipeline.mqtt.auditEvents.topic",
                    "has no effect while mqttConfig.enable is false",
                );
            }
            return;
        }
        self.server_named("Butler-SOS.mqttConfig", "brokerHost");
        self.host("Butler-SOS.mqttConfig.brokerHost", &mqtt.broker_host);
        if mqtt.username.is_none() && !mqtt.password.is_empty() {
            self.refuse("Butler-SOS.mqttConfig.username", "needed because a password is given");
        }
        if mqtt.tls.enable && mqtt.tls.cert.is_some() != mqtt.tls.key.is_some() {
            self.refuse("Butler-SOS.mqttConfig.tls", "cert and key must be set together");
        }
        if mqtt.client_id.len() > 65_535 || mqtt.client_id.chars().any(char::is_control) {
            self.refuse("Butler-SOS.mqttConfig.clientId", "is not a client id");
        }
        if mqtt.qos == 0 {
            self.warn(
                "Butler-SOS.mqttConfig.qos",
                "with qos 0 the broker acknowledges nothing: messages can be lost",
            );
        }
        if let Some(topic) = audit_topic.filter(|_| self.config.audit_events_to_mqtt()) {
            self.topic("Pipeline.mqtt.auditEvents.topic", topic);
        }
    }

    /// A topic that is published to.
    pub(super) fn topic(&mut self, path: &str, topic: &str) {
        if let Some(mistake) = topic_mistake(topic) {
            self.refuse(path, format!("{} {mistake}: no topic to publish to", quoted(topic)));
        }
    }

    pub(super) fn new_relic(&mut self) {
        let butler = &self.config.butler_sos;
        if !butler.new_relic.enable {
            return;
        }
        let url = &butler.new_relic.event.url;
        let problem = match http_url(url, false) {
            Ok(()) => None,
            Err(AddressMistake::NoAddress) => Some("is not an http or https address"),
            Err(AddressMistake::UserInformation) => {
                Some("contains user information: put the credentials of a proxy into `newRelic.event.header`")
            }
        };
        if let Some(problem) = problem {
            self.refuse("Butler-SOS.newRelic.event.url", format!("{} {problem}", quoted(url)));
        }
        let accounts = &butler.third_party_tools_credentials.new_relic;
        for (index, account) in accounts.iter().enumerate() {
            let path = format!("Butler-SOS.thirdPartyToolsCredentials.newRelic[{index}]");
            let because = "newRelic.enable is true";
            self.needed(&format!("{path}.insertApiKey"), account.insert_api_key.expose(), because);
            self.needed(&format!("{path}.accountId"), &account.account_id, because);
        }
        if self.config.user_events_to_new_relic() {
            let chosen = &butler.user_events.send_to_new_relic.destination_account;
            for (index, name) in chosen.iter().enumerate() {
                if !accounts.iter().any(|account| account.account_name == *name) {
                    let detail =
                        format!("{} is not an account of thirdPartyToolsCredentials.newRelic", quoted(name));
                    let path = format!("Butler-SOS.userEvents.sendToNewRelic.destinationAccount[{index}]");
                    self.refuse(&path, detail);
                }
            }
            if chosen.is_empty() {
                self.warn(
                    "Butler-SOS.userEvents.sendToNewRelic.destinationAccount",
                    "is empty: nothing is sent to New Relic",
                );
            }
        }
    }
}
