//! The journal's disk is full, and has room again.
//!
//! Needs a file system of its own, which only root can mount; without, the test says so and passes.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use butler_sos_actors::sink::unix_ms;
use butler_sos_domain::audit::sample::session;
use butler_sos_integration_tests::audit_client::AuditClient;
use butler_sos_integration_tests::numbered::{Census, NumberedSender, datagram};
use butler_sos_integration_tests::sandbox::{Sandbox, wait_for};
use serde_json::Value;
use tempfile::TempDir;

use super::bench::assert_sound;

/// A file system in memory, of this size.
struct SmallDisk {
    directory: TempDir,
}

impl SmallDisk {
    /// `None` when this user may not mount.
    fn mount(mib: u32) -> Option<Self> {
        let directory = TempDir::with_prefix("small-disk-").expect("a temporary directory");
        let options = format!("size={mib}m,mode=700");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(directory.path());
        let mounted = mount.output().is_ok_and(|output| output.status.success());
        mounted.then_some(Self { directory })
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Takes all the room there is; removing the file gives it back.
    fn fill(&self) -> PathBuf {
        let path = self.path().join("filler");
        let mut file = File::create(&path).expect("a new file");
        for size in [64 << 10, 4 << 10, 64, 1] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: the server may still hold files when a test has failed.
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

fn config(journal: &Path) -> String {
    format!(
        "\
Butler-SOS:
  userEvents:
    enable: true
    udpServerConfig: {{ serverHost: 127.0.0.1, portUserActivityEvents: 0 }}
  auditEvents: {{ enable: true, host: 127.0.0.1, port: 0, rateLimit: {{ enable: false }} }}
Pipeline:
  journal: {{ directory: '{}' }}
  csv:
    userEvents: {{ enable: true, exportDirectory: '{{dir}}/csv' }}
    auditEvents: {{ enable: true, exportDirectory: '{{dir}}/audit-csv' }}
  deadLetters: {{ directory: '{{dir}}/dead-letters' }}
  quarantine: {{ directory: '{{dir}}/quarantine' }}
  operations: {{ host: 127.0.0.1, port: 0 }}
",
        journal.display()
    )
}

/// The status that the audit API answers event number `n` with.
fn post(sandbox: &Sandbox, n: u64) -> u16 {
    let event = &session(n, unix_ms().cast_signed(), None)[0];
    AuditClient::new(sandbox.address("audit-events")).post(&event.body).status
}

/// Posts events, from number `first` on, until one finds no room: the stream's last page may have held a few.
fn post_until_refused(sandbox: &Sandbox, first: u64) {
    let mut numbers = first..;
    wait_for("the audit API to say that there is no room", || {
        let status = post(sandbox, numbers.next()?);
        assert!(matches!(status, 202 | 503), "{status}");
        (status == 503).then_some(())
    });
}

/// Sends user events until one finds no room.
fn send_until_shed(sandbox: &Sandbox, sender: &mut NumberedSender) {
    let shed = || sandbox.metrics().sum("butler_sos_events_shed_total", &[("reason", "journal_disk")]);
    let before = shed();
    wait_for("the disk to be full", || {
        sender.send(50);
        (shed() > before).then_some(())
    });
}

#[test]
fn a_full_disk_is_told_and_survived() {
    let Some(disk) = SmallDisk::mount(4) else {
        eprintln!("skipped: only root can mount the small file system that this test needs");
        return;
    };
    let mut sandbox = Sandbox::start_new(&config(&disk.path().join("journal")));
    let mut sender = NumberedSender::new(&sandbox, 0);
    sender.send(500);
    assert_sound(&sandbox.settle_after(500));
    assert_eq!(post(&sandbox, 0), 202);

    let filler = disk.fill();
    send_until_shed(&sandbox, &mut sender);
    assert_not_ready(&sandbox);
    post_until_refused(&sandbox, 100);
    // The process lives, and says why it does not take events.
    assert_eq!(sandbox.get("/health").0, 200);

    // Room again: it goes on without a restart.
    std::fs::remove_file(&filler).expect("the filler");
    wait_for("an audit event to be taken again", || (post(&sandbox, 2) == 202).then_some(()));
    sender.send(500);
    let metrics = sandbox.settle_after(sender.next());
    assert_sound(&metrics);
    assert_ready(&sandbox);
    let shed = metrics.sum("butler_sos_events_shed_total", &[("intake", "user_events")]);
    let stored = metrics.sum("butler_sos_events_stored_total", &[("intake", "user_events")]);
    assert!(shed > 0.0 && stored + shed == sender.next() as f64);
    check_csv(&sandbox, sender.next(), stored as usize);

    // Full, killed, and started while it is full.
    let filler = disk.fill();
    send_until_shed(&sandbox, &mut sender);
    let stored = stored_now(&sandbox);
    sandbox.kill();
    sandbox.start();
    post_until_refused(&sandbox, 200);
    assert_not_ready(&sandbox);
    std::fs::remove_file(&filler).expect("the filler");
    let last = sender.next();
    let udp = sandbox.udp();
    wait_for("user events to be taken again", || {
        udp.send(datagram(last).as_bytes()).expect("the port is open");
        (stored_now(&sandbox) > 0.0).then_some(())
    });
    assert_eq!(post(&sandbox, 4), 202);
    assert_ready(&sandbox);
    assert_sound(&sandbox.settle());
    let census = Census::of_csv(&sandbox.path().join("csv"));
    assert!(census.len() as f64 > stored && census.has_all([last]));
    assert!(sandbox.stop().success());
}

fn stored_now(sandbox: &Sandbox) -> f64 {
    sandbox.metrics().sum("butler_sos_events_stored_total", &[("intake", "user_events")])
}

/// The first and the last events are there, `stored` in all, none twice.
fn check_csv(sandbox: &Sandbox, sent: u64, stored: usize) {
    let census = Census::of_csv(&sandbox.path().join("csv"));
    census.assert_once("CSV");
    census.assert_holds("CSV", (0..500).chain(sent - 500..sent));
    assert_eq!(census.len(), stored);
}

fn assert_not_ready(sandbox: &Sandbox) {
    let (status, body) = sandbox.get("/ready");
    let ready: Value = serde_json::from_str(&body).expect("/ready is JSON");
    assert_eq!((status, &ready["status"]), (503, &Value::from("not ready")), "{ready}");
    let reason = ready["reasons"][0].as_str().unwrap_or_default();
    assert!(reason.contains("journal takes no events") && reason.contains("space"), "{ready}");
    assert!(sandbox.metrics().sum("butler_sos_journal_append_errors_total", &[]) > 0.0);
}

fn assert_ready(sandbox: &Sandbox) {
    let (status, body) = sandbox.get("/ready");
    assert_eq!(status, 200, "{body}");
}
