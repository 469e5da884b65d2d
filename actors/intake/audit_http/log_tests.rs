//! Log lines of the audit API, and secrets that must not appear in them.

use std::fmt;
use std::sync::{Arc, Mutex};

use secrecy::SecretString;
use slog::{Drain, Logger, OwnedKVList, Record, Serializer, o};

use super::harness::{Harness, JSON, PLAIN, event, unlimited};
use crate::intake::audit_http_ingestor::AuditHttpConfig;
use crate::journal::message::Append;
use crate::kit::metric::Metrics;
use crate::kit::testing::Probe;

/// Records every line of every level.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

struct Line(String);

impl Serializer for Line {
    fn emit_arguments(&mut self, key: slog::Key, value: &fmt::Arguments<'_>) -> slog::Result {
        self.0.push_str(&format!(" {key}={value}"));
        Ok(())
    }
}

impl Drain for Lines {
    type Ok = ();
    type Err = slog::Never;

    fn log(&self, record: &Record<'_>, _: &OwnedKVList) -> Result<(), slog::Never> {
        use slog::KV;
        let mut line = Line(format!("{} {}", record.level().as_short_str(), record.msg()));
        let _ = record.kv().serialize(record, &mut line);
        self.0.lock().unwrap().push(line.0);
        Ok(())
    }
}

#[actix_rt::test]
async fn one_line_a_minute_and_no_secret() {
    let lines = Lines::default();
    let log = Logger::root(lines.clone(), o!());
    let (to_journal, appended) = Probe::mailbox(100, |_: &Append| Ok(0..1));
    let config = AuditHttpConfig { api_token: Some(SecretString::from("sekrit-token")), ..unlimited() };
    let harness = Harness::start_logged(config, &[], to_journal, appended, Metrics::new(), log);
    const TOKEN: (&str, &str) = ("Authorization", "Bearer sekrit-token");
    let unversioned = |n| event(n).replace(r#","version":"0.4.0""#, "");
    for n in 0..5 {
        let guessed = [JSON, ("Authorization", "Bearer guessed-token")];
        assert_eq!(harness.post(&guessed, event(n)).await.status, 401);
        assert_eq!(harness.post(&[JSON, TOKEN], unversioned(n)).await.status, 202);
        assert_eq!(harness.post(&[PLAIN[0], TOKEN], "{\"private\":\"body words\"").await.status, 400);
    }
    let lines = lines.0.lock().unwrap();
    let count = |detail: &str| lines.iter().filter(|line| line.contains(detail)).count();
    assert_eq!(count("WARN audit API: missing or wrong token"), 1, "{lines:?}");
    assert_eq!(count("WARN audit API: events without an Audit.qs version"), 1, "{lines:?}");
    assert_eq!(count("DEBG audit API: event has no Audit.qs version"), 5, "{lines:?}");
    assert_eq!(count("WARN audit API: event rejected"), 1, "{lines:?}");
    assert_eq!(count("source=127.0.0.1"), 8, "{lines:?}");
    for secret in ["sekrit-token", "guessed-token", "body words", "goran"] {
        assert_eq!(count(secret), 0, "{secret} in {lines:?}");
    }
}
