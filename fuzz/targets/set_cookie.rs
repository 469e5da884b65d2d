//! A session from whatever `Set-Cookie` goes back in a header and a path that it cannot break out of.

use butler_sos_domain::session_cookie::{SessionCookieNames, SessionCookies, SetSession};
use butler_sos_domain::virtual_proxy::VirtualProxy;
use secrecy::ExposeSecret;
use url::Url;

/// `bytes` are values of `Set-Cookie`, one a line.
pub fn run(bytes: &[u8]) {
    let names = SessionCookieNames { configured: Some("my-session".to_owned()) };
    let mut session = SessionCookies::default();
    let Ok(from) = Url::parse("https://qlik.example.com/tempcontent/a.png") else { return };
    for line in bytes.split(|byte| *byte == b'\n').take(16) {
        match names.read(line, &from) {
            None => {}
            Some(SetSession::End { name }) => {
                session.remove(&name);
            }
            Some(SetSession::Begin(cookie)) => {
                assert!(names.matches(cookie.name()), "{}", cookie.name());
                let id = cookie.expose_id().to_owned();
                // Another value of that length looks the same.
                let other = format!("{}={}", cookie.name(), "x".repeat(cookie.value_bytes()));
                let Some(SetSession::Begin(other)) = names.read(other.as_bytes(), &from) else {
                    panic!("no session: {other:?}");
                };
                assert_eq!(format!("{cookie:?}"), format!("{other:?}"), "the value is shown");
                assert_path(&VirtualProxy::default_proxy().session_path(&id));
                session.set(cookie);
            }
        }
    }
    if let Some(header) = session.header(&from, true) {
        let header = header.expose_secret();
        assert!(header.is_ascii() && !header.contains(|c: char| c.is_ascii_control()), "{header:?}");
        assert!(header.split("; ").all(|pair| pair.contains('=') && !pair.contains(';')), "{header:?}");
        assert_eq!(header.split("; ").count(), session.iter().count());
    }
}

/// The id stays one segment, whatever it is.
fn assert_path(path: &str) {
    let id = path.strip_prefix("/qps/session/").expect("the path of a session");
    assert!(!id.contains(['/', '?', '#', '\\']), "{path:?}");
    let url = Url::parse(&format!("https://qps.test{path}?Xrfkey=k")).expect("a URL");
    assert!(url.path().starts_with("/qps/session/"), "{path:?} is {url}");
    assert_eq!(url.query(), Some("Xrfkey=k"));
}
