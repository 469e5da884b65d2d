//! Who a text speaks of: user directory and user id.
//!
//! Two questions. [`parse`]: is this *whole* text an identity? (audit events and tickets;
//! contract: screenshots.md, "Identity"). [`find_in_text`]: is there an identity *somewhere in*
//! this text? (log messages of the proxy; contract: user-events.md, "Datagrams").
//!
//! In both, the directory of `X\Y` is all before the first backslash, the id all after it:
//! `NONE\anonymous\<guid>` is directory `NONE`, id `anonymous\<guid>`.

use crate::user_agent;

/// A user directory and an id in it; neither is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity<'a> {
    pub directory: &'a str,
    pub id: &'a str,
}

const DIRECTORY_KEY: &str = "UserDirectory";
const ID_KEY: &str = "UserId";

// === impl Identity ===

impl<'a> Identity<'a> {
    /// Both parts trimmed of blanks; `None` when one is then empty.
    fn new(directory: &'a str, id: &'a str) -> Option<Self> {
        let (directory, id) = (directory.trim(), id.trim());
        (!directory.is_empty() && !id.is_empty()).then_some(Self { directory, id })
    }

    /// `X\Y`, split at the first backslash.
    fn from_backslash(text: &'a str) -> Option<Self> {
        let (directory, id) = text.split_once('\\')?;
        Self::new(directory, id)
    }

    /// Whether a ticket can be asked for: Qlik's proxy service takes no backslash inside the
    /// values of a ticket request, and a control character is nobody's name.
    pub fn usable_for_ticket(&self) -> bool {
        let refused = |c: char| c == '\\' || c.is_control();
        !self.directory.contains(refused) && !self.id.contains(refused)
    }
}

/// The identity that the whole of `text` is.
///
/// Takes `UserDirectory=LAB; UserId=goran` (keys in any case and order, blanks trimmed),
/// `LAB; UserId=goran` and `LAB\goran`. The id goes up to the end: it may hold `=`, `;` and `\`.
/// `None` when the text is empty, `N/A`, or lacks a part.
pub fn parse(text: &str) -> Option<Identity<'_>> {
    let text = text.trim();
    if text.is_empty() || text.eq_ignore_ascii_case("N/A") {
        return None;
    }
    if let Some(value) = after_key(text, DIRECTORY_KEY) {
        let (directory, rest) = value.split_once(';')?;
        return Identity::new(directory, after_key(rest, ID_KEY)?);
    }
    if let Some(value) = after_key(text, ID_KEY) {
        // The directory stands behind an id that may hold semicolons: the last one parts them.
        let (id, rest) = value.rsplit_once(';')?;
        return Identity::new(after_key(rest, DIRECTORY_KEY)?, id);
    }
    if let Some((directory, rest)) = text.split_once(';')
        && let Some(id) = after_key(rest, ID_KEY)
    {
        return Identity::new(directory, id);
    }
    Identity::from_backslash(text)
}

/// A directory or an id as Qlik Sense compares it: without blanks around it and without case. Character by character,
/// so that two names which Qlik Sense tells apart (`straße`, `strasse`) stay two.
pub fn folded(name: &str) -> String {
    let fold = |c: char| {
        let mut lower = c.to_lowercase();
        match (lower.next(), lower.next()) {
            // The same letter at the end of a word.
            (Some('\u{3c2}'), None) => '\u{3c3}',
            (Some(one), None) => one,
            _ => c,
        }
    };
    name.trim().chars().map(fold).collect()
}

/// The identity that one of `texts` speaks of.
///
/// Looks for `UserDirectory=X; UserId=Y`, then `user: 'X\Y'` or `user 'X\Y'`, then a bare `X\Y`;
/// each in all texts before the next form is tried, so that the surest form wins.
/// What follows `UserAgent:` is a browser's word and is not looked at.
pub fn find_in_text<'a>(texts: &[&'a str]) -> Option<Identity<'a>> {
    let texts = || texts.iter().map(|text| user_agent::find_key(text).map_or(*text, |at| &text[..at]));
    texts()
        .find_map(find_keys)
        .or_else(|| texts().find_map(find_quoted))
        .or_else(|| texts().find_map(find_bare))
}

/// `UserDirectory=X; UserId=Y` anywhere in `text`. Y ends at a blank, comma, semicolon, quote or
/// closing bracket, or at the closing quote when it is quoted.
fn find_keys(text: &str) -> Option<Identity<'_>> {
    occurrences(text, DIRECTORY_KEY).find_map(|at| {
        let value = after_key(&text[at..], DIRECTORY_KEY)?;
        let (directory, rest) = value.split_once(';')?;
        let id = after_key(rest, ID_KEY)?;
        Identity::new(unquote(directory.trim()), first_word(id))
    })
}

/// `user: 'X\Y'` or `user 'X\Y'` anywhere in `text`.
fn find_quoted(text: &str) -> Option<Identity<'_>> {
    occurrences(text, "user").find_map(|at| {
        if text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            return None;
        }
        let rest = text[at + "user".len()..].trim_start();
        let rest = rest.strip_prefix(':').unwrap_or(rest).trim_start();
        Identity::from_backslash(quoted(rest)?)
    })
}

/// A bare `X\Y` token in `text`. Paths (`C:\x`, `\\server\x`, `a/b\c`) are not users.
fn find_bare(text: &str) -> Option<Identity<'_>> {
    let edges = |c: char| {
        c.is_whitespace() || matches!(c, ';' | ',' | '\'' | '"' | '(' | ')' | '[' | ']' | '<' | '>')
    };
    text.split(edges).find_map(|token| {
        let user = Identity::from_backslash(token.trim_end_matches(['.', ':', '!', '?']))?;
        let path = user.directory.contains(['/', ':', '=']) || user.id.starts_with('\\');
        (!path).then_some(user)
    })
}

/// What stands behind `key`, blanks and `=`, when `text` begins so.
fn after_key<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let text = text.trim_start();
    let (head, rest) = text.split_at_checked(key.len())?;
    if !head.eq_ignore_ascii_case(key) {
        return None;
    }
    rest.trim_start().strip_prefix('=')
}

/// Where `word` occurs in `text`, without regard to case. `word` is ASCII.
fn occurrences<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let (text, word) = (text.as_bytes(), word.as_bytes());
    let first = word.first().copied().unwrap_or_default();
    memchr::memchr2_iter(first.to_ascii_lowercase(), first.to_ascii_uppercase(), text)
        .filter(|&at| text[at..].get(..word.len()).is_some_and(|found| found.eq_ignore_ascii_case(word)))
}

/// The text between the quotes that `text` begins with. A quote with a letter or digit behind it
/// does not close: ids like `o'brien` exist.
fn quoted(text: &str) -> Option<&str> {
    let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    let inner = &text[1..];
    let closes = |(at, _): &(usize, &str)| !inner[at + 1..].starts_with(|c: char| c.is_alphanumeric());
    inner.match_indices(quote).find(closes).map(|(at, _)| &inner[..at])
}

/// Without quotes around it.
fn unquote(text: &str) -> &str {
    quoted(text).unwrap_or(text).trim_matches(['\'', '"'])
}

/// The first word of `text`, or what is quoted at its beginning.
fn first_word(text: &str) -> &str {
    let text = text.trim_start();
    if let Some(inner) = quoted(text) {
        return inner;
    }
    let edges = |c: char| c.is_whitespace() || matches!(c, ';' | ',' | '\'' | '"' | ')' | ']' | '}');
    let word = text.split(edges).next().unwrap_or_default();
    word.trim_end_matches(['.', ':'])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pair<'a>(identity: Option<Identity<'a>>) -> Option<(&'a str, &'a str)> {
        identity.map(|user| (user.directory, user.id))
    }

    #[test]
    fn whole_texts() {
        let check =
            |text: &str, expect: Option<(&str, &str)>| assert_eq!(pair(parse(text)), expect, "{text:?}");
        check("UserDirectory=LAB; UserId=goran", Some(("LAB", "goran")));
        check("UserDirectory=LAB;UserId=goran", Some(("LAB", "goran")));
        check("  userdirectory = LAB ;  USERID = goran  ", Some(("LAB", "goran")));
        check("UserId=goran; UserDirectory=LAB", Some(("LAB", "goran")));
        check("UserId=a;b; UserDirectory=LAB", Some(("LAB", "a;b")));
        check("LAB; UserId=goran", Some(("LAB", "goran")));
        check("LAB\\goran", Some(("LAB", "goran")));
        check(" LAB \\ goran ", Some(("LAB", "goran")));
        check("NONE\\anonymous\\0a1b", Some(("NONE", "anonymous\\0a1b")));
        check("UserDirectory=LAB; UserId=a=b\\c", Some(("LAB", "a=b\\c")));
        check("UserDirectory=LAB; UserId=a;b", Some(("LAB", "a;b")));
        check("UserDirectory=LÄB; UserId=göran", Some(("LÄB", "göran")));
        for text in [
            "",
            "  ",
            "N/A",
            "n/a",
            "goran",
            "john@x.com",
            "UserDirectory=LAB",
            "UserDirectory=LAB\\goran",
            "UserDirectory=; UserId=goran",
            "UserDirectory=LAB; UserId=",
            "UserDirectory=LAB; goran",
            "UserId=goran",
            "UserId=goran; LAB",
            "; UserId=goran",
            "LAB;goran",
            "\\goran",
            "LAB\\",
            "\\",
        ] {
            check(text, None);
        }
    }

    #[test]
    fn tickets_take_no_backslash() {
        let check = |text: &str, expect: bool| {
            assert_eq!(parse(text).map(|user| user.usable_for_ticket()), Some(expect), "{text:?}");
        };
        check("LAB\\goran", true);
        check("UserDirectory=LAB; UserId=a=b", true);
        check("NONE\\anonymous\\0a1b", false);
        check("UserDirectory=LAB\\x; UserId=goran", false);
        check("UserDirectory=LAB; UserId=go\u{1}ran", false);
    }

    #[test]
    fn users_in_messages() {
        let check = |message: &str, context: &str, expect: Option<(&str, &str)>| {
            assert_eq!(pair(find_in_text(&[message, context])), expect, "{message:?} {context:?}");
        };
        check("Start session for user 'LAB\\goran'.", "", Some(("LAB", "goran")));
        check("Start session for user: 'LAB\\goran'", "", Some(("LAB", "goran")));
        check("Start session for User:\"LAB\\goran b\" x", "", Some(("LAB", "goran b")));
        check("user 'LAB\\o'brien', x 'y'", "", Some(("LAB", "o'brien")));
        check("Opening connection, UserDirectory=LAB; UserId=goran, x", "", Some(("LAB", "goran")));
        check("[userdirectory=LAB;userid=goran] y\\z", "", Some(("LAB", "goran")));
        check("UserDirectory='LAB'; UserId='goran b'.", "", Some(("LAB", "goran b")));
        check("Closing connection NONE\\anonymous\\0a-1b.", "", Some(("NONE", "anonymous\\0a-1b")));
        check("Start session for LAB\\göran, ok", "", Some(("LAB", "göran")));
        check("Start session", "x LAB\\goran", Some(("LAB", "goran")));
        check("Start session A\\b", "UserDirectory=LAB; UserId=goran", Some(("LAB", "goran")));
        check("Superuser 'A\\b'", "", Some(("A", "b")));
        check("wrote C:\\temp\\x and \\\\srv\\share", "", None);
        check("user 'goran' UserAgent: 'x\\y'", "", None);
        check("Start session", "/app/x", None);
        check("UserDirectory=LAB; no id", "", None);
        check("", "", None);
        check("user", "user '", None);
        check("\u{130}user 'å", "UserDirectory=å", None);
    }

    #[test]
    fn names_are_compared_without_case() {
        let check = |name: &str, expect: &str| assert_eq!(folded(name), expect, "{name:?}");
        check(" GORAN ", "goran");
        check("G\u{d6}RAN", "g\u{f6}ran");
        check("\u{39f}\u{394}\u{3a5}\u{3a3}", "\u{3bf}\u{3b4}\u{3c5}\u{3c3}");
        check("\u{3bf}\u{3b4}\u{3c5}\u{3c2}", "\u{3bf}\u{3b4}\u{3c5}\u{3c3}");
        check("Stra\u{df}e", "stra\u{df}e");
        check("\u{131}rma", "\u{131}rma");
        check("\u{130}", "\u{130}");
    }

    proptest! {
        #[test]
        fn any_text_is_answered(text in "\\PC{0,80}", other in "(user|UserDirectory=|UserId=|'|;|\\\\|å| ){0,12}") {
            let _ = parse(&text);
            let _ = parse(&other);
            let _ = find_in_text(&[&text, &other]);
        }

        #[test]
        fn what_is_joined_is_parted(directory in "[A-Za-z0-9._-]{1,12}", id in "[A-Za-z0-9=;\\\\._-]{1,12}") {
            let text = format!("UserDirectory={directory}; UserId={id}");
            prop_assert_eq!(pair(parse(&text)), Some((directory.as_str(), id.as_str())));
        }
    }
}
