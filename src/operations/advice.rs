//! Derives problems from the metrics, with advice for the administrator.
//!
//! One list serves the dashboard and `butler-sos status`. Pure: it compares the state with earlier metrics,
//! so that problems that have passed are not reported.
//!
//! | symptom | reported when |
//! |---|---|
//! | `journal-silent`, `journal-refuses`, `journal-filling` | it does not answer; accepts no events; is nine
//! tenths full |
//! | `destination-down` | the last delivery failed; advice by the error's class |
//! | `lag-growing` | events wait for more than a minute although deliveries succeed |
//! | `shed`, `kernel-drops`, `rejected`, `conflict` | in the last five minutes |
//! | `dead-letters`, `missed`, `restarts` | in the last five minutes |
//! | `parked` | a limit of the destination keeps events out |
//! | `dead-letters-refused`, `dead-letters-evicted` | the disk stored none, or old ones were evicted, in the
//! last five minutes |
//! | `mailbox-full` | four fifths of a bound are in use |
//! | `http-not-allowed`, `port-not-allowed`, `user-not-allowed` | a setting refused a screenshot since the
//! start |
//! | `http-with-tickets` | `Pipeline.screenshots.allowHttp` is true |
//! | `clock-jumped` | the clock was set by more than two seconds, until it is set back or for a day |
//! | `stopping` | the server is stopping |

use butler_sos_actors::kit::metric::{Figures, IntakeFigures};

use super::problem::{Problem, Severity};
use super::state::{DestinationStateNow, State};

/// A longer wait is reported while deliveries succeed.
const LAG_SECONDS: f64 = 60.0;

/// The current problems, compared with the metrics of [`super::history::WINDOW`] ago.
#[must_use]
pub fn problems(state: &State, before: &Figures) -> Vec<Problem> {
    let mut found = Vec::new();
    of_journal(state, &mut found);
    of_intakes(state, before, &mut found);
    for (name, destination) in &state.destinations {
        of_destination(name, destination, before, &mut found);
    }
    of_actors(state, before, &mut found);
    if let Some(off_seconds) = state.clock_off_seconds {
        found.push(problem(
            Severity::Warning, "clock-jumped", "server",
            format!("The clock of this machine is {}.", off(off_seconds)),
            "Times of receipt follow the clock. Check the time synchronisation (timedatectl, chronyc tracking) and correct the clock; later events then have correct times. If the clock is correct now, no action is needed: this warning disappears after one day.",
        ));
    }
    if state.draining {
        let what = "The server is shutting down and accepts no more events.";
        found.push(problem(Severity::Notice, "stopping", "server", what, "Destinations have Pipeline.drainSeconds to catch up. The remaining events stay in the journal and are delivered after the next start."));
    }
    found.sort_by_key(|problem| problem.severity);
    found
}

fn problem(
    severity: Severity,
    symptom: &str,
    place: &str,
    what: impl Into<String>,
    advice: impl Into<String>,
) -> Problem {
    Problem {
        severity,
        symptom: symptom.to_owned(),
        place: place.to_owned(),
        what: what.into(),
        advice: advice.into(),
    }
}

/// The offset of a clock as text.
pub fn off(off_seconds: f64) -> String {
    let way = if off_seconds < 0.0 { "behind" } else { "ahead of" };
    format!("{:.1} s {way} the expected time because it was set", off_seconds.abs())
}

/// `1 event`, `2 events`.
fn some(number: u64, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

fn of_journal(state: &State, found: &mut Vec<Problem>) {
    let journal = &state.journal;
    if !journal.answers {
        found.push(problem(
            Severity::Error,
            "journal-silent",
            "journal",
            "The journal does not respond. No events can be stored.",
            "The disk may hang: check the kernel log (dmesg), the disk latency (iostat) and the server log.",
        ));
    }
    if let Some(trouble) = &journal.append_trouble {
        found.push(problem(
            Severity::Error, "journal-refuses", "journal",
            format!("The journal rejects events: {trouble}."),
            "Free space on the disk of Pipeline.journal.directory, raise Pipeline.journal.bytesMax, or restore the destination that lags. The journal resumes without a restart.",
        ));
    }
    for (name, stream) in &journal.streams {
        let percent = stream.bytes.saturating_mul(100) / stream.bytes_max.max(1);
        // Without lag, most of it is already delivered and will be removed.
        let is_behind =
            state.destinations.values().any(|of| of.stream == *name && of.lag_seconds > LAG_SECONDS);
        if percent >= 90 && is_behind && journal.append_trouble.is_none() {
            found.push(problem(
                Severity::Warning, "journal-filling", name,
                format!("The stream {name} uses {percent} % of its maximum size."),
                "A destination lags and its events fill the journal. Restore the destination, or raise Pipeline.journal.bytesMax. When the journal is full, Pipeline.journal.onFull applies.",
            ));
        }
    }
}

fn of_intakes(state: &State, before: &Figures, found: &mut Vec<Problem>) {
    for (name, intake) in &state.intakes {
        let earlier = before.intakes.get(name).cloned().unwrap_or_default();
        let dropped =
            intake.dropped_by_kernel.unwrap_or(0).saturating_sub(earlier.dropped_by_kernel.unwrap_or(0));
        if dropped > 0 {
            found.push(problem(
                Severity::Error, "kernel-drops", name,
                format!("The kernel dropped {} in the last 5 minutes before the server could read them.", some(dropped, "datagram")),
                "Raise Pipeline.udp.receiveBufferBytes and the kernel limit: sysctl -w net.core.rmem_max=33554432. If drops continue, the machine is overloaded.",
            ));
        }
        for (reason, count) in &intake.shed {
            let more = count - earlier.shed.get(reason).copied().unwrap_or(0).min(*count);
            if more > 0 && reason != "draining" {
                found.push(problem(
                    Severity::Error,
                    "shed",
                    name,
                    format!("Lost in the last 5 minutes: {} ({reason}).", some(more, "event")),
                    shed_advice(reason),
                ));
            }
        }
        for (reason, count) in &intake.rejected {
            let more = count - earlier.rejected.get(reason).copied().unwrap_or(0).min(*count);
            if more > 0 && !matches!(reason.as_str(), "excluded_user" | "duplicate") {
                found.push(problem(
                    Severity::Notice,
                    "rejected",
                    name,
                    format!("Rejected in the last 5 minutes: {} ({reason}).", some(more, "event")),
                    rejected_advice(reason),
                ));
            }
        }
        let conflicts = |figures: &IntakeFigures| figures.remarks.get("conflict").copied().unwrap_or(0);
        let more = conflicts(intake).saturating_sub(conflicts(&earlier));
        if more > 0 {
            found.push(problem(
                Severity::Warning,
                "conflict",
                name,
                format!("Received in the last 5 minutes with the ids of an earlier event and a different body: {}. All versions are stored.", some(more, "event")),
                "A client changes events or reuses ids. The log names the client and the event. Later versions have the field conflictOf, and _conflict- in file names. Compare them with the first version.",
            ));
        }
    }
}

fn shed_advice(reason: &str) -> &'static str {
    match reason {
        "queue_full" => {
            "Events arrive faster than they are stored. Raise messageQueue.maxSize to absorb bursts. If losses continue, check whether the disk of the journal is slow (see the fsync time on this page)."
        }
        "journal_full" => {
            "The journal is full because a destination lags. Restore the destination, or raise Pipeline.journal.bytesMax."
        }
        "journal_disk" => {
            "Writes to the disk of the journal fail. Check free space, mount options and the kernel log."
        }
        "actor_panic" => {
            "An actor failed while it held these events and was restarted. Please report this with the log of that time."
        }
        _ => "See the server log.",
    }
}

fn rejected_advice(reason: &str) -> &'static str {
    match reason {
        "source" => {
            "The source address is not in userEvents.udpServerConfig.allowedSources. If it is legitimate, add it."
        }
        "size" | "too_large" => {
            "The events exceed the size limit: maxMessageSize for user events, Pipeline.audit.bodyBytesMax for audit events."
        }
        "rate_limit" | "queue_rate_limit" => {
            "The clients exceed the configured rate limit. Raise the limit if the events are legitimate."
        }
        "unauthorized" => "The client sends no token or a wrong token. It must send auditEvents.apiToken.",
        "unknown-type" | "incomplete" | "empty-host" | "empty-command" => {
            "The datagrams are not user events of a Qlik Sense proxy. Compare the conversionPattern of the log appender with conf/log4net. The first bytes are shown under Rejected datagrams."
        }
        "quarantine_full" => {
            "The quarantine did not store the datagrams: its mailbox was full or writes to its disk fail."
        }
        "damaged" => "Some journal records are unreadable. The log names them.",
        _ => "The response to the sender and the log state the reason.",
    }
}

fn of_destination(name: &str, of: &DestinationStateNow, before: &Figures, found: &mut Vec<Problem>) {
    let now = &of.figures;
    let earlier = before.destinations.get(name).cloned().unwrap_or_default();
    if !now.up {
        let detail = now.last_error.as_deref().unwrap_or("no response yet");
        let class = now.last_error_class.as_deref().unwrap_or_default();
        found.push(problem(
            Severity::Error,
            "destination-down",
            name,
            format!("{name} is down ({detail}). Waiting in the journal: {}.", some(of.lag_events, "event")),
            format!("{} The server retries continuously and resumes by itself.", down_advice(class)),
        ));
    } else if of.lag_seconds > LAG_SECONDS && of.lag_events > 0 {
        found.push(problem(
            Severity::Warning, "lag-growing", name,
            format!("{name} lags although it accepts events. Waiting: {}, the oldest for {:.0} s.", some(of.lag_events, "event"), of.lag_seconds),
            "The destination is catching up, or it is slower than the incoming events. If the number of waiting events grows, check the load of the destination and the batch size.",
        ));
    }
    let letters = now.dead_lettered.saturating_sub(earlier.dead_lettered);
    if letters > 0 {
        found.push(problem(
            Severity::Warning, "dead-letters", name,
            format!("{name} rejected {} in the last 5 minutes. They are kept as dead letters.", some(letters, "event")),
            "See the reasons under Dead letters. Fix the cause (for example a field type in InfluxDB) and retry them, or drop them.",
        ));
    }
    if now.parked > 0 {
        found.push(problem(
            Severity::Warning, "parked", name,
            format!("A limit of {name} blocks {}. They are parked on disk and none is evicted.", some(now.parked, "event")),
            "Raise the limit in InfluxDB (max-values-per-tag, max-series-per-database in influxdb.conf; 0: none) and restart it, or write audit events to a new database, where ids are fields (Pipeline.influxdb.auditIdsAsFields). The server retries parked events every Pipeline.deadLetters.parkedRetrySeconds and at its start.",
        ));
    }
    let missed = now.missed.saturating_sub(earlier.missed);
    if missed > 0 {
        found.push(problem(
            Severity::Error, "missed", name,
            format!("Removed from the journal before delivery to {name}: {}.", some(missed, "event")),
            "The journal was full or damaged. Raise Pipeline.journal.bytesMax so that the journal can hold the events of an outage. The log names the missing offsets.",
        ));
    }
}

fn down_advice(class: &str) -> &'static str {
    match class {
        "dns" => {
            "The host name does not resolve on this machine. Check the configuration and try: getent hosts NAME."
        }
        "connect" | "connection" | "disconnected" => {
            "Check that the destination is running and that host and port are correct. Test the connection from this machine (curl or mosquitto_pub) and check firewalls."
        }
        "timeout" => {
            "The destination does not respond in time. Check its load and disk. Raise the timeout only if the destination is slow by design."
        }
        "tls" => {
            "The TLS handshake fails; the error above names the problem with the certificate. Check its expiry date, its names and its issuer against the configuration (host, ca)."
        }
        "auth" | "http-401" | "http-403" => {
            "The destination rejects the credentials. Check token, user, password and write permissions."
        }
        "http-404" => "The database, bucket or organisation does not exist. Create it, or correct its name.",
        "http-413" => {
            "The requests are too large for the destination. The server reduces their size by itself. Raise the limit of the destination, or lower maxBatchSize."
        }
        "http-429" => "The destination throttles requests. Raise its limits, or wait until it catches up.",
        "http-500" | "http-502" | "http-503" | "http-504" => {
            "The destination reports an internal error. See its log."
        }
        "disk" => {
            "Writes to the disk fail. Check free space, permissions and owner of the directory, and mount options."
        }
        "config" | "administration" | "qos" => {
            "A setting does not match the destination. The error above names it; see also `butler-sos check`."
        }
        "not-influxdb" => {
            "The responses do not come from InfluxDB but from a login page, a proxy or another service. Check scheme, host and port; test them with curl -i. Such responses do not count as delivered."
        }
        "not-new-relic" => {
            "The responses do not come from New Relic but from a login page or a proxy. Compare newRelic.event.url with the address in the New Relic documentation; test it with curl -i. Such responses do not count as delivered."
        }
        "dead-letters" => {
            "The destination rejected events, and they cannot be written as dead letters. The server keeps them in the journal. Free space on the disk of Pipeline.deadLetters.directory; check its permissions and owner."
        }
        "parking-full" => {
            "Raise the limit in InfluxDB (max-values-per-tag, max-series-per-database in influxdb.conf; 0: none) and restart it, or raise Pipeline.deadLetters.parkedBytesMax."
        }
        "parking" => {
            "A limit of the destination blocks events, and they cannot be parked on disk. Free space on the disk of Pipeline.deadLetters.directory; check its permissions and owner."
        }
        "broker" | "mqtt" => {
            "The broker closed or refused the connection. See the broker log. Common causes are a client id that is used twice and an ACL."
        }
        _ => "The error above is the response of the destination. See also the server log.",
    }
}

fn of_actors(state: &State, before: &Figures, found: &mut Vec<Problem>) {
    for (name, actor) in &state.actors {
        let earlier = before.actors.get(name).map_or(0, |of| of.restarts);
        for (symptom, about) in &actor.figures.notes {
            of_note(name, symptom, about, found);
        }
        let restarts = actor.figures.restarts.saturating_sub(earlier);
        if restarts > 0 {
            found.push(problem(
                Severity::Warning, "restarts", name,
                format!("{name} failed and was restarted in the last 5 minutes: {}. Stored events are safe.", some(restarts, "time")),
                "Please report this with the log lines \"actor panicked\". After too many restarts the process exits with status 70, and the service manager restarts it.",
            ));
        }
        if name == DEAD_LETTER_LOG {
            let earlier = before.actors.get(name).map(|of| &of.rejected);
            let more = |reason: &str| {
                let now = actor.figures.rejected.get(reason).copied().unwrap_or(0);
                now.saturating_sub(earlier.and_then(|of| of.get(reason)).copied().unwrap_or(0))
            };
            of_dead_letters(more("disk"), more("evicted") + more("too_large"), found);
        }
        if let Some(mailbox) = actor.mailbox
            && u64::from(mailbox.depth) * 5 >= u64::from(mailbox.bound) * 4
            && mailbox.bound > 4
        {
            found.push(problem(
                Severity::Warning,
                "mailbox-full",
                name,
                format!("The mailbox of {name} holds {} of at most {} messages.", mailbox.depth, mailbox.bound),
                "The actor cannot keep up. A burst passes by itself. If the mailbox stays full, this actor is the bottleneck.",
            ));
        }
    }
}

/// Conditions that last until the next start.
fn of_note(place: &str, symptom: &str, about: &str, found: &mut Vec<Problem>) {
    let (what, advice) = match symptom {
        "http-not-allowed" => (
            format!("Screenshots from {about} are rejected: their URLs use http, not https."),
            "Configure https in Qlik Sense or Audit.qs. Otherwise set Pipeline.screenshots.allowHttp: withoutTickets allows images that need no login; true sends tickets and session cookies in clear text.",
        ),
        "port-not-allowed" => (
            format!("Screenshots from {about} are rejected: their port is not allowed."),
            "If it is a port of Qlik Sense, add it to Pipeline.screenshots.allowedPorts. The log names the port.",
        ),
        "user-not-allowed" => (
            "Screenshots of a user are rejected: tickets for this user are not allowed.".to_owned(),
            "If this is intended, no action is needed. Otherwise change Pipeline.screenshots.ticketUsers (allow, deny, denyInternal). The event names the user.",
        ),
        "http-with-tickets" => (
            "Tickets and session cookies may be sent in clear text.".to_owned(),
            "Pipeline.screenshots.allowHttp is true, as in Butler SOS. Use https, then set it to false or withoutTickets.",
        ),
        _ => return,
    };
    found.push(problem(Severity::Warning, symptom, place, what, advice));
}

/// The actor that stores dead letters.
pub const DEAD_LETTER_LOG: &str = "dead_letter_keeper";

fn of_dead_letters(refused: u64, lost: u64, found: &mut Vec<Problem>) {
    if refused > 0 {
        found.push(problem(
            Severity::Error, "dead-letters-refused", DEAD_LETTER_LOG,
            format!("Dead letters could not be written in the last 5 minutes: {}. The destinations wait; no event is lost.", some(refused, "attempt")),
            "Free space on the disk of Pipeline.deadLetters.directory; check its permissions, owner and mount options. Delivery resumes by itself.",
        ));
    }
    if lost > 0 {
        found.push(problem(
            Severity::Error, "dead-letters-evicted", DEAD_LETTER_LOG,
            format!("Old dead letters were deleted to free space in the last 5 minutes: {}.", some(lost, "event")),
            "Raise Pipeline.deadLetters.bytesMax, and fix the cause of the rejections; see the reasons under Dead letters.",
        ));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use butler_sos_actors::kit::metric::{ActorFigures, DestinationFigures};

    use super::*;
    use crate::operations::state::{ActorState, JournalNow, MailboxState, StreamNow};

    fn well() -> State {
        let destination = DestinationStateNow {
            stream: "user-events".into(),
            figures: DestinationFigures { up: true, ..DestinationFigures::default() },
            ..DestinationStateNow::default()
        };
        State {
            journal: JournalNow { answers: true, ..JournalNow::default() },
            destinations: BTreeMap::from([("influx_sink".to_owned(), destination)]),
            intakes: BTreeMap::from([("user_events".to_owned(), IntakeFigures::default())]),
            actors: BTreeMap::from([("journal".to_owned(), ActorState::default())]),
            ..State::default()
        }
    }

    fn check(change: impl FnOnce(&mut State), expect: &[(&str, &str, &str)]) {
        let mut state = well();
        change(&mut state);
        let problems = problems(&state, &Figures::default());
        let got: Vec<_> = problems
            .iter()
            .map(|problem| {
                let detail: Vec<&str> = problem.advice.split(' ').take(3).collect();
                (problem.symptom.as_str(), problem.place.as_str(), detail.join(" "))
            })
            .collect();
        let expect: Vec<_> = expect.iter().map(|(a, b, c)| (*a, *b, (*c).to_owned())).collect();
        assert_eq!(got, expect);
    }

    fn influx(state: &mut State) -> &mut DestinationStateNow {
        state.destinations.get_mut("influx_sink").expect("it is there")
    }

    fn down(state: &mut State, class: &str, detail: &str) {
        let figures = &mut influx(state).figures;
        figures.up = false;
        figures.errors.insert(class.to_owned(), 1);
        figures.last_error_class = Some(class.to_owned());
        figures.last_error = Some(detail.to_owned());
    }

    #[test]
    fn from_symptom_to_advice() {
        check(|_| {}, &[]);
        check(|s| s.journal.answers = false, &[("journal-silent", "journal", "The disk may")]);
        check(|s| s.clock_off_seconds = Some(-3.25), &[("clock-jumped", "server", "Times of receipt")]);
        check(
            |s| s.journal.append_trouble = Some("no space".into()),
            &[("journal-refuses", "journal", "Free space on")],
        );
        check(
            |s| down(s, "connect", "no response from InfluxDB: refused"),
            &[("destination-down", "influx_sink", "Check that the")],
        );
        check(
            |s| down(s, "http-401", "401: who?"),
            &[("destination-down", "influx_sink", "The destination rejects")],
        );
        check(
            |s| down(s, "disk", "writing /x: full"),
            &[("destination-down", "influx_sink", "Writes to the")],
        );
        check(
            |s| (influx(s).lag_events, influx(s).lag_seconds) = (10, 61.0),
            &[("lag-growing", "influx_sink", "The destination is")],
        );
        check(|s| influx(s).figures.dead_lettered = 3, &[("dead-letters", "influx_sink", "See the reasons")]);
        check(|s| influx(s).figures.missed = 3, &[("missed", "influx_sink", "The journal was")]);
        check(
            |s| {
                let intake = s.intakes.get_mut("user_events").expect("it is there");
                intake.dropped_by_kernel = Some(7);
                intake.shed.insert("queue_full".into(), 2);
                intake.rejected.insert("source".into(), 2);
                intake.rejected.insert("excluded_user".into(), 2);
                intake.remarks.insert("conflict".into(), 1);
                intake.remarks.insert("backpressure".into(), 1);
            },
            &[
                ("kernel-drops", "user_events", "Raise Pipeline.udp.receiveBufferBytes and"),
                ("shed", "user_events", "Events arrive faster"),
                ("conflict", "user_events", "A client changes"),
                ("rejected", "user_events", "The source address"),
            ],
        );
        check(
            |s| {
                let actor = s.actors.get_mut("journal").expect("it is there");
                actor.figures.restarts = 1;
                actor.mailbox = Some(MailboxState { depth: 80, bound: 100 });
            },
            &[("restarts", "journal", "Please report this"), ("mailbox-full", "journal", "The actor cannot")],
        );
        check(
            |s| {
                let full = StreamNow { bytes: 95, bytes_max: 100, ..StreamNow::default() };
                s.journal.streams.insert("user-events".into(), full);
                (influx(s).lag_events, influx(s).lag_seconds) = (1, 90.0);
            },
            &[
                ("journal-filling", "user-events", "A destination lags"),
                ("lag-growing", "influx_sink", "The destination is"),
            ],
        );
    }

    #[test]
    fn refusals_by_a_setting_stay_until_the_next_start() {
        let mut state = well();
        let notes = ["http-not-allowed", "http-with-tickets", "port-not-allowed", "user-not-allowed", "else"];
        let notes = notes.map(|symptom| (symptom.to_owned(), "qlik.test".to_owned()));
        let figures = ActorFigures { notes: BTreeMap::from(notes), ..ActorFigures::default() };
        let before = Figures {
            actors: BTreeMap::from([("redirect_walker".to_owned(), figures.clone())]),
            ..Figures::default()
        };
        state.actors.insert("redirect_walker".into(), ActorState { figures, mailbox: None });
        let problems = problems(&state, &before);
        let symptoms: Vec<_> = problems.iter().map(|problem| problem.symptom.as_str()).collect();
        assert_eq!(
            symptoms,
            ["http-not-allowed", "http-with-tickets", "port-not-allowed", "user-not-allowed"]
        );
        assert!(problems[0].what.contains("qlik.test"));
        assert!(problems[0].advice.contains("Pipeline.screenshots.allowHttp"));
        assert!(problems[2].advice.contains("Pipeline.screenshots.allowedPorts"));
        assert!(problems[3].advice.contains("Pipeline.screenshots.ticketUsers"));
    }

    #[test]
    fn limits_and_dead_letters_have_problems_of_their_own() {
        check(|s| influx(s).figures.parked = 3, &[("parked", "influx_sink", "Raise the limit")]);
        for (class, advice) in [
            ("not-influxdb", "The responses do"),
            ("not-new-relic", "The responses do"),
            ("parking-full", "Raise the limit"),
            ("dead-letters", "The destination rejected"),
        ] {
            check(
                |s| {
                    influx(s).figures.up = false;
                    influx(s).figures.last_error_class = Some(class.into());
                },
                &[("destination-down", "influx_sink", advice)],
            );
        }
        let line_log = |rejected: &[(&str, u64)]| {
            let rejected = rejected.iter().map(|(reason, count)| ((*reason).to_owned(), *count)).collect();
            ActorState { figures: ActorFigures { rejected, ..ActorFigures::default() }, mailbox: None }
        };
        let both = [
            ("dead-letters-refused", DEAD_LETTER_LOG, "Free space on"),
            ("dead-letters-evicted", DEAD_LETTER_LOG, "Raise Pipeline.deadLetters.bytesMax, and"),
        ];
        let change = |s: &mut State| {
            s.actors.insert(DEAD_LETTER_LOG.into(), line_log(&[("disk", 1), ("evicted", 9)]));
            // The quarantine has a bounded size, and its content is not events.
            s.actors.insert("quarantine_keeper".into(), line_log(&[("evicted", 9)]));
        };
        check(change, &both);

        let mut state = well();
        change(&mut state);
        let actors = state.actors.iter().map(|(name, of)| (name.clone(), of.figures.clone())).collect();
        assert_eq!(problems(&state, &Figures { actors, ..Figures::default() }), []);
    }

    #[test]
    fn problems_that_have_passed_are_not_reported() {
        let mut state = well();
        influx(&mut state).figures.dead_lettered = 3;
        state.actors.insert(
            "journal".into(),
            ActorState { figures: ActorFigures { restarts: 2, ..ActorFigures::default() }, mailbox: None },
        );
        let before = Figures {
            destinations: BTreeMap::from([("influx_sink".to_owned(), influx(&mut state).figures.clone())]),
            actors: BTreeMap::from([("journal".to_owned(), state.actors["journal"].figures.clone())]),
            ..Figures::default()
        };
        assert_eq!(problems(&state, &before), []);
    }
}
