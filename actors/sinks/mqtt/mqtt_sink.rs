//! Publishes events at an MQTT broker. Contract: user-events.md and destinations.md, "MQTT".
//!
//! Receives: nothing; it pulls user events or audit events from the journal.
//! Sends: messages to the broker, with up to `in_flight_max` unacknowledged.
//! Keeps: one connection.
//! When full: a broker that does not acknowledge blocks the batch; the journal keeps the events.
//! When it fails: events acknowledged in order are committed, the connection is dropped, and the next
//! delivery opens another. At least once: unacknowledged messages are sent again.

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

/// The destination of one stream at a broker.
pub struct Mqtt {
    config: MqttConfig,
    client_id: String,
    encoder: Box<dyn MessageEncoder>,
    client: Option<Client>,
    suspect: Option<Suspect>,
    caution: Caution,
}

/// The current maximum of unacknowledged messages.
///
/// Messages in flight when a connection ends may leak memory of the library (see
/// [`crate::sinks::mqtt::client`]). So after an ended connection the window starts at one message, and each
/// acknowledgement raises it by one. A broker that ends every connection costs next to nothing, and a
/// recovered one is soon at full speed.
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

/// A large event that was in flight when the connection ended.
struct Suspect {
    offset: u64,
    strikes: u32,
}

/// A smaller event never counts as the cause of an ended connection: every broker accepts it.
const SUSPECT_BYTES_MIN: usize = 16 * 1024;

/// A large event, sent alone to a broker that has just answered, is refused after it ended this many
/// connections.
const STRIKES_MAX: u32 = 5;

impl Mqtt {
    /// Creates the destination for the stream of `encoder`. See [`topic_mistake`] for topics.
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

    /// Sends the batch through the window, or only its first record with `alone`. Stops at the first error.
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
                // Some messages of this event were not sent, so the whole event is sent again.
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

    /// Decides whether `offset`, the first unacknowledged event when the connection ended, is the cause.
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
        // A large event that may be the cause is sent alone, after the broker has answered a round trip.
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

/// An event with messages in flight.
struct InFlight {
    offset: u64,
    bytes: u64,
    tokens: Vec<DeliveryToken>,
    refused: Option<String>,
}

impl InFlight {
    /// Stops waiting: the event is sent again over another connection.
    fn let_go(self, client: &Client) {
        self.tokens.into_iter().for_each(|token| client.let_go(token));
    }
}

/// The progress of a batch.
struct Pipelined {
    from: u64,
    delivered: Delivered,
    stop: Option<NotTaken>,
}

impl Pipelined {
    fn at(from: u64) -> Self {
        Self { from, delivered: Delivered { next_offset: from, ..Delivered::default() }, stop: None }
    }

    /// Waits until every message of `event` is acknowledged. Returns false when the pipeline must stop.
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

    /// The acknowledged part, or the error when there is none.
    fn or(self, trouble: DeliveryError) -> Result<Delivered, DeliveryError> {
        if self.delivered.next_offset > self.from { Ok(self.delivered) } else { Err(trouble) }
    }
}

/// Why a configured topic cannot be used for publishing; `None` when it can.
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

/// Tests the connection: connects once with a separate client id, and disconnects.
///
/// # Errors
/// When the broker does not answer or refuses the connection.
pub async fn reachable(config: &MqttConfig) -> Result<(), DeliveryError> {
    let client_id = client_id(config.client_id.as_deref(), "check");
    Client::connect(config, &client_id).await.map(drop)
}

/// Each connection needs its own id, because a broker closes the older of two connections with the same id.
fn client_id(configured: Option<&str>, role: &str) -> String {
    match configured.filter(|id| !id.is_empty()) {
        // The configured id belongs to the connection that Butler SOS would make.
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
    fn after_an_ended_connection_the_window_starts_at_one() {
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
