//! Cases of the walk: what is answered, what is done.

use super::*;
use proptest::prelude::*;

const IMAGE: &str = "https://qlik.test/tempcontent/a.png?b=1";

fn rules() -> Arc<WalkRules> {
    let hosts = AllowedHosts::new(["qlik.test", "proxy.test", "node1.test"]).unwrap();
    Arc::new(WalkRules::for_hosts(hosts))
}

fn walk() -> Walk {
    Walk::new(IMAGE, rules()).unwrap()
}

fn ticket(text: &str) -> Auth {
    Auth::Ticket(text.to_owned().into())
}

fn cookies(set_cookies: &[&str]) -> SessionCookies {
    let read = |text: &&str| match SessionCookieNames::default()
        .read(text.as_bytes(), &Url::parse(IMAGE).unwrap())
    {
        Some(SetSession::Begin(cookie)) => cookie,
        other => panic!("{other:?}"),
    };
    set_cookies.iter().map(read).collect()
}

fn cached() -> Auth {
    Auth::Cached(cookies(&["X-Qlik-Session=old"]))
}

fn status(status: u16) -> Answer<'static> {
    Answer { status, ..Answer::default() }
}

fn to(location: &str) -> Answer<'_> {
    Answer { status: 302, location: Some(location.as_bytes()), ..Answer::default() }
}

fn body(content_type: &'static str) -> Answer<'static> {
    Answer { status: 200, content_type: Some(content_type), ..Answer::default() }
}

fn setting<'a>(cookie: &'a str, answer: Answer<'a>) -> Answer<'a> {
    Answer { set_cookies: vec![cookie.as_bytes()], ..answer }
}

/// `url [cookie]` as it goes over the wire.
fn wire(request: &Request) -> String {
    let cookie = request.cookie.as_ref().map(|c| format!(" [{}]", c.expose_secret())).unwrap_or_default();
    format!("{}{cookie}", request.url)
}

fn show(step: &Step) -> String {
    match step {
        Step::Follow(request) => format!("follow {}", wire(request)),
        Step::RetryWithTicket => "ticket".to_owned(),
        Step::RetryLater { after } => format!("later {}", after.as_millis()),
        Step::Image(claim) => format!("image {claim:?}"),
        Step::Refuse(reason) => format!("refuse {reason}"),
    }
}

fn ids(cookies: &[SessionCookie]) -> Vec<&str> {
    cookies.iter().map(SessionCookie::expose_id).collect()
}

/// One answer at the start of an attempt of each kind.
fn check_first(answer: &Answer<'_>, with_ticket: &str, with_cached: &str) {
    let mut walk = walk();
    walk.begin(ticket("T1"));
    assert_eq!(show(&walk.step(answer)), with_ticket, "ticket {answer:?}");
    let mut walk = self::walk();
    walk.begin(cached());
    assert_eq!(show(&walk.step(answer)), with_cached, "cached {answer:?}");
}

#[test]
fn the_first_url() {
    let check = |url: &str, expect: &str| {
        let found = Walk::new(url, rules()).map(|mut walk| wire(&walk.begin(Auth::Nothing)));
        assert_eq!(found.unwrap_or_else(|reason| reason.to_string()), expect, "{url}");
    };
    check(IMAGE, IMAGE);
    check("https://QLIK.test:14443/a.png", "https://qlik.test:14443/a.png");
    check(" https://qlik.test/a b.png#frag ", "https://qlik.test/a%20b.png");
    check("http://qlik.test/a.png", "http-not-allowed hostname=qlik.test");
    check("http://qlik.test:8086/query?q=drop+database+x", "http-not-allowed hostname=qlik.test");
    check("http://evil.test/a.png", "host-not-allowed hostname=evil.test");
    check("https://me:pw@qlik.test/a", "https://qlik.test/a");
    check("https://qlik.test/a?qlikTicket=old", "https://qlik.test/a?qlikTicket=old");
    check("", "invalid-url");
    check("/tempcontent/a.png", "invalid-url");
    check("qlik.test/a.png", "invalid-url");
    check("https://", "invalid-url");
    check("https://qlik.test:99999/", "invalid-url");
    check(&format!("https://qlik.test/{}", "a".repeat(URL_BYTES_MAX)), "invalid-url");
    check("ftp://qlik.test/a.png", "invalid-scheme");
    check("file:///etc/passwd", "invalid-scheme");
    check("qlik.test:443/a.png", "invalid-scheme");
    check("javascript:alert(1)", "invalid-scheme");
    check("https://evil.test/a.png", "host-not-allowed hostname=evil.test");
    check("https://qlik.test@evil.test/a.png", "host-not-allowed hostname=evil.test");
    check("https://qlik.test./a.png", "host-not-allowed hostname=qlik.test.");
    check("https://[::1]/a.png", "host-not-allowed hostname=[::1]");
    let nobody = Arc::new(WalkRules::for_hosts(AllowedHosts::default()));
    assert!(matches!(Walk::new(IMAGE, nobody), Err(Reason::HostNotAllowed { .. })));
}

#[test]
fn statuses() {
    for code in [404, 408, 425, 429, 500, 502, 503, 504] {
        check_first(&status(code), "later 500", "later 500");
    }
    for code in [100, 300, 304, 305, 306, 400, 405, 406, 410, 418, 501, 505, 599] {
        let refuse = format!("refuse http-{code}");
        check_first(&status(code), &refuse, &refuse);
    }
    check_first(&status(401), "refuse http-401", "ticket");
    check_first(&status(403), "refuse http-403", "ticket");
    let wait = |seconds| Answer { retry_after: Some(Duration::from_secs(seconds)), ..status(503) };
    check_first(&wait(7), "later 7000", "later 7000");
    check_first(&wait(3600), "later 30000", "later 30000");
}

#[test]
fn bodies() {
    check_first(&body("image/png"), "image Kind(Png)", "image Kind(Png)");
    check_first(&status(200), "image Nothing", "image Nothing");
    check_first(&status(206), "image Nothing", "image Nothing");
    check_first(&body("text/html"), "later 500", "ticket");
    check_first(&body("application/octet-stream"), "later 500", "later 500");
    check_first(&body("image/svg+xml"), "later 500", "later 500");
    check_first(&status(204), "later 500", "later 500");
    let length = |bytes| Answer { content_length: Some(bytes), ..body("image/png") };
    check_first(&length(0), "later 500", "later 500");
    check_first(&length(50 << 20), "image Kind(Png)", "image Kind(Png)");
    check_first(&length((50 << 20) + 1), "refuse too-large", "refuse too-large");
    let coded = |coding| Answer { content_encoding: Some(coding), ..body("image/png") };
    check_first(&coded("gzip"), "later 500", "later 500");
    check_first(&coded(" Identity"), "image Kind(Png)", "image Kind(Png)");
}

#[test]
fn redirects() {
    let check = |location: &str, expect: &str| {
        let with_cookie = match expect.strip_prefix("follow ") {
            Some(url) => format!("follow {url} [X-Qlik-Session=old]"),
            // To somewhere else: the session may be over.
            None if expect.contains("hostname=") => "ticket".to_owned(),
            None => expect.to_owned(),
        };
        check_first(&to(location), expect, &with_cookie);
    };
    check("https://proxy.test/x?y#z", "follow https://proxy.test/x?y");
    check("https://node1.test:8080/", "follow https://node1.test:8080/");
    check("http://node1.test/", "refuse http-not-allowed hostname=node1.test");
    check("http://qlik.test/tempcontent/a.png", "refuse http-not-allowed hostname=qlik.test");
    check("/other.png", "follow https://qlik.test/other.png");
    check("other.png", "follow https://qlik.test/tempcontent/other.png");
    check("?c=2", "follow https://qlik.test/tempcontent/a.png?c=2");
    check("//proxy.test/x", "follow https://proxy.test/x");
    check(" /blanks ", "follow https://qlik.test/blanks");
    check("https://u:p@proxy.test/", "follow https://proxy.test/");
    check("/caf\u{e9}", "follow https://qlik.test/caf%C3%A9");
    check("/own?qlikTicket=other", "follow https://qlik.test/own?qlikTicket=other");
    check("", "refuse missing-location");
    check("  ", "refuse missing-location");
    check("https://", "refuse invalid-location");
    check("http://[", "refuse invalid-location");
    check("https://qlik.test:port/", "refuse invalid-location");
    check(&"a".repeat(URL_BYTES_MAX + 1), "refuse invalid-location");
    check("file:///etc/passwd", "refuse invalid-scheme");
    check("ftp://qlik.test/", "refuse invalid-scheme");
    check("data:image/png;base64,AAAA", "refuse invalid-scheme");
    check("https://evil.test/", "refuse host-not-allowed hostname=evil.test");
    check("//evil.test/x", "refuse host-not-allowed hostname=evil.test");
    check("\\\\evil.test/x", "refuse host-not-allowed hostname=evil.test");
    check("/\t/evil.test/x", "refuse host-not-allowed hostname=evil.test");
    check("https://qlik.test@evil.test/", "refuse host-not-allowed hostname=evil.test");
    check("https://qlik.test.evil.test/", "refuse host-not-allowed hostname=qlik.test.evil.test");
    check("https://qlik.test./", "refuse host-not-allowed hostname=qlik.test.");
    check("https://[::1]/", "refuse host-not-allowed hostname=[::1]");
    check("https://127.1/", "refuse host-not-allowed hostname=127.0.0.1");
    for code in [301, 302, 303, 307, 308] {
        check_first(
            &Answer { status: code, ..to("/x") },
            "follow https://qlik.test/x",
            "follow https://qlik.test/x [X-Qlik-Session=old]",
        );
    }
    check_first(&status(302), "refuse missing-location", "refuse missing-location");
    let bytes = Answer { status: 302, location: Some(b"/\xff"), ..Answer::default() };
    check_first(&bytes, "refuse invalid-location", "refuse invalid-location");
}

#[test]
fn login_pages_end_a_session() {
    let check = |location: &str| {
        let resolved = Url::parse(IMAGE).unwrap().join(location).unwrap();
        check_first(&to(location), &format!("follow {resolved}"), "ticket");
    };
    check("/internal_forms_authentication/?targetId=x");
    check("/internal_windows_authentication/?targetId=x");
    check("/analytics/internal_forms_authentication/?targetId=x");
    check("/a/b/Internal_Forms_Authentication");
    check("https://proxy.test/internal_forms_authentication/");
    check_first(
        &to("/x?y=internal_forms_authentication"),
        "follow https://qlik.test/x?y=internal_forms_authentication",
        "follow https://qlik.test/x?y=internal_forms_authentication [X-Qlik-Session=old]",
    );
    // On a later hop too, and when that login page's host is not in the list: it is not asked for.
    let mut walk = walk();
    walk.begin(cached());
    walk.step(&to("https://proxy.test/"));
    assert_eq!(show(&walk.step(&to("https://login.test/internal_forms_authentication/"))), "ticket");
    let endings = walk.take_endings();
    assert_eq!(endings.rejected, [cookies(&["X-Qlik-Session=old"])]);
    assert!(endings.discarded.is_empty() && !walk.has_session());
}

/// Where a proxy sends a client whose session is over.
const IDENTITY_PROVIDERS: [&str; 12] = [
    "https://idp.example.com/adfs/ls/?SAMLRequest=abc",
    "https://login.example.com/oauth2/v2.0/authorize?client_id=x",
    "https://login.example.com/",
    "//idp.example.com/sso",
    "http://idp.example.com/",
    "http://qlik.test/",
    "https://idp.example.com:8443/realms/corp",
    "/login",
    "../login.aspx?ReturnUrl=x",
    "/analytics/samlauthn/",
    "https://proxy.test/adfs/oauth2/authorize?client_id=x&redirect_uri=y",
    "https://qlik.test/x?SAMLRequest=abc",
];

#[test]
fn a_cached_session_that_is_answered_with_a_way_to_an_identity_provider_is_replaced() {
    for location in IDENTITY_PROVIDERS {
        for hops in 0..3 {
            let mut walk = walk();
            walk.begin(cached());
            for _ in 0..hops {
                assert!(matches!(walk.step(&to("/next.png")), Step::Follow(_)));
            }
            assert_eq!(show(&walk.step(&to(location))), "ticket", "{location}");
            let endings = walk.take_endings();
            assert_eq!(endings.rejected, [cookies(&["X-Qlik-Session=old"])]);
            assert!(!walk.has_session());
            // The fresh ticket does better.
            assert_eq!(wire(&walk.begin(ticket("T1"))), format!("{IMAGE}&qlikTicket=T1"));
            assert_eq!(show(&walk.step(&body("image/png"))), "image Kind(Png)");
        }
    }
}

#[test]
fn with_a_fresh_ticket_a_way_to_another_host_is_refused() {
    let mut walk = walk();
    walk.begin(ticket("T1"));
    let step = walk.step(&to("https://idp.example.com/adfs/ls/?SAMLRequest=abc"));
    assert_eq!(show(&step), "refuse host-not-allowed hostname=idp.example.com");
    // After a cached session and a ticket alike.
    let mut walk = self::walk();
    walk.begin(cached());
    assert_eq!(show(&walk.step(&to("https://idp.example.com/"))), "ticket");
    walk.begin(ticket("T1"));
    let step = walk.step(&to("https://idp.example.com/"));
    assert_eq!(show(&step), "refuse host-not-allowed hostname=idp.example.com");
    // Without a login there is no session to be over.
    let mut walk = self::walk();
    walk.begin(Auth::Nothing);
    let step = walk.step(&to("https://idp.example.com/"));
    assert_eq!(show(&step), "refuse host-not-allowed hostname=idp.example.com");
}

#[test]
fn a_page_instead_of_an_image_ends_a_cached_session() {
    let mut walk = walk();
    walk.begin(cached());
    assert_eq!(show(&walk.step(&body("image/png"))), "image Kind(Png)");
    assert_eq!(show(&walk.fail_with_page()), "ticket");
    assert_eq!(walk.take_endings().rejected, [cookies(&["X-Qlik-Session=old"])]);
    walk.begin(ticket("T1"));
    assert_eq!(show(&walk.fail_with_page()), "later 1000");
}

fn with(plain_http: PlainHttp, ports: &[u16]) -> Arc<WalkRules> {
    let ports = AllowedPorts::new(ports.iter().copied());
    Arc::new(WalkRules { plain_http, ports, ..(*rules()).clone() })
}

#[test]
fn plain_http_as_the_setting_says() {
    use PlainHttp::{Allowed, Refused, WithoutTickets};
    let first = |http, ports: &[u16], url: &str, expect: &str| {
        let found = Walk::new(url, with(http, ports)).map(|walk| walk.may_log_in());
        let found = found.map_or_else(|reason| reason.to_string(), |login| format!("log in {login}"));
        assert_eq!(found, expect, "{http:?} {ports:?} {url}");
    };
    first(Refused, &[], "http://qlik.test/a.png", "http-not-allowed hostname=qlik.test");
    first(Refused, &[80], "http://qlik.test/a.png", "http-not-allowed hostname=qlik.test");
    first(Refused, &[], "https://qlik.test:8443/a.png", "log in true");
    first(WithoutTickets, &[], "http://qlik.test/a.png", "log in false");
    first(
        WithoutTickets,
        &[],
        "http://qlik.test:8086/a.png",
        "port-not-allowed hostname=qlik.test port=8086",
    );
    first(WithoutTickets, &[8086], "http://qlik.test:8086/a.png", "log in false");
    first(WithoutTickets, &[], "https://qlik.test:8443/a.png", "log in true");
    first(Allowed, &[], "http://qlik.test/a.png", "log in true");
    first(Allowed, &[], "http://qlik.test:8086/a.png", "port-not-allowed hostname=qlik.test port=8086");
    first(Allowed, &[443], "https://qlik.test:8443/a.png", "port-not-allowed hostname=qlik.test port=8443");

    let hop = |http, from: &str, location: &str, expect: &str| {
        let mut walk = Walk::new(from, with(http, &[])).unwrap();
        walk.begin(ticket("T1"));
        assert_eq!(show(&walk.step(&to(location))), expect, "{http:?} {from} {location}");
    };
    let refused = "refuse http-not-allowed hostname=node1.test";
    hop(Refused, IMAGE, "http://node1.test/", refused);
    hop(WithoutTickets, IMAGE, "http://node1.test/", refused);
    hop(WithoutTickets, "http://qlik.test/", "http://node1.test/", "follow http://node1.test/");
    hop(WithoutTickets, "http://qlik.test/", "https://node1.test/", "follow https://node1.test/");
    hop(Allowed, IMAGE, "http://node1.test/", "follow http://node1.test/");
    hop(Allowed, IMAGE, "http://node1.test:1/", "refuse port-not-allowed hostname=node1.test port=1");
}

#[test]
fn a_secure_session_is_not_sent_over_plain_http() {
    let check = |cookie: &str, expect: &str| {
        let mut walk = Walk::new(IMAGE, with(PlainHttp::Allowed, &[])).unwrap();
        walk.begin(ticket("T1"));
        let step = walk.step(&setting(cookie, to("http://qlik.test/b.png")));
        assert_eq!(show(&step), expect, "{cookie}");
    };
    check("X-Qlik-Session=s1; Secure", "follow http://qlik.test/b.png");
    check("X-Qlik-Session=s1", "follow http://qlik.test/b.png [X-Qlik-Session=s1]");
    // Where no session may go over http, none that http sets is kept either.
    let mut walk = Walk::new("http://qlik.test/", with(PlainHttp::WithoutTickets, &[])).unwrap();
    walk.begin(Auth::Nothing);
    let step = walk.step(&setting("X-Qlik-Session=s1", to("https://qlik.test/b.png")));
    assert_eq!(show(&step), "follow https://qlik.test/b.png");
}

#[test]
fn a_session_goes_along_on_redirects_or_stays_with_its_host() {
    let check = |are_sessions_carried, cookie: &str, location: &str, expect: &str| {
        let rules = Arc::new(WalkRules { are_sessions_carried, ..(*rules()).clone() });
        let mut walk = Walk::new(IMAGE, rules).unwrap();
        walk.begin(ticket("T1"));
        let step = walk.step(&setting(cookie, to(location)));
        assert_eq!(show(&step), expect, "{are_sessions_carried} {cookie} {location}");
    };
    let there = "https://proxy.test/b.png";
    let with_session = "follow https://proxy.test/b.png [X-Qlik-Session=s1]";
    check(true, "X-Qlik-Session=s1", there, with_session);
    check(false, "X-Qlik-Session=s1", there, "follow https://proxy.test/b.png");
    check(false, "X-Qlik-Session=s1", "/b.png", "follow https://qlik.test/b.png [X-Qlik-Session=s1]");
    for rules in [true, false] {
        // Not a domain that it may speak for.
        check(rules, "X-Qlik-Session=s1; Domain=proxy.test", there, "follow https://proxy.test/b.png");
        check(rules, "X-Qlik-Session=s1; Domain=test", there, "follow https://proxy.test/b.png");
    }
    // What another host set on the way is not shown to the first one by the next download.
    let mut walk = walk();
    let read = SessionCookieNames::default().read(b"X-Qlik-Session=s2", &Url::parse(there).unwrap());
    let Some(SetSession::Begin(elsewhere)) = read else { panic!() };
    assert_eq!(wire(&walk.begin(Auth::Cached([elsewhere].into_iter().collect()))), IMAGE);
    assert_eq!(show(&walk.step(&to(there))), "follow https://proxy.test/b.png [X-Qlik-Session=s2]");
}

/// However a host is spelled, and wherever on the way: the list holds for what would be connected to.
#[test]
fn the_list_holds_at_every_hop() {
    let hosts =
        AllowedHosts::new(["qlik.test", "proxy.test", "b\u{fc}cher.test", "::1", "10.0.0.1"]).unwrap();
    let rules = Arc::new(WalkRules::for_hosts(hosts));
    let check = |location: &str, expect: &str| {
        for hops in 0..5 {
            for auth in [Auth::Nothing, ticket("T1"), cached()] {
                let mut walk = Walk::new(IMAGE, Arc::clone(&rules)).unwrap();
                walk.begin(auth);
                for hop in 0..hops {
                    let step = walk.step(&to(["https://PROXY.test/p", "https://qlik.test/q"][hop % 2]));
                    assert!(matches!(step, Step::Follow(_)));
                }
                let found = match walk.step(&to(location)) {
                    Step::Follow(request) => request.url.to_string(),
                    // A cached session may be over.
                    Step::RetryWithTicket if walk.endings.rejected.len() == 1 => expect.to_owned(),
                    step => show(&step),
                };
                assert_eq!(found, expect, "{location} after {hops} hops");
            }
        }
    };
    let refused =
        |location: &str, host: &str| check(location, &format!("refuse host-not-allowed hostname={host}"));
    // Mixed case, percent-encoding, IDN in each spelling, addresses in each spelling, user information: the same host.
    check("https://PrOxY.TeSt/a", "https://proxy.test/a");
    check("https://pr%6Fxy.test/a", "https://proxy.test/a");
    check("https://proxy\u{3002}test/a", "https://proxy.test/a");
    check("https://\u{ff50}roxy.test/a", "https://proxy.test/a");
    check("https://B\u{dc}CHER.test/a", "https://xn--bcher-kva.test/a");
    check("https://xn--bcher-kva.test/a", "https://xn--bcher-kva.test/a");
    check("https://b%C3%BCcher.test/a", "https://xn--bcher-kva.test/a");
    check("https://[::1]:8443/a", "https://[::1]:8443/a");
    check("https://[0:0::0:1]/a", "https://[::1]/a");
    check("https://0x0a000001/a", "https://10.0.0.1/a");
    check("https://evil.test@proxy.test/a", "https://proxy.test/a");
    check("https://evil.test:443@proxy.test:8443/a", "https://proxy.test:8443/a");
    // Another host.
    refused("https://evil.test/", "evil.test");
    refused("//EVIL.test/", "evil.test");
    refused("https://proxy.test./", "proxy.test.");
    refused("https://proxy.test../", "proxy.test..");
    refused("https://PROXY.TEST./", "proxy.test.");
    refused("https://www.proxy.test/", "www.proxy.test");
    refused("https://proxy.test.evil.test/", "proxy.test.evil.test");
    refused("https://proxy.testx/", "proxy.testx");
    refused("https://proxy.test@evil.test/", "evil.test");
    refused("https://proxy.test:443@evil.test/", "evil.test");
    refused("https://proxy.test%40evil.test@evil.test/", "evil.test");
    refused("https://evil.test\\@proxy.test/", "evil.test");
    refused("https://evil.test/@proxy.test/", "evil.test");
    refused("https://evil.test?@proxy.test/", "evil.test");
    refused("https://evil.test#@proxy.test/", "evil.test");
    refused("https://proxy.test%2Eevil.test/", "proxy.test.evil.test");
    refused("https://e%76il.test/", "evil.test");
    refused("https://xn--bchr-1oa.test/", "xn--bchr-1oa.test");
    refused("https://bucher.test/", "bucher.test");
    refused("https://pro\u{445}y.test/", "xn--proy-76d.test");
    refused("https://[::2]/", "[::2]");
    refused("https://[::ffff:10.0.0.1]/", "[::ffff:a00:1]");
    refused("https://[::ffff:7f00:1]/", "[::ffff:7f00:1]");
    refused("https://10.0.0.2/", "10.0.0.2");
    refused("https://167772162/", "10.0.0.2");
    refused("https://012.0.0.2/", "10.0.0.2");
    refused("https://localhost/", "localhost");
    // No host at all.
    for location in [
        "https://proxy.test%00.evil.test/",
        "https://proxy.test%2Fevil.test/",
        "https://[::1",
        "https://[fe80::1%25eth0]/",
    ] {
        check(location, "refuse invalid-location");
    }
}

#[test]
fn five_hops() {
    let mut walk = walk();
    walk.begin(cached());
    for hop in 1..=5 {
        let step = walk.step(&to("/loop"));
        assert!(matches!(step, Step::Follow(_)), "{hop}");
        assert_eq!(walk.hops(), hop);
    }
    assert_eq!(show(&walk.step(&to("/loop"))), "refuse max-redirects");
    // Each attempt counts its own.
    walk.begin(Auth::Kept);
    assert_eq!(walk.hops(), 0);
}

#[test]
fn a_ticket_is_redeemed_once_and_its_cookie_carried() {
    let mut walk = walk();
    let first = walk.begin(ticket("T1"));
    assert_eq!(wire(&first), "https://qlik.test/tempcontent/a.png?b=1&qlikTicket=T1");
    assert!(!format!("{first:?} {walk:?}").contains("T1"));
    let answer = setting("X-Qlik-Session-Default=s1; Path=/; HttpOnly", to("https://proxy.test/p?hop=1"));
    assert_eq!(show(&walk.step(&answer)), "follow https://proxy.test/p?hop=1 [X-Qlik-Session-Default=s1]");
    assert_eq!(
        show(&walk.step(&to("https://node1.test/n"))),
        "follow https://node1.test/n [X-Qlik-Session-Default=s1]"
    );
    assert_eq!(show(&walk.step(&body("image/png"))), "image Kind(Png)");
    assert_eq!(walk.opened_session(), Some(&cookies(&["X-Qlik-Session-Default=s1"])));
    assert_eq!(walk.take_endings(), Endings::default());
    assert!(!format!("{walk:?}").contains("s1"));
}

#[test]
fn a_spent_ticket_is_not_carried_along() {
    let mut walk = walk();
    walk.begin(ticket("T1"));
    let step = walk.step(&to("/again?b=1&qlikTicket=T1&c"));
    assert_eq!(show(&step), "follow https://qlik.test/again?b=1&c");
}

#[test]
fn a_ticket_already_in_the_url_gives_way() {
    let mut walk = Walk::new("https://qlik.test/a.png?qlikTicket=old&b=direct", rules()).unwrap();
    assert_eq!(wire(&walk.begin(ticket("T1"))), "https://qlik.test/a.png?qlikTicket=T1&b=direct");
}

#[test]
fn three_attempts_with_one_session() {
    let mut walk = walk();
    walk.begin(ticket("T1"));
    assert_eq!(show(&walk.step(&setting("X-Qlik-Session=s1", status(404)))), "later 500");
    assert!(walk.has_session());
    assert_eq!(wire(&walk.begin(Auth::Kept)), format!("{IMAGE} [X-Qlik-Session=s1]"));
    assert_eq!(show(&walk.step(&status(503))), "later 1000");
    walk.begin(Auth::Kept);
    assert_eq!(show(&walk.step(&status(404))), "refuse http-404");
    assert_eq!(walk.attempts(), 3);
    assert!(walk.opened_session().is_some());
}

#[test]
fn a_rejected_session_counts_as_an_attempt() {
    let mut walk = walk();
    assert_eq!(wire(&walk.begin(cached())), format!("{IMAGE} [X-Qlik-Session=old]"));
    assert_eq!(show(&walk.step(&status(401))), "ticket");
    assert_eq!(walk.take_endings().rejected, [cookies(&["X-Qlik-Session=old"])]);
    assert_eq!(wire(&walk.begin(ticket("T2"))), format!("{IMAGE}&qlikTicket=T2"));
    assert_eq!(show(&walk.step(&status(500))), "later 1000");
    // Meanwhile another download has put a session into the cache; it is not taken either.
    walk.begin(Auth::Cached(cookies(&["X-Qlik-Session=other"])));
    assert_eq!(show(&walk.step(&status(401))), "refuse http-401");
    assert_eq!(walk.take_endings().rejected, [cookies(&["X-Qlik-Session=other"])]);
    assert!(walk.opened_session().is_none());
}

#[test]
fn a_session_that_its_own_walk_doubts_is_nobodys() {
    // Opened by a ticket, and refused in the same breath.
    let mut walk = walk();
    walk.begin(ticket("T1"));
    assert_eq!(show(&walk.step(&setting("X-Qlik-Session=s1", status(403)))), "refuse http-403");
    assert!(walk.opened_session().is_none());
    assert_eq!(ids(&walk.take_endings().discarded), ["s1"]);
    // A login page that opens an anonymous session.
    let mut walk = self::walk();
    walk.begin(ticket("T1"));
    assert_eq!(show(&walk.step(&setting("X-Qlik-Session=s2", body("text/html")))), "later 500");
    assert!(!walk.has_session());
    assert_eq!(ids(&walk.take_endings().discarded), ["s2"]);
    // The walk's own session, over when the next attempt uses it.
    let mut walk = self::walk();
    walk.begin(ticket("T1"));
    walk.step(&setting("X-Qlik-Session=s3", status(404)));
    walk.begin(Auth::Kept);
    assert_eq!(show(&walk.step(&status(401))), "ticket");
    let endings = walk.take_endings();
    assert!(endings.rejected.is_empty());
    assert_eq!(ids(&endings.discarded), ["s3"]);
}

#[test]
fn sessions_that_change_on_the_way() {
    // A node gives the walk another session: the first one is to be ended.
    let mut walk = walk();
    walk.begin(ticket("T1"));
    walk.step(&setting("X-Qlik-Session=s1", to("https://node1.test/")));
    walk.step(&setting("X-Qlik-Session=s2", body("image/png")));
    assert_eq!(ids(&walk.take_endings().discarded), ["s1"]);
    assert_eq!(walk.opened_session(), Some(&cookies(&["X-Qlik-Session=s2"])));
    // A cached one is set again as it is: nothing was opened.
    let mut walk = self::walk();
    walk.begin(cached());
    walk.step(&setting("X-Qlik-Session=old", body("image/png")));
    assert!(walk.opened_session().is_none());
    // A cached one is replaced: the table ends it when it takes the new one in.
    let mut walk = self::walk();
    walk.begin(cached());
    walk.step(&setting("X-Qlik-Session=new", body("image/png")));
    assert_eq!(walk.take_endings(), Endings::default());
    assert_eq!(walk.opened_session(), Some(&cookies(&["X-Qlik-Session=new"])));
    // A cached one is taken away.
    let mut walk = self::walk();
    walk.begin(cached());
    assert_eq!(
        show(&walk.step(&setting("X-Qlik-Session=; Max-Age=0", to("/x")))),
        "follow https://qlik.test/x"
    );
    assert!(walk.opened_session().is_none());
}

#[test]
fn failures_without_an_answer() {
    let check = |reason: Reason, expect: &str| {
        let mut walk = walk();
        walk.begin(Auth::Nothing);
        assert_eq!(show(&walk.fail(reason, None)), expect);
    };
    check(Reason::Timeout, "later 500");
    check(Reason::Transport, "later 500");
    check(Reason::Tls, "later 500");
    check(Reason::NotAnImage, "later 500");
    check(Reason::TooLarge, "refuse too-large");
    check(Reason::WriteFailed, "refuse write-failed");
    let mut walk = walk();
    let steps: Vec<_> = (0..3).map(|_| show(&walk.fail_before_begin(Reason::TicketFailed))).collect();
    assert_eq!(steps, ["later 500", "later 1000", "refuse ticket-failed"]);
}

#[derive(Debug, Clone)]
struct Reply {
    status: u16,
    location: String,
    content_type: usize,
    cookie: Option<u8>,
}

fn reply() -> impl Strategy<Value = Reply> {
    let status = prop_oneof![
        4 => Just(302u16),
        2 => Just(200),
        2 => proptest::sample::select(vec![204, 307, 401, 403, 404, 410, 503]),
        1 => 100u16..600,
    ];
    let location =
        "(https?:|ftp:)?[/\\\\]{0,3}(qlik\\.test|proxy\\.test|evil\\.test|[@:.%#?\\\\/a-z0-9]){0,6}";
    (status, location, 0usize..4, proptest::option::of(0u8..4))
        .prop_map(|(status, location, content_type, cookie)| Reply { status, location, content_type, cookie })
}

proptest! {
    /// Whatever is answered: only listed hosts are asked, a ticket goes once and to the event's own URL, an attempt
    /// has at most six requests, a walk three attempts, and every session that was opened is accounted for once.
    #[test]
    fn any_answers(replies in proptest::collection::vec(reply(), 1..40), first_cached in any::<bool>()) {
        let mut walk = walk();
        let mut tickets = 0;
        let mut auth_of = |walk: &Walk, fresh: bool| {
            if walk.has_session() && !fresh { return Auth::Kept }
            tickets += 1;
            ticket(&format!("TICKET{tickets}"))
        };
        let auth = if first_cached { cached() } else { auth_of(&walk, true) };
        let mut request = walk.begin(auth);
        let mut requests = 1;
        let mut seen_tickets = std::collections::HashSet::new();
        let mut opened = Vec::new();
        let mut ended = Vec::new();
        for reply in &replies {
            prop_assert!(matches!(request.url.host_str(), Some("qlik.test" | "proxy.test" | "node1.test")));
            prop_assert_eq!(request.url.scheme(), "https");
            prop_assert!(requests <= 6 && walk.attempts() <= 3);
            if let Some((_, ticket)) = request.url.query_pairs().find(|(name, _)| name == "qlikTicket")
                && ticket.starts_with("TICKET")
            {
                prop_assert!(requests == 1 && seen_tickets.insert(ticket.into_owned()));
            }
            let cookie = reply.cookie.map(|n| format!("X-Qlik-Session=s{n}"));
            let held: Vec<String> = walk.session.iter().map(|c| c.expose_id().to_owned()).collect();
            if let Some(n) = reply.cookie {
                let id = format!("s{n}");
                if !held.contains(&id) { opened.push(id) }
            }
            let step = walk.step(&Answer {
                status: reply.status,
                location: Some(reply.location.as_bytes()),
                set_cookies: cookie.iter().map(|c| c.as_bytes()).collect(),
                content_type: [None, Some("image/png"), Some("text/html"), Some("x/y")][reply.content_type],
                ..Answer::default()
            });
            ended.extend(walk.take_endings().discarded.iter().map(|c| c.expose_id().to_owned()));
            match step {
                Step::Follow(next) => {
                    request = next;
                    requests += 1;
                }
                Step::RetryWithTicket => {
                    request = walk.begin(auth_of(&walk, true));
                    requests = 1;
                }
                Step::RetryLater { .. } => {
                    request = walk.begin(auth_of(&walk, false));
                    requests = 1;
                }
                Step::Image(_) | Step::Refuse(_) => break,
            }
        }
        ended.extend(walk.opened_session().into_iter().flat_map(SessionCookies::iter).map(|c| c.expose_id().to_owned()));
        opened.sort();
        ended.sort();
        prop_assert_eq!(opened, ended);
    }
}
