//! Whose fault it is when InfluxDB refuses a write: sorted by what the answer says, not by its status alone. Pure.
//!
//! | fault | the answer says | what follows |
//! |---|---|---|
//! | [`Fault::Lines`] | a line cannot be parsed, a field has another type, a time is out of range | the bad lines are found and become dead letters |
//! | [`Fault::Limit`] | a limit of series, tag values, columns or tables is reached | the lines are found and parked until the limit is raised |
//! | [`Fault::Server`] | its disk, cache, cluster or clock is at fault, or the database is not there | the same lines again, later |
//! | [`Fault::Foreign`] | 400 or 422 in words that are not InfluxDB's: a proxy, another service, HTTP to an HTTPS port | the same lines again, later |
//!
//! Status 400 and 422 mean lines unless the words say otherwise; 4xx and 5xx beside them mean the server unless the
//! words name lines. An answer may repeat text of an event, and always does so behind a quotation mark: only what
//! stands before the first one is looked at, so that no event can choose how its refusal is sorted.

/// Whose fault a refusal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Of the lines, or of some of them.
    Lines,
    /// The lines are right, but a limit of the server keeps some of them out.
    Limit,
    /// The server is in trouble, or the database, the rights or the request do not fit.
    Server,
    /// The answer is none of InfluxDB.
    Foreign,
}

/// The answer repeats lines or names of fields behind these words.
const LINES_REPEATED: [&str; 2] = ["unable to parse", "field type conflict"];

/// Limits of versions 1, 2 and 3 that some lines meet and others do not.
const LIMITS: [&str; 3] = ["max-values-per-tag", "max-series-per-database", "cardinality"];
const LIMIT_REACHED: [&str; 4] = ["limit", "exceed", "too many", "maximum"];
const LIMITED: [&str; 6] = ["series", "tag value", "column", "tables", "measurements", "partitions"];

/// DeliveryError of the server, whatever the status.
const OF_SERVER: [&str; 28] = [
    "timeout",
    "timed out",
    "cache-max-memory",
    "cache maximum memory",
    "no space left",
    "disk full",
    "disk quota",
    "read-only file system",
    "too many open files",
    "input/output error",
    "permission denied",
    "engine is closed",
    "engine closed",
    "shard is disabled",
    "shard not found",
    "hinted handoff",
    "databases",
    "database not found",
    "database is required",
    "retention policy not found",
    "bucket not found",
    "organization not found",
    "not authorized",
    "unauthorized",
    "forbidden",
    "unavailable",
    "connection refused",
    "rate limit",
];

/// Lines are at fault, whatever the status.
const OF_LINES: [&str; 13] = [
    "input field",
    "beyond retention policy",
    "outside retention policy",
    "outside time range",
    "time outside range",
    "max key size",
    "max key length",
    "parsing failed",
    "failed to parse",
    "line protocol",
    "invalid column type",
    "column type conflict",
    "not found in schema",
];

/// Whose fault a refusal is. `message` is the text of the answer's JSON, `None` when the body is no JSON with a text;
/// `lines` are what it says about single lines.
///
/// Answers of 401, 403, 404, 408, 413 and 429 are not about lines and not to be sorted here, but for limits.
#[must_use]
pub fn fault<'m>(
    status: u16,
    message: Option<&str>,
    body: &str,
    lines: impl IntoIterator<Item = &'m str>,
) -> Fault {
    let head = head(message.unwrap_or(body));
    let says = |detail: &[&str]| detail.iter().any(|word| head.contains(word));
    let is_about_access = matches!(status, 401 | 403 | 404 | 408);
    if is_about_access {
        return Fault::Server;
    }
    if says(&LINES_REPEATED) && status != 429 {
        return Fault::Lines;
    }
    if is_limit_in(&head) || lines.into_iter().any(is_limit) {
        return Fault::Limit;
    }
    // A write of a cluster is partial for other reasons, too; lines that were dropped are counted.
    let counts_lines = says(&["partial write"]) && message.unwrap_or(body).contains(" dropped=");
    match status {
        429 => Fault::Server,
        _ if says(&OF_SERVER) => Fault::Server,
        _ if says(&OF_LINES) || counts_lines => Fault::Lines,
        400 | 422 if message.is_some() => Fault::Lines,
        400 | 422 => Fault::Foreign,
        _ => Fault::Server,
    }
}

/// Whether these words about a line say that a limit keeps it out.
#[must_use]
pub fn is_limit(detail: &str) -> bool {
    let head = head(detail);
    !LINES_REPEATED.iter().any(|word| head.contains(word)) && is_limit_in(&head)
}

fn is_limit_in(head: &str) -> bool {
    let says = |detail: &[&str]| detail.iter().any(|word| head.contains(word));
    says(&LIMITS) || says(&LIMIT_REACHED) && says(&LIMITED)
}

/// What the server says in its own words: all before the first quotation mark, in lower case.
fn head(message: &str) -> String {
    let end = message.find(['\'', '"', '`']).unwrap_or(message.len());
    message[..end].chars().take(HEAD_CHARS_MAX).collect::<String>().to_lowercase()
}

/// The server's own words are short; a page that a proxy sends is not.
const HEAD_CHARS_MAX: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn check(status: u16, message: &str, expect: Fault) {
        assert_eq!(fault(status, Some(message), message, []), expect, "{status} {message}");
    }

    #[test]
    fn lines_are_at_fault_whatever_the_status() {
        for status in [400, 422, 500, 503] {
            for message in [
                "unable to parse 'm f=': missing field value",
                "partial write: unable to parse 'm f=': missing field value dropped=0",
                "unexpected error writing points to database: field type conflict: input field \"userId\" on \
                 measurement \"user_events\" is type string, already exists as type float",
                "failure writing points to database: partial write: field type conflict: input field \"f\" on \
                 measurement \"m\" is type float, already exists as type string dropped=1",
                "failure writing points to database: partial write: points beyond retention policy dropped=2",
                "partial write: max key length exceeded: 70000 > 65535 dropped=1",
                "partial write of line protocol occurred",
                "parsing failed for write_lp endpoint",
                "invalid column type for column 'f', expected iox::column_type::field::float",
            ] {
                check(status, message, Fault::Lines);
            }
        }
        check(400, "something nobody has heard of", Fault::Lines);
        check(422, "invalid boolean", Fault::Lines);
    }

    #[test]
    fn limits_are_the_servers_trouble() {
        for message in [
            "partial write: max-values-per-tag limit exceeded (5/5): measurement=\"a\" tag=\"e\" value=\"e6\" dropped=1",
            "partial write: max-series-per-database limit exceeded: (12) dropped=1",
            "Update to schema would exceed number of columns per table limit of 500 columns",
            "Update to schema would exceed number of tables limit of 2000 tables",
            "bucket exceeds its maximum series cardinality",
            "max series exceeded",
        ] {
            for status in [400, 422, 429, 500] {
                check(status, message, Fault::Limit);
            }
            assert!(is_limit(message), "{message}");
        }
        let lines = ["invalid column type", "would exceed the column limit of 500"];
        assert_eq!(fault(400, Some("partial write of line protocol occurred"), "", lines), Fault::Limit);
    }

    #[test]
    fn a_server_in_trouble_keeps_its_lines_whatever_the_status() {
        for status in [400, 422, 500, 503] {
            for message in [
                "timeout",
                "unexpected error writing points to database: timeout",
                "engine: cache-max-memory-size exceeded: (1074767264/1073741824)",
                "partial write: engine: cache-max-memory-size exceeded: (1/1) dropped=3",
                "write /var/lib/influxdb/wal/x: no space left on device",
                "partial write: hinted handoff queue not empty",
                "database not found: \"x\"",
                "retention policy not found: 10d",
                "database is required",
                "Adding a new database would exceed limit of 5 databases",
            ] {
                check(status, message, Fault::Server);
            }
        }
        for (status, message) in [
            (401, "unable to parse authentication credentials"),
            (403, "field type conflict"),
            (404, "bucket not found"),
            (429, "unable to parse"),
            (429, "org 1 has exceeded limited_write plan limit"),
            (500, "internal error"),
            (500, "partial write"),
            (503, ""),
            (418, "no coffee"),
        ] {
            check(status, message, Fault::Server);
        }
    }

    #[test]
    fn refusals_that_are_not_influxdbs_keep_their_lines() {
        for body in [
            "",
            "Client sent an HTTP request to an HTTPS server.\n",
            "<html><head><title>400 The plain HTTP request was sent to HTTPS port</title></head></html>",
            "Bad Request",
        ] {
            assert_eq!(fault(400, None, body, []), Fault::Foreign, "{body}");
            assert_eq!(fault(500, None, body, []), Fault::Server, "{body}");
        }
        assert_eq!(fault(400, None, "unable to parse 'm': missing fields", []), Fault::Lines);
    }

    #[test]
    fn text_of_an_event_does_not_choose_how_it_is_sorted() {
        for text in ["timeout", "no space left on device", "max-values-per-tag limit exceeded", "cardinality"]
        {
            check(400, &format!("unable to parse 'm,t={text} f=': missing field value"), Fault::Lines);
            check(500, &format!("partial write: field type conflict: input field \"{text}\""), Fault::Lines);
            assert!(!is_limit(&format!("unable to parse 'm,t={text} f=': missing field value")));
            assert_eq!(
                fault(500, None, &format!("internal error in '{text}' unable to parse"), []),
                Fault::Server
            );
        }
        let hostile = "partial write: max-values-per-tag limit exceeded (5/5): measurement=\"m\" tag=\"t\" \
                       value=\"unable to parse ' field type conflict\" dropped=1";
        check(400, hostile, Fault::Limit);
    }
}
