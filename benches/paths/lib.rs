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
use butler_sos_domain::encode::{audit_mqtt, csv, object_json};
use butler_sos_domain::enrichment::{Enrichment, ExcludedUsers};
use butler_sos_domain::event::UserEvent;
use butler_sos_domain::sample::{self, Layout};

/// How many different samples there are; a step is given any number.
pub const SAMPLES: usize = 1_024;
/// User agents that the parser remembers.
const USER_AGENTS_MAX: usize = 4_096;
/// A time of receipt.
const NOW_NS: u64 = 1_795_169_472_345_000_000;

/// Does a step for sample `n`; answers the bytes it made or read.
pub type Run = Box<dyn FnMut(usize) -> usize>;

/// One step: its name, and what makes it ready to run.
#[derive(Clone, Copy)]
pub struct Step {
    pub name: &'static str,
    pub prepare: fn() -> Run,
}

/// Every step, in the order in which an event meets them.
pub const STEPS: [Step; 11] = [
    Step { name: "parse", prepare: parse },
    Step { name: "user-record", prepare: user_record },
    Step { name: "user-line", prepare: user_line },
    Step { name: "user-mqtt", prepare: user_mqtt },
    Step { name: "user-new-relic", prepare: user_new_relic },
    Step { name: "user-csv", prepare: user_csv },
    Step { name: "audit-check", prepare: audit_check },
    Step { name: "audit-line", prepare: audit_line },
    Step { name: "audit-json", prepare: audit_json },
    Step { name: "audit-csv", prepare: audit_csv },
    Step { name: "audit-mqtt", prepare: audit_mqtt },
];

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

fn parse() -> Run {
    let (datagrams, mut enrichment, names) = (datagrams(), enrichment(), AppNames::default());
    Box::new(move |n| {
        let datagram = datagrams[n % SAMPLES].as_bytes();
        enrichment.event(datagram, NOW_NS, &names).map_or(0, |enriched| enriched.event.host.len())
    })
}

fn user_record() -> Run {
    user(|event, out| event.encode_into(out))
}

fn user_line() -> Run {
    let point = UserPoint::new(Version::V1, "qs_", &tags());
    user(move |event, out| point.write(event, out))
}

fn user_mqtt() -> Run {
    let payload = UserPayload::new(&tags());
    user(move |event, out| payload.write(event, out))
}

fn user_new_relic() -> Run {
    let attributes = UserAttributes::new(true, &tags(), &[]);
    user(move |event, out| attributes.write(event, out))
}

fn user_csv() -> Run {
    user(|event, out| {
        let mut writer = csv::writer(out);
        // Writing into memory does not fail.
        let _ = csv::write_user_row(&mut writer, event, true);
    })
}

/// Decodes the record and encodes it for a destination.
fn user(mut encode: impl FnMut(&UserEvent<'_>, &mut Vec<u8>) + 'static) -> Run {
    let records = user_records();
    let mut out = Vec::new();
    Box::new(move |n| {
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

fn audit_check() -> Run {
    let bodies = audit_bodies();
    Box::new(move |n| {
        let body = bodies[n % SAMPLES].as_bytes();
        let version = Some(audit_sample::SAMPLE_VERSION);
        audit::check(body, version).map_or(0, |accepted| usize::from(!accepted.is_screenshot()))
    })
}

fn audit_line() -> Run {
    let point = AuditPoint::new(Version::V1, "audit_event", &tags());
    audit_event(move |event, out| point.write(event, out))
}

fn audit_json() -> Run {
    audit_event(|event, out| {
        if let Some(file) = object_json::object_file(event, &[]) {
            out.extend_from_slice(file.content.as_bytes());
        }
    })
}

fn audit_csv() -> Run {
    let rows = AuditCsv::new(&tags(), true);
    audit_event(move |event, out| {
        let mut writer = csv::writer(out);
        // Writing into memory does not fail.
        let _ = rows.write_row(&mut writer, event);
    })
}

/// Reads the record and encodes it for a destination.
fn audit_event(mut encode: impl FnMut(&AuditEvent<'_>, &mut Vec<u8>) + 'static) -> Run {
    let records = audit_records();
    let mut out = Vec::new();
    Box::new(move |n| {
        out.clear();
        if let Ok(event) = AuditEvent::from_bytes(&records[n % SAMPLES]) {
            encode(&event, &mut out);
        }
        out.len()
    })
}

fn audit_mqtt() -> Run {
    let records = audit_records();
    let mut out = Vec::new();
    Box::new(move |n| {
        out.clear();
        if let Ok(record) = AuditRecord::decode(&records[n % SAMPLES]) {
            audit_mqtt::write(&record, &mut out);
        }
        out.len()
    })
}
