//! Session cookies of a Qlik proxy: recognised in `Set-Cookie`, sent back, never printed.
//!
//! A proxy names its cookie `X-Qlik-Session`, `X-Qlik-Session-<virtual proxy>`, `…-HTTP` without TLS, or as the
//! virtual proxy's "session cookie header name" says. The value is the session's id at QPS. A cookie belongs to the host
//! that set it, or to the domain that this host may speak for (RFC 6265). Rules: contract, screenshots.md, "Session
//! cookie".

use std::fmt;

use cookie::Cookie;
use secrecy::{ExposeSecret, SecretString};
use url::{Host, Url};

use crate::transport::is_plain;

/// The beginning of the names that Qlik Sense gives by itself.
pub const SESSION_COOKIE_PREFIX: &str = "X-Qlik-Session";

/// Longest value that is kept, in bytes. Qlik's are GUIDs.
const VALUE_BYTES_MAX: usize = 1024;

/// Most cookies of one session; more are not kept.
const COOKIES_MAX: usize = 4;

/// Which cookie names stand for a session.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SessionCookieNames {
    /// `auth.qps.sessionCookieName`: a name beside Qlik's own.
    pub configured: Option<String>,
}

impl SessionCookieNames {
    /// Whether a cookie of this name is a session: `X-Qlik-Session`, alone or followed by `-…`, or the configured
    /// name; case does not matter.
    pub fn matches(&self, name: &str) -> bool {
        if self.configured.as_deref().is_some_and(|own| own.eq_ignore_ascii_case(name)) {
            return true;
        }
        let (head, tail) = name.split_at_checked(SESSION_COOKIE_PREFIX.len()).unwrap_or((name, "?"));
        head.eq_ignore_ascii_case(SESSION_COOKIE_PREFIX) && (tail.is_empty() || tail.starts_with('-'))
    }

    /// What one `Set-Cookie` value of an answer from `from` says about a session, if anything.
    pub fn read(&self, set_cookie: &[u8], from: &Url) -> Option<SetSession> {
        let text = std::str::from_utf8(set_cookie).ok()?;
        let cookie = Cookie::parse(text).ok()?;
        let (name, value) = (cookie.name(), cookie.value());
        if !self.matches(name) || !is_token(name) {
            return None;
        }
        let is_ended = cookie.max_age().is_some_and(|age| !age.is_positive())
            || cookie
                .expires_datetime()
                .is_some_and(|t| t <= time::OffsetDateTime::UNIX_EPOCH + time::Duration::DAY);
        if is_ended || cookie.value_trimmed().is_empty() {
            return Some(SetSession::End { name: name.to_owned() });
        }
        if value.len() > VALUE_BYTES_MAX || !value.bytes().all(is_cookie_octet) {
            return None;
        }
        let cookie = SessionCookie {
            name: name.to_owned(),
            value: value.to_owned().into(),
            scope: Scope::of(cookie.domain().unwrap_or_default(), from)?,
            is_secure: cookie.secure().unwrap_or(false),
            is_from_plain_http: is_plain(from),
        };
        // In a path they would lead elsewhere, however they are encoded.
        if matches!(cookie.expose_id(), "." | "..") {
            return None;
        }
        Some(SetSession::Begin(cookie))
    }
}

/// What a `Set-Cookie` does to a session.
#[derive(Debug, Clone)]
pub enum SetSession {
    /// A session began, or goes on with the same id.
    Begin(SessionCookie),
    /// The server took the cookie away (empty value, no age left).
    End { name: String },
}

/// Where a cookie may be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Scope {
    /// To the host that set it.
    Host(String),
    /// To this host and those below it.
    Domain(String),
}

impl Scope {
    /// `None` for a `Domain` that the host does not belong to or cannot speak for: such a cookie is ignored.
    fn of(domain: &str, from: &Url) -> Option<Self> {
        let host = from.host()?;
        let own = host.to_string();
        let domain = domain.trim().trim_start_matches('.').to_ascii_lowercase();
        if domain.is_empty() || domain == own {
            let is_name = matches!(host, Host::Domain(_)) && own.contains('.') && !domain.is_empty();
            return Some(if is_name { Self::Domain(own) } else { Self::Host(own) });
        }
        // A name without a dot is nobody's own domain.
        let is_above = matches!(host, Host::Domain(_)) && domain.contains('.') && is_below(&own, &domain);
        is_above.then_some(Self::Domain(domain))
    }

    fn covers(&self, host: &str) -> bool {
        match self {
            Self::Host(own) => own == host,
            Self::Domain(domain) => domain == host || is_below(host, domain),
        }
    }
}

fn is_below(host: &str, domain: &str) -> bool {
    host.strip_suffix(domain).is_some_and(|head| head.ends_with('.'))
}

/// One session cookie. Its value does not print, and is wiped when dropped. Two are equal when name and value are.
#[derive(Clone)]
pub struct SessionCookie {
    name: String,
    value: SecretString,
    scope: Scope,
    /// Never for plain http.
    is_secure: bool,
    is_from_plain_http: bool,
}

impl SessionCookie {
    /// Whether a request for `url` may carry it. `is_carried`: a redirect led there from the host that has it.
    fn is_for(&self, url: &Url, is_carried: bool) -> bool {
        (!self.is_secure || !is_plain(url))
            && (is_carried || url.host_str().is_some_and(|host| self.scope.covers(host)))
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The session's id at QPS: the value without quotes around it. For the path of a deletion and nothing else.
    pub fn expose_id(&self) -> &str {
        let value = self.value.expose_secret();
        value.strip_prefix('"').and_then(|v| v.strip_suffix('"')).unwrap_or(value)
    }

    /// Length of the value, which a log may show.
    pub fn value_bytes(&self) -> usize {
        self.value.expose_secret().len()
    }
}

impl PartialEq for SessionCookie {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.value.expose_secret() == other.value.expose_secret()
    }
}

impl Eq for SessionCookie {}

impl fmt::Debug for SessionCookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}=[{} bytes]", self.name, self.value_bytes())
    }
}

/// The cookies that make up one session: one, unless a proxy sets several names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SessionCookies(Vec<SessionCookie>);

impl SessionCookies {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &SessionCookie> {
        self.0.iter()
    }

    /// Takes a cookie in; the one of the same name that it replaces, when its id was another, comes back. Plain http
    /// replaces nothing that is not for it: there anybody on the way can set cookies.
    pub fn set(&mut self, cookie: SessionCookie) -> Option<SessionCookie> {
        if let Some(held) = self.0.iter_mut().find(|held| held.name == cookie.name) {
            let is_same = *held == cookie;
            if held.is_secure && cookie.is_from_plain_http {
                return (!is_same).then_some(cookie);
            }
            let before = std::mem::replace(held, cookie);
            return (!is_same).then_some(before);
        }
        if self.0.len() < COOKIES_MAX {
            self.0.push(cookie);
            return None;
        }
        // Not kept, so to be ended like one that was replaced.
        Some(cookie)
    }

    /// Takes the cookie of this name out.
    pub fn remove(&mut self, name: &str) -> Option<SessionCookie> {
        let index = self.0.iter().position(|held| held.name == name)?;
        Some(self.0.remove(index))
    }

    /// The cookies that `other` does not hold too.
    pub fn without(&self, other: &Self) -> Self {
        Self(self.0.iter().filter(|cookie| !other.0.contains(cookie)).cloned().collect())
    }

    /// The value of a `Cookie` header for `url`; `None` when there is nothing to send. `is_carried`: a redirect led
    /// there, and sessions go along.
    pub fn header(&self, url: &Url, is_carried: bool) -> Option<SecretString> {
        let pairs: Vec<String> = self
            .0
            .iter()
            .filter(|cookie| cookie.is_for(url, is_carried))
            .map(|cookie| format!("{}={}", cookie.name, cookie.value.expose_secret()))
            .collect();
        (!pairs.is_empty()).then(|| pairs.join("; ").into())
    }
}

impl FromIterator<SessionCookie> for SessionCookies {
    fn from_iter<I: IntoIterator<Item = SessionCookie>>(cookies: I) -> Self {
        let mut all = Self::default();
        for cookie in cookies {
            all.set(cookie);
        }
        all
    }
}

fn is_token(name: &str) -> bool {
    name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

/// What may stand in a `Cookie` header's value: printable ASCII without the separators.
fn is_cookie_octet(byte: u8) -> bool {
    matches!(byte, 0x21..=0x7e) && byte != b';' && byte != b','
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn qlik() -> Url {
        Url::parse("https://qlik.example.com/").unwrap()
    }

    #[test]
    fn matches_the_names_of_session_cookies() {
        let names = SessionCookieNames { configured: Some("MySession".to_owned()) };
        let check = |name, expect| assert_eq!(names.matches(name), expect, "{name}");
        check("X-Qlik-Session", true);
        check("x-qlik-session", true);
        check("X-Qlik-Session-Default", true);
        check("X-Qlik-Session-analytics", true);
        check("X-QLIK-SESSION-HTTP", true);
        check("X-Qlik-Session-", true);
        check("mysession", true);
        check("X-Qlik-Sessions", false);
        check("X-Qlik-Sessio", false);
        check("XX-Qlik-Session", false);
        check("X-Qlik-CSRF-Token", false);
        check("", false);
        check("X-Qlik-Sessi\u{f6}n-long", false);
        assert!(!SessionCookieNames::default().matches("MySession"));
    }

    #[test]
    fn set_cookie() {
        let names = SessionCookieNames::default();
        let check = |text: &str, expect: Option<Option<(&str, &str)>>| {
            let found = names.read(text.as_bytes(), &qlik());
            let found = found.as_ref().map(|set| match set {
                SetSession::Begin(cookie) => Some((cookie.name(), cookie.expose_id())),
                SetSession::End { .. } => None,
            });
            assert_eq!(found, expect, "{text}");
        };
        let one = Some(Some(("X-Qlik-Session", "5d06")));
        check("X-Qlik-Session=5d06", one);
        check("X-Qlik-Session=5d06; Path=/; HttpOnly; Secure; SameSite=None", one);
        check(" X-Qlik-Session = 5d06 ; path=/", one);
        check("X-Qlik-Session=\"5d06\"", one);
        check("X-Qlik-Session=5d06; Max-Age=3600", one);
        check("X-Qlik-Session=5d06; Expires=nonsense", one);
        check("X-Qlik-Session-Analytics=a=b", Some(Some(("X-Qlik-Session-Analytics", "a=b"))));
        check("X-Qlik-Session=", Some(None));
        check("X-Qlik-Session=5d06; Max-Age=0", Some(None));
        check("X-Qlik-Session=5d06; Expires=Thu, 01 Jan 1970 00:00:00 GMT", Some(None));
        check("other=5d06", None);
        check("X-Qlik-Session", None);
        check("", None);
        check("X-Qlik-Session=a b", None);
        check("X-Qlik-Session=..", None);
        check("X-Qlik-Session=\".\"", None);
        check("X-Qlik-Session=...", Some(Some(("X-Qlik-Session", "..."))));
        check("X-Qlik-Session=a\r\nX-Evil: 1", None);
        check("X-Qlik-Session=\u{e9}", None);
        check(&format!("X-Qlik-Session={}", "x".repeat(2000)), None);
        assert!(names.read(b"X-Qlik-Session=\xff", &qlik()).is_none());
    }

    #[test]
    fn several_cookies() {
        let cookie = |text: &str| match SessionCookieNames::default().read(text.as_bytes(), &qlik()) {
            Some(SetSession::Begin(cookie)) => cookie,
            other => panic!("{other:?}"),
        };
        let mut cookies = SessionCookies::default();
        assert!(cookies.header(&qlik(), false).is_none());
        assert_eq!(cookies.set(cookie("X-Qlik-Session-A=1")), None);
        assert_eq!(cookies.set(cookie("X-Qlik-Session-A=1")), None);
        assert_eq!(cookies.set(cookie("X-Qlik-Session-B=2")), None);
        let replaced = cookies.set(cookie("X-Qlik-Session-A=3"));
        assert_eq!(replaced.as_ref().map(SessionCookie::expose_id), Some("1"));
        let header = cookies.header(&qlik(), false).unwrap();
        assert_eq!(header.expose_secret(), "X-Qlik-Session-A=3; X-Qlik-Session-B=2");
        assert!(cookies.remove("X-Qlik-Session-A").is_some());
        assert!(cookies.remove("X-Qlik-Session-A").is_none());
        for name in ["C", "D", "E"] {
            assert_eq!(cookies.set(cookie(&format!("X-Qlik-Session-{name}=x"))), None);
        }
        assert_eq!(cookies.set(cookie("X-Qlik-Session-F=y")).unwrap().name(), "X-Qlik-Session-F");
    }

    #[test]
    fn values_do_not_print() {
        let read = SessionCookieNames::default().read(b"X-Qlik-Session-A=secret", &qlik());
        let Some(SetSession::Begin(cookie)) = read else { panic!() };
        let cookies: SessionCookies = [cookie.clone()].into_iter().collect();
        let printed = format!("{cookie:?} {cookies:?} {cookies:#?} {:?}", SetSession::Begin(cookie.clone()));
        assert!(!printed.contains("secret"), "{printed}");
        assert!(printed.contains("X-Qlik-Session-A=[6 bytes]"));
    }

    /// `set` at `from`: is it sent to `to`, and is it when a redirect led there?
    fn check_scope(from: &str, set: &str, to: &str, expect: (bool, bool)) {
        let (from, to) = (Url::parse(from).unwrap(), Url::parse(to).unwrap());
        let set = format!("X-Qlik-Session=1{set}");
        let cookies: SessionCookies = match SessionCookieNames::default().read(set.as_bytes(), &from) {
            Some(SetSession::Begin(cookie)) => [cookie].into_iter().collect(),
            _ => SessionCookies::default(),
        };
        let found = (cookies.header(&to, false).is_some(), cookies.header(&to, true).is_some());
        assert_eq!(found, expect, "{set} from {from} to {to}");
    }

    #[test]
    fn a_cookie_goes_to_the_host_that_set_it() {
        let from = "https://qlik.example.com/a";
        let check = |set: &str, to: &str, expect| check_scope(from, set, to, expect);
        check("", "https://qlik.example.com:8443/b", (true, true));
        check("", "https://proxy.example.com/", (false, true));
        check("", "https://sub.qlik.example.com/", (false, true));
        check("", "https://example.com/", (false, true));
        check("; Domain=qlik.example.com", "https://qlik.example.com/", (true, true));
        check("; Domain=qlik.example.com", "https://sub.qlik.example.com/", (true, true));
        check("; Domain=.EXAMPLE.com", "https://proxy.example.com/", (true, true));
        check("; Domain=example.com", "https://example.com/", (true, true));
        check("; Domain=example.com", "https://badexample.com/", (false, true));
        check("; Domain=", "https://qlik.example.com/", (true, true));
        check("; Domain=", "https://proxy.example.com/", (false, true));
        // Domains that it does not belong to, or that are nobody's own: the cookie is ignored.
        check("; Domain=com", "https://qlik.example.com/", (false, false));
        check("; Domain=evil.test", "https://qlik.example.com/", (false, false));
        check("; Domain=other.qlik.example.com", "https://qlik.example.com/", (false, false));
        check("; Domain=ample.com", "https://qlik.example.com/", (false, false));
        check_scope("https://10.0.0.1/", "; Domain=0.0.1", "https://10.0.0.1/", (false, false));
        check_scope("https://10.0.0.1/", "; Domain=10.0.0.1", "https://10.0.0.1/", (true, true));
        check_scope("https://localhost/", "; Domain=localhost", "https://localhost/", (true, true));
        check_scope("https://localhost/", "; Domain=localhost", "https://a.localhost/", (false, true));
    }

    #[test]
    fn a_secure_cookie_never_goes_over_plain_http() {
        let (https, http) = ("https://qlik.example.com/", "http://qlik.example.com/");
        check_scope(https, "; Secure", https, (true, true));
        check_scope(https, "; secure; HttpOnly", http, (false, false));
        check_scope(https, "", http, (true, true));
        check_scope(http, "", https, (true, true));
        check_scope(http, "; Secure", http, (false, false));
    }

    #[test]
    fn plain_http_replaces_no_secure_cookie() {
        let read = |text: &str, from: &str| {
            let from = Url::parse(from).unwrap();
            match SessionCookieNames::default().read(text.as_bytes(), &from) {
                Some(SetSession::Begin(cookie)) => cookie,
                other => panic!("{other:?}"),
            }
        };
        let (https, http) = ("https://qlik.example.com/", "http://qlik.example.com/");
        let mut cookies: SessionCookies = [read("X-Qlik-Session=1; Secure", https)].into_iter().collect();
        assert_eq!(cookies.set(read("X-Qlik-Session=1", http)), None);
        let refused = cookies.set(read("X-Qlik-Session=2", http));
        assert_eq!(refused.as_ref().map(SessionCookie::expose_id), Some("2"));
        assert!(cookies.header(&Url::parse(http).unwrap(), true).is_none());
        assert_eq!(cookies.header(&qlik(), false).unwrap().expose_secret(), "X-Qlik-Session=1");
    }

    proptest! {
        #[test]
        fn any_header_is_met(bytes in proptest::collection::vec(any::<u8>(), 0..60), named in any::<bool>()) {
            let mut text = if named { b"X-Qlik-Session=".to_vec() } else { Vec::new() };
            text.extend(bytes);
            if let Some(SetSession::Begin(cookie)) = SessionCookieNames::default().read(&text, &qlik()) {
                let header = SessionCookies::from_iter([cookie]).header(&qlik(), true).unwrap();
                prop_assert!(header.expose_secret().bytes().all(|b| (0x20..0x7f).contains(&b)));
            }
        }
    }
}
