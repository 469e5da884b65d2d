//! Which operating system a user agent names. `woothee` is asked last: it knows no macOS above 10, takes a processor
//! for a version, and leaves the system out for robots.

use std::borrow::Cow;

use woothee::parser::WootheeResult;

use super::text::{after, dotted, dotted_after, is_unknown};

/// Name and version of an operating system.
pub type OperatingSystem = (Option<Cow<'static, str>>, Option<Cow<'static, str>>);

/// The system that `text` names; `lower` is the same in lower case, `woothee` what that library says of it.
pub fn operating_system<'w>(
    text: &str,
    lower: &str,
    woothee: impl FnOnce() -> Option<&'w WootheeResult<'w>>,
) -> OperatingSystem {
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
    } else if has("openharmony") {
        ("HarmonyOS", dotted_after(lower, &["openharmony "]))
    } else if has("android") && !has("like android") {
        ("Android", dotted_after(lower, &["android ", "android-", "android/"]))
    } else if has("blackberry") || has("(bb10;") {
        ("BlackBerry", blackberry_version(lower))
    } else if has("tizen") {
        ("Tizen", dotted_after(lower, &["tizen/", "tizen "]))
    } else if has("webos") || has("web0s") {
        ("WebOS", dotted_after(lower, &["webos/", "web0s/"]))
    } else if has("linux") {
        ("Linux", None)
    } else if text.contains("CrOS") {
        ("Chrome OS", None)
    } else if has("playstation 4") {
        ("PlayStation 4", dotted_after(lower, &["playstation 4 ", "playstation 4/"]))
    } else {
        return woothee().map(known).unwrap_or_default();
    };
    (Some(name.into()), version.map(Cow::Owned))
}

/// What woothee says, without a guess: to Butler SOS no BSD is a system, and to woothee all are one.
fn known(woothee: &WootheeResult<'_>) -> OperatingSystem {
    if is_unknown(woothee.os) || woothee.category == "misc" || woothee.os == "BSD" {
        return (None, None);
    }
    // Also a processor can stand where woothee looks for the version.
    let version = dotted(&woothee.os_version).map(Cow::Owned);
    (Some(woothee.os.to_owned().into()), version)
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
        ("5.2", "2003"),
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

/// `(bb10; touch)` or `blackberry9700/5.0.0.862`.
fn blackberry_version(lower: &str) -> Option<String> {
    if let Some(rest) = after(lower, "(bb") {
        return dotted(rest);
    }
    let (model, rest) = after(lower, "blackberry")?.split_once('/')?;
    model.bytes().all(|byte| byte.is_ascii_digit()).then(|| dotted(rest))?
}
