//! A page of another origin in the browser of an administrator: headless Chromium.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;

use butler_sos_integration_tests::browser::{Look, Page};
use butler_sos_integration_tests::raw_http::RawHttp;
use butler_sos_integration_tests::sandbox::Sandbox;
use butler_sos_integration_tests::settings::{Settings, csv};
use serde_json::{Value, json};

/// A server with places for so many listeners that one browser's connections would take them all.
fn server() -> Sandbox {
    let operations = json!({ "Pipeline": { "operations": { "liveListenersMax": 3 } } });
    Sandbox::start_new(&Settings::user_events().and(csv()).and(operations).text())
}

/// Serves one page under any name; where it listens.
fn foreign_page(page: String) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    thread::spawn(move || {
        for mut tcp in listener.incoming().map_while(Result::ok) {
            let _ = tcp.read(&mut [0; 8192]);
            let length = page.len();
            let _ = write!(
                tcp,
                "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{page}"
            );
        }
    });
    port
}

/// Whether somebody at this machine gets a place at the stream of states.
fn gets_a_place(sandbox: &Sandbox) -> bool {
    sandbox.operations().follow("/api/live").expect("an answer").0 == 200
}

/// Both what a page of another site may try and one of another port of the same name.
#[test]
fn a_foreign_page_takes_no_places_and_a_link_opens_the_dashboard() {
    let sandbox = server();
    let address = sandbox.address("operations");
    let to = format!("http://{address}");
    let port = foreign_page(format!(
        "<!doctype html><title>elsewhere</title><iframe name=frame></iframe>
         <form method=post target=frame action='{to}/api/replay'></form><a href='{to}/'>dashboard</a>"
    ));
    for host in ["127.0.0.1", "localhost"] {
        let mut page = Page::open(&format!("http://{host}:{port}/"), Look::default());
        page.eval(&format!(
            "window.ends = []; window.sources = [];
             for (const path of ['live', 'tail']) for (let n = 0; n < 20; n++) {{
               const source = new EventSource('{to}/api/' + path);
               source.onopen = () => ends.push('open');
               source.onerror = () => ends.push('refused');
               sources.push(source);
             }}
             true"
        ));
        page.until("ends.length >= 40");
        assert_eq!(page.eval("ends.every((end) => end === 'refused')"), json!(true), "{host}");
        // Without CORS the page could not see the answer, and the stream would be open all the same.
        page.eval(&format!(
            "window.fetched = 0;
             for (let n = 0; n < 40; n++) {{
               fetch('{to}/api/live', {{ mode: 'no-cors', referrerPolicy: 'no-referrer' }})
                 .then((response) => fetched++, () => fetched++);
             }}
             true"
        ));
        page.until("fetched === 40");
        let embedded = |page: &mut Page, tag: &str, attribute: &str, path: &str| -> Value {
            page.eval(&format!(
                "new Promise((resolve) => {{
                   const of = document.createElement('{tag}');
                   of.onload = () => resolve('loaded'); of.onerror = () => resolve('refused');
                   of.{attribute} = '{to}{path}'; document.body.append(of);
                 }})"
            ))
        };
        assert_eq!(embedded(&mut page, "img", "src", "/icon.svg"), "refused", "{host}");
        assert_eq!(embedded(&mut page, "script", "src", "/app.js"), "refused", "{host}");
        page.eval("document.forms[0].submit()");
        assert!(gets_a_place(&sandbox), "{host}");
        page.click("a");
        page.until("document.querySelector('[data-node=journal]') !== null");
        assert_eq!(page.text("location.origin"), to);
    }
}

/// What nginx sends as it is installed: no header of its own, but HTTP/1.0. What others add names a proxy.
#[test]
fn behind_a_proxy_a_dashboard_without_a_token_is_closed() {
    let sandbox = server();
    let address = sandbox.address("operations");
    let ask = |path: &str, version: &str, headers: &str| -> u16 {
        let request =
            format!("GET {path} HTTP/{version}\r\nHost: {address}\r\nConnection: close\r\n{headers}\r\n");
        let heard = RawHttp::ask(address, request);
        // An answer to HTTP/1.0 says so.
        let status = heard.text.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.unwrap_or_else(|| panic!("no answer: {}", heard.text));
        assert!(
            heard.text.to_lowercase().contains("cross-origin-resource-policy: same-origin"),
            "{}",
            heard.text
        );
        assert!(status != 403 || heard.text.contains("Pipeline.operations.token"), "{}", heard.text);
        status
    };
    for path in ["/", "/app.js", "/ready", "/configuration", "/api/state", "/api/events"] {
        assert_eq!(ask(path, "1.1", ""), 200, "{path}");
        assert_eq!(ask(path, "1.0", ""), 403, "{path}");
        for header in [
            "Forwarded: for=192.0.2.1",
            "Via: 1.1 proxy",
            "X-Forwarded-For: 192.0.2.1",
            "x-forwarded-proto: https",
            "X-Real-IP: 192.0.2.1",
        ] {
            assert_eq!(ask(path, "1.1", &format!("{header}\r\n")), 403, "{path} {header}");
        }
    }
    for path in ["/metrics", "/health"] {
        assert_eq!(ask(path, "1.0", "X-Forwarded-For: 192.0.2.1\r\nVia: 1.1 proxy\r\n"), 200, "{path}");
    }
    assert_eq!(ask("/nothing", "1.1", ""), 404);
}
