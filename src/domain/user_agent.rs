//! Which browser and operating system a user agent names. Contract: user-events.md, "Enrichment".
//!
//! What is not known is absent. Versions of browsers are their first number; of Windows the name
//! people know (`10`, not `NT 10.0`); of macOS, iOS and Android dotted numbers; Linux and Chrome OS
//! have none. A user agent is believed: macOS stays at `10.15.7` and Windows 11 at `10`, since browsers say so.
//!
//! `user_agent/corpus.txt` holds real ones with what is read from them.

mod browser;
#[cfg(test)]
mod corpus_test;
mod operating_system;
mod text;

use std::borrow::Cow;
use std::cell::OnceCell;
use std::num::NonZeroUsize;

use lru::LruCache;
use woothee::parser::Parser;

use self::browser::browser;
use self::operating_system::operating_system;

/// More of a user agent than this, in bytes, is neither looked at nor kept in the cache.
/// A message has at most 1,000 characters, so only one beyond ASCII can be cut.
pub const TEXT_BYTES_MAX: usize = 1024;

/// What a user agent says; each part only when it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserAgent {
    pub browser_name: Option<Cow<'static, str>>,
    pub browser_major: Option<Cow<'static, str>>,
    pub os_name: Option<Cow<'static, str>>,
    pub os_version: Option<Cow<'static, str>>,
}

/// What stands before a user agent in a message.
const KEY: &str = "UserAgent:";

/// The user agent in a message: all after `UserAgent:`, without outer blanks and any `'`.
pub fn from_message(message: &str) -> Option<Cow<'_, str>> {
    let text = message[find_key(message)? + KEY.len()..].trim();
    // Usually one quote at each end.
    let inner = text.trim_matches('\'');
    if memchr::memchr(b'\'', inner.as_bytes()).is_none() {
        return Some(Cow::Borrowed(inner.trim()));
    }
    Some(Cow::Owned(inner.replace('\'', "").trim().to_owned()))
}

/// Where the first `UserAgent:` stands. Looks for its first letter: a search for the whole prepares more than it saves.
pub(crate) fn find_key(message: &str) -> Option<usize> {
    let mut letters = memchr::memchr_iter(b'U', message.as_bytes());
    letters.find(|&at| message[at..].starts_with(KEY))
}

/// Reads a user agent. Costs some microseconds: see [`UserAgentCache`].
pub fn parse(text: &str) -> UserAgent {
    let text = cut(text);
    if text.is_empty() {
        return UserAgent::default();
    }
    let lower = text.to_ascii_lowercase();
    // Dearer than all the rest, and hardly ever needed.
    let asked = OnceCell::new();
    let woothee = || asked.get_or_init(|| Parser::new().parse(text)).as_ref();
    let (os_name, os_version) = operating_system(text, &lower, woothee);
    let (browser_name, browser_major) = browser(text, &lower, woothee).unwrap_or_default();
    UserAgent { browser_name, browser_major, os_name, os_version }
}

/// Parsed user agents by their text, the least recently used out first.
pub struct UserAgentCache {
    by_text: LruCache<String, UserAgent>,
}

// === impl UserAgentCache ===

impl UserAgentCache {
    /// A cache of at most `entries_max` user agents (at least one) of [`TEXT_BYTES_MAX`] bytes.
    pub fn new(entries_max: usize) -> Self {
        let entries_max = NonZeroUsize::new(entries_max).unwrap_or(NonZeroUsize::MIN);
        Self { by_text: LruCache::new(entries_max) }
    }

    /// The parts of this user agent, parsed when it is not in the cache.
    pub fn get(&mut self, text: &str) -> &UserAgent {
        let text = cut(text);
        self.by_text.get_or_insert_ref(text, || parse(text))
    }

    /// How many user agents are in the cache.
    pub fn len(&self) -> usize {
        self.by_text.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.by_text.is_empty()
    }
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(TEXT_BYTES_MAX)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `browser|major|os|version`, nothing where a part is absent.
    pub(super) fn shown(agent: &UserAgent) -> String {
        let part = |text: &Option<Cow<'static, str>>| text.as_deref().unwrap_or_default().to_owned();
        [&agent.browser_name, &agent.browser_major, &agent.os_name, &agent.os_version].map(part).join("|")
    }

    fn check(text: &str, expect: &str) {
        assert_eq!(shown(&parse(text)), expect, "{text}");
    }

    #[test]
    fn operating_systems() {
        let os = |system: &str, expect: &str| {
            let agent =
                parse(&format!("Mozilla/5.0 ({system}) AppleWebKit/537.36 Chrome/120.0 Safari/537.36"));
            let got = [agent.os_name, agent.os_version].map(|text| text.unwrap_or_default()).join("|");
            assert_eq!(got, expect, "{system}");
        };
        os("Windows NT 10.0; Win64; x64", "Windows|10");
        os("Windows NT 6.3; WOW64", "Windows|8.1");
        os("Windows NT 6.2", "Windows|8");
        os("Windows NT 6.1; Win64", "Windows|7");
        os("Windows NT 6.0", "Windows|Vista");
        os("Windows NT 5.1", "Windows|XP");
        os("Windows NT 5.2", "Windows|2003");
        os("Windows NT 12.3", "Windows|NT 12.3");
        os("Windows NT", "Windows|NT");
        os("Windows XP", "Windows|XP");
        os("Windows 98", "Windows|98");
        os("Windows; U", "|");
        os("Windows Phone 10.0; Android 6.0.1; Microsoft", "Windows Phone|10.0");
        os("Macintosh; Intel Mac OS X 14_4_1", "macOS|14.4.1");
        os("Macintosh; Intel Mac OS X", "macOS|");
        os("iPad; CPU OS 16_6 like Mac OS X", "iOS|16.6");
        os("iPhone; CPU iPhone OS 26 like Mac OS X", "iOS|26");
        os("iPhone; U", "iOS|");
        os("Linux; Android 12; moto g stylus 5G (2022)", "Android|12");
        os("Android; Mobile", "Android|");
        os("X11; CrOS x86_64 14541.0.0", "Chrome OS|");
        os("X11; Ubuntu; Linux x86_64", "Linux|");
        os("SMART-TV; LINUX; Tizen 5.0", "Tizen|5.0");
        os("Web0S; Linux/SmartTV", "WebOS|");
        os("Phone; OpenHarmony 5.0", "HarmonyOS|5.0");
        os("BB10; Touch", "BlackBerry|10");
        os("BlackBerry9700/5.0.0.862; U", "BlackBerry|5.0.0.862");
        os("PlayStation 4 11.00", "PlayStation 4|11.00");
    }

    #[test]
    fn robots_and_programs() {
        check("Mozilla/5.0 (compatible; AhrefsBot/7.0; +http://ahrefs.com/robot/)", "AhrefsBot|7||");
        check(
            "Mozilla/5.0 (compatible; Baiduspider/2.0; +http://www.baidu.com/search/spider.html)",
            "Baiduspider|2||",
        );
        check(
            "Mozilla/5.0 (Linux; Android 6.0.1; Nexus 5X) AppleWebKit/537.36 (compatible; Googlebot/2.1; +http://x)",
            "Googlebot|2|Android|6.0.1",
        );
        check(
            "Mozilla/5.0 (Linux; Android 9; CUBOT/1) AppleWebKit/537.36 Chrome/99.0 Safari/537.36",
            "Chrome|99|Android|9",
        );
        check("curl/8.5.0", "|||");
        check("Go-http-client/1.1", "|||");
        check("Qlik Sense Enterprise", "|||");
        check("Apache-HttpClient/4.5.13 (Java/11.0.19)", "Apache-HttpClient|4||");
        check("Mozilla/5.0 (Windows NT", "||Windows|NT");
        check("Mozilla/5.0 (Windows NT 1", "||Windows|NT");
        check("", "|||");
        check("-", "|||");
    }

    #[test]
    fn texts_in_messages() {
        let check = |message: &str, expect: Option<&str>| {
            assert_eq!(from_message(message).as_deref(), expect, "{message}");
        };
        check("x UserAgent: 'Mozilla/5.0 (X11)'\n", Some("Mozilla/5.0 (X11)"));
        check("UserAgent:curl/8", Some("curl/8"));
        check("UserAgent: 'a' UserAgent: 'b'", Some("a UserAgent: b"));
        check("UserAgent: ' a '", Some("a"));
        check("UserAgent: ''", Some(""));
        check("UserAgent:", Some(""));
        check("useragent: 'x'", None);
        check("", None);
    }

    #[test]
    fn recorded_user_agents() {
        #[derive(serde::Deserialize)]
        struct Row {
            name: String,
            user_agent: String,
            expect: Parts,
        }
        #[derive(Debug, PartialEq, serde::Deserialize)]
        struct Parts {
            browser_name: Option<String>,
            browser_major: Option<String>,
            os_name: Option<String>,
            os_version: Option<String>,
        }
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../integration-tests/golden/user-agents.jsonl");
        let text = std::fs::read_to_string(path).expect("the golden file");
        for line in text.lines() {
            let row: Row = serde_json::from_str(line).expect("a row");
            let agent = parse(&row.user_agent);
            let part = |text: Option<Cow<'static, str>>| text.map(Cow::into_owned);
            let got = Parts {
                browser_name: part(agent.browser_name),
                browser_major: part(agent.browser_major),
                os_name: part(agent.os_name),
                os_version: part(agent.os_version),
            };
            assert_eq!(got, row.expect, "{}", row.name);
        }
    }

    #[test]
    fn the_cache_is_bounded() {
        let mut cache = UserAgentCache::new(2);
        for text in ["a/1 x", "b/1 x", "c/1 x", "a/1 x"] {
            assert_eq!(cache.get(text), &parse(text));
        }
        assert_eq!(cache.len(), 2);
        let long = "é".repeat(TEXT_BYTES_MAX);
        cache.get(&long);
        assert_eq!(cache.by_text.iter().map(|(text, _)| text.len()).max(), Some(TEXT_BYTES_MAX));
        assert!(!cache.is_empty());
    }

    proptest! {
        #[test]
        fn any_text_is_answered(text in "\\PC{0,120}", parts in "(Mozilla/5.0|Windows |NT 1|Android|OS 1_|like Mac OS X|[a-z]bot/1|/|\\(|;| |é|Version/|iPhone){0,12}") {
            for text in [&text, &parts] {
                for part in shown(&parse(text)).split('|') {
                    prop_assert!(!part.contains("UNKNOWN"));
                }
                let _ = from_message(&format!("UserAgent:{text}"));
            }
        }
    }
}
