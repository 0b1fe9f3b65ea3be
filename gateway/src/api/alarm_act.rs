//! What can be asked of an alarm: acknowledge, shelve, end the shelf, comment, label. Decided in [`crate::requests`].

use axum::Extension;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::{Response, Result};
use fettle_wire::{Command, Label, Micros, topic};
use serde::Deserialize;
use utoipa::ToSchema;

use super::act::{Answer, Body, Led, person, read, send};
use super::{Api, Shared, problem::Problem, schema};
use crate::access::Caller;
use crate::clock;
use crate::fleet::asset::{AlarmRecord, COMMAND, alarm_key};
use crate::requests::{self, Ask, Decision};

/// The body of `acknowledge`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Acknowledge {
    /// The person's name, 1 to 128 bytes; needed where no token tells it.
    person: Option<String>,
    /// The occurrence that was looked at.
    occurrence: u64,
}

/// The body of `shelve`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Shelve {
    /// The person's name, 1 to 128 bytes; needed where no token tells it.
    person: Option<String>,
    /// When the shelf ends by itself: event time, microseconds UTC.
    #[schema(value_type = i64)]
    until: Micros,
}

/// The body of `unshelve`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Unshelve {
    /// The person's name, 1 to 128 bytes; needed where no token tells it.
    person: Option<String>,
}

/// The body of `comment`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Comment {
    /// The person's name, 1 to 128 bytes; needed where no token tells it.
    person: Option<String>,
    /// The occurrence it is about.
    occurrence: u64,
    /// What to say, at most 2,048 bytes.
    text: String,
}

/// The body of `label`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Labelled {
    /// The person's name, 1 to 128 bytes; needed where no token tells it.
    person: Option<String>,
    /// The occurrence it is about.
    occurrence: u64,
    /// What it was.
    #[schema(value_type = schema::Label)]
    label: Label,
}

/// Site, asset and condition.
type Which = Path<(String, String, String)>;

/// What is known of the alarm decides; what has to be sent is sent.
async fn ask(api: &std::sync::Arc<Api>, Path(which): Which, name: &str, ask: Ask) -> Result<Response, Problem> {
    let (site, asset, condition) = which;
    let about = format!("{condition} on {asset} at site {site}");
    let key = alarm_key(&site, &asset, &condition);
    let (by, asked, now) = (name.to_owned(), ask.clone(), clock::wall());
    let decision = api
        .read(move |api| {
            if key.len() > crate::lmdb::MAX_KEY {
                return Ok(Decision::Unknown);
            }
            let alarm: Option<AlarmRecord> = api.store.read(&key)?;
            let mut sent = Vec::new();
            api.store.scan(&format!("{COMMAND}{}|", topic::asset_key(&site, &asset)), |_, command: Command| {
                sent.push(command);
            })?;
            Ok(requests::decide(alarm.as_ref(), &sent, &asked, &by, now))
        })
        .await?;
    let count = |outcome| api.metrics.command(ask.kind(), outcome);
    match decision {
        Decision::Unknown => Err(Problem::not_found(&format!("no agent has raised {about}"))),
        Decision::OtherOccurrence(present) => {
            let detail = format!("the alarm is at occurrence {present}; look at it and ask for that one");
            Err(Problem::conflict(&detail))
        }
        Decision::Refused(why) => {
            count("refused");
            Err(Problem::bad_request(&why))
        }
        Decision::Done(by) => {
            count("already");
            Ok(Answer::done(ask.aim(), by))
        }
        Decision::Pending(command) => {
            count("already");
            Ok(Answer::pending(&[command]))
        }
        Decision::Send(command) => {
            send(api, ask.kind(), &command).await?;
            Ok(Answer::pending(&[command]))
        }
    }
}

/// Asks the agent to take an alarm as seen by a person. Asking again is asking once.
#[utoipa::path(post, path = "/api/v1/alarms/{site}/{asset}/{condition}/acknowledge", tag = "alarms",
    params(("site" = String, Path), ("asset" = String, Path), ("condition" = String, Path)),
    request_body = Acknowledge,
    responses(Led))]
pub(super) async fn acknowledge(
    State(api): Shared,
    which: Which,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let asked: Acknowledge = read(&headers, body, "{\"person\": \"..\", \"occurrence\": N}")?;
    ask(&api, which, person(&caller, asked.person.as_deref())?, Ask::Acknowledge { occurrence: asked.occurrence }).await
}

/// Asks the agent to let an alarm go on without calling anybody, until an instant of event time at most 30 days ahead.
/// Asking again is asking once.
#[utoipa::path(post, path = "/api/v1/alarms/{site}/{asset}/{condition}/shelve", tag = "alarms",
    params(("site" = String, Path), ("asset" = String, Path), ("condition" = String, Path)),
    request_body = Shelve,
    responses(Led))]
pub(super) async fn shelve(
    State(api): Shared,
    which: Which,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let asked: Shelve = read(&headers, body, "{\"person\": \"..\", \"until\": microseconds}")?;
    ask(&api, which, person(&caller, asked.person.as_deref())?, Ask::Shelve { until: asked.until }).await
}

/// Asks the agent to end a shelf before its time. Asking again is asking once.
#[utoipa::path(post, path = "/api/v1/alarms/{site}/{asset}/{condition}/unshelve", tag = "alarms",
    params(("site" = String, Path), ("asset" = String, Path), ("condition" = String, Path)),
    request_body = Unshelve,
    responses(Led))]
pub(super) async fn unshelve(
    State(api): Shared,
    which: Which,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let asked: Unshelve = read(&headers, body, "{\"person\": \"..\"}")?;
    ask(&api, which, person(&caller, asked.person.as_deref())?, Ask::Unshelve).await
}

/// Asks the agent to write a comment to the present occurrence, ended or not. The same text is said once.
#[utoipa::path(post, path = "/api/v1/alarms/{site}/{asset}/{condition}/comment", tag = "alarms",
    params(("site" = String, Path), ("asset" = String, Path), ("condition" = String, Path)),
    request_body = Comment,
    responses(Led))]
pub(super) async fn comment(
    State(api): Shared,
    which: Which,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let asked: Comment = read(&headers, body, "{\"person\": \"..\", \"occurrence\": N, \"text\": \"..\"}")?;
    ask(
        &api,
        which,
        person(&caller, asked.person.as_deref())?,
        Ask::Comment { occurrence: asked.occurrence, text: asked.text.trim().to_owned() },
    )
    .await
}

/// Asks the agent to note what the present occurrence, ended or not, turned out to be. Asking again is asking once.
#[utoipa::path(post, path = "/api/v1/alarms/{site}/{asset}/{condition}/label", tag = "alarms",
    params(("site" = String, Path), ("asset" = String, Path), ("condition" = String, Path)),
    request_body = Labelled,
    responses(Led))]
pub(super) async fn label(
    State(api): Shared,
    which: Which,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let asked: Labelled = read(
        &headers,
        body,
        "{\"person\": \"..\", \"occurrence\": N, \"label\": \"confirmed|false_alarm|maintenance_done\"}",
    )?;
    ask(
        &api,
        which,
        person(&caller, asked.person.as_deref())?,
        Ask::Label { occurrence: asked.occurrence, label: asked.label },
    )
    .await
}
