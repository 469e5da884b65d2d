//! What is done with each event, one function a step, all fed with the same sample data.
//!
//! Times are taken of these by criterion, instructions are counted of them by `scripts/instructions`.

use butler_sos_domain::app_id::AppNames;
use butler_sos_domain::audit::{self, AuditEvent, AuditRecord, sample as audit_sample};
use butler_sos_domain::encode::audit_csv::AuditCsv;
use butler_sos_domain::encode::audit_line::AuditPoint;
use butler_sos_domain::encode::line_protocol::Version;
use butler_sos_domain::encode::mqtt::UserPayload;
use butler_sos_domain::encode::new_relic::UserAttributes;
use butler_sos_domain::encode::user_line::UserPoint;
use butler_sos_domain::encode::{audit_mqtt, csv as user_csv, object_json};
use butler_sos_domain::enrichment::{Enrichment, ExcludedUsers};
use butler_sos_domain::event::UserEvent;
use butler_sos_domain::sample::{self, Layout};

/// How many different samples there are; a step is given any number.
pub const SAMPLES: usize = 1_024;
/// User agents that the parser remembers.
const USER_AGENTS_MAX: usize = 4_096;
/// A time of receipt.
const NOW_NS: u64 = 1_795_169_472_345_000_000;

/// One step. `run(n)` does it for sample `n` and answers the bytes it made or read.
pub struct Step {
    pub name: &'static str,
    pub run: Box<dyn FnMut(usize) -> usize>,
}

fn step(name: &'static str, run: impl FnMut(usize) -> usize + 'static) -> Step {
    Step { name, run: Box::new(run) }
}

/// Every step, in the order in which an event meets them.
#[must_use]
pub fn steps() -> Vec<Step> {
    let mut steps = vec![parse(), record()];
    steps.extend([
        user("user-line", {
            let point = UserPoint::new(Version::V1, "qs_", &tags());
            move |event, out| point.write(event, out)
        }),
        user("user-mqtt", {
            let payload = UserPayload::new(&tags());
            move |event, out| payload.write(event, out)
        }),
        user("user-new-relic", {
            let attributes = UserAttributes::new(true, &tags(), &[]);
            move |event, out| attributes.write(event, out)
        }),
        user("user-csv", |event, out| {
            let mut writer = user_csv::writer(out);
            // Writing into memory does not fail.
            let _ = user_csv::write_user_row(&mut writer, event, true);
        }),
        audit_check(),
        audit_event("audit-line", {
            let point = AuditPoint::new(Version::V1, "audit_event", &tags());
            move |event, out| point.write(event, out)
        }),
        audit_event("audit-json", |event, out| {
            if let Some(file) = object_json::object_file(event, &[]) {
                out.extend_from_slice(file.content.as_bytes());
            }
        }),
        audit_event("audit-csv", {
            let rows = AuditCsv::new(&tags(), true);
            move |event, out| {
                let mut writer = user_csv::writer(out);
                // Writing into memory does not fail.
                let _ = rows.write_row(&mut writer, event);
            }
        }),
        audit_mqtt(),
    ]);
    steps
}

// === user events

/// Sample datagrams of every layout.
#[must_use]
pub fn datagrams() -> Vec<String> {
    (0..SAMPLES as u64).map(|n| sample::datagram(n, Layout::Mixed)).collect()
}

/// The same as records of the journal.
#[must_use]
pub fn user_records() -> Vec<Vec<u8>> {
    let (mut enrichment, names) = (enrichment(), AppNames::default());
    let mut record = |datagram: String| {
        let mut out = Vec::new();
        if let Ok(enriched) = enrichment.event(datagram.as_bytes(), NOW_NS, &names) {
            enriched.event.encode_into(&mut out);
        }
        out
    };
    datagrams().into_iter().map(&mut record).collect()
}

fn enrichment() -> Enrichment {
    Enrichment::new(USER_AGENTS_MAX, ExcludedUsers::default())
}

fn tags() -> [(String, String); 1] {
    [("qs_env".to_owned(), "prod".to_owned())]
}

fn parse() -> Step {
    let (datagrams, mut enrichment, names) = (datagrams(), enrichment(), AppNames::default());
    step("parse", move |n| {
        let datagram = datagrams[n % SAMPLES].as_bytes();
        enrichment.event(datagram, NOW_NS, &names).map_or(0, |enriched| enriched.event.host.len())
    })
}

fn record() -> Step {
    let records = user_records();
    let events: Vec<UserEvent<'static>> = records
        .iter()
        .map(|record| UserEvent::decode(record).map_or_else(|_| UserEvent::default(), UserEvent::into_owned))
        .collect();
    let mut out = Vec::new();
    step("user-record", move |n| {
        out.clear();
        events[n % SAMPLES].encode_into(&mut out);
        out.len()
    })
}

/// Decodes the record and encodes it for a destination.
fn user(name: &'static str, mut encode: impl FnMut(&UserEvent<'_>, &mut Vec<u8>) + 'static) -> Step {
    let records = user_records();
    let mut out = Vec::new();
    step(name, move |n| {
        out.clear();
        if let Ok(event) = UserEvent::decode(&records[n % SAMPLES]) {
            encode(&event, &mut out);
        }
        out.len()
    })
}

// === audit events

/// Bodies as Audit.qs posts them, of every type.
#[must_use]
pub fn audit_bodies() -> Vec<String> {
    let sessions = (0..).flat_map(|seed| audit_sample::session(seed, 1_795_169_472_345, None));
    sessions.take(SAMPLES).map(|event| event.body).collect()
}

/// The same as records of the journal.
#[must_use]
pub fn audit_records() -> Vec<Vec<u8>> {
    let record = |body: String| {
        let mut out = Vec::new();
        AuditRecord::received(NOW_NS, body.as_bytes()).encode_into(&mut out);
        out
    };
    audit_bodies().into_iter().map(record).collect()
}

fn audit_check() -> Step {
    let bodies = audit_bodies();
    step("audit-check", move |n| {
        let body = bodies[n % SAMPLES].as_bytes();
        let version = Some(audit_sample::SAMPLE_VERSION);
        audit::check(body, version).map_or(0, |accepted| usize::from(!accepted.is_screenshot()))
    })
}

/// Reads the record and encodes it for a destination.
fn audit_event(name: &'static str, mut encode: impl FnMut(&AuditEvent<'_>, &mut Vec<u8>) + 'static) -> Step {
    let records = audit_records();
    let mut out = Vec::new();
    step(name, move |n| {
        out.clear();
        if let Ok(event) = AuditEvent::from_bytes(&records[n % SAMPLES]) {
            encode(&event, &mut out);
        }
        out.len()
    })
}

fn audit_mqtt() -> Step {
    let records = audit_records();
    let mut out = Vec::new();
    step("audit-mqtt", move |n| {
        out.clear();
        if let Ok(record) = AuditRecord::decode(&records[n % SAMPLES]) {
            audit_mqtt::write(&record, &mut out);
        }
        out.len()
    })
}
