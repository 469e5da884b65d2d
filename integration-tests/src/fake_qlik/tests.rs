//! The fake, seen by a plain client.

use std::time::{Duration, Instant};

use super::*;
use crate::http::{Answer, Http};

const KEY: &str = "0123456789abcdef";

struct Setup {
    fake: FakeQlik,
    _dir: tempfile::TempDir,
}

impl Setup {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let fake = FakeQlik::start(dir.path()).unwrap();
        Self { fake, _dir: dir }
    }

    /// One that shows no certificate.
    fn client(&self, port: u16, name: &str) -> Http {
        Http::new(([127, 0, 0, 1], port).into()).with_tls(name, &self.fake.certificates.root)
    }

    /// Of QPS.
    fn ticket_client(&self) -> Http {
        self.client(self.fake.ports.qps, "qlik.test").with_certificate(&self.fake.certificates.client)
    }

    /// Of the proxy.
    fn image_client(&self) -> Http {
        self.client(self.fake.ports.https, "qlik.test")
    }

    fn qps(&self, method: &str, path: &str, body: &str) -> Answer {
        let headers = [("X-Qlik-Xrfkey", KEY), ("Content-Type", "application/json")];
        self.ticket_client().send(method, &format!("{path}?Xrfkey={KEY}"), &headers, body).unwrap()
    }

    fn ticket(&self, virtual_proxy: &str, user: &str) -> String {
        let answer = self.qps(
            "POST",
            &format!("/qps{virtual_proxy}/ticket"),
            &format!(r#"{{"UserDirectory":"LAB","UserId":"{user}"}}"#),
        );
        assert_eq!(answer.status, 201, "{}", answer.text());
        answer.json()["Ticket"].as_str().unwrap().to_owned()
    }

    fn get(&self, path: &str, cookie: Option<&str>) -> Answer {
        self.image_client().send("GET", path, cookie.map(|cookie| ("Cookie", cookie)).as_slice(), "").unwrap()
    }

    /// A session of this user at the default virtual proxy, as a Cookie header.
    fn session(&self, user: &str) -> String {
        let ticket = self.ticket("", user);
        let answer = self.get(&format!("/tempcontent/a.png?qlikTicket={ticket}"), None);
        assert_eq!(answer.status, 200);
        cookie_of(&answer)
    }
}

fn cookie_of(answer: &Answer) -> String {
    answer.header("set-cookie").unwrap().split(';').next().unwrap().to_owned()
}

#[test]
fn qps_wants_a_certificate_and_a_key() {
    let setup = Setup::new();
    let nobody = setup.client(setup.fake.ports.qps, "qlik.test");
    assert!(nobody.send("POST", "/qps/ticket?Xrfkey=0123456789abcdef", &[], "{}").is_err());
    let stranger = nobody.with_certificate(&setup.fake.certificates.stranger);
    assert!(stranger.send("POST", "/qps/ticket?Xrfkey=0123456789abcdef", &[], "{}").is_err());
    assert!(setup.fake.requests().is_empty());

    let check = |query: &str, header: &str| {
        let path = format!("/qps/ticket?{query}");
        let headers = [("X-Qlik-Xrfkey", header)];
        let body = r#"{"UserDirectory":"LAB","UserId":"goran"}"#;
        setup.ticket_client().send("POST", &path, &headers, body).unwrap().status
    };
    assert_eq!(check("Xrfkey=0123456789abcdef", "0123456789abcdef"), 201);
    assert_eq!(check("xrfkey=0123456789abcdef", "0123456789abcdef"), 201);
    assert_eq!(check("Xrfkey=0123456789abcdef", "0123456789abcdeX"), 403);
    assert_eq!(check("Xrfkey=short", "short"), 403);
    assert_eq!(check("Xrfkey=0123456789abcde-", "0123456789abcde-"), 403);
    assert_eq!(check("", ""), 403);
    let seen = setup.fake.take_requests();
    assert_eq!(seen.len(), 6);
    assert_eq!(
        setup.fake.with_golden_ports(&seen[0]),
        Recorded {
            server: "qps".into(),
            method: "POST".into(),
            host: "qlik.test:14243".into(),
            path: "/qps/ticket?Xrfkey=K".into(),
            cookie: None,
            body: Some(r#"{"UserDirectory":"LAB","UserId":"goran"}"#.into()),
            client_certificate: true,
        }
    );
}

#[test]
fn qps_misbehaves_for_some_users() {
    let setup = Setup::new();
    let check = |user: &str, status: u16, body: &str| {
        let answer =
            setup.qps("POST", "/qps/ticket", &format!(r#"{{"UserDirectory":"LAB","UserId":"{user}"}}"#));
        assert_eq!(answer.status, status, "{user}");
        assert!(answer.text().contains(body), "{user}: {}", answer.text());
    };
    check("q500", 500, "");
    check("q403", 403, "");
    check("qnoticket", 201, r#"{"UserId":"qnoticket"}"#);
    check("qempty", 201, r#""Ticket":"""#);
    check("qhtml", 200, "<html>");
    check("qredirect", 302, "");
    check("a\\\\b", 400, "");
    assert_eq!(setup.qps("POST", "/qps/nope/ticket", "{}").status, 404);
    assert_eq!(setup.qps("GET", "/qps/ticket", "").status, 405);
    let hasty = setup.ticket_client().within(Duration::from_millis(200));
    let body = r#"{"UserDirectory":"LAB","UserId":"qhang"}"#;
    let path = format!("/qps/ticket?Xrfkey={KEY}");
    assert!(hasty.send("POST", &path, &[("X-Qlik-Xrfkey", KEY)], body).is_err());
}

#[test]
fn a_ticket_opens_a_session_at_its_virtual_proxy() {
    let setup = Setup::new();
    let check = |virtual_proxy: &str, user: &str, name: &str| {
        let ticket = setup.ticket(virtual_proxy, user);
        let path = format!("{virtual_proxy}/tempcontent/a.png");
        let answer = setup.get(&format!("{path}?qlikTicket={ticket}"), None);
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-type"), Some("image/png"));
        assert!(answer.body.starts_with(pictures::PNG_SIGNATURE));
        let cookie = cookie_of(&answer);
        assert_eq!(cookie.split('=').next(), Some(name));
        assert_eq!(setup.get(&format!("{path}?qlikTicket={ticket}"), None).status, 401, "used");
        let again = setup.get(&path, Some(&cookie));
        assert_eq!((again.status, again.header("set-cookie")), (200, None));
        let id = cookie.split_once('=').unwrap().1.to_owned();
        assert!(setup.fake.secrets().contains(&id) && setup.fake.secrets().contains(&ticket));
        assert_eq!(setup.qps("DELETE", &format!("/qps/other/session/{id}"), "").status, 404);
        assert_eq!(setup.qps("DELETE", &format!("/qps{virtual_proxy}/session/{id}"), "").status, 200);
        assert_eq!(setup.get(&path, Some(&cookie)).status, 401);
    };
    check("", "goran", "X-Qlik-Session-Default");
    check("/analytics", "goran", "X-Qlik-Session-analytics");
    check("/sales", "anna", "X-Qlik-Session-sales");
    check("", "bare", "X-Qlik-Session");
    assert!(setup.fake.open_sessions().is_empty());
    let counts = setup.fake.counts();
    assert_eq!((counts.tickets_issued, counts.sessions_opened, counts.sessions_deleted), (4, 4, 4));
    assert_eq!((counts.tickets_reused, counts.deletions_missed), (4, 4));

    // Without TLS the cookie is called otherwise.
    let ticket = setup.ticket("", "goran");
    let plain = Http::new(([127, 0, 0, 1], setup.fake.ports.http).into()).named("qlik.test");
    let path = format!("/tempcontent/a.png?qlikTicket={ticket}");
    let answer = plain.get(&path).unwrap();
    assert!(cookie_of(&answer).starts_with("X-Qlik-Session-Default-HTTP="));
    let seen = setup.fake.requests();
    let last = setup.fake.with_golden_ports(seen.last().unwrap());
    assert_eq!((last.server.as_str(), last.host.as_str()), ("http", "qlik.test:14081"));
    assert_eq!(last.path, "/tempcontent/a.png?qlikTicket=T");
    assert!(!last.client_certificate);
}

#[test]
fn redirects() {
    let setup = Setup::new();
    let cookie = setup.session("goran");
    let check = |query: &str, location: Option<&str>| {
        let answer = setup.get(&format!("/tempcontent/a.png?{query}"), Some(&cookie));
        assert_eq!(answer.status, if location == Some("") { 200 } else { 302 }, "{query}");
        let expect = location.filter(|l| !l.is_empty()).map(|l| setup.fake.with_own_ports(l));
        assert_eq!(answer.header("location"), expect.as_deref(), "{query}");
    };
    let to = |rest: &'static str| Some(rest);
    check("b=redirect", to("https://qlik.test:14443/tempcontent/a.png?b=redirect&hop=1"));
    check("b=redirect&hop=1", to(""));
    check("b=relredir", to("/tempcontent/a.png?b=relredir&hop=1"));
    check("b=cross", to("https://proxy.test:14443/tempcontent/a.png?b=cross&hop=1"));
    check("b=cross&hop=1", to("https://node1.test:14443/tempcontent/a.png?b=cross&hop=2"));
    check("b=cross&hop=2", to(""));
    check("b=chain5&hop=3", to("https://node2.test:14443/tempcontent/a.png?b=chain5&hop=4"));
    check("b=chain5&hop=4", to("https://qlik.test:14443/tempcontent/a.png?b=chain5&hop=5"));
    check("b=chain5&hop=5", to(""));
    check("b=chain6&hop=5", to("https://qlik.test:14443/tempcontent/a.png?b=chain6&hop=6"));
    check("b=loop&hop=99", to("https://qlik.test:14443/tempcontent/a.png?b=loop&hop=100"));
    check("b=evil", to("https://evil.test:14443/tempcontent/a.png?b=evil&hop=1"));
    check("b=evil3&hop=1", to("https://qlik.test:14443/tempcontent/a.png?b=evil3&hop=2"));
    check("b=evil3&hop=2", to("https://evil.test:14443/tempcontent/a.png?b=evil3&hop=3"));
    check("b=tohttp", to("http://qlik.test:14081/tempcontent/a.png?b=tohttp&hop=1"));
    check("b=file", to("file:///etc/passwd"));
    check("b=badloc", to("http://[bad"));
    check("b=noloc", None);
    check("b=login", to("/internal_forms_authentication/?targetId=x"));
}

#[test]
fn bodies() {
    let setup = Setup::new();
    let cookie = setup.session("goran");
    let get = |query: &str| setup.get(&format!("/tempcontent/a.png?{query}"), Some(&cookie));
    let check = |query: &str, status: u16, content_type: Option<&str>, head: &[u8]| {
        let answer = get(query);
        assert_eq!((answer.status, answer.header("content-type")), (status, content_type), "{query}");
        assert!(answer.body.starts_with(head) && !answer.is_cut, "{query}");
        answer
    };
    let png: &[u8] = pictures::PNG_SIGNATURE;
    check("b=direct", 200, Some("image/png"), png);
    assert_eq!(check("kb=100", 200, Some("image/png"), png).body.len(), 100 << 10);
    check("b=jpeg", 200, Some("image/jpeg"), b"\xff\xd8\xff");
    check("b=gif", 200, Some("image/gif"), b"GIF89a");
    check("b=webp", 200, Some("image/webp"), b"RIFF");
    check("b=html", 200, Some("text/html; charset=utf-8"), b"<!doctype");
    check("b=octet", 200, Some("application/octet-stream"), png);
    check("b=noct", 200, None, png);
    check("b=fakepng", 200, Some("image/png"), b"this");
    check("b=lying", 200, Some("image/png"), b"\xff\xd8\xff");
    check("b=svg", 200, Some("image/svg+xml"), b"<svg");
    assert!(check("b=empty", 200, Some("image/png"), b"").body.is_empty());
    check("b=204", 204, None, b"");
    check("b=304", 304, None, b"");
    check("b=500", 500, None, b"");
    assert_eq!(check("b=429", 429, None, b"").header("retry-after"), Some("1"));
    let tries = [404, 404, 200].map(|status| (get("b=404then").status, status));
    assert!(tries.iter().all(|(seen, expect)| seen == expect), "{tries:?}");
    let started = Instant::now();
    check("b=slow", 200, Some("image/png"), png);
    assert!(started.elapsed() > Duration::from_secs(1));

    for query in ["b=trunc", "b=cut"] {
        let answer = get(query);
        assert!(answer.is_cut && answer.body.starts_with(png), "{query}");
    }
    let big = check("b=big&mb=3", 200, Some("image/png"), png);
    assert_eq!((big.body.len(), big.header("content-length")), (3 << 20, Some("3145728")));
    let big = check("b=bignolen&mb=3", 200, Some("image/png"), png);
    assert_eq!((big.body.len(), big.header("content-length")), (3 << 20, None));
    let bomb = check("b=gzbomb", 200, Some("image/png"), b"\x1f\x8b");
    assert_eq!(bomb.header("content-encoding"), Some("gzip"));
    assert!(bomb.body.len() < 1 << 20);

    let other = get("b=newcookie");
    assert_ne!(cookie_of(&other), cookie);
    let ticket = setup.ticket("", "nock");
    let answer = setup.get(&format!("/tempcontent/a.png?b=nocookie&qlikTicket={ticket}"), None);
    assert_eq!((answer.status, answer.header("set-cookie")), (200, None));
    let hasty = setup.image_client().within(Duration::from_millis(200));
    assert!(hasty.with_header("Cookie", &cookie).get("/a.png?b=hang").is_err());
}

#[test]
fn sessions_are_forgotten_and_refused_as_told() {
    let setup = Setup::new();
    let cookie = setup.session("goran");
    setup.fake.forget_sessions();
    let check = |answer: Unauthorized, status: u16, head: &[u8]| {
        setup.fake.answer_unauthorized_with(answer);
        let seen = setup.get("/analytics/tempcontent/a.png", Some(&cookie));
        assert_eq!(seen.status, status);
        assert!(seen.body.starts_with(head));
        seen.header("location").map(str::to_owned)
    };
    check(Unauthorized::Status401, 401, b"");
    check(Unauthorized::Status403, 403, b"");
    check(Unauthorized::LoginPage, 200, b"<!doctype html>");
    let location = check(Unauthorized::LoginRedirect, 302, b"").unwrap();
    assert_eq!(location, "/analytics/internal_forms_authentication/?targetId=x");
    assert_eq!(setup.get(&location, None).header("content-type"), Some("text/html; charset=utf-8"));
    let seen = setup.fake.requests();
    assert_eq!(seen.iter().filter_map(|r| r.cookie.as_deref()).next(), Some("X-Qlik-Session-Default=SID"));
}

#[test]
fn five_sessions_at_once() {
    let setup = Setup::new();
    for _ in 0..5 {
        setup.session("goran");
    }
    let ticket = setup.ticket("", "goran");
    let answer = setup.get(&format!("/tempcontent/a.png?qlikTicket={ticket}"), None);
    assert_eq!(answer.status, 403);
    assert!(answer.text().contains("too many sessions"));
    assert_eq!(setup.fake.open_sessions().len(), 5);
    setup.session("anna");
}

#[test]
fn an_image_asked_for_under_anothers_session_is_counted() {
    let setup = Setup::new();
    let cookie = setup.session("goran");
    setup.get("/tempcontent/a.png?u=goran", Some(&cookie));
    assert_eq!(setup.fake.counts().users_mixed, 0);
    setup.get("/tempcontent/a.png?u=anna", Some(&cookie));
    assert_eq!(setup.fake.counts().users_mixed, 1);
}

#[test]
fn apps_of_qrs() {
    let setup = Setup::new();
    setup.fake.set_apps(&[("6a4ae4ea-0ed7-4fdd-b4d2-3dbdf0a1c9b3", "Sales")]);
    let path = format!("/qrs/app?xrfkey={KEY}");
    let nobody = setup.client(setup.fake.ports.qrs, "127.0.0.1");
    let (key, user) =
        (("X-Qlik-Xrfkey", KEY), ("X-Qlik-User", "UserDirectory=Internal; UserId=sa_repository"));
    assert!(nobody.send("GET", &path, &[key, user], "").is_err());
    let client = nobody.with_certificate(&setup.fake.certificates.client);
    assert_eq!(client.send("GET", &path, &[key, user], "").unwrap().json()[0]["name"], "Sales");
    assert_eq!(client.send("GET", &path, &[key], "").unwrap().status, 403);
}

#[test]
fn a_certificate_shown_to_the_proxy_is_seen() {
    let setup = Setup::new();
    let client = setup.client(setup.fake.ports.https, "node1.test");
    client.with_certificate(&setup.fake.certificates.client).get("/a.png").unwrap();
    let seen = setup.fake.take_requests();
    assert!(seen[0].client_certificate);
    assert_eq!(setup.fake.with_golden_ports(&seen[0]).host, "node1.test:14443");
}

#[test]
fn it_stops_when_dropped_even_while_something_hangs() {
    let setup = Setup::new();
    let cookie = setup.session("goran");
    let port = setup.fake.ports.https;
    let hasty = setup.image_client().within(Duration::from_millis(100));
    let _ = hasty.with_header("Cookie", &cookie).get("/a.png?b=hang");
    setup.fake.stop();
    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err());
}
