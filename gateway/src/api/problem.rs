//! An error as RFC 9457 `application/problem+json`: what is wrong and what to do.

use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

/// The answer to a request that cannot be met (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Problem {
    #[serde(rename = "type")]
    kind: &'static str,
    /// What kind of error.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// What is wrong and what to do.
    detail: String,
}

impl Problem {
    pub(super) fn new(status: u16, title: &'static str, detail: &str) -> Self {
        Self { kind: "about:blank", title, status, detail: detail.to_owned() }
    }

    pub(super) fn bad_request(detail: &str) -> Self {
        Self::new(400, "bad request", detail)
    }

    pub(super) fn not_found(detail: &str) -> Self {
        Self::new(404, "not found", detail)
    }

    pub(super) fn conflict(detail: &str) -> Self {
        Self::new(409, "conflict", detail)
    }

    /// No token, or an unknown one.
    pub(super) fn unauthorized() -> Self {
        let detail =
            "a token is needed: Authorization: Bearer TOKEN, or log in on the page; `fettle-gateway token` makes one";
        Self::new(401, "unauthorized", detail)
    }

    /// A token that begins no session.
    pub(super) fn unknown_token() -> Self {
        let detail = "this token is not known here: look whether it is whole, or ask whoever runs this gateway for one";
        Self::new(401, "unauthorized", detail)
    }

    /// Too many wrong tokens.
    pub(super) fn too_many() -> Self {
        Self::new(429, "too many requests", "too many wrong tokens came from this address; wait a minute")
    }

    pub(super) fn unavailable(detail: &str) -> Self {
        Self::new(503, "unavailable", detail)
    }

    /// Logged as well: it is ours to put right.
    pub(super) fn internal(detail: &str) -> Self {
        tracing::error!("a request failed: {detail}");
        Self::new(500, "internal error", detail)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        // A struct of texts and a number always encodes.
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let kind = HeaderValue::from_static("application/problem+json");
        let mut response = (status, [(CONTENT_TYPE, kind)], body).into_response();
        let more = match status {
            StatusCode::UNAUTHORIZED => Some((WWW_AUTHENTICATE, "Bearer")),
            StatusCode::TOO_MANY_REQUESTS => Some((RETRY_AFTER, "60")),
            _ => None,
        };
        if let Some((name, value)) = more {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        response
    }
}
