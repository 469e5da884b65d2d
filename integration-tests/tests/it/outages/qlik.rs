//! Qlik Sense's services and the monitoring tool, away: nothing waits for them, and what is wrong is told.

use butler_sos_integration_tests::numbered::NumberedSender;
use butler_sos_integration_tests::sandbox::wait_for;
use butler_sos_integration_tests::tcp_proxy::Mode;
use serde_json::json;

use crate::everything::Everything;

/// A fault and the class that each of those who meet it counts.
struct Fault(Mode, [(&'static str, &'static str); 3]);

const FAULTS: [Fault; 4] = [
    Fault(
        Mode::Refuse,
        [("heartbeat", "connect"), ("app_directory", "connect"), ("ticket_actor", "connect")],
    ),
    // A stranger who speaks HTTP where TLS is expected, and says that he is busy.
    Fault(
        Mode::Answer { status: 503, retry_after: None },
        [("heartbeat", "http-503"), ("app_directory", "tls"), ("ticket_actor", "tls")],
    ),
    Fault(
        Mode::CutAnswers { after_bytes: 10 },
        [("heartbeat", "connection"), ("app_directory", "tls"), ("ticket_actor", "tls")],
    ),
    Fault(Mode::Hang, [("heartbeat", "timeout"), ("app_directory", "timeout"), ("ticket_actor", "timeout")]),
];

#[test]
fn nobody_waits_for_qlik_sense_or_the_monitoring_tool() {
    // Each download logs in anew.
    let harness = Everything::start(json!({
        "Butler-SOS": { "auditEvents": { "destination": { "screenshots":
            { "auth": { "sessionCache": { "enable": false } } } } } },
    }));
    let mut sender = NumberedSender::new(&harness.sandbox, 0);
    let mut poster = harness.poster(1);
    let mut posted = std::collections::BTreeSet::new();
    let proxies = ["qps", "qrs", "images", "monitoring"].map(|name| &harness.proxies[name]);
    let met = |actor, class| {
        let labels = [("actor", actor), ("reason", class)];
        harness.sandbox.metrics().sum("butler_sos_messages_rejected_total", &labels)
    };
    for Fault(mode, expect) in FAULTS {
        let before = expect.map(|(actor, class)| met(actor, class));
        proxies.iter().for_each(|proxy| proxy.set(mode));
        sender.send(50);
        posted.extend((0..12).map(|_| poster.post()));
        for ((actor, class), before) in expect.into_iter().zip(before) {
            wait_for(&format!("{actor} to count {class} at {mode:?}"), || {
                (met(actor, class) > before).then_some(())
            });
        }
        // Screenshots that could not be had are told of with the reason; nothing else waited.
        harness.settle_within(butler_sos_integration_tests::sandbox::PATIENCE, sender.next());
        proxies.iter().for_each(|proxy| proxy.resume());
        wait_for("the monitoring tool to be reached again", || {
            // It has no such page, which is an answer.
            let before = met("heartbeat", "http-404");
            wait_for("a heartbeat", || (met("heartbeat", "http-404") > before).then_some(()));
            Some(())
        });
    }
    posted.extend((0..24).map(|_| poster.post()));
    harness.settle_within(butler_sos_integration_tests::sandbox::PATIENCE, sender.next());
    harness.assert_user_events(sender.next(), 0);
    assert!(harness.assert_audit_events(&posted) > 0, "images come again");
    let log = harness.sandbox.log_text();
    for detail in [
        "cannot get a ticket from the Qlik Sense proxy service",
        "cannot update the app names",
        "cannot send a heartbeat",
    ] {
        assert!(log.contains(detail), "{detail}");
    }
}
