//! User events with numbers, and which numbers arrived where.
//!
//! Event `n` has the user `u<n mod 1000>` and the app whose id ends in `n / 1000`, so that every destination shows
//! the number and InfluxDB is not given more values of a tag than it likes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

use crate::influxd::Influxd;
use crate::sandbox::Sandbox;
use crate::sender::Sender;
use crate::subscriber::Subscriber;
use crate::written::{Row, csv_rows};

/// Users in one app.
const USERS: u64 = 1_000;
const APP_PREFIX: &str = "5a3c0000-0000-4000-8000-";

/// The datagram of event `n`.
pub fn datagram(n: u64) -> String {
    let (user, app) = (n % USERS, n / USERS);
    format!(
        "/qseow-proxy-connection/;pro2-win1;Open connection;LAB;u{user:03};AppAccess;/app/{APP_PREFIX}{app:012x};\
         Opening connection. UserAgent: 'Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:133.0) Gecko/20100101 Firefox/133.0'"
    )
}

/// The number of the event of which this is user and app; `None` when it is none of ours.
pub fn number(user_id: &str, app_id: &str) -> Option<u64> {
    let user: u64 = user_id.strip_prefix('u')?.parse().ok()?;
    let app = u64::from_str_radix(app_id.strip_prefix(APP_PREFIX)?, 16).ok()?;
    Some(app * USERS + user)
}

/// How often each number is somewhere.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Census(BTreeMap<u64, u64>);

impl FromIterator<u64> for Census {
    fn from_iter<I: IntoIterator<Item = u64>>(numbers: I) -> Self {
        let mut census = Self::default();
        for number in numbers {
            *census.0.entry(number).or_default() += 1;
        }
        census
    }
}

impl Census {
    /// What a real InfluxDB holds, point for point.
    pub fn of_influxdb(influxd: &Influxd, database: &str) -> Self {
        let rows = influxd.rows(database, "SELECT \"userId\", \"appId\" FROM \"user_events\"");
        rows.iter().map(|row| expect_number(row[1].as_str(), row[2].as_str())).collect()
    }

    /// What CSV files hold, row for row.
    pub fn of_csv(directory: &Path) -> Self {
        csv_rows(directory).iter().map(of_object).collect()
    }

    /// What a subscriber got in a topic, message for message.
    pub fn of_mqtt(subscriber: &Subscriber, topic: &str) -> Self {
        let payloads = subscriber.json(topic);
        payloads.iter().filter_map(Value::as_object).map(of_object).collect()
    }

    pub fn numbers(&self) -> BTreeSet<u64> {
        self.0.keys().copied().collect()
    }

    /// How many different numbers.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn has_all(&self, numbers: impl IntoIterator<Item = u64>) -> bool {
        numbers.into_iter().all(|number| self.0.contains_key(&number))
    }

    /// The numbers that are here more than once.
    pub fn repeated(&self) -> Vec<u64> {
        self.0.iter().filter(|(_, times)| **times > 1).map(|(number, _)| *number).collect()
    }

    /// Fails unless every one of `acknowledged` is here.
    pub fn assert_holds(&self, place: &str, acknowledged: impl IntoIterator<Item = u64>) {
        let lost: Vec<u64> = acknowledged.into_iter().filter(|n| !self.0.contains_key(n)).collect();
        assert!(lost.is_empty(), "{place} has lost {}: {:?} …", lost.len(), &lost[..lost.len().min(20)]);
    }

    /// Fails when a number is here twice.
    pub fn assert_once(&self, place: &str) {
        let doubled: Vec<_> = self.0.iter().filter(|(_, times)| **times > 1).collect();
        let some = &doubled[..doubled.len().min(20)];
        assert!(doubled.is_empty(), "{place} has {} more than once: {some:?} …", doubled.len());
    }
}

fn of_object(event: &Row) -> u64 {
    let text = |key: &str| event.get(key).and_then(Value::as_str);
    expect_number(text("userId"), text("appId"))
}

fn expect_number(user: Option<&str>, app: Option<&str>) -> u64 {
    let number = user.zip(app).and_then(|(user, app)| number(user, app));
    number.unwrap_or_else(|| panic!("an event that nobody sent: user {user:?}, app {app:?}"))
}

/// Sends events in the order of their numbers, to one life of a server.
pub struct NumberedSender {
    sender: Sender,
    next: u64,
}

/// These datagrams are small.
const WINDOW: u64 = 200;

impl NumberedSender {
    /// To a running server; the first event will have the number `first`.
    pub fn new(sandbox: &Sandbox, first: u64) -> Self {
        Self { sender: Sender::new(sandbox.udp(), sandbox.address("operations"), WINDOW), next: first }
    }

    /// The number of the next event.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Sends so many events, waiting for the server where it must.
    pub fn send(&mut self, count: u64) {
        self.sender.send((self.next..self.next + count).map(datagram));
        self.next += count;
    }

    /// Sends as many as may be under way; none where the server is gone.
    pub fn send_some(&mut self) {
        self.next += self.sender.send_some((self.next..).map(datagram));
    }
}

#[cfg(test)]
mod tests {
    use butler_sos_domain::app_id::AppNames;
    use butler_sos_domain::enrichment::{Enrichment, ExcludedUsers};

    use super::*;

    #[test]
    fn numbers_survive_the_datagram() {
        let names = AppNames::default();
        let mut enrichment = Enrichment::new(8, ExcludedUsers::new([]));
        for n in [0, 7, 999, 1_000, 123_456] {
            let text = datagram(n);
            let event = enrichment.event(text.as_bytes(), 1, &names).expect("a user event").event;
            let (user, app) = (event.user_id.expect("a user"), event.app_id.expect("an app"));
            assert_eq!(number(&user, &app), Some(n));
        }
    }

    #[test]
    #[should_panic(expected = "here has 1 more than once: [(3, 2)]")]
    fn a_double_is_named() {
        Census::from_iter([1, 3, 3]).assert_once("here");
    }

    #[test]
    #[should_panic(expected = "here has lost 1: [2]")]
    fn a_loss_is_named() {
        Census::from_iter([1, 3]).assert_holds("here", 1..=3);
    }
}
