//! Creates the database (1, 3) or bucket (2) when it is missing. Contract: destinations.md, "InfluxDB".
//!
//! An account that may write need not have the right to do this: a lack of rights is logged and is not fatal.
//! Existing databases are never changed.

use awc::http::Method;
use awc::http::header::AUTHORIZATION;
use bytes::Bytes;
use influxdb::{Client, ReadQuery};
use serde_json::{Value, json};

use crate::kit::delivery_error::DeliveryError;
use crate::net::http_client::CONNECT_TIMEOUT;
use crate::sinks::influx::answer::Reply;
use crate::sinks::influx::client::{InfluxClient, InfluxTarget, RetentionPolicy, with_query};
use crate::sinks::influx::question::{first_column, quoted};

/// The state of the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prepared {
    Present,
    Made,
    /// The rights do not allow a look-up or creation. The database may exist nevertheless.
    NotAllowed(String),
}

/// Looks up the database and creates it when it is missing.
///
/// # Errors
/// When the server does not answer, is busy, or refuses for a reason other than missing rights.
pub async fn prepare(client: &InfluxClient) -> Result<Prepared, DeliveryError> {
    match client.target() {
        InfluxTarget::V1 { database, policy, .. } => prepare_v1(client, database, policy).await,
        InfluxTarget::V2 { org, bucket, description, retention, .. } => {
            let wanted = Bucket { org, name: bucket, description, retention };
            prepare_v2(client, &wanted).await
        }
        InfluxTarget::V3 { database, retention, .. } => prepare_v3(client, database, retention).await,
    }
}

/// Looks up the database without creating it, and without a write that would create it: version 3 creates a
/// database on the first write. The other versions answer such a write with 404.
///
/// # Errors
/// As [`prepare`], and `http-404` when the database does not exist.
pub async fn look(client: &InfluxClient) -> Result<Prepared, DeliveryError> {
    match client.target() {
        InfluxTarget::V1 { .. } | InfluxTarget::V2 { .. } => Ok(Prepared::Present),
        InfluxTarget::V3 { database, .. } => look_v3(client, database).await,
    }
}

/// Why a request was refused: missing rights, or another error.
enum Refusal {
    NotAllowed(String),
    DeliveryError(DeliveryError),
}

impl From<DeliveryError> for Refusal {
    fn from(trouble: DeliveryError) -> Self {
        Self::DeliveryError(trouble)
    }
}

fn not_fatal(outcome: Result<Prepared, Refusal>) -> Result<Prepared, DeliveryError> {
    match outcome {
        Ok(prepared) => Ok(prepared),
        Err(Refusal::NotAllowed(detail)) => Ok(Prepared::NotAllowed(detail)),
        Err(Refusal::DeliveryError(trouble)) => Err(trouble),
    }
}

/// The body of a 2xx as JSON; 401 and 403 mean missing rights. `has` is a key that InfluxDB's answer
/// contains, because a web page with status 200 is not an answer.
fn granted(reply: &Reply, has: &str) -> Result<Value, Refusal> {
    match reply.status {
        200..=299 => {
            let answer: Option<Value> = serde_json::from_str(&reply.body).ok();
            let answer = answer.filter(|answer| has.is_empty() || answer.get(has).is_some());
            Ok(answer.ok_or_else(|| not_json(reply, has))?)
        }
        401 | 403 => Err(Refusal::NotAllowed(reply.trouble().detail)),
        _ => Err(Refusal::DeliveryError(reply.trouble())),
    }
}

fn not_json(reply: &Reply, has: &str) -> DeliveryError {
    let has = if has.is_empty() { String::new() } else { format!(" with {has:?}") };
    reply.not_influxdb(&format!("JSON{has}"))
}

// === version 1 ===

async fn prepare_v1(
    client: &InfluxClient,
    database: &str,
    policy: &RetentionPolicy,
) -> Result<Prepared, DeliveryError> {
    let ensure = async {
        if first_column(&query_v1(client, "SHOW DATABASES").await?).any(|name| name == database) {
            return Ok(Prepared::Present);
        }
        query_v1(client, &create_database(database, policy)?).await?;
        Ok(Prepared::Made)
    };
    not_fatal(ensure.await)
}

/// Queries with the `influxdb` crate, which has no TLS; over TLS with our own client.
async fn query_v1(client: &InfluxClient, query: &str) -> Result<Value, Refusal> {
    let answer = if client.is_https() {
        let path = with_query("/query", &[("q", query)]);
        granted(
            &client.send(client.timeout(), Method::POST, &path, "", Bytes::new(), None).await?,
            "results",
        )?
    } else {
        let administration = Client::new(client.base(), "").with_http_client(plain_http(client)?);
        let answer = administration.query(ReadQuery::new(query)).await.map_err(refusal_v1)?;
        granted(&Reply { status: 200, retry_after: None, body: answer }, "results")?
    };
    match answer.pointer("/results/0/error").or_else(|| answer.get("error")).and_then(Value::as_str) {
        Some(detail) => Err(Refusal::DeliveryError(DeliveryError::new("administration", detail))),
        None => Ok(answer),
    }
}

/// As our own client: no proxy, no redirects, time-outs; credentials in a header, not in the address.
fn plain_http(client: &InfluxClient) -> Result<reqwest::Client, Refusal> {
    let builder = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(client.timeout());
    let mut headers = reqwest::header::HeaderMap::new();
    if let Some(value) = client.authorization() {
        let value = reqwest::header::HeaderValue::from_bytes(value.as_bytes());
        let mut value = value.map_err(|_| {
            DeliveryError::new(
                "administration",
                "the credentials contain characters that HTTP does not allow",
            )
        })?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION.as_str(), value);
    }
    let built = builder.default_headers(headers).build();
    Ok(built.map_err(|error| DeliveryError::new("administration", error.to_string()))?)
}

fn refusal_v1(error: influxdb::Error) -> Refusal {
    let reply = |status| Reply { status, retry_after: None, body: String::new() };
    match error {
        influxdb::Error::ApiError(status @ (401 | 403)) => {
            Refusal::NotAllowed(reply(status).trouble().detail)
        }
        influxdb::Error::ApiError(status) => Refusal::DeliveryError(reply(status).trouble()),
        influxdb::Error::DatabaseError { error } if error.contains("not authorized") => {
            Refusal::NotAllowed(error)
        }
        influxdb::Error::ConnectionError { error } => {
            Refusal::DeliveryError(DeliveryError::new("connect", error))
        }
        other => Refusal::DeliveryError(DeliveryError::new("administration", other.to_string())),
    }
}

fn create_database(database: &str, policy: &RetentionPolicy) -> Result<String, DeliveryError> {
    let duration = match seconds(&policy.duration) {
        Some(0) => "INF",
        Some(_) => policy.duration.trim(),
        None => return Err(bad_duration(&policy.duration)),
    };
    Ok(format!("CREATE DATABASE {} WITH DURATION {duration} NAME {}", quoted(database), quoted(&policy.name)))
}

// === version 2 ===

struct Bucket<'a> {
    org: &'a str,
    name: &'a str,
    description: &'a str,
    retention: &'a str,
}

async fn prepare_v2(client: &InfluxClient, wanted: &Bucket<'_>) -> Result<Prepared, DeliveryError> {
    not_fatal(ensure_bucket(client, wanted).await)
}

async fn ensure_bucket(client: &InfluxClient, wanted: &Bucket<'_>) -> Result<Prepared, Refusal> {
    let path = with_query("/api/v2/buckets", &[("org", wanted.org), ("name", wanted.name)]);
    let found = client.get(&path).await?;
    if found.status != 404 {
        let named = |bucket: &Value| bucket.get("name").and_then(Value::as_str) == Some(wanted.name);
        let answer = granted(&found, "buckets")?;
        if answer.get("buckets").and_then(Value::as_array).is_some_and(|buckets| buckets.iter().any(named)) {
            return Ok(Prepared::Present);
        }
    }
    // The server lists only what the token may see, so a missing organisation can be a lack of rights.
    let found = client.get(&with_query("/api/v2/orgs", &[("org", wanted.org)])).await?;
    let answer = if found.status == 404 { Value::Null } else { granted(&found, "orgs")? };
    let Some(org_id) = answer.pointer("/orgs/0/id").and_then(Value::as_str) else {
        let detail = format!("the token sees no organisation {:?}", wanted.org);
        return Err(Refusal::NotAllowed(detail));
    };
    let mut body =
        json!({ "orgID": org_id, "name": wanted.name, "retentionRules": retention_rules(wanted.retention)? });
    if !wanted.description.is_empty() {
        body["description"] = wanted.description.into();
    }
    let made = post_json(client, "/api/v2/buckets", &body).await?;
    if made.status == 422 && made.body.contains("already exists") {
        return Ok(Prepared::Present);
    }
    granted(&made, "id")?;
    Ok(Prepared::Made)
}

fn retention_rules(duration: &str) -> Result<Value, DeliveryError> {
    match seconds(duration) {
        Some(0) => Ok(json!([])),
        Some(seconds) => Ok(json!([{ "type": "expire", "everySeconds": seconds }])),
        None => Err(bad_duration(duration)),
    }
}

// === version 3 ===

async fn prepare_v3(
    client: &InfluxClient,
    database: &str,
    retention: &str,
) -> Result<Prepared, DeliveryError> {
    let mut body = json!({ "db": database });
    match seconds(retention) {
        Some(0) => {}
        Some(_) => body["retention_period"] = retention.trim().into(),
        None => return Err(bad_duration(retention)),
    }
    let made = post_json(client, "/api/v3/configure/database", &body).await?;
    let exists = made.status == 409 || (matches!(made.status, 400 | 422) && made.body.contains("exists"));
    match made.status {
        _ if exists => Ok(Prepared::Present),
        // Hosted editions create databases through another API.
        404 | 405 => Ok(Prepared::NotAllowed(made.trouble().detail)),
        200..=299 if made.body.trim().is_empty() => Ok(Prepared::Made),
        _ => not_fatal(granted(&made, "").map(|_| Prepared::Made)),
    }
}

/// An account that may not list databases, or a server without such a list, is tested by a write.
async fn look_v3(client: &InfluxClient, database: &str) -> Result<Prepared, DeliveryError> {
    let listed = client.get(&with_query("/api/v3/configure/database", &[("format", "json")])).await?;
    if matches!(listed.status, 404 | 405) {
        return Ok(Prepared::NotAllowed(listed.trouble().detail));
    }
    let listed = granted(&listed, "").map(|answer| match names_v3(&answer) {
        Some(names) if names.contains(&database) => Ok(Prepared::Present),
        Some(_) => {
            let detail = format!("InfluxDB has no database {database:?}, and the server must not create it");
            Err(Refusal::DeliveryError(DeliveryError::new("http-404", detail)))
        }
        None => Ok(Prepared::NotAllowed("the list of databases is unreadable".to_owned())),
    });
    not_fatal(listed.and_then(|found| found))
}

/// The names in a list of databases: `[{"iox::database":"events"}, …]`. Deleted ones have `"deleted":true`.
pub(crate) fn names_v3(answer: &Value) -> Option<Vec<&str>> {
    let is_there = |row: &&Value| row.get("deleted") != Some(&Value::Bool(true));
    answer.as_array()?.iter().filter(is_there).map(|row| row.get("iox::database")?.as_str()).collect()
}

// === helpers ===

async fn post_json(client: &InfluxClient, path: &str, body: &Value) -> Result<Reply, DeliveryError> {
    client.send(client.timeout(), Method::POST, path, "application/json", body.to_string().into(), None).await
}

fn bad_duration(duration: &str) -> DeliveryError {
    DeliveryError::new("config", format!("{duration:?} is not a duration such as 10d, 12h or 1w"))
}

/// An InfluxDB duration in whole seconds, rounded up; 0 is unlimited. `None` for an invalid duration.
fn seconds(duration: &str) -> Option<u64> {
    let duration = duration.trim();
    if duration.is_empty() || ["inf", "none"].iter().any(|word| duration.eq_ignore_ascii_case(word)) {
        return Some(0);
    }
    let (mut rest, mut total) = (duration, 0_u64);
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let count: u64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = rest.bytes().take_while(|byte| !byte.is_ascii_digit()).count();
        let seconds = match &rest[..unit] {
            "ns" => count.div_ceil(1_000_000_000),
            "u" | "µ" | "us" => count.div_ceil(1_000_000),
            "ms" => count.div_ceil(1_000),
            "s" => count,
            "m" => count.checked_mul(60)?,
            "h" => count.checked_mul(3_600)?,
            "d" => count.checked_mul(86_400)?,
            "w" => count.checked_mul(604_800)?,
            _ => return None,
        };
        total = total.checked_add(seconds)?;
        rest = &rest[unit..];
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_durations() {
        for (text, expect) in [
            ("10d", Some(864_000)),
            ("1h30m", Some(5_400)),
            ("1w", Some(604_800)),
            ("90s", Some(90)),
            ("1ms", Some(1)),
            ("5µ", Some(1)),
            ("0s", Some(0)),
            ("INF", Some(0)),
            ("", Some(0)),
            ("10", None),
            ("d", None),
            ("10d;DROP DATABASE x", None),
            ("10 d", None),
            ("-1d", None),
            ("99999999999999999999d", None),
            ("9999999999999999999w", None),
        ] {
            assert_eq!(seconds(text), expect, "{text:?}");
        }
    }

    #[test]
    fn statements() {
        let policy = |duration: &str| RetentionPolicy { name: "a\"b\\".into(), duration: duration.into() };
        let expect = r#"CREATE DATABASE "x\"; y" WITH DURATION 10d NAME "a\"b\\""#;
        assert_eq!(create_database("x\"; y", &policy("10d")).unwrap(), expect);
        assert!(create_database("x", &policy("0s")).unwrap().contains("DURATION INF"));
        assert_eq!(create_database("x", &policy("1d NAME y")).unwrap_err().class, "config");
    }

    #[test]
    fn reads_databases_from_an_answer() {
        let answer = json!([{"iox::database":"a"},{"iox::database":"b","deleted":true},{"iox::database":"c","deleted":false}]);
        assert_eq!(names_v3(&answer), Some(vec!["a", "c"]));
        assert_eq!(names_v3(&json!([])), Some(vec![]));
        for strange in [json!({}), json!(["a"]), Value::Null] {
            assert_eq!(names_v3(&strange), None, "{strange}");
        }
    }
}
