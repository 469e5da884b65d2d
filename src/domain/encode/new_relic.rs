//! User events for New Relic's event API. Contract: user-events.md, "New Relic".
//!
//! One flat JSON object an event; many of them, with commas between and brackets around, are one
//! request. With scrambling, the three values that name a person are replaced by SHAKE256 of them, 8
//! bytes in hex: the same person keeps the same value. It is not secret against one who can
//! guess names.

use std::borrow::Cow;

use shake::Shake256;
use shake::digest::{ExtendableOutput, Update, XofReader};

use super::json_text::{ObjectWriter, members};
use crate::event::UserEvent;

const EVENT_TYPE: &str = "qs_userEvent";

/// The attribute that `newRelic.event.attribute.dynamic.butlerSosVersion` adds: the server's version.
pub const VERSION_ATTRIBUTE: &str = "butlerSosVersion";

/// Keys that an event has by itself; neither tags nor attributes take their place.
const OWN_KEYS: [&str; 14] = [
    "timestamp",
    "qs_host",
    "qs_event_action",
    "qs_userFull",
    "qs_userDirectory",
    "qs_userId",
    "qs_origin",
    "qs_appId",
    "qs_appName",
    "qs_uaBrowserName",
    "qs_uaBrowserMajorVersion",
    "qs_uaOsName",
    "qs_uaOsVersion",
    "eventType",
];

/// Whether a configured attribute may not have this name: the event has it.
#[must_use]
pub fn is_taken(name: &str) -> bool {
    OWN_KEYS.contains(&name)
}

/// How user events become New Relic events; made once from the configuration.
#[derive(Clone, Debug)]
pub struct UserAttributes {
    scramble: bool,
    /// Configured tags and attributes, rendered.
    configured: Vec<u8>,
}

// === impl UserAttributes ===

impl UserAttributes {
    /// `tags` are those of user events, `attributes` the static ones of New Relic (name and value). Of
    /// two with one name the tag counts; one with the name of an own key is left out.
    pub fn new(scramble: bool, tags: &[(String, String)], attributes: &[(String, String)]) -> Self {
        let all: Vec<_> = attributes.iter().chain(tags).cloned().collect();
        let kept: Vec<_> = all.into_iter().filter(|(name, _)| !is_taken(name)).collect();
        Self { scramble, configured: members(&kept) }
    }

    /// Appends the event's JSON object; its `timestamp` is in ms.
    pub fn write(&self, event: &UserEvent<'_>, out: &mut Vec<u8>) {
        let full = event.user_full();
        let full = full.map(|full| self.person(&[full.directory, "\\", full.id]));
        let person = |value: &Option<Cow<'_, str>>| value.as_deref().map(|value| self.person(&[value]));
        let mut object = ObjectWriter::new(out);
        object
            .json("timestamp", (event.received_ns / 1_000_000).to_string().as_bytes())
            .text("qs_host", &event.host)
            .text("qs_event_action", &event.command)
            .text_if_some("qs_userFull", full.as_deref())
            .text_if_some("qs_userDirectory", person(&event.user_directory).as_deref())
            .text_if_some("qs_userId", person(&event.user_id).as_deref())
            .text_if_some("qs_origin", event.origin.as_deref())
            .text_if_some("qs_appId", event.app_id.as_deref())
            .text_if_some("qs_appName", event.app_name.as_deref())
            .text_if_some("qs_uaBrowserName", event.browser_name.as_deref())
            .text_if_some("qs_uaBrowserMajorVersion", event.browser_major.as_deref())
            .text_if_some("qs_uaOsName", event.os_name.as_deref())
            .text_if_some("qs_uaOsVersion", event.os_version.as_deref())
            .members(&self.configured)
            .text("eventType", EVENT_TYPE);
        object.end();
    }

    /// A value that names a person, in `parts`, as New Relic gets it.
    fn person(&self, parts: &[&str]) -> String {
        if self.scramble { scrambled(parts) } else { parts.concat() }
    }
}

/// SHAKE256 of a value in parts, 8 bytes in hex.
fn scrambled(parts: &[&str]) -> String {
    let mut hash = Shake256::default();
    parts.iter().for_each(|part| hash.update(part.as_bytes()));
    let mut bytes = [0; 8];
    hash.finalize_xof().read(&mut bytes);
    format!("{:016x}", u64::from_be_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| (String::from(*name), String::from(*value))).collect()
    }

    #[test]
    fn configured_parts_stand_beside_the_events_own() {
        let event = UserEvent {
            received_ns: 1_795_169_472_345_999_999,
            host: "h".into(),
            command: "c".into(),
            user_directory: Some("LAB".into()),
            user_id: Some("".into()),
            ..UserEvent::default()
        };
        let tags = pairs(&[("qs_env", "dev"), ("qs_host", "x"), ("both", "tag")]);
        let attributes = pairs(&[("service", "sos"), ("eventType", "x"), ("both", "attribute")]);
        let mut out = Vec::new();
        UserAttributes::new(false, &tags, &attributes).write(&event, &mut out);
        let expect = concat!(
            r#"{"timestamp":1795169472345,"qs_host":"h","qs_event_action":"c","qs_userDirectory":"LAB","qs_userId":"","#,
            r#""service":"sos","qs_env":"dev","both":"tag","eventType":"qs_userEvent"}"#
        );
        assert_eq!(String::from_utf8_lossy(&out), expect);
    }

    #[test]
    fn people_are_scrambled() {
        assert_eq!(scrambled(&["LAB"]), "e917621682605938");
        assert_eq!(scrambled(&["LAB", "\\", "goran"]), "ab4d299d22eb1b8e");
        assert_eq!(scrambled(&[]), "46b9dd2b0ba88d13");
        let event = UserEvent {
            host: "h".into(),
            command: "c".into(),
            user_directory: Some("LAB".into()),
            user_id: Some("goran".into()),
            ..UserEvent::default()
        };
        let mut out = Vec::new();
        UserAttributes::new(true, &[], &[]).write(&event, &mut out);
        let text = String::from_utf8_lossy(&out);
        assert!(text.contains(r#""qs_userId":"76b784e6533bb670""#), "{text}");
        assert!(!text.contains("goran") && !text.contains("LAB"), "{text}");
    }
}
