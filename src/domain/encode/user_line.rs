//! User events as InfluxDB points. Contract: user-events.md, "InfluxDB point".
//!
//! The three versions differ in the names of fields: version 2 calls those of the app
//! `appId_field` and `appName_field`; in version 3 a tag and a field may not share a name, so every
//! field ends in `_field`. For version 3 Butler SOS also takes `<`, `>` and `\` out of the tags that
//! hold text from outside, but not out of `userFull`; its dashboards count on that, so it is kept.

use std::borrow::Cow;

use super::line_protocol::{LineWriter, Strip, Version, encode_tag_key, encode_tags};
use crate::event::UserEvent;

pub const MEASUREMENT: &str = "user_events";

/// The user agent's tags without their prefix.
const USER_AGENT_TAGS: [&str; 4] = ["uaBrowserName", "uaBrowserMajorVersion", "uaOsName", "uaOsVersion"];

/// The event's own tags besides those of the user agent.
const OWN_TAGS: [&str; 8] =
    ["host", "event_action", "userFull", "userDirectory", "userId", "origin", "appId", "appName"];

/// What InfluxDB keeps for itself.
const RESERVED: [&str; 3] = ["time", "_field", "_measurement"];

/// Whether a configured tag may not have this name: the event has it, or InfluxDB does.
#[must_use]
pub fn is_taken(name: &str, user_agent_tag_prefix: &str) -> bool {
    let of_user_agent =
        || name.strip_prefix(user_agent_tag_prefix).is_some_and(|tag| USER_AGENT_TAGS.contains(&tag));
    name.is_empty() || OWN_TAGS.contains(&name) || RESERVED.contains(&name) || of_user_agent()
}

/// How user events become points; made once from the configuration.
#[derive(Clone, Debug)]
pub struct UserPoint {
    version: Version,
    fields: FieldNames,
    /// The keys of the user agent's tags, prefix included, as they stand in a line.
    user_agent_keys: [String; 4],
    /// The configured tags as they stand in a line.
    static_tags: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct FieldNames {
    user_full: &'static str,
    user_id: &'static str,
    app_id: &'static str,
    app_name: &'static str,
}

// === impl UserPoint ===

impl UserPoint {
    /// `user_agent_tag_prefix` stands before the four tags of the user agent (`qs_`). `tags` are the
    /// configured ones, name and value; one whose name [`is_taken`] is left out: what was observed is
    /// not overwritten by configuration.
    pub fn new(version: Version, user_agent_tag_prefix: &str, tags: &[(String, String)]) -> Self {
        let user_agent_tags = USER_AGENT_TAGS.map(|tag| format!("{user_agent_tag_prefix}{tag}"));
        let tags = tags.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let tags: Vec<_> = tags.filter(|(name, _)| !is_taken(name, user_agent_tag_prefix)).collect();
        let user_agent_keys = user_agent_tags.each_ref().map(|tag| encode_tag_key(version, tag));
        let fields = match version {
            Version::V1 => {
                FieldNames { user_full: "userFull", user_id: "userId", app_id: "appId", app_name: "appName" }
            }
            Version::V2 => FieldNames {
                user_full: "userFull",
                user_id: "userId",
                app_id: "appId_field",
                app_name: "appName_field",
            },
            Version::V3 => FieldNames {
                user_full: "userFull_field",
                user_id: "userId_field",
                app_id: "appId_field",
                app_name: "appName_field",
            },
        };
        Self { version, fields, static_tags: encode_tags(version, tags), user_agent_keys }
    }

    /// Appends the event's line, newline included.
    ///
    /// An event without a user has the text fields `userFull` and `userId` all the same, empty: a
    /// point needs a field, and the event is kept.
    pub fn write(&self, event: &UserEvent<'_>, out: &mut Vec<u8>) {
        let strip = match self.version {
            Version::V1 | Version::V2 => Strip::Nothing,
            Version::V3 => Strip::AnglesAndBackslashes,
        };
        let full = event.user_full();
        let full: &[&str] = match &full {
            Some(full) => &[full.directory, "\\", full.id],
            None => &[],
        };

        let mut line = LineWriter::new(out, self.version, MEASUREMENT);
        line.tag_with_encoded_key(",host=", &[&event.host], strip)
            .tag_with_encoded_key(",event_action=", &[&event.command], strip)
            .tag_with_encoded_key(",userFull=", full, Strip::Nothing)
            .tag_with_encoded_key(",userDirectory=", &[part(&event.user_directory)], strip)
            .tag_with_encoded_key(",userId=", &[part(&event.user_id)], strip)
            .tag_with_encoded_key(",origin=", &[part(&event.origin)], strip)
            .tag_with_encoded_key(",appId=", &[part(&event.app_id)], strip)
            .tag_with_encoded_key(",appName=", &[part(&event.app_name)], strip);
        let agent = [&event.browser_name, &event.browser_major, &event.os_name, &event.os_version];
        for (key, value) in self.user_agent_keys.iter().zip(agent) {
            line.tag_with_encoded_key(key, &[part(value)], strip);
        }
        line.encoded_tags(&self.static_tags)
            .text_parts(self.fields.user_full, full)
            .text(self.fields.user_id, part(&event.user_id));
        if let Some(id) = &event.app_id {
            line.text(self.fields.app_id, id);
        }
        if let Some(name) = &event.app_name {
            line.text(self.fields.app_name, name);
        }
        line.finish(i64::try_from(event.received_ns).unwrap_or(i64::MAX));
    }
}

fn part<'a>(text: &'a Option<Cow<'_, str>>) -> &'a str {
    text.as_deref().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> UserEvent<'static> {
        UserEvent {
            received_ns: 17,
            message_type: "qseow-proxy-session".into(),
            host: "h<1>".into(),
            command: "Start session".into(),
            user_directory: Some("LAB\\x".into()),
            user_id: Some("go ran\\".into()),
            origin: Some("".into()),
            app_id: Some("a421f4a2-c311-4ef4-ba41-fe2e6a2b0d69".into()),
            app_name: Some("<unknown app name>".into()),
            browser_name: Some("Chrome".into()),
            os_version: Some("10".into()),
            ..UserEvent::default()
        }
    }

    fn check(version: Version, event: &UserEvent<'_>, expect: &str) {
        let tags = [("host", "not me"), ("qs_uaOsName", "nor me"), ("time", "nor this"), ("env", "dev")];
        let tags = tags.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let mut out = Vec::new();
        UserPoint::new(version, "qs_", &tags).write(event, &mut out);
        assert_eq!(String::from_utf8_lossy(&out), expect);
    }

    #[test]
    fn the_versions_differ_in_names() {
        check(
            Version::V1,
            &event(),
            concat!(
                r"user_events,host=h<1>,event_action=Start\ session,userFull=LAB\x\go\ ran\\ ,userDirectory=LAB\x,",
                r"userId=go\ ran\\ ,appId=a421f4a2-c311-4ef4-ba41-fe2e6a2b0d69,appName=<unknown\ app\ name>,",
                r#"qs_uaBrowserName=Chrome,qs_uaOsVersion=10,env=dev userFull="LAB\\x\\go ran\\",userId="go ran\\","#,
                r#"appId="a421f4a2-c311-4ef4-ba41-fe2e6a2b0d69",appName="<unknown app name>" 17"#,
                "\n"
            ),
        );
        check(
            Version::V3,
            &event(),
            concat!(
                r"user_events,host=h1,event_action=Start\ session,userFull=LAB\x\go\ ran\\\ ,userDirectory=LABx,",
                r"userId=go\ ran,appId=a421f4a2-c311-4ef4-ba41-fe2e6a2b0d69,appName=unknown\ app\ name,",
                r#"qs_uaBrowserName=Chrome,qs_uaOsVersion=10,env=dev userFull_field="LAB\\x\\go ran\\","#,
                r#"userId_field="go ran\\",appId_field="a421f4a2-c311-4ef4-ba41-fe2e6a2b0d69","#,
                r#"appName_field="<unknown app name>" 17"#,
                "\n"
            ),
        );
    }

    #[test]
    fn an_event_without_a_user_is_a_point() {
        let event = UserEvent {
            received_ns: 17,
            host: "h".into(),
            command: "c".into(),
            user_directory: Some("".into()),
            ..UserEvent::default()
        };
        check(
            Version::V2,
            &event,
            "user_events,host=h,event_action=c,env=dev userFull=\"\",userId=\"\" 17\n",
        );
    }
}
