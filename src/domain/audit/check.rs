//! The content checks of the POST endpoint, in the contract's order: JSON, envelope, constraints, version,
//! payload.
//!
//! A pure function of the body and one header, so the same bytes always get the same answer.
//! Contract: `audit-api.md`, "Endpoints".

use std::borrow::Cow;
use std::sync::LazyLock;

use serde_json::json;

use super::json::Unread;
use super::outline::{DEPTH_MAX, Names, Outline, Shape};
use super::refusal::Refusal;
use super::{SCREENSHOT_TYPE, constraints, envelope, payload, version};

/// The parts of an accepted event that the intake needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted<'a> {
    pub event_id: Cow<'a, str>,
    pub correlation_id: Option<Cow<'a, str>>,
    pub timestamp: Cow<'a, str>,
    pub event_type: Cow<'a, str>,
    /// The Audit.qs version of the request. A missing one is allowed, and logged now and then.
    pub audit_qs_version: Option<Cow<'a, str>>,
}

impl Accepted<'_> {
    /// Whether the event goes to the stream `screenshots` when downloads are on.
    pub fn is_screenshot(&self) -> bool {
        self.event_type == SCREENSHOT_TYPE
    }
}

/// All members that the schemas name.
static SHAPE: LazyLock<Shape> = LazyLock::new(|| {
    let mut names = Names::default();
    names.add(envelope::SCHEMA.source());
    let payload = names.member("payload");
    payload::schemas().for_each(|schema| payload.add(schema.source()));
    Shape::of(&names)
});

fn unread(error: Unread) -> Refusal {
    let (outcome, message, params) = match error {
        Unread::NotJson(error) => ("error", format!("must be JSON: {error}"), json!({})),
        Unread::TooDeep { depth } => (
            "dropped",
            format!("must NOT be nested deeper than {DEPTH_MAX} levels (depth={depth})"),
            json!({ "limit": DEPTH_MAX, "depth": depth }),
        ),
    };
    let error = json!({ "instancePath": "", "message": message, "params": params });
    Refusal { status: 400, outcome, reason: envelope::REASON, details: json!({ "errors": [error] }) }
}

/// Checks the content of a POST. `version_header` is the received `X-Audit-QS-Version`, if any.
pub fn check<'a>(body: &'a [u8], version_header: Option<&'a str>) -> Result<Accepted<'a>, Refusal> {
    let body = Outline::of(&SHAPE, body).map_err(unread)?;
    let seen = envelope::check(&body)?;
    constraints::check(&seen)?;
    let audit_qs_version = version::check(version_header, &seen)?;
    payload::check(&seen.event_type, &body)?;
    let envelope::Envelope { event_id, correlation_id, timestamp, event_type, .. } = seen;
    Ok(Accepted { event_id, correlation_id, timestamp, event_type, audit_qs_version })
}
