//! The dashboard in a real browser: headless Chromium.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use butler_sos_integration_tests::audit_client::AuditClient;
use butler_sos_integration_tests::browser::{Look, Page};
use butler_sos_integration_tests::fake_qlik::FakeQlik;
use butler_sos_integration_tests::influxd::Influxd;
use butler_sos_integration_tests::sandbox::{Sandbox, binary, wait_for};
use serde_json::json;
use tempfile::TempDir;

use crate::operations_api::{config, send};

fn url(sandbox: &Sandbox) -> String {
    format!("http://{}/", sandbox.address("operations"))
}

/// Opens the dashboard and waits until it shows a state.
fn open(sandbox: &Sandbox, look: Look) -> Page {
    let mut page = Page::open(&url(sandbox), look);
    page.until("document.querySelector('[data-node=journal]') !== null");
    page
}

/// Nothing reaches beyond the window at any of these widths.
fn assert_fits(page: &mut Page) {
    for width in [360, 700, 1000, 1600] {
        page.size(width, 900);
        let beyond = page.eval(
            "[...document.querySelectorAll('body *')]
                .filter((of) => of.getBoundingClientRect().right > document.documentElement.clientWidth + 1)
                .filter((of) => !of.closest('svg, .hidden, .skip, .scroll'))
                .slice(0, 3).map((of) => of.outerHTML.slice(0, 200))",
        );
        assert_eq!(beyond, json!([]), "beyond {width} px");
        let overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth";
        assert_eq!(page.eval(overflow), json!(0), "the page scrolls sideways at {width} px");
    }
    page.size(1440, 900);
}

const NO_COMPLAINTS: [String; 0] = [];

/// Of a node of the drawing.
fn node_is(name: &str, state: &str) -> String {
    format!("document.querySelector('[data-node={name}]').dataset.state === '{state}'")
}

fn says(selector: &str, text: &str) -> String {
    format!("document.querySelector('{selector}').textContent.includes({})", json!(text))
}

#[test]
fn values_move_and_an_outage_turns_red_and_recovers() {
    let mut influxd = Influxd::start_new();
    let sandbox = Sandbox::start_new(&config(influxd.port(), ""));
    let mut page = open(&sandbox, Look::default());
    page.until(&says("#headline-title", "No problems"));
    page.until(&says("#events-note", "No matching events"));

    send(&sandbox, 0..40);
    page.until(&says("[data-node=user_events]", "40 received"));
    page.until(&says("[data-node=influx_sink]", "40 delivered, nothing waiting"));
    page.until(&says("[data-node=csv_sink]", "40 delivered"));
    page.until("document.querySelectorAll('#events tbody tr').length === 25");
    page.until(
        "document.querySelector('[data-tile=received] .line path.line').getAttribute('d').length > 10",
    );
    // Follows: the newest stands first, without anybody's doing.
    let first = page.text("document.querySelector('#events tbody tr').dataset.offset");
    assert_eq!(first, "39");
    send(&sandbox, 40..41);
    page.until("document.querySelector('#events tbody tr').dataset.offset === '40'");

    influxd.stop();
    send(&sandbox, 41..50);
    page.until(&node_is("influx_sink", "bad"));
    page.until(&says("[data-node=influx_sink]", "down"));
    page.until("document.querySelector('#headline').dataset.state === 'bad'");
    page.until(&says("#problems", "influx_sink is down"));
    page.until(&says("#problems", "Check that the destination is running"));
    page.until(&says("[data-node=influx_sink]", "9 waiting"));
    assert_eq!(page.eval(&node_is("csv_sink", "ok")), json!(true), "the others do not suffer");
    assert_fits(&mut page);

    influxd.start();
    page.until(&node_is("influx_sink", "ok"));
    page.until(&says("#headline-title", "No problems"));
    page.until(&says("[data-node=influx_sink]", "50 delivered, nothing waiting"));
    assert_fits(&mut page);
    assert_eq!(page.complaints(), NO_COMPLAINTS);
    assert_eq!(sandbox.settle().unaccounted(), 0.0);
}

/// Opens every row of a table.
fn open_rows(page: &mut Page, table: &str) {
    page.eval(&format!(
        "document.querySelectorAll('#{table} button.opener[aria-expanded=false]').forEach((of) => of.click())"
    ));
}

fn show_stream(page: &mut Page, stream: &str) {
    page.eval(&format!(
        "(() => {{ const form = document.querySelector('#events-filter'); form.elements.stream.value = '{stream}';
            form.dispatchEvent(new Event('input', {{ bubbles: true }})); }})()"
    ));
    page.until(&format!("document.querySelector('#events').dataset.stream === '{stream}'"));
}

/// The widths of the columns, each by its label.
fn columns(page: &mut Page) -> Vec<(String, f64)> {
    let columns = page.eval(
        "[...document.querySelectorAll('#events thead th')].map((of) => [of.textContent, of.getBoundingClientRect().width])",
    );
    serde_json::from_value(columns).expect("labels and widths")
}

#[test]
fn an_open_row_keeps_the_columns_and_shows_the_whole_payload() {
    const COLUMN_PX_MIN: f64 = 90.0;
    let influxd = Influxd::start_new();
    let sandbox = Sandbox::start_new(&config(influxd.port(), ""));
    send(&sandbox, 0..3);
    let last = "the end of a long payload";
    // Numbers that no JavaScript number holds are shown as they were sent.
    let large = "12345678901234567890.0100";
    let rows: Vec<String> = (0..5_000).map(|row| format!(r#"{{"row":{row}}}"#)).collect();
    let body = format!(
        r#"{{"schemaVersion":1,"eventId":"00000000-0000-4000-8000-000000000001","timestamp":"2026-11-20T10:11:12.345Z",
        "type":"navigation.sheet.loaded","source":{{"kind":"qlik-sense-extension","name":"audit-qs","version":"0.4.0"}},
        "payload":{{"context":{{"user":"UserDirectory=LAB; UserId=anna.lindgren","appName":"Sales","sheetName":"Overview"}},
        "event":{{"objectId":"abc","objectData":{{"objectType":"barchart","amount":{large},"rows":[{}],"note":"{last}"}}}}}}}}"#,
        rows.join(",")
    );
    AuditClient::new(sandbox.address("audit-events")).deliver(body);
    sandbox.settle_after(3);

    for width in [760, 1440] {
        let mut page = open(&sandbox, Look { width, ..Look::default() });
        for (stream, labels, rows) in [
            ("user-events", ["Time", "User", "App", "Event", "Host"].as_slice(), 3),
            ("audit-events", ["Time", "User", "App", "Sheet", "Object", "Event"].as_slice(), 1),
        ] {
            show_stream(&mut page, stream);
            page.until(&format!("document.querySelectorAll('#events tbody tr').length === {rows}"));
            let closed = columns(&mut page);
            assert_eq!(closed.iter().map(|(label, _)| label.as_str()).collect::<Vec<_>>(), labels);
            for (label, column) in &closed {
                assert!(*column >= COLUMN_PX_MIN, "{label} is {column} px wide in a window of {width} px");
            }
            let heads = "document.querySelector('#events thead').getBoundingClientRect().height";
            let height = page.eval(heads);
            open_rows(&mut page, "events");
            page.until(&format!("document.querySelectorAll('#events tr.more').length === {rows}"));
            assert_eq!(columns(&mut page), closed, "{stream}, {width} px");
            assert_eq!(page.eval(heads), height, "{stream}, {width} px");
        }
        page.until(&says("#events pre", last));
        page.until(&says("#events pre", &format!("\"amount\": {large}")));
        page.until(&says("#events pre", "\"row\": 4999"));
        // The keyboard scrolls to its end.
        page.eval("document.querySelector('#events pre').focus()");
        page.press("End");
        page.until("(() => { const of = document.querySelector('#events pre'); return of.scrollTop > 0 && of.scrollTop + of.clientHeight >= of.scrollHeight - 1; })()");
        // And closes and opens a row.
        page.eval("document.querySelector('#events button.opener').focus()");
        page.press("Enter");
        page.until("document.querySelector('#events tr.more') === null");
        page.press("Enter");
        page.until("document.querySelector('#events button.opener').getAttribute('aria-controls') === document.querySelector('#events tr.more')?.id");
        assert_fits(&mut page);
        assert_eq!(page.barriers(), NO_COMPLAINTS);
        assert_eq!(page.complaints(), NO_COMPLAINTS);
    }
}

#[test]
fn what_comes_from_outside_stays_text() {
    let influxd = Influxd::start_new();
    let sandbox = Sandbox::start_new(&config(influxd.port(), ""));
    let mark = "<script>window.pwned = 1</script><img src=x onerror='window.pwned = 2'>";
    let turned = "\u{202e}gpj.exe\u{2066}";
    let udp = sandbox.udp();
    for (user, app) in [(mark, "/app/x"), (turned, "/hub"), (&"ä".repeat(10_000), "/hub")] {
        let text =
            format!("/qseow-proxy-session/;sense1;Start session;LAB;{user};{mark};{app};{mark}{turned}");
        udp.send(text.as_bytes()).expect("a datagram is sent");
    }
    udp.send(format!("what is;{mark}{turned}").as_bytes()).expect("a datagram is sent");
    let event = json!({
        "schemaVersion": 1, "eventId": "00000000-0000-4000-8000-000000000001",
        "timestamp": "2026-11-20T10:11:12.345Z", "type": "navigation.sheet.loaded",
        "source": { "kind": "qlik-sense-extension", "name": "audit-qs", "version": "0.4.0" },
        "payload": { "context": { "user": format!("UserDirectory=LAB; UserId={mark}"), "appName": "x".repeat(10_000),
            "sheetName": format!("{mark}{turned}") }, "event": {} },
    });
    AuditClient::new(sandbox.address("audit-events")).deliver(event.to_string());
    sandbox.settle_after(4);

    let mut page = open(&sandbox, Look::default());
    let is_clean = |page: &mut Page| {
        let foreign =
            "document.querySelectorAll('main script, main iframe, main [onerror], #events img').length";
        assert_eq!(page.eval(foreign), json!(0));
        assert_eq!(page.eval("window.pwned ?? null"), json!(null));
        assert_fits(page);
    };
    page.until("document.querySelectorAll('#events tbody tr').length === 3");
    page.until(&says("#events", "<script>window.pwned = 1</script>"));
    // What cannot be seen is made visible, and turns nothing.
    page.until(&says("#events", "[U+202E]gpj.exe"));
    open_rows(&mut page, "events");
    is_clean(&mut page);

    show_stream(&mut page, "audit-events");
    page.until(&says("#events", "xxxxxxxxxx"));
    open_rows(&mut page, "events");
    is_clean(&mut page);

    // By keyboard, through every list.
    page.eval("document.querySelector('#tab-events').focus()");
    for panel in ["screenshots", "rejected", "letters", "actors", "settings"] {
        page.press("ArrowRight");
        page.until(&format!("!document.querySelector('#panel-{panel}').hidden"));
        page.until(&format!("document.activeElement.id === 'tab-{panel}'"));
        if panel == "rejected" {
            page.until(&says("#rejected", "<script>window.pwned = 1</script>"));
            open_rows(&mut page, "rejected");
        }
        if panel == "settings" {
            page.until(&says("#settings", "Pipeline.journal.directory"));
        }
        is_clean(&mut page);
    }
    assert_eq!(page.complaints(), NO_COMPLAINTS);
}

#[test]
fn the_token_is_asked_for_and_shows_everything() {
    let influxd = Influxd::start_new();
    // Exposed, so that without the token nothing would be answered.
    let operations = ", token: 'open sesame'";
    let sandbox_config = config(influxd.port(), operations);
    let mut sandbox = Sandbox::new(&sandbox_config);
    sandbox.start_closed();
    for closed in ["/ready", "/api/state", "/api/live", "/api/events", "/configuration", "/api/configuration"]
    {
        assert_eq!(sandbox.get(closed).0, 401, "{closed}");
    }
    for open in ["/", "/app.js", "/metrics", "/health"] {
        assert_eq!(sandbox.get(open).0, 200, "{open}");
    }
    let mut page = Page::open(&url(&sandbox), Look::default());
    page.until("document.querySelector('#token').open");
    page.fill("#token input[name=token]", "wrong");
    page.press("Enter");
    page.until(&says("#token-note", "rejected this token"));
    page.until("document.querySelector('#token').open");
    page.fill("#token input[name=token]", "open sesame");
    page.press("Enter");
    page.until("document.querySelector('[data-node=journal]') !== null");
    page.click("#tab-settings");
    page.until(&says("#settings", "Pipeline.operations.token"));
    assert_eq!(page.eval(&says("#settings", "open sesame")), json!(false));
    // The browser tells of each 401 by itself; there is nothing else to tell.
    let complaints = page.complaints();
    assert!(complaints.iter().all(|detail| detail.contains("401")), "{complaints:?}");
}

/// Where pictures go: into the documentation with `BLESS=1`, else away.
fn pictures() -> (PathBuf, Option<TempDir>) {
    if std::env::var_os("BLESS").is_some() {
        return (Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/pictures"), None);
    }
    let directory = TempDir::with_prefix("pictures-").expect("a temporary directory");
    (directory.path().to_owned(), Some(directory))
}

#[test]
fn screenshots_are_shown_and_pictures_taken() {
    let (directory, _thrown_away) = pictures();
    std::fs::create_dir_all(&directory).expect("a directory");
    let mut influxd = Influxd::start_new();
    let qlik_directory = TempDir::with_prefix("qlik-").expect("a temporary directory");
    let qlik = FakeQlik::start(qlik_directory.path()).expect("a fake Qlik Sense");
    let fragment = qlik.config_fragment(&qlik_directory.path().join("images"));
    let (butler, pipeline) = fragment.split_once("Pipeline:\n").expect("two sections");
    let (certificates, _) = butler.split_once("  auditEvents:\n").expect("certificates first");
    let (_, screenshots) = butler.split_once("      screenshots:\n").expect("screenshots last");
    let own = config(influxd.port(), "")
        .replace("Butler-SOS:\n", certificates)
        .replace("      type: json\n", &format!("      type: json\n      screenshots:\n{screenshots}"))
        .replace("Pipeline:\n", &format!("Pipeline:\n{pipeline}"));
    let sandbox = Sandbox::start_new(&own);
    let udp = sandbox.udp();
    udp.send(b"this is no event;<script>").expect("a datagram is sent");
    send(&sandbox, 0..3000);
    let client = AuditClient::new(sandbox.address("audit-events"));
    let base = qlik.with_own_ports("https://qlik.test:14443/tempcontent");
    for event in butler_sos_domain::audit::sample::session(7, 1_795_000_000_000, Some(&base)) {
        client.deliver(event.body);
    }
    sandbox.settle_after(3001);
    wait_for("a screenshot", || {
        let all = sandbox.json("/api/screenshots");
        all["screenshots"].as_array()?.iter().any(|of| of["screenshot"]["sha256"].is_string()).then_some(())
    });
    let offset = sandbox.json("/api/screenshots")["screenshots"][0]["offset"].to_string();
    assert_eq!(sandbox.get("/api/screenshots?limit=1").0, 200);
    let answer = sandbox.operations().get(&format!("/api/screenshots/{offset}/image")).expect("an image");
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("image/png")));
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));

    // A figure for each second that is shown; the documentation's pictures have more of them.
    let seconds = if std::env::var_os("BLESS").is_some() { 45 } else { 3 };
    let _samples = Samples::start(&sandbox);
    let has_lines = format!(
        "document.querySelector('[data-tile=received] path.line').getAttribute('d').split('L').length >= {seconds}"
    );
    for scheme in ["light", "dark"] {
        let mut page = open(&sandbox, Look { scheme, height: 1150, ..Look::default() });
        page.until("document.querySelectorAll('#events tbody tr').length === 25");
        page.until(&has_lines);
        page.until(&node_is("influx_sink", "ok"));
        page.picture(&directory.join(format!("dashboard-{scheme}.png")));
        page.click("#tab-screenshots");
        page.until("document.querySelector('#screenshots img')?.naturalWidth > 0");
        page.click("#screenshots .shot");
        page.until(
            "document.querySelector('#shot').open && document.querySelector('#shot-image').naturalWidth > 0",
        );
        assert_eq!(page.barriers(), NO_COMPLAINTS);
        assert_eq!(page.unreachable(), NO_COMPLAINTS);
        page.press("Escape");
        page.until("!document.querySelector('#shot').open");
        assert_eq!(page.barriers(), NO_COMPLAINTS);
        assert_eq!(page.unreachable(), NO_COMPLAINTS);
        page.eval("document.querySelector('.lists').scrollIntoView()");
        page.picture(&directory.join(format!("dashboard-screenshots-{scheme}.png")));
        assert_fits(&mut page);
        assert_eq!(page.complaints(), NO_COMPLAINTS);
    }
    influxd.stop();
    let mut page = open(&sandbox, Look { height: 1150, ..Look::default() });
    page.until(&node_is("influx_sink", "bad"));
    page.until(&has_lines);
    page.picture(&directory.join("dashboard-outage.png"));
    influxd.start();
    let mut phone = open(&sandbox, Look { width: 360, height: 1150, ..Look::default() });
    phone.until(&says("#headline-title", "No problems"));
    phone.until(&has_lines);
    phone.picture(&directory.join("dashboard-phone.png"));
}

/// Sample events that come as long as this lives.
struct Samples(Child);

impl Samples {
    fn start(sandbox: &Sandbox) -> Self {
        let mut command = Command::new(binary("butler-sos"));
        command.arg("send-sample").arg("--to").arg(sandbox.address("user-events").to_string());
        command.args(["--rate", "120"]).stdout(Stdio::null());
        Self(command.spawn().expect("the binary starts"))
    }
}

impl Drop for Samples {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
