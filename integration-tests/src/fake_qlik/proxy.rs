//! The fake's proxy: who may see an image, and what the image does when it is asked for.
//!
//! A request is let in by a session cookie of its virtual proxy, or by `qlikTicket`, which opens a session. Cookie
//! names: `X-Qlik-Session-Default` at the default virtual proxy, `X-Qlik-Session-<prefix>` at another one, each
//! with `-HTTP` behind it without TLS; for a user whose id begins `bare` plain `X-Qlik-Session` (`-HTTP`). They are
//! `Secure` with TLS, but for a user whose id begins `plain`.
//!
//! The query's `b` says what then happens:
//!
//! | `b` | answer |
//! |---|---|
//! | none, `direct` | a PNG of at least `kb` KiB, after `delay` ms |
//! | `jpeg`, `gif`, `webp` | an image of that kind |
//! | `redirect`, `relredir` | one hop, absolute or relative |
//! | `cross` | two hops: `proxy.test`, `node1.test` |
//! | `chain5`, `chainN` | that many hops: round the four hosts for 5, else all at `qlik.test` |
//! | `loop` | hops without end |
//! | `evil`, `evilN` | to `evil.test`, at once or at hop N |
//! | `tohttp` | from https to http |
//! | `ticketecho` | to a URL that repeats the ticket |
//! | `file`, `noloc`, `badloc`, `304` | broken redirects |
//! | `html`, `octet`, `noct`, `fakepng`, `lying`, `svg`, `empty`, `204` | what is not, or not obviously, an image |
//! | a status | that status (429 and 503 with `Retry-After: 1`) |
//! | `404then`, `503then` | that status twice for a path, then the image |
//! | `lateN` | 404 N times for a path, then the image |
//! | `hang` | no answer |
//! | `slow` | the image in pieces, over a second and a half |
//! | `trunc`, `cut` | half of the promised bytes, then the end; half of a chunked body, then the end |
//! | `big`, `bignolen` | `mb` MiB (60) with and without Content-Length |
//! | `gzbomb` | 60 MiB in a small gzip body |
//! | `nocookie` | the ticket is taken, no session opened |
//! | `newcookie` | the session is exchanged for another one at the image |
//! | `login` | to the login page, whoever asks |
//!
//! A `u` beside it names the user that the image is for; requests that come as another one are counted.

use std::io;
use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::body::{BodyStream, SizedStream};
use actix_web::http::{StatusCode, header};
use actix_web::web::Bytes;
use actix_web::{HttpResponse, HttpResponseBuilder};
use futures_util::stream;

use super::context::{Context, Server};
use super::pictures;
use super::state::{Redeemed, Unauthorized, User};

/// Prefixes of the virtual proxies; the default one is empty.
pub const VIRTUAL_PROXIES: [&str; 9] =
    ["", "analytics", "finance", "hdr", "it", "lab", "ops", "people", "sales"];

const PIECE_BYTES: usize = 64 * 1024;

const LOGIN_PAGE: &str =
    "<!doctype html><html><title>Qlik Sense</title><form><input name=username></form></html>";

/// What the request asks for.
struct Asked<'a> {
    path: &'a str,
    virtual_proxy: &'static str,
    pairs: Vec<(String, String)>,
}

impl<'a> Asked<'a> {
    fn new(request: &'a HttpRequest) -> Self {
        let path = request.path();
        let first = path.split('/').nth(1).unwrap_or_default();
        let virtual_proxy = VIRTUAL_PROXIES.iter().find(|vp| **vp == first).copied().unwrap_or_default();
        let pairs = url::form_urlencoded::parse(request.query_string().as_bytes()).into_owned().collect();
        Self { path, virtual_proxy, pairs }
    }

    fn get(&self, name: &str) -> &str {
        self.pairs.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value)
    }

    fn number(&self, name: &str) -> Option<usize> {
        self.get(name).parse().ok()
    }

    /// This path and query without the ticket, at hop number `hop`.
    fn at_hop(&self, hop: usize) -> String {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        for (name, value) in self.pairs.iter().filter(|(n, _)| n != "hop" && n != "qlikTicket") {
            query.append_pair(name, value);
        }
        query.append_pair("hop", &hop.to_string());
        format!("{}?{}", self.path, query.finish())
    }
}

/// Answers a request to the proxy.
pub async fn proxy(context: &Context, request: &HttpRequest) -> HttpResponse {
    let asked = Asked::new(request);
    if asked.path.contains("/internal_forms_authentication") {
        return login_page();
    }
    let mut opened = None;
    let user = match session_user(context, request, &asked) {
        Some(user) => user,
        None => {
            match context.state.redeem(
                asked.get("qlikTicket"),
                asked.virtual_proxy,
                asked.get("b") != "nocookie",
            ) {
                Redeemed::Taken(user) => user,
                Redeemed::Opened { user, session_id } => {
                    opened = Some(session_cookie(context, &asked, &user, session_id));
                    user
                }
                Redeemed::Refused => return unauthorized(context, &asked),
                Redeemed::LockedOut => {
                    return HttpResponse::Forbidden()
                        .content_type("text/html")
                        .body("<html>You cannot access Qlik Sense because you have too many sessions active in parallel.</html>");
                }
            }
        }
    };
    if !asked.get("u").is_empty() && asked.get("u") != user.id {
        context.state.count_mixed_users();
    }
    let mut answer = behave(context, &asked, &user).await;
    if let Some(cookie) = opened {
        answer.headers_mut().append(header::SET_COOKIE, cookie);
    }
    answer
}

fn session_user(context: &Context, request: &HttpRequest, asked: &Asked<'_>) -> Option<User> {
    let cookies = request.headers().get(header::COOKIE)?.to_str().ok()?;
    cookies.split("; ").filter_map(|cookie| cookie.split_once('=')).find_map(|(name, value)| {
        let user = context.state.user_of_session(value, asked.virtual_proxy)?;
        (cookie_stem(asked, &user) == name.trim_end_matches("-HTTP")).then_some(user)
    })
}

fn cookie_stem(asked: &Asked<'_>, user: &User) -> String {
    match asked.virtual_proxy {
        _ if user.id.starts_with("bare") => "X-Qlik-Session".to_owned(),
        "" => "X-Qlik-Session-Default".to_owned(),
        prefix => format!("X-Qlik-Session-{prefix}"),
    }
}

fn session_cookie(
    context: &Context,
    asked: &Asked<'_>,
    user: &User,
    session_id: String,
) -> header::HeaderValue {
    let stem = cookie_stem(asked, user);
    let cookie = match context.server {
        Server::Http => format!("{stem}-HTTP={session_id}; Path=/; HttpOnly"),
        _ if user.id.starts_with("plain") => format!("{stem}={session_id}; Path=/; HttpOnly"),
        _ => format!("{stem}={session_id}; Path=/; HttpOnly; Secure; SameSite=None"),
    };
    header::HeaderValue::try_from(cookie).expect("letters, digits and punctuation")
}

fn unauthorized(context: &Context, asked: &Asked<'_>) -> HttpResponse {
    match context.state.unauthorized() {
        Unauthorized::Status401 => HttpResponse::Unauthorized().finish(),
        Unauthorized::Status403 => HttpResponse::Forbidden().finish(),
        Unauthorized::LoginRedirect => to_login(asked),
        Unauthorized::LoginPage => login_page(),
        Unauthorized::UntypedLoginPage => bytes(None, LOGIN_PAGE),
        Unauthorized::Redirect(location) => redirect(location.to_owned()),
    }
}

fn to_login(asked: &Asked<'_>) -> HttpResponse {
    let slash = if asked.virtual_proxy.is_empty() { "" } else { "/" };
    redirect(format!("{slash}{}/internal_forms_authentication/?targetId=x", asked.virtual_proxy))
}

fn login_page() -> HttpResponse {
    HttpResponse::Ok().content_type("text/html; charset=utf-8").body(LOGIN_PAGE)
}

async fn behave(context: &Context, asked: &Asked<'_>, user: &User) -> HttpResponse {
    let hop = asked.number("hop").unwrap_or(0);
    let https = |host: &str, hop: usize| redirect(context.url(host, Server::Https, &asked.at_hop(hop)));
    if let Some(delay) = asked.number("delay") {
        actix_rt::time::sleep(Duration::from_millis(delay as u64)).await;
    }
    let what = asked.get("b");
    match what {
        "redirect" if hop < 1 => https("qlik.test", 1),
        "relredir" if hop < 1 => redirect(asked.at_hop(1)),
        "cross" if hop < 2 => https(["proxy.test", "node1.test"][hop], hop + 1),
        "chain5" if hop < 5 => {
            https(["qlik.test", "proxy.test", "node1.test", "node2.test", "qlik.test"][hop], hop + 1)
        }
        "loop" => https("qlik.test", hop + 1),
        "tohttp" if hop < 1 => redirect(context.url("qlik.test", Server::Http, &asked.at_hop(1))),
        "ticketecho" if hop < 1 => {
            redirect(format!("{}&qlikTicket={}", asked.at_hop(1), asked.get("qlikTicket")))
        }
        "file" => redirect("file:///etc/passwd".to_owned()),
        "noloc" => HttpResponse::Found().finish(),
        "badloc" => redirect("http://[bad".to_owned()),
        "login" => to_login(asked),
        "html" => login_page(),
        "octet" => bytes(Some("application/octet-stream"), picture(asked)),
        "noct" => bytes(None, picture(asked)),
        "fakepng" => bytes(Some("image/png"), "this is not a picture"),
        "lying" => bytes(Some("image/png"), pictures::JPEG),
        "svg" => bytes(Some("image/svg+xml"), "<svg xmlns=\"http://www.w3.org/2000/svg\"/>"),
        "empty" => bytes(Some("image/png"), Bytes::new()),
        "jpeg" => image(context, "image/jpeg", pictures::JPEG),
        "gif" => image(context, "image/gif", pictures::GIF),
        "webp" => image(context, "image/webp", pictures::WEBP),
        "404then" | "503then" if context.state.count_try(asked.path) < 3 => {
            status(StatusCode::from_u16(what[..3].parse().unwrap_or(404)).unwrap_or_default())
        }
        _ if what
            .strip_prefix("late")
            .and_then(|tries| tries.parse().ok())
            .is_some_and(|tries: u32| context.state.count_try(asked.path) <= tries) =>
        {
            status(StatusCode::NOT_FOUND)
        }
        "hang" => {
            context.never().await;
            HttpResponse::GatewayTimeout().finish()
        }
        "slow" => {
            let pause_ms = asked.number("pause").unwrap_or(300);
            in_pieces(picture(asked), 5, Duration::from_millis(pause_ms as u64))
        }
        "trunc" => truncated(picture(asked), true),
        "cut" => truncated(picture(asked), false),
        "big" | "bignolen" => big(asked.number("mb").unwrap_or(60) << 20, what == "big"),
        "gzbomb" => {
            let mut answer = bytes(Some("image/png"), context.gzip_bomb());
            answer.headers_mut().insert(header::CONTENT_ENCODING, header::HeaderValue::from_static("gzip"));
            answer
        }
        "newcookie" => {
            let ticket = context.state.issue_ticket(user.clone(), asked.virtual_proxy);
            let mut answer = image(context, "image/png", picture(asked));
            if let Redeemed::Opened { session_id, .. } =
                context.state.redeem(&ticket, asked.virtual_proxy, true)
            {
                let cookie = session_cookie(context, asked, user, session_id);
                answer.headers_mut().append(header::SET_COOKIE, cookie);
            }
            answer
        }
        _ => {
            if let Some(hops) = what.strip_prefix("chain").and_then(|n| n.parse::<usize>().ok())
                && hop < hops
            {
                return https("qlik.test", hop + 1);
            }
            if let Some(at) = what.strip_prefix("evil") {
                let at = at.parse().unwrap_or(1);
                return https(if hop + 1 >= at { "evil.test" } else { "qlik.test" }, hop + 1);
            }
            match what.parse::<u16>().ok().and_then(|code| StatusCode::from_u16(code).ok()) {
                Some(code) => status(code),
                None => image(context, "image/png", picture(asked)),
            }
        }
    }
}

fn picture(asked: &Asked<'_>) -> Bytes {
    pictures::png(asked.path, asked.number("kb").unwrap_or(0) << 10)
}

fn redirect(location: String) -> HttpResponse {
    HttpResponse::Found().insert_header((header::LOCATION, location)).finish()
}

fn status(code: StatusCode) -> HttpResponse {
    let mut answer = HttpResponse::build(code);
    if matches!(code.as_u16(), 429 | 503) {
        answer.insert_header((header::RETRY_AFTER, "1"));
    }
    answer.finish()
}

fn bytes(content_type: Option<&'static str>, body: impl Into<Bytes>) -> HttpResponse {
    let mut answer = HttpResponse::Ok();
    if let Some(content_type) = content_type {
        answer.content_type(content_type);
    }
    answer.body(body.into())
}

fn image(context: &Context, content_type: &'static str, body: impl Into<Bytes>) -> HttpResponse {
    context.state.count_image();
    bytes(Some(content_type), body)
}

fn png_head() -> HttpResponseBuilder {
    let mut answer = HttpResponse::Ok();
    answer.content_type("image/png");
    answer
}

/// The whole body, with its length, in `pieces` pieces and a pause before each.
fn in_pieces(body: Bytes, pieces: usize, pause: Duration) -> HttpResponse {
    let length = body.len();
    let piece = length.div_ceil(pieces);
    let stream = stream::unfold(body, move |mut rest| async move {
        if rest.is_empty() {
            return None;
        }
        actix_rt::time::sleep(pause).await;
        let next = rest.split_to(piece.min(rest.len()));
        Some((Ok::<_, io::Error>(next), rest))
    });
    png_head().body(SizedStream::new(length as u64, stream))
}

/// Half of the body, then a broken connection.
fn truncated(body: Bytes, has_length: bool) -> HttpResponse {
    let length = body.len() as u64;
    let half = body.slice(..length as usize / 2);
    let stream = stream::unfold(Some(half), |half| async move {
        match half {
            Some(half) => Some((Ok(half), None)),
            None => {
                // What was sent shall arrive before the connection ends.
                actix_rt::time::sleep(Duration::from_millis(50)).await;
                Some((Err(io::Error::other("cut")), None))
            }
        }
    });
    let stream = Box::pin(stream);
    if has_length {
        png_head().body(SizedStream::new(length, stream))
    } else {
        png_head().body(BodyStream::new(stream))
    }
}

/// A body of `length` bytes that begins like a PNG.
fn big(length: usize, has_length: bool) -> HttpResponse {
    let stream = stream::unfold(0, move |sent| async move {
        if sent >= length {
            return None;
        }
        let size = PIECE_BYTES.min(length - sent);
        let mut piece = vec![0x55; size];
        if sent == 0 {
            piece[..8].copy_from_slice(pictures::PNG_SIGNATURE);
        }
        // Lets others on this thread have their turn.
        actix_rt::task::yield_now().await;
        Some((Ok::<_, io::Error>(Bytes::from(piece)), sent + size))
    });
    let stream = Box::pin(stream);
    if has_length {
        png_head().body(SizedStream::new(length as u64, stream))
    } else {
        png_head().body(BodyStream::new(stream))
    }
}
