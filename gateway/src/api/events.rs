//! `GET /api/v1/events`: what changes, as server-sent events (HTML standard, chapter of that name).
//!
//! A reader's task looks into the ring, hands what it finds to the connection and waits; it holds nothing else. A
//! connection that takes nothing is closed by [`super::listen`], one that falls behind the ring ends here.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response, Result};
use futures_util::stream;

use super::{Shared, problem::Problem};
use crate::clock;
use crate::live::hub::heartbeat;
use crate::live::{Hub, Next, Place};

/// How often a quiet stream gives a sign of life.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// What changes, as it is taken in: server-sent events `hello` (first connection), `resumed` (what was missed follows),
/// `reset` (it no longer can: read everything again), `tick` (sign of life with the gateway's time), `asset` (as in the
/// list of assets), `alarm` (as in the list of alarms), `health` (a record was added to an asset's history),
/// `evidence` (as in an asset's list of evidence, with site and asset), `ledger` (sums) and `status` (this instance).
#[utoipa::path(get, path = "/api/v1/events", tag = "live",
    params(("Last-Event-ID" = Option<String>, Header, description = "the id of the last event that was heard")),
    responses((status = 200, description = "as asked for", body = String, content_type = "text/event-stream"),
        (status = 503, description = "it cannot be done now; ask again", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn events(State(api): Shared, headers: HeaderMap) -> Result<Response, Problem> {
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    let Some((place, greeting)) = Hub::listen(&api.hub, last) else {
        return Err(Problem::unavailable("too many pages listen already; ask this or another instance again"));
    };
    Ok(([(CONTENT_TYPE, "text/event-stream")], Body::from_stream(stream(place, greeting))).into_response())
}

fn stream(place: Place, greeting: String) -> impl futures_util::Stream<Item = Result<String, Infallible>> {
    stream::unfold((place, Some(greeting)), |(mut place, greeting)| async move {
        if let Some(greeting) = greeting {
            return Some((Ok(greeting), (place, None)));
        }
        loop {
            match place.read() {
                Next::Events(text) => return Some((Ok(text), (place, None))),
                Next::Lost => return None,
                Next::Nothing => {}
            }
            tokio::select! {
                () = place.changed() => {}
                () = tokio::time::sleep(HEARTBEAT) => return Some((Ok(heartbeat(clock::wall())), (place, None))),
            }
        }
    })
}
