//! Disks that are full or read-only: the journal's, and those of destinations that write files.
//!
//! Each test needs a file system of its own, which only root can mount; without, it says so and passes.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use butler_sos_actors::kit::clock::unix_ms;
use butler_sos_domain::audit::sample::session;
use butler_sos_integration_tests::audit_client::{AuditClient, event_id};
use butler_sos_integration_tests::audit_config::AuditConfig;
use butler_sos_integration_tests::numbered::{Census, NumberedSender, datagram};
use butler_sos_integration_tests::sandbox::{Sandbox, wait_for};
use butler_sos_integration_tests::settings::{Settings, csv};
use butler_sos_integration_tests::torture::load::audit_event;
use butler_sos_integration_tests::written::{
    Row, csv_rows, csv_rows_so_far, json_files, parquet_rows, qvd_rows,
};
use serde_json::Value;
use tempfile::TempDir;

use super::harness::assert_sound;

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

/// A file system on a file, which the kernel makes read-only as it does when it finds an error in it.
struct FailingDisk {
    directory: TempDir,
    /// `loop0`
    device: String,
}

impl FailingDisk {
    /// `None` when this user may not, or this kernel cannot.
    fn mount() -> Option<Self> {
        let directory = TempDir::with_prefix("failing-disk-").expect("a temporary directory");
        let image = directory.path().join("image");
        File::create(&image).expect("a new file").set_len(32 << 20).expect("a sparse file");
        std::fs::create_dir(directory.path().join("disk")).expect("a new directory");
        run(Command::new("/usr/sbin/mkfs.ext4").args(["-q", "-F"]).arg(&image))?;
        let mut disk = Self { directory, device: String::new() };
        disk.attach()?;
        disk.switch().exists().then_some(disk)
    }

    fn attach(&mut self) -> Option<()> {
        let mut mount = Command::new("mount");
        mount.args(["-o", "loop,errors=remount-ro"]).arg(self.directory.path().join("image"));
        run(mount.arg(self.path()))?;
        let source = run(Command::new("findmnt").args(["-n", "-o", "SOURCE"]).arg(self.path()))?;
        self.device = source.trim().strip_prefix("/dev/")?.to_owned();
        Some(())
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("disk")
    }

    /// Written to, the kernel believes to have found an error.
    fn switch(&self) -> PathBuf {
        Path::new("/sys/fs/ext4").join(&self.device).join("trigger_fs_error")
    }

    fn fail(&self) {
        std::fs::write(self.switch(), "1").expect("the switch");
    }

    /// As an administrator mends it: nothing uses it, it is checked, and mounted again.
    fn mend(&mut self) {
        run(Command::new("umount").arg(self.path())).expect("nobody uses it");
        // Its exit code says that there was something to mend.
        let mut check = Command::new("/usr/sbin/e2fsck");
        let _ = check.arg("-fy").arg(self.directory.path().join("image")).output().expect("e2fsck");
        self.attach().expect("a sound file system");
    }
}

impl Drop for FailingDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).output();
    }
}

/// What a command that succeeds prints.
fn run(command: &mut Command) -> Option<String> {
    let output = command.output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
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

    // Room again: it goes on without a restart, and says so before anybody sends.
    std::fs::remove_file(&filler).expect("the filler");
    wait_for("/ready to say so", || (sandbox.get("/ready").0 == 200).then_some(()));
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
    assert_not_ready_for(sandbox, "space");
}

fn assert_not_ready_for(sandbox: &Sandbox, detail: &str) {
    let (status, ready) = sandbox.ready();
    assert_eq!((status, &ready["status"]), (503, &Value::from("not ready")), "{ready}");
    let reason = ready["reasons"][0].as_str().unwrap_or_default();
    assert!(reason.contains("journal rejects events") && reason.contains(detail), "{ready}");
    assert!(sandbox.metrics().sum("butler_sos_journal_append_errors_total", &[]) > 0.0);
}

fn assert_ready(sandbox: &Sandbox) {
    let (status, body) = sandbox.get("/ready");
    assert_eq!(status, 200, "{body}");
}

/// A file system that finds an error in itself becomes read-only, and stays so until it is checked and mounted anew.
#[test]
fn a_read_only_disk_is_told_and_what_was_acknowledged_is_there_when_it_is_mended() {
    let Some(mut disk) = FailingDisk::mount() else {
        eprintln!("skipped: only root can mount the file system that this test needs");
        return;
    };
    let mut sandbox = Sandbox::start_new(&config(&disk.path().join("journal")));
    let mut sender = NumberedSender::new(&sandbox, 0);
    sender.send(300);
    assert_sound(&sandbox.settle_after(300));
    assert_eq!(post(&sandbox, 0), 202);

    disk.fail();
    wait_for("the audit API to refuse", || (post(&sandbox, 1) == 503).then_some(()));
    let shed = || sandbox.metrics().sum("butler_sos_events_shed_total", &[("reason", "journal_disk")]);
    let before = shed();
    wait_for("user events to be shed", || {
        sender.send(50);
        (shed() > before).then_some(())
    });
    assert_not_ready_for(&sandbox, "Read-only");
    assert_eq!(sandbox.get("/health").0, 200);
    assert_eq!(sandbox.metrics().unaccounted(), 0.0);
    sandbox.kill();

    disk.mend();
    sandbox.start();
    assert_ready(&sandbox);
    assert_eq!(post(&sandbox, 2), 202);
    let last = sender.next();
    NumberedSender::new(&sandbox, last).send(100);
    assert_sound(&sandbox.settle_after(100));
    let census = Census::of_csv(&sandbox.path().join("csv"));
    census.assert_once("CSV");
    census.assert_holds("CSV", (0..300).chain(last..last + 100));
    let rows = csv_rows(&sandbox.path().join("audit-csv"));
    assert_eq!(rows.len(), 2, "the two that were acknowledged: {rows:?}");
    assert!(sandbox.stop().success());
}

/// Every destination that writes files, on a disk that is full and then read-only: the intake and the others go on, and
/// all of it is written once as soon as that is possible.
#[test]
fn destinations_whose_disk_takes_nothing_wait_and_hold_back_nobody() {
    const SOME: u64 = 300;
    const AUDITS: usize = 40;
    let (Some(disk), Some(closing)) = (SmallDisk::mount(8), SmallDisk::mount(8)) else {
        eprintln!("skipped: only root can mount the small file systems that this test needs");
        return;
    };
    // CSV keeps its file open, and a file system with a file open for writing cannot be made read-only.
    let config = AuditConfig { files: true, ..AuditConfig::default() }
        .settings()
        .and(Settings::user_events().value())
        .and(csv())
        .text()
        .replace("{dir}/csv", &format!("{}/users", disk.path().display()))
        .replace("{dir}/data/csv", &format!("{}/audits", disk.path().display()))
        .replace("{dir}/data", &closing.path().display().to_string());
    let mut sandbox = Sandbox::start_new(&config);
    let client = AuditClient::new(sandbox.address("audit-events"));
    let post = |numbers: std::ops::Range<usize>| {
        numbers.for_each(|n| client.deliver(audit_event(n as u64, "https://qlik.test")));
    };
    let mut sender = NumberedSender::new(&sandbox, 0);
    sender.send(SOME);
    post(0..AUDITS);
    sandbox.settle();
    let all = ["csv_sink", "audit_csv_sink", "json_sink", "parquet_sink", "qvd_sink"];

    let fillers = [disk.fill(), closing.fill()];
    sender.send(SOME * 10);
    post(AUDITS..AUDITS * 2);
    wait_until_told(&sandbox, &all, "disk-full");
    assert_eq!(sandbox.get("/ready").0, 200, "events are taken all the same");
    fillers.iter().for_each(|filler| std::fs::remove_file(filler).expect("a filler"));
    sandbox.settle();

    remount(&closing, "ro");
    sender.send(SOME);
    post(AUDITS * 2..AUDITS * 3);
    wait_until_told(&sandbox, &all[2..], "disk-read-only");
    wait_for("CSV, which waits for nobody", || {
        (csv_rows_so_far(&disk.path().join("audits")) == AUDITS * 3).then_some(())
    });
    remount(&closing, "rw");
    assert_sound(&sandbox.settle_after(sender.next()));
    let census = Census::of_csv(&disk.path().join("users"));
    census.assert_once("CSV");
    census.assert_holds("CSV", 0..sender.next());
    let at = |kind: &str| closing.path().join(kind);
    let ids = |rows: Vec<Row>| -> Vec<String> {
        let mut ids: Vec<_> =
            rows.iter().map(|row| row["eventId"].as_str().unwrap_or("?").to_owned()).collect();
        ids.sort();
        ids
    };
    let expect: Vec<_> = (0..AUDITS * 3).map(event_id).collect();
    assert_eq!(ids(csv_rows(&disk.path().join("audits"))), expect);
    assert_eq!(ids(parquet_rows(&at("parquet"))), expect);
    assert_eq!(ids(qvd_rows(&at("qvd"))), expect);
    assert_eq!(json_files(&at("json")).len(), expect.len());
    assert!(sandbox.stop().success());
}

/// Each of them says why it waits.
fn wait_until_told(sandbox: &Sandbox, destinations: &[&str], reason: &str) {
    for destination in destinations {
        wait_for(&format!("{destination} to say {reason}"), || {
            let labels = [("destination", *destination), ("reason", reason)];
            let errors = sandbox.metrics().sum("butler_sos_delivery_errors_total", &labels);
            (errors > 0.0).then_some(())
        });
    }
}

/// Waits for the moment at which no file is open for writing.
fn remount(disk: &SmallDisk, how: &str) {
    wait_for("a moment to remount", || {
        run(Command::new("mount").args(["-o", &format!("remount,{how}")]).arg(disk.path()))
    });
}
