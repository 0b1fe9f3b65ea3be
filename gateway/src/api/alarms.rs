//! Alarms as they stand, and every change they went through.

use axum::Json;
use axum::extract::State;
use axum::response::Result;
use fettle_wire::{Alert, Micros, Name};
use serde::Serialize;
use utoipa::ToSchema;

use super::ask::{self, AskAlarms, AskLog, Asked, Needle, of_cursor, page, to_cursor};
use super::{Shared, problem::Problem, schema};
use crate::alarms::AlarmView;
use crate::history::log::Logged;

/// A list of alarms.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Alarms {
    alarms: Vec<AlarmView>,
    /// How many there are, over all pages.
    total: usize,
    /// Ask for the next page with this as `cursor`; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// The state's name on the wire.
fn state_of(alarm: &AlarmView) -> &'static str {
    use fettle_wire::AlarmState::{Acknowledged, Normal, ReturnedUnacknowledged, Unacknowledged};
    match alarm.state {
        Normal => "normal",
        Unacknowledged => "unacknowledged",
        Acknowledged => "acknowledged",
        ReturnedUnacknowledged => "returned_unacknowledged",
    }
}

/// Alarms as their agents last told, most urgent first; each with the evidence of its last change.
#[utoipa::path(get, path = "/api/v1/alarms", tag = "alarms", params(AskAlarms),
    responses((status = 200, description = "as asked for", body = Alarms), (status = 400, description = "the request is wrong; the detail says how", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn alarms(State(api): Shared, asked: Asked<AskAlarms>) -> Result<Json<Alarms>, Problem> {
    let ask = ask::ask(asked, "site, open=true|false, shelved=true|false, priority, state, text, cursor and limit")?;
    let priority = ask::priority(ask.priority.as_deref())?;
    let states = ["normal", "unacknowledged", "acknowledged", "returned_unacknowledged"];
    if let Some(state) = ask.state.as_deref().filter(|state| !states.contains(state)) {
        return Err(Problem::bad_request(&format!("state is one of {}, not {state:?}", states.join(", "))));
    }
    let needle = Needle::new(ask.text.as_deref());
    let overview = api.overview().await?;
    let is_wanted = |a: &&AlarmView| {
        ask.open.is_none_or(|open| a.open == open)
            && ask.shelved.is_none_or(|shelved| a.shelved_until.is_some() == shelved)
            && ask.site.as_deref().is_none_or(|site| site == a.site.as_str())
            && priority.is_none_or(|least| a.priority >= least)
            && ask.state.as_deref().is_none_or(|state| state == state_of(a))
            && needle.is_in(&[&a.site, &a.asset, &a.condition, &a.message])
    };
    let found: Vec<_> = overview.alarms.iter().filter(is_wanted).map(|a| (a.urgency(), a)).collect();
    let total = found.len();
    let (page, next) = page(found, ask.cursor.as_deref(), ask.limit);
    Ok(Json(Alarms { alarms: page.into_iter().cloned().collect(), total, next }))
}

/// A change in an alarm, with who told of it.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct LoggedAnswer {
    #[schema(value_type = String)]
    site: Name,
    #[schema(value_type = String)]
    agent: Name,
    /// Kafka's time of the record, microseconds UTC.
    #[schema(value_type = i64)]
    seen: Micros,
    #[schema(value_type = schema::Alert)]
    alert: Alert,
}

/// Changes of alarms.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AlarmLog {
    /// Newest first, by event time.
    changes: Vec<LoggedAnswer>,
    /// Ask for the next page with this as `cursor`; absent on the last one. A page may be short of its limit and still
    /// have a next one, where a filter passed over much.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// Every change of every alarm with its evidence, newest first, as far back as the history keeps them.
#[utoipa::path(get, path = "/api/v1/alarms/history", tag = "alarms", params(AskLog),
    responses((status = 200, description = "as asked for", body = AlarmLog), (status = 400, description = "the request is wrong; the detail says how", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn log(State(api): Shared, asked: Asked<AskLog>) -> Result<Json<AlarmLog>, Problem> {
    let ask = ask::ask(asked, "site, asset, priority, text, cursor and limit")?;
    let priority = ask::priority(ask.priority.as_deref())?;
    let after = of_cursor(ask.cursor.as_deref())?;
    let asset = match (&ask.site, &ask.asset) {
        (_, None) => None,
        (Some(site), Some(asset)) => Some(fettle_wire::topic::asset_key(site, asset)),
        (None, Some(_)) => return Err(Problem::bad_request("an asset is named with its site")),
    };
    if asset.as_ref().is_some_and(|key| key.len() > crate::lmdb::MAX_KEY) {
        return Ok(Json(AlarmLog { changes: Vec::new(), next: None }));
    }
    let limit = ask::limit(ask.limit);
    let page = api
        .look_back(move |history| {
            let needle = Needle::new(ask.text.as_deref());
            history.alerts(asset.as_deref(), after.as_deref(), limit, |logged| {
                let Logged { site, alert, .. } = logged;
                ask.site.as_deref().is_none_or(|asked| asked == site.as_str())
                    && priority.is_none_or(|least| alert.priority >= least)
                    && needle.is_in(&[site, &alert.asset, &alert.condition, &alert.message])
            })
        })
        .await?;
    let answer = |Logged { site, agent, seen, alert }| LoggedAnswer { site, agent, seen, alert };
    Ok(Json(AlarmLog {
        changes: page.alerts.into_iter().map(answer).collect(),
        next: page.next.map(|n| to_cursor(&n)),
    }))
}
