//! Checks an InfluxDB before the first event is sent there: whether it is InfluxDB, whether login, database
//! and write access work, and how near its limits are. Changes nothing there.
//!
//! | version | is it InfluxDB | login and database | write access |
//! |---|---|---|---|
//! | 1 | `/ping` | `SHOW DATABASES`, `SHOW DIAGNOSTICS` (only for administrators) | a write without lines:
//! 204, 403, 404 |
//! | 2 | `/health` | `/api/v2/buckets`, `/api/v2/orgs` | a write without lines: 400 `writing requires points`, 401, 403, 404 |
//! | 3 | `/health`, which requires the token too | `/api/v3/configure/database` | cannot be tested, because a
//! write creates the database |

use serde_json::Value;

use crate::kit::delivery_error::DeliveryError;
use crate::sinks::influx::answer::Reply;
use crate::sinks::influx::client::{InfluxClient, InfluxTarget, with_query};
use crate::sinks::influx::question::{cell, first_column, quoted};

/// The results, for people.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Examined {
    /// Checks that passed.
    pub fine: Vec<String>,
    /// Events arrive, but an administrator should look.
    pub warnings: Vec<String>,
}

/// A tag with an ever-growing number of values, and its measurement.
#[derive(Debug, Clone)]
pub struct Growing {
    pub measurement: String,
    pub tag: &'static str,
}

/// Warn from this share of a limit on.
const NEAR_PERCENT: u64 = 80;

/// Runs all checks. `is_created` is whether a missing database may be created.
///
/// # Errors
/// The reason why events would not arrive.
pub async fn examine(
    client: &InfluxClient,
    is_created: bool,
    growing: &[Growing],
) -> Result<Examined, DeliveryError> {
    is_influxdb(client).await?;
    match client.target() {
        InfluxTarget::V1 { database, .. } => examine_v1(client, database, is_created, growing).await,
        InfluxTarget::V2 { org, bucket, .. } => examine_v2(client, org, bucket, is_created).await,
        InfluxTarget::V3 { database, .. } => examine_v3(client, database, is_created).await,
    }
}

async fn is_influxdb(client: &InfluxClient) -> Result<(), DeliveryError> {
    let health = if matches!(client.target(), InfluxTarget::V1 { .. }) { "/ping" } else { "/health" };
    let mut reply = client.get(health).await?;
    if matches!(reply.status, 404 | 405) {
        // Hosted editions support only this address.
        reply = client.get("/ping").await?;
    }
    match reply.status {
        200..=299 if is_health(&reply) => Ok(()),
        200..=299 => Err(reply.not_influxdb("204, \"OK\" or JSON with \"status\" or \"version\"")),
        _ => Err(reply.trouble()),
    }
}

/// Versions 1 and 2 answer a ping with 204 and a health request with JSON, version 3 with JSON and `OK`.
fn is_health(reply: &Reply) -> bool {
    let json: Value = serde_json::from_str(&reply.body).unwrap_or_default();
    reply.status == 204
        || reply.body.trim() == "OK"
        || ["status", "version"].iter().any(|key| json.get(key).is_some_and(Value::is_string))
}

// === version 1 ===

async fn examine_v1(
    client: &InfluxClient,
    database: &str,
    is_created: bool,
    growing: &[Growing],
) -> Result<Examined, DeliveryError> {
    let listed = client.ask("SHOW DATABASES").await?;
    if listed.status == 401 {
        return Err(listed.trouble());
    }
    let is_listed = match listed.status {
        200..=299 => first_column(&results(&listed)?).any(|name| name == database),
        _ => false,
    };
    let diagnostics = client.ask("SHOW DIAGNOSTICS").await?;
    let mut examined = Examined::default();
    // Only administrators may run it, and only they see every database and may create one.
    let is_administrator = matches!(diagnostics.status, 200..=299);
    if !is_listed && diagnostics.status != 403 {
        return missing(examined, "database", database, is_created);
    }
    let tried = client.write_nothing().await?;
    match tried.status {
        204 => examined.fine.push(format!("database {database:?} accepts writes")),
        404 => {
            let who = " It cannot be created either: that requires administrator privileges.";
            let mut trouble = tried.trouble();
            trouble.detail.push_str(if is_administrator { "" } else { who });
            return Err(trouble);
        }
        // Rights were checked before.
        _ if tried.body.contains("retention policy not found") => {
            examined.fine.push(format!("database {database:?} accepts writes"));
            examined.warnings.push(format!(
                "database {database:?} lacks the configured retention policy: its default policy is used"
            ));
        }
        _ => return Err(tried.trouble()),
    }
    if is_administrator {
        limits(client, database, &results(&diagnostics)?, growing, &mut examined).await?;
    }
    Ok(examined)
}

fn missing(
    mut examined: Examined,
    kind: &str,
    name: &str,
    is_created: bool,
) -> Result<Examined, DeliveryError> {
    if !is_created {
        let detail = format!("InfluxDB has no {kind} {name:?}, and Pipeline.influxdb.createDatabase is off");
        return Err(DeliveryError::new("http-404", detail));
    }
    examined.fine.push(format!("{kind} {name:?} does not exist yet and will be created"));
    Ok(examined)
}

fn results(reply: &Reply) -> Result<Value, DeliveryError> {
    let answer: Value = serde_json::from_str(&reply.body).unwrap_or_default();
    match answer.get("results") {
        Some(_) => Ok(answer),
        None => Err(reply.not_influxdb("JSON with \"results\"")),
    }
}

/// Warns about limits that are near.
async fn limits(
    client: &InfluxClient,
    database: &str,
    diagnostics: &Value,
    growing: &[Growing],
    examined: &mut Examined,
) -> Result<(), DeliveryError> {
    let limit = |name: &str| {
        cell(diagnostics, "config-data", name).and_then(Value::as_u64).filter(|limit| *limit > 0)
    };
    let database = quoted(database);
    if let Some(limit) = limit("max-series-per-database") {
        let series = count(client, &format!("SHOW SERIES CARDINALITY ON {database}")).await?;
        examined.warnings.extend(
            series.and_then(|series| {
                near(series, limit, "max-series-per-database", &format!("{series} series"))
            }),
        );
    }
    let Some(limit) = limit("max-values-per-tag") else { return Ok(()) };
    for Growing { measurement, tag } in growing {
        let from = format!("ON {database} FROM {} WITH KEY = {}", quoted(measurement), quoted(tag));
        let values = count(client, &format!("SHOW TAG VALUES CARDINALITY {from}")).await?;
        examined.warnings.extend(values.and_then(|values| {
            near(
                values,
                limit,
                "max-values-per-tag",
                &format!("{values} values of the tag {tag} of {measurement}"),
            )
        }));
    }
    Ok(())
}

fn near(number: u64, limit: u64, name: &str, what: &str) -> Option<String> {
    (number.saturating_mul(100) >= limit.saturating_mul(NEAR_PERCENT)).then(|| {
        format!(
            "InfluxDB has {what}, and its {name} is {limit}: events beyond it are parked, not written. Raise the limit \
             in influxdb.conf (0: none), or write to a new database"
        )
    })
}

/// The only number of an answer; `None` when the server does not support the statement.
async fn count(client: &InfluxClient, statement: &str) -> Result<Option<u64>, DeliveryError> {
    let reply = client.ask(statement).await?;
    let answer: Value = serde_json::from_str(&reply.body).unwrap_or_default();
    Ok(answer.pointer("/results/0/series/0/values/0/0").and_then(Value::as_u64))
}

// === version 2 ===

async fn examine_v2(
    client: &InfluxClient,
    org: &str,
    bucket: &str,
    is_created: bool,
) -> Result<Examined, DeliveryError> {
    let mut examined = Examined::default();
    let found = client.get(&with_query("/api/v2/buckets", &[("org", org), ("name", bucket)])).await?;
    let is_listed = match found.status {
        401 => return Err(found.trouble()),
        200..=299 => {
            let named = |of: &Value| of.get("name").and_then(Value::as_str) == Some(bucket);
            let answer: Value = serde_json::from_str(&found.body).unwrap_or_default();
            let buckets = answer.get("buckets").and_then(Value::as_array);
            buckets.ok_or_else(|| found.not_influxdb("JSON with \"buckets\""))?.iter().any(named)
        }
        _ => false,
    };
    if !is_listed {
        // The server lists only what the token may see.
        let orgs = client.get(&with_query("/api/v2/orgs", &[("org", org)])).await?;
        let seen: Value = serde_json::from_str(&orgs.body).unwrap_or_default();
        if orgs.status == 200 && seen.pointer("/orgs/0/id").is_some() {
            return missing(examined, "bucket", bucket, is_created);
        }
    }
    let tried = client.write_nothing().await?;
    match tried.status {
        204 => {}
        400 if tried.detail().contains("requires points") => {}
        _ => return Err(tried.trouble()),
    }
    examined.fine.push(format!("bucket {bucket:?} accepts writes"));
    Ok(examined)
}

// === version 3 ===

async fn examine_v3(
    client: &InfluxClient,
    database: &str,
    is_created: bool,
) -> Result<Examined, DeliveryError> {
    let listed = client.get(&with_query("/api/v3/configure/database", &[("format", "json")])).await?;
    let mut examined = Examined::default();
    match listed.status {
        401 => return Err(listed.trouble()),
        200..=299 => {
            let answer: Value = serde_json::from_str(&listed.body).unwrap_or_default();
            let names = crate::sinks::influx::admin::names_v3(&answer);
            let names = names.ok_or_else(|| listed.not_influxdb("a list of databases in JSON"))?;
            if !names.contains(&database) {
                return missing(examined, "database", database, is_created);
            }
            examined.fine.push(format!(
                "database {database:?} exists (the first write shows whether the token can write)"
            ));
        }
        _ => examined
            .fine
            .push("the token cannot list databases; the first write shows whether it can write".to_owned()),
    }
    Ok(examined)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recognises_answers_of_influxdb() {
        let check = |status, body: &str, expect: bool| {
            let reply = Reply { status, retry_after: None, body: body.to_owned() };
            assert_eq!(is_health(&reply), expect, "{status} {body}");
        };
        check(204, "", true);
        check(200, "OK", true);
        check(200, r#"{"name":"influxdb","message":"ready for queries and writes","status":"pass"}"#, true);
        check(200, r#"{"version":"3.0.1","revision":"x","process_id":"y"}"#, true);
        for page in ["", "<!doctype html><html><body>Sign in</body></html>", "{}", "[]", "okay"] {
            check(200, page, false);
        }
    }

    #[test]
    fn warns_about_limits_that_are_near() {
        assert_eq!(near(79, 100, "max-series-per-database", "79 series"), None);
        let detail = near(80, 100, "max-series-per-database", "80 series").unwrap();
        assert!(
            detail.contains("80 series") && detail.contains("max-series-per-database is 100"),
            "{detail}"
        );
        assert!(near(u64::MAX, u64::MAX, "x", "many").is_some());
    }
}
