//! Assets: the list by urgency, one asset, and its history.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::Result;
use fettle_wire::{Health, Micros, Verdict};
use serde::Serialize;
use utoipa::ToSchema;

use super::ask::{self, AskAssets, AskHistory, Asked, Needle, page};
use super::{STALE_AFTER, Shared, problem::Problem, schema};
use crate::alarms::AlarmView;
use crate::clock;
use crate::fleet::asset::{AssetRecord, asset_key};
use crate::fleet::overview::{AccountView, AssetView};
use crate::history::point::Resolution;
use crate::history::query::{self, Curves};

/// A list of assets.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Assets {
    assets: Vec<AssetView>,
    /// How many there are, over all pages.
    total: usize,
    /// Ask for the next page with this as `cursor`; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    /// When this was true, wall time of the gateway, microseconds UTC.
    #[schema(value_type = i64)]
    now: Micros,
    /// An asset that was not heard of for this long shows nothing of the present, microseconds.
    #[schema(value_type = i64)]
    stale_after: Micros,
}

/// The states that can be asked for.
const STATES: [&str; 6] = ["normal", "abnormal", "none", "quarantined", "silent", "stale"];

/// Whether an asset is in one of [`STATES`].
fn is_in(state: &str, asset: &AssetView, now: Micros) -> bool {
    let verdict = asset.health.as_ref().map(|h| h.verdict);
    match state {
        "normal" => verdict == Some(Verdict::Normal),
        "abnormal" => verdict == Some(Verdict::Abnormal),
        "none" => verdict == Some(Verdict::None),
        "quarantined" => asset.quarantined,
        "silent" => asset.health.is_none(),
        _ => now.saturating_sub(asset.seen) > STALE_AFTER,
    }
}

/// Every asset, most urgent first.
#[utoipa::path(get, path = "/api/v1/assets", tag = "assets", params(AskAssets),
    responses((status = 200, description = "as asked for", body = Assets), (status = 400, description = "the request is wrong; the detail says how", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn assets(State(api): Shared, asked: Asked<AskAssets>) -> Result<Json<Assets>, Problem> {
    let ask = ask::ask(asked, "site, priority, state, text, order, cursor and limit")?;
    let priority = ask::priority(ask.priority.as_deref())?;
    let by_name = match ask.order.as_deref() {
        None | Some("urgency") => false,
        Some("name") => true,
        Some(other) => return Err(Problem::bad_request(&format!("order is urgency or name, not {other:?}"))),
    };
    if let Some(state) = ask.state.as_deref().filter(|state| !STATES.contains(state)) {
        return Err(Problem::bad_request(&format!("state is one of {}, not {state:?}", STATES.join(", "))));
    }
    let overview = api.overview().await?;
    let (needle, now) = (Needle::new(ask.text.as_deref()), clock::wall());
    let is_wanted = |asset: &&AssetView| {
        ask.state.as_deref().is_none_or(|state| is_in(state, asset, now))
            && ask.site.as_deref().is_none_or(|site| site == asset.site.as_str())
            && priority.is_none_or(|least| asset.highest >= Some(least))
            && needle.is_in(&[&asset.site, &asset.asset])
    };
    let key = |asset: &AssetView| {
        if by_name { format!("{}/{}", asset.site, asset.asset) } else { asset.urgency() }
    };
    let found: Vec<_> = overview.assets.iter().filter(is_wanted).map(|asset| (key(asset), asset)).collect();
    let total = found.len();
    let (page, next) = page(found, ask.cursor.as_deref(), ask.limit);
    let assets = page.into_iter().cloned().collect();
    Ok(Json(Assets { assets, total, next, now, stale_after: STALE_AFTER }))
}

/// One asset.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Asset {
    /// As in the list.
    summary: AssetView,
    /// The newest health, whole; absent until the first one.
    #[schema(value_type = Option<schema::Health>)]
    record: Option<Health>,
    /// Its alarms, most urgent first.
    alarms: Vec<AlarmView>,
    /// Its accounts, one for each agent that told of it.
    accounts: Vec<AccountView>,
    /// When this was true, wall time of the gateway, microseconds UTC.
    #[schema(value_type = i64)]
    now: Micros,
    /// As in the list.
    #[schema(value_type = i64)]
    stale_after: Micros,
}

pub(super) fn unknown(site: &str, asset: &str) -> Problem {
    Problem::not_found(&format!("no agent has told of an asset {asset} at site {site}"))
}

/// One asset: its newest health with every indicator, its alarms with their evidence, its accounts.
#[utoipa::path(get, path = "/api/v1/assets/{site}/{asset}", tag = "assets",
    params(("site" = String, Path), ("asset" = String, Path)),
    responses((status = 200, description = "as asked for", body = Asset), (status = 404, description = "there is no such thing", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn asset(
    State(api): Shared,
    Path((site, asset)): Path<(String, String)>,
) -> Result<Json<Asset>, Problem> {
    let overview = api.overview().await?;
    let is_it = |s: &str, a: &str| s == site && a == asset;
    let Some(summary) = overview.assets.iter().find(|a| is_it(&a.site, &a.asset)).cloned() else {
        return Err(unknown(&site, &asset));
    };
    let key = asset_key(&site, &asset);
    let record = api.read(move |api| api.store.read::<AssetRecord>(&key)).await?.map(|record| record.health);
    let alarms = overview.alarms.iter().filter(|a| is_it(&a.site, &a.asset)).cloned().collect();
    let accounts = overview.accounts.iter().filter(|a| is_it(&a.site, &a.asset)).cloned().collect();
    Ok(Json(Asset { summary, record, alarms, accounts, now: clock::wall(), stale_after: STALE_AFTER }))
}

/// First and newest instant of something.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Extent {
    #[schema(value_type = i64)]
    first: Micros,
    #[schema(value_type = i64)]
    last: Micros,
}

/// One series; the lists are as long as `at`, with null where it has no value.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SeriesAnswer {
    /// `health_index`, `score`, `p_value`, `baseline`, `rul_p10`, `rul_p50`, `rul_p90`, or `<channel>.mean`, `.rms`, `.max`.
    name: String,
    /// The channel, where it is of one.
    #[serde(skip_serializing_if = "Option::is_none")]
    channel: Option<String>,
    /// SI unit, UCUM.
    unit: String,
    mean: Vec<Option<f32>>,
    /// Absent where every point is one record: equal to `mean`.
    #[serde(skip_serializing_if = "Option::is_none")]
    min: Option<Vec<Option<f32>>>,
    /// As `min`.
    #[serde(skip_serializing_if = "Option::is_none")]
    max: Option<Vec<Option<f32>>>,
    /// As `min`.
    #[serde(skip_serializing_if = "Option::is_none")]
    last: Option<Vec<Option<f32>>>,
}

/// Part of an asset's history. All times are event time in microseconds UTC.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct HistoryAnswer {
    site: String,
    asset: String,
    #[schema(value_type = i64)]
    from: Micros,
    /// Left out.
    #[schema(value_type = i64)]
    to: Micros,
    /// Where the points come from: raw, 1min or 1h.
    resolution: &'static str,
    /// Points were folded into slots of this width, in microseconds; 0: they are as kept.
    #[schema(value_type = i64)]
    slot: Micros,
    /// What is kept of the asset in any resolution; absent: nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    extent: Option<Extent>,
    /// Records in all points.
    records: u64,
    /// Of each point: a record's window end, or where its minute, hour or slot begins.
    #[schema(value_type = Vec<i64>)]
    at: Vec<Micros>,
    /// Records in each point.
    count: Vec<u32>,
    /// Of those, with the verdict "abnormal".
    abnormal: Vec<u32>,
    /// Of those, without a verdict.
    undecided: Vec<u32>,
    /// Of each point: which of `note_texts` hold.
    notes: Vec<Vec<u16>>,
    /// Data-quality flags as the agent wrote them; `verdict:` and `rul:` with the reason why there was none.
    note_texts: Vec<String>,
    series: Vec<SeriesAnswer>,
}

impl HistoryAnswer {
    fn of(site: String, asset: String, curves: Curves) -> Self {
        let folded = curves.points.iter().any(|p| p.records > 1);
        let series = curves.curves.iter().map(|curve| {
            let column = |of: fn(&crate::history::point::Stat) -> f32| folded.then(|| curves.column(curve, of));
            SeriesAnswer {
                name: curve.series.name.clone(),
                channel: curve.series.channel.as_ref().map(ToString::to_string),
                unit: curve.series.unit.clone(),
                mean: curves.column(curve, |s| s.mean),
                min: column(|s| s.min),
                max: column(|s| s.max),
                last: column(|s| s.last),
            }
        });
        Self {
            site,
            asset,
            from: curves.from,
            to: curves.to,
            resolution: curves.resolution.as_str(),
            slot: curves.slot,
            extent: curves.extent.map(|(first, last)| Extent { first, last }),
            records: curves.records,
            at: curves.points.iter().map(|p| p.at).collect(),
            count: curves.points.iter().map(|p| p.records).collect(),
            abnormal: curves.points.iter().map(|p| p.abnormal).collect(),
            undecided: curves.points.iter().map(|p| p.undecided).collect(),
            notes: curves.points.iter().map(|p| p.notes.clone()).collect(),
            series: series.collect(),
            note_texts: curves.notes,
        }
    }
}

fn resolution(asked: Option<&str>) -> Result<Option<Resolution>, Problem> {
    match asked {
        None | Some("auto") => Ok(None),
        Some(name) => Resolution::ALL
            .into_iter()
            .find(|r| r.as_str() == name)
            .map(Some)
            .ok_or_else(|| Problem::bad_request(&format!("resolution is auto, raw, 1min or 1h, not {name:?}"))),
    }
}

/// Part of an asset's history, in at most so many points; the least and largest value of each stay visible.
#[utoipa::path(get, path = "/api/v1/assets/{site}/{asset}/history", tag = "assets",
    params(("site" = String, Path), ("asset" = String, Path), AskHistory),
    responses((status = 200, description = "as asked for", body = HistoryAnswer),
        (status = 400, description = "the request is wrong; the detail says how", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "there is no such thing", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn history(
    State(api): Shared,
    Path((site, asset)): Path<(String, String)>,
    asked: Asked<AskHistory>,
) -> Result<Json<HistoryAnswer>, Problem> {
    let ask = ask::ask(asked, "from, to, resolution, series and points")?;
    if let (Some(from), Some(to)) = (ask.from, ask.to)
        && from >= to
    {
        return Err(Problem::bad_request(&format!("from ({from}) must lie before to ({to})")));
    }
    let series = ask.series.iter().flat_map(|all| all.split(',')).map(|name| name.trim().to_owned());
    let wanted = query::Ask {
        from: ask.from,
        to: ask.to,
        resolution: resolution(ask.resolution.as_deref())?,
        points: ask.points.unwrap_or(query::POINTS).clamp(1, query::MAX_POINTS),
        series: series.filter(|name| !name.is_empty()).collect(),
    };
    let (at_site, of_asset) = (site.clone(), asset.clone());
    let curves = api.look_back(move |history| history.curves(&at_site, &of_asset, &wanted)).await?;
    match curves {
        Some(curves) => Ok(Json(HistoryAnswer::of(site, asset, curves))),
        None => Err(Problem::not_found(&format!("the history has nothing of an asset {asset} at site {site}"))),
    }
}
