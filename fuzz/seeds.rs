//! Inputs to begin with: what was recorded of the real thing, and what was once found.

use std::path::Path;

use serde_json::Value;

macro_rules! golden {
    ($name:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../integration-tests/golden/", $name, ".jsonl"))
    };
}

macro_rules! conf {
    ($name:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../conf/", $name, ".yaml"))
    };
}

macro_rules! configuration {
    ($name:literal) => {
        include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../integration-tests/configurations/",
            $name,
            ".yaml"
        ))
    };
}

/// The seeds of a target: recorded ones first, then the files of `fuzz/found/<target>`.
pub fn of(target: &str) -> Vec<Vec<u8>> {
    let mut seeds = match target {
        "datagram" => datagrams(),
        "envelope" => texts(golden!("audit-events"), "/body")
            .chain(texts(golden!("audit-api"), "/request/body"))
            .collect(),
        "depth" => depths(),
        "encode" => encode(),
        "location" => locations(),
        "set_cookie" => lines(SET_COOKIES),
        "configuration" => [
            conf!("default"),
            conf!("full"),
            conf!("examples/influxdb-mqtt"),
            conf!("examples/production-butler-sos-15"),
            conf!("examples/screenshots"),
            configuration!("butler-sos-12.0.0"),
            configuration!("butler-sos-15.0.1"),
            MISTAKES,
        ]
        .map(|text| text.as_bytes().to_vec())
        .to_vec(),
        "record" => records(),
        "journal" => (0..8_u8).map(|n| vec![n, 3, 40, n, 200, 1, 0, 17, n, 5, 9, 0xff]).collect(),
        "influx_answer" => lines(INFLUX_ANSWERS),
        _ => Vec::new(),
    };
    seeds.extend(found(target));
    seeds
}

/// Inputs that broke something once.
fn found(target: &str) -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("found").join(target);
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths.iter().filter_map(|path| std::fs::read(path).ok()).collect()
}

fn lines(text: &str) -> Vec<Vec<u8>> {
    text.lines().map(|line| line.as_bytes().to_vec()).collect()
}

fn cases(golden: &str) -> impl Iterator<Item = Value> {
    golden.lines().filter_map(|line| serde_json::from_str(line).ok())
}

fn texts(golden: &str, at: &str) -> impl Iterator<Item = Vec<u8>> {
    cases(golden).filter_map(move |case| match case.pointer(at)? {
        Value::String(text) => Some(text.clone().into_bytes()),
        Value::Null => None,
        other => Some(other.to_string().into_bytes()),
    })
}

fn datagrams() -> Vec<Vec<u8>> {
    let hex =
        cases(golden!("user-events")).filter_map(|case| hex::decode(case["datagram_hex"].as_str()?).ok());
    let agents = texts(golden!("user-agents"), "/user_agent").map(|agent| {
        let head = b"qseow-proxy-session;h;Start session;LAB;goran;AppAccess;/app/a421f4a2-c311-4ef4-ba41-fe2e6a2b0d69;UserAgent: ";
        [&head[..], &agent].concat()
    });
    texts(golden!("user-events"), "/datagram").chain(hex).chain(agents).collect()
}

/// About the deepest that is accepted, far deeper, and in and out again.
fn depths() -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> =
        (120..130).flat_map(|times| (0..5).map(move |step| vec![step, times])).collect();
    seeds.extend((8..13).map(|step| vec![step, 200]));
    seeds.extend([
        vec![0, 62, 1, 62, 5, 30, 2, 40],
        vec![12, 20, 5, 200, 9, 7],
        vec![8, 255, 5, 255, 5, 255, 3, 9],
    ]);
    seeds
}

/// Texts apart from each other by a byte that no UTF-8 has.
fn encode() -> Vec<Vec<u8>> {
    let of = |body: &[u8]| -> Option<Vec<u8>> {
        let body: Value = serde_json::from_slice(body).ok()?;
        let text =
            |at: &str| body.pointer(at).and_then(Value::as_str).unwrap_or_default().as_bytes().to_vec();
        let at = ["/payload/context/user", "/payload/context/appName", "/payload/event/objectId", "/type"];
        Some(at.map(text).join(&0xff))
    };
    texts(golden!("audit-events"), "/body").filter_map(|body| of(&body)).collect()
}

fn locations() -> Vec<Vec<u8>> {
    let urls = texts(golden!("screenshots"), "/screenshotUrl");
    urls.chain(lines(LOCATIONS)).collect()
}

fn records() -> Vec<Vec<u8>> {
    use butler_sos_domain::app_id::AppNames;
    use butler_sos_domain::audit::AuditRecord;
    use butler_sos_domain::enrichment::{Enrichment, ExcludedUsers};

    let names = AppNames::default();
    let mut enrichment = Enrichment::new(8, ExcludedUsers::default());
    let mut records = Vec::new();
    for datagram in datagrams() {
        if let Ok(enriched) = enrichment.event(&datagram, 1_795_169_472_345_000_000, &names) {
            let mut record = vec![0];
            enriched.event.encode_into(&mut record);
            records.push(record);
        }
    }
    for body in texts(golden!("audit-events"), "/body") {
        let mut record = vec![1];
        AuditRecord::received(1_795_169_472_345_000_000, &body).encode_into(&mut record);
        records.push(record);
    }
    records
}

/// No line of which goes on over the next.
const MISTAKES: &str = "\
Butler-SOS:
  logLevl: info
  userEvents:
    enable: true
    tags:
      - name: a
        value:
      - name: b
        value: c # d
  influxdbConfig:
    enable: false
    hostPort: 0x270D
  heartbeat:
    frequency: every weekday
Pipeline:
  drainSeconds: 9e0
";

const SET_COOKIES: &str = "\
X-Qlik-Session=0a1b2c3d-0000-4000-8000-000000000001; Path=/; HttpOnly; Secure
X-Qlik-Session-Default=SID; Path=/; HttpOnly; SameSite=None
x-qlik-session-analytics-HTTP=\"SID\"; Expires=Thu, 01 Jan 1970 00:00:00 GMT
X-Qlik-Session=; Max-Age=0
X-Qlik-Session-a/b=..%2f..;Domain=qlik.test
Other=1";

const LOCATIONS: &str = "\
/tempcontent/b.png
../b.png?x=1#y
//qlik.test/x
https://other.test:8443/a?qlikTicket=T
/b.png?a=1&QLIKTICKET=S3kr1tT1ck3tV4lu3
https://QLIK.test./a
https://qlik.test@evil.example/a
http://[::1]/
https:\\\\evil.example\\a
javascript:alert(1)
data:image/png;base64,
https://xn--qlk-0na.test/
/internal_forms_authentication/?targetId=1
https://ｑlik.test/%2e%2e/";

const INFLUX_ANSWERS: &str = r#"{"error":"partial write: unable to parse 'm f=': missing field value\nunable to parse 'm': missing fields dropped=0"}
{"error":"unable to parse 'user_events,a=b c=1 1': bad timestamp"}
{"error":"partial write: field type conflict: input field \"f\" on measurement \"m\" is type float, already exists as type string dropped=1"}
{"error":"partial write: points beyond retention policy dropped=3"}
{"code":"invalid","message":"unable to parse 'm f=': missing field value"}
{"code":"unprocessable entity","message":"failure writing points to database: partial write: field type conflict: input field \"f\" on measurement \"m\" is type integer, already exists as type float dropped=2"}
{"error":"partial write of line protocol occurred","data":[{"original_line":"m f=1","line_number":2,"error_message":"invalid column type for column 'f', expected iox::column_type::field::string, got iox::column_type::field::float"}]}
{"error":"parsing failed for write_lp endpoint","data":{"original_line":"m","line_number":1,"error_message":"No fields were provided"}}
no JSON at all"#;
