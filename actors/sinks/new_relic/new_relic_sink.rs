//! The destination New Relic, for user events: one sink and one journal consumer for each account.
//!
//! Receives: nothing; it pulls (see the loop of all destinations, [`crate::sinks::sink`]).
//! Sends: as every destination.
//! Keeps: one batch as JSON while it is in delivery, so that accepted events are not sent again.
//! When full: the journal keeps the events.
//! When it fails: pauses; after a panic the batch is sent again, and New Relic stores its events twice.
//!
//! Each account has its own position, so accounts do not wait for each other, and the outage of one repeats
//! nothing at another. A refused event affects no other event: it becomes a dead letter with New Relic's
//! message. Contract: user-events.md, "New Relic".

use std::time::Instant;

use butler_sos_domain::pace::Pace;
use slog::{Logger, warn};

use crate::journal::batch::{Batch, Record};
use crate::journal::message::Position;
use crate::kit::delivery_error::DeliveryError;
use crate::kit::message::Consumer;
use crate::sinks::delivery_job::{Job, JobLimits, RejectedItems, bisect};
use crate::sinks::new_relic::client::{
    BODY_BYTES_MAX, EVENTS_MAX, NewRelicAccount, NewRelicClient, NewRelicConfig, POST_TIMEOUT_MAX, Verdict,
};
use crate::sinks::records::ObjectEncoder;
use crate::sinks::sink::{Delivered, Destination, Progress, Sink};
use butler_sos_domain::streams::Stream;

/// The actor.
pub type NewRelicSink = Sink<NewRelic>;

/// The consumer of the first account. The consumers of further accounts append the account's id.
const NAME: &str = "new_relic_sink";

/// Requests do not shrink below this size: an endpoint that accepts less is not suited for batches.
const BODY_BYTES_MIN: usize = 64 * 1024;

/// The consumer of each account. An account that is listed twice counts once.
///
/// The first is `new_relic_sink`, the others `new_relic_sink_<account's id>`, so that an account keeps its
/// position in the journal when accounts after the first are added or removed. The names are leaked, so call
/// this once at the start of the process.
#[must_use]
pub fn consumers(accounts: Vec<NewRelicAccount>) -> Vec<(Consumer, NewRelicAccount)> {
    let mut named: Vec<(Consumer, NewRelicAccount)> = Vec::with_capacity(accounts.len());
    for account in accounts {
        if named.iter().any(|(_, other)| other.id == account.id) {
            continue;
        }
        let word = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
        let mut name = match named.len() {
            0 => NAME.to_owned(),
            _ => format!("{NAME}_{}", account.id.chars().map(word).collect::<String>()),
        };
        while named.iter().any(|(other, _)| other.name == name) {
            name.push('_');
        }
        named.push((Consumer { stream: Stream::UserEvents, name: name.leak() }, account));
    }
    named
}

/// The destination of one account.
pub struct NewRelic {
    config: NewRelicConfig,
    encoder: Box<dyn ObjectEncoder>,
    log: Logger,
    client: Option<NewRelicClient>,
    /// How often it had been asked to read files again when it was made.
    made_at: u64,
    /// Shrinks when New Relic, or a proxy, reports that a request is too large.
    body_bytes_max: usize,
    pace: Pace,
    job: Option<Job>,
}

impl NewRelic {
    #[must_use]
    pub fn new(config: NewRelicConfig, encoder: impl ObjectEncoder + 'static, log: Logger) -> Self {
        let pace = Pace::new(config.timeout, POST_TIMEOUT_MAX);
        let body_bytes_max = BODY_BYTES_MAX;
        let encoder = Box::new(encoder);
        Self { config, encoder, log, client: None, made_at: 0, body_bytes_max, pace, job: None }
    }

    fn client(&mut self) -> Result<&NewRelicClient, DeliveryError> {
        let asked = self.config.reread.asked();
        if self.client.is_none() || self.made_at != asked {
            self.made_at = asked;
            let client = NewRelicClient::new(self.config.clone());
            let client = client.map_err(|error| DeliveryError::new("config", error.to_string()))?;
            if !client.headers_left_out().is_empty() {
                warn!(self.log, "configured headers are not sent to New Relic because the server sets them";
                    "headers" => client.headers_left_out().join(", "));
            }
            self.client = Some(client);
        }
        self.client.as_ref().ok_or_else(|| DeliveryError::new("config", "no client"))
    }

    /// Sends the remaining groups of the job.
    async fn work_off(&mut self, job: &mut Job) -> Result<(), DeliveryError> {
        while let Some(group) = job.next_group() {
            if group.len() > self.pace.lines_max() {
                job.settle(&group, bisect(group.len()));
                continue;
            }
            let body = job.body_of(&group);
            let (timeout, started) = (self.pace.timeout(), Instant::now());
            let answer = match self.client() {
                Ok(client) => client.post(&body, timeout).await,
                Err(trouble) => Err(trouble),
            };
            match &answer {
                Ok(Verdict::DeliveryError(trouble)) | Err(trouble) if trouble.is_slow() => {
                    self.pace.timed_out(group.len());
                }
                Ok(Verdict::DeliveryError(_)) | Err(_) => {}
                Ok(_) => self.pace.answered(group.len(), started.elapsed()),
            }
            let rejected = match answer {
                Ok(Verdict::Taken) => RejectedItems::default(),
                Ok(Verdict::Refused(detail)) => alone_or_halved(&group, detail),
                Ok(Verdict::TooLarge(detail)) => {
                    self.body_bytes_max = (body.len() / 2).max(BODY_BYTES_MIN).min(self.body_bytes_max);
                    alone_or_halved(&group, detail)
                }
                Ok(Verdict::DeliveryError(trouble)) | Err(trouble) => {
                    job.give_back(group);
                    return Err(trouble);
                }
            };
            job.settle(&group, rejected);
        }
        Ok(())
    }
}

/// Refuses a single event; splits a larger group, because the answer does not name the event.
fn alone_or_halved(group: &[usize], detail: String) -> RejectedItems {
    match group.len() {
        0 | 1 => RejectedItems { bad: [(0, detail)].into(), again: Vec::new() },
        events => bisect(events),
    }
}

impl Destination for NewRelic {
    async fn resume(&mut self, _: &Position) -> Result<Option<Delivered>, DeliveryError> {
        self.job = None;
        self.client()?;
        Ok(None)
    }

    /// Sends the batch, or as much of it as fits in one request. After an error it continues where it
    /// stopped.
    async fn deliver(&mut self, batch: &Batch, _: &Progress) -> Result<Delivered, DeliveryError> {
        let job = self.job.take().filter(|job| job.is_of(batch));
        let mut job = job.unwrap_or_else(|| {
            let limits = JobLimits { bytes_max: self.body_bytes_max, items_max: EVENTS_MAX };
            Job::encode(batch, limits, |record, out| encode(&*self.encoder, record, out))
        });
        match self.work_off(&mut job).await {
            Ok(()) => Ok(job.delivered(batch)),
            Err(trouble) => {
                self.job = Some(job);
                Err(trouble)
            }
        }
    }
}

/// Appends a record's object and a comma.
fn encode(encoder: &dyn ObjectEncoder, record: &Record<'_>, out: &mut Vec<u8>) -> Result<(), String> {
    encoder.encode(record, out)?;
    out.push(b',');
    Ok(())
}

#[cfg(test)]
mod tests {
    use actix_web::{App, HttpResponse, HttpServer, web};

    use butler_sos_domain::encode::new_relic::UserAttributes;
    use butler_sos_domain::event::UserEvent;

    use super::*;
    use crate::net::tls::reread::Reread;
    use crate::net::tls::tests::Pki;
    use crate::sinks::new_relic::client::POST_TIMEOUT;
    use crate::sinks::records::user_events::UserEventObjects;

    #[test]
    fn each_account_is_a_consumer() {
        let check = |ids: &[&str], expect: &[(&str, &str)]| {
            let account = |id: &&str| NewRelicAccount { id: (*id).to_owned(), api_key: "k".into() };
            let named = consumers(ids.iter().map(account).collect());
            let named: Vec<_> =
                named.iter().map(|(consumer, account)| (consumer.name, &*account.id)).collect();
            assert_eq!(named, expect);
        };
        check(&[], &[]);
        check(&["17"], &[("new_relic_sink", "17")]);
        check(&["17", "18", "17"], &[("new_relic_sink", "17"), ("new_relic_sink_18", "18")]);
        check(
            &["1", "a b", "a/b"],
            &[("new_relic_sink", "1"), ("new_relic_sink_a_b", "a b"), ("new_relic_sink_a_b_", "a/b")],
        );
        check(&["1", ""], &[("new_relic_sink", "1"), ("new_relic_sink_", "")]);
    }

    #[actix_rt::test]
    async fn a_server_with_an_invalid_certificate_gets_no_events() {
        let server = HttpServer::new(|| App::new().default_service(web::to(HttpResponse::Ok)))
            .workers(1)
            .disable_signals()
            .bind_openssl("127.0.0.1:0", Pki::new().acceptor())
            .unwrap();
        let config = NewRelicConfig {
            url: format!("https://localhost:{}", server.addrs()[0].port()),
            account: NewRelicAccount { id: "17".to_owned(), api_key: "k".into() },
            headers: Vec::new(),
            timeout: POST_TIMEOUT,
            reread: Reread::default(),
        };
        actix_rt::spawn(server.run());
        let client = NewRelicClient::new(config).unwrap();
        assert_eq!(client.post(b"{},", POST_TIMEOUT).await.unwrap_err().class, "tls");
    }

    #[test]
    fn encodes_events_as_json_and_refuses_other_records() {
        let encoder = UserEventObjects(UserAttributes::new(false, &[], &[]));
        let event = UserEvent { host: "h".into(), command: "c".into(), ..UserEvent::default() };
        let mut data = Vec::new();
        event.encode_into(&mut data);
        let batch = Batch::of_records(7, [data.as_slice(), b"no event", data.as_slice()]);
        let limits = JobLimits { bytes_max: BODY_BYTES_MAX, items_max: EVENTS_MAX };
        let mut job = Job::encode(&batch, limits, |record, out| encode(&encoder, record, out));
        let group = job.next_group().unwrap();
        let object = r#"{"timestamp":0,"qs_host":"h","qs_event_action":"c","eventType":"qs_userEvent"},"#;
        assert_eq!(job.body_of(&group), object.repeat(2));
        let delivered = job.delivered(&batch);
        assert_eq!((delivered.next_offset, delivered.events), (10, 2));
        assert_eq!(delivered.refused.iter().map(|refused| refused.offset).collect::<Vec<_>>(), [8]);
    }
}
