//! The InfluxDB destination against stand-ins for versions 1, 2 and 3.

use butler_sos_actors::sinks::influx::client::InfluxTarget;
use butler_sos_domain::streams::Stream;
use butler_sos_integration_tests::fake_influx::{FakeInflux, FakeVersion, Fault};
use serde_json::json;

use crate::influx_harness::{Plain, config, start, v1, v2, v3};
use crate::sink_harness::Harness;

fn versions() -> [(FakeVersion, &'static str, InfluxTarget); 4] {
    [
        (FakeVersion::V1, "user:t0ken", v1(Some(("user", "t0ken")))),
        (FakeVersion::V2, "t0ken", v2()),
        (FakeVersion::V3, "t0ken", v3()),
        (FakeVersion::V3WithoutWriteLp, "t0ken", v3()),
    ]
}

fn harness(fake: &FakeInflux, target: InfluxTarget) -> Harness {
    start(config(fake.port(), target), Stream::UserEvents, || Plain)
}

fn lines(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("m,t=a\\ b f=\"text of some length\",n={n}i {}", 1_000 + n)).collect()
}

#[actix_rt::test]
async fn every_version_gets_every_line_once() {
    for (version, token, target) in versions() {
        let fake = FakeInflux::start_with_token(version, token);
        let harness = harness(&fake, target);
        harness.append(lines(2_500)).await;
        harness.settle().await;
        assert_eq!(fake.points().len(), 2_500, "{version:?}");
        let taken: Vec<_> = fake.writes().into_iter().filter(|write| write.status == Some(204)).collect();
        assert_eq!(taken.iter().map(|write| write.lines.len()).collect::<Vec<_>>(), [1_000, 1_000, 500]);
        assert!(taken.iter().all(|write| write.is_gzip), "{version:?}");
        assert!(harness.dead_letters().is_empty());
        assert_eq!(fake.databases().len(), 1, "{version:?} made its database");
    }
}

#[actix_rt::test]
async fn a_refused_line_costs_itself_alone_and_accepted_lines_are_not_repeated() {
    for (version, token, target) in versions() {
        let fake = FakeInflux::start_with_token(version, token);
        let harness = harness(&fake, target);
        harness.append(["m n=0i 1"]).await;
        harness.settle().await;
        let mut poisoned = lines(400);
        poisoned[123] = "m,t=a n=\"a text\" 5".to_owned();
        poisoned[299] = "m,t=a n=\"another\" 6".to_owned();
        harness.append(&poisoned).await;
        harness.settle().await;
        let letters = harness.dead_letters();
        assert_eq!(letters.iter().map(|letter| letter.offset).collect::<Vec<_>>(), [124, 300], "{version:?}");
        assert!(letters[0].reason.contains("type"), "{version:?}: {}", letters[0].reason);
        assert_eq!(fake.points().len(), 1 + 398, "{version:?}");
        let writes = fake.writes().into_iter().filter(|write| write.status != Some(404)).count();
        assert_eq!(writes, 2, "{version:?}: the answer tells which, so nothing is sent again");

        harness.append(["m n=1i 7", "not a line", "m n=2i 8", "m,t n=3i 9", "m n=4i 10"]).await;
        harness.settle().await;
        let letters = harness.dead_letters();
        assert_eq!(letters[2..].iter().map(|letter| letter.offset).collect::<Vec<_>>(), [402, 404]);
        assert_eq!(fake.points().len(), 399 + 3, "{version:?}");
    }
}

#[actix_rt::test]
async fn outages_of_every_kind_lose_nothing() {
    let faults = [
        Fault::Status(500),
        Fault::Cut,
        Fault::Busy(429, 0),
        Fault::CutAfterStoring,
        Fault::Status(401),
        Fault::Busy(503, 0),
        Fault::Status(404),
        Fault::Hang,
    ];
    for (version, token, target) in versions() {
        let fake = FakeInflux::start_with_token(version, token);
        let harness = harness(&fake, target);
        fake.next_writes(faults);
        harness.append(lines(10)).await;
        harness.settle().await;
        assert_eq!(fake.points().len(), 10, "{version:?}");
        assert!(harness.dead_letters().is_empty());
        assert!(harness.state().up, "{version:?}");
    }
}

#[actix_rt::test]
async fn a_wrong_token_is_told_and_nothing_is_lost() {
    let fake = FakeInflux::start_with_token(FakeVersion::V2, "another");
    let harness = harness(&fake, v2());
    harness.append(lines(3)).await;
    harness.wait_for_error("401").await;
    let state = harness.state();
    assert!(!state.up && !state.last_error.unwrap().contains("t0ken"));
    assert!(harness.dead_letters().is_empty());
}

#[actix_rt::test]
async fn what_is_made_is_made_as_configured() {
    let made = |version, target| {
        let fake = FakeInflux::start(version);
        (harness(&fake, target), fake)
    };
    let (harness, fake) = made(FakeVersion::V2, v2());
    harness.append(lines(1)).await;
    harness.settle().await;
    let bucket = &fake.databases()["events"];
    assert_eq!(bucket["retentionRules"], json!([{ "type": "expire", "everySeconds": 864_000 }]));
    let (harness, fake) = made(FakeVersion::V3, v3());
    harness.append(lines(1)).await;
    harness.settle().await;
    assert_eq!(fake.databases()["events"], json!({ "db": "events", "retention_period": "10d" }));
}

#[actix_rt::test]
async fn a_database_that_is_dropped_is_made_again() {
    let fake = FakeInflux::start(FakeVersion::V1);
    let harness = harness(&fake, v1(None));
    harness.append(lines(1)).await;
    harness.settle().await;
    fake.drop_databases();
    harness.append(["m f=1 99"]).await;
    harness.settle().await;
    assert_eq!(fake.points(), ["m f=1 99"]);
}

#[actix_rt::test]
async fn a_user_who_may_only_write_is_enough() {
    let fake = FakeInflux::start_with_token(FakeVersion::V3, "t0ken");
    fake.let_administer(false);
    let harness = harness(&fake, v3());
    harness.append(lines(5)).await;
    harness.settle().await;
    assert_eq!(fake.points().len(), 5);
}
