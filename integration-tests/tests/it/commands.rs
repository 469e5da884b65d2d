//! The commands that ask a running server, as somebody types them: what they print, and their exit codes.

use std::io::{BufRead, BufReader, Lines, Write};
use std::net::TcpListener;
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};

use butler_sos_integration_tests::fake_influx::{FakeInflux, FakeVersion, Fault};
use butler_sos_integration_tests::influxd::Influxd;
use butler_sos_integration_tests::sandbox::{Sandbox, binary, wait_for};
use serde_json::Value;

use super::operations_api::{config, send};

const OK: i32 = 0;
const USAGE: i32 = 64;
const UNAVAILABLE: i32 = 69;

/// The binary, with settings of the sandbox alone. A command that does not end is ended.
fn command(sandbox: &Sandbox, arguments: &[&str]) -> Command {
    let mut command = Command::new("timeout");
    command
        .args(["--foreground", "--signal=INT", "60"])
        .arg(binary("butler-sos"))
        .current_dir(sandbox.path());
    command.arg("-c").arg(sandbox.config_path());
    command.args(arguments).arg("--server").arg(format!("http://{}", sandbox.address("operations")));
    command
}

/// What a run gave: exit code, standard output, standard error.
struct Ran {
    code: i32,
    out: String,
    err: String,
}

fn run(sandbox: &Sandbox, arguments: &[&str]) -> Ran {
    ran(&mut command(sandbox, arguments))
}

fn ran(command: &mut Command) -> Ran {
    let output = command.output().expect("the binary runs");
    let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).expect("UTF-8"));
    Ran { code: output.status.code().expect("an exit code"), out, err }
}

/// Standard output of a command that ends well.
#[track_caller]
fn out(sandbox: &Sandbox, arguments: &[&str]) -> String {
    let Ran { code, out, err } = run(sandbox, arguments);
    assert_eq!(code, OK, "{arguments:?}: {out}{err}");
    out
}

/// What is said about a command that does not.
#[track_caller]
fn refused(sandbox: &Sandbox, code: i32, arguments: &[&str]) -> String {
    let ran = run(sandbox, arguments);
    assert_eq!(ran.code, code, "{arguments:?}: {}{}", ran.out, ran.err);
    assert_eq!(ran.err.lines().count(), 1, "{}", ran.err);
    ran.err
}

fn json_lines(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

#[test]
fn status_names_what_is_away_and_what_to_do() {
    let mut influxd = Influxd::start_new();
    let sandbox = Sandbox::start_new(&config(influxd.port(), ""));
    send(&sandbox, 0..10);
    sandbox.settle_after(10);
    let text = out(&sandbox, &["status"]);
    assert!(text.starts_with("butler-sos ") && text.contains(": ok, up "), "{text}");
    assert!(text.contains("no problems"), "{text}");

    influxd.stop();
    send(&sandbox, 10..15);
    let text = wait_for("InfluxDB to be missed", || {
        let text = out(&sandbox, &["status"]);
        text.contains("influx_sink  DOWN").then_some(text)
    });
    let lines: Vec<&str> = text.lines().collect();
    let at = lines.iter().position(|line| {
        line.starts_with("WARNING influx_sink: ") || line.starts_with("ERROR influx_sink: ")
    });
    let at = at.unwrap_or_else(|| panic!("no problem is told:\n{text}"));
    assert!(lines[at + 1].starts_with("  -> "), "{text}");
    let table = lines.iter().position(|line| line.starts_with("DESTINATION")).expect("a table");
    assert!(at < table, "problems come first: {text}");
    assert!(lines.iter().any(|line| line.starts_with("csv_sink     up")), "{text}");
    assert!(lines.iter().any(|line| line.starts_with("user-events ")), "{text}");

    let state: Value = serde_json::from_str(&out(&sandbox, &["status", "--json"])).expect("JSON");
    assert_eq!(state["status"], "degraded");
    assert_eq!(state["destinations"]["influx_sink"]["up"], false);
}

#[test]
fn a_server_that_is_not_there_or_wants_a_token() {
    let influxd = Influxd::start_new();
    let mut sandbox = Sandbox::new(&config(influxd.port(), ", token: hunter2-token"));
    sandbox.start_closed();
    // From the configuration, where the port is any; then named.
    assert_eq!(run(&sandbox, &["status"]).code, OK);
    let mut without_server = Command::new(binary("butler-sos"));
    let reported = ran(without_server.arg("-c").arg(sandbox.config_path()).arg("status"));
    assert_eq!((reported.code, reported.err.contains("--server")), (USAGE, true), "{}", reported.err);
    let port = format!("Pipeline.operations.port={}", sandbox.address("operations").port());
    let mut by_config = Command::new(binary("butler-sos"));
    let reported = ran(by_config.arg("-c").arg(sandbox.config_path()).args(["--set", &port, "status"]));
    assert_eq!(reported.code, OK, "{}", reported.err);

    let detail = refused(&sandbox, UNAVAILABLE, &["status", "--token", "wrong-token"]);
    assert!(
        detail.contains("token") && !detail.contains("hunter2") && !detail.contains("wrong-token"),
        "{detail}"
    );
    let file = sandbox.path().join("token");
    std::fs::write(&file, "hunter2-token\n").expect("a file");
    let path = file.display().to_string();
    assert_eq!(run(&sandbox, &["status", "--token-file", &path]).code, OK);
    std::fs::write(&file, "another").expect("a file");
    refused(&sandbox, UNAVAILABLE, &["dlq", "list", "--token-file", &path]);

    let mut gone = command(&sandbox, &["status"]);
    assert_eq!(sandbox.stop().code(), Some(OK));
    let reported = ran(&mut gone);
    assert_eq!((reported.code, reported.out.as_str()), (UNAVAILABLE, ""), "{}", reported.err);
    assert!(reported.err.contains("no response from http://127.0.0.1:"), "{}", reported.err);
}

/// Answers 401 to one request; what it was asked.
fn asked_once(listener: &TcpListener) -> String {
    let (mut tcp, _) = listener.accept().expect("a connection");
    let mut request = String::new();
    for line in BufReader::new(&tcp).lines().map_while(Result::ok).take_while(|line| !line.is_empty()) {
        request += &(line + "\n");
    }
    let body = r#"{"error":"the token is missing or wrong"}"#;
    let head = format!("HTTP/1.1 401 Unauthorized\r\nContent-Length: {}\r\nConnection: close", body.len());
    write!(tcp, "{head}\r\n\r\n{body}").expect("it is read");
    request
}

#[test]
fn the_configured_token_goes_to_the_configured_server_alone() {
    let sandbox = Sandbox::new(
        r#"{
            "Butler-SOS": { "auditEvents": { "enable": true, "apiToken": "hunter2-audit" } },
            "Pipeline": { "operations": { "token": "hunter2-token" } }
        }"#,
    );
    let other = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = other.local_addr().expect("an address").to_string();
    let elsewhere = format!("http://{address}");
    let run = |arguments: &[&str]| {
        let mut command = Command::new("timeout");
        command.arg("60").arg(binary("butler-sos")).arg("-c").arg(sandbox.config_path());
        ran(command.args(arguments).current_dir(sandbox.path()))
    };
    for arguments in [
        &["status", "--server", &elsewhere][..],
        &["send-sample", "--audit", "--count", "1", "--to", &address],
    ] {
        let (reported, request) = std::thread::scope(|scope| {
            let request = scope.spawn(|| asked_once(&other));
            (run(arguments), request.join().expect("a request"))
        });
        assert!(!request.to_lowercase().contains("authorization"), "{request}");
        assert_eq!(reported.code, UNAVAILABLE, "{}", reported.err);
        assert!(
            reported.err.contains("--token-file") && !reported.err.contains("hunter2"),
            "{}",
            reported.err
        );
    }
    // An address that nobody has: it is not even tried.
    for arguments in [
        &["status", "--server", "http://192.0.2.1:9842", "--token", "hunter2"][..],
        &["status", "--set", "Pipeline.operations.host=192.0.2.1"],
    ] {
        let reported = run(arguments);
        assert_eq!(reported.code, USAGE, "{}", reported.err);
        assert!(
            reported.err.contains("--insecure-http") && !reported.err.contains("hunter2"),
            "{}",
            reported.err
        );
    }
}

/// A command that goes on; ended with the test.
struct Following {
    child: Child,
    out: Lines<BufReader<ChildStdout>>,
    err: Lines<BufReader<ChildStderr>>,
}

impl Following {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        let out = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let err = BufReader::new(child.stderr.take().expect("a pipe")).lines();
        Self { child, out, err }
    }

    fn out(&mut self) -> String {
        self.out.next().expect("it goes on").expect("text")
    }

    /// Waits for a note that says this.
    fn note(&mut self, part: &str) {
        assert!(self.err.by_ref().map_while(Result::ok).any(|line| line.contains(part)), "it says {part:?}");
    }

    fn interrupt(&mut self) -> Option<i32> {
        // `timeout --foreground` passes it on to the command, once.
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", "INT", &pid]).status().expect("kill is there").success());
        self.child.wait().expect("a child").code()
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            // `Child::kill` would end `timeout` alone.
            let _ = Command::new("kill").arg(self.child.id().to_string()).status();
            let _ = self.child.wait();
        }
    }
}

#[test]
fn tail_shows_what_is_wanted_and_goes_on_after_a_restart() {
    let influxd = Influxd::start_new();
    let mut sandbox = Sandbox::start_new(&config(influxd.port(), ""));
    let say = |sandbox: &Sandbox, user: &str| {
        let text =
            format!("/qseow-proxy-session/;sense1;Start session;LAB;{user};AppAccess;/hub;hi\u{1b}[2J");
        sandbox.udp().send(text.as_bytes()).expect("a datagram is sent");
    };
    say(&sandbox, "wanted0");
    sandbox.settle_after(1);
    let mut all = Following::start(command(&sandbox, &["tail", "--json"]));
    let mut some =
        Following::start(command(&sandbox, &["tail", "--stream", "user-events", "--user", "WANTED"]));
    all.note("following");
    all.note("following");
    some.note("following user-events from offset 1");
    for user in ["wanted1", "nobody", "wanted2"] {
        say(&sandbox, user);
    }
    let line = some.out();
    assert!(line.contains("  Start session  LAB\\wanted1  ") && line.contains("host=sense1"), "{line}");
    assert!(some.out().contains("wanted2"));
    let users: Vec<Value> = (0..3).map(|_| json_lines(&all.out()).remove(0)["userId"].take()).collect();
    assert_eq!(users, ["wanted1", "nobody", "wanted2"]);

    assert_eq!(sandbox.stop().code(), Some(OK));
    some.note("reconnecting");
    sandbox.start();
    say(&sandbox, "wanted3");
    assert!(some.out().contains("wanted3"), "nothing is shown twice, nothing is missed");
    assert_eq!(json_lines(&all.out())[0]["userId"], "wanted3");
    assert_eq!(some.interrupt(), Some(OK));
    assert_eq!(all.interrupt(), Some(OK));
}

#[test]
fn dead_letters_are_listed_shown_retried_and_dropped() {
    let influxd = Influxd::start_new();
    let sandbox = Sandbox::start_new(&config(influxd.port(), ""));
    assert_eq!(out(&sandbox, &["dlq", "list"]), "");
    send(&sandbox, 0..1);
    sandbox.settle_after(1);
    // From now on the field has another type, in the shard of today.
    influxd.query("sos", "DROP MEASUREMENT \"user_events\"");
    assert_eq!(influxd.write("sos", "user_events,host=x userId=1").0, 204);
    send(&sandbox, 1..6);
    sandbox.settle_after(6);
    let letters = wait_for("five dead letters", || {
        let letters = json_lines(&out(&sandbox, &["dlq", "list", "--json"]));
        (letters.len() == 5).then_some(letters)
    });
    let ids: Vec<&str> = letters.iter().map(|letter| letter["id"].as_str().expect("text")).collect();
    let text = out(&sandbox, &["dlq", "list", "--destination", "influx_sink"]);
    assert_eq!(text.lines().count(), 6, "{text}");
    assert!(ids.iter().all(|id| text.contains(id)) && text.contains("conflict"), "{text}");
    assert_eq!(out(&sandbox, &["dlq", "list", "--destination", "csv_sink"]), "");
    assert_eq!(json_lines(&out(&sandbox, &["dlq", "list", "--limit", "2", "--json"])).len(), 2);
    let text = out(&sandbox, &["dlq", "show", ids[0]]);
    assert!(text.contains("influx_sink") && text.contains("conflict"), "{text}");
    let shown = json_lines(&out(&sandbox, &["dlq", "show", ids[0], "--json"]));
    assert!(shown[0]["record"].is_string(), "{shown:?}");
    refused(&sandbox, UNAVAILABLE, &["dlq", "show", "9-9"]);
    refused(&sandbox, USAGE, &["dlq", "show", "../../etc/passwd"]);

    let detail = refused(&sandbox, UNAVAILABLE, &["dlq", "retry", ids[0]]);
    assert!(detail.contains("rejected again") && detail.contains("conflict"), "{detail}");
    influxd.query("sos", "DROP MEASUREMENT \"user_events\"");
    let ids = || -> Vec<String> {
        let letters = json_lines(&out(&sandbox, &["dlq", "list", "--json"]));
        letters.iter().map(|letter| letter["id"].as_str().expect("text").to_owned()).collect()
    };
    assert!(out(&sandbox, &["dlq", "retry", &ids()[0]]).ends_with(": delivered\n"));
    assert_eq!(influxd.count("sos", "user_events", "userId"), 1);
    assert!(out(&sandbox, &["dlq", "drop", &ids()[0]]).ends_with(": 1 dropped\n"));
    assert_eq!(ids().len(), 3);
    let text = out(&sandbox, &["dlq", "retry", "--all"]);
    assert!(text.contains("retry to influx_sink done: 3 of 3 events (100 %), 3 delivered"), "{text}");
    assert_eq!(influxd.count("sos", "user_events", "userId"), 4);
    assert_eq!(out(&sandbox, &["dlq", "drop", "--all"]), "", "nothing is left");
    assert_eq!(
        out(&sandbox, &["dlq", "drop", "--all", "--destination", "influx_sink"]),
        "influx_sink: 0 dropped\n"
    );
    refused(&sandbox, UNAVAILABLE, &["dlq", "retry", "--all", "--destination", "nobody"]);
}

#[test]
fn a_replay_is_shown_until_it_is_done() {
    let influxd = Influxd::start_new();
    let sandbox = Sandbox::start_new(&config(influxd.port(), ""));
    send(&sandbox, 0..700);
    sandbox.settle_after(700);
    influxd.query("sos", "DROP MEASUREMENT \"user_events\"");
    let replay = |destination: &'static str, from: &'static str| -> [&'static str; 5] {
        ["replay", "--destination", destination, "--from", from]
    };
    let text = out(&sandbox, &replay("influx_sink", "2020-01-01T00:00:00Z"));
    assert!(
        text.replace('\u{a0}', " ").contains("replay to influx_sink done: 700 of 700 events (100 %)"),
        "{text}"
    );
    assert_eq!(influxd.count("sos", "user_events", "userId"), 700);
    let mut again = replay("influx_sink", "0").to_vec();
    again.push("--json");
    let job = json_lines(&out(&sandbox, &again)).remove(0);
    assert_eq!((&job["phase"], &job["delivered"]), (&"done".into(), &700.into()), "{job}");
    assert_eq!(influxd.count("sos", "user_events", "userId"), 700);

    let check = |code: i32, destination, from, part: &str| {
        let detail = refused(&sandbox, code, &replay(destination, from));
        assert!(detail.contains(part), "{detail}");
    };
    check(UNAVAILABLE, "csv_sink", "2020-01-01T00:00:00Z", "twice");
    check(UNAVAILABLE, "nobody", "2020-01-01T00:00:00Z", "there are: ");
    check(UNAVAILABLE, "influx_sink", "2090-01-01T00:00:00Z", "retentionHours");
    check(USAGE, "influx_sink", "yesterday", "RFC 3339");
}

#[test]
fn ctrl_c_stops_a_replay() {
    let fake = FakeInflux::start(FakeVersion::V1);
    let sandbox = Sandbox::start_new(&config(fake.port(), ""));
    send(&sandbox, 0..100);
    sandbox.settle_after(100);
    fake.outage(Some(Fault::Status(503)));
    let arguments = ["replay", "--destination", "influx_sink", "--from", "2020-01-01T00:00:00Z"];
    let mut replay = Following::start(command(&sandbox, &arguments));
    replay.note("waiting: ");
    assert_eq!(replay.interrupt(), Some(OK));
    let last = replay.out();
    assert!(last.contains("replay to influx_sink stopped: 0 of 100 events"), "{last}");
    assert_eq!(sandbox.json("/api/state")["jobs"][0]["phase"], "stopped");
    fake.outage(None);
    sandbox.settle();
}
