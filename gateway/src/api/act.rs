//! What every request to an agent has in common: the body is read, the command sent, the answer is 202 and pending until
//! the agent confirms; asking again is asking once. And the adoption of an asset; requests about alarms are in
//! [`super::alarm_act`].

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response, Result};
use axum::{Extension, Json};
use fettle_wire::Command;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use utoipa::{IntoResponses, ToSchema};

use super::{Api, Shared, problem::Problem};
use crate::access::Caller;
use crate::alarms::Pending;
use crate::clock;
use crate::commands::{self, CommandError};
use crate::fleet::asset::{AccountRecord, LEDGER, command_key};

/// Who adopts.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Adopt {
    /// The person's name, 1 to 128 bytes; needed where no token tells it.
    person: Option<String>,
}

/// What a request led to.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Answer {
    /// `pending`, or how it is already: `acknowledged`, `shelved`, `unshelved`, `commented`, `labelled`, `in_service`.
    status: &'static str,
    /// Who had done it before.
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<String>,
    /// The requests on their way.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pending: Vec<Pending>,
}

/// How a request may be answered, for the document.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "described, never made")]
pub(super) enum Led {
    /// on its way
    #[response(status = 202)]
    OnItsWay(Answer),
    /// it is so already
    #[response(status = 200)]
    Already(Answer),
    /// the request is wrong; the detail says how
    #[response(status = 400, content_type = "application/problem+json")]
    Wrong(Problem),
    /// there is no such thing
    #[response(status = 404, content_type = "application/problem+json")]
    Unknown(Problem),
    /// it is at another occurrence
    #[response(status = 409, content_type = "application/problem+json")]
    Elsewhere(Problem),
    /// the body is too large
    #[response(status = 413, content_type = "application/problem+json")]
    Large(Problem),
    /// the body is not JSON
    #[response(status = 415, content_type = "application/problem+json")]
    NotJson(Problem),
    /// it cannot be done now; ask again
    #[response(status = 503, content_type = "application/problem+json")]
    NotNow(Problem),
}

impl Answer {
    pub(super) fn done(status: &'static str, by: Option<String>) -> Response {
        Json(Self { status, by, pending: Vec::new() }).into_response()
    }

    pub(super) fn pending(commands: &[Command]) -> Response {
        let now = clock::wall();
        let pending = commands.iter().map(|command| Pending::of(command, now)).collect();
        (StatusCode::ACCEPTED, Json(Self { status: "pending", by: None, pending })).into_response()
    }
}

pub(super) type Body = std::result::Result<Bytes, BytesRejection>;

pub(super) fn read<T: DeserializeOwned>(headers: &HeaderMap, body: Body, shape: &str) -> Result<T, Problem> {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if kind.split(';').next().map(str::trim) != Some("application/json") {
        return Err(Problem::new(415, "unsupported media type", "send Content-Type: application/json"));
    }
    let body = body.map_err(|e| Problem::new(e.status().as_u16(), "body not accepted", &e.body_text()))?;
    serde_json::from_slice(&body).map_err(|e| Problem::bad_request(&format!("the body is not {shape}: {e}")))
}

/// Who asks: the token's name, and without tokens what the body says.
pub(super) fn person<'a>(caller: &'a Caller, said: Option<&'a str>) -> Result<&'a str, Problem> {
    match caller {
        Caller::Known(person) => Ok(&person.name),
        Caller::Anyone | Caller::Stranger | Caller::Limited => {
            commands::check_person(said.unwrap_or_default()).map_err(Problem::bad_request)
        }
    }
}

/// Sends what Kafka has to confirm first.
pub(super) async fn send(api: &Api, kind: &'static str, command: &Command) -> Result<(), Problem> {
    if !api.status.show().commands_copied {
        api.metrics.command(kind, "failed");
        let detail = "nothing was sent: Kafka's commands topic has not been read yet (Kafka is away, or `fettle-gateway \
                      topics apply` was never run); ask again";
        return Err(Problem::unavailable(detail));
    }
    match api.commands.send(command).await {
        Ok(()) => {
            api.metrics.command(kind, "sent");
            let Command { id, site, agent, issuer, .. } = command;
            tracing::info!(kind, id, %site, %agent, issuer, "command sent");
            Ok(())
        }
        Err(error) => {
            api.metrics.command(kind, "failed");
            match error {
                CommandError::Encoding(_) => Err(Problem::internal(&error.to_string())),
                CommandError::Link(_) | CommandError::NotConfirmed(_) => Err(Problem::unavailable(&error.to_string())),
            }
        }
    }
}

/// Asks each agent that holds the asset in quarantine to take it into service. Asking again is asking once.
#[utoipa::path(post, path = "/api/v1/assets/{site}/{asset}/adopt", tag = "assets",
    params(("site" = String, Path), ("asset" = String, Path)),
    request_body = Adopt,
    responses(Led))]
pub(super) async fn adopt(
    State(api): Shared,
    Path((site, asset)): Path<(String, String)>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let asked: Adopt = read(&headers, body, "{\"person\": \"..\"}")?;
    let person = person(&caller, asked.person.as_deref())?.to_owned();
    let (at_site, of_asset) = (site.clone(), asset.clone());
    let now = clock::wall();
    let accounts = api
        .read(move |api| {
            let mut found = Vec::new();
            api.store.scan(&format!("{LEDGER}{at_site}/"), |_, record: AccountRecord| {
                if record.entry.asset.as_str() == of_asset {
                    found.push((record, None));
                }
            })?;
            for (record, sent) in &mut found {
                *sent =
                    api.store.read::<Command>(&command_key(&at_site, &of_asset, &commands::adopt_id(record, now)))?;
            }
            Ok(found)
        })
        .await?;
    if accounts.is_empty() {
        return Err(Problem::not_found(&format!("no agent has told of an asset {asset} at site {site}")));
    }
    let mut pending = Vec::new();
    for (account, sent) in accounts.into_iter().filter(|(account, _)| account.entry.quarantined) {
        if let Some(command) = sent {
            api.metrics.command("adopt", "already");
            pending.push(command);
            continue;
        }
        let command = commands::adopt(&account, &person, now);
        send(&api, "adopt", &command).await?;
        pending.push(command);
    }
    if pending.is_empty() {
        api.metrics.command("adopt", "already");
        return Ok(Answer::done("in_service", None));
    }
    Ok(Answer::pending(&pending))
}
