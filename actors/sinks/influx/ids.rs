//! Decides whether the ids of audit events are tags or fields.
//!
//! `eventId`, `correlationId` and `selectionTxnId` have a new value with nearly every event. As tags, as
//! Butler SOS writes them, each value is a series of its own, and by default version 1 accepts 100 000 values
//! per tag (`max-values-per-tag`) and a million series (`max-series-per-database`). Fields have no such cost.
//!
//! With `auto` the existing data decides: in a new measurement ids are fields, in an existing one they stay
//! what they are. So the answer is the same after every restart. The server is asked before the first point.
//! Versions 2 and 3 have no such limits, and keep the tags that dashboards for Butler SOS expect. An account
//! that may only write gets no answer, and keeps tags too.

use serde_json::Value;

use crate::kit::delivery_error::DeliveryError;
use crate::sinks::influx::answer::Reply;
use crate::sinks::influx::client::{InfluxClient, InfluxTarget};
use crate::sinks::influx::question::{first_column, quoted};

/// `Pipeline.influxdb.auditIdsAsFields`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdsAsFields {
    Auto,
    Always,
    Never,
}

/// The id that every audit event has.
const ID: &str = "eventId";

/// Whether ids of points in this measurement are fields.
///
/// # Errors
/// When the server does not answer, or is not InfluxDB; when the login fails or the database is missing,
/// because a write would fail too.
pub(crate) async fn are_fields(
    client: &InfluxClient,
    wanted: IdsAsFields,
    measurement: &str,
) -> Result<bool, DeliveryError> {
    let database = match (wanted, client.target()) {
        (IdsAsFields::Always, _) => return Ok(true),
        (IdsAsFields::Auto, InfluxTarget::V1 { database, .. }) => quoted(database),
        _ => return Ok(false),
    };
    let from = format!("ON {database} FROM {}", quoted(measurement));
    let Some(fields) = keys(&client.ask(&format!("SHOW FIELD KEYS {from}")).await?)? else {
        return Ok(false);
    };
    let Some(tags) = keys(&client.ask(&format!("SHOW TAG KEYS {from}")).await?)? else { return Ok(false) };
    Ok(follow(&fields, &tags))
}

/// Existing keys decide; without any, ids are fields.
fn follow(fields: &[String], tags: &[String]) -> bool {
    let has = |keys: &[String]| keys.iter().any(|key| key == ID);
    has(fields) || fields.is_empty() && tags.is_empty()
}

/// The keys in an answer; `None` when the statement is not allowed or not supported.
fn keys(reply: &Reply) -> Result<Option<Vec<String>>, DeliveryError> {
    match reply.status {
        200..=299 => {}
        401 | 500.. => return Err(reply.trouble()),
        _ => return Ok(None),
    }
    let answer: Value = serde_json::from_str(&reply.body).unwrap_or_default();
    if answer.get("results").is_none() {
        return Err(reply.not_influxdb("JSON with \"results\""));
    }
    match answer.pointer("/results/0/error").and_then(Value::as_str) {
        Some(detail) if detail.contains("database not found") => Err(DeliveryError::new("http-404", detail)),
        Some(_) => Ok(None),
        None => Ok(Some(first_column(&answer).map(str::to_owned).collect())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn existing_keys_decide() {
        let check = |fields: &[&str], tags: &[&str], expect: bool| {
            let owned = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect::<Vec<_>>();
            assert_eq!(follow(&owned(fields), &owned(tags)), expect, "{fields:?} {tags:?}");
        };
        check(&[], &[], true);
        check(&["sheetId"], &["eventId", "user"], false);
        check(&["sheetId"], &["user"], false);
        check(&["sheetId", "eventId"], &["user"], true);
        check(&["eventId"], &["eventId"], true);
    }

    #[test]
    fn answers() {
        let reply = |status, body: &str| keys(&Reply { status, retry_after: None, body: body.to_owned() });
        let some = r#"{"results":[{"series":[{"name":"m","columns":["tagKey"],"values":[["a"],["b"]]}]}]}"#;
        assert_eq!(reply(200, some).unwrap(), Some(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(reply(200, r#"{"results":[{"statement_id":0}]}"#).unwrap(), Some(Vec::new()));
        for status in [400, 403, 404] {
            assert_eq!(reply(status, r#"{"error":"no"}"#).unwrap(), None, "{status}");
        }
        for (status, body, class) in [
            (401, "", "http-401"),
            (503, "", "http-503"),
            (200, "<html>", "not-influxdb"),
            (200, r#"{"results":[{"error":"database not found: d"}]}"#, "http-404"),
        ] {
            assert_eq!(reply(status, body).unwrap_err().class, class, "{status} {body}");
        }
    }
}
