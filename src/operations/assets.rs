//! The dashboard's files, in the binary. They hold nothing about this server; all that is shown is asked for.

use actix_web::HttpResponse;
use actix_web::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};

struct Asset {
    path: &'static str,
    content_type: &'static str,
    text: &'static str,
}

macro_rules! asset {
    ($name:literal, $content_type:literal) => {
        Asset {
            path: concat!("/", $name),
            content_type: $content_type,
            text: include_str!(concat!("dashboard/", $name)),
        }
    };
}

const ASSETS: &[Asset] = &[
    asset!("index.html", "text/html; charset=utf-8"),
    asset!("configuration.html", "text/html; charset=utf-8"),
    asset!("style.css", "text/css; charset=utf-8"),
    asset!("app.js", "text/javascript; charset=utf-8"),
    asset!("api.js", "text/javascript; charset=utf-8"),
    asset!("dom.js", "text/javascript; charset=utf-8"),
    asset!("flow.js", "text/javascript; charset=utf-8"),
    asset!("json.js", "text/javascript; charset=utf-8"),
    asset!("lists.js", "text/javascript; charset=utf-8"),
    asset!("rates.js", "text/javascript; charset=utf-8"),
    asset!("settings.js", "text/javascript; charset=utf-8"),
    asset!("configuration.js", "text/javascript; charset=utf-8"),
    asset!("icon.svg", "image/svg+xml"),
];

/// Nothing from elsewhere, no code but ours, no frame around it. Screenshots are fetched with the token and shown
/// from memory, hence `blob:`.
const POLICY: &str = "default-src 'self'; img-src 'self' blob:; object-src 'none'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'";

#[must_use]
pub fn is_asset(path: &str) -> bool {
    ASSETS.iter().any(|asset| asset.path == path)
}

/// The file at `path`, if it is one of the dashboard's.
#[must_use]
pub fn asset(path: &str) -> Option<HttpResponse> {
    let asset = ASSETS.iter().find(|asset| asset.path == path)?;
    Some(
        HttpResponse::Ok()
            .content_type(asset.content_type)
            .insert_header((CONTENT_SECURITY_POLICY, POLICY))
            .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"))
            .insert_header((X_FRAME_OPTIONS, "DENY"))
            .insert_header((REFERRER_POLICY, "no-referrer"))
            .insert_header((HeaderName::from_static("cross-origin-opener-policy"), "same-origin"))
            // An updated server must not meet the page of the one before.
            .insert_header((CACHE_CONTROL, "no-cache"))
            .body(asset.text),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_needs_nothing_from_elsewhere_and_builds_no_html_from_text() {
        for Asset { path, text, .. } in ASSETS {
            for forbidden in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
                "http://",
                "https://",
            ] {
                let text = text.replace("http://www.w3.org/2000/svg", "");
                assert!(!text.contains(forbidden), "{path} has {forbidden}");
            }
        }
    }

    #[test]
    fn no_inline_code_or_style_that_the_policy_would_refuse() {
        for Asset { path, text, .. } in ASSETS.iter().filter(|asset| asset.path.ends_with(".html")) {
            for forbidden in ["<style", " style=", " onclick", " onload", "<script>"] {
                assert!(!text.contains(forbidden), "{path} has {forbidden}");
            }
        }
    }
}
