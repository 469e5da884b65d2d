//! Who cannot see colours, uses no mouse or has the page read out can use the dashboard: axe-core looks at every page in
//! every state that matters, and every control is reached by Tab and shows it.

use butler_sos_domain::sample::{Layout, datagram};
use butler_sos_integration_tests::browser::{Look, Page};
use butler_sos_integration_tests::influxd::Influxd;
use butler_sos_integration_tests::sandbox::{Sandbox, free_port};

use crate::operations_api::{config, send};

const LOOKS: [Look; 3] = [
    Look { width: 1440, height: 900, scheme: "light" },
    Look { width: 760, height: 900, scheme: "dark" },
    Look { width: 360, height: 900, scheme: "light" },
];

const NONE: [String; 0] = [];

fn assert_open_to_all(page: &mut Page, what: &str, look: Look) {
    assert_eq!(page.barriers(), NONE, "{what}, {look:?}");
    // Colours move nothing.
    if look.scheme == "light" {
        assert_eq!(page.unreachable(), NONE, "{what}, {look:?}");
    }
}

fn url(sandbox: &Sandbox, service: &str) -> String {
    format!("http://{}/", sandbox.address(service))
}

#[test]
fn every_list_in_light_dark_and_narrow() {
    let influxd = Influxd::start_new();
    let own = "Butler-SOS:\n  configVisualisation: {enable: true, host: 127.0.0.1, port: 0}\n";
    let sandbox = Sandbox::start_new(&config(influxd.port(), "").replace("Butler-SOS:\n", own));
    send(&sandbox, 0..30);
    sandbox.udp().send(b"this is no event").expect("a datagram is sent");
    sandbox.settle_after(31);
    // From now on a field has another type: what comes next is refused.
    influxd.query("sos", "DROP MEASUREMENT \"user_events\"");
    assert_eq!(influxd.write("sos", "user_events,host=x userId=1").0, 204);
    send(&sandbox, 30..33);
    sandbox.settle_after(34);
    for look in LOOKS {
        let mut page = Page::open(&url(&sandbox, "operations"), look);
        for (list, filled) in [
            ("events", "document.querySelectorAll('#events tbody tr').length === 25"),
            ("screenshots", "document.querySelector('#screenshots-note').textContent !== ''"),
            ("rejected", "document.querySelectorAll('#rejected tbody tr').length === 1"),
            ("letters", "document.querySelectorAll('#letters tbody tr').length === 3"),
            ("actors", "document.querySelectorAll('#actors tbody tr').length > 3"),
            ("settings", "document.querySelectorAll('#settings tbody tr').length > 3"),
        ] {
            page.click(&format!("#tab-{list}"));
            page.until(filled);
            page.eval(&format!(
                "[...document.querySelectorAll('#{list} button.opener')].slice(0, 3).forEach((of) => of.click())"
            ));
            assert_open_to_all(&mut page, list, look);
        }
        page.click("#tab-letters");
        page.click("#letters tbody button.danger");
        page.until("document.querySelector('#sure').open");
        assert_open_to_all(&mut page, "question", look);

        let mut page = Page::open(&url(&sandbox, "configuration"), look);
        page.until("document.querySelectorAll('#settings tbody tr').length > 3");
        assert_open_to_all(&mut page, "configuration", look);
    }
}

#[test]
fn trouble_and_the_token() {
    // Nobody listens there: the events wait, and the page says so in red.
    let mut sandbox = Sandbox::new(&config(free_port(), ", token: 'open sesame'"));
    sandbox.start_closed();
    sandbox.udp().send(datagram(0, Layout::Eight).as_bytes()).expect("a datagram is sent");
    for look in LOOKS {
        let mut page = Page::open(&url(&sandbox, "operations"), look);
        page.until("document.querySelector('#token').open");
        assert_open_to_all(&mut page, "token", look);
        page.fill("#token input[name=token]", "open sesame");
        page.press("Enter");
        page.until("document.querySelector('[data-node=influx_sink]')?.dataset.state === 'bad'");
        page.until("document.querySelector('#headline').dataset.state === 'bad'");
        assert_open_to_all(&mut page, "trouble", look);
    }
}
