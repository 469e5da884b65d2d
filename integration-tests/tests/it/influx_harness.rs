//! An InfluxDB destination behind a journal.

use std::time::Duration;

use actix::Actor;
use butler_sos_actors::journal::batch::Record;
use butler_sos_actors::kit::message::Consumer;
use butler_sos_actors::net::tls::reread::Reread;
use butler_sos_actors::sinks::influx::client::{
    BODY_BYTES_MAX, GZIP_BYTES_MIN, InfluxConfig, InfluxTarget, RetentionPolicy, Scheme, WRITE_TIMEOUT_MAX,
};
use butler_sos_actors::sinks::influx::influx_sink::{Influx, InfluxSink};
use butler_sos_actors::sinks::records::LineEncoder;
use butler_sos_domain::streams::Stream;

use crate::sink_harness::Harness;

/// A journal and a running sink. Call it inside of a system.
pub fn start<E>(
    config: InfluxConfig,
    stream: Stream,
    encoder: impl Fn() -> E + Send + Sync + 'static,
) -> Harness
where
    E: LineEncoder + 'static,
{
    let consumer = Consumer { stream, name: "influx_sink" };
    let harness = Harness::new(vec![consumer]);
    let sink = harness.sink(consumer, 1_000, Duration::from_millis(5));
    let log = harness.log.clone();
    InfluxSink::new(sink, move || Influx::new(config.clone(), encoder(), log.clone())).start();
    harness
}

/// A record is its own line.
pub struct Plain;

impl LineEncoder for Plain {
    fn encode(&mut self, record: &Record<'_>, out: &mut Vec<u8>) -> Result<(), String> {
        out.extend_from_slice(record.data);
        out.push(b'\n');
        Ok(())
    }
}

pub fn config(port: u16, target: InfluxTarget) -> InfluxConfig {
    InfluxConfig {
        scheme: Scheme::Http,
        host: "127.0.0.1".to_owned(),
        port,
        // Only the one fault that hangs waits for it.
        write_timeout_max: WRITE_TIMEOUT_MAX,
        write_timeout: Duration::from_secs(3),
        body_bytes_max: BODY_BYTES_MAX,
        gzip_bytes_min: GZIP_BYTES_MIN,
        create_database: true,
        target,
        reread: Reread::default(),
    }
}

pub fn v1(auth: Option<(&str, &str)>) -> InfluxTarget {
    InfluxTarget::V1 {
        database: "senseops".to_owned(),
        policy: RetentionPolicy { name: "ten days".to_owned(), duration: "10d".to_owned() },
        auth: auth.map(|(name, password)| (name.to_owned(), password.into())),
    }
}

pub fn v2() -> InfluxTarget {
    InfluxTarget::V2 {
        org: "an org".to_owned(),
        bucket: "events".to_owned(),
        description: "what happened".to_owned(),
        token: "t0ken".into(),
        retention: "10d".to_owned(),
    }
}

pub fn v3() -> InfluxTarget {
    InfluxTarget::V3 { database: "events".to_owned(), token: "t0ken".into(), retention: "10d".to_owned() }
}
