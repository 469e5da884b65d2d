//! User events of which is known, without asking the server's own parser, what must arrive.

use std::collections::BTreeMap;

use butler_sos_domain::sample::{self, Layout};

/// A datagram and its event.
#[derive(Debug, Clone)]
pub struct Sent {
    pub datagram: Vec<u8>,
    /// By the keys of the MQTT payload, without `tags`; parts that are missing are not there.
    pub parts: BTreeMap<&'static str, String>,
}

impl Sent {
    fn new(datagram: impl Into<Vec<u8>>, parts: &[(&'static str, &str)]) -> Self {
        let parts = parts.iter().map(|(key, value)| (*key, (*value).to_owned()));
        Self { datagram: datagram.into(), parts: parts.collect() }
    }

    /// The part, empty when it is missing.
    pub fn part(&self, key: &str) -> &str {
        self.parts.get(key).map_or("", String::as_str)
    }

    /// `DIRECTORY\id` when both are there.
    pub fn user_full(&self) -> String {
        match (self.part("userDir"), self.part("userId")) {
            ("", _) | (_, "") => String::new(),
            (directory, id) => format!("{directory}\\{id}"),
        }
    }
}

/// `count` samples, with the odd ones strewn in between several times.
pub fn mixed(count: u64) -> Vec<Sent> {
    let odd = odd();
    let mut all = Vec::new();
    let mut strewn = 0;
    for n in 0..count {
        all.push(sampled(n));
        if n % 7 == 0 {
            all.push(odd[strewn % odd.len()].clone());
            strewn += 1;
        }
    }
    assert!(strewn >= odd.len(), "not every odd event is there");
    all
}

const UNKNOWN: &str = "<unknown app name>";

/// A sample, taken apart at its separators.
fn sampled(n: u64) -> Sent {
    let datagram = sample::datagram(n, Layout::Mixed);
    let mut parts = Vec::new();
    let is_long = !datagram.starts_with("/proxy-user-event/");
    let fields: Vec<&str> = datagram.splitn(if is_long { 8 } else { 5 }, ';').collect();
    let (context, message) = match fields.as_slice() {
        [kind, host, command, directory, id, origin, context, message] => {
            parts.extend([("messageType", kind.trim_matches('/')), ("host", host), ("command", command)]);
            parts.extend([("userDir", *directory), ("userId", *id), ("origin", *origin)]);
            (*context, *message)
        }
        [kind, host, _subsystem, context, message] => {
            let (command, rest) = message.split_once(" for user 'SAMPLE\\").expect("a user");
            let command = match command {
                "Opening connection" => "Open connection",
                "Closing connection" => "Close connection",
                command => command,
            };
            let (id, _) = rest.split_once('\'').expect("the user's end");
            parts.extend([("messageType", kind.trim_matches('/')), ("host", host), ("command", command)]);
            parts.extend([("userDir", "SAMPLE"), ("userId", id)]);
            (*context, *message)
        }
        other => panic!("not a sample: {other:?}"),
    };
    parts.extend([("context", context), ("message", message)]);
    if let Some((_, app)) = context.split_once("app/") {
        parts.extend([("appId", app.split('?').next().unwrap_or_default()), ("appName", UNKNOWN)]);
    }
    let agent = AGENTS.iter().find(|(mark, _)| message.contains(mark));
    let (_, agent) = agent.unwrap_or_else(|| panic!("an unknown browser: {message}"));
    let keys = ["uaBrowserName", "uaBrowserMajorVersion", "uaOsName", "uaOsVersion"];
    parts.extend(keys.into_iter().zip(agent.split('|')));
    Sent::new(datagram.clone(), &parts)
}

/// What the browsers of the samples are.
const AGENTS: [(&str, &str); 6] = [
    ("Edg/", "Microsoft Edge|131|Windows|10"),
    ("Firefox/", "Firefox|133|Windows|10"),
    ("iPhone", "Safari|17|iOS|17.6"),
    ("Macintosh", "Safari|17|macOS|10.15.7"),
    ("Android", "Chrome|131|Android|14"),
    ("Windows", "Chrome|131|Windows|10"),
];

/// Events with everything that some destination must take care of, written by hand.
fn odd() -> Vec<Sent> {
    const APP: &str = "A421F4A2-c311-4ef4-ba41-fe2e6a2b0d69";
    let long = "å".repeat(150);
    let session = |fields: &str| format!("/qseow-proxy-session/;{fields}");
    /// An event of a session.
    fn with(
        [host, command, directory, id, origin, context, message]: [&str; 7],
    ) -> Vec<(&'static str, &str)> {
        let mut parts = vec![("messageType", "qseow-proxy-session"), ("host", host), ("command", command)];
        parts.extend([("userDir", directory), ("userId", id), ("origin", origin)]);
        parts.extend([("context", context), ("message", message)]);
        parts
    }
    let mut events = vec![
        Sent::new(
            session("värd-😀;Start session;LÄB;Gör an 😀;Ursprung;/hub;mëssage — 日本語"),
            &with(["värd-😀", "Start session", "LÄB", "Gör an 😀", "Ursprung", "/hub", "mëssage — 日本語"]),
        ),
        Sent::new(
            session("a,b=c d;Stop session;DIR,=;u,v=w x;o=,;/hub,;m,m=m m"),
            &with(["a,b=c d", "Stop session", "DIR,=", "u,v=w x", "o=,", "/hub,", "m,m=m m"]),
        ),
        Sent::new(
            session("h\"1\";Open connection;L'AB;go\"ran'x;App\"Access;/\"hub\";\"a\";'b';\nc;\"d\r\n"),
            &with([
                "h\"1\"",
                "Open connection",
                "L'AB",
                "go\"ran'x",
                "App\"Access",
                "/\"hub\"",
                "\"a\";'b';c;\"d",
            ]),
        ),
        Sent::new(
            session("=h;Close connection;+DIR;=HYPERLINK(\"http://x\");-1;@SUM;-2+3"),
            &with(["=h", "Close connection", "+DIR", "=HYPERLINK(\"http://x\")", "-1", "@SUM", "-2+3"]),
        ),
        Sent::new(
            session("h;Start session;NONE;anonymous\\0a\\n1b;A\\B;/hub\\x;m\\n"),
            &with(["h", "Start session", "NONE", "anonymous\\0a\\n1b", "A\\B", "/hub\\x", "m\\n"]),
        ),
        Sent::new(
            session(" h ; Start session ; LAB ; goran ; O ; /hub ; m "),
            &with([" h ", " Start session ", " LAB ", " goran ", " O ", " /hub ", " m "]),
        ),
        Sent::new(
            session("h;Start session;LAB;ends\\;back\\;\\;\\"),
            &with(["h", "Start session", "LAB", "ends\\", "back\\", "\\", "\\"]),
        ),
        Sent::new(session("h;Start session;;;;;"), &with(["h", "Start session", "", "", "", "", ""])),
        Sent::new(
            session("h;Token refreshed;LAB;goran;O;/hub;m"),
            &with(["h", "Token refreshed", "LAB", "goran", "O", "/hub", "m"]),
        ),
        Sent::new(
            session(&format!("h;Start session;LAB;{long};O;/hub;m")),
            &with(["h", "Start session", "LAB", &"å".repeat(100), "O", "/hub", "m"]),
        ),
        Sent::new(
            b"/qseow-proxy-session/;h\xe5;Start session;LAB;g\xf6ran;O;/hub;m\0m\x7f".to_vec(),
            &with(["hå", "Start session", "LAB", "göran", "O", "/hub", "mm"]),
        ),
        Sent::new(
            b"/qseow-proxy-session/;h\xc3\xa5;Start session;LAB;g\xf6ran;O;/hub;m".to_vec(),
            &with(["hå", "Start session", "LAB", "g\u{fffd}ran", "O", "/hub", "m"]),
        ),
        Sent::new(
            "QSEOW-Proxy-Connection;h;Open connection;LAB;five",
            &[
                ("messageType", "qseow-proxy-connection"),
                ("host", "h"),
                ("command", "Open connection"),
                ("userDir", "LAB"),
                ("userId", "five"),
            ],
        ),
        Sent::new(
            "/proxy-user-event/;h;Session;/hub;Stop session for UserDirectory=L AB; UserId=x.y",
            &[
                ("messageType", "proxy-user-event"),
                ("host", "h"),
                ("command", "Stop session"),
                ("userDir", "L AB"),
                ("userId", "x.y"),
                ("context", "/hub"),
                ("message", "Stop session for UserDirectory=L AB; UserId=x.y"),
            ],
        ),
        Sent::new(
            "/proxy-user-event/;h;Session;/hub;Opening connection for nobody",
            &[
                ("messageType", "proxy-user-event"),
                ("host", "h"),
                ("command", "Open connection"),
                ("userDir", ""),
                ("userId", ""),
                ("context", "/hub"),
                ("message", "Opening connection for nobody"),
            ],
        ),
    ];
    let context = format!("/app/{APP}/sheet/1/state/analysis");
    let mut with_app = with(["h", "Open connection", "LAB", "goran", "O", &context, "m"]);
    with_app.extend([("appId", APP), ("appName", UNKNOWN)]);
    events.push(Sent::new(session(&format!("h;Open connection;LAB;goran;O;{context};m")), &with_app));
    events
}
