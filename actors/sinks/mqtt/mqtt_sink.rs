//! Publishes events at an MQTT broker. Contract: user-events.md and destinations.md, "MQTT".
//!
//! Receives: nothing; it pulls user events or audit events from the journal.
//! Sends: messages to the broker, up to `in_flight_max` before the first must be acknowledged.
//! Keeps: one connection.
//! When full: a broker that does not acknowledge holds the batch; the journal keeps the rest.
//! When it fails: what was acknowledged in order is committed, the connection is dropped, the next
//! delivery opens another. At least once: what was sent and not acknowledged is sent again.

use std::cell::Cell;
use std::collections::VecDeque;

use paho_mqtt::DeliveryToken;

use crate::journal::batch::{Batch, Record};
use crate::kit::delivery_error::DeliveryError;
use crate::kit::guard::guard;
use crate::kit::platform::process::host_name;
use crate::sinks::mqtt::client::{Client, NotTaken};
pub use crate::sinks::mqtt::client::{MqttConfig, MqttTls, MqttVersion};
use crate::sinks::records::MessageEncoder;
use crate::sinks::sink::{Delivered, Destination, Progress, Refused, Sink};

pub type MqttSink = Sink<Mqtt>;

/// The broker, as a destination of one stream.
pub struct Mqtt {
    config: MqttConfig,
    client_id: String,
    encoder: Box<dyn MessageEncoder>,
    client: Option<Client>,
    suspect: Option<Suspect>,
    caution: Caution,
}

/// How many messages may wait for their acknowledgement.
///
/// What waits when a connection ends may be memory that the library does not give back (see `mqtt_client`). So one that
/// ended is followed by one with a single message under way, and each acknowledgement lets one more come beside the
/// next: a broker that ends every connection costs next to nothing, and one that is back is at full speed soon.
#[derive(Debug)]
struct Caution(Cell<usize>);

impl Caution {
    fn window(&self, of_client: usize) -> usize {
        self.0.get().min(of_client)
    }

    fn acknowledged(&self, messages: usize) {
        self.0.set(self.0.get().saturating_add(messages));
    }

    fn connection_ended(&self) {
        self.0.set(1);
    }
}

/// A large event during which the connection ended.
struct Suspect {
    offset: u64,
    strikes: u32,
}

/// Below this size an event is never blamed for the end of a connection: every broker takes it.
const SUSPECT_BYTES_MIN: usize = 16 * 1024;

/// So many times must a large event, sent alone to a broker that has just answered, end the connection.
const STRIKES_MAX: u32 = 5;

impl Mqtt {
    /// The stream that `encoder` is for. See [`topic_mistake`] for topics.
    pub fn new(config: MqttConfig, encoder: impl MessageEncoder + 'static) -> Self {
        let client_id = client_id(config.client_id.as_deref(), encoder.stream().name());
        let caution = Caution(Cell::new(usize::MAX));
        Self { config, client_id, encoder: Box::new(encoder), client: None, suspect: None, caution }
    }

    /// The open connection, or a new one.
    async fn connected(&mut self) -> Result<Client, DeliveryError> {
        match self.client.take() {
            Some(client) if client.is_connected() => Ok(client),
            _ => Client::connect(&self.config, &self.client_id).await,
        }
    }

    /// Sends the batch through the window, or its first record `alone`; stops at the first trouble.
    async fn pipeline(&self, client: &Client, batch: &Batch, alone: bool) -> Pipelined {
        let room = || self.caution.window(client.window());
        let mut done = Pipelined::at(batch.from_offset());
        let mut flight: VecDeque<InFlight> = VecDeque::with_capacity(room().min(batch.len()));
        let mut messages = Vec::new();
        let mut waiting = 0;
        for record in batch.iter().take(if alone { 1 } else { usize::MAX }) {
            messages.clear();
            let mut event = InFlight { offset: record.offset, bytes: 0, tokens: Vec::new(), refused: None };
            match guard(|| self.encoder.encode(&record, &mut messages)) {
                Ok(Ok(())) => {}
                Ok(Err(reason)) | Err(reason) => event.refused = Some(reason),
            }
            let needed = messages.len().max(1);
            while waiting + needed > room()
                && let Some(oldest) = flight.pop_front()
            {
                waiting -= oldest.tokens.len();
                if !done.settle(self, client, batch, oldest).await {
                    flight.into_iter().for_each(|event| event.let_go(client));
                    return done;
                }
            }
            for (topic, payload) in &messages {
                event.bytes += payload.len() as u64;
                match client.publish(topic, payload) {
                    Ok(token) => event.tokens.push(token),
                    Err(NotTaken::Refused(reason)) => event.refused = Some(reason),
                    Err(stop) => {
                        done.stop = Some(stop);
                        break;
                    }
                }
            }
            if done.stop.is_some() {
                // This event is not in flight as a whole: it goes again.
                event.let_go(client);
                break;
            }
            waiting += event.tokens.len();
            flight.push_back(event);
        }
        let sent_all = done.stop.is_none();
        let stop = done.stop.take();
        while let Some(oldest) = flight.pop_front() {
            if !done.settle(self, client, batch, oldest).await {
                flight.into_iter().for_each(|event| event.let_go(client));
                return done;
            }
        }
        if sent_all && !alone {
            done.delivered.next_offset = batch.next_offset();
        }
        done.stop = stop;
        done
    }

    /// The connection ended while `offset` was the first one not acknowledged: is it to blame?
    fn suspicion(&mut self, client: &Client, record: Option<Record<'_>>, alone: bool) -> Option<Refused> {
        let record = record.filter(|record| record.data.len() >= SUSPECT_BYTES_MIN)?;
        let strikes = match &self.suspect {
            Some(suspect) if suspect.offset == record.offset && alone => suspect.strikes + 1,
            _ => 0,
        };
        self.suspect = Some(Suspect { offset: record.offset, strikes });
        if strikes >= STRIKES_MAX || alone && client.closed_for_size() {
            self.suspect = None;
            let reason = "the broker ends the connection each time this large event is sent".to_owned();
            return Some(Refused { offset: record.offset, reason, record: record.data.to_vec() });
        }
        None
    }
}

impl Destination for Mqtt {
    async fn deliver(&mut self, batch: &Batch, _: &Progress) -> Result<Delivered, DeliveryError> {
        let client = self.connected().await?;
        // A large event that may be poison is sent alone, after the broker has shown that it is well.
        let first = batch.iter().next();
        let alone = match (&self.suspect, first) {
            (Some(suspect), Some(first)) => suspect.offset == first.offset,
            _ => false,
        };
        if alone {
            client.round_trip(self.config.timeout).await?;
        }
        let mut done = self.pipeline(&client, batch, alone).await;
        if done.stop.is_some() {
            self.caution.connection_ended();
        }
        match done.stop.take() {
            None => {
                self.suspect = None;
                self.client = Some(client);
                Ok(done.delivered)
            }
            Some(NotTaken::Refused(reason)) => Err(DeliveryError::new("mqtt", reason)),
            Some(NotTaken::DeliveryError(trouble)) => done.or(trouble),
            Some(NotTaken::ConnectionLost(trouble)) => {
                let next = done.delivered.next_offset;
                let record = batch.iter().find(|record| record.offset >= next);
                if let Some(refused) = self.suspicion(&client, record, alone) {
                    done.delivered.next_offset = refused.offset + 1;
                    done.delivered.refused.push(refused);
                    return Ok(done.delivered);
                }
                done.or(trouble)
            }
        }
    }
}

/// An event whose messages are on their way.
struct InFlight {
    offset: u64,
    bytes: u64,
    tokens: Vec<DeliveryToken>,
    refused: Option<String>,
}

impl InFlight {
    /// It goes again over another connection.
    fn let_go(self, client: &Client) {
        self.tokens.into_iter().for_each(|token| client.let_go(token));
    }
}

/// How far a batch got.
struct Pipelined {
    from: u64,
    delivered: Delivered,
    stop: Option<NotTaken>,
}

impl Pipelined {
    fn at(from: u64) -> Self {
        Self { from, delivered: Delivered { next_offset: from, ..Delivered::default() }, stop: None }
    }

    /// Waits until every message of `event` is acknowledged; false when the pipeline must stop.
    async fn settle(&mut self, mqtt: &Mqtt, client: &Client, batch: &Batch, event: InFlight) -> bool {
        let mut refused = event.refused;
        let messages = event.tokens.len();
        let mut tokens = event.tokens.into_iter();
        while let Some(token) = tokens.next() {
            match client.acknowledged(token, mqtt.config.timeout).await {
                Ok(()) => {}
                Err(NotTaken::Refused(reason)) => refused = Some(reason),
                Err(stop) => {
                    self.stop = Some(stop);
                    tokens.for_each(|token| client.let_go(token));
                    return false;
                }
            }
        }
        mqtt.caution.acknowledged(messages);
        self.delivered.next_offset = event.offset + 1;
        match refused {
            None => {
                self.delivered.events += 1;
                self.delivered.bytes += event.bytes;
            }
            Some(reason) => {
                let record = batch.iter().find(|record| record.offset == event.offset);
                let record = record.map(|record| record.data.to_vec()).unwrap_or_default();
                self.delivered.refused.push(Refused { offset: event.offset, reason, record });
            }
        }
        true
    }

    /// What was acknowledged before the trouble, or the trouble when nothing was.
    fn or(self, trouble: DeliveryError) -> Result<Delivered, DeliveryError> {
        if self.delivered.next_offset > self.from { Ok(self.delivered) } else { Err(trouble) }
    }
}

/// What makes a configured topic unusable for publishing; `None` when it is fine.
pub fn topic_mistake(topic: &str) -> Option<&'static str> {
    if topic.is_empty() {
        return Some("is empty");
    }
    if topic.contains(['+', '#']) {
        return Some("holds a wildcard (+ or #)");
    }
    if topic.chars().any(|character| character.is_control() || character == '\u{feff}') {
        return Some("holds a control character");
    }
    (topic.len() > usize::from(u16::MAX)).then_some("is longer than 65535 bytes")
}

/// Whether the broker lets us in: connects once, as a client of its own, and leaves.
///
/// # Errors
/// When the broker does not answer or refuses us.
pub async fn reachable(config: &MqttConfig) -> Result<(), DeliveryError> {
    let client_id = client_id(config.client_id.as_deref(), "check");
    Client::connect(config, &client_id).await.map(drop)
}

/// Each connection needs an id of its own: a broker ends the older of two with the same.
fn client_id(configured: Option<&str>, role: &str) -> String {
    match configured.filter(|id| !id.is_empty()) {
        // The id as configured is for the connection that Butler SOS would make.
        Some(id) if role == "user-events" => id.to_owned(),
        Some(id) => format!("{id}-{role}"),
        None => {
            let host = host_name().unwrap_or_default();
            format!("butler-sos-{host}-{}-{role}", std::process::id())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_that_ended_is_followed_by_a_careful_one() {
        let caution = Caution(Cell::new(usize::MAX));
        assert_eq!(caution.window(1_000), 1_000, "at first nobody is careful");
        caution.acknowledged(3);
        assert_eq!(caution.window(1_000), 1_000);
        caution.connection_ended();
        let mut windows = Vec::new();
        for _ in 0..5 {
            windows.push(caution.window(10));
            // All of them are acknowledged.
            caution.acknowledged(caution.window(10));
        }
        assert_eq!(windows, [1, 2, 4, 8, 10]);
    }

    #[test]
    fn client_ids() {
        assert_eq!(client_id(Some("sos"), "user-events"), "sos");
        assert_eq!(client_id(Some("sos"), "audit-events"), "sos-audit-events");
        let own = client_id(Some(""), "user-events");
        assert!(own.starts_with("butler-sos-") && own.ends_with("-user-events"), "{own}");
        assert!(own.contains(&std::process::id().to_string()));
    }

    #[test]
    fn topics() {
        for topic in ["qliksense/userevent", "/a", "å"] {
            assert_eq!(topic_mistake(topic), None, "{topic}");
        }
        for topic in ["", "a/+", "#", "a\0", &"x".repeat(70_000)] {
            assert!(topic_mistake(topic).is_some(), "{topic}");
        }
    }
}
