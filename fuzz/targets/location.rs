//! Whatever a redirect says, only listed hosts are asked, and the ticket stays where it was redeemed.

use std::sync::Arc;

use butler_sos_domain::allowed_hosts::AllowedHosts;
use butler_sos_domain::redirect::{Answer, Auth, Step, Walk, WalkRules};
use butler_sos_domain::ticket_url::{url_for_log, with_ticket};
use url::{Host, Url};

const TICKET: &str = "S3kr1tT1ck3tV4lu3";
const HOSTS: [&str; 2] = ["qlik.test", "other.test"];

/// `bytes` are values of `Location`, one a line, that the hosts answer one after the other.
pub fn run(bytes: &[u8]) {
    let hosts = AllowedHosts::new(HOSTS).expect("host names");
    let mut walk = Walk::new(
        "https://qlik.test/sense/tempcontent/a.png?x=1",
        Arc::new(WalkRules::for_hosts(hosts.clone())),
    )
    .expect("an allowed URL");
    let first = walk.begin(Auth::Ticket(TICKET.to_owned().into()));
    assert!(first.url.as_str().contains(TICKET) && !first.url_for_log().contains(TICKET));
    for location in bytes.split(|byte| *byte == b'\n').take(8) {
        let answer = Answer { status: 302, location: Some(location), ..Answer::default() };
        let Step::Follow(next) = walk.step(&answer) else { break };
        let Some(Host::Domain(host)) = next.url.host() else { panic!("{} has no name", next.url) };
        let host = host.strip_suffix('.').unwrap_or(host);
        assert!(HOSTS.contains(&host), "{host} is not in the list");
        assert!(hosts.allows(&next.url));
        assert_eq!(next.url.scheme(), "https");
        assert!(!has_ticket(&next.url), "the ticket goes on to {}", next.url);
        assert!(Url::parse(&next.url_for_log()).is_ok_and(|shown| !has_ticket(&shown)));
        assert!(walk.hops() <= 5);
    }
    // The same as a URL of an event, and in a log.
    if let Ok(text) = std::str::from_utf8(bytes) {
        if let Ok(walk) = Walk::new(text, Arc::new(WalkRules::for_hosts(hosts.clone()))) {
            assert!(hosts.allows(walk.original()));
        }
        // A text that shows it anyway hides nothing.
        if let Ok(url) = Url::parse(text)
            && !text.contains(TICKET)
        {
            let reported = url_for_log(&with_ticket(&url, TICKET));
            assert!(!reported.contains(TICKET), "{reported}");
        }
    }
}

fn has_ticket(url: &Url) -> bool {
    url.query_pairs().any(|(name, value)| name.eq_ignore_ascii_case("qlikTicket") && value == TICKET)
}
