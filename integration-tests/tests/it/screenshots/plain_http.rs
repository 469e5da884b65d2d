//! Downloads by plain http: refused by default, and what each value of `allowHttp` lets out.

use butler_sos_domain::transport::PlainHttp;
use butler_sos_integration_tests::fake_qlik::{FakeQlik, Recorded};
use butler_sos_integration_tests::influxd::Influxd;
use butler_sos_integration_tests::sandbox::wait_for;

use super::harness::{Finished, Harness, Settings};
use super::server_harness::{Rooms, ServerHarness, USER, event};

fn start(settings: impl FnOnce(&FakeQlik) -> Settings) -> (tempfile::TempDir, FakeQlik, Harness) {
    let dir = tempfile::tempdir().unwrap();
    let fake = FakeQlik::start(&dir.path().join("certificates")).unwrap();
    let harness = Harness::start(dir.path(), &fake, &settings(&fake));
    (dir, fake, harness)
}

/// One download of this user, and what the fake was asked for it.
async fn fetch(
    harness: &mut Harness,
    fake: &FakeQlik,
    number: u32,
    user: &str,
    url: &str,
) -> (Finished, Vec<Recorded>) {
    fake.take_requests();
    let finished = harness.fetch(event(number, user, &fake.with_own_ports(url))).await;
    (finished, fake.take_requests())
}

fn servers(requests: &[Recorded]) -> Vec<&str> {
    requests.iter().map(|request| request.server.as_str()).collect()
}

const HTTPS: &str = "https://qlik.test:14443/tempcontent/a.png";
const HTTP: &str = "http://qlik.test:14081/tempcontent/a.png";

#[actix_rt::test]
async fn nothing_goes_out_by_plain_http() {
    let (_dir, fake, mut harness) = start(|_| Settings::default());
    let (finished, _) = fetch(&mut harness, &fake, 1, USER, HTTPS).await;
    assert_eq!(finished.error, None, "a session is cached");
    let urls =
        [HTTP, "http://qlik.test/tempcontent/a.png", "HTTP://QLIK.test:14081/analytics/tempcontent/a.png"];
    for (number, url) in (2..).zip(urls) {
        let (finished, requests) = fetch(&mut harness, &fake, number, USER, url).await;
        assert_eq!(finished.error.as_deref(), Some("http-not-allowed"), "{url}");
        assert!(requests.is_empty(), "{url} {requests:?}");
    }
    // A redirect from https: the session may be over, so it is replaced; http is not asked either way.
    let redirect = "https://qlik.test:14443/tempcontent/a.png?b=tohttp";
    let (finished, requests) = fetch(&mut harness, &fake, 9, USER, redirect).await;
    assert_eq!(finished.error.as_deref(), Some("http-not-allowed"));
    assert_eq!(servers(&requests), ["https", "qps", "qps", "https"]);
    let shown = harness.shown();
    assert!(shown.contains("redirect blocked reason=http-not-allowed hostname=qlik.test"), "{shown}");
    assert!(shown.contains("Pipeline.screenshots.allowHttp"), "{shown}");
    let notes = harness.metrics.figures().actors["redirect_walker"].notes.clone();
    assert_eq!(notes["http-not-allowed"], "qlik.test");
}

#[actix_rt::test]
async fn without_tickets_no_ticket_and_no_session_goes_out_by_plain_http() {
    let (_dir, fake, mut harness) = start(|fake| Settings {
        plain_http: PlainHttp::WithoutTickets,
        ports: vec![fake.ports.http, fake.ports.https],
        ..Settings::default()
    });
    fetch(&mut harness, &fake, 1, USER, HTTPS).await;
    let (finished, requests) = fetch(&mut harness, &fake, 2, USER, HTTP).await;
    // The fake lets nobody in without a login.
    assert_eq!(finished.error.as_deref(), Some("http-401"));
    assert_eq!(servers(&requests), ["http"]);
    assert!(requests[0].cookie.is_none() && !requests[0].path.contains("qlikTicket"), "{requests:?}");
    let redirect = "https://qlik.test:14443/tempcontent/a.png?b=tohttp";
    let (finished, requests) = fetch(&mut harness, &fake, 3, USER, redirect).await;
    assert_eq!(finished.error.as_deref(), Some("http-not-allowed"));
    assert!(!servers(&requests).contains(&"http"));
}

#[actix_rt::test]
async fn with_plain_http_allowed_everything_but_secure_cookies_goes_out() {
    let (_dir, fake, mut harness) = start(|fake| Settings {
        plain_http: PlainHttp::Allowed,
        ports: vec![fake.ports.http, fake.ports.https],
        ..Settings::default()
    });
    let redirect = "https://qlik.test:14443/tempcontent/a.png?b=tohttp";
    // As Butler SOS does it.
    let (finished, requests) = fetch(&mut harness, &fake, 1, "LAB\\plain", redirect).await;
    assert_eq!((finished.error, servers(&requests)), (None, vec!["qps", "https", "http"]));
    assert!(requests[2].cookie.is_some());
    let (finished, requests) = fetch(&mut harness, &fake, 2, "LAB\\plain", HTTP).await;
    assert_eq!((finished.error, servers(&requests)), (None, vec!["qps", "http"]));
    // A cookie that is `Secure` stays behind.
    let (finished, requests) = fetch(&mut harness, &fake, 3, USER, redirect).await;
    assert_eq!(finished.error.as_deref(), Some("http-401"));
    let plain: Vec<_> = requests.iter().filter(|request| request.server == "http").collect();
    assert!(!plain.is_empty() && plain.iter().all(|request| request.cookie.is_none()), "{requests:?}");
}

#[actix_rt::test]
async fn only_the_ports_that_are_named_are_asked() {
    let (_dir, fake, mut harness) = start(|_| Settings { ports: vec![443], ..Settings::default() });
    let (finished, requests) = fetch(&mut harness, &fake, 1, USER, HTTPS).await;
    assert_eq!((finished.error.as_deref(), requests.len()), (Some("port-not-allowed"), 0));
    // Port 80 is that of http, when none is named.
    let (_dir, fake, mut harness) =
        start(|_| Settings { plain_http: PlainHttp::Allowed, ..Settings::default() });
    let (finished, requests) = fetch(&mut harness, &fake, 1, USER, HTTP).await;
    assert_eq!((finished.error.as_deref(), requests.len()), (Some("port-not-allowed"), 0));
}

#[actix_rt::test]
async fn a_session_is_not_shown_to_another_host_that_an_event_names() {
    let (_dir, fake, mut harness) = start(|_| Settings::default());
    fetch(&mut harness, &fake, 1, USER, HTTPS).await;
    let (finished, requests) =
        fetch(&mut harness, &fake, 2, USER, "https://proxy.test:14443/tempcontent/a.png").await;
    assert_eq!((finished.error, servers(&requests)), (None, vec!["qps", "https"]));
    assert!(requests[1].cookie.is_none());
    // Each keeps its own.
    for (number, host) in [(3, "qlik.test"), (4, "proxy.test")] {
        let url = format!("https://{host}:14443/tempcontent/a.png");
        let (finished, requests) = fetch(&mut harness, &fake, number, USER, &url).await;
        assert_eq!((finished.error, servers(&requests)), (None, vec!["https"]), "{host}");
    }
}

#[actix_rt::test]
async fn no_ticket_is_asked_for_users_that_are_denied() {
    let (_dir, fake, mut harness) = start(|_| Settings::default());
    for (number, user) in (1..).zip(["INTERNAL\\sa_api", "UserDirectory=internal; UserId=sa_scheduler"]) {
        let (finished, requests) = fetch(&mut harness, &fake, number, user, HTTPS).await;
        assert_eq!((finished.error.as_deref(), requests.len()), (Some("user-not-allowed"), 0), "{user}");
    }
    assert!(harness.shown().contains("Pipeline.screenshots.ticketUsers"));
}

/// The real server beside a real InfluxDB, which speaks http on an allowed host.
#[test]
fn an_event_cannot_drop_a_database_by_its_screenshot_url() {
    let influxd = Influxd::start_new();
    influxd.query("", "CREATE DATABASE x");
    let harness = ServerHarness::start(&Rooms::default());
    let url = |query: &str| format!("http://qlik.test:{}/query?q={query}", influxd.port());
    harness.post_all(&[event(1, USER, &url("drop+database+x")), event(2, USER, &url("DROP%20DATABASE%20x"))]);
    harness.wait_for_finished(2);
    harness.settle();
    for (destination, reported) in harness.delivered() {
        let errors: Vec<_> = reported.iter().map(|reported| reported.error.as_deref()).collect();
        assert_eq!(errors, [Some("http-not-allowed"); 2], "{destination}");
    }
    let databases = influxd.query("", "SHOW DATABASES");
    assert!(databases.to_string().contains("\"x\""), "{databases}");
    // What is wrong, and which setting it is, is told.
    let problem = wait_for("advice", || {
        let state = harness.sandbox.json("/api/state");
        state["problems"].as_array()?.iter().find(|of| of["symptom"] == "http-not-allowed").cloned()
    });
    assert!(problem["what"].as_str().unwrap().contains("qlik.test"), "{problem}");
    assert!(problem["advice"].as_str().unwrap().contains("Pipeline.screenshots.allowHttp"), "{problem}");
}
