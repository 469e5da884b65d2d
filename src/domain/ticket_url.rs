//! A ticket in a URL: put in to be redeemed, taken out of redirects, hidden in logs.
//!
//! The parameter is `qlikTicket`. Its name is compared decoded and without case, so that no spelling of it slips
//! through; all other parameters keep their bytes. Rules: contract, screenshots.md, "The walk" 5, "Never logged".

use url::Url;
use url::form_urlencoded;

/// The query parameter that a proxy redeems.
pub const TICKET_PARAMETER: &str = "qlikTicket";

/// What stands for a ticket in a log.
pub const REDACTED: &str = "[redacted]";

/// Puts a ticket into the query: in the place of one that is there already, else at the end.
pub fn with_ticket(url: &Url, ticket: &str) -> Url {
    let value: String = form_urlencoded::byte_serialize(ticket.as_bytes()).collect();
    let mut parts = Vec::new();
    let mut is_placed = false;
    for part in query_parts(url) {
        if !is_ticket(part) {
            parts.push(part.to_owned());
        } else if !is_placed {
            parts.push(format!("{TICKET_PARAMETER}={value}"));
            is_placed = true;
        }
    }
    if !is_placed {
        parts.push(format!("{TICKET_PARAMETER}={value}"));
    }
    with_query(url, &parts)
}

/// Takes this very ticket out of the query, should a redirect have carried it along: it is spent. A ticket of the
/// redirecting server's own stays.
pub fn without_ticket(url: &Url, ticket: &str) -> Url {
    let is_spent = |part: &str| {
        form_urlencoded::parse(part.as_bytes())
            .any(|(name, value)| name.eq_ignore_ascii_case(TICKET_PARAMETER) && value == ticket)
    };
    if !query_parts(url).any(is_spent) {
        return url.clone();
    }
    let parts: Vec<String> = query_parts(url).filter(|part| !is_spent(part)).map(str::to_owned).collect();
    with_query(url, &parts)
}

/// The URL as a log may show it: no ticket, no user information, no fragment.
pub fn url_for_log(url: &Url) -> String {
    let mut shown = url.clone();
    // Both fail only for URLs that cannot hold user information, which then hold none.
    let _ = shown.set_username("");
    let _ = shown.set_password(None);
    shown.set_fragment(None);
    if !query_parts(url).any(is_ticket) {
        return shown.into();
    }
    let parts: Vec<String> = query_parts(url)
        .map(|part| if is_ticket(part) { format!("{TICKET_PARAMETER}={REDACTED}") } else { part.to_owned() })
        .collect();
    shown.set_query(None);
    format!("{shown}?{}", parts.join("&"))
}

/// Any text that should be a URL, as a log may show it. What is no URL is not shown.
pub fn text_for_log(text: &str) -> String {
    Url::parse(text).map_or_else(|_| "[not a URL]".to_owned(), |url| url_for_log(&url))
}

fn query_parts(url: &Url) -> impl Iterator<Item = &str> {
    url.query().unwrap_or_default().split('&').filter(|part| !part.is_empty())
}

fn is_ticket(part: &str) -> bool {
    form_urlencoded::parse(part.as_bytes()).any(|(name, _)| name.eq_ignore_ascii_case(TICKET_PARAMETER))
}

fn with_query(url: &Url, parts: &[String]) -> Url {
    let mut url = url.clone();
    url.set_query((!parts.is_empty()).then(|| parts.join("&")).as_deref());
    url
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn url(tail: &str) -> Url {
        Url::parse(&format!("https://qlik.test{tail}")).unwrap()
    }

    #[test]
    fn put_in() {
        let check =
            |tail: &str, expect: &str| assert_eq!(with_ticket(&url(tail), "T-1"), url(expect), "{tail}");
        check("/a.png", "/a.png?qlikTicket=T-1");
        check("/a.png?", "/a.png?qlikTicket=T-1");
        check("/a.png?b=direct", "/a.png?b=direct&qlikTicket=T-1");
        check("/a.png?b=a%20b&c=d+e", "/a.png?b=a%20b&c=d+e&qlikTicket=T-1");
        check("/a.png?qlikTicket=old&b=direct", "/a.png?qlikTicket=T-1&b=direct");
        check("/a.png?QlikTicket=1&b=2&qlik%54icket=3", "/a.png?qlikTicket=T-1&b=2");
        check("/a.png?qlikTicketX=1", "/a.png?qlikTicketX=1&qlikTicket=T-1");
        assert_eq!(with_ticket(&url("/"), "a&b=c d").as_str(), "https://qlik.test/?qlikTicket=a%26b%3Dc+d");
    }

    #[test]
    fn taken_out() {
        let check =
            |tail: &str, expect: &str| assert_eq!(without_ticket(&url(tail), "T-1"), url(expect), "{tail}");
        check("/a.png?b=1", "/a.png?b=1");
        check("/a.png?qlikTicket=T-1", "/a.png");
        check("/a.png?b=1&qlikTicket=T-1&c=2", "/a.png?b=1&c=2");
        check("/a.png?QLIKTICKET=T%2D1", "/a.png");
        check("/a.png?qlikTicket=another", "/a.png?qlikTicket=another");
        check("/a.png?", "/a.png?");
    }

    #[test]
    fn hidden() {
        let check = |text: &str, expect: &str| assert_eq!(text_for_log(text), expect, "{text}");
        check("https://qlik.test/a.png?b=1", "https://qlik.test/a.png?b=1");
        check("https://qlik.test/?qlikTicket=S&b=1", "https://qlik.test/?qlikTicket=[redacted]&b=1");
        check("https://qlik.test/?b=1&QLIKticket=S#frag", "https://qlik.test/?b=1&qlikTicket=[redacted]");
        check("https://qlik.test/?qlik%54icket=S", "https://qlik.test/?qlikTicket=[redacted]");
        check("https://me:S@qlik.test/a", "https://qlik.test/a");
        check("https://qlik.test/\u{1b}[31m", "https://qlik.test/%1B[31m");
        check("not a url qlikTicket=S", "[not a URL]");
        check("file:///etc/x?qlikTicket=S", "file:///etc/x?qlikTicket=[redacted]");
    }

    proptest! {
        #[test]
        fn no_ticket_is_shown(before in "[a-z=&%+ ]{0,12}", name in "[qQ][lL][iI][kK][tT]icket", after in "[a-z=&%+ ]{0,12}") {
            let shown = text_for_log(&format!("https://u:SECRET0@qlik.test/?{before}&{name}=SECRET1&{after}"));
            prop_assert!(!shown.contains("SECRET"), "{}", shown);
        }

        #[test]
        fn in_and_out_again(query in "[a-z]{1,5}(=[a-z%+]{0,5})?(&[a-z]{1,5}(=[a-z%+]{0,5})?){0,3}") {
            let before = url(&format!("/x?{query}"));
            prop_assert_eq!(without_ticket(&with_ticket(&before, "TICKET"), "TICKET"), before);
        }
    }
}
