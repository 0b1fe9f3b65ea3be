//! Who the page's user is: a token begins a session, which the browser keeps in a cookie that no script reads.

use std::net::{IpAddr, Ipv4Addr};

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::HeaderMap;
use axum::http::header::SET_COOKIE;
use axum::response::{IntoResponse, Response, Result};
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::act::read;
use super::guard::Peer;
use super::{Shared, problem::Problem};
use crate::access::{Caller, Role};
use crate::clock;

/// Who asks.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Session {
    /// Whether a token is needed.
    required: bool,
    /// The token's name, which requests will carry.
    #[serde(skip_serializing_if = "Option::is_none")]
    person: Option<String>,
    /// What it may do; absent for who has no token and needs one.
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<Role>,
}

/// A token.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Login {
    /// As `fettle-gateway token` printed it.
    token: String,
}

fn session(required: bool, caller: &Caller) -> Session {
    let person = match caller {
        Caller::Known(person) => Some(person.name.clone()),
        Caller::Anyone | Caller::Stranger | Caller::Limited => None,
    };
    Session { required, person, role: caller.role() }
}

/// Whether a token is needed, and who asks.
#[utoipa::path(get, path = "/api/v1/session", tag = "instance", responses((status = 200, description = "as asked for", body = Session)))]
pub(super) async fn show(State(api): Shared, Extension(caller): Extension<Caller>) -> Json<Session> {
    Json(session(api.access.is_required(), &caller))
}

/// Begins a session of 12 hours, kept in a cookie.
#[utoipa::path(post, path = "/api/v1/session", tag = "instance", request_body = Login,
    responses((status = 200, description = "begun", body = Session),
        (status = 400, description = "the request is wrong; the detail says how", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "no such token", body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "the body is not JSON", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "too many wrong tokens came from this address", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn begin(
    State(api): Shared,
    peer: Option<Extension<Peer>>,
    headers: HeaderMap,
    body: std::result::Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let login: Login = read(&headers, body, "{\"token\": \"..\"}")?;
    if !api.access.is_required() {
        return Ok(Json(session(false, &Caller::Anyone)).into_response());
    }
    let from = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |Extension(peer)| peer.0);
    match api.access.judge_token(login.token.trim(), from) {
        Caller::Known(person) => {
            let cookie = api.access.begin(&person.name, clock::wall()).ok_or_else(Problem::unauthorized)?;
            tracing::info!(person = person.name, "session begun");
            Ok(([(SET_COOKIE, cookie)], Json(session(true, &Caller::Known(person)))).into_response())
        }
        Caller::Limited => {
            api.metrics.refused("too_many_failures");
            Err(Problem::too_many())
        }
        Caller::Anyone | Caller::Stranger => {
            api.metrics.refused("no_token");
            Err(Problem::unknown_token())
        }
    }
}

/// Ends the session.
#[utoipa::path(post, path = "/api/v1/session/end", tag = "instance", responses((status = 200, description = "ended", body = Session)))]
pub(super) async fn end(State(api): Shared) -> Response {
    let required = api.access.is_required();
    let caller = if required { Caller::Stranger } else { Caller::Anyone };
    ([(SET_COOKIE, api.access.end())], Json(session(required, &caller))).into_response()
}
