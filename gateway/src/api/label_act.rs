//! What a person tells of a machine itself: it failed, was replaced, was maintained. The agent that last told of it is
//! asked to note it, like every other request ([`super::act`]); the alert `life` confirms it.
//!
//! The id is a hash of what is said, the instant included, so saying it again is saying it once. The instant is therefore
//! never left out: "now" would be another one each time.

use axum::Extension;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use fettle_wire::id::MAX_NAME;
use fettle_wire::time::MINUTE;
use fettle_wire::{Command, EventKind, Micros, RecordId, Request};
use serde::Deserialize;
use utoipa::ToSchema;

use super::act::{Answer, Body, Led, person, read, send};
use super::{Api, Shared, problem::Problem, schema};
use crate::access::Caller;
use crate::fleet::StoreError;
use crate::fleet::asset::{AlarmRecord, AssetRecord, alarm_key, asset_key, command_key};
use crate::{clock, commands};

/// The condition of the alert that confirms.
const LIFE: &str = "life";
/// How far ahead of this clock a person's may be.
const AHEAD: Micros = 5 * MINUTE;

/// The body of `labels`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Told {
    /// The person's name, 1 to 128 bytes; needed where no token tells it.
    person: Option<String>,
    /// What happened.
    #[schema(value_type = schema::EventKind)]
    event: EventKind,
    /// When: event time, microseconds UTC, not in the future.
    #[schema(value_type = i64)]
    at: Micros,
    /// Components that were replaced, as the registry names them; at most 16 of 64 bytes. Maintenance that replaced none
    /// ends no life.
    #[serde(default)]
    components: Vec<String>,
    /// What else is to be said, at most 2,048 bytes.
    note: Option<String>,
}

/// The command, and whether it was sent or confirmed.
struct Asked {
    command: Command,
    is_sent: bool,
    is_confirmed: bool,
}

/// What is asked of the agent that last told of the asset; `None` if none has.
fn asked(api: &Api, site: &str, asset: &str, told: &Told, by: &str) -> Result<Option<Asked>, StoreError> {
    let now = clock::wall();
    let Some(AssetRecord { origin, health, .. }) = api.store.read(&asset_key(site, asset))? else { return Ok(None) };
    let alarm: Option<AlarmRecord> = api.store.read(&alarm_key(site, asset, LIFE))?;
    let at = told.at.to_be_bytes();
    let parts: [&[u8]; 6] = [
        told.event.as_str().as_bytes(),
        origin.site.as_bytes(),
        origin.agent.as_bytes(),
        origin.incarnation.as_bytes(),
        health.asset.as_bytes(),
        &at,
    ];
    let id = RecordId::of(&parts).to_string();
    let is_confirmed = alarm.is_some_and(|alarm| alarm.confirmed.contains(&id));
    let sent: Option<Command> = api.store.read(&command_key(site, asset, &id))?;
    let sent = sent.filter(|command| command.expires > now);
    let is_sent = sent.is_some();
    let request = Request::Event {
        asset: health.asset,
        event: told.event,
        at: Some(told.at),
        components: told.components.clone(),
        note: told.note.clone(),
    };
    let fresh = || commands::command(id, &origin.site, &origin.agent, by, now, request);
    Ok(Some(Asked { command: sent.unwrap_or_else(fresh), is_sent, is_confirmed }))
}

/// Asks the agent of the asset to note that it failed, was replaced or was maintained: what machines
/// learn wear from. A failure or a replacement ends the machine's life; the next has a new age and a new baseline. Saying
/// it again is saying it once.
#[utoipa::path(post, path = "/api/v1/assets/{site}/{asset}/labels", tag = "assets",
    params(("site" = String, Path), ("asset" = String, Path)),
    request_body = Told,
    responses(Led))]
pub(super) async fn labels(
    State(api): Shared,
    Path((site, asset)): Path<(String, String)>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let shape = "{\"person\": \"..\", \"event\": \"failed|replaced|maintenance_done\", \"at\": microseconds}";
    let told: Told = read(&headers, body, shape)?;
    let by = person(&caller, told.person.as_deref())?.to_owned();
    if told.at > clock::wall().saturating_add(AHEAD) {
        return Err(Problem::bad_request("at lies in the future"));
    }
    let kind = told.event.as_str();
    if site.len().max(asset.len()) > MAX_NAME {
        return Err(Problem::not_found("no agent has told of such an asset"));
    }
    let about = format!("no agent has told of an asset {asset} at site {site}");
    let found = api.read(move |api| asked(api, &site, &asset, &told, &by)).await?;
    let Some(Asked { command, is_sent, is_confirmed }) = found else { return Err(Problem::not_found(&about)) };
    if let Err(reason) = command.check() {
        api.metrics.command(kind, "refused");
        return Err(Problem::bad_request(&format!("components or note are out of bounds ({reason})")));
    }
    if is_sent || is_confirmed {
        api.metrics.command(kind, "already");
    } else {
        send(&api, kind, &command).await?;
    }
    Ok(if is_confirmed { Answer::done("labelled", None) } else { Answer::pending(&[command]) })
}
