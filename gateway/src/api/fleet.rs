//! The account of everything: ledger, lag, sites, the audit log, and what this instance says of itself.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response, Result};
use fettle_wire::{Command, Label, Micros, Name, Request, Tally};
use serde::Serialize;
use utoipa::ToSchema;

use super::ask::{self, AskAudit, AskLedger, Asked, Needle, of_cursor, page, to_cursor};
use super::{STALE_AFTER, Shared, problem::Problem, schema};
use crate::clock;
use crate::commands::{self, Subject};
use crate::fleet::overview::{AccountView, Overview, PartitionCounts, Totals};
use crate::history::audit::Confirmed;
use crate::status::{PartitionLag, Shown};

/// What became of every record and every reading.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Ledger {
    /// Sums over every account, of any site.
    totals: Totals,
    /// Records with a known id and another content.
    conflicts: u64,
    /// What became of the records of each partition.
    records: Vec<PartitionCounts>,
    /// Accounts, by site, agent and asset.
    entries: Vec<AccountView>,
    /// How many accounts there are, over all pages.
    total: usize,
    /// Ask for the next page with this as `cursor`; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// What became of every reading, and the frames that are missing, with their ranges.
#[utoipa::path(get, path = "/api/v1/ledger", tag = "account", params(AskLedger),
    responses((status = 200, description = "as asked for", body = Ledger), (status = 400, description = "the request is wrong; the detail says how", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn ledger(State(api): Shared, asked: Asked<AskLedger>) -> Result<Json<Ledger>, Problem> {
    let ask = ask::ask(asked, "site, missing=true|false, text, cursor and limit")?;
    let needle = Needle::new(ask.text.as_deref());
    let overview = api.overview().await?;
    let is_wanted = |a: &&AccountView| {
        ask.site.as_deref().is_none_or(|site| site == a.site.as_str())
            && ask.missing.is_none_or(|missing| missing == (a.missing > 0))
            && needle.is_in(&[&a.site, &a.agent, &a.asset])
    };
    let key = |a: &AccountView| format!("{}/{}/{}", a.site, a.agent, a.asset);
    let found: Vec<_> = overview.accounts.iter().filter(is_wanted).map(|a| (key(a), a)).collect();
    let total = found.len();
    let (page, next) = page(found, ask.cursor.as_deref(), ask.limit);
    Ok(Json(Ledger {
        totals: overview.totals.clone(),
        conflicts: overview.conflicts(),
        records: overview.records.clone(),
        entries: page.into_iter().cloned().collect(),
        total,
        next,
    }))
}

/// How far the group is behind.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LagAnswer {
    /// When it was measured, microseconds UTC; absent: not yet.
    #[schema(value_type = Option<i64>)]
    measured_at: Option<Micros>,
    /// Why it could not be measured lately.
    error: Option<String>,
    /// Sum over partitions.
    total: i64,
    /// Each partition of each topic.
    partitions: Vec<PartitionLag>,
    /// What this instance does.
    instance: Shown,
    /// Who owns which partition, as last written.
    #[schema(value_type = BTreeMap<String, String>)]
    owners: BTreeMap<i32, Name>,
}

/// How far the group is behind what agents have written, and what this instance does.
#[utoipa::path(get, path = "/api/v1/lag", tag = "account", responses((status = 200, description = "as asked for", body = LagAnswer)))]
pub(super) async fn lag(State(api): Shared) -> Result<Json<LagAnswer>, Problem> {
    let overview = api.overview().await?;
    let shown = api.status.show();
    let lag = shown.lag.clone();
    Ok(Json(LagAnswer {
        measured_at: lag.measured_at,
        error: lag.error,
        total: lag.total,
        partitions: lag.partitions,
        instance: shown,
        owners: overview.owners.clone(),
    }))
}

/// An agent.
#[derive(Clone, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct AgentView {
    #[schema(value_type = String)]
    agent: Name,
    /// Kafka's time of the newest record of any of its assets, microseconds UTC.
    #[schema(value_type = i64)]
    seen: Micros,
    assets: usize,
}

/// One site, summed up.
#[derive(Clone, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SiteView {
    #[schema(value_type = String)]
    site: Name,
    agents: Vec<AgentView>,
    assets: usize,
    quarantined: usize,
    /// Assets that were not heard of for `stale_after`.
    stale: usize,
    /// Open alarms that are not shelved.
    open_alarms: usize,
    /// Of those, not acknowledged.
    unacknowledged: usize,
    /// Alarms that a person has shelved.
    shelved_alarms: usize,
    accounts: usize,
    /// Accounts that do not balance.
    unbalanced: usize,
    /// What became of the readings, earlier incarnations included.
    #[schema(value_type = schema::Tally)]
    readings: Tally,
    /// Frames missing.
    missing: u64,
    /// Of those, lost for good.
    lost: u64,
}

/// What this gateway keeps.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Stores {
    /// Bytes of the fleet's copy on disk.
    store_bytes: u64,
    /// Bytes of the history in use.
    history_bytes: u64,
    /// Its bound, `history.max_bytes`.
    history_max_bytes: u64,
    /// Assets, alerts, evidence and commands in the history.
    history_records: BTreeMap<String, u64>,
}

/// Every site.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Sites {
    sites: Vec<SiteView>,
    /// What this instance keeps.
    gateway: Stores,
    /// What cannot be shown here, and where it is.
    unknown: Vec<&'static str>,
    /// When this was true, wall time of the gateway, microseconds UTC.
    #[schema(value_type = i64)]
    now: Micros,
    /// An asset that was not heard of for this long shows nothing of the present, microseconds.
    #[schema(value_type = i64)]
    stale_after: Micros,
}

fn site_views(overview: &Overview, now: Micros) -> Vec<SiteView> {
    let mut sites = BTreeMap::<Name, (SiteView, BTreeMap<Name, AgentView>)>::new();
    let new = |site: &Name| {
        let view = SiteView {
            site: site.clone(),
            agents: Vec::new(),
            assets: 0,
            quarantined: 0,
            stale: 0,
            open_alarms: 0,
            unacknowledged: 0,
            shelved_alarms: 0,
            accounts: 0,
            unbalanced: 0,
            readings: Tally::default(),
            missing: 0,
            lost: 0,
        };
        (view, BTreeMap::new())
    };
    for asset in &overview.assets {
        let (site, agents) = sites.entry(asset.site.clone()).or_insert_with(|| new(&asset.site));
        site.assets += 1;
        site.quarantined += usize::from(asset.quarantined);
        site.stale += usize::from(now.saturating_sub(asset.seen) > STALE_AFTER);
        let agent = agents.entry(asset.agent.clone()).or_insert_with(|| AgentView {
            agent: asset.agent.clone(),
            seen: asset.seen,
            assets: 0,
        });
        agent.seen = agent.seen.max(asset.seen);
        agent.assets += 1;
    }
    for alarm in overview.alarms.iter().filter(|a| a.open || a.shelved_until.is_some()) {
        let (site, _) = sites.entry(alarm.site.clone()).or_insert_with(|| new(&alarm.site));
        site.shelved_alarms += usize::from(alarm.shelved_until.is_some());
        site.open_alarms += usize::from(alarm.shelved_until.is_none());
        site.unacknowledged += usize::from(alarm.calls());
    }
    for account in &overview.accounts {
        let (site, _) = sites.entry(account.site.clone()).or_insert_with(|| new(&account.site));
        site.accounts += 1;
        site.unbalanced += usize::from(!account.balances || !account.nodes_balance);
        site.readings.add(&account.readings);
        site.readings.add(&account.earlier);
        site.missing = site.missing.saturating_add(account.missing);
        site.lost = site.lost.saturating_add(account.lost);
    }
    let joined = sites.into_values().map(|(site, agents)| SiteView { agents: agents.into_values().collect(), ..site });
    joined.collect()
}

/// Every site with its agents, alarms and account, and what this gateway keeps.
#[utoipa::path(get, path = "/api/v1/sites", tag = "account", responses((status = 200, description = "as asked for", body = Sites)))]
pub(super) async fn sites(State(api): Shared) -> Result<Json<Sites>, Problem> {
    let overview = api.overview().await?;
    let (bytes, max, counts) =
        api.look_back(|history| Ok((history.bytes()?, history.max_bytes(), history.counts()?))).await?;
    let now = clock::wall();
    let gateway = Stores {
        store_bytes: api.store.bytes(),
        history_bytes: bytes,
        history_max_bytes: max,
        history_records: counts.into_iter().map(|(what, count)| (what.to_owned(), count)).collect(),
    };
    let unknown = vec![
        "How full an agent's store is and how much it has waiting for Kafka: agents do not send it; each shows it at its \
         /metrics and in `fettle-agent status`.",
    ];
    Ok(Json(Sites { sites: site_views(&overview, now), gateway, unknown, now, stale_after: STALE_AFTER }))
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    /// The agent has not confirmed yet.
    Pending,
    /// The agent confirmed.
    Confirmed,
    /// The agent did not confirm in time and no longer will.
    Expired,
}

/// One request.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct AuditEntry {
    /// Who asked.
    person: String,
    /// When, microseconds UTC.
    #[schema(value_type = i64)]
    issued: Micros,
    /// For what: `acknowledge`, `shelve`, `unshelve`, `comment`, `label`, `adopt`.
    what: &'static str,
    #[schema(value_type = String)]
    site: Name,
    #[schema(value_type = String)]
    agent: Name,
    #[schema(value_type = String)]
    asset: Name,
    #[serde(skip_serializing_if = "Option::is_none")]
    condition: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    occurrence: Option<u64>,
    /// Of a shelf: until when, event time.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<i64>)]
    until: Option<Micros>,
    /// Of a comment: what it says.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    /// Of a label: which.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::Label>)]
    label: Option<Label>,
    /// The command's id.
    command: String,
    /// Until when the agent accepts it.
    #[schema(value_type = i64)]
    expires: Micros,
    outcome: Outcome,
    /// When the agent confirmed, event time.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<i64>)]
    confirmed_at: Option<Micros>,
}

/// Requests that people made.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Audit {
    /// Newest first.
    entries: Vec<AuditEntry>,
    /// Ask for the next page with this as `cursor`; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// An adoption is confirmed by the account that no longer says "quarantined"; everything else by the alert that names
/// the command.
fn audit_entry(command: Command, confirmed: Option<Confirmed>, overview: &Overview, now: Micros) -> AuditEntry {
    let Subject { what, asset, condition, occurrence, until, text, label } = commands::subject(&command.request);
    let is_of = |a: &&AccountView| a.site == command.site && a.agent == command.agent && a.asset == *asset;
    let adopted = matches!(command.request, Request::Adopt { .. })
        && overview.accounts.iter().find(is_of).is_some_and(|account| !account.quarantined);
    let outcome = match () {
        () if confirmed.is_some() || adopted => Outcome::Confirmed,
        () if command.expires <= now => Outcome::Expired,
        () => Outcome::Pending,
    };
    AuditEntry {
        what,
        asset: asset.clone(),
        condition: condition.map(str::to_owned),
        occurrence,
        until,
        text: text.map(str::to_owned),
        label,
        outcome,
        confirmed_at: confirmed.map(|confirmed| confirmed.at),
        person: command.issuer,
        issued: command.issued,
        site: command.site,
        agent: command.agent,
        command: command.id,
        expires: command.expires,
    }
}

/// Who asked for what, when, and what became of it; of every instance, newest first.
#[utoipa::path(get, path = "/api/v1/audit", tag = "account", params(AskAudit),
    responses((status = 200, description = "as asked for", body = Audit), (status = 400, description = "the request is wrong; the detail says how", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn audit(State(api): Shared, asked: Asked<AskAudit>) -> Result<Json<Audit>, Problem> {
    let ask = ask::ask(asked, "site, text, cursor and limit")?;
    let (after, limit) = (of_cursor(ask.cursor.as_deref())?, ask::limit(ask.limit));
    let page = api
        .look_back(move |history| {
            let needle = Needle::new(ask.text.as_deref());
            history.audit(after.as_deref(), limit, |command| {
                let Subject { asset, condition, text, .. } = commands::subject(&command.request);
                ask.site.as_deref().is_none_or(|site| site == command.site.as_str())
                    && needle.is_in(&[&command.issuer, asset, condition.unwrap_or_default(), text.unwrap_or_default()])
            })
        })
        .await?;
    let (overview, now) = (api.overview().await?, clock::wall());
    let entry = |(command, confirmed)| audit_entry(command, confirmed, &overview, now);
    Ok(Json(Audit { entries: page.entries.into_iter().map(entry).collect(), next: page.next.map(|n| to_cursor(&n)) }))
}

/// The process answers and its stores read. Kafka being absent is normal, and said, not an error.
#[utoipa::path(get, path = "/healthz", tag = "instance",
    responses((status = 200, description = "as asked for", body = Shown), (status = 500, description = "a store does not read", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn healthz(State(api): Shared) -> Result<Json<Shown>, Problem> {
    api.read(|api| api.store.meta("version")).await?;
    api.look_back(|history| history.bytes()).await?;
    Ok(Json(api.status.show()))
}

/// Everything that is counted and measured, in OpenMetrics' text format.
#[utoipa::path(get, path = "/metrics", tag = "instance",
    responses((status = 200, description = "as asked for", body = String, content_type = "application/openmetrics-text")))]
pub(super) async fn metrics(State(api): Shared) -> Result<Response, Problem> {
    let overview = api.overview().await?;
    let text = api.metrics.expose(&overview, &api.status.show(), api.store.bytes());
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(CONTENT_TYPE, kind)], text).into_response())
}
