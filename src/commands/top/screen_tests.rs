//! Screens as they look, drawn on ratatui's stand-in for a terminal.

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::KeyCode;

use super::super::model::EventLine;
use super::super::picture::svg;
use super::*;
use crate::operations::problem::Problem;

/// A server at work in the second `at`: InfluxDB can be away.
fn state(at: u64, is_influx_up: bool) -> State {
    let sent = 1_000 + at * 1_203;
    let delivered = if is_influx_up { sent } else { 1_000 };
    let destination = |up: bool, stream: &str, delivered: u64, error: Option<&str>| {
        serde_json::json!({
            "up": up, "deliveredEvents": delivered, "deliveredBatches": 3, "deliveredBytes": 1,
            "redeliveredEvents": 0, "deadLettered": if up { 0 } else { 2 }, "missed": 0, "deferred": 0,
            "errors": {}, "lastError": error, "lastErrorUnixMs": error.map(|_| 1), "stream": stream,
            "committed": 1, "lagEvents": sent - delivered.min(sent),
            "lagSeconds": if up { 0.0 } else { at as f64 }, "canRetry": true, "replayRefused": null,
        })
    };
    let actor = |depth: u32, bound: u32, restarts: u64| {
        serde_json::json!({ "received": 7, "sent": 7, "restarts": restarts, "rejected": {},
            "mailbox": { "depth": depth, "bound": bound } })
    };
    let stream = |next: u64, bytes: u64| {
        serde_json::json!({ "bytes": bytes, "bytesMax": 4_294_967_296_u64, "segments": 1, "firstOffset": 0,
            "nextOffset": next, "durableOffset": next, "oldestUnixMs": 1 })
    };
    let json = serde_json::json!({
        "version": "0.1.0", "unixMs": 1_760_000_000_000 + at * 1_000, "uptimeSeconds": 11_520.0 + at as f64,
        "status": if is_influx_up { "ok" } else { "degraded" }, "reasons": [], "warnings": [], "draining": false,
        "problems": [], "jobs": [],
        "listening": [{ "service": "user-events", "address": "0.0.0.0:9997" },
            { "service": "audit-events", "address": "0.0.0.0:8181" }],
        "intakes": {
            "user_events": { "received": sent + 5, "stored": sent, "droppedByKernel": 0,
                "rejected": { "source": 5 }, "shed": {}, "remarks": {} },
            "audit_events": { "received": 240 + at, "stored": 240 + at, "droppedByKernel": 0, "rejected": {},
                "shed": {}, "remarks": {} },
        },
        "actors": { "user_parser": actor(9_000, 100_000, 0), "journal": actor(3, 100, 0),
            "audit_http_ingestor": actor(0, 200, 0), "ticket_actor": actor(0, 64, 2),
            "influx_sink": actor(0, 8, 0) },
        "destinations": {
            "csv_sink": destination(true, "user-events", sent, None),
            "influx_sink": destination(is_influx_up, "user-events", delivered,
                (!is_influx_up).then_some("no response from InfluxDB: connection refused")),
            "json_sink": destination(true, "audit-events", sent, None),
        },
        "journal": { "answers": true, "appendTrouble": null, "appendErrors": 0,
            "syncs": { "count": 10 * at, "secondsTotal": 0.032 * at as f64, "secondsLast": 0.003 },
            "streams": { "user-events": stream(sent, 350_000_000), "audit-events": stream(240 + at, 90_000),
                "screenshots": stream(0, 0) } },
        "process": { "pid": 7, "residentBytes": 47_185_920, "openFds": 9, "threads": 9,
            "cpuSeconds": 0.031 * at as f64, "startUnixMs": 1 },
    });
    let mut state: State = serde_json::from_value(json).expect("a state");
    if !is_influx_up {
        state.problems.push(Problem {
            severity: Severity::Error,
            symptom: "destination-down".into(),
            place: "influx_sink".into(),
            what: "influx_sink is down (no response from InfluxDB: connection refused). Waiting in the journal: 43308 events.".into(),
            advice: "Check that the destination is running and that host and port are correct. Test the connection from this machine (curl or mosquitto_pub) and check firewalls. The server retries continuously and resumes by itself.".into(),
        });
        state.problems.push(Problem {
            severity: Severity::Warning,
            symptom: "restarts".into(),
            place: "ticket_actor".into(),
            what: "ticket_actor failed and was restarted in the last 5 minutes: 2 times. Stored events are safe.".into(),
            advice: "Please report this with the log lines \"actor panicked\".".into(),
        });
    }
    state
}

fn model(is_influx_up: bool) -> Model {
    let mut model = Model { server: "http://127.0.0.1:9842".into(), colour: true, ..Model::default() };
    for at in 1..=36 {
        model.hear(state(at, is_influx_up));
    }
    let event = |second: u64, user: &str, what: &str, app: &str| EventLine {
        unix_ms: second,
        text: format!("08:53:{:02}  {what}  LAB\\{user}{app}  host=sense1  browser=Chrome 119", second % 60),
    };
    model.events = (0..40)
        .map(|at| match at % 4 {
            0 => event(59 - at, "anna", "Open connection", "  app=Sales Dashboard"),
            1 => event(59 - at, "göran", "Start session", ""),
            2 => event(59 - at, "李雷", "selection.state.changed", "  app=预算 2025"),
            _ => event(59 - at, "bert", "Close connection", "  app=Operations Monitor"),
        })
        .collect();
    model
}

fn drawn(model: &Model, width: u16, height: u16) -> (Buffer, Scrolled) {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal");
    let mut most = Scrolled::default();
    terminal.draw(|frame| most = draw(model, frame.area(), frame.buffer_mut())).expect("it is drawn");
    (terminal.backend().buffer().clone(), most)
}

fn text(model: &Model, width: u16, height: u16) -> String {
    let (buffer, _) = drawn(model, width, height);
    let rows = buffer.content.chunks(usize::from(width.max(1)));
    let lines = rows.map(|row| {
        let mut line = String::new();
        let mut covered = 0;
        for cell in row {
            // A wide character has a cell behind it that shows nothing of its own.
            if covered == 0 {
                line.push_str(cell.symbol());
                covered = Span::raw(cell.symbol()).width();
            }
            covered = covered.saturating_sub(1);
        }
        line.replace('\u{a0}', " ").trim_end().to_owned() + "\n"
    });
    lines.collect()
}

#[test]
fn all_is_well_at_80_by_24() {
    let expect = r#" butler-sos 0.1.0  ok  in 1 204/s  out 3 609/s  up 3 h 12 min  CPU 3 %  4… live
 No problems: all events are stored and delivered.
 INTAKE              STATE      EVENTS/S    RECEIVED  MAILBOX
  user_events        listening     1 203      44 313                  5 rejected
  audit_events       listening       1.0         276  ░░░░░░░░   0 %
▼PARSER                                       STORED  MAILBOX
  user_parser        running       1 203      44 308  █░░░░░░░   9 %
▼JOURNAL                                     RECORDS  USED
  user-events        running       1 203      44 308  █░░░░░░░   8 %  333.8 MiB…
  audit-events       running         1.0         276  █░░░░░░░  <1 %  87.9 KiB …
▼DESTINATIONS                              DELIVERED  MAILBOX
  csv_sink           up            1 203      44 308
  influx_sink        up            1 203      44 308  ░░░░░░░░   0 %
  json_sink          up            1 203      44 308
▼OTHER ACTORS                               MESSAGES  MAILBOX
  ticket_actor       running           -           7  ░░░░░░░░   0 %  2 restarts
 LATEST EVENTS
 08:53:59  Open connection  LAB\anna  app=Sales Dashboard  host=sense1  browser=
 08:53:58  Start session  LAB\göran  host=sense1  browser=Chrome 119
 08:53:57  selection.state.changed  LAB\李雷  app=预算 2025  host=sense1  browse
 08:53:56  Close connection  LAB\bert  app=Operations Monitor  host=sense1  brow
 08:53:55  Open connection  LAB\anna  app=Sales Dashboard  host=sense1  browser=
 08:53:54  Start session  LAB\göran  host=sense1  browser=Chrome 119
 q quit   ↑ ↓ PgUp PgDn scroll   Tab next part   / filter   Esc clear filter
"#;
    assert_eq!(text(&model(true), 80, 24), expect);
}

#[test]
fn an_outage_is_red_and_comes_with_advice() {
    let text = text(&model(false), 120, 32);
    let at = |part: &str| text.find(part).unwrap_or_else(|| panic!("no {part:?}:\n{text}"));
    assert!(at("ERROR influx_sink is down") < at("-> Check that the destination is running"));
    assert!(at("-> Check that the destination") < at("INTAKE"));
    assert!(at("influx_sink        DOWN") < at("43 308 waiting for 36 s, 2 dead letters, no"));
    assert!(at("OTHER ACTORS") < at("ticket_actor       restarted"));
    let (buffer, _) = drawn(&model(false), 120, 32);
    let row = text.lines().position(|line| line.contains("  DOWN")).expect("a row") as u16;
    let column =
        text.lines().nth(usize::from(row)).and_then(|line| line.find("DOWN")).expect("a column") as u16;
    assert_eq!(buffer[(column, row)].fg, Color::Red);
}

#[test]
fn without_colour_there_is_none() {
    for is_up in [true, false] {
        let model = Model { colour: false, away: Some("it is gone".into()), ..model(is_up) };
        let (buffer, _) = drawn(&model, 120, 40);
        assert!(buffer.content.iter().all(|cell| cell.fg == Color::Reset && cell.bg == Color::Reset));
    }
}

#[test]
fn a_server_that_is_away_is_told_in_words() {
    let mut model = Model { server: "http://127.0.0.1:9842".into(), ..Model::default() };
    assert!(text(&model, 80, 24).contains("Connecting to the server."));
    model.away = Some("no response from http://127.0.0.1:9842: refused\u{1b}[2J".into());
    let reported = text(&model, 80, 24);
    assert!(
        reported.contains("no connection") && reported.contains("No connection to the server"),
        "{reported}"
    );
    assert!(reported.contains("refused\\u{1b}[2J"), "{reported}");
    assert!(
        reported.contains("-> Check that the process is running: systemctl status butler-sos"),
        "{reported}"
    );
    let mut model = self::model(true);
    model.away = Some("the connection was lost".into());
    model.no_response = std::time::Duration::from_secs(75);
    let reported = text(&model, 120, 30);
    assert!(
        reported.contains("The screen shows the state of 1 min 15 s ago.") && reported.contains("csv_sink"),
        "{reported}"
    );
}

#[test]
fn no_size_is_too_small() {
    for is_up in [true, false] {
        let mut model = model(is_up);
        for typing in [false, true] {
            model.is_typing = typing;
            model.filter = "user:李雷 x".repeat(9);
            for width in (0..40).step_by(3).chain([1, 79, 80, 81, 119, 300]) {
                for height in (0..16).chain([23, 24, 25, 120]) {
                    let (_, most) = drawn(&model, width, height);
                    model.limit(most);
                    let area = Rect::new(0, 0, width, height);
                    let at = cursor(&model, area);
                    assert!(at.is_none_or(|at| area.contains(at)), "{width}x{height}: {at:?}");
                }
            }
        }
    }
}

#[test]
fn every_line_can_be_scrolled_to() {
    let mut model = model(false);
    model.state.as_mut().expect("a state").problems[0].advice = "word ".repeat(200) + "last-of-advice";
    let has = |model: &Model, part: &str| text(model, 80, 24).contains(part);
    assert!(!has(&model, "last-of-advice") && has(&model, "more lines: Tab, then ↓"));
    model.focus = Focus::Problems;
    let end = |model: &mut Model| {
        assert_eq!(model.press(KeyCode::End.into()), super::super::model::Wish::Nothing);
        let (_, most) = drawn(model, 80, 24);
        model.limit(most);
    };
    end(&mut model);
    assert!(has(&model, "actor panicked"), "{}", text(&model, 80, 24));
    assert!(!has(&model, "more lines"));
    model.focus = Focus::Flow;
    end(&mut model);
    assert!(has(&model, "ticket_actor"), "{}", text(&model, 80, 24));
    model.focus = Focus::Events;
    end(&mut model);
    assert!(has(&model, &model.events[39].text[..20]), "{}", text(&model, 80, 24));
    assert!(has(&model, "Home resumes"));
    model.press(KeyCode::Up.into());
    assert!(!has(&model, &format!(" {}", &model.events[39].text[..20])), "it moves at once");
}

#[test]
fn words_are_kept_whole_where_they_fit() {
    let check = |text: &str, width: usize, expect: &[&str]| assert_eq!(wrapped(text, width), expect);
    check("", 5, &[""]);
    check("a bc def", 4, &["a bc", "def"]);
    check("abcdefghij k", 4, &["abcd", "efgh", "ij k"]);
    check("ab 李雷李雷", 5, &["ab", "李雷", "李雷"]);
    check("李", 1, &["李", ""]);
}

#[test]
fn cells_have_their_width() {
    let check =
        |text: &str, width: usize, side: Side, expect: &str| assert_eq!(fit(text, width, side), expect);
    check("abc", 5, Side::Right, "  abc");
    check("abc", 3, Side::Left, "abc");
    check("abcd", 3, Side::Left, "ab…");
    check("李雷李", 4, Side::Left, "李… ");
    check("abc", 0, Side::Left, "");
    assert_eq!(line_over_time(&[]), " ".repeat(MINUTE));
    assert_eq!(line_over_time(&[0.0, 0.0, 8.0, 1.0, f64::NAN, 0.0]).trim_start(), "█▁");
    assert_eq!(line_over_time(&[1.0; 60]), "█".repeat(MINUTE));
    for (figure, expect) in [(0.0, "0"), (0.33, "0.3"), (9.96, "10"), (1_203.4, "1 203"), (f64::NAN, "0")] {
        assert_eq!(per_second(figure).replace('\u{a0}', " "), expect);
    }
}

/// The picture in `docs/operating.md`. To make it anew: `BLESS=1 cargo test -p butler-sos --lib top`.
#[test]
fn the_picture_shows_what_is_drawn() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/pictures/top.svg");
    let events = model(false).events;
    let mut model = Model { server: "http://127.0.0.1:9842".into(), colour: true, ..Model::default() };
    let mut sent = 1_000;
    for at in 1..=60 {
        // As figures go up and down in a minute.
        sent += 700 + (at * at * 37) % 1_000;
        let mut state = state(at, false);
        state.problems.truncate(1);
        state.actors.remove("ticket_actor");
        let intake = state.intakes.get_mut("user_events").expect("it is there");
        (intake.received, intake.stored) = (sent + 5, sent);
        state.journal.streams.get_mut("user-events").expect("it is there").next_offset = sent;
        for destination in state.destinations.values_mut() {
            match destination.figures.up {
                true if destination.stream == "user-events" => destination.figures.delivered_events = sent,
                true => destination.figures.delivered_events = 240 + at,
                false => destination.lag_events = sent - 1_000,
            }
        }
        let problem = state.problems.first_mut().expect("there is one");
        problem.what = problem.what.replace("43308", &(sent - 1_000).to_string());
        model.hear(state);
    }
    model.filter = "app=".into();
    model.events = events.into_iter().filter(|line| line.text.contains("app=")).collect();
    let expect = svg(&drawn(&model, 132, 32).0);
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(path, &expect).expect("the picture can be written");
    }
    assert!(std::fs::read_to_string(path).is_ok_and(|kept| kept == expect), "make it anew with BLESS=1");
}
