use std::collections::BTreeMap;

use butler_sos_domain::datagram::{self, Parsed};
use butler_sos_domain::fallback_encoding::{Decoded, FallbackEncoding};
use roxmltree::{Document, Node};

use super::*;
use crate::cli::parse_host;

fn print(host: &str, port: Option<u16>, layout: ProxyLayout) -> String {
    let host = parse_host(host).expect("a host");
    file(&PrintLog4net { host, port, layout }, &Config::default())
}

fn shipped() -> [(&'static str, String); 2] {
    [
        ("eight-fields.xml", print(EXAMPLE_HOST, None, ProxyLayout::Eight)),
        ("five-fields.xml", print(EXAMPLE_HOST, None, ProxyLayout::Five)),
    ]
}

/// `conf/log4net` is what the command prints. To write it anew: `BLESS=1 cargo test -p butler-sos print_log4net`.
#[test]
fn the_shipped_files_are_what_is_printed() {
    for (name, expect) in shipped() {
        let path = format!("{}/conf/log4net/{name}", env!("CARGO_MANIFEST_DIR"));
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&path, &expect).expect("conf/log4net can be written");
        }
        let file = std::fs::read_to_string(&path).expect("conf/log4net");
        assert_eq!(file, expect, "{name}: write it anew with BLESS=1");
    }
}

/// The order in which Qlik Sense's schema wants what an element holds; nothing else may be there.
const SCHEMA: [(&str, &[&str], &[&str]); 8] = [
    ("configuration", &[], &["appender", "logger"]),
    ("appender", &["name", "type"], &["filter", "param", "layout"]),
    ("filter", &["type"], &["param"]),
    ("layout", &["type"], &["converter", "param"]),
    ("converter", &[], &["param"]),
    ("param", &["name", "value"], &[]),
    ("logger", &["name"], &["appender-ref"]),
    ("appender-ref", &["ref"], &[]),
];

fn check_schema(node: Node<'_, '_>) {
    let name = node.tag_name().name();
    let (_, attributes, order) = SCHEMA.iter().find(|(known, ..)| *known == name).expect(name);
    assert_eq!(
        node.attributes().map(|attribute| attribute.name()).collect::<Vec<_>>(),
        *attributes,
        "{name}"
    );
    let mut last = 0;
    for child in node.children().filter(Node::is_element) {
        let child_name = child.tag_name().name();
        let place = order.iter().position(|known| *known == child_name);
        let place = place.unwrap_or_else(|| panic!("{child_name} in {name}"));
        assert!(place >= last, "{child_name} comes too late in {name}");
        last = place;
        check_schema(child);
    }
}

fn param<'a>(node: Node<'a, 'a>, name: &str) -> &'a str {
    let is_it = |child: &Node<'_, '_>| child.has_tag_name("param") && child.attribute("name") == Some(name);
    node.children().find(is_it).and_then(|child| child.attribute("value")).expect(name)
}

#[test]
fn the_schema_of_qlik_sense_holds() {
    let mut files: Vec<String> = shipped().into_iter().map(|(_, file)| file).collect();
    for host in ["10.20.30.40", "fe80::1", "[2001:db8::7]", "xn--rksmrgs-5wao1o.example", "sense_1"] {
        files.push(print(host, Some(1), ProxyLayout::Eight));
    }
    for text in files {
        let document = Document::parse(&text).unwrap_or_else(|error| panic!("{error}:\n{text}"));
        let root = document.root_element();
        assert!(root.has_tag_name("configuration"));
        check_schema(root);
        let names: Vec<_> = root
            .children()
            .filter(|node| node.has_tag_name("appender"))
            .map(|node| node.attribute("name"))
            .collect();
        let used: Vec<_> = root
            .descendants()
            .filter(|node| node.has_tag_name("appender-ref"))
            .map(|node| node.attribute("ref"))
            .collect();
        assert_eq!(names, used);
        assert!(!text.contains("{{"), "{text}");
    }
}

#[test]
fn the_address_is_the_one_asked_for() {
    let check = |host: &str, port: Option<u16>, expect: (&str, &str)| {
        for layout in [ProxyLayout::Eight, ProxyLayout::Five] {
            let text = print(host, port, layout);
            let document = Document::parse(&text).expect("XML");
            let appenders = document.descendants().filter(|node| node.has_tag_name("appender"));
            for appender in appenders {
                let appender = document.get_node(appender.id()).expect("a node");
                assert_eq!((param(appender, "remoteAddress"), param(appender, "remotePort")), expect);
            }
        }
    };
    check("10.20.30.40", Some(19997), ("10.20.30.40", "19997"));
    check("[::1]", None, ("::1", "9997"));
    check("sos.example.com", None, ("sos.example.com", "9997"));
    for wrong in
        ["", " ", "a b", "a:9997", "https://a", "a/b", "<a>", "a\"b", "a..b", "-a", "10.20.30.40:9997"]
    {
        assert!(parse_host(wrong).is_err(), "{wrong}");
    }
}

/// What log4net makes of a conversion pattern: converters and properties by name, the message, all else as it is.
fn render(pattern: &str, values: &BTreeMap<&str, &str>, message: &str) -> String {
    let mut text = pattern.replace("%message", message);
    for (name, value) in values {
        text = text.replace(&format!("%property{{{name}}}"), value).replace(&format!("%{name}"), value);
    }
    assert!(!text.contains("%property"), "{text}");
    text
}

/// The appender that lets `message` through, as its filters say, and its conversion pattern.
fn pattern_for<'a>(document: &'a Document<'a>, message: &str) -> &'a str {
    let takes = |filter: Node<'a, 'a>| {
        filter.children().filter(|child| child.has_tag_name("param")).any(|param| {
            let value = param.attribute("value").unwrap_or_default();
            match param.attribute("name") {
                Some("stringToMatch") => message.contains(value),
                // `^(A|B) rest`
                Some("regexToMatch") => {
                    let (either, rest) =
                        value.trim_start_matches("^(").split_once(')').expect("an expression");
                    either.split('|').any(|one| message.starts_with(&format!("{one}{rest}")))
                }
                other => panic!("{other:?}"),
            }
        })
    };
    let mut appenders = document.descendants().filter(|node| node.has_tag_name("appender"));
    let appender = appenders
        .find(|appender| appender.children().filter(|node| node.has_tag_name("filter")).any(takes))
        .expect("an appender that takes the message");
    let layout = appender.children().find(|node| node.has_tag_name("layout")).expect("a layout");
    param(layout, "conversionPattern")
}

/// Command, user directory, user id, origin, context.
type Fields<'a> = (&'a str, Option<&'a str>, Option<&'a str>, Option<&'a str>, Option<&'a str>);

fn check(layout: ProxyLayout, values: &[(&str, &str)], message: &str, datagram: &str, expect: Fields<'_>) {
    let text = print("h", None, layout);
    let document = Document::parse(&text).expect("XML");
    let rendered = render(pattern_for(&document, message), &values.iter().copied().collect(), message);
    assert_eq!(rendered, datagram);
    let Parsed { event, user_not_found } =
        datagram::parse(datagram.as_bytes(), 7, FallbackEncoding::NONE).expect("an event");
    assert!(!user_not_found && event.decoded == Decoded::Utf8);
    assert_eq!(event.host, "pro2-win1");
    let got: Fields<'_> = (
        &event.command,
        event.user_directory.as_deref(),
        event.user_id.as_deref(),
        event.origin.as_deref(),
        event.context.as_deref(),
    );
    assert_eq!(got, expect);
    assert_eq!(event.message.as_deref(), Some(message));
}

#[test]
fn eight_fields_are_read_as_the_proxy_means_them() {
    let app = "/app/a421f4a2-c311-4ef4-ba41-fe2e6a2b0d69";
    let values = |command: &'static str, context: &'static str| {
        [
            ("hostname", "pro2-win1"),
            ("Command", command),
            ("UserDirectory", "LAB"),
            ("UserId", "goran"),
            ("Origin", "AppAccess"),
            ("Context", context),
        ]
    };
    let expect = |command, context| (command, Some("LAB"), Some("goran"), Some("AppAccess"), Some(context));
    check(
        ProxyLayout::Eight,
        &values("Start session", app),
        "Start session for user: 'LAB\\goran'; UserAgent: 'Mozilla/5.0 (X11; Linux x86_64)'",
        "/qseow-proxy-session/;pro2-win1;Start session;LAB;goran;AppAccess;/app/a421f4a2-c311-4ef4-ba41-fe2e6a2b0d69;Start session for user: 'LAB\\goran'; UserAgent: 'Mozilla/5.0 (X11; Linux x86_64)'",
        expect("Start session", app),
    );
    check(
        ProxyLayout::Eight,
        &values("Stop session", "/hub"),
        "Stop session for user: 'LAB\\goran'",
        "/qseow-proxy-session/;pro2-win1;Stop session;LAB;goran;AppAccess;/hub;Stop session for user: 'LAB\\goran'",
        expect("Stop session", "/hub"),
    );
    for (command, word) in [("Open connection", "Opened"), ("Close connection", "Closed")] {
        let message = format!("Frontend connection {word} for session: 0a1b for user: 'LAB\\goran'");
        let datagram =
            format!("/qseow-proxy-connection/;pro2-win1;{command};LAB;goran;AppAccess;{app};{message}");
        check(ProxyLayout::Eight, &values(command, app), &message, &datagram, expect(command, app));
    }
}

#[test]
fn five_fields_are_read_as_the_proxy_means_them() {
    let values = [("hostname", "pro2-win1"), ("subsystem", "Session.Proxy"), ("context", "/hub")];
    let begins = [
        ("Start session", "Start session"),
        ("Stop session", "Stop session"),
        ("Opening connection", "Open connection"),
        ("Closing connection", "Close connection"),
    ];
    for (beginning, command) in begins {
        let message = format!("{beginning} for user 'LAB\\goran'; more");
        let datagram = format!("/proxy-user-event/;pro2-win1;Session.Proxy;/hub;{message}");
        let expect = (command, Some("LAB"), Some("goran"), None, Some("/hub"));
        check(ProxyLayout::Five, &values, &message, &datagram, expect);
    }
}
