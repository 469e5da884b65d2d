//! What the fake saw: one record per request, secrets replaced by letters.
//!
//! The shape is that of `golden/screenshots.jsonl`: `server` (`qps`, `https`, `http`, `qrs`), `method`, `host`
//! (the Host header), `path` with query, `cookie`, `body`, `client_certificate`. `SID` stands for a session's id,
//! `T` for a ticket, `K` for an Xrfkey.

use serde::{Deserialize, Serialize};

/// One request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    pub server: String,
    pub method: String,
    pub host: String,
    pub path: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cookie: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    #[serde(default)]
    pub client_certificate: bool,
}

/// `path?query` with the values of tickets, keys and session ids replaced.
pub fn masked_path(path: &str, query: &str) -> String {
    let path = match path.rsplit_once("/session/") {
        Some((before, _)) if path.starts_with("/qps/") => format!("{before}/session/SID"),
        _ => path.to_owned(),
    };
    if query.is_empty() {
        return path;
    }
    let masked: Vec<String> = query
        .split('&')
        .map(|pair| {
            let name = pair.split('=').next().unwrap_or_default();
            match name.to_ascii_lowercase().as_str() {
                "qlikticket" => format!("{name}=T"),
                "xrfkey" => format!("{name}=K"),
                _ => pair.to_owned(),
            }
        })
        .collect();
    format!("{path}?{}", masked.join("&"))
}

/// A `Cookie` header with every value replaced.
pub fn masked_cookie(header: &str) -> String {
    let masked: Vec<String> = header
        .split("; ")
        .map(|pair| format!("{}=SID", pair.split('=').next().unwrap_or_default()))
        .collect();
    masked.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks() {
        let check = |path, query, expect: &str| assert_eq!(masked_path(path, query), expect);
        check("/tempcontent/a.png", "", "/tempcontent/a.png");
        check("/tempcontent/a.png", "b=direct&qlikTicket=abc", "/tempcontent/a.png?b=direct&qlikTicket=T");
        check("/qps/analytics/session/1-2-3", "Xrfkey=x", "/qps/analytics/session/SID?Xrfkey=K");
        check("/tempcontent/session/1", "", "/tempcontent/session/1");
        assert_eq!(masked_cookie("X-Qlik-Session=1; b=2"), "X-Qlik-Session=SID; b=SID");
    }
}
