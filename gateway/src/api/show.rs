//! What can be read.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::{Json, response::Result};
use fettle_wire::{Health, Name};
use serde::{Deserialize, Serialize};

use super::{Shared, problem::Problem};
use crate::alarms::AlarmView;
use crate::fleet::asset::{AssetRecord, asset_key};
use crate::fleet::overview::{AccountView, AssetView, PartitionCounts, Totals};
use crate::status::{Lag, Shown};

/// The longest list.
const MAX_LIMIT: usize = 10_000;
/// The length of a list unless asked for.
const LIMIT: usize = 1_000;

/// What a list may be asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ask {
    /// Only of this site.
    site: Option<String>,
    /// Begin behind this one: what the last answer gave as `next`.
    after: Option<String>,
    /// At most this many.
    limit: Option<usize>,
    /// Only open alarms.
    open: Option<bool>,
}

type Asked = std::result::Result<Query<Ask>, QueryRejection>;

fn ask(asked: Asked) -> Result<Ask, Problem> {
    match asked {
        Ok(Query(ask)) => Ok(ask),
        Err(e) => {
            let rule = "parameters are site, after, limit and (alarms) open=true|false";
            Err(Problem::bad_request(&format!("{}; {rule}", e.body_text())))
        }
    }
}

impl Ask {
    fn is_of_site(&self, site: &Name) -> bool {
        self.site.as_deref().is_none_or(|asked| asked == site.as_str())
    }

    /// One page of `items`, which are in the order of `key`, and where the next begins.
    fn page<T>(&self, items: impl Iterator<Item = T>, key: impl Fn(&T) -> String) -> (Vec<T>, Option<String>) {
        let limit = self.limit.unwrap_or(LIMIT).clamp(1, MAX_LIMIT);
        let behind = |item: &T| self.after.as_ref().is_none_or(|after| key(item).as_str() > after.as_str());
        let mut page: Vec<T> = items.filter(behind).take(limit + 1).collect();
        let more = page.len() > limit;
        page.truncate(limit);
        let next = if more { page.last().map(key) } else { None };
        (page, next)
    }
}

#[derive(Serialize)]
struct Assets {
    assets: Vec<AssetView>,
    total: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// `GET /api/v1/assets`
pub(super) async fn assets(State(api): Shared, asked: Asked) -> Result<Response, Problem> {
    let ask = ask(asked)?;
    let overview = api.overview().await?;
    let mut of_site: Vec<_> = overview.assets.iter().filter(|a| ask.is_of_site(&a.site)).collect();
    let total = of_site.len();
    let key = |a: &&AssetView| format!("{}/{}", a.site, a.asset);
    of_site.sort_by_key(key);
    let (page, next) = ask.page(of_site.into_iter(), key);
    let assets = page.into_iter().cloned().collect();
    Ok(Json(Assets { assets, total, next }).into_response())
}

#[derive(Serialize)]
struct Asset {
    #[serde(flatten)]
    summary: AssetView,
    /// The newest health, whole; beside `health`, which is its summary.
    record: Option<Health>,
    alarms: Vec<AlarmView>,
    accounts: Vec<AccountView>,
}

/// `GET /api/v1/assets/{site}/{asset}`
pub(super) async fn asset(
    State(api): Shared,
    Path((site, asset)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let overview = api.overview().await?;
    let is_it = |s: &Name, a: &Name| s.as_str() == site && a.as_str() == asset;
    let Some(summary) = overview.assets.iter().find(|a| is_it(&a.site, &a.asset)).cloned() else {
        return Err(Problem::not_found(&format!("no agent has told of an asset {asset} at site {site}")));
    };
    let key = asset_key(&site, &asset);
    let record = api.read(move |api| api.store.read::<AssetRecord>(&key)).await?.map(|record| record.health);
    let alarms = overview.alarms.iter().filter(|a| is_it(&a.site, &a.asset)).cloned().collect();
    let accounts = overview.accounts.iter().filter(|a| is_it(&a.site, &a.asset)).cloned().collect();
    Ok(Json(Asset { summary, record, alarms, accounts }).into_response())
}

#[derive(Serialize)]
struct Alarms {
    alarms: Vec<AlarmView>,
    total: usize,
}

/// `GET /api/v1/alarms?open=true`: most urgent first.
pub(super) async fn alarms(State(api): Shared, asked: Asked) -> Result<Response, Problem> {
    let ask = ask(asked)?;
    if ask.after.is_some() {
        return Err(Problem::bad_request(
            "alarms are ordered by urgency and have no `after`; ask by site or with limit",
        ));
    }
    let overview = api.overview().await?;
    let wanted = |a: &&AlarmView| ask.open.is_none_or(|open| a.open == open) && ask.is_of_site(&a.site);
    let total = overview.alarms.iter().filter(wanted).count();
    let limit = ask.limit.unwrap_or(LIMIT).clamp(1, MAX_LIMIT);
    let alarms = overview.alarms.iter().filter(wanted).take(limit).cloned().collect();
    Ok(Json(Alarms { alarms, total }).into_response())
}

#[derive(Serialize)]
struct Ledger {
    /// Sums over every account, of any site.
    totals: Totals,
    /// Records with a known id and another content.
    conflicts: u64,
    /// What became of the records of each partition.
    records: Vec<PartitionCounts>,
    entries: Vec<AccountView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// `GET /api/v1/ledger`
pub(super) async fn ledger(State(api): Shared, asked: Asked) -> Result<Response, Problem> {
    let ask = ask(asked)?;
    let overview = api.overview().await?;
    let mut entries: Vec<_> = overview.accounts.iter().filter(|a| ask.is_of_site(&a.site)).collect();
    let key = |a: &&AccountView| format!("{}/{}/{}", a.site, a.agent, a.asset);
    entries.sort_by_key(key);
    let (page, next) = ask.page(entries.into_iter(), key);
    let answer = Ledger {
        totals: overview.totals.clone(),
        conflicts: overview.conflicts(),
        records: overview.records.clone(),
        entries: page.into_iter().cloned().collect(),
        next,
    };
    Ok(Json(answer).into_response())
}

#[derive(Serialize)]
struct LagAnswer {
    #[serde(flatten)]
    lag: Lag,
    /// What this instance does.
    instance: Shown,
    /// Who owns which partition, as last written.
    owners: std::collections::BTreeMap<i32, Name>,
}

/// `GET /api/v1/lag`
pub(super) async fn lag(State(api): Shared) -> Result<Response, Problem> {
    let overview = api.overview().await?;
    let shown = api.status.show();
    let owners = overview.owners.clone();
    Ok(Json(LagAnswer { lag: shown.lag.clone(), instance: shown, owners }).into_response())
}

/// `GET /healthz`: the process answers and its store reads. Kafka being absent is normal, and said, not an error.
pub(super) async fn healthz(State(api): Shared) -> Result<Response, Problem> {
    api.read(|api| api.store.meta("version")).await?;
    Ok(Json(api.status.show()).into_response())
}

/// `GET /metrics`
pub(super) async fn metrics(State(api): Shared) -> Result<Response, Problem> {
    let overview = api.overview().await?;
    let text = api.metrics.expose(&overview, &api.status.show(), api.store.bytes());
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(CONTENT_TYPE, kind)], text).into_response())
}
