//! What every request passes: its host name, its origin, who sends it, how many there are, how long it takes. And what
//! every answer says to a browser.
//!
//! Open to anybody: the dashboard's files (they hold no data), `/healthz`, and the session. Everything else is read by
//! viewers; only operators ask agents for something.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, COOKIE, HOST, HeaderName, ORIGIN, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::problem::Problem;
use super::{Api, Shared};
use crate::access::{Caller, Role};

/// How many requests are answered at the same time; streams of events count only until they begin.
pub(super) const AT_ONCE: usize = 256;
/// How long one may take until its answer begins.
const TAKES: Duration = Duration::from_secs(30);

/// Where a request comes from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub(super) IpAddr);

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Whether a request that changes something comes from another site's page. Programs send neither header.
fn is_foreign(headers: &HeaderMap) -> bool {
    let fetched = text(headers, HeaderName::from_static("sec-fetch-site"));
    let origin = text(headers, ORIGIN).map(|origin| origin.split_once("://").map_or(origin, |(_, host)| host));
    fetched.is_some_and(|from| from != "same-origin" && from != "none")
        || origin.is_some_and(|host| Some(host) != text(headers, HOST))
}

/// What a path asks for; `None`: open to anybody.
fn needed(method: &Method, path: &str) -> Option<Role> {
    match path {
        "/" | "/healthz" | "/api/v1/session" | "/api/v1/session/end" => None,
        file if file.starts_with("/app/") => None,
        _ if method == Method::GET || method == Method::HEAD => Some(Role::Viewer),
        _ => Some(Role::Operator),
    }
}

/// Why a request goes no further, with the reason's name in the metrics.
type Refused = (&'static str, Problem);

fn check(api: &Api, request: &mut Request) -> Result<(), Refused> {
    let (headers, path) = (request.headers(), request.uri().path());
    let mut hosts = headers.get_all(HOST).iter();
    let host = hosts.next().and_then(|host| host.to_str().ok()).filter(|_| hosts.next().is_none());
    if path != "/healthz" && !host.is_some_and(|host| api.access.is_ours(host)) {
        let detail = "this gateway does not answer under that host name; add it to `hosts` in [access]";
        return Err(("host", Problem::new(421, "misdirected request", detail)));
    }
    if request.method() != Method::GET && is_foreign(headers) {
        let detail = "a page of another origin may not change anything here";
        return Err(("foreign", Problem::new(403, "forbidden", detail)));
    }
    let bearer = text(headers, AUTHORIZATION).and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    let peer = request.extensions().get::<Peer>().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.0);
    let needed = needed(request.method(), path);
    // What is open is open to wrong tokens too, and those are not counted.
    let bearer = bearer.filter(|_| needed.is_some());
    let caller = api.access.judge(bearer, text(headers, COOKIE), peer);
    if let Some(needed) = needed {
        match (&caller, caller.role()) {
            (Caller::Limited, _) => return Err(("too_many_failures", Problem::too_many())),
            (_, None) => return Err(("no_token", Problem::unauthorized())),
            (_, Some(role)) if role < needed => {
                let detail = "this token may only read; asking for something needs the role operator";
                return Err(("role", Problem::new(403, "forbidden", detail)));
            }
            _ => {}
        }
    }
    request.extensions_mut().insert(caller);
    Ok(())
}

async fn answer(api: &Api, mut request: Request, next: Next) -> Result<Response, Refused> {
    let Ok(_place) = api.places.try_acquire() else {
        return Err(("busy", Problem::unavailable("too many requests at the same time; ask again")));
    };
    check(api, &mut request)?;
    match tokio::time::timeout(TAKES, next.run(request)).await {
        Ok(response) => Ok(response),
        Err(_) => Err(("slow", Problem::unavailable("the request took too long to come or to answer; ask again"))),
    }
}

/// Around every request.
pub(super) async fn around(State(api): Shared, request: Request, next: Next) -> Response {
    let mut response = answer(&Arc::clone(&api), request, next).await.unwrap_or_else(|(reason, problem)| {
        api.metrics.refused(reason);
        problem.into_response()
    });
    api.metrics.request(response.status().as_u16());
    let headers = response.headers_mut();
    let policy = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; \
                  form-action 'none'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'";
    for (name, value) in [
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (CACHE_CONTROL, "no-store"),
        (REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (CONTENT_SECURITY_POLICY, policy),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}
