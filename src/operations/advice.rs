//! From figures to what is wrong, and what a tired administrator can do about it.
//!
//! One list, for the dashboard and for `butler-sos status`. Pure: it compares the state with the figures of a while
//! ago, so that what has passed does not stay red.
//!
//! | symptom | told when |
//! |---|---|
//! | `journal-silent`, `journal-refuses`, `journal-filling` | it does not answer; takes no events; holds nine tenths of its bound |
//! | `destination-down` | the last delivery failed; advice by the error's class |
//! | `lag-growing` | events wait for longer than a minute although deliveries succeed |
//! | `shed`, `kernel-drops`, `rejected`, `conflict` | in the last five minutes |
//! | `dead-letters`, `missed`, `restarts` | in the last five minutes |
//! | `parked` | a limit of the destination keeps events out |
//! | `dead-letters-refused`, `dead-letters-evicted` | the disk kept none, or old ones went to make room, in the last five minutes |
//! | `mailbox-full` | four fifths of a bound are in use |
//! | `http-not-allowed`, `port-not-allowed`, `user-not-allowed` | a screenshot was refused for a setting since the start |
//! | `http-with-tickets` | `Pipeline.screenshots.allowHttp` is true |
//! | `clock-jumped` | the clock was set by more than two seconds, until it is set back or for a day |
//! | `stopping` | the server has been told to stop |

use butler_sos_actors::kit::metric::{Figures, IntakeFigures};

use super::problem::{Problem, Severity};
use super::state::{DestinationStateNow, State};

/// Waiting for longer than this is remarkable while deliveries succeed.
const LAG_SECONDS: f64 = 60.0;

/// What is wrong now, compared with the figures of [`super::history::WINDOW`] ago.
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
            "Times of receipt follow the clock. Look at time synchronisation (timedatectl, chronyc tracking) and set the clock right: from then on the times are right too, and no two events share one. If the time is right now, nothing is to be done; this goes away in a day.",
        ));
    }
    if state.draining {
        let what = "The server has been told to stop and takes no more events.";
        found.push(problem(Severity::Notice, "stopping", "server", what, "Destinations catch up for Pipeline.drainSeconds; what they do not get waits in the journal for the next start."));
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

/// How far a clock is off, in words.
pub fn off(off_seconds: f64) -> String {
    let way = if off_seconds < 0.0 { "behind" } else { "ahead of" };
    format!("{:.1} s {way} the time that it should show: it was set", off_seconds.abs())
}

/// `1 event`, `2 events`.
fn some(number: u64, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

fn of_journal(state: &State, found: &mut Vec<Problem>) {
    let journal = &state.journal;
    if !journal.answers {
        found.push(problem(
            Severity::Error, "journal-silent", "journal",
            "The journal does not answer, so no event can be stored.",
            "Its disk may hang: look at the kernel's log (dmesg) and at the disk's latency (iostat). The log of the server tells more.",
        ));
    }
    if let Some(trouble) = &journal.append_trouble {
        found.push(problem(
            Severity::Error, "journal-refuses", "journal",
            format!("The journal takes no events: {trouble}."),
            "Make room on the disk of Pipeline.journal.directory, or raise Pipeline.journal.bytesMax, or bring back the destination that is behind. It goes on by itself, without a restart.",
        ));
    }
    for (name, stream) in &journal.streams {
        let percent = stream.bytes.saturating_mul(100) / stream.bytes_max.max(1);
        // Nobody waits for most of it as long as nobody is behind: it makes room by itself.
        let is_behind =
            state.destinations.values().any(|of| of.stream == *name && of.lag_seconds > LAG_SECONDS);
        if percent >= 90 && is_behind && journal.append_trouble.is_none() {
            found.push(problem(
                Severity::Warning, "journal-filling", name,
                format!("The stream {name} holds {percent} % of what it may."),
                "A destination is behind and its events fill the journal. Bring it back, or raise Pipeline.journal.bytesMax. When it is full, Pipeline.journal.onFull decides what happens.",
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
                format!("The kernel dropped {} in the last five minutes, before the server could read them.", some(dropped, "datagram")),
                "Raise Pipeline.udp.receiveBufferBytes, and the kernel's limit with it: sysctl -w net.core.rmem_max=33554432. If it goes on, the machine is too busy.",
            ));
        }
        for (reason, count) in &intake.shed {
            let more = count - earlier.shed.get(reason).copied().unwrap_or(0).min(*count);
            if more > 0 && reason != "draining" {
                found.push(problem(
                    Severity::Error,
                    "shed",
                    name,
                    format!("Lost in the last five minutes: {} ({reason}).", some(more, "event")),
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
                    format!("Refused in the last five minutes: {} ({reason}).", some(more, "event")),
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
                format!("Came in the last five minutes with the ids of an earlier event and another body: {}. All are kept.", some(more, "event")),
                "Somebody changes events, or reuses ids. The log names client and event; the later ones have conflictOf, and _conflict- in names of files. Compare them with the first.",
            ));
        }
    }
}

fn shed_advice(reason: &str) -> &'static str {
    match reason {
        "queue_full" => {
            "Events come faster than they are stored. Raise messageQueue.maxSize for bursts; if it goes on, look whether the journal's disk is slow (its sync times are on this page)."
        }
        "journal_full" => {
            "The journal is full because a destination is behind. Bring that destination back, or raise Pipeline.journal.bytesMax."
        }
        "journal_disk" => {
            "The journal's disk refuses to write. Look at free space, at mount options and at the kernel's log."
        }
        "actor_panic" => {
            "A part of the server failed while it held them and was restarted. Please report it with the log around that time."
        }
        _ => "The log of the server tells more.",
    }
}

fn rejected_advice(reason: &str) -> &'static str {
    match reason {
        "source" => {
            "They came from an address that is not in userEvents.udpServerConfig.allowedSources. If it is one of yours, add it."
        }
        "size" | "too_large" => {
            "They are longer than allowed: maxMessageSize for user events, Pipeline.audit.bodyBytesMax for audit events."
        }
        "rate_limit" | "queue_rate_limit" => {
            "More came than the configured rate limit allows. Raise it if they are legitimate."
        }
        "unauthorized" => {
            "Whoever sends audit events has a missing or wrong token: it must be auditEvents.apiToken."
        }
        "unknown-type" | "incomplete" | "empty-host" | "empty-command" => {
            "They are no user events of a Qlik Sense proxy. Compare the log appender's conversionPattern with conf/log4net; the first bytes are under Rejected datagrams."
        }
        "quarantine_full" => {
            "They could not even be kept: the quarantine's queue was full or its disk refuses."
        }
        "damaged" => "Records of the journal were not readable; the log says which.",
        _ => "What was refused, and why, is told to the sender and in the log.",
    }
}

fn of_destination(name: &str, of: &DestinationStateNow, before: &Figures, found: &mut Vec<Problem>) {
    let now = &of.figures;
    let earlier = before.destinations.get(name).cloned().unwrap_or_default();
    if !now.up {
        let detail = now.last_error.as_deref().unwrap_or("no answer yet");
        let class = now.last_error_class.as_deref().unwrap_or_default();
        found.push(problem(
            Severity::Error,
            "destination-down",
            name,
            format!(
                "{name} does not take events ({detail}). Waiting safely in the journal: {}.",
                some(of.lag_events, "event")
            ),
            format!("{} It is tried again all the time and goes on by itself.", down_advice(class)),
        ));
    } else if of.lag_seconds > LAG_SECONDS && of.lag_events > 0 {
        found.push(problem(
            Severity::Warning, "lag-growing", name,
            format!("Waiting for {name}, although it takes events: {}, the oldest for {:.0} s.", some(of.lag_events, "event"), of.lag_seconds),
            "It is catching up, or it is slower than events come in. Watch whether the number falls; if it grows, look at the load of the far side and at its batch size.",
        ));
    }
    let letters = now.dead_lettered.saturating_sub(earlier.dead_lettered);
    if letters > 0 {
        found.push(problem(
            Severity::Warning, "dead-letters", name,
            format!("{name} refused {} in the last five minutes, kept among the dead letters.", some(letters, "event")),
            "Read the reasons under Dead letters. When the cause is mended (a field's type in InfluxDB, for instance), retry them there; else drop them.",
        ));
    }
    if now.parked > 0 {
        found.push(problem(
            Severity::Warning, "parked", name,
            format!("A limit of {name} keeps {} out; they are parked on disk and none goes to make room.", some(now.parked, "event")),
            "Raise the limit in InfluxDB (max-values-per-tag, max-series-per-database in influxdb.conf; 0: none) and restart it, or write audit events to a new database, where ids are fields (Pipeline.influxdb.auditIdsAsFields). Parked events are tried again every Pipeline.deadLetters.parkedRetrySeconds, and at the server's start.",
        ));
    }
    let missed = now.missed.saturating_sub(earlier.missed);
    if missed > 0 {
        found.push(problem(
            Severity::Error, "missed", name,
            format!("Gone from the journal before {name} had them: {}.", some(missed, "event")),
            "The journal was full or damaged. Raise Pipeline.journal.bytesMax so that it outlasts an outage; the log says which offsets are gone.",
        ));
    }
}

fn down_advice(class: &str) -> &'static str {
    match class {
        "dns" => {
            "Its host name does not resolve on this machine. Compare it with the configuration; try it with getent hosts NAME."
        }
        "connect" | "connection" | "disconnected" => {
            "Is it running, and are host and port right? Try them from this machine (curl, or mosquitto_pub); look at firewalls between."
        }
        "timeout" => {
            "It does not answer in time. Look at its load and disk; a longer timeout helps only when it is slow for good reason."
        }
        "tls" => {
            "The TLS handshake fails; the words above say what is wrong with the certificate. Compare its end, its names and who signed it with the configuration (host, ca)."
        }
        "auth" | "http-401" | "http-403" => {
            "It does not accept our credentials. Compare token, user and password with what it expects, and their rights to write."
        }
        "http-404" => "The database, bucket or organisation is not there. Create it, or correct its name.",
        "http-413" => {
            "It finds requests too large; they shrink by themselves. Raise its limit, or lower maxBatchSize."
        }
        "http-429" => "It asks us to slow down. Raise its limits, or let it catch up.",
        "http-500" | "http-502" | "http-503" | "http-504" => "It has trouble of its own. Its log tells more.",
        "disk" => {
            "The disk refuses to write. Look at free space, at the directory's rights and owner, and at mount options."
        }
        "config" | "administration" | "qos" => {
            "A setting does not fit the far side. The words above say which; `butler-sos check` tells more."
        }
        "not-influxdb" => {
            "Something else answers in place of InfluxDB: a login page, a proxy, another service. Compare scheme, host and port with InfluxDB's own; try them with curl -i. Nothing that it says counts as delivered."
        }
        "not-new-relic" => {
            "Something else answers in place of New Relic: a login page, a proxy. Compare newRelic.event.url with the address in New Relic's documentation; try it with curl -i. Nothing that it says counts as delivered."
        }
        "dead-letters" => {
            "It refused events, and the disk does not take them as dead letters, so none of them is given up. Make room on the disk of Pipeline.deadLetters.directory; look at its rights and owner."
        }
        "parking-full" => {
            "Raise its limit (max-values-per-tag, max-series-per-database in influxdb.conf; 0: none) and restart it, or raise Pipeline.deadLetters.parkedBytesMax."
        }
        "parking" => {
            "A limit of it keeps events out, and the disk does not take them. Make room on the disk of Pipeline.deadLetters.directory; look at its rights and owner."
        }
        "broker" | "mqtt" => {
            "The broker ended or refused the connection. Its log tells why: often a client id that is used twice, or an ACL."
        }
        _ => "The words above are the far side's own; the log of the server tells more.",
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
                format!("{name} failed and was restarted in the last five minutes: {}. Nothing that was stored is lost.", some(restarts, "time")),
                "Please report it with the log lines \"actor panicked\". Too many restarts end the process with status 70, so that the service manager starts it anew.",
            ));
        }
        if name == DEAD_LETTER_KEEPER {
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
                format!("{name} has {} of at most {} pieces of work waiting.", mailbox.depth, mailbox.bound),
                "It cannot keep up at the moment. A burst passes; if it stays, this part is the bottleneck.",
            ));
        }
    }
}

/// What does not pass by itself: it stays until the next start.
fn of_note(place: &str, symptom: &str, about: &str, found: &mut Vec<Problem>) {
    let (what, advice) = match symptom {
        "http-not-allowed" => (
            format!("Screenshots from {about} are refused: their addresses begin with http, not https."),
            "Have Qlik Sense or Audit.qs use https. Else set Pipeline.screenshots.allowHttp: withoutTickets serves images that need no login; true sends tickets and sessions over the network in clear text.",
        ),
        "port-not-allowed" => (
            format!("Screenshots from {about} are refused for their port."),
            "If that is a port of Qlik Sense, add it to Pipeline.screenshots.allowedPorts. The log names it.",
        ),
        "user-not-allowed" => (
            "Screenshots of a user are refused: no ticket may be asked for that user.".to_owned(),
            "If that is right, do nothing. Else change Pipeline.screenshots.ticketUsers (allow, deny, denyInternal); the event's user is in the event.",
        ),
        "http-with-tickets" => (
            "Tickets and sessions of users may go over the network in clear text.".to_owned(),
            "Pipeline.screenshots.allowHttp is true, as Butler SOS does it. Use https, then set it to false or withoutTickets.",
        ),
        _ => return,
    };
    found.push(problem(Severity::Warning, symptom, place, what, advice));
}

/// The actor that keeps dead letters.
pub const DEAD_LETTER_KEEPER: &str = "dead_letter_keeper";

fn of_dead_letters(refused: u64, lost: u64, found: &mut Vec<Problem>) {
    if refused > 0 {
        found.push(problem(
            Severity::Error, "dead-letters-refused", DEAD_LETTER_KEEPER,
            format!("Dead letters could not be kept in the last five minutes: {}. Destinations wait with them and lose nothing.", some(refused, "attempt")),
            "Make room on the disk of Pipeline.deadLetters.directory; look at its rights and owner, and at mount options. It goes on by itself.",
        ));
    }
    if lost > 0 {
        found.push(problem(
            Severity::Error, "dead-letters-evicted", DEAD_LETTER_KEEPER,
            format!("Old dead letters went for good to make room in the last five minutes: {}.", some(lost, "event")),
            "Raise Pipeline.deadLetters.bytesMax, and mend what makes destinations refuse so many: the reasons are under Dead letters.",
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
        check(|s| s.journal.answers = false, &[("journal-silent", "journal", "Its disk may")]);
        check(|s| s.clock_off_seconds = Some(-3.25), &[("clock-jumped", "server", "Times of receipt")]);
        check(
            |s| s.journal.append_trouble = Some("no space".into()),
            &[("journal-refuses", "journal", "Make room on")],
        );
        check(
            |s| down(s, "connect", "no answer from InfluxDB: refused"),
            &[("destination-down", "influx_sink", "Is it running,")],
        );
        check(|s| down(s, "http-401", "401: who?"), &[("destination-down", "influx_sink", "It does not")]);
        check(
            |s| down(s, "disk", "writing /x: full"),
            &[("destination-down", "influx_sink", "The disk refuses")],
        );
        check(
            |s| (influx(s).lag_events, influx(s).lag_seconds) = (10, 61.0),
            &[("lag-growing", "influx_sink", "It is catching")],
        );
        check(
            |s| influx(s).figures.dead_lettered = 3,
            &[("dead-letters", "influx_sink", "Read the reasons")],
        );
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
                ("kernel-drops", "user_events", "Raise Pipeline.udp.receiveBufferBytes, and"),
                ("shed", "user_events", "Events come faster"),
                ("conflict", "user_events", "Somebody changes events,"),
                ("rejected", "user_events", "They came from"),
            ],
        );
        check(
            |s| {
                let actor = s.actors.get_mut("journal").expect("it is there");
                actor.figures.restarts = 1;
                actor.mailbox = Some(MailboxState { depth: 80, bound: 100 });
            },
            &[("restarts", "journal", "Please report it"), ("mailbox-full", "journal", "It cannot keep")],
        );
        check(
            |s| {
                let full = StreamNow { bytes: 95, bytes_max: 100, ..StreamNow::default() };
                s.journal.streams.insert("user-events".into(), full);
                (influx(s).lag_events, influx(s).lag_seconds) = (1, 90.0);
            },
            &[
                ("journal-filling", "user-events", "A destination is"),
                ("lag-growing", "influx_sink", "It is catching"),
            ],
        );
    }

    #[test]
    fn what_a_setting_refuses_stays_until_the_next_start() {
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
            ("not-influxdb", "Something else answers"),
            ("not-new-relic", "Something else answers"),
            ("parking-full", "Raise its limit"),
            ("dead-letters", "It refused events,"),
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
            ("dead-letters-refused", DEAD_LETTER_KEEPER, "Make room on"),
            ("dead-letters-evicted", DEAD_LETTER_KEEPER, "Raise Pipeline.deadLetters.bytesMax, and"),
        ];
        let change = |s: &mut State| {
            s.actors.insert(DEAD_LETTER_KEEPER.into(), line_log(&[("disk", 1), ("evicted", 9)]));
            // The quarantine is of a bounded size, and what goes there is no event.
            s.actors.insert("quarantine_keeper".into(), line_log(&[("evicted", 9)]));
        };
        check(change, &both);

        let mut state = well();
        change(&mut state);
        let actors = state.actors.iter().map(|(name, of)| (name.clone(), of.figures.clone())).collect();
        assert_eq!(problems(&state, &Figures { actors, ..Figures::default() }), []);
    }

    #[test]
    fn what_has_passed_is_not_told() {
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
