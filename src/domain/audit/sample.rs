//! A realistic session of a user with the Audit.qs extension, for `send-sample --audit` and load tests.
//!
//! The same seed produces the same bytes, and different seeds produce different event ids, so a receiver can
//! count the events. Every event passes [`check`](super::check); together they contain every known type. Time
//! and randomness are arguments.

use super::json::{Object, write_string};
use super::time::rfc3339;

/// One event of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SampleEvent {
    /// Milliseconds after the session's start at which a browser would send it. They never decrease.
    pub after_ms: u64,
    pub event_id: String,
    pub event_type: &'static str,
    /// The request's body.
    pub body: String,
}

/// The Audit.qs version of the events.
pub const SAMPLE_VERSION: &str = "0.4.0";

const USERS: [&str; 6] = [
    "UserDirectory=LAB; UserId=goran",
    "UserDirectory=LAB; UserId=anna.lind",
    "UserDirectory=ACME; UserId=j.o'brien",
    "UserDirectory=ACME; UserId=maría.garcía",
    "SALES\\kim",
    "UserDirectory=LAB; UserId=svc-report",
];

const BROWSERS: [&str; 3] = [
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Safari/605.1.15",
    "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0",
];

/// An app with its sheets and their objects.
struct App {
    name: &'static str,
    sheets: &'static [(&'static str, &'static [(&'static str, &'static str)])],
    field: &'static str,
    values: &'static [&'static str],
}

const APPS: [App; 3] = [
    App {
        name: "Sales, \"2026\"",
        sheets: &[
            ("Overview", &[("barchart", "Sales by region"), ("kpi", "Sales"), ("linechart", "Trend")]),
            ("Customers", &[("table", "Top customers"), ("map", "Where they are")]),
        ],
        field: "Region",
        values: &["North", "South", "East", "West"],
    },
    App {
        name: "Lönekostnader",
        sheets: &[
            ("Översikt", &[("piechart", "Per avdelning"), ("kpi", "Totalt")]),
            ("Detaljer", &[("table", "Anställda")]),
        ],
        field: "Avdelning",
        values: &["Drift", "Utveckling", "Ekonomi"],
    },
    App {
        name: "Supply chain = stock + orders",
        sheets: &[
            ("Stock", &[("treemap", "Warehouses"), ("scatterplot", "Turnover")]),
            ("Orders", &[("combochart", "Late orders"), ("pivot-table", "By supplier")]),
        ],
        field: "Warehouse",
        values: &["Göteborg", "Hamburg", "Rotterdam"],
    },
];

/// The session of seed `seed` that starts at `start_ms` (since 1970). With `screenshot_base`, such as
/// `https://qlik.example.com/tempcontent`, views have screenshots below that URL; its query is appended to
/// theirs.
pub fn session(seed: u64, start_ms: i64, screenshot_base: Option<&str>) -> Vec<SampleEvent> {
    let mut rng = SeededRng(seed);
    let app = &APPS[rng.below(APPS.len() as u64) as usize];
    // The app's id depends only on the app.
    let app_id = SeededRng(app.name.len() as u64).uuid();
    let user = USERS[rng.below(USERS.len() as u64) as usize];
    let user_agent = BROWSERS[rng.below(BROWSERS.len() as u64) as usize];
    let mut session = Session {
        context: [("user", user), ("appId", &app_id), ("appName", app.name), ("userAgent", user_agent)]
            .map(|(name, value)| (name, value.to_owned())),
        correlation_id: (start_ms.max(0) as u64 + rng.below(1000)).to_string(),
        start_ms,
        after_ms: 0,
        sheet: 0,
        sheet_name: app.sheets[0].0,
        data_state_id: 1 + rng.below(5),
        rng,
        events: Vec::new(),
    };
    session.push("audit.event", "{\"action\":\"session.started\"}".to_owned());
    for (number, (sheet_name, objects)) in app.sheets.iter().enumerate() {
        (session.sheet, session.sheet_name) = (number, sheet_name);
        session.wait(300, 1500);
        session.open_sheet();
        let txn = session.select(app.field, app.values);
        for (place, (object_type, title)) in objects.iter().enumerate() {
            let object_id = format!("obj{}{}", number + 1, place + 1);
            session.view(&object_id, object_type, title, &txn, app.values, screenshot_base);
        }
    }
    session.unsupported();
    session.bookmark();
    session.events
}

struct Session {
    context: [(&'static str, String); 4],
    correlation_id: String,
    start_ms: i64,
    after_ms: u64,
    sheet: usize,
    sheet_name: &'static str,
    data_state_id: u64,
    rng: SeededRng,
    events: Vec<SampleEvent>,
}

impl Session {
    fn open_sheet(&mut self) {
        let event = format!("{{\"dataStateId\":{}}}", self.data_state_id);
        self.push("navigation.sheet.loaded", event);
    }

    /// A selection and the recalculated model. Returns its transaction.
    fn select(&mut self, field: &str, values: &[&str]) -> String {
        self.wait(800, 4000);
        let txn = self.rng.uuid();
        let chosen = &values[..1 + self.rng.below(values.len() as u64) as usize];
        let event = Object::new()
            .text("selectionTxnId", &txn)
            .json(
                "details",
                &format!(
                    "[{}]",
                    Object::new()
                        .text("qField", field)
                        .json("qSelectedCount", &chosen.len().to_string())
                        .text("qSelected", &chosen.join(", "))
                        .json("qTotal", &values.len().to_string())
                        .done()
                ),
            )
            .done();
        self.push("selection.state.changed", event);
        self.data_state_id += 1;
        self.wait(50, 400);
        let event = Object::new()
            .text("selectionTxnId", &txn)
            .json("dataStateId", &self.data_state_id.to_string())
            .json("captureScheduled", "true")
            .done();
        self.push("app.model.validated", event);
        txn
    }

    fn view(
        &mut self,
        object_id: &str,
        object_type: &str,
        title: &str,
        txn: &str,
        values: &[&str],
        screenshot_base: Option<&str>,
    ) {
        let entered_ms = self.start_ms.saturating_add_unsigned(self.after_ms);
        let visible = Object::new().text("objectId", object_id).json("visible", "true").done();
        self.push("object.visibility.changed", visible);
        let object_data = self.object_data(object_type, title, values);
        if let Some(base) = screenshot_base {
            self.wait(100, 500);
            let image = self.rng.uuid();
            let (path, query) = base.split_at(base.find('?').unwrap_or(base.len()));
            let url = format!("{}/{image}/{object_id}.png{query}", path.trim_end_matches('/'));
            let event = Object::new()
                .text("screenshotUrl", &url)
                .text("objectId", object_id)
                .text("selectionTxnId", txn)
                .json("objectData", &object_data)
                .done();
            self.push(super::SCREENSHOT_TYPE, event);
        }
        self.wait(1500, 20_000);
        let left_ms = self.start_ms.saturating_add_unsigned(self.after_ms);
        let event = Object::new()
            .text("objectId", object_id)
            // Browsers measure in fractions of a millisecond.
            .json("duration", &format!("{}.{}", left_ms - entered_ms, 1 + self.rng.below(9)))
            .text("enteredAt", &rfc3339(entered_ms))
            .text("leftAt", &rfc3339(left_ms))
            .json("visible", "false")
            .text("selectionTxnId", txn)
            .text("enterSelectionTxnId", txn)
            .text("leaveSelectionTxnId", txn)
            .json("dataStateId", &self.data_state_id.to_string())
            .json("objectData", &object_data)
            .done();
        self.push("object.view.duration", event);
    }

    fn object_data(&mut self, object_type: &str, title: &str, values: &[&str]) -> String {
        let mut names = String::new();
        let mut numbers = String::new();
        for (place, value) in values.iter().enumerate() {
            if place > 0 {
                names.push(',');
                numbers.push(',');
            }
            write_string(value, &mut names);
            numbers.push_str(&format!("{}.{:02}", self.rng.below(100_000), self.rng.below(100)));
        }
        let dimension = Object::new().text("name", "Dimension").json("values", &format!("[{names}]")).done();
        let measure = Object::new().text("name", title).json("values", &format!("[{numbers}]")).done();
        Object::new()
            .json("schemaVersion", "1")
            .text("objectType", object_type)
            .json("dimensions", &format!("[{dimension}]"))
            .json("measures", &format!("[{measure}]"))
            .done()
    }

    fn unsupported(&mut self) {
        self.wait(200, 900);
        let txn = self.rng.uuid();
        let event = Object::new()
            .text("objectId", "objx")
            .text("vizType", "boxplot")
            .text("title", "Spread")
            .text("trigger", "selection")
            .json("dataStateId", &self.data_state_id.to_string())
            .text("selectionTxnId", &txn)
            .done();
        self.push("event.unsupported.visualization", event);
    }

    fn bookmark(&mut self) {
        self.wait(500, 3000);
        let id = self.rng.uuid();
        let event =
            Object::new().text("action", "created").text("bookmarkId", &id).text("title", "My view").done();
        self.push("event.bookmark", event);
    }

    /// Advances the time by at least `from` milliseconds, and less than `to`.
    fn wait(&mut self, from: u64, to: u64) {
        self.after_ms += from + self.rng.below(to - from);
    }

    fn push(&mut self, event_type: &'static str, event: String) {
        let event_id = self.rng.uuid();
        let mut context = Object::new();
        for (name, value) in &self.context {
            context = context.text(name, value);
        }
        let sheet_id = format!("sheet{}", self.sheet + 1);
        let context = context.text("sheetId", &sheet_id).text("sheetName", self.sheet_name).done();
        let source = Object::new()
            .text("kind", "qlik-sense-extension")
            .text("name", "audit-qs")
            .text("version", SAMPLE_VERSION)
            .done();
        let payload = Object::new().json("context", &context).json("event", &event).done();
        let body = Object::new()
            .json("schemaVersion", "1")
            .text("eventId", &event_id)
            .text("correlationId", &self.correlation_id)
            .text("timestamp", &rfc3339(self.start_ms.saturating_add_unsigned(self.after_ms)))
            .text("type", event_type)
            .json("source", &source)
            .json("payload", &payload)
            .done();
        self.events.push(SampleEvent { after_ms: self.after_ms, event_id, event_type, body });
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): short, and sufficient for a sample.
struct SeededRng(u64);

impl SeededRng {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.roll() % bound.max(1)
    }

    /// Formatted as a UUID of version 4.
    fn uuid(&mut self) -> String {
        let (high, low) = (self.roll(), self.roll());
        format!(
            "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
            high >> 32,
            high >> 16 & 0xffff,
            high & 0xfff,
            low >> 48 & 0x3fff | 0x8000,
            low & 0xffff_ffff_ffff
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{AuditEvent, AuditRecord, check};
    use std::collections::HashSet;

    const START_MS: i64 = 1_795_169_472_345;
    const BASE: &str = "https://qlik.test:14443/tempcontent/";

    #[test]
    fn every_event_is_accepted() {
        let mut ids = HashSet::new();
        for seed in 0..100 {
            let base = (seed % 2 == 0).then_some(BASE);
            let mut last_ms = START_MS;
            for sample in session(seed, START_MS, base) {
                let accepted = check(sample.body.as_bytes(), None)
                    .unwrap_or_else(|refusal| panic!("{refusal:?}: {sample:?}"));
                assert_eq!(
                    (&*accepted.event_id, &*accepted.event_type),
                    (&*sample.event_id, sample.event_type)
                );
                assert_eq!(accepted.is_screenshot(), sample.event_type == "screenshot.url.received");
                assert!(ids.insert(sample.event_id.clone()), "{} twice", sample.event_id);
                let received_ns = (START_MS as u64 + 3_600_000) * 1_000_000;
                let record = AuditRecord::received(received_ns, sample.body.as_bytes());
                let event = AuditEvent::from_record(record).expect("an event");
                assert!(event.user_id.is_some() && event.timestamp_ms >= last_ms);
                assert_eq!(event.timestamp_ms, START_MS + sample.after_ms as i64);
                last_ms = event.timestamp_ms;
            }
        }
    }

    #[test]
    fn every_type_occurs() {
        let types: HashSet<_> =
            session(1, START_MS, Some(BASE)).iter().map(|sample| sample.event_type).collect();
        assert_eq!(types.len(), 9, "{types:?}");
        assert!(
            session(1, START_MS, None).iter().all(|sample| sample.event_type != "screenshot.url.received")
        );
    }

    #[test]
    fn a_seed_determines_the_session() {
        assert_eq!(session(7, START_MS, Some(BASE)), session(7, START_MS, Some(BASE)));
        assert_ne!(session(7, START_MS, None), session(8, START_MS, None));
        for seed in [0, u64::MAX] {
            for start_ms in [i64::MIN, i64::MAX] {
                assert!(!session(seed, start_ms, None).is_empty());
            }
        }
    }

    #[test]
    fn urls_are_below_the_base() {
        let samples = session(3, START_MS, Some(BASE));
        let body =
            &samples.iter().find(|sample| sample.event_type == "screenshot.url.received").expect("one").body;
        assert!(body.contains("\"screenshotUrl\":\"https://qlik.test:14443/tempcontent/"), "{body}");
        assert!(!body.contains("tempcontent//"), "{body}");
        let samples = session(3, START_MS, Some("https://qlik.test/tempcontent/?b=slow"));
        let body = &samples.iter().find(|sample| sample.body.contains("screenshotUrl")).expect("one").body;
        assert!(body.contains(".png?b=slow\""), "{body}");
        assert!(body.contains("qlik.test/tempcontent/") && !body.contains("tempcontent//"), "{body}");
    }
}
