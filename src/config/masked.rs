//! What a message, a page or the log may show of text from outside.
//!
//! Settings that are secrets have a type that does not print. This is for the others, into which people put secrets all
//! the same: user information, paths and queries of addresses, and what stands behind a key that lacks its blank.

use std::borrow::Cow;

use url::Url;

/// What stands for something hidden.
pub const HIDDEN: &str = "***";

const HIDDEN_USER: &str = "***@";

/// Most characters of a text in a message.
const CHARACTERS_MAX: usize = 60;
/// The same for a name.
const NAME_CHARACTERS_MAX: usize = 300;

/// A text for a message: user information, paths and queries of addresses hidden, control characters escaped, cut after
/// 60 characters.
pub fn quoted(text: &str) -> String {
    format!("`{}`", shortened(&masked(text)))
}

/// Control characters escaped, and cut.
fn shortened(text: &str) -> String {
    let mut short: String = text.chars().take(CHARACTERS_MAX).flat_map(char::escape_default).collect();
    if text.chars().nth(CHARACTERS_MAX).is_some() {
        short.push('…');
    }
    short
}

/// A path of settings or another name that a file may have a part in, for a message: as in [`quoted`], without quotes
/// and longer.
pub fn name(text: &str) -> String {
    let shown: String = masked(text).chars().take(NAME_CHARACTERS_MAX).collect();
    if shown.contains(char::is_control) { shown.escape_default().to_string() } else { shown }
}

/// Hides what may be secret in an address, or in what was meant to be one.
pub fn masked(text: &str) -> Cow<'_, str> {
    let (scheme, user, rest) = parts(text);
    let host =
        if scheme.is_empty() { rest.len() } else { rest.find(['/', '\\', '?', '#']).unwrap_or(rest.len()) };
    let (host, tail) = rest.split_at(host);
    if user.is_empty() && tail.len() <= 1 {
        return Cow::Borrowed(text);
    }
    let user = if user.is_empty() { "" } else { HIDDEN_USER };
    let (end, hidden) = if tail.len() > 1 { (&tail[..1], HIDDEN) } else { (tail, "") };
    Cow::Owned(format!("{scheme}{user}{host}{end}{hidden}"))
}

/// Scheme with its slashes, user information with its `@`, and the rest. Text without a scheme has user information
/// when it looks like `name:password@host`. A password may hold slashes and further `@`.
fn parts(text: &str) -> (&str, &str, &str) {
    let start = match text.find("://") {
        Some(at) => at + 3,
        None if text.starts_with("//") => 2,
        None => 0,
    };
    let (scheme, rest) = text.split_at(start);
    let user = rest.rfind('@').map(|at| at + 1).unwrap_or_default();
    let (user, host) = rest.split_at(user);
    if scheme.is_empty() && !user.contains(':') { (scheme, "", rest) } else { (scheme, user, host) }
}

/// An address for people who look at the settings: user information and query are hidden, the rest is as it was given.
/// Other text is as it is.
pub fn without_credentials(text: &str) -> Cow<'_, str> {
    let (scheme, user, rest) = parts(text);
    let query = if scheme.is_empty() { None } else { rest.find('?') };
    let (rest, query) = rest.split_at(query.map_or(rest.len(), |at| at + 1));
    if (user.is_empty() && query.is_empty()) || (scheme.is_empty() && text.contains(char::is_whitespace)) {
        return Cow::Borrowed(text);
    }
    let user = if user.is_empty() { "" } else { HIDDEN_USER };
    let query = if query.is_empty() { "" } else { HIDDEN };
    Cow::Owned(format!("{scheme}{user}{rest}{query}"))
}

/// Scheme, host and port of an address whose path may be a secret; nothing of what is no address.
pub fn origin_only(text: &str) -> String {
    match Url::parse(text.trim()) {
        Ok(url) if url.has_host() => format!("{}/{HIDDEN}", url.origin().ascii_serialization()),
        _ => HIDDEN.to_owned(),
    }
}

/// A key from a file: its first word alone, for `password:secret` without a blank is a key too.
pub fn key(text: &str) -> String {
    let is_word = |c: char| c.is_alphanumeric() || "_-./<>$".contains(c);
    let end = text.find(|c: char| !is_word(c)).unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    let next = rest.chars().next().filter(|c| c.is_ascii_graphic()).map(String::from).unwrap_or_default();
    let hidden = if rest.is_empty() { "" } else { HIDDEN };
    format!("{}{next}{hidden}", shortened(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_hide_what_may_be_secret_in_an_address() {
        for (text, expect) in [
            ("https://user:SECRET@nr.example.com", "`https://***@nr.example.com`"),
            ("http://admin:SECRET@influx.example.com:8086", "`http://***@influx.example.com:8086`"),
            ("mqtt://u:SECRET@b", "`mqtt://***@b`"),
            ("https://u:SEC/RET@h/x", "`https://***@h/***`"),
            ("https://SECRET@h", "`https://***@h`"),
            ("https://h/SECRET", "`https://h/***`"),
            ("https://h?token=SECRET", "`https://h?***`"),
            ("https://h#SECRET", "`https://h#***`"),
            ("//u:SECRET@h", "`//***@h`"),
            ("u:SECRET@h", "`***@h`"),
            ("u:SEC@RET@h", "`***@h`"),
            ("name@example.com", "`name@example.com`"),
            ("data//x/y", "`data//x/y`"),
            ("HTTPS://U:SECRET@H/", "`HTTPS://***@H/`"),
            ("mqtt://broker", "`mqtt://broker`"),
            ("https://qlik.example.com", "`https://qlik.example.com`"),
            ("qlik.example.com:443", "`qlik.example.com:443`"),
            ("loud", "`loud`"),
            ("10.0.0.0/40", "`10.0.0.0/40`"),
            ("<IP or FQDN>", "`<IP or FQDN>`"),
            ("a\u{1b}b", "`a\\u{1b}b`"),
        ] {
            assert_eq!(quoted(text), expect, "{text}");
        }
        assert_eq!(quoted(&"x".repeat(61)), format!("`{}…`", "x".repeat(60)));
    }

    #[test]
    fn settings_are_shown_without_credentials() {
        for (text, expect) in [
            ("https://u:SECRET@h/path", "https://***@h/path"),
            ("https://h/path?key=SECRET", "https://h/path?***"),
            ("mqtt://u:SECRET@b", "mqtt://***@b"),
            ("u:SECRET@b", "***@b"),
            ("https://h/path", "https://h/path"),
            ("//h", "//h"),
            ("name@example.com", "name@example.com"),
            ("a: b @ c", "a: b @ c"),
            ("what?", "what?"),
            ("C:\\x", "C:\\x"),
        ] {
            assert_eq!(without_credentials(text), expect, "{text}");
        }
    }

    #[test]
    fn of_an_address_with_a_secret_path_the_origin_is_shown() {
        for (text, expect) in [
            ("https://hc.example.com/ping/SECRET", "https://hc.example.com/***"),
            ("HTTPS://u:SECRET@HC.example.com:8443/SECRET?x=SECRET", "https://hc.example.com:8443/***"),
            ("SECRET", "***"),
            ("mailto:SECRET", "***"),
        ] {
            assert_eq!(origin_only(text), expect, "{text}");
        }
    }

    #[test]
    fn of_a_key_the_first_word_is_shown() {
        for (text, expect) in [
            ("hostPort", "hostPort"),
            ("Butler_SOS", "Butler_SOS"),
            ("password:SECRET", "password:***"),
            ("password=SECRET", "password=***"),
            ("password SECRET", "password***"),
            ("pass\u{1b}SECRET", "pass***"),
            ("", ""),
        ] {
            assert_eq!(key(text), expect, "{text}");
        }
    }
}
