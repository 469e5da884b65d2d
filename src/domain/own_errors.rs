//! What kind of error an actor has met, in the words of Butler SOS's error tracking.
//!
//! Inside, an error is the actor's name and a short class (`http-503`, `connect`, `disk`); outside it is a type, the
//! part of the server, and a category, as dashboards know them. Kinds that Butler SOS does not have are named alike.

use std::collections::BTreeMap;

use crate::encode::line_protocol::Version;

/// The type of an error, and the part of the server it belongs to.
pub type ErrorType = (&'static str, &'static str);

/// What the errors of each destination are called, by the name of its actor.
pub type ErrorTypes = BTreeMap<&'static str, ErrorType>;

/// What an error that `actor` has met is called.
#[must_use]
pub fn error_type(actor: &str, destinations: &ErrorTypes) -> ErrorType {
    if let Some(error_type) = destinations.get(actor) {
        return *error_type;
    }
    match actor {
        "app_directory" => ("APP_NAMES_EXTRACT", "APP_NAMES"),
        "user_parser" => ("UDP_USER_EVENT", "UDP_USER_EVENTS"),
        "udp_ingestor" => ("UDP_USER_EVENT", "UDP_USER_EVENTS"),
        "audit_http_ingestor" => ("AUDIT_EVENT", "AUDIT_EVENTS_API"),
        "journal" => ("JOURNAL_WRITE", "JOURNAL"),
        "heartbeat" => ("HEARTBEAT", "HEARTBEAT"),
        "redirect_walker" | "session_cache_actor" | "ticket_actor" | "image_writer" => {
            ("SCREENSHOT", "SCREENSHOTS")
        }
        _ => ("INTERNAL", "INTERNAL"),
    }
}

/// The type of errors of an InfluxDB of this version.
#[must_use]
pub fn influx_error_type(version: Version) -> &'static str {
    match version {
        Version::V1 => "INFLUXDB_V1_WRITE",
        Version::V2 => "INFLUXDB_V2_WRITE",
        Version::V3 => "INFLUXDB_V3_WRITE",
    }
}

/// The category of a class of errors, and the HTTP status if it names one.
#[must_use]
pub fn category(error_type: &str, class: &str) -> (&'static str, Option<u16>) {
    let status: Option<u16> = class.strip_prefix("http-").and_then(|status| status.parse().ok());
    let category = match (class, status) {
        ("timeout", _) => "timeout",
        ("connect", _) => "connection_refused",
        ("dns", _) => "host_not_found",
        ("connection", _) => "connection_reset",
        ("tls", _) => "certificate_error",
        (_, Some(401 | 403)) => "auth_error",
        (_, Some(404)) => "not_found",
        (_, Some(429)) => "rate_limited",
        (_, Some(500..=599)) => "http_5xx",
        (_, Some(400..=499)) => "http_4xx",
        ("http-4xx", _) => "http_4xx",
        ("http-5xx", _) => "http_5xx",
        _ if error_type == "MQTT_PUBLISH" => "mqtt_error",
        _ if error_type == "NEW_RELIC_POST" => "new_relic_error",
        _ => "unknown",
    };
    (category, status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types() {
        let destinations =
            ErrorTypes::from([("influx_sink", (influx_error_type(Version::V2), "USER_EVENTS"))]);
        let check = |actor, expect| assert_eq!(error_type(actor, &destinations), expect, "{actor}");
        check("influx_sink", ("INFLUXDB_V2_WRITE", "USER_EVENTS"));
        check("journal", ("JOURNAL_WRITE", "JOURNAL"));
        check("who", ("INTERNAL", "INTERNAL"));
    }

    #[test]
    fn categories() {
        let check = |error_type, class, expect| assert_eq!(category(error_type, class), expect, "{class}");
        check("INFLUXDB_V2_WRITE", "http-503", ("http_5xx", Some(503)));
        check("INFLUXDB_V2_WRITE", "http-401", ("auth_error", Some(401)));
        check("INFLUXDB_V2_WRITE", "http-404", ("not_found", Some(404)));
        check("INFLUXDB_V2_WRITE", "http-429", ("rate_limited", Some(429)));
        check("INFLUXDB_V2_WRITE", "http-4xx", ("http_4xx", None));
        check("INFLUXDB_V2_WRITE", "connect", ("connection_refused", None));
        check("MQTT_PUBLISH", "broker", ("mqtt_error", None));
        check("FILE_WRITE", "disk", ("unknown", None));
    }
}
