//! What signals other than those to stop do to the running server.

use butler_sos_integration_tests::sandbox::{Sandbox, wait_for};

const CONFIG: &str = "Butler-SOS:
  fileLogging: true
  logDirectory: '{dir}/log'
  userEvents:
    enable: true
    udpServerConfig: {serverHost: 127.0.0.1, portUserActivityEvents: 0}
Pipeline:
  journal: {directory: '{dir}/journal'}
  deadLetters: {directory: '{dir}/dead-letters'}
  quarantine: {directory: '{dir}/quarantine'}
  operations: {port: 0}
  csv: {userEvents: {enable: true, exportDirectory: '{dir}/csv'}}
";

fn wait_for_line(sandbox: &Sandbox, detail: &[&str]) {
    wait_for(&detail.join(" "), || {
        let lines = sandbox.log_lines();
        lines.iter().any(|line| detail.iter().all(|word| line.contains(word))).then_some(())
    });
}

/// The names of the log files, and all that they hold.
fn log_files(sandbox: &Sandbox) -> Vec<(String, String)> {
    let entries = std::fs::read_dir(sandbox.path().join("log")).expect("the directory of the log");
    let mut files: Vec<_> = entries
        .map(|entry| {
            let entry = entry.expect("a name");
            let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
            (entry.file_name().into_string().expect("text"), text)
        })
        .collect();
    files.sort();
    files
}

#[test]
fn a_hangup_opens_the_log_file_anew_and_the_user_signals_are_ignored() {
    let mut sandbox = Sandbox::start_new(CONFIG);
    for signal in ["USR1", "USR2"] {
        sandbox.signal(signal);
        wait_for_line(&sandbox, &["signal ignored", &format!("SIG{signal}")]);
    }
    let (name, _) = log_files(&sandbox).pop().expect("a log file");
    let log = sandbox.path().join("log");
    std::fs::rename(log.join(&name), log.join("moved-away")).expect("moved");
    sandbox.signal("HUP");
    wait_for_line(&sandbox, &["reopening the log file", "SIGHUP"]);
    wait_for("the new file to hold that line", || {
        let files = log_files(&sandbox);
        files.iter().any(|(of, text)| *of == name && text.contains("reopening the log file")).then_some(())
    });
    // Twice in a row is once more.
    sandbox.signal("HUP");
    sandbox.signal("HUP");
    let socket = sandbox.udp();
    socket.send(b"/qseow-proxy-session/;h;Start session;LAB;goran").expect("sent");
    sandbox.settle_after(1);
    assert!(sandbox.exited().is_none(), "{}", sandbox.log_text());
    assert!(sandbox.stop().success());
}
