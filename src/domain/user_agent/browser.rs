//! Which browser a user agent names, spelled as Butler SOS spells it, so that its dashboards go on.
//!
//! Robots first, under the name that they give themselves; then the table [`BROWSERS`]; then the engine's own
//! browser; then what `woothee` knows (devices of the past); last the product that the text begins with. `Mozilla` is
//! no browser's name: every browser begins with it.

use std::borrow::Cow;

use woothee::parser::WootheeResult;

use super::text::{after, digits, is_unknown};

/// Name and major version of a browser.
pub type Browser = (Option<Cow<'static, str>>, Option<Cow<'static, str>>);

/// A browser that is recognised by one of `markers`; its version stands behind the first of `versions` that one
/// follows. All in lower case.
pub(super) struct Row {
    pub markers: &'static [&'static str],
    pub name: &'static str,
    versions: &'static [&'static str],
}

const fn row(markers: &'static [&'static str], name: &'static str, versions: &'static [&'static str]) -> Row {
    Row { markers, name, versions }
}

/// In this order: one that says more comes before one that says less.
pub(super) const BROWSERS: &[Row] = &[
    row(&["opera"], "Opera", &["version/", "opera/", "opera "]),
    row(&["opr/", "opios/", "opx/"], "Opera", &["opr/", "opios/", "opx/"]),
    row(&[" opt/"], "Opera Touch", &["opt/"]),
    row(&["coast/"], "Opera Coast", &["version/", "coast/"]),
    row(&["samsungbrowser/"], "Samsung Internet for Android", &["samsungbrowser/"]),
    row(&["whale/"], "NAVER Whale Browser", &["whale/"]),
    row(&["palemoon/"], "Pale Moon", &["palemoon/"]),
    row(&["mzbrowser/"], "MZ Browser", &["mzbrowser/"]),
    row(&["focus/"], "Focus", &["focus/"]),
    row(&["swing/"], "Swing", &["swing/"]),
    row(&["yabrowser/"], "Yandex Browser", &["yabrowser/"]),
    // On Android it says `Version/4.0` too, and Butler SOS takes that one: kept, for the dashboards.
    row(&["ucbrowser"], "UC Browser", &["version/", "ucbrowser/", "ucbrowser"]),
    row(&["maxthon", "mxios/"], "Maxthon", &["maxthon/", "maxthon ", "mxios/"]),
    row(&["epiphany/"], "Epiphany", &["version/", "epiphany/"]),
    row(&["puffin/"], "Puffin", &["puffin/"]),
    row(&["sleipnir/"], "Sleipnir", &["sleipnir/"]),
    row(&["k-meleon/"], "K-Meleon", &["k-meleon/"]),
    row(&["micromessenger/"], "WeChat", &["micromessenger/"]),
    row(&["qqbrowserlite/"], "QQ Browser Lite", &["qqbrowserlite/"]),
    row(&["qqbrowser/"], "QQ Browser", &["qqbrowser/"]),
    row(&["msie ", "trident/"], "Internet Explorer", &["msie ", "rv:"]),
    row(
        &[" edg/", " edge/", " edga/", " edgios/"],
        "Microsoft Edge",
        &[" edg/", " edge/", " edga/", " edgios/"],
    ),
    row(&["vivaldi/"], "Vivaldi", &["vivaldi/"]),
    row(&["seamonkey/"], "SeaMonkey", &["seamonkey/"]),
    row(&["sailfish"], "Sailfish", &["sailfishbrowser/", "sailfish browser/"]),
    row(&["silk/"], "Amazon Silk", &["silk/"]),
    row(&["phantomjs/"], "PhantomJS", &["phantomjs/"]),
    row(&["blackberry", "(bb10;"], "BlackBerry", &["version/"]),
    row(&["webos", "web0s"], "WebOS Browser", &["version/"]),
    row(&["tizen"], "Tizen", &["browser/", "version/"]),
    row(&["qupzilla/"], "QupZilla", &["qupzilla/"]),
    row(&["librewolf/"], "LibreWolf", &["librewolf/"]),
    row(&["firefox/", "iceweasel/", "fxios/"], "Firefox", &["firefox/", "iceweasel/", "fxios/"]),
    row(&["electron/"], "Electron", &["electron/"]),
    row(&["sogoumobilebrowser/", "metasr "], "Sogou Browser", &["sogoumobilebrowser/", "chrome/"]),
    row(&["miuibrowser/"], "Miui", &["miuibrowser/"]),
    row(&[" ddg/", "duckduckgo/"], "DuckDuckGo", &["ddg/", "duckduckgo/"]),
    row(&["chromium/"], "Chromium", &["chromium/"]),
    // Headless ones too, and every web view of Android that names nothing else.
    row(&["chrome/", "crios/"], "Chrome", &["chrome/", "crios/"]),
    row(&[" gsa/"], "Google Search", &["gsa/"]),
    row(&["playstation 4"], "PlayStation 4", &["version/"]),
];

/// The browser that `text` names; `lower` is the same in lower case, `woothee` what that library says of it.
pub fn browser<'w>(
    text: &str,
    lower: &str,
    woothee: impl FnOnce() -> Option<&'w WootheeResult<'w>>,
) -> Option<Browser> {
    robot(text)
        .or_else(|| in_table(lower))
        .or_else(|| of_engine(lower))
        .or_else(|| known(woothee()?))
        .or_else(|| product(text))
}

/// How the name of a robot ends.
const ROBOTS: [&str; 9] = [
    "bot",
    "spider",
    "crawler",
    "-user",
    "externalagent",
    "externalfetcher",
    "externalhit",
    "webindexer",
    "inspectiontool",
];

/// A robot by its own name: a product whose name ends like one, with a version behind it.
fn robot(text: &str) -> Option<Browser> {
    text.match_indices('/').find_map(|(slash, _)| {
        let major = digits(&text[slash + 1..])?;
        let in_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let start = text[..slash].rfind(|c: char| !in_name(c)).map_or(0, |at| {
            let after = text[at..].chars().next().map_or(1, char::len_utf8);
            at + after
        });
        let name = &text[start..slash];
        let ends_with = |ending: &str| {
            let at = name.len().checked_sub(ending.len());
            at.is_some_and(|at| name.as_bytes()[at..].eq_ignore_ascii_case(ending.as_bytes()))
        };
        // The telephones of that make have it in their name.
        let ends = ROBOTS.iter().any(|ending| ends_with(ending)) && !name.eq_ignore_ascii_case("cubot");
        ends.then(|| (Some(name.to_owned().into()), Some(major.to_owned().into())))
    })
}

fn in_table(lower: &str) -> Option<Browser> {
    let row = BROWSERS.iter().find(|row| row.markers.iter().any(|marker| lower.contains(marker)))?;
    Some((Some(row.name.into()), version(lower, row.versions)))
}

/// WebKit that names no browser is the system's own: a telephone's, or a web view in an app.
fn of_engine(lower: &str) -> Option<Browser> {
    if !lower.contains("applewebkit") && !lower.contains("safari/") {
        return None;
    }
    let is_android = lower.contains("android") && !lower.contains("like android");
    let name = if is_android { "Android Browser" } else { "Safari" };
    Some((Some(name.into()), version(lower, &["version/"])))
}

/// A browser as woothee names it.
fn known(woothee: &WootheeResult<'_>) -> Option<Browser> {
    let is_none = woothee.category == "misc" || woothee.name == "misc crawler" || names_none(woothee.name);
    if is_none || is_unknown(woothee.name) {
        return None;
    }
    let major = digits(woothee.version).map(|text| text.to_owned().into());
    Some((Some(woothee.name.to_owned().into()), major))
}

/// Whether a product says nothing of a browser: what every browser begins with, and parts that programs are made of.
fn names_none(product: &str) -> bool {
    ["Mozilla", "Dalvik", "Indy Library"].iter().any(|none| product.eq_ignore_ascii_case(none))
}

/// The product that an otherwise unknown user agent begins with, when it says more than that: `Name/1.2 (more)`. A
/// bare `curl/8.5.0` names no browser.
fn product(text: &str) -> Option<Browser> {
    let (name, rest) = text.split_once('/')?;
    let (version, _) = rest.split_once(' ')?;
    let name = name.trim();
    if name.is_empty() || names_none(name) || name.contains(['(', ')', ';', ',']) {
        return None;
    }
    let major = digits(version)?;
    Some((Some(name.to_owned().into()), Some(major.to_owned().into())))
}

fn version(lower: &str, keys: &[&str]) -> Option<Cow<'static, str>> {
    let major = keys.iter().find_map(|key| digits(after(lower, key)?))?;
    Some(major.to_owned().into())
}
