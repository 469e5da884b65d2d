//! Names that do not resolve any more, and then do again: with the system's own resolver and a name server that has
//! forgotten them, fails, or says nothing.

use std::net::Ipv4Addr;

use butler_sos_integration_tests::name_server::{Manner, NameServer};
use butler_sos_integration_tests::sandbox::wait_for;
use serde_json::json;

use super::harness::{BROKER, Harness, INFLUX, NEW_RELIC, Plan};

const HOST: &str = "far-side.test";

#[test]
fn names_are_gone_and_come_back() {
    let Some(names) = NameServer::start(&[(HOST, Ipv4Addr::LOCALHOST)]) else {
        println!("not tried: only root may have a name server on port 53 and mount it");
        return;
    };
    let heartbeat = json!({
        "enable": true, "remoteURL": format!("http://{HOST}:1/alive"), "frequency": "every 1 second",
    });
    let mut harness = Harness::start(Plan {
        host: HOST,
        wrapper: names.wrapper(),
        more: json!({ "Butler-SOS": { "heartbeat": heartbeat } }),
        ..Plan::default()
    });
    harness.send(100);
    harness.assert_recovered();
    let all = [INFLUX, BROKER, NEW_RELIC];
    for manner in [Manner::Forgetful, Manner::Fails, Manner::Silent] {
        names.set(manner);
        harness.cut_all();
        harness.send(100);
        harness.assert_others_go_on(&all);
        for name in all {
            harness.assert_away(name, "dns", &["far-side.test", "resolved"]);
        }
        names.set(Manner::Answers);
        harness.assert_recovered();
    }
    let beats = |class| {
        harness.metric("butler_sos_messages_rejected_total", &[("actor", "heartbeat"), ("reason", class)])
    };
    wait_for("the heartbeat to have met both", || {
        (beats("dns") > 0.0 && beats("connect") > 0.0).then_some(())
    });
}
