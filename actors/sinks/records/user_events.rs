//! Records of the stream `user-events`.

use butler_sos_domain::encode::csv;
use butler_sos_domain::encode::mqtt::{UserPayload, UserTopics};
use butler_sos_domain::encode::new_relic::UserAttributes;
use butler_sos_domain::encode::user_line::UserPoint;
use butler_sos_domain::event::UserEvent;
use butler_sos_domain::streams::Stream;

use super::{LineEncoder, MessageEncoder, ObjectEncoder, RowEncoder};
use crate::journal::batch::Record;

fn event<'r>(record: &Record<'r>) -> Result<UserEvent<'r>, String> {
    UserEvent::decode(record.data).map_err(|error| error.to_string())
}

#[derive(Debug, Clone)]
pub struct UserEventLines(pub UserPoint);

impl LineEncoder for UserEventLines {
    fn encode(&mut self, record: &Record<'_>, out: &mut Vec<u8>) -> Result<(), String> {
        self.0.write(&event(record)?, out);
        Ok(())
    }
}

#[derive(Debug, Clone)]
pub struct UserEventObjects(pub UserAttributes);

impl ObjectEncoder for UserEventObjects {
    fn encode(&self, record: &Record<'_>, out: &mut Vec<u8>) -> Result<(), String> {
        self.0.write(&event(record)?, out);
        Ok(())
    }
}

#[derive(Debug, Clone)]
pub struct UserEventRows {
    /// Whether a `'` is put before values that a spreadsheet would run as a formula.
    pub neutralise_formulas: bool,
}

impl RowEncoder for UserEventRows {
    fn stream(&self) -> Stream {
        Stream::UserEvents
    }

    fn header(&self, writer: &mut ::csv::Writer<&mut Vec<u8>>) -> ::csv::Result<()> {
        csv::write_user_header(writer)
    }

    fn encode(&self, record: &Record<'_>, writer: &mut ::csv::Writer<&mut Vec<u8>>) -> Result<(), String> {
        csv::write_user_row(writer, &event(record)?, self.neutralise_formulas)
            .map_err(|error| error.to_string())
    }
}

/// Publishes an event with the same payload at each of its topics.
#[derive(Debug, Clone)]
pub struct UserEventMessages {
    pub payload: UserPayload,
    pub topics: UserTopics,
}

impl MessageEncoder for UserEventMessages {
    fn stream(&self) -> Stream {
        Stream::UserEvents
    }

    fn encode<'e>(&'e self, record: &Record<'_>, out: &mut Vec<(&'e str, Vec<u8>)>) -> Result<(), String> {
        let event = event(record)?;
        let mut topics = self.topics.of(&event.command);
        let Some(first) = topics.next() else { return Ok(()) };
        let mut bytes = Vec::with_capacity(record.data.len() + 256);
        self.payload.write(&event, &mut bytes);
        for topic in topics {
            out.push((topic, bytes.clone()));
        }
        out.insert(0, (first, bytes));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use butler_sos_domain::encode::line_protocol::Version;

    use super::*;

    fn record(command: &'static str) -> Vec<u8> {
        let event = UserEvent { host: "h".into(), command: command.into(), ..UserEvent::default() };
        let mut record = Vec::new();
        event.encode_into(&mut record);
        record
    }

    #[test]
    fn a_record_that_is_no_event_has_no_line() {
        let mut lines = UserEventLines(UserPoint::new(Version::V1, "qs_", &[]));
        let of = |data| Record { offset: 1, appended_at_ns: 1, data };
        let mut out = Vec::new();
        let event = record("Start session");
        lines.encode(&of(&event), &mut out).unwrap();
        assert!(out.starts_with(b"user_events,host=h,") && out.ends_with(b" 0\n"));
        assert!(lines.encode(&of(b"?"), &mut out).is_err());
    }

    #[test]
    fn publishes_an_event_at_each_of_its_topics() {
        let topics = UserTopics {
            everything: Some("all".to_owned()),
            session_start: Some("start".to_owned()),
            ..UserTopics::default()
        };
        let messages = UserEventMessages { payload: UserPayload::new(&[]), topics };
        let check = |data: &[u8], expect: Result<&[&str], ()>| {
            let mut out = Vec::new();
            let got = messages.encode(&Record { offset: 0, appended_at_ns: 0, data }, &mut out);
            let topics: Vec<_> = out.iter().map(|(topic, _)| *topic).collect();
            assert_eq!(got.map(|()| topics).map_err(|_| ()), expect.map(<[_]>::to_vec));
            assert!(out.iter().all(|(_, payload)| *payload == out[0].1));
        };
        check(&record("Start session"), Ok(&["all", "start"]));
        check(&record("Stop session"), Ok(&["all"]));
        check(b"\x07damaged", Err(()));
    }
}
