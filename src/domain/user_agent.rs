//! Which browser and operating system a user agent names. Contract: user-events.md, "Enrichment".
//!
//! `woothee` finds the common browsers. In front of it stands a table of those that it takes for
//! another one (Electron is Chrome to it), behind it a table that spells names as Butler SOS spells
//! them, so that dashboards go on. The operating system is read here: woothee knows no macOS above
//! 10 and leaves it out for robots.
//!
//! What is not known is absent. Versions of browsers are their first number; of Windows the name
//! people know (`10`, not `NT 10.0`); of macOS, iOS and Android dotted numbers; Linux and Chrome OS
//! have none.

use std::borrow::Cow;
use std::num::NonZeroUsize;

use lru::LruCache;
use woothee::parser::{Parser, WootheeResult};

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
    let known = Parser::new().parse(text).unwrap_or_default();
    let (os_name, os_version) = operating_system(text, &lower, &known);
    let android = os_name.as_deref() == Some("Android");
    let (browser_name, browser_major) = robot(text)
        .or_else(|| misnamed(&lower))
        .or_else(|| renamed(&known, android))
        .or_else(|| product(text))
        .unwrap_or_default();
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

// === browsers ===

/// Name and major version of a browser.
type Browser = (Option<Cow<'static, str>>, Option<Cow<'static, str>>);

/// A browser that woothee misnames: recognised by `marker`, its version stands behind the first of
/// `versions` that is there. All in lower case.
struct Misnamed {
    marker: &'static str,
    name: &'static str,
    versions: &'static [&'static str],
}

/// In this order: one that says more comes before one that says less.
const MISNAMED: [Misnamed; 25] = [
    Misnamed { marker: "opera", name: "Opera", versions: &["version/", "opera/", "opera "] },
    Misnamed { marker: "opr/", name: "Opera", versions: &["opr/"] },
    Misnamed { marker: "opios/", name: "Opera", versions: &["opios/"] },
    Misnamed { marker: "opx/", name: "Opera", versions: &["opx/"] },
    Misnamed { marker: " opt/", name: "Opera Touch", versions: &["opt/"] },
    Misnamed {
        marker: "samsungbrowser/",
        name: "Samsung Internet for Android",
        versions: &["samsungbrowser/"],
    },
    Misnamed { marker: "whale/", name: "NAVER Whale Browser", versions: &["whale/"] },
    Misnamed { marker: "palemoon/", name: "Pale Moon", versions: &["palemoon/"] },
    Misnamed { marker: "focus/", name: "Focus", versions: &["focus/"] },
    Misnamed { marker: "yabrowser/", name: "Yandex Browser", versions: &["yabrowser/"] },
    // On Android it says `Version/4.0` too, and Butler SOS takes that one: kept, for the dashboards.
    Misnamed { marker: "ucbrowser", name: "UC Browser", versions: &["version/", "ucbrowser/", "ucbrowser"] },
    Misnamed { marker: "maxthon", name: "Maxthon", versions: &["maxthon/", "maxthon "] },
    Misnamed { marker: "puffin/", name: "Puffin", versions: &["puffin/"] },
    Misnamed { marker: "micromessenger/", name: "WeChat", versions: &["micromessenger/"] },
    Misnamed { marker: "qqbrowser/", name: "QQ Browser", versions: &["qqbrowser/"] },
    Misnamed { marker: "vivaldi/", name: "Vivaldi", versions: &["vivaldi/"] },
    Misnamed { marker: "seamonkey/", name: "SeaMonkey", versions: &["seamonkey/"] },
    Misnamed { marker: "silk/", name: "Amazon Silk", versions: &["silk/"] },
    Misnamed { marker: "phantomjs/", name: "PhantomJS", versions: &["phantomjs/"] },
    Misnamed { marker: "iceweasel/", name: "Firefox", versions: &["iceweasel/"] },
    Misnamed { marker: "electron/", name: "Electron", versions: &["electron/"] },
    Misnamed { marker: "miuibrowser/", name: "Miui", versions: &["miuibrowser/"] },
    Misnamed { marker: " ddg/", name: "DuckDuckGo", versions: &["ddg/"] },
    Misnamed { marker: "duckduckgo/", name: "DuckDuckGo", versions: &["duckduckgo/"] },
    Misnamed { marker: "chromium/", name: "Chromium", versions: &["chromium/"] },
];

/// How woothee's names are spelled here; those that are not listed stay.
const RENAMED: [(&str, &str); 4] = [
    ("Edge", "Microsoft Edge"),
    ("SamsungBrowser", "Samsung Internet for Android"),
    ("Webview", "Safari"),
    ("Google Search App", "Google Search"),
];

/// A robot by its own name: a product whose name ends so, with a version behind it.
fn robot(text: &str) -> Option<Browser> {
    const ENDINGS: [&str; 3] = ["bot", "spider", "crawler"];
    text.match_indices('/').find_map(|(slash, _)| {
        let major = digits(&text[slash + 1..])?;
        let in_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let start = text[..slash].rfind(|c: char| !in_name(c)).map_or(0, |at| {
            let after = text[at..].chars().next().map_or(1, char::len_utf8);
            at + after
        });
        let name = &text[start..slash];
        let lower = name.to_ascii_lowercase();
        // The telephones of that make have it in their name.
        let ends = ENDINGS.iter().any(|ending| lower.ends_with(ending)) && lower != "cubot";
        ends.then(|| (Some(name.to_owned().into()), Some(major.to_owned().into())))
    })
}

/// A browser of our own table.
fn misnamed(lower: &str) -> Option<Browser> {
    let row = MISNAMED.iter().find(|row| lower.contains(row.marker))?;
    let major = row.versions.iter().find_map(|key| digits(after(lower, key)?));
    Some((Some(row.name.into()), major.map(|text| text.to_owned().into())))
}

/// A browser as woothee names it, spelled as here.
fn renamed(known: &WootheeResult<'_>, android: bool) -> Option<Browser> {
    if is_unknown(known.name) || known.category == "misc" || known.name == "misc crawler" {
        return None;
    }
    let name = RENAMED.iter().find(|(from, _)| *from == known.name).map_or(known.name, |(_, to)| to);
    let name = if android && name == "Safari" { "Android Browser" } else { name };
    let major = digits(known.version).map(|text| text.to_owned().into());
    Some((Some(name.to_owned().into()), major))
}

/// The product that an otherwise unknown user agent begins with, when it says more than that:
/// `Name/1.2 (more)`. A bare `curl/8.5.0` names no browser.
fn product(text: &str) -> Option<Browser> {
    let (name, rest) = text.split_once('/')?;
    let (version, _) = rest.split_once(' ')?;
    let name = name.trim();
    if name.is_empty() || name.contains(['(', ')', ';', ',']) {
        return None;
    }
    let major = digits(version)?;
    Some((Some(name.to_owned().into()), Some(major.to_owned().into())))
}

// === operating systems ===

/// Name and version of an operating system.
type OperatingSystem = (Option<Cow<'static, str>>, Option<Cow<'static, str>>);

fn operating_system(text: &str, lower: &str, known: &WootheeResult<'_>) -> OperatingSystem {
    let has = |marker: &str| lower.contains(marker);
    let (name, version): (&'static str, Option<String>) = if has("windows phone") {
        ("Windows Phone", dotted_after(lower, &["windows phone os ", "windows phone "]))
    } else if has("windows ") {
        ("Windows", after(lower, "windows ").and_then(windows_version))
    } else if has("macintosh") && has("fxios/") {
        // Firefox on an iPad that asks for desktop pages.
        ("iOS", dotted_after(lower, &["version/"]))
    } else if has("macintosh") {
        ("macOS", dotted_after(lower, &["mac os x "]))
    } else if has("iphone") || has("ipad") || has("ipod") {
        ("iOS", ios_version(lower))
    } else if has("android") && !has("like android") {
        ("Android", dotted_after(lower, &["android ", "android-", "android/"]))
    } else if has("tizen") {
        ("Tizen", dotted_after(lower, &["tizen/", "tizen "]))
    } else if has("webos") || has("web0s") {
        ("WebOS", None)
    } else if has("linux") {
        ("Linux", None)
    } else if text.contains("CrOS") {
        ("Chrome OS", None)
    } else if !is_unknown(known.os) && known.category != "misc" {
        let version = Some(known.os_version.as_ref()).filter(|text| !is_unknown(text));
        return (Some(known.os.to_owned().into()), version.map(|text| text.to_owned().into()));
    } else {
        return (None, None);
    };
    (Some(name.into()), version.map(Cow::Owned))
}

/// What people call the Windows whose name begins `rest`, e.g. `nt 10.0; win64` is `10`.
fn windows_version(rest: &str) -> Option<String> {
    const NT: [(&str, &str); 11] = [
        ("10.0", "10"),
        ("6.4", "10"),
        ("6.3", "8.1"),
        ("6.2", "8"),
        ("6.1", "7"),
        ("6.0", "Vista"),
        ("5.2", "XP"),
        ("5.1", "XP"),
        ("5.0", "2000"),
        ("4.0", "NT 4.0"),
        ("11.0", "11"),
    ];
    if let Some(rest) = rest.strip_prefix("nt") {
        // A user agent that was cut before the whole number says no more than that.
        let Some(number) = dotted(rest.trim_start()).filter(|number| number.contains('.')) else {
            return Some("NT".to_owned());
        };
        let known = NT.iter().find(|(nt, _)| *nt == number).map(|(_, name)| (*name).to_owned());
        return Some(known.unwrap_or_else(|| format!("NT {number}")));
    }
    let word = rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '.').next()?;
    match word {
        "xp" => Some("XP".to_owned()),
        "vista" => Some("Vista".to_owned()),
        "me" => Some("ME".to_owned()),
        _ => dotted(word).filter(|number| number.len() == word.len()),
    }
}

/// The version in `cpu iphone os 17_5_1 like mac os x`.
fn ios_version(lower: &str) -> Option<String> {
    let head = &lower[..lower.find(" like mac os x")?];
    dotted(&head[head.rfind("os ")? + "os ".len()..])
}

// === pieces of text ===

/// What follows the first `key` in `text`.
fn after<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.find(key).map(|at| &text[at + key.len()..])
}

/// The digits that `text` begins with; `None` without any.
fn digits(text: &str) -> Option<&str> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    (end > 0).then(|| &text[..end])
}

/// The dotted number that follows the first of `keys` that one follows.
fn dotted_after(text: &str, keys: &[&str]) -> Option<String> {
    keys.iter().find_map(|key| dotted(after(text, key)?))
}

/// The dotted number that `text` begins with; `_` counts as a dot. `None` without a digit.
fn dotted(text: &str) -> Option<String> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.' && c != '_').unwrap_or(text.len());
    let number = text[..end].trim_end_matches(['.', '_']);
    number.starts_with(|c: char| c.is_ascii_digit()).then(|| number.replace('_', "."))
}

fn is_unknown(text: &str) -> bool {
    text.is_empty() || text.contains("UNKNOWN")
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(TEXT_BYTES_MAX)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WINDOWS: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko)";
    const ANDROID: &str = "Mozilla/5.0 (Linux; Android 13; Pixel 7) AppleWebKit/537.36 (KHTML, like Gecko)";
    const IPHONE: &str =
        "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko)";

    /// `browser|major|os|version`, nothing where a part is absent.
    fn shown(agent: &UserAgent) -> String {
        let part = |text: &Option<Cow<'static, str>>| text.as_deref().unwrap_or_default().to_owned();
        [&agent.browser_name, &agent.browser_major, &agent.os_name, &agent.os_version].map(part).join("|")
    }

    fn check(text: &str, expect: &str) {
        assert_eq!(shown(&parse(text)), expect, "{text}");
    }

    #[test]
    fn browsers_that_woothee_misnames() {
        let cases: &[(&str, &str, &str)] = &[
            (WINDOWS, "Chrome/130.0.0.0 Safari/537.36 OPR/115.0.0.0", "Opera|115|Windows|10"),
            (IPHONE, "OPiOS/14.0.0.104835 Mobile/21F79 Safari/9537.53", "Opera|14|iOS|17.5"),
            (IPHONE, "Version/17.5 Mobile/15E148 Safari/604.1 OPX/2.5.3", "Opera|2|iOS|17.5"),
            (IPHONE, "Version/17.5 Mobile/15E148 Safari/604.1 OPT/4.5.1", "Opera Touch|4|iOS|17.5"),
            (
                ANDROID,
                "SamsungBrowser/27.0 Chrome/125.0.0.0 Mobile Safari/537.36",
                "Samsung Internet for Android|27|Android|13",
            ),
            (WINDOWS, "Chrome/128.0.0.0 Whale/3.28.266.14 Safari/537.36", "NAVER Whale Browser|3|Windows|10"),
            (IPHONE, "FxiOS/Focus/8.0 Focus/9.1 Mobile/15E148", "Focus|8|iOS|17.5"),
            (WINDOWS, "Chrome/122.0.0.0 YaBrowser/24.4.0.0 Safari/537.36", "Yandex Browser|24|Windows|10"),
            (ANDROID, "Version/4.0 UCBrowser/11.3.5.972 Mobile Safari/534.30", "UC Browser|4|Android|13"),
            (WINDOWS, "Chrome/69.0 UCBrowser/7.0.185.1002 Safari/537.36", "UC Browser|7|Windows|10"),
            (WINDOWS, "Maxthon/5.3.8.2000 Chrome/73.0 Safari/537.36", "Maxthon|5|Windows|10"),
            (ANDROID, "Version/4.0 Chrome/79 Puffin/9.7.1.50882AP Safari/537.36", "Puffin|9|Android|13"),
            (ANDROID, "Version/4.0 Chrome/107.0 MicroMessenger/8.0.30.2260", "WeChat|8|Android|13"),
            (WINDOWS, "Chrome/94.0 Safari/537.36 Core/1.94 QQBrowser/12.0.5", "QQ Browser|12|Windows|10"),
            (WINDOWS, "Chrome/126.0.0.0 Safari/537.36 Vivaldi/6.8.3381.44", "Vivaldi|6|Windows|10"),
            (ANDROID, "Silk/124.4.2 like Chrome/124.0 Safari/537.36", "Amazon Silk|124|Android|13"),
            (
                "Mozilla/5.0 (Unknown; Linux x86_64) AppleWebKit/538.1 (KHTML, like Gecko)",
                "PhantomJS/2.1.1 Safari/538.1",
                "PhantomJS|2|Linux|",
            ),
            (
                WINDOWS,
                "QlikSense/14.187.4 Chrome/118.0 Electron/27.3.11 Safari/537.36",
                "Electron|27|Windows|10",
            ),
            (
                ANDROID,
                "Version/4.0 Chrome/100.0 Mobile Safari/537.36 XiaoMi/MiuiBrowser/13.1",
                "Miui|13|Android|13",
            ),
            (IPHONE, "Version/17.5 Mobile/15E148 DuckDuckGo/7 Safari/605.1.15", "DuckDuckGo|7|iOS|17.5"),
            (WINDOWS, "Chrome/126.0 Safari/537.36 Ddg/126.0", "DuckDuckGo|126|Windows|10"),
            (
                "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Ubuntu",
                "Chromium/80.0 Chrome/80.0 Safari/537.36",
                "Chromium|80|Linux|",
            ),
            (
                "Mozilla/5.0 (Windows NT 6.1; rv:52.9) Gecko/20100101",
                "Goanna/3.4 PaleMoon/27.9.4",
                "Pale Moon|27|Windows|7",
            ),
            (
                "Mozilla/5.0 (X11; Linux i686; rv:52.0) Gecko/20100101",
                "Firefox/52.0 SeaMonkey/2.49",
                "SeaMonkey|2|Linux|",
            ),
            (
                "Mozilla/5.0 (X11; Linux x86_64; rv:38.0) Gecko/20100101",
                "Firefox/38.0 Iceweasel/38.5",
                "Firefox|38|Linux|",
            ),
            (
                "Opera/9.80 (J2ME/MIDP; Opera Mini/7.1.32052/29.3709; U; en)",
                "Presto/2.8.119 Version/11.10",
                "Opera|11||",
            ),
            ("Opera/9.80 (Windows NT 6.0)", "Presto/2.12.388 Version/12.14", "Opera|12|Windows|Vista"),
        ];
        for (head, tail, expect) in cases {
            check(&format!("{head} {tail}"), expect);
        }
        let texts: Vec<String> =
            cases.iter().map(|(head, tail, _)| format!("{head} {tail}").to_lowercase()).collect();
        for row in &MISNAMED {
            assert!(texts.iter().any(|text| text.contains(row.marker)), "{} has no case", row.marker);
        }
    }

    #[test]
    fn browsers_that_woothee_names() {
        for (head, tail, expect) in [
            (WINDOWS, "Chrome/131.0.0.0 Safari/537.36", "Chrome|131|Windows|10"),
            (WINDOWS, "Chrome/131.0.0.0 Safari/537.36 Edg/131.0.2903.86", "Microsoft Edge|131|Windows|10"),
            (WINDOWS, "Chrome/64.0.3282.140 Safari/537.36 Edge/18.17763", "Microsoft Edge|18|Windows|10"),
            (ANDROID, "Chrome/131.0.0.0 Mobile Safari/537.36 EdgA/131.0", "Microsoft Edge|131|Android|13"),
            (
                IPHONE,
                "Version/17.0 EdgiOS/126.0.2592.86 Mobile/15E148 Safari/604.1",
                "Microsoft Edge|126|iOS|17.5",
            ),
            (IPHONE, "CriOS/131.0.6778.73 Mobile/15E148 Safari/604.1", "Chrome|131|iOS|17.5"),
            (IPHONE, "FxiOS/127.0 Mobile/15E148 Safari/605.1.15", "Firefox|127|iOS|17.5"),
            (IPHONE, "GSA/324.0.648915268 Mobile/15E148 Safari/604.1", "Google Search|324|iOS|17.5"),
            (IPHONE, "Mobile/15E148", "Safari||iOS|17.5"),
            (
                "Mozilla/4.0 (compatible; MSIE 8.0;",
                "Windows NT 5.1; Trident/4.0)",
                "Internet Explorer|8|Windows|XP",
            ),
            (
                "Mozilla/5.0 (Linux; U; Android 4.0.3; en-us) AppleWebKit/534.30 (KHTML, like Gecko)",
                "Version/4.0 Mobile Safari/534.30",
                "Android Browser|4|Android|4.0.3",
            ),
            (
                "Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15; rv:109.0) Gecko/20100101",
                "Firefox/115.0",
                "Firefox|115|macOS|10.15",
            ),
        ] {
            check(&format!("{head} {tail}"), expect);
        }
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
        check("Mozilla/5.0 (Windows NT", "Mozilla|5|Windows|NT");
        check("Mozilla/5.0 (Windows NT 1", "Mozilla|5|Windows|NT");
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
