//! Those who send: user events by UDP as fast as the server lets them, audit events and screenshots by clients that do
//! not give up, and the book of what was acknowledged.
//!
//! UDP answers nobody. Events arrive in the order in which they were sent, and none is rejected or shed here, so
//! `butler_sos_events_stored_total` being `n` says that the first `n` events of this life of the server are in the
//! journal. A process that is killed does not lose what it has written, synced or not.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::json;

use super::pause::pause;
use crate::audit_client::{AuditClient, event_id};
use crate::numbered::NumberedSender;
use crate::sandbox::{Metrics, Sandbox};

/// How screenshots are asked for, in turn.
const QUERIES: [&str; 6] =
    ["", "?kb=40&delay=30", "?b=redirect", "?b=410", "?b=cross&kb=20&delay=10", "?b=slow&kb=60"];
/// Every so manyth audit event is a screenshot.
const SCREENSHOT_EVERY: u64 = 5;

/// Whether audit event `n` asks for a picture.
pub fn is_screenshot(n: u64) -> bool {
    n % SCREENSHOT_EVERY == SCREENSHOT_EVERY - 1
}

/// The body of audit event `n`.
pub fn audit_event(n: u64, image_base: &str) -> String {
    let id = event_id(n as usize);
    let mut event = json!({
        "objectId": format!("o{}", n % 1_000), "visible": n.is_multiple_of(2), "selectionTxnId": id,
        "objectData": { "schemaVersion": 1, "objectType": "barchart", "dimensions": [], "measures": [], "n": n },
    });
    if is_screenshot(n) {
        let query = QUERIES[(n / SCREENSHOT_EVERY) as usize % QUERIES.len()];
        event["screenshotUrl"] = json!(format!("{image_base}/image{}.png{query}", n % 4));
    }
    json!({
        "schemaVersion": 1, "eventId": id, "correlationId": n.to_string(),
        "timestamp": format!("2026-11-20T10:{:02}:{:02}.{:03}Z", n / 60_000 % 60, n / 1_000 % 60, n % 1_000),
        "type": if is_screenshot(n) { "screenshot.url.received" } else { "event.test" },
        "source": { "kind": "qlik-sense-extension" },
        "payload": {
            "context": { "user": format!("UserDirectory=LAB; UserId=user{}", n % 50), "appName": "Sales" },
            "event": event,
        },
    })
    .to_string()
}

/// The number in an id of [`audit_event`].
pub fn event_number(id: &str) -> Option<u64> {
    let number: u64 = id.rsplit_once('-')?.1.parse().ok()?;
    (event_id(number as usize) == id).then_some(number)
}

/// What was acknowledged, and what was sent at all.
#[derive(Debug, Clone, Default)]
pub struct Book {
    pub users: BTreeSet<u64>,
    pub users_sent: u64,
    pub audits: BTreeSet<u64>,
    pub audits_sent: u64,
}

/// Clients of the audit API, over all lives of a server.
pub struct Posters {
    address: SocketAddr,
    image_base: String,
    next: AtomicU64,
    /// Events with a number below may be posted.
    allowed: AtomicU64,
    acknowledged: Mutex<BTreeSet<u64>>,
    unanswered: AtomicU64,
    stop: AtomicBool,
}

impl Posters {
    /// How many clients there are; call [`Posters::post`] on a thread each.
    pub const CLIENTS: usize = 8;

    /// The address must stay the same over restarts; the first event has the number `first`.
    pub fn new(address: SocketAddr, image_base: String, first: u64) -> Self {
        Self {
            address,
            image_base,
            next: AtomicU64::new(first),
            allowed: AtomicU64::new(first),
            acknowledged: Mutex::default(),
            unanswered: AtomicU64::new(0),
            stop: AtomicBool::new(false),
        }
    }

    /// So many more than were allowed before.
    pub fn allow(&self, more: u64) {
        self.allowed.fetch_add(more, Ordering::SeqCst);
    }

    /// So many more than were posted by now.
    pub fn allow_from_here(&self, more: u64) {
        self.allowed.store(self.sent() + more, Ordering::SeqCst);
    }

    /// How many have been acknowledged.
    pub fn count(&self) -> u64 {
        self.lock().len() as u64
    }

    /// Posts that got no answer, or were told to come again.
    pub fn unanswered(&self) -> u64 {
        self.unanswered.load(Ordering::SeqCst)
    }

    pub fn acknowledged(&self) -> BTreeSet<u64> {
        self.lock().clone()
    }

    /// The number of the first event that was not sent.
    pub fn sent(&self) -> u64 {
        self.next.load(Ordering::SeqCst)
    }

    /// Each client ends with the 202 for what it is posting, once it has posted all it may.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
    }

    /// Posts what is allowed until it is stopped; the same event again until it is a 202.
    pub fn post(&self) {
        let client = AuditClient::new(self.address);
        loop {
            let next = self.next.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |next| {
                (next < self.allowed.load(Ordering::SeqCst)).then_some(next + 1)
            });
            match next {
                Ok(n) => self.deliver(&client, n),
                Err(_) if self.is_stopped() => return,
                Err(_) => pause(Duration::from_millis(2)),
            }
        }
    }

    fn deliver(&self, client: &AuditClient, n: u64) {
        let body = audit_event(n, &self.image_base);
        loop {
            match client.try_post(&body).map(|answer| answer.status) {
                Some(202) => {
                    self.lock().insert(n);
                    return;
                }
                // Stopping, or the journal restarts, or this machine stood still for longer than a body may take.
                None | Some(503 | 500 | 408) => {
                    self.unanswered.fetch_add(1, Ordering::SeqCst);
                    if self.is_abandoned() {
                        return;
                    }
                    pause(Duration::from_millis(10));
                }
                Some(other) => panic!("audit event {n} is answered with {other}"),
            }
        }
    }

    /// The server will not come back.
    pub fn abandon(&self) {
        self.allowed.store(0, Ordering::SeqCst);
        self.stop();
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    fn is_abandoned(&self) -> bool {
        self.is_stopped() && self.allowed.load(Ordering::SeqCst) == 0
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeSet<u64>> {
        self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// User events to one life of a server.
pub struct UserStream {
    first: u64,
    limit: u64,
    operations: SocketAddr,
    sender: Mutex<NumberedSender>,
    stored: AtomicU64,
    stop: AtomicBool,
}

impl UserStream {
    /// At most `limit` events from number `first` on.
    pub fn new(sandbox: &Sandbox, first: u64, limit: u64) -> Self {
        Self {
            first,
            limit,
            operations: sandbox.address("operations"),
            sender: Mutex::new(NumberedSender::new(sandbox, first)),
            stored: AtomicU64::new(0),
            stop: AtomicBool::new(false),
        }
    }

    /// Sends until it is stopped, and notes what is stored. On a thread of its own.
    pub fn send(&self) {
        let mut sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner);
        while !self.stop.load(Ordering::SeqCst) {
            if sender.next() < self.first + self.limit {
                sender.send_some();
            }
            if let Some(metrics) = Metrics::of(self.operations) {
                for name in ["butler_sos_events_dropped_by_kernel_total", "butler_sos_events_rejected_total"]
                {
                    let count = metrics.sum(name, &[("intake", "user_events")]);
                    assert_eq!(count, 0.0, "{name}: events cannot be told by their count any more");
                }
                let stored = metrics.sum("butler_sos_events_stored_total", &[("intake", "user_events")]);
                self.stored.store(stored as u64, Ordering::SeqCst);
            }
        }
    }

    /// How many are known to be in the journal.
    pub fn stored(&self) -> u64 {
        self.stored.load(Ordering::SeqCst)
    }

    pub fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
    }

    /// Once [`UserStream::send`] has ended: notes what was acknowledged; the number of the first event not sent.
    pub fn book(&self, book: &mut Book) {
        book.users.extend(self.first..self.first + self.stored());
        book.users_sent = self.sender.lock().unwrap_or_else(PoisonError::into_inner).next();
    }
}

#[cfg(test)]
mod tests {
    use butler_sos_domain::audit::check;

    use super::*;

    #[test]
    fn events_are_accepted_and_their_numbers_come_back() {
        for n in [0, 4, 9, 123_456] {
            let body = audit_event(n, "https://qlik.test/tempcontent");
            let accepted = check(body.as_bytes(), None).expect("an audit event");
            assert_eq!(accepted.is_screenshot(), is_screenshot(n), "{body}");
            assert_eq!(event_number(&event_id(n as usize)), Some(n));
        }
        assert_eq!(event_number("11111111-0000-4000-8000-000000000001"), None);
    }
}
