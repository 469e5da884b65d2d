//! User events as MQTT messages. Contract: user-events.md, "MQTT".

use super::json_text::{ObjectWriter, members};
use crate::datagram::{CLOSE_CONNECTION, OPEN_CONNECTION, START_SESSION, STOP_SESSION};
use crate::event::UserEvent;

/// How user events become payloads; made once from the configuration.
#[derive(Clone, Debug)]
pub struct UserPayload {
    /// The configured tags as a JSON object; empty when there are none.
    tags: Vec<u8>,
}

/// Where user events are published; a topic that is not enabled is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserTopics {
    /// Every event.
    pub everything: Option<String>,
    /// `Start session`.
    pub session_start: Option<String>,
    /// `Stop session`.
    pub session_stop: Option<String>,
    /// `Open connection`.
    pub connection_open: Option<String>,
    /// `Close connection`.
    pub connection_close: Option<String>,
}

// === impl UserPayload ===

impl UserPayload {
    /// `tags` are the configured ones, name and value.
    pub fn new(tags: &[(String, String)]) -> Self {
        let tags = members(tags);
        if tags.is_empty() {
            return Self { tags };
        }
        Self { tags: [b"{", tags.as_slice(), b"}"].concat() }
    }

    /// Appends the event's JSON object: keys in the contract's order, absent parts left out.
    pub fn write(&self, event: &UserEvent<'_>, out: &mut Vec<u8>) {
        let mut object = ObjectWriter::new(out);
        object
            .text("messageType", &event.message_type)
            .text("host", &event.host)
            .text("command", &event.command)
            .text_if_some("userDir", event.user_directory.as_deref())
            .text_if_some("userId", event.user_id.as_deref())
            .text_if_some("origin", event.origin.as_deref())
            .text_if_some("context", event.context.as_deref())
            .text_if_some("message", event.message.as_deref());
        if !self.tags.is_empty() {
            object.json("tags", &self.tags);
        }
        object
            .text_if_some("appId", event.app_id.as_deref())
            .text_if_some("appName", event.app_name.as_deref())
            .text_if_some("uaBrowserName", event.browser_name.as_deref())
            .text_if_some("uaBrowserMajorVersion", event.browser_major.as_deref())
            .text_if_some("uaOsName", event.os_name.as_deref())
            .text_if_some("uaOsVersion", event.os_version.as_deref());
        object.end();
    }
}

// === impl UserTopics ===

impl UserTopics {
    /// The topics of an event with this command: the one of everything, then the command's own.
    pub fn of(&self, command: &str) -> impl Iterator<Item = &str> {
        let own = match command {
            START_SESSION => &self.session_start,
            STOP_SESSION => &self.session_stop,
            OPEN_CONNECTION => &self.connection_open,
            CLOSE_CONNECTION => &self.connection_close,
            _ => &None,
        };
        [&self.everything, own].into_iter().filter_map(|topic| topic.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_in_the_contracts_order() {
        let part = |text: &'static str| Some(text.into());
        let event = UserEvent {
            received_ns: 1,
            decoded: Default::default(),
            message_type: "t".into(),
            host: "h".into(),
            command: "c".into(),
            user_directory: part("d"),
            user_id: part("u\"\\"),
            origin: part(""),
            context: part("x"),
            message: part("m"),
            app_id: part("i"),
            app_name: part("n"),
            browser_name: part("b"),
            browser_major: part("1"),
            os_name: part("o"),
            os_version: part("2"),
        };
        let check = |event: &UserEvent<'_>, tags: &[(&str, &str)], expect: &str| {
            let tags: Vec<_> = tags.iter().map(|(k, v)| (String::from(*k), String::from(*v))).collect();
            let mut out = Vec::new();
            UserPayload::new(&tags).write(event, &mut out);
            assert_eq!(String::from_utf8_lossy(&out), expect);
        };
        check(
            &event,
            &[("qs_env", "dev")],
            concat!(
                r#"{"messageType":"t","host":"h","command":"c","userDir":"d","userId":"u\"\\","origin":"","context":"x","#,
                r#""message":"m","tags":{"qs_env":"dev"},"appId":"i","appName":"n","uaBrowserName":"b","#,
                r#""uaBrowserMajorVersion":"1","uaOsName":"o","uaOsVersion":"2"}"#
            ),
        );
        let bare = UserEvent { host: "h".into(), command: "c".into(), ..UserEvent::default() };
        check(&bare, &[], r#"{"messageType":"","host":"h","command":"c"}"#);
    }

    #[test]
    fn topics_follow_the_command() {
        let topics = UserTopics {
            everything: Some("all".to_owned()),
            session_start: Some("start".to_owned()),
            connection_close: Some("close".to_owned()),
            ..UserTopics::default()
        };
        let check = |command: &str, expect: &[&str]| {
            assert_eq!(topics.of(command).collect::<Vec<_>>(), expect, "{command}");
        };
        check("Start session", &["all", "start"]);
        check("Stop session", &["all"]);
        check("Close connection", &["all", "close"]);
        check(" Start session ", &["all"]);
        check("Anything", &["all"]);
        assert_eq!(UserTopics::default().of("Start session").count(), 0);
    }
}
