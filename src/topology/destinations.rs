//! Which destinations there are: one sink, one consumer, one arbiter each.
//!
//! The consumer's name is the actor's name, the destination's metric label and the name of its place in the journal;
//! a destination of audit events has the prefix `audit_` where user events have one of the same kind.

use std::path::PathBuf;
use std::time::Duration;

use actix_rt::ArbiterHandle;
use butler_sos_actors::kit::mailbox::Mailbox;
use butler_sos_actors::kit::message::{Consumer, FetchLimits, Redeliver, Stream};
use butler_sos_actors::kit::metric::ActorMeter;
use butler_sos_actors::kit::supervisor::Supervision;
use butler_sos_actors::sinks::files::csv_sink::CsvFile;
use butler_sos_actors::sinks::files::json_sink::{JsonConfig, JsonFiles};
use butler_sos_actors::sinks::files::parquet_sink::{ParquetConfig, ParquetFiles};
use butler_sos_actors::sinks::files::qvd_sink::{QvdConfig, QvdFiles};
use butler_sos_actors::sinks::influx::client::{InfluxConfig, InfluxTarget};
use butler_sos_actors::sinks::influx::influx_sink::{AuditEventLines, Influx, UserEventLines};
use butler_sos_actors::sinks::mqtt::mqtt_sink::Mqtt;
use butler_sos_actors::sinks::new_relic::client::EVENTS_MAX;
use butler_sos_actors::sinks::new_relic::new_relic_sink::{self, NewRelic};
use butler_sos_actors::sinks::sink::{Destination, ParkingConfig, Sink, SinkConfig};
use butler_sos_domain::encode::audit_line::AuditPoint;
use butler_sos_domain::encode::line_protocol::Version;
use butler_sos_domain::encode::user_line::UserPoint;
use slog::Logger;

use super::settings::{self, bound, pairs, size};
use crate::config::Config;
use crate::config::butler::audit_events::DestinationKind;
use crate::config::pipeline::actors::Actors;

/// A sink that is to be started.
pub struct Planned {
    pub consumer: Consumer,
    pub fetch_limits: FetchLimits,
    /// Why events must not be replayed to it.
    pub replay_refused: Option<&'static str>,
    start: Start,
}

type Start = Box<dyn FnOnce(&Supervision, &ArbiterHandle, ActorMeter, SinkConfig, u32) -> Mailbox<Redeliver>>;

impl Planned {
    fn new<D: Destination>(
        stream: Stream,
        name: &'static str,
        fetch_limits: FetchLimits,
        make: impl Fn() -> D + Send + Sync + 'static,
    ) -> Self {
        Self::with_sink(stream, name, fetch_limits, move |config| Sink::new(config, make))
    }

    /// A destination with limits of its own: events that these keep out are parked.
    fn with_parking<D: Destination>(
        stream: Stream,
        name: &'static str,
        fetch_limits: FetchLimits,
        parking: ParkingConfig,
        make: impl Fn() -> D + Send + Sync + 'static,
    ) -> Self {
        Self::with_sink(stream, name, fetch_limits, move |config| {
            Sink::new(config, make).with_parking(parking)
        })
    }

    fn with_sink<D: Destination>(
        stream: Stream,
        name: &'static str,
        fetch_limits: FetchLimits,
        sink: impl FnOnce(SinkConfig) -> Sink<D> + Send + 'static,
    ) -> Self {
        let start: Start = Box::new(move |supervision, arbiter, meter, config, mailbox_max| {
            let sink = supervision.start(arbiter, meter, move || sink(config));
            Mailbox::new(sink, mailbox_max)
        });
        Self { consumer: Consumer { stream, name }, fetch_limits, replay_refused: D::REPLAY_REFUSED, start }
    }

    /// Starts it; answers where orders to deliver once more lead. As many of them as `mailbox_max` may wait.
    pub fn start(
        self,
        supervision: &Supervision,
        arbiter: &ArbiterHandle,
        config: SinkConfig,
        mailbox_max: u32,
    ) -> Mailbox<Redeliver> {
        (self.start)(supervision, arbiter, config.actor.clone(), config, mailbox_max)
    }
}

/// The bound of a sink's mailbox. Sinks of one kind share a setting, whichever events they take and to whichever account.
pub fn mailbox_max(actors: &Actors, consumer: &Consumer) -> u32 {
    let mailbox = match consumer.name.trim_start_matches("audit_") {
        "influx_sink" => actors.influx_sink.mailbox,
        "mqtt_sink" => actors.mqtt_sink.mailbox,
        "csv_sink" => actors.csv_sink.mailbox,
        "json_sink" => actors.json_sink.mailbox,
        "parquet_sink" => actors.parquet_sink.mailbox,
        "qvd_sink" => actors.qvd_sink.mailbox,
        account => {
            debug_assert!(account.starts_with("new_relic_sink"), "{account} has a setting of its own");
            actors.new_relic_sink.mailbox
        }
    };
    bound(mailbox)
}

/// Most bytes of records in one batch of a destination that has no limit of its own.
const BATCH_BYTES_MAX: usize = 4 << 20;
/// Of a destination that writes files as large as its batch.
const FILE_BYTES_MAX: usize = 32 << 20;
const BATCH_RECORDS_MAX: usize = 1_000;

/// Everything that the configuration sends events to.
pub fn planned(config: &Config, log: &Logger) -> Vec<Planned> {
    let mut planned = Vec::new();
    if config.butler_sos.user_events.enable {
        planned.extend(user_destinations(config, log));
    }
    if config.butler_sos.audit_events.enable {
        planned.extend(audit_destinations(config, log));
    }
    planned
}

fn user_destinations(config: &Config, log: &Logger) -> Vec<Planned> {
    let modes = settings::modes(config);
    let stream = Stream::UserEvents;
    let events = &config.butler_sos.user_events;
    let mut planned = Vec::new();
    if config.user_events_to_influxdb() {
        let influx = settings::influx(config);
        let prefix = &config.pipeline.influxdb.user_agent_tag_prefix;
        let tags = pairs(&events.tags);
        let (version, prefix, log) = (version_of(&influx), prefix.clone(), log.clone());
        let fetch_limits = FetchLimits {
            records_max: size(config.butler_sos.influxdb.max_batch_size),
            bytes_max: BATCH_BYTES_MAX,
            linger: Duration::from_millis(config.pipeline.influxdb.batch_linger_ms),
        };
        let parking = settings::parking(config, "influx_sink");
        planned.push(Planned::with_parking(stream, "influx_sink", fetch_limits, parking, move || {
            let lines = UserEventLines(UserPoint::new(version, &prefix, &tags));
            Influx::new(influx.clone(), lines, log.clone())
        }));
    }
    if config.user_events_to_mqtt() {
        let (mqtt, topics) = (settings::mqtt(config), settings::user_topics(config));
        let tags = pairs(&events.tags);
        planned.push(Planned::new(stream, "mqtt_sink", at_once(), move || {
            Mqtt::user_events(mqtt.clone(), topics.clone(), &tags)
        }));
    }
    if config.user_events_to_new_relic() {
        let attributes = settings::new_relic_attributes(config);
        for (consumer, account) in new_relic_sink::consumers(settings::new_relic_accounts(config)) {
            let new_relic = settings::new_relic(config, account);
            let (attributes, log) = (attributes.clone(), log.clone());
            let fetch_limits = FetchLimits { records_max: EVENTS_MAX, ..at_once() };
            planned.push(Planned::new(consumer.stream, consumer.name, fetch_limits, move || {
                NewRelic::new(new_relic.clone(), attributes.clone(), log.clone())
            }));
        }
    }
    if config.pipeline.csv.user_events.enable {
        let csv = settings::user_csv(config);
        planned.push(Planned::new(stream, "csv_sink", rows(), move || {
            CsvFile::user_events(csv.clone()).created_with(modes)
        }));
    }
    planned
}

fn audit_destinations(config: &Config, log: &Logger) -> Vec<Planned> {
    let modes = settings::modes(config);
    let stream = Stream::AuditEvents;
    let to = &config.butler_sos.audit_events.destination;
    let mut planned = Vec::new();
    if config.audit_to(DestinationKind::Influxdb) {
        let section = &to.influxdb.metadata;
        let influx = settings::audit_influx(config);
        let tags = pairs(&section.static_tags);
        let (version, measurement) = (version_of(&influx), section.measurement_name.clone());
        let schema_version = section.audit_event_schema_version.clone();
        let log = log.clone();
        let fetch_limits = FetchLimits {
            records_max: size(section.max_batch_size),
            bytes_max: BATCH_BYTES_MAX,
            linger: Duration::from_millis(section.write_frequency),
        };
        let (parking, ids) =
            (settings::parking(config, "audit_influx_sink"), settings::ids_as_fields(config));
        planned.push(Planned::with_parking(stream, "audit_influx_sink", fetch_limits, parking, move || {
            let point = AuditPoint::new(version, &measurement, &tags).with_schema_version(&schema_version);
            let lines = AuditEventLines(point);
            Influx::new(influx.clone(), lines, log.clone()).with_ids(ids)
        }));
    }
    if let Some(topic) = &config.pipeline.mqtt.audit_events.topic
        && config.audit_events_to_mqtt()
    {
        let (mqtt, topic) = (settings::mqtt(config), topic.clone());
        planned.push(Planned::new(stream, "audit_mqtt_sink", at_once(), move || {
            Mqtt::audit_events(mqtt.clone(), topic.clone())
        }));
    }
    if config.audit_to(DestinationKind::Json) {
        let section = &to.json.objectdata;
        let json = JsonConfig {
            directory: PathBuf::from(&section.export_directory),
            static_tags: pairs(&section.static_tags),
        };
        planned.push(Planned::new(stream, "json_sink", at_once(), move || {
            JsonFiles::new(json.clone()).created_with(modes)
        }));
    }
    if config.audit_to(DestinationKind::Parquet) {
        let section = &to.parquet.metadata;
        let parquet = ParquetConfig {
            directory: PathBuf::from(&section.export_directory),
            static_tags: pairs(&section.static_tags),
        };
        let fetch_limits = a_file(section.max_batch_size, section.write_frequency);
        planned.push(Planned::new(stream, "parquet_sink", fetch_limits, move || {
            ParquetFiles::new(parquet.clone()).created_with(modes)
        }));
    }
    if config.audit_to(DestinationKind::Qvd) {
        let section = &to.qvd.metadata;
        let qvd = QvdConfig {
            directory: PathBuf::from(&section.export_directory),
            static_tags: pairs(&section.static_tags),
        };
        let fetch_limits = a_file(section.max_batch_size, section.write_frequency);
        planned.push(Planned::new(stream, "qvd_sink", fetch_limits, move || {
            QvdFiles::new(qvd.clone()).created_with(modes)
        }));
    }
    if config.pipeline.csv.audit_events.enable {
        let csv = settings::audit_csv(config);
        planned.push(Planned::new(stream, "audit_csv_sink", rows(), move || {
            CsvFile::audit_events(csv.clone(), &[]).created_with(modes)
        }));
    }
    planned
}

/// What is there is taken; while it is delivered, the next batch gathers.
fn at_once() -> FetchLimits {
    FetchLimits { records_max: BATCH_RECORDS_MAX, bytes_max: BATCH_BYTES_MAX, linger: Duration::ZERO }
}

/// The same for rows of a file, where each batch costs syncs whatever its size.
fn rows() -> FetchLimits {
    FetchLimits { records_max: 10_000, ..at_once() }
}

/// As much as belongs into one file.
fn a_file(records_max: u32, write_frequency_ms: u64) -> FetchLimits {
    FetchLimits {
        records_max: size(records_max),
        bytes_max: FILE_BYTES_MAX,
        linger: Duration::from_millis(write_frequency_ms),
    }
}

fn version_of(influx: &InfluxConfig) -> Version {
    match influx.target {
        InfluxTarget::V1 { .. } => Version::V1,
        InfluxTarget::V2 { .. } => Version::V2,
        InfluxTarget::V3 { .. } => Version::V3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_sink_has_a_bound_of_its_own() {
        let mut actors = Actors::default();
        for (bound, sink) in [
            &mut actors.influx_sink,
            &mut actors.mqtt_sink,
            &mut actors.csv_sink,
            &mut actors.json_sink,
            &mut actors.parquet_sink,
            &mut actors.qvd_sink,
            &mut actors.new_relic_sink,
        ]
        .into_iter()
        .enumerate()
        {
            sink.mailbox = bound;
        }
        let check = |names: &[&'static str], expect: u32| {
            for name in names {
                let consumer = Consumer { stream: Stream::AuditEvents, name };
                assert_eq!(mailbox_max(&actors, &consumer), expect, "{name}");
            }
        };
        check(&["influx_sink", "audit_influx_sink"], 0);
        check(&["mqtt_sink", "audit_mqtt_sink"], 1);
        check(&["csv_sink", "audit_csv_sink"], 2);
        check(&["json_sink"], 3);
        check(&["parquet_sink"], 4);
        check(&["qvd_sink"], 5);
        check(&["new_relic_sink", "new_relic_sink_18"], 6);
    }
}
