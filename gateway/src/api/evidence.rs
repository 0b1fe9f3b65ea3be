//! Evidence of an asset: waveforms with their spectra, listed in short and given whole.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::Result;
use fettle_wire::{Evidence, Micros, Name, Occasion, RecordId, topic};
use serde::Serialize;
use utoipa::ToSchema;

use super::ask::{self, AskEvidence, Asked, of_cursor, to_cursor};
use super::{Shared, assets, problem::Problem, schema};
use crate::history::evidence::{Exhibit, Listed};
use crate::lmdb::MAX_KEY;

/// A record of evidence in short.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct EvidenceItem {
    /// Ask for the whole of it by this.
    #[schema(value_type = String)]
    id: RecordId,
    /// Event time of the first sample, microseconds UTC.
    #[schema(value_type = i64)]
    time: Micros,
    #[schema(value_type = String)]
    channel: Name,
    #[schema(value_type = schema::Occasion)]
    occasion: Occasion,
    /// The alarm's condition, where it is shown for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    condition: Option<String>,
    /// The alarm's occurrence, where it is shown for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    occurrence: Option<u64>,
    #[schema(value_type = String)]
    agent: Name,
    /// Kafka's time of the record, microseconds UTC.
    #[schema(value_type = i64)]
    seen: Micros,
}

impl EvidenceItem {
    fn of(listed: Listed) -> Self {
        let Listed { id, time, channel, occasion, condition, occurrence, agent, seen } = listed;
        Self { id, time, channel, occasion, condition, occurrence, agent, seen }
    }
}

/// An asset's evidence.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct EvidenceList {
    /// Newest first, by event time.
    evidence: Vec<EvidenceItem>,
    /// Ask for the next page with this as `cursor`; absent on the last one. A page may be short of its limit and still
    /// have a next one, where a filter passed over much.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

fn occasion(asked: Option<&str>) -> Result<Option<Occasion>, Problem> {
    match asked {
        None => Ok(None),
        Some("alarm") => Ok(Some(Occasion::Alarm)),
        Some("periodic") => Ok(Some(Occasion::Periodic)),
        Some(other) => Err(Problem::bad_request(&format!("occasion is alarm or periodic, not {other:?}"))),
    }
}

/// What is kept of an asset's waveforms, newest first: some from time to time, and each that was shown for an alarm.
#[utoipa::path(get, path = "/api/v1/assets/{site}/{asset}/evidence", tag = "assets",
    params(("site" = String, Path), ("asset" = String, Path), AskEvidence),
    responses((status = 200, description = "as asked for", body = EvidenceList),
        (status = 400, description = "the request is wrong; the detail says how", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "there is no such thing", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn list(
    State(api): Shared,
    Path((site, asset)): Path<(String, String)>,
    asked: Asked<AskEvidence>,
) -> Result<Json<EvidenceList>, Problem> {
    let ask = ask::ask(asked, "channel, occasion, condition, occurrence, cursor and limit")?;
    let occasion = occasion(ask.occasion.as_deref())?;
    let (after, limit) = (of_cursor(ask.cursor.as_deref())?, ask::limit(ask.limit));
    let key = topic::asset_key(&site, &asset);
    if key.len() > MAX_KEY {
        return Err(assets::unknown(&site, &asset));
    }
    let page = api
        .look_back(move |history| {
            history.evidence(&key, after.as_deref(), limit, |listed| {
                ask.channel.as_deref().is_none_or(|channel| channel == listed.channel.as_str())
                    && occasion.is_none_or(|occasion| occasion == listed.occasion)
                    && (ask.condition.is_none() || ask.condition == listed.condition)
                    && ask.occurrence.is_none_or(|occurrence| Some(occurrence) == listed.occurrence)
            })
        })
        .await?;
    match page {
        Some(page) => Ok(Json(EvidenceList {
            evidence: page.listed.into_iter().map(EvidenceItem::of).collect(),
            next: page.next.map(|next| to_cursor(&next)),
        })),
        // The fleet may know an asset of which the history has nothing yet.
        None if api.overview().await?.assets.iter().any(|a| a.site.as_str() == site && a.asset.as_str() == asset) => {
            Ok(Json(EvidenceList { evidence: Vec::new(), next: None }))
        }
        None => Err(assets::unknown(&site, &asset)),
    }
}

/// One record of evidence, with who sent it.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct EvidenceAnswer {
    #[schema(value_type = String)]
    id: RecordId,
    #[schema(value_type = String)]
    site: Name,
    #[schema(value_type = String)]
    agent: Name,
    /// Kafka's time of the record, microseconds UTC.
    #[schema(value_type = i64)]
    seen: Micros,
    #[schema(value_type = schema::Evidence)]
    evidence: Box<Evidence>,
}

/// One record of evidence, whole: the samples, their spectrum, the spectrum of their envelope and the bearing's lines.
#[utoipa::path(get, path = "/api/v1/assets/{site}/{asset}/evidence/{id}", tag = "assets",
    params(("site" = String, Path), ("asset" = String, Path), ("id" = String, Path, description = "from the list")),
    responses((status = 200, description = "as asked for", body = EvidenceAnswer),
        (status = 404, description = "there is no such thing", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn one(
    State(api): Shared,
    Path((site, asset, id)): Path<(String, String, String)>,
) -> Result<Json<EvidenceAnswer>, Problem> {
    let unknown = || {
        Problem::not_found(&format!(
            "no evidence {id:?} is kept of an asset {asset} at site {site}; the list names what is"
        ))
    };
    let key = topic::asset_key(&site, &asset);
    let Some(asked) = RecordId::parse(&id).filter(|_| key.len() <= MAX_KEY) else { return Err(unknown()) };
    let found = api.look_back(move |history| history.exhibit(&key, asked)).await?;
    let Exhibit { site, agent, id, seen, evidence, .. } = found.ok_or_else(unknown)?;
    Ok(Json(EvidenceAnswer { id, site, agent, seen, evidence }))
}
