//! User events with numbers, and which numbers arrived where.
//!
//! Event `n` has the user `u<n mod 1000>` and the app whose id ends in `n / 1000`, so that every destination shows
//! the number and InfluxDB is not given more values of a tag than it likes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;

use crate::influxd::Influxd;
use crate::mqtt_subscriber::MqttSubscriber;
use crate::sandbox::{Metrics, wait_for};

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
        let mut numbers = Vec::new();
        for entry in std::fs::read_dir(directory).expect("a directory of CSV files") {
            let path = entry.expect("a directory that can be read").path();
            let mut file = csv::Reader::from_path(&path).expect("a CSV file");
            let header = file.headers().expect("a header").clone();
            let column = |name| header.iter().position(|column| column == name).expect("a known column");
            let (user, app) = (column("userId"), column("appId"));
            for row in file.records() {
                let row = row.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                numbers.push(expect_number(row.get(user), row.get(app)));
            }
        }
        numbers.into_iter().collect()
    }

    /// What a subscriber got in a topic, message for message.
    pub fn of_mqtt(subscriber: &MqttSubscriber, of: &str) -> Self {
        let numbers = subscriber.map(|(topic, payload)| {
            (topic == of).then(|| expect_number(payload["userId"].as_str(), payload["appId"].as_str()))
        });
        numbers.into_iter().collect()
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

fn expect_number(user: Option<&str>, app: Option<&str>) -> u64 {
    let number = user.zip(app).and_then(|(user, app)| number(user, app));
    number.unwrap_or_else(|| panic!("an event that nobody sent: user {user:?}, app {app:?}"))
}

/// Sends events in the order of their numbers, to one life of a server, never more than the kernel's buffer holds.
pub struct Sender {
    socket: UdpSocket,
    operations: SocketAddr,
    first: u64,
    next: u64,
    /// What the server had counted before this sender.
    before: f64,
}

/// Sent and not yet received: far less than the socket's buffer holds.
const WINDOW: u64 = 200;

impl Sender {
    /// To a server that counts up from what it has received by now; the first event will have the number `first`.
    pub fn new(socket: UdpSocket, operations: SocketAddr, first: u64) -> Self {
        let before = Metrics::of(operations).map_or(0.0, |metrics| received(&metrics));
        Self { socket, operations, first, next: first, before }
    }

    /// The number of the next event.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Sends so many events, waiting for the server where it must.
    pub fn send(&mut self, count: u64) {
        let end = self.next + count;
        while self.next < end {
            self.send_some(end);
            wait_for("the intake to take events", || {
                let got = self.received()?;
                (self.next - self.first < got + WINDOW).then_some(())
            });
        }
    }

    /// Sends as many as may be under way, at most to `end`. What a server that is gone does not take is no error.
    pub fn send_some(&mut self, end: u64) {
        let Some(got) = self.received() else { return };
        while self.next < end && self.next - self.first < got + WINDOW {
            let _ = self.socket.send(datagram(self.next).as_bytes());
            self.next += 1;
        }
    }

    fn received(&self) -> Option<u64> {
        let metrics = Metrics::of(self.operations)?;
        Some((received(&metrics) - self.before) as u64)
    }
}

fn received(metrics: &Metrics) -> f64 {
    metrics.sum("butler_sos_events_received_total", &[("intake", "user_events")])
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
