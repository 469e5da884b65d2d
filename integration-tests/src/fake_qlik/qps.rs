//! The fake's QPS and QRS: both behind mutual TLS and the Xrfkey check.
//!
//! QPS: `POST /qps/[{virtual proxy}/]ticket` and `DELETE /qps/[{virtual proxy}/]session/{id}`. QRS: the app list.
//! A user id that begins `q` and goes on with one of these words makes QPS misbehave for that user:
//!
//! | id | answer to a ticket request |
//! |---|---|
//! | `q<status>` (`q500`, `q403`, …) | that status |
//! | `qnoticket`, `qempty`, `qnull` | 201 without `Ticket`, with an empty one, with `null` |
//! | `qhtml`, `qbadjson` | 200 and a page, 200 and broken JSON |
//! | `qredirect` | 302 to another path of QPS |
//! | `qhang` | none |
//! | `qslow` | a ticket, after a second |

use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;
use serde_json::json;

use super::context::Context;
use super::proxy::VIRTUAL_PROXIES;
use super::state::User;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct TicketRequest {
    user_directory: String,
    user_id: String,
}

/// Answers a request to QPS.
pub async fn qps(context: &Context, request: &HttpRequest, body: &[u8]) -> HttpResponse {
    if let Some(refused) = refuse_key(request) {
        return refused;
    }
    let path = request.path();
    let Some(rest) = path.strip_prefix("/qps/") else { return HttpResponse::NotFound().finish() };
    let method = request.method().as_str();
    if let Some((virtual_proxy, id)) = split_session(rest) {
        return match method {
            "DELETE" => delete(context, virtual_proxy, id),
            _ => HttpResponse::MethodNotAllowed().finish(),
        };
    }
    let virtual_proxy = match rest {
        "ticket" => "",
        _ => match rest.strip_suffix("/ticket") {
            Some(virtual_proxy) => virtual_proxy,
            None => return HttpResponse::NotFound().finish(),
        },
    };
    if method != "POST" {
        return HttpResponse::MethodNotAllowed().finish();
    }
    if !VIRTUAL_PROXIES.contains(&virtual_proxy) {
        return HttpResponse::NotFound().body("The specified virtual proxy does not exist");
    }
    ticket(context, virtual_proxy, body).await
}

/// Answers a request to QRS: `GET /qrs/app`.
pub fn qrs(context: &Context, request: &HttpRequest) -> HttpResponse {
    if let Some(refused) = refuse_key(request) {
        return refused;
    }
    let user = header(request, "X-Qlik-User").to_ascii_lowercase();
    if !user.contains("userdirectory=") || !user.contains("userid=") {
        return HttpResponse::Forbidden().body("no user");
    }
    if request.path() != "/qrs/app" || request.method() != "GET" {
        return HttpResponse::NotFound().finish();
    }
    let apps: Vec<_> = context
        .state
        .apps()
        .into_iter()
        .map(|(id, name)| json!({"id": id, "name": name, "published": true, "schemaPath": "App"}))
        .collect();
    HttpResponse::Ok().json(apps)
}

/// Header and query must hold the same key of 16 characters.
fn refuse_key(request: &HttpRequest) -> Option<HttpResponse> {
    let header = header(request, "X-Qlik-Xrfkey");
    let query = request
        .query_string()
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .find(|(name, _)| name.eq_ignore_ascii_case("xrfkey"))
        .map_or("", |(_, value)| value);
    let is_key = query.len() == 16 && query.bytes().all(|b| b.is_ascii_alphanumeric());
    (!is_key || header != query)
        .then(|| HttpResponse::Forbidden().body("XSRF prevention check failed. Possible XSRF discovered."))
}

fn header<'a>(request: &'a HttpRequest, name: &str) -> &'a str {
    request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// `[{virtual proxy}/]session/{id}`
fn split_session(rest: &str) -> Option<(&str, &str)> {
    match rest.strip_prefix("session/") {
        Some(id) => Some(("", id)),
        None => rest.split_once("/session/"),
    }
}

fn delete(context: &Context, virtual_proxy: &str, id: &str) -> HttpResponse {
    match context.state.delete_session(id, virtual_proxy) {
        Some(user) => HttpResponse::Ok().json(json!({
            "Session": {"UserDirectory": user.directory, "UserId": user.id, "SessionId": id}
        })),
        None => HttpResponse::NotFound().finish(),
    }
}

async fn ticket(context: &Context, virtual_proxy: &str, body: &[u8]) -> HttpResponse {
    let Ok(asked) = serde_json::from_slice::<TicketRequest>(body) else {
        return HttpResponse::BadRequest().body("The body is no ticket request");
    };
    // QPS does not take a backslash inside the values.
    if asked.user_directory.is_empty()
        || asked.user_id.is_empty()
        || asked.user_directory.contains('\\')
        || asked.user_id.contains('\\')
    {
        return HttpResponse::BadRequest().finish();
    }
    let user = User { directory: asked.user_directory, id: asked.user_id };
    if let Some(status) = user.id.strip_prefix('q').and_then(|rest| rest.parse().ok())
        && let Ok(status) = StatusCode::from_u16(status)
    {
        return HttpResponse::build(status).finish();
    }
    let answer = |ticket: serde_json::Value| {
        HttpResponse::Created().json(json!({
            "UserDirectory": user.directory, "UserId": user.id, "Attributes": [], "Ticket": ticket, "TargetUri": null
        }))
    };
    match user.id.as_str() {
        "qnoticket" => return HttpResponse::Created().json(json!({"UserId": user.id})),
        "qempty" => return answer(json!("")),
        "qnull" => return answer(json!(null)),
        "qhtml" => return HttpResponse::Ok().content_type("text/html").body("<html>login</html>"),
        "qbadjson" => return HttpResponse::Created().content_type("application/json").body("{\"Ticket\":"),
        "qredirect" => {
            return HttpResponse::Found().insert_header(("Location", "/qps/elsewhere/ticket")).finish();
        }
        "qhang" => context.never().await,
        "qslow" => actix_rt::time::sleep(Duration::from_secs(1)).await,
        _ => {}
    }
    answer(json!(context.state.issue_ticket(user.clone(), virtual_proxy)))
}
