//! Replaces the names of the user in an audit event's body.
//!
//! | where | replacement |
//! |---|---|
//! | `payload.context.user` | `UserDirectory=dir-…; UserId=user-…`, `dir-…\user-…` or `user-…`, in the
//! original form |
//! | other members of `payload.context` whose name begins with `user` (any case), but `userAgent` | a pseudonym of the whole value |
//! | `correlationId`, text or number | the user's pseudonym when it is the user's id, else as below |
//! | `type` that begins with `event.` and is not a known type | as below, after that prefix |
//! | `eventId`, `timestamp`, `schemaVersion`, `source.kind`, `source.name`, other types | unchanged: they
//! cannot contain a name |
//! | every other string, in `payload` or beside it, that is not a UUID | this user's names in it, as
//! [`Replacement::all_replaced_in`] finds them |
//! | everything else | unchanged byte for byte |
//!
//! Each occurrence of a repeated member is replaced. Names of other people in an app's data are not searched
//! for.
//!
//! Bounded work for each body: at most the last [`NAMES_MAX`] names that a body gives its user are searched
//! in its texts, and none longer than [`NAME_CHARACTERS_MAX`].

use std::borrow::Cow;

use openssl::error::ErrorStack;
use serde::{Deserialize, Serialize};

use super::constraints::is_word_of_program;
use super::json::{Json, Kind, NotJson, end_of_string, write_string};
use crate::identity;
use crate::pseudonym::{NONCE_BYTES, Pseudonymizer, Replacement};
use crate::uuid::is_uuid;

/// The body to store, and the clear values that a download of the screenshot needs.
#[derive(Debug, PartialEq)]
pub struct Pseudonymous<'a> {
    pub body: Cow<'a, [u8]>,
    pub clear: Clear,
}

/// The clear values to seal, if they are kept at all.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clear {
    /// `payload.context.user`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// `payload.event.screenshotUrl`, if it contained a name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub screenshot_url: Option<String>,
}

impl Clear {
    /// Encrypts the values; empty when there is nothing to encrypt. `nonce` must be random.
    ///
    /// # Errors
    /// An error of OpenSSL.
    pub fn seal(
        &self,
        pseudonymizer: &Pseudonymizer,
        nonce: &[u8; NONCE_BYTES],
    ) -> Result<Vec<u8>, ErrorStack> {
        if *self == Self::default() {
            return Ok(Vec::new());
        }
        // Two strings always serialise.
        pseudonymizer.seal(nonce, &serde_json::to_vec(self).unwrap_or_default())
    }

    /// `None` when it was sealed with another key, or is damaged.
    #[must_use]
    pub fn open(pseudonymizer: &Pseudonymizer, sealed: &[u8]) -> Option<Self> {
        if sealed.is_empty() {
            return Some(Self::default());
        }
        serde_json::from_slice(&pseudonymizer.open(sealed)?).ok()
    }
}

impl std::fmt::Debug for Clear {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Clear")
    }
}

/// The maximum number of names that are searched in a body. Ordinary events have one or two.
const NAMES_MAX: usize = 8;

/// The maximum length of such a name. No schema accepts a longer one.
const NAME_CHARACTERS_MAX: usize = 256;

/// How to replace a value.
#[derive(Clone, Copy)]
enum Spot {
    /// The value names the user.
    User,
    /// The value may be the user's id, or contain it.
    CorrelationId,
    /// The value may contain a name after its prefix.
    Type,
    Stays,
}

/// Replaces names in `body`.
///
/// # Errors
/// When the body is not JSON. Accepted bodies are JSON.
pub fn pseudonymous<'a>(pseudonymizer: &Pseudonymizer, body: &'a [u8]) -> Result<Pseudonymous<'a>, NotJson> {
    let json = Json::parse(body)?;
    let payloads = || named(json, |key| key == "payload");
    let contexts = || payloads().flat_map(|payload| named(payload, |key| key == "context"));
    let mut spots: Vec<(usize, Json<'a>, Spot)> = Vec::new();
    for value in contexts().flat_map(|context| named(context, names_user)) {
        spots.push((place(json, value), value, Spot::User));
    }
    let sources = named(json, |key| key == "source").flat_map(Json::members);
    let sources = sources.filter(|(key, _)| matches!(&**key, "kind" | "name"));
    spots.extend(sources.map(|(_, value)| (place(json, value), value, Spot::Stays)));
    for (key, value) in json.members() {
        let spot = match &*key {
            "correlationId" => Spot::CorrelationId,
            "type" => Spot::Type,
            "eventId" | "timestamp" | "schemaVersion" => Spot::Stays,
            _ => continue,
        };
        spots.push((place(json, value), value, spot));
    }
    spots.sort_unstable_by_key(|(place, _, _)| *place);
    let mut found: Vec<Replacement> = Vec::new();
    let mut clear = Clear::default();
    for (key, value) in contexts().flat_map(Json::members) {
        let Some(user) = value.string().filter(|user| names_person(&key) && is_name(user)) else { continue };
        if user.chars().count() <= NAME_CHARACTERS_MAX {
            let replacement = pseudonymizer.of_text(&user);
            if !found.contains(&replacement) {
                if found.len() == NAMES_MAX {
                    found.remove(0);
                }
                found.push(replacement);
            }
        }
        if key == "user" {
            clear.user = Some(user.into_owned());
        }
    }
    let Some(out) = rewritten(pseudonymizer, json, &spots, &found) else {
        return Ok(Pseudonymous { body: Cow::Borrowed(body), clear });
    };
    let urls = || {
        let events = payloads().flat_map(|payload| named(payload, |key| key == "event"));
        events.flat_map(|event| named(event, |key| key == "screenshotUrl"))
    };
    if let Some(url) = urls().last().and_then(Json::string)
        && replaced(&found, &url).is_some()
    {
        clear.screenshot_url = Some(url.into_owned());
    }
    Ok(Pseudonymous { body: Cow::Owned(out.into_bytes()), clear })
}

fn named<'a>(object: Json<'a>, wanted: impl Fn(&str) -> bool) -> impl Iterator<Item = Json<'a>> {
    object.members().filter(move |(key, _)| wanted(key)).map(|(_, value)| value)
}

fn names_user(key: &str) -> bool {
    let key = key.to_lowercase();
    key.starts_with("user") && key != "useragent"
}

/// Whether the value of this member is searched in the other texts; not `userRole` and similar ones.
fn names_person(key: &str) -> bool {
    ["user", "userid", "username", "userfull"].contains(&key.to_lowercase().as_str())
}

/// Qlik Sense writes `N/A` for an unknown user.
fn is_name(text: &str) -> bool {
    !text.trim().is_empty() && !text.trim().eq_ignore_ascii_case("N/A")
}

/// The position of `part` in the text of `json`.
fn place(json: Json<'_>, part: Json<'_>) -> usize {
    part.text().as_ptr().addr().wrapping_sub(json.text().as_ptr().addr())
}

/// The text of `json` with its replacements; `None` without any. `spots` are in the order of the text.
fn rewritten(
    pseudonymizer: &Pseudonymizer,
    json: Json<'_>,
    spots: &[(usize, Json<'_>, Spot)],
    found: &[Replacement],
) -> Option<String> {
    let text = json.text();
    let mut out = String::new();
    let (mut copied, mut at) = (0, 0);
    let mut spots = spots.iter().peekable();
    while at < text.len() {
        while spots.next_if(|(place, _, _)| *place < at).is_some() {}
        let (stop, new) = if let Some((_, value, spot)) = spots.next_if(|(place, _, _)| *place == at) {
            (at + value.text().len(), of_spot(pseudonymizer, *value, *spot, found))
        } else if text.as_bytes()[at] == b'"' {
            let stop = end_of_string(text.as_bytes(), at).min(text.len());
            let is_key = text[stop..].trim_start().starts_with(':');
            let string = Json::assembled(&text[at..stop]).string().unwrap_or_default();
            (stop, if is_key { None } else { replaced(found, &string) })
        } else {
            (at + 1, None)
        };
        if let Some(new) = new {
            out.push_str(&text[copied..at]);
            write_string(&new, &mut out);
            copied = stop;
        }
        at = stop;
    }
    if copied == 0 {
        return None;
    }
    out.push_str(&text[copied..]);
    Some(out)
}

/// The replacement of a value, if any.
fn of_spot(
    pseudonymizer: &Pseudonymizer,
    value: Json<'_>,
    spot: Spot,
    found: &[Replacement],
) -> Option<String> {
    match spot {
        Spot::User => of_whole(pseudonymizer, value),
        Spot::Stays => None,
        Spot::CorrelationId => {
            let text = match value.kind() {
                Kind::Number => Cow::Borrowed(value.text()),
                _ => value.string()?,
            };
            match found.iter().find(|user| user.is_id(&text)) {
                Some(user) => Some(user.new_id.clone()),
                None => replaced(found, &text),
            }
        }
        Spot::Type => {
            let text = value.string().filter(|text| !is_word_of_program(text))?;
            let (prefix, rest) =
                text.split_at_checked("event.".len()).filter(|(prefix, _)| *prefix == "event.")?;
            Some(format!("{prefix}{}", replaced(found, rest)?))
        }
    }
}

/// The pseudonym of a value that names a user; `None` when it names nobody.
fn of_whole(pseudonymizer: &Pseudonymizer, value: Json<'_>) -> Option<String> {
    let text = match value.kind() {
        Kind::Null => return None,
        Kind::String => value.string().unwrap_or_default(),
        // The text of a number or an object is hashed as a whole.
        _ => Cow::Borrowed(value.text()),
    };
    if !is_name(&text) {
        return None;
    }
    let new = pseudonymizer.of_text(&text);
    let has_keys = identity::parse(&text).is_some() && text.to_lowercase().contains("userid");
    Some(if has_keys {
        format!("UserDirectory={}; UserId={}", new.new_directory, new.new_id)
    } else {
        new.to_string()
    })
}

fn replaced(found: &[Replacement], text: &str) -> Option<String> {
    if is_uuid(text) { None } else { Replacement::all_replaced_in(found, text) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::AuditEvent;
    use super::super::record::AuditRecord;
    use super::*;

    fn pseudonymizer() -> Pseudonymizer {
        Pseudonymizer::new(b"0123456789abcdef")
    }

    /// `<d>` and `<u>` stand for the pseudonyms of LAB\anna.
    fn check(body: &str, expect: &str) -> Clear {
        let anna = pseudonymizer().of("LAB", "anna");
        let expect = expect.replace("<d>", &anna.new_directory).replace("<u>", &anna.new_id);
        let Pseudonymous { body, clear } = pseudonymous(&pseudonymizer(), body.as_bytes()).expect("JSON");
        assert_eq!(String::from_utf8_lossy(&body), expect);
        clear
    }

    #[test]
    fn the_user_is_replaced_and_nothing_else_changes() {
        let clear = check(
            r#"{ "type":"anna", "eventId": "anna", "payload" : {"context":{"user" : "UserDirectory=LAB; UserId=anna","appName":"An\u00e5 1.0"},"event":{"n":1.0,"n":1e400,"s":"\ud800","o":{"anna":"Anna & LAB\\anna \u0061nna"}}}}"#,
            r#"{ "type":"anna", "eventId": "anna", "payload" : {"context":{"user" : "UserDirectory=<d>; UserId=<u>","appName":"An\u00e5 1.0"},"event":{"n":1.0,"n":1e400,"s":"\ud800","o":{"anna":"<u> & <d>\\<u> <u>"}}}}"#,
        );
        assert_eq!(clear.user.as_deref(), Some("UserDirectory=LAB; UserId=anna"));
        assert_eq!(clear.screenshot_url, None);
        assert!(!format!("{clear:?}").contains("anna"));
        let sealed = clear.seal(&pseudonymizer(), &[1; 12]).expect("it is sealed");
        assert_eq!(Clear::open(&pseudonymizer(), &sealed), Some(clear));
        assert_eq!(Clear::open(&Pseudonymizer::new(b"another key, long"), &sealed), None);
        assert_eq!(Clear::default().seal(&pseudonymizer(), &[1; 12]).ok(), Some(Vec::new()));
        assert_eq!(Clear::open(&pseudonymizer(), b""), Some(Clear::default()));
    }

    #[test]
    fn every_form_and_every_repetition_is_replaced() {
        check(
            r#"{"payload":{"context":{"user":"LAB\\anna"}}}"#,
            r#"{"payload":{"context":{"user":"<d>\\<u>"}}}"#,
        );
        check(
            r#"{"payload":{"context":{"user":"LAB\\anna","user":"LAB\\anna"},"context":{"user":"LAB; UserId=anna"}},"payload":{"context":{"user":"lab\\Anna"},"e":["anna"]}}"#,
            r#"{"payload":{"context":{"user":"<d>\\<u>","user":"<d>\\<u>"},"context":{"user":"UserDirectory=<d>; UserId=<u>"}},"payload":{"context":{"user":"<d>\\<u>"},"e":["<u>"]}}"#,
        );
        for same in [
            r#"{"payload":{"context":{"user":"N/A","userAgent":"anna"}}}"#,
            r#"{"payload":{"context":{"user":""}}}"#,
            r#"{"payload":{"context":{"user":null}}}"#,
            r#"{"payload":{"user":"LAB\\anna"}}"#,
            r#"{"payload":[]}"#,
            r#"{"payload":7}"#,
            "[]",
            "7",
        ] {
            check(same, same);
        }
        let odd = pseudonymizer();
        let (id, number) = (odd.of("", "Anna Berg"), odd.of("", "17"));
        check(
            r#"{"payload":{"context":{"user":"LAB\\anna","userName":"Anna Berg","USERID":17,"userAgent":"x"}}}"#,
            &format!(
                r#"{{"payload":{{"context":{{"user":"<d>\\<u>","userName":"{id}","USERID":"{number}","userAgent":"x"}}}}}}"#
            ),
        );
    }

    #[test]
    fn a_url_with_a_name_is_reported() {
        let clear = check(
            r#"{"payload":{"context":{"user":"LAB\\anna"},"event":{"screenshotUrl":"https://h/u/anna/x.png","id":"0000anna-0000-4000-8000-000000000001","u":"00000bad-0bad-4bad-8bad-00000000abad"}}}"#,
            r#"{"payload":{"context":{"user":"<d>\\<u>"},"event":{"screenshotUrl":"https://h/u/<u>/x.png","id":"0000anna-0000-4000-8000-000000000001","u":"00000bad-0bad-4bad-8bad-00000000abad"}}}"#,
        );
        assert_eq!(clear.screenshot_url.as_deref(), Some("https://h/u/anna/x.png"));
        // A part of a UUID is not a name.
        let body = r#"{"payload":{"context":{"user":"LAB\\4bad"},"event":{"u":"00000bad-0bad-4bad-8bad-00000000abad"}}}"#;
        let got = pseudonymous(&pseudonymizer(), body.as_bytes()).expect("JSON").body;
        assert!(String::from_utf8_lossy(&got).contains("00000bad-0bad-4bad-8bad-00000000abad"));
    }

    #[test]
    fn names_in_the_envelope_are_replaced() {
        let context = r#""payload":{"context":{"user":"LAB\\anna"}}"#;
        let expect = r#""payload":{"context":{"user":"<d>\\<u>"}}"#;
        for (before, after) in [
            (r#""correlationId":"anna""#, r#""correlationId":"<u>""#),
            (r#""correlationId":"1777-Anna-3""#, r#""correlationId":"1777-<u>-3""#),
            (r#""correlationId":"lab\\ANNA""#, r#""correlationId":"<d>\\<u>""#),
            (r#""correlationId":"1777868693436""#, r#""correlationId":"1777868693436""#),
            (
                r#""correlationId":"anna","correlationId":"\u0061nna.2""#,
                r#""correlationId":"<u>","correlationId":"<u>.2""#,
            ),
            (r#""type":"event.anna","eventId":"anna""#, r#""type":"event.<u>","eventId":"anna""#),
            (
                r#""source":{"name":"anna","version":"0.4.0+anna","x":"anna"}"#,
                r#""source":{"name":"anna","version":"0.4.0+<u>","x":"<u>"}"#,
            ),
            (r#""extra":[{"anna":["of anna"]}]"#, r#""extra":[{"anna":["of <u>"]}]"#),
            (
                r#""id":"0000anna-0000-4000-8000-000000000001""#,
                r#""id":"0000anna-0000-4000-8000-000000000001""#,
            ),
        ] {
            // Before the payload and after it.
            check(&format!("{{ {before}, {context} }}"), &format!("{{ {after}, {expect} }}"));
            check(&format!("{{ {context}, {before} }}"), &format!("{{ {expect}, {after} }}"));
        }
        let user = |user: &str, rest: &str| {
            let body = format!(r#"{{{rest},"payload":{{"context":{{"user":"{user}"}}}}}}"#);
            let got = pseudonymous(&pseudonymizer(), body.as_bytes()).expect("JSON").body.into_owned();
            String::from_utf8(got).expect("UTF-8")
        };
        let number = pseudonymizer().of("LAB", "4711").new_id;
        assert!(
            user("LAB\\\\4711", r#""correlationId":4711"#)
                .contains(&format!(r#""correlationId":"{number}""#))
        );
        assert!(user("LAB\\\\4711", r#""correlationId":47110"#).contains(r#""correlationId":47110"#));
        let short = pseudonymizer().of("LAB", "x").new_id;
        assert!(
            user("LAB\\\\x", r#""correlationId":" X""#).contains(&format!(r#""correlationId":"{short}""#))
        );
        // Known types are not names.
        for word in ["selection.state.changed", "event.bookmark", "event.unsupported.visualization"] {
            let id = word.rsplit('.').next().expect("a part");
            assert!(user(&format!("LAB\\\\{id}"), &format!(r#""type":"{word}""#)).contains(word));
        }
    }

    #[test]
    fn a_name_within_a_name_is_replaced_with_it() {
        let body = r#"{"payload":{"context":{"user":"LAB\\anna","userName":"Anna Berg"},"event":["Anna Berg","anna"]}}"#;
        let got = pseudonymous(&pseudonymizer(), body.as_bytes()).expect("JSON").body.into_owned();
        assert!(!String::from_utf8_lossy(&got).contains("Berg"));
    }

    /// Each of these took minutes, or all memory, when every name was searched in the result of the previous
    /// one.
    #[test]
    fn the_work_for_a_body_is_bounded_by_its_length() {
        const BYTES: usize = 256 * 1024;
        let many = |item: &dyn Fn(usize) -> String| {
            let mut text = String::new();
            for n in 0.. {
                if text.len() > BYTES {
                    return text;
                }
                text.push_str(&item(n));
            }
            text
        };
        let body = |context: &str, event: &str| {
            format!(r#"{{"payload":{{"context":{{{context}"user":"D\\i"}},"event":[{event}0]}}}}"#)
        };
        let detail = many(&|_| r#""user dir D\\i","#.to_owned());
        for body in [
            body(&many(&|n| format!(r#""user":"D{n}\\user","#)), &detail),
            body(&many(&|n| format!(r#""user{n}":{n},"#)), &detail),
            body(
                &format!(r#""userId":"{}b","#, "a.".repeat(BYTES)),
                &format!(r#""{}","#, "a.".repeat(BYTES)),
            ),
            body(&format!(r#""userId":"{}b","#, "a.".repeat(120)), &format!(r#""{}","#, "a.".repeat(BYTES))),
            body("", &many(&|_| r#""D\\i","#.to_owned())),
            body("", &format!(r#""{}","#, "D\\\\i ".repeat(BYTES / 5))),
        ] {
            let got = pseudonymous(&pseudonymizer(), body.as_bytes()).expect("JSON").body;
            assert!(got.len() <= PSEUDONYMS_GROW_MAX * body.len() + 1024, "{} of {}", got.len(), body.len());
        }
    }

    /// The maximum growth of a body, as stated in `docs/reliability.md`.
    const PSEUDONYMS_GROW_MAX: usize = 9;

    #[test]
    fn destinations_see_pseudonyms_in_every_column() {
        let body = r#"{"timestamp":"2026-11-20T10:11:12.345Z","type":"t","payload":{"context":{"user":"UserDirectory=LAB; UserId=anna"},"event":{}}}"#;
        let got = pseudonymous(&pseudonymizer(), body.as_bytes()).expect("JSON").body;
        let event = AuditEvent::from_record(AuditRecord::received(1_795_169_473_000_000_000, &got))
            .expect("an event");
        let anna = pseudonymizer().of("LAB", "anna");
        assert_eq!(event.user_directory.as_deref(), Some(anna.new_directory.as_str()));
        assert_eq!(event.user_id.as_deref(), Some(anna.new_id.as_str()));
        // A second pass would change it again, so the record marks that it is done.
        assert_ne!(pseudonymous(&pseudonymizer(), &got).expect("JSON").body, got);
    }

    proptest! {
        #[test]
        fn the_result_is_json(user in ".{0,20}", text in ".{0,40}", key in "[a-zU\"\\\\]{0,6}") {
            let value = |text: &str| serde_json::Value::from(text);
            let body = serde_json::json!({ "payload": { "context": { "user": value(&user), &key: value(&text) },
                "event": { &key: [value(&text), { "x": value(&user) }] } } });
            let body = body.to_string();
            let got = pseudonymous(&pseudonymizer(), body.as_bytes()).expect("JSON").body.into_owned();
            let got: serde_json::Value = serde_json::from_slice(&got).expect("JSON");
            let is_user = is_name(&user) && user.trim().chars().count() >= 3;
            if is_user && user.trim().chars().all(char::is_alphanumeric) {
                prop_assert_ne!(&got["payload"]["context"]["user"], &value(&user));
                prop_assert_ne!(&got["payload"]["event"][&key][1]["x"], &value(&user));
            }
        }

        #[test]
        fn any_bytes_do_not_panic(body in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = pseudonymous(&pseudonymizer(), &body);
        }
    }
}
