//! Whether an address, or the beginning of a body, is a login page: how a proxy says that a session is over.
//!
//! A proxy sends a client without a session to its own forms, or to an identity provider (SAML, OpenID Connect,
//! ADFS), which may stand behind the proxy's own name. A wrong guess costs one ticket: it is asked only about a
//! session that came from the cache. Rules: contract, screenshots.md, "The walk" 8.

use url::Url;

/// First words of the paths of Qlik's own login pages.
const QLIK_LOGINS: [&str; 2] = ["internal_forms_authentication", "internal_windows_authentication"];

/// Path segments, without what follows a dot, that stand for a login.
const LOGIN_SEGMENTS: [&str; 18] = [
    "adfs",
    "authn",
    "authorize",
    "idp",
    "login",
    "logon",
    "oauth",
    "oauth2",
    "oidc",
    "oidcauthn",
    "openid",
    "saml",
    "saml2",
    "samlauthn",
    "sign-in",
    "signin",
    "sso",
    "wsfed",
];

/// Whether a redirect from `from` leads to a login page. What both paths begin with is a virtual proxy's prefix, which
/// may have any name, and says nothing.
pub fn is_login(target: &Url, from: &Url) -> bool {
    let segments = |url: &Url| -> Vec<String> {
        url.path().split('/').filter(|s| !s.is_empty()).map(str::to_ascii_lowercase).collect()
    };
    let (target_path, from_path) = (segments(target), segments(from));
    let shared = if target.host_str() == from.host_str() {
        target_path.iter().zip(&from_path).take_while(|(a, b)| a == b).count()
    } else {
        0
    };
    target_path[shared..].iter().any(|segment| is_login_segment(segment)) || has_login_query(target)
}

fn is_login_segment(segment: &str) -> bool {
    if QLIK_LOGINS.iter().any(|login| segment.starts_with(login)) {
        return true;
    }
    let stem = segment.split(['.', ';']).next().unwrap_or_default();
    LOGIN_SEGMENTS.contains(&stem)
}

/// A request to an identity provider: SAML, WS-Federation, OpenID Connect.
fn has_login_query(url: &Url) -> bool {
    let has = |wanted: &str| url.query_pairs().any(|(name, _)| name.eq_ignore_ascii_case(wanted));
    let is_federation = || {
        let mut pairs = url.query_pairs();
        pairs.any(|(name, value)| name.eq_ignore_ascii_case("wa") && value.starts_with("wsignin"))
    };
    has("SAMLRequest")
        || is_federation()
        || (has("client_id") && (has("response_type") || has("redirect_uri")))
}

/// Whether a body that begins with `head` is a page, whatever its Content-Type says.
pub fn is_page(head: &[u8]) -> bool {
    let head = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start();
    head.first() == Some(&b'<')
        && head.get(1).is_some_and(|byte| byte.is_ascii_alphabetic() || matches!(byte, b'!' | b'?'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn login_addresses() {
        let check = |from: &str, to: &str, expect: bool| {
            let from = Url::parse(from).unwrap();
            assert_eq!(is_login(&from.join(to).unwrap(), &from), expect, "{from} to {to}");
        };
        let image = "https://qlik.test/tempcontent/a.png";
        for to in [
            "/internal_forms_authentication/?targetId=x",
            "/analytics/Internal_Windows_Authentication/?targetId=x",
            "/login",
            "login",
            "../login.aspx?ReturnUrl=%2f",
            "./Logon.html;jsessionid=1",
            "/analytics/samlauthn/",
            "/analytics/oidcauthn?x=1",
            "/adfs/ls/?wa=x",
            "/adfs/oauth2/authorize?client_id=x",
            "/realms/corp/protocol/saml",
            "/x?SAMLRequest=abc",
            "/x?wa=wsignin1.0&wtrealm=y",
            "/x?client_id=1&redirect_uri=y",
            "//other.test/oauth2/v2.0/authorize",
            "?SAMLRequest=abc",
        ] {
            check(image, to, true);
        }
        for to in [
            "/other.png",
            "/analytics/tempcontent/login-logo.png",
            "/tempcontent/b.png?next=/login",
            "/tempcontent/b.png?client_id=1",
            "//proxy.test/tempcontent/b.png",
            "/hub",
        ] {
            check(image, to, false);
        }
        // A virtual proxy called like a login.
        check("https://qlik.test/saml/tempcontent/a.png", "b.png", false);
        check("https://qlik.test/saml/tempcontent/a.png", "/saml/resources/b.png", false);
        check("https://qlik.test/saml/tempcontent/a.png", "/saml/login/", true);
        check("https://qlik.test/saml/tempcontent/a.png", "/SSO/", true);
    }

    #[test]
    fn beginnings_of_pages() {
        let check = |head: &[u8], expect| assert_eq!(is_page(head), expect, "{head:?}");
        check(b"<!doctype html>", true);
        check(b"\xef\xbb\xbf\r\n <html>", true);
        check(b"<?xml version='1.0'?>", true);
        check(b"<", false);
        check(b"< b", false);
        check(b"\x89PNG\r\n\x1a\n", false);
        check(b"this is not a picture", false);
        check(b"", false);
    }
}
