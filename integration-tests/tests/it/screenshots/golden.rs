//! Every recorded scenario: the same requests, the same files, save for the differences in the table.

use std::path::Path;

use butler_sos_integration_tests::fake_qlik::{FakeQlik, Recorded, Unauthorized};
use futures_util::future::join_all;
use serde::Deserialize;

use super::harness::{Harness, Settings};
use super::server_harness::event;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Scenario {
    mode: String,
    name: String,
    screenshot_url: String,
    user: String,
    files: Vec<String>,
    requests: Vec<Recorded>,
}

/// Where the contract differs from what was recorded, and why.
struct Difference {
    scenario: &'static str,
    why: &'static str,
    /// The requests that the contract makes of it, in short: see [`short`].
    requests: &'static [&'static str],
    /// Whether a file is written.
    has_file: bool,
}

const PNG: &str = "https GET qlik.test:14443/tempcontent/a.png";

const TICKET: &str = "qps POST /qps/ticket goran";

/// Everywhere besides: the client certificate is shown to QPS only.
const DIFFERENCES: &[Difference] = &[
    Difference {
        scenario: "expired_302login",
        why: "a redirect to the login page after a cache hit gets a new ticket (The walk, 8)",
        requests: &[
            "~?b=direct X-Qlik-Session-Default",
            "qps DELETE /qps/session/SID",
            TICKET,
            "~?b=direct&qlikTicket=T",
        ],
        has_file: true,
    },
    Difference {
        scenario: "fakepng",
        why: "what is not an image is not written; it is tried three times (The walk, 9; The file)",
        requests: &["~?b=fakepng X-Qlik-Session-Default"; 3],
        has_file: false,
    },
    Difference {
        scenario: "svg",
        why: "as fakepng: SVG is none of the four kinds",
        requests: &["~?b=svg X-Qlik-Session-Default"; 3],
        has_file: false,
    },
    Difference {
        scenario: "big60",
        why: "too large is not among what is tried again: anything else ends it (The walk, 9)",
        requests: &["~?b=big&mb=60 X-Qlik-Session-Default"],
        has_file: false,
    },
    Difference {
        scenario: "bignolen60",
        why: "as big60",
        requests: &["~?b=bignolen&mb=60 X-Qlik-Session-Default"],
        has_file: false,
    },
    Difference {
        scenario: "gzbomb",
        why: "the recording's last request ends a session whose age ran out meanwhile",
        requests: &["~?b=gzbomb X-Qlik-Session-Default"; 3],
        has_file: false,
    },
    Difference {
        scenario: "bare_direct2",
        why: "a cookie name without a dash is a session too (Session cookie), so it is cached",
        requests: &["~?b=direct X-Qlik-Session"],
        has_file: true,
    },
    Difference {
        scenario: "bare_redirect",
        why: "a cookie name without a dash is a session too, so it is cached, and carried to the next hop",
        requests: &["~?b=redirect X-Qlik-Session", "~?b=redirect&hop=1 X-Qlik-Session"],
        has_file: true,
    },
];

/// What the recording's state was, as far as the scenario's own lines do not tell.
fn was_forgotten(scenario: &Scenario) -> bool {
    // A session was sent, and ended right after.
    scenario.requests.get(1).is_some_and(|second| second.method == "DELETE")
        || scenario.name == "expired_302login"
}

fn unauthorized(name: &str) -> Unauthorized {
    match name {
        "expired_403" => Unauthorized::Status403,
        "expired_302login" => Unauthorized::LoginRedirect,
        _ => Unauthorized::Status401,
    }
}

/// One request in one line; `~` stands for the usual image.
fn short(request: &Recorded) -> String {
    let mut line = match request.server.as_str() {
        "qps" => format!("qps {} {}", request.method, request.path.split('?').next().unwrap()),
        server => format!("{server} {} {}{}", request.method, request.host, request.path),
    };
    if let Some(rest) = line.strip_prefix(PNG) {
        line = format!("~{rest}");
    }
    if let Some(cookie) = &request.cookie {
        line = format!("{line} {}", cookie.replace("=SID", ""));
    }
    if let Some(body) = &request.body {
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        line = format!("{line} {}", body["UserId"].as_str().unwrap());
    }
    line
}

#[actix_rt::test]
async fn requests_and_files_are_those_recorded() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/golden/screenshots.jsonl");
    let text = std::fs::read_to_string(path).unwrap();
    let scenarios: Vec<Scenario> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let unused: Vec<_> = DIFFERENCES
        .iter()
        .filter(|difference| !scenarios.iter().any(|scenario| scenario.name == difference.scenario))
        .map(|difference| difference.scenario)
        .collect();
    assert!(unused.is_empty(), "differences without a scenario: {unused:?}");
    let failed: Vec<String> =
        join_all(scenarios.iter().enumerate().map(|(number, scenario)| check(number as u32 + 1, scenario)))
            .await
            .into_iter()
            .filter_map(Result::err)
            .collect();
    assert!(failed.is_empty(), "{} of {} scenarios:\n{}", failed.len(), scenarios.len(), failed.join("\n"));
}

async fn check(number: u32, scenario: &Scenario) -> Result<(), String> {
    let dir = tempfile::tempdir().unwrap();
    let fake = FakeQlik::start(&dir.path().join("certificates")).unwrap();
    let mode = if scenario.mode == "qpsTicket" { "qpsTicket" } else { "userTicket" };
    let mut harness = Harness::start(dir.path(), &fake, &Settings { mode, ..Settings::default() });
    let difference = DIFFERENCES.iter().find(|difference| difference.scenario == scenario.name);

    // The recording went on from the scenarios before; here each begins with what it shows of them.
    let begins_with_session = match difference {
        Some(difference) => difference.requests[0].contains("X-Qlik-Session"),
        None => scenario.requests.first().is_some_and(|first| first.cookie.is_some()),
    };
    if begins_with_session {
        let warm = fake.with_own_ports("https://qlik.test:14443/tempcontent/warm.png");
        let warmed = harness.fetch(event(999, &scenario.user, &warm)).await;
        assert_eq!(warmed.error, None, "{}", scenario.name);
        std::fs::remove_file(&warmed.files[0]).unwrap();
    }
    if was_forgotten(scenario) {
        fake.forget_sessions();
        fake.answer_unauthorized_with(unauthorized(&scenario.name));
    }
    fake.take_requests();

    // The one URL that was a template gets the path that was asked for.
    let url = match scenario.screenshot_url.contains("%d") {
        true => format!("https://{}{}", scenario.requests[0].host, scenario.requests[0].path),
        false => scenario.screenshot_url.clone(),
    };
    let event_number = scenario.files.first().map_or(number, |name| event_number(name));
    let finished = harness.fetch(event(event_number, &scenario.user, &fake.with_own_ports(&url))).await;

    let seen: Vec<Recorded> = fake.take_requests().iter().map(|r| fake.with_golden_ports(r)).collect();
    let certificates: Vec<_> =
        seen.iter().filter(|r| r.client_certificate != (r.server == "qps")).map(short).collect();
    let seen: Vec<String> = seen.iter().map(short).collect();
    let (expected, has_file): (Vec<String>, bool) = match difference {
        Some(difference) => {
            (difference.requests.iter().map(|r| (*r).to_owned()).collect(), difference.has_file)
        }
        None => (scenario.requests.iter().map(short).collect(), !scenario.files.is_empty()),
    };
    let expected_files = match (has_file, scenario.files.is_empty()) {
        (true, false) => scenario.files.clone(),
        (true, true) => {
            vec![format!("20261120T101112.345Z_00000000-0000-4000-8000-{number:012}_1777868693436.png")]
        }
        (false, _) => Vec::new(),
    };
    let why = difference.map_or("", |difference| difference.why);
    let context =
        format!("{} {} {why}\n{}", scenario.mode, scenario.name, finished.error.as_deref().unwrap_or("-"));
    if seen != expected {
        return Err(format!("{context}\n  seen {seen:#?}\n  expected {expected:#?}"));
    }
    if harness.files() != expected_files {
        return Err(format!("{context}\n  files {:?}\n  expected {expected_files:?}", harness.files()));
    }
    if !certificates.is_empty() {
        return Err(format!("{context}\n  client certificate: {certificates:?}"));
    }
    if finished.error.is_none() != has_file || finished.files.iter().any(|file| !Path::new(file).is_file()) {
        return Err(format!("{context}\n  finished {finished:?}"));
    }
    harness.end_sessions().await;
    let shown = harness.shown();
    match fake.secrets().iter().find(|secret| shown.contains(secret.as_str())) {
        Some(_) => Err(format!("{context}\n  a secret was logged")),
        None => Ok(()),
    }
}

/// The number at the end of the event id in a file's name.
fn event_number(file_name: &str) -> u32 {
    let id = file_name.split('_').nth(1).unwrap();
    id.rsplit('-').next().unwrap().parse().unwrap()
}
