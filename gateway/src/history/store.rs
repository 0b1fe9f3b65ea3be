//! The history's own LMDB environment, in `history/` beside the copy of the fleet.
//!
//! | database | key | value |
//! |---|---|---|
//! | `assets` | site/asset | [`Names`], JSON |
//! | `raw`, `1min`, `1h` | asset's number, start of the span | [`chunk`] |
//! | `alerts` | time, id | an alert ([`super::log`]) |
//! | `alerts_by_asset` | asset's number, time, id | |
//! | `evidence`, `evidence_list`, `evidence_order` | ([`super::evidence`]) | |
//! | `audit`, `confirmed` | ([`super::audit`]) | |
//! | `positions` | topic\|partition | next offset, 8 bytes big endian |
//! | `meta` | | version, prefix, cluster, the floor of each resolution |
//!
//! The floor of a resolution is the instant before which its points were given up (H4). At or above it, coarser points
//! are computed anew from all finer ones (H3). Below it that is no longer possible: a record that comes so late is added
//! to the coarser point if it is newer than everything in it, and else counted as `late_for_good`. Floors lie on
//! multiples of the coarser chunk, so no point straddles one.
//!
//! Databases that an older build did not know are made empty when its store is opened, and filled as far as Kafka reaches.
//! Must never: commit a batch in part; trust bytes that do not decode (they count as absent, are counted, and replaced).

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::Path;

use fettle_wire::{Alert, Command, Health, Micros, Name, RecordId, time, topic};
use heed::types::{Bytes, Str};
use heed::{Database, Env, RoTxn, RwTxn};

use super::chunk::{self, MAX_POINTS};
use super::evidence::{Exhibit, Listed};
use super::names::Names;
use super::point::{Point, Resolution, floor};
use crate::config::Keep;
use crate::fleet::asset::Origin;
use crate::lmdb::{self, OpenError, Opened, database};

/// The layout this build writes.
const VERSION: &str = "1";
/// The most assets; a stranger's names must not grow the store without end.
const MAX_ASSETS: u64 = 100_000;

/// Why the history failed.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// It cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Written by a later build.
    #[error(
        "the history {0} was written by a newer build; use that one, or remove the folder (it is rebuilt as far as Kafka reaches)"
    )]
    Newer(String),
    /// LMDB.
    #[error(
        "history: {0}; if this persists, stop the gateway and remove the folder `history` in its store (it is rebuilt as far as Kafka reaches)"
    )]
    Lmdb(#[from] heed::Error),
    /// A value does not encode or read as what it is.
    #[error(
        "history: {what}: {source}; stop the gateway and remove the folder `history` in its store (it is rebuilt as far as Kafka reaches)"
    )]
    Value {
        /// Which.
        what: &'static str,
        /// Why.
        source: serde_json::Error,
    },
}

/// An alert with who said it.
#[derive(Debug, Clone, PartialEq)]
pub struct Said {
    /// Who.
    pub origin: Origin,
    /// The record's id.
    pub id: RecordId,
    /// Kafka's time of the record.
    pub seen: Micros,
    /// What.
    pub alert: Box<Alert>,
}

/// What was read since the last commit.
#[derive(Debug, Default)]
pub struct Batch {
    /// Health records with their site, as they came.
    pub healths: Vec<(Name, Box<Health>)>,
    /// Alerts.
    pub alerts: Vec<Said>,
    /// Evidence.
    pub evidence: Vec<Exhibit>,
    /// Commands.
    pub commands: Vec<Command>,
    /// The next offset of each (topic, partition).
    pub positions: BTreeMap<(String, i32), i64>,
}

/// What became of a batch.
#[derive(Debug, Default)]
pub struct Taken {
    /// Records by what became of them.
    pub outcomes: BTreeMap<&'static str, u64>,
    /// Evidence that was not known before, with site and asset.
    pub evidence: Vec<(Name, Name, Listed)>,
}

impl Taken {
    pub(super) fn count(&mut self, outcome: &'static str, records: u64) {
        if records > 0 {
            *self.outcomes.entry(outcome).or_default() += records;
        }
    }
}

/// The history.
pub struct History {
    opened: Opened,
    pub(super) keep: Keep,
    pub(super) assets: Database<'static, Str, Bytes>,
    pub(super) points: [Database<'static, Bytes, Bytes>; 3],
    pub(super) alerts: Database<'static, Bytes, Bytes>,
    pub(super) alerts_by_asset: Database<'static, Bytes, Bytes>,
    pub(super) evidence: Database<'static, Bytes, Bytes>,
    pub(super) evidence_list: Database<'static, Bytes, Bytes>,
    pub(super) evidence_order: Database<'static, Bytes, Bytes>,
    pub(super) audit: Database<'static, Bytes, Bytes>,
    pub(super) confirmed: Database<'static, Str, Bytes>,
    positions: Database<'static, Str, Bytes>,
    meta: Database<'static, Str, Str>,
}

/// An instant as bytes that sort as it does.
pub(super) const fn sortable(at: Micros) -> [u8; 8] {
    ((at as u64) ^ (1 << 63)).to_be_bytes()
}

/// The instant of [`sortable`].
pub(super) fn instant(bytes: &[u8]) -> Option<Micros> {
    let bytes = <[u8; 8]>::try_from(bytes).ok()?;
    Some((u64::from_be_bytes(bytes) ^ (1 << 63)) as Micros)
}

/// The key of a chunk.
pub(super) fn chunk_key(id: u32, start: Micros) -> [u8; 12] {
    let mut key = [0; 12];
    key[..4].copy_from_slice(&id.to_be_bytes());
    key[4..].copy_from_slice(&sortable(start));
    key
}

/// Keys from `low` up to `high`, which is left out.
pub(super) fn between<'a>(low: &'a [u8], high: &'a [u8]) -> (Bound<&'a [u8]>, Bound<&'a [u8]>) {
    (Bound::Included(low), Bound::Excluded(high))
}

/// What is to be done to the points of a coarser resolution.
#[derive(Default)]
struct Update {
    /// The whole point, computed from all its finer ones.
    whole: Option<Point>,
    /// Records whose finer points were given up.
    more: Vec<Point>,
}

type Updates = BTreeMap<Micros, Update>;

impl History {
    /// Opens or makes the history in `folder`, of the fleet with this prefix. Another fleet's is emptied.
    pub fn open(folder: &Path, keep: Keep, prefix: &str) -> Result<Self, HistoryError> {
        // Room for what a commit needs beyond the bound: it copies pages before it frees them.
        let map = usize::try_from(keep.max_bytes.saturating_mul(2).saturating_add(1 << 30)).unwrap_or(usize::MAX);
        let opened = lmdb::open(folder, map / 4_096 * 4_096, 13)?;
        let env = &opened.env;
        let points = [database(env, "raw")?, database(env, "1min")?, database(env, "1h")?];
        let history = Self {
            keep,
            assets: database(env, "assets")?,
            points,
            alerts: database(env, "alerts")?,
            alerts_by_asset: database(env, "alerts_by_asset")?,
            evidence: database(env, "evidence")?,
            evidence_list: database(env, "evidence_list")?,
            evidence_order: database(env, "evidence_order")?,
            audit: database(env, "audit")?,
            confirmed: database(env, "confirmed")?,
            positions: database(env, "positions")?,
            meta: database(env, "meta")?,
            opened,
        };
        let txn = history.env().read_txn()?;
        let known = |key| history.meta.get(&txn, key).map(|found| found.map(str::to_owned));
        let (version, fleet) = (known("version")?, known("prefix")?);
        drop(txn);
        if version.as_deref().is_some_and(|version| version != VERSION) {
            return Err(HistoryError::Newer(folder.display().to_string()));
        }
        if fleet.as_deref() != Some(prefix) {
            history.empty(prefix)?;
        }
        Ok(history)
    }

    pub(super) fn env(&self) -> &Env {
        &self.opened.env
    }

    /// Every database of bytes but the points.
    pub(super) const fn others(&self) -> [&Database<'static, Bytes, Bytes>; 6] {
        let Self { alerts, alerts_by_asset, evidence, evidence_list, evidence_order, audit, .. } = self;
        [alerts, alerts_by_asset, evidence, evidence_list, evidence_order, audit]
    }

    fn empty(&self, prefix: &str) -> Result<(), HistoryError> {
        let mut txn = self.env().write_txn()?;
        self.assets.clear(&mut txn)?;
        for database in self.points.iter().chain(self.others()) {
            database.clear(&mut txn)?;
        }
        self.confirmed.clear(&mut txn)?;
        self.positions.clear(&mut txn)?;
        self.meta.clear(&mut txn)?;
        self.meta.put(&mut txn, "version", VERSION)?;
        self.meta.put(&mut txn, "prefix", prefix)?;
        Ok(txn.commit()?)
    }

    /// Says which cluster is read. Offsets of another one mean nothing: they are forgotten and its topics are read from
    /// the start. What is known stays, because a record that is read again changes nothing (H3).
    pub fn set_cluster(&self, cluster: &str) -> Result<(), HistoryError> {
        let mut txn = self.env().write_txn()?;
        if self.meta.get(&txn, "cluster")? != Some(cluster) {
            self.positions.clear(&mut txn)?;
            self.meta.put(&mut txn, "cluster", cluster)?;
        }
        Ok(txn.commit()?)
    }

    /// The next offset to read of each partition of `topic`, where any was read.
    pub fn positions(&self, topic: &str) -> Result<BTreeMap<i32, i64>, HistoryError> {
        let txn = self.env().read_txn()?;
        let mut out = BTreeMap::new();
        for item in self.positions.prefix_iter(&txn, &format!("{topic}|"))? {
            let (key, bytes) = item?;
            let partition = key.rsplit_once('|').and_then(|(_, partition)| partition.parse().ok());
            if let (Some(partition), Ok(bytes)) = (partition, <[u8; 8]>::try_from(bytes)) {
                out.insert(partition, i64::from_be_bytes(bytes));
            }
        }
        Ok(out)
    }

    /// The instant before which points of this resolution were given up.
    pub(super) fn floor(&self, txn: &RoTxn<'_>, resolution: Resolution) -> Result<Micros, HistoryError> {
        let text = self.meta.get(txn, resolution.as_str())?;
        Ok(text.and_then(|text| text.parse().ok()).unwrap_or(time::EARLIEST))
    }

    pub(super) fn set_floor(&self, txn: &mut RwTxn<'_>, of: Resolution, at: Micros) -> Result<(), HistoryError> {
        Ok(self.meta.put(txn, of.as_str(), &at.to_string())?)
    }

    /// Takes a batch in and moves the positions, in one commit (H1).
    pub fn take_in(&self, batch: &Batch) -> Result<Taken, HistoryError> {
        let mut taken = Taken::default();
        let mut txn = self.env().write_txn()?;
        let mut by_asset: BTreeMap<(&str, &str), Vec<&Health>> = BTreeMap::new();
        for (site, health) in &batch.healths {
            by_asset.entry((site, &health.asset)).or_default().push(health);
        }
        for ((site, asset), healths) in by_asset {
            self.take_asset(&mut txn, &topic::asset_key(site, asset), &healths, &mut taken)?;
        }
        for said in &batch.alerts {
            self.take_alert(&mut txn, said, &mut taken)?;
        }
        for exhibit in &batch.evidence {
            self.take_evidence(&mut txn, exhibit, &mut taken)?;
        }
        for command in &batch.commands {
            self.take_command(&mut txn, command, &mut taken)?;
        }
        for ((topic, partition), next) in &batch.positions {
            self.positions.put(&mut txn, &format!("{topic}|{partition}"), &next.to_be_bytes())?;
        }
        txn.commit()?;
        Ok(taken)
    }

    /// The dictionary of an asset.
    pub fn names(&self, txn: &RoTxn<'_>, asset: &str) -> Result<Option<Names>, HistoryError> {
        let Some(bytes) = self.assets.get(txn, asset)? else { return Ok(None) };
        let read = serde_json::from_slice(bytes);
        read.map(Some).map_err(|source| HistoryError::Value { what: "the names of an asset", source })
    }

    /// The dictionary of an asset, made if there is room for one more.
    pub(super) fn names_or_new(&self, txn: &RoTxn<'_>, asset: &str) -> Result<Option<Names>, HistoryError> {
        if let Some(names) = self.names(txn, asset)? {
            return Ok(Some(names));
        }
        let number = self.assets.len(txn)?;
        Ok((number < MAX_ASSETS).then(|| Names::new(number as u32)))
    }

    pub(super) fn put_names(&self, txn: &mut RwTxn<'_>, asset: &str, names: &Names) -> Result<(), HistoryError> {
        let encoded = serde_json::to_vec(names);
        let bytes = encoded.map_err(|source| HistoryError::Value { what: "the names of an asset", source })?;
        Ok(self.assets.put(txn, asset, &bytes)?)
    }

    fn take_asset(
        &self,
        txn: &mut RwTxn<'_>,
        asset: &str,
        healths: &[&Health],
        taken: &mut Taken,
    ) -> Result<(), HistoryError> {
        let Some(mut names) = self.names_or_new(txn, asset)? else {
            taken.count("too_many_assets", healths.len() as u64);
            return Ok(());
        };
        let before = names.clone();
        let [raw_floor, minute_floor, hour_floor] = self.floors(txn)?;
        let (mut raw, mut minutes, mut hours) = (BTreeMap::<Micros, Vec<Point>>::new(), Updates::new(), Updates::new());
        for health in healths {
            if !(time::EARLIEST..time::LATEST).contains(&health.window_end) {
                taken.count("impossible_time", 1);
                continue;
            }
            let (point, without_room) = names.point(health);
            taken.count("name_without_room", without_room);
            match point.at {
                at if at >= raw_floor => raw.entry(floor(at, Resolution::Raw.span())).or_default().push(point),
                at if at >= minute_floor => minutes.entry(floor(at, time::MINUTE)).or_default().more.push(point),
                at if at >= hour_floor => hours.entry(floor(at, time::HOUR)).or_default().more.push(point),
                _ => taken.count("too_old", 1),
            }
        }
        for (start, points) in raw {
            self.put_records(txn, names.id, start, points, &mut minutes, taken)?;
        }
        for (start, updates) in by_chunk(minutes, Resolution::Minute) {
            let points = self.update(txn, Resolution::Minute, names.id, start, &updates, taken)?;
            for hour in updates.keys().map(|minute| floor(*minute, time::HOUR)) {
                let of_hour = points.iter().filter(|p| floor(p.at, time::HOUR) == hour);
                hours.entry(hour).or_default().whole = Point::of(hour, of_hour);
            }
        }
        for (start, updates) in by_chunk(hours, Resolution::Hour) {
            self.update(txn, Resolution::Hour, names.id, start, &updates, taken)?;
        }
        if names != before || self.assets.get(txn, asset)?.is_none() {
            self.put_names(txn, asset, &names)?;
        }
        Ok(())
    }

    pub(super) fn floors(&self, txn: &RoTxn<'_>) -> Result<[Micros; 3], HistoryError> {
        Ok([
            self.floor(txn, Resolution::Raw)?,
            self.floor(txn, Resolution::Minute)?,
            self.floor(txn, Resolution::Hour)?,
        ])
    }

    /// Puts records into their chunk and computes the minutes they lie in.
    fn put_records(
        &self,
        txn: &mut RwTxn<'_>,
        id: u32,
        start: Micros,
        records: Vec<Point>,
        minutes: &mut Updates,
        taken: &mut Taken,
    ) -> Result<(), HistoryError> {
        let mut points = self.load(txn, Resolution::Raw, id, start, taken)?;
        let mut touched = Vec::with_capacity(records.len());
        for record in records {
            touched.push(floor(record.at, time::MINUTE));
            let outcome = match points.binary_search_by_key(&record.at, |p| p.at) {
                Ok(at) if record.revision < points[at].revision => "older_revision",
                Ok(at) => {
                    let outcome = if record.revision == points[at].revision { "repeated" } else { "revised" };
                    points[at] = record;
                    outcome
                }
                Err(_) if points.len() >= MAX_POINTS => "crowded",
                Err(at) => {
                    points.insert(at, record);
                    "stored"
                }
            };
            taken.count(outcome, 1);
        }
        self.points[0].put(txn, &chunk_key(id, start), &chunk::encode(start, &points))?;
        for minute in touched {
            let of_minute = points.iter().filter(|p| floor(p.at, time::MINUTE) == minute);
            minutes.entry(minute).or_default().whole = Point::of(minute, of_minute);
        }
        Ok(())
    }

    fn load(
        &self,
        txn: &RoTxn<'_>,
        resolution: Resolution,
        id: u32,
        start: Micros,
        taken: &mut Taken,
    ) -> Result<Vec<Point>, HistoryError> {
        let Some(bytes) = self.points[resolution as usize].get(txn, &chunk_key(id, start))? else {
            return Ok(Vec::new());
        };
        Ok(chunk::decode(start, bytes).unwrap_or_else(|| {
            taken.count("damaged", 1);
            Vec::new()
        }))
    }

    /// Updates the points of one chunk; all of its points afterwards.
    fn update(
        &self,
        txn: &mut RwTxn<'_>,
        resolution: Resolution,
        id: u32,
        start: Micros,
        updates: &Updates,
        taken: &mut Taken,
    ) -> Result<Vec<Point>, HistoryError> {
        let mut points = self.load(txn, resolution, id, start, taken)?;
        for (at, update) in updates {
            let found = points.binary_search_by_key(at, |p| p.at);
            match (&update.whole, found) {
                (Some(whole), Ok(found)) => points[found] = whole.clone(),
                (Some(whole), Err(before)) => points.insert(before, whole.clone()),
                (None, _) => {}
            }
            for record in &update.more {
                add(&mut points, *at, record, taken);
            }
        }
        self.points[resolution as usize].put(txn, &chunk_key(id, start), &chunk::encode(start, &points))?;
        Ok(points)
    }
}

/// Adds a record whose finer points were given up: only what is newer than everything in the point, so that nothing is
/// counted twice.
fn add(points: &mut Vec<Point>, at: Micros, record: &Point, taken: &mut Taken) {
    match points.binary_search_by_key(&at, |p| p.at) {
        Err(before) => {
            points.insert(before, Point { at, revision: 0, ..record.clone() });
            taken.count("stored_coarse", 1);
        }
        Ok(found) if record.last_at > points[found].last_at => {
            points[found].fold(record);
            taken.count("stored_coarse", 1);
        }
        Ok(_) => taken.count("late_for_good", 1),
    }
}

fn by_chunk(updates: Updates, resolution: Resolution) -> BTreeMap<Micros, Updates> {
    let mut chunks = BTreeMap::<Micros, Updates>::new();
    for (at, update) in updates {
        chunks.entry(floor(at, resolution.span())).or_default().insert(at, update);
    }
    chunks
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
