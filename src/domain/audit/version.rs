//! The versions of Audit.qs that this server accepts.
//!
//! Versions are compared by the rules of semver.org, and the range is interpreted like npm's: a pre-release
//! is only in a range that names one of the same version.
//! Contract: `audit-api.md`, "Version".

use std::borrow::Cow;

use serde_json::{Value, json};

use super::envelope::Envelope;
use super::refusal::Refusal;

/// The version of Butler SOS that this server reports.
pub const BUTLER_SOS_VERSION: &str = "15.0.1";

/// The accepted versions of Audit.qs, from (inclusive) and to (exclusive).
const ACCEPTED: std::ops::Range<(u64, u64, u64)> = (0, 3, 0)..(0, 5, 0);

pub const REASON: &str = "Incompatible Audit.qs version";

/// The maximum length of a client's version in an answer; npm has the same limit.
const VERSION_CHARACTERS_MAX: usize = 256;

/// The result of the connection test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionTest<'a> {
    pub audit_qs_version: Option<Cow<'a, str>>,
    /// False without a version.
    pub compatible: bool,
}

impl ConnectionTest<'_> {
    /// The answer's body; `timestamp` is ISO 8601.
    pub fn body(&self, timestamp: &str) -> Value {
        json!({
            "status": "ok",
            "message": "Butler SOS Audit API is reachable",
            "timestamp": timestamp,
            "butlerSosVersion": BUTLER_SOS_VERSION,
            "auditQsVersion": self.audit_qs_version,
            "compatible": self.compatible,
        })
    }
}

/// `GET /api/v1/test-connection`: `header` is the received `X-Audit-QS-Version`, if any.
pub fn test_connection(header: Option<&str>) -> ConnectionTest<'_> {
    let audit_qs_version = first_value(header).map(|version| shown(Cow::Borrowed(version)));
    let compatible = audit_qs_version.as_deref().is_some_and(is_compatible);
    ConnectionTest { audit_qs_version, compatible }
}

/// The version of an event, if it is compatible; `None` for an event without one.
pub(super) fn check<'a>(
    header: Option<&'a str>,
    envelope: &Envelope<'a>,
) -> Result<Option<Cow<'a, str>>, Refusal> {
    let version = match first_value(header) {
        Some(version) => Some(Cow::Borrowed(version)),
        None => envelope.source_version.clone(),
    };
    match version {
        Some(version) if !is_compatible(&version) => Err(Refusal {
            status: 422,
            outcome: "dropped",
            reason: REASON,
            details: json!({
                "butlerSosVersion": BUTLER_SOS_VERSION,
                "auditQsVersion": shown(version),
                "compatible": false,
            }),
        }),
        version => Ok(version),
    }
}

/// The first value of a header that was sent once or several times.
fn first_value(header: Option<&str>) -> Option<&str> {
    header?.split(',').next().map(str::trim).filter(|value| !value.is_empty())
}

fn shown(version: Cow<'_, str>) -> Cow<'_, str> {
    match version.char_indices().nth(VERSION_CHARACTERS_MAX) {
        None => version,
        Some((end, _)) => Cow::Owned(version[..end].to_owned()),
    }
}

/// Whether `version` is a version number in the accepted range.
pub fn is_compatible(version: &str) -> bool {
    released(version).is_some_and(|version| ACCEPTED.contains(&version))
}

/// Major, minor and patch of a version number; `None` for a pre-release.
fn released(version: &str) -> Option<(u64, u64, u64)> {
    let version = version.trim();
    if version.len() > VERSION_CHARACTERS_MAX {
        return None;
    }
    let version = version.strip_prefix('v').unwrap_or(version);
    let (version, build) = match version.split_once('+') {
        Some((version, build)) => (version, Some(build)),
        None => (version, None),
    };
    let identifier = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    if build.is_some_and(|build| !build.split('.').all(identifier)) {
        return None;
    }
    let mut parts = version.split('.').map(whole);
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(Some(major)), Some(Some(minor)), Some(Some(patch)), None) => Some((major, minor, patch)),
        _ => None,
    }
}

/// Digits without a leading zero.
fn whole(digits: &str) -> Option<u64> {
    let well_formed = !digits.is_empty()
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && (digits == "0" || !digits.starts_with('0'));
    well_formed.then(|| digits.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_versions_in_the_range() {
        let check = |version: &str, expect: bool| assert_eq!(is_compatible(version), expect, "{version:?}");
        check("0.3.0", true);
        check("0.4.0", true);
        check("0.4.999", true);
        check("v0.4.0", true);
        check(" 0.4.0 ", true);
        check("0.4.0+build.7", true);
        check("0.2.99", false);
        check("0.5.0", false);
        check("1.0.0", false);
        check("0.5.0-beta.1", false);
        check("0.4.0-beta.1", false);
        check("0.3.0-rc", false);
        for text in [
            "",
            "abc",
            "0.4",
            "0.4.0.1",
            "0.04.0",
            "0.4.x",
            "0.4.-1",
            "+0.4.0",
            "0.4.0+",
            "0.4.0+a..b",
            "0,4,0",
        ] {
            check(text, false);
        }
        check("0.4.99999999999999999999999", false);
    }

    #[test]
    fn the_connection_test() {
        let check = |header: Option<&str>, version: Option<&str>, compatible: bool| {
            let found = test_connection(header);
            assert_eq!(
                (found.audit_qs_version.as_deref(), found.compatible),
                (version, compatible),
                "{header:?}"
            );
        };
        check(None, None, false);
        check(Some(""), None, false);
        check(Some(" , 0.4.0"), None, false);
        check(Some("0.4.0"), Some("0.4.0"), true);
        check(Some("0.4.0, 0.1.0"), Some("0.4.0"), true);
        check(Some("0.1.0,0.4.0"), Some("0.1.0"), false);
        check(Some("abc"), Some("abc"), false);
        let long = "9".repeat(5000);
        check(Some(&long), Some(&long[..256]), false);
    }
}
