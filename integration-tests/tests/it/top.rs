//! `butler-sos top` as somebody sees it: the real binary on a terminal, with keys pressed.

use std::process::Command;

use butler_sos_integration_tests::influxd::Influxd;
use butler_sos_integration_tests::pty::Pty;
use butler_sos_integration_tests::sandbox::{Sandbox, binary};

use super::operations_api::{config, send};

/// The shell's command; `before` goes before it, such as variables.
fn top(sandbox: &Sandbox, before: &str, more: &str) -> String {
    let (binary, config) = (binary("butler-sos"), sandbox.config_path().display());
    let server = sandbox.address("operations");
    format!("{before} {} -c {config} top --server http://{server} {more}", binary.display())
}

/// Runs it between two looks at the terminal's settings; what the shell prints behind it.
fn between_looks(command: &str) -> String {
    format!(
        "stty -g >before; {command}; echo \"ended with $?\"; stty -g >after; cmp before after && echo as-before; sleep 60"
    )
}

fn assert_given_back(pty: &mut Pty, code: i32) {
    let shown = pty.until_shown("as-before");
    assert!(shown.contains(&format!("ended with {code}\n")), "{shown}");
    assert!(!pty.is_on_second_screen() && !pty.is_cursor_hidden(), "{shown}");
}

/// The process on the terminal, begun [`with_pid`].
fn pid_of_top(sandbox: &Sandbox) -> String {
    std::fs::read_to_string(sandbox.path().join("pid")).expect("a file").trim().to_owned()
}

/// Lets the shell become the program, after it has written down its number.
fn with_pid(command: &str) -> String {
    format!("(echo $BASHPID >pid; exec{command})")
}

#[test]
fn values_move_an_outage_is_told_and_a_filter_filters() {
    let mut influxd = Influxd::start_new();
    let sandbox = Sandbox::start_new(&config(influxd.port(), ""));
    let mut pty = Pty::start(&between_looks(&top(&sandbox, "", "")), sandbox.path(), 40, 132);
    pty.until_shown("No problems");
    pty.until_shown("none yet");
    assert!(pty.is_on_second_screen());

    send(&sandbox, 0..40);
    let has_row = |name: &'static str, state: &'static str, figure: &'static str| {
        move |shown: &str| {
            shown.lines().any(|line| line.contains(name) && line.contains(state) && line.contains(figure))
        }
    };
    pty.until("40 received", has_row("user_events", "listening", " 40 "));
    pty.until("40 stored", has_row("user_parser", "running", " 40 "));
    pty.until("40 delivered", has_row("influx_sink", "up", " 40 "));
    pty.until("40 in CSV", has_row("csv_sink", "up", " 40 "));
    pty.until("events", |shown| shown.lines().filter(|line| line.contains("host=")).count() >= 15);
    sandbox
        .udp()
        .send(b"/qseow-proxy-session/;sense1;Start session;LAB;wanted1;AppAccess;/hub;hi\x1b[2J")
        .expect("sent");
    pty.until_shown("LAB\\wanted1");
    assert!(pty.shown().contains("message=hi[2J"), "{}", pty.shown());

    pty.press("/user:WANTED");
    pty.until("one event", |shown| shown.lines().filter(|line| line.contains("host=")).count() == 1);
    pty.press(" nothing-like-that\r");
    pty.until_shown("no matching events");
    pty.press("\x1b");
    pty.until("all events", |shown| shown.lines().filter(|line| line.contains("host=")).count() >= 15);

    influxd.stop();
    send(&sandbox, 41..50);
    pty.until_shown("influx_sink is down");
    pty.until_shown("-> Check that the destination is running");
    pty.until("9 waiting", has_row("influx_sink", "DOWN", "9 waiting"));
    assert_eq!(pty.colour_of("DOWN"), Some(vt100::Color::Idx(1)), "red");
    influxd.start();
    pty.until("50 delivered", has_row("influx_sink", "up", " 50 "));
    pty.until_shown("No problems");

    pty.press("q");
    assert_given_back(&mut pty, 0);
    assert_eq!(sandbox.settle().unaccounted(), 0.0);
}

#[test]
fn a_server_that_goes_away_is_waited_for() {
    let influxd = Influxd::start_new();
    let mut sandbox = Sandbox::start_new(&config(influxd.port(), ""));
    let mut pty = Pty::start(&between_looks(&top(&sandbox, "NO_COLOR=1", "")), sandbox.path(), 24, 80);
    pty.until_shown("No problems");
    assert!(sandbox.stop().success());
    pty.until("the server to be missed", |shown| {
        // The last that was heard stays.
        ["no connection", "No connection to the server", "csv_sink"].iter().all(|part| shown.contains(part))
    });
    sandbox.start();
    pty.until("the server to be back", |shown| shown.contains("No problems") && shown.contains(" live"));
    let colours = ["\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[36m", "\x1b[38;5;"];
    let raw = String::from_utf8_lossy(&pty.raw).into_owned();
    assert!(!colours.iter().any(|colour| raw.contains(colour)), "NO_COLOR is set: {raw:?}");
    // Ctrl-C
    pty.press("\x03");
    assert_given_back(&mut pty, 0);
}

#[test]
fn a_signal_and_a_panic_give_the_terminal_back() {
    let influxd = Influxd::start_new();
    let sandbox = Sandbox::start_new(&config(influxd.port(), ""));
    for signal in ["TERM", "INT", "HUP"] {
        let command = between_looks(&with_pid(&top(&sandbox, "", "")));
        let mut pty = Pty::start(&command, sandbox.path(), 24, 80);
        pty.until_shown("No problems");
        let pid = pid_of_top(&sandbox);
        assert!(Command::new("kill").args(["-s", signal, &pid]).status().expect("kill").success());
        assert_given_back(&mut pty, 0);
    }
    let command = between_looks(&top(&sandbox, "RUST_BACKTRACE=0", ""));
    let mut pty = Pty::start(&command, sandbox.path(), 24, 80);
    pty.until_shown("No problems");
    // F12, in a build for tests alone.
    pty.press("\x1b[24~");
    assert_given_back(&mut pty, 101);
    assert!(pty.shown().contains("a test asked for this"), "{}", pty.shown());
}

#[test]
fn without_a_terminal_it_says_so() {
    let influxd = Influxd::start_new();
    let sandbox = Sandbox::start_new(&config(influxd.port(), ""));
    let command = top(&sandbox, "", "");
    let output = Command::new("bash").args(["-c", &format!("{command} </dev/null")]).output().expect("bash");
    let detail = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(64), "{detail}");
    assert!(detail.contains("top needs a terminal") && detail.contains("status --json"), "{detail}");
    assert_eq!(output.stdout, b"");

    // Tiny terminals, and a dumb one.
    let mut pty = Pty::start(&between_looks(&top(&sandbox, "", "")), sandbox.path(), 3, 12);
    pty.until_shown("No ");
    pty.press("q");
    let shown = pty.until("its end", |shown| shown.contains("as-before"));
    assert!(!shown.contains("panicked"), "{shown}");
    let mut pty = Pty::start(&between_looks(&top(&sandbox, "TERM=dumb", "")), sandbox.path(), 24, 80);
    pty.until_shown("ended with 64");
    assert!(pty.shown().contains("terminal type dumb"), "{}", pty.shown());
}
