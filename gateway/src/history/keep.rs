//! Keeps the history within its days and its bytes (H4).
//!
//! By days: each resolution has a floor that follows the wall clock; what lies below is removed, chunk by chunk. By
//! bytes: the floor of the finest resolution that still has points is raised to its oldest chunk's end until the rest
//! fits; then the next coarser one, then the oldest alerts. Evidence keeps within bytes of its own
//! ([`super::evidence`]), before the rest is looked at. A floor never passes the present: points that a wrong clock
//! put into the future are removed without raising it, so that they cost no other asset its records.

use std::collections::BTreeMap;

use fettle_wire::{Micros, time};
use heed::types::{Bytes, DecodeIgnore};
use heed::{Database, RoTxn, RwTxn};

use super::chunk;
use super::names::Names;
use super::point::{Resolution, floor};
use super::store::{History, HistoryError, between, chunk_key, instant, sortable};

/// At most this many chunks or alerts are given up for bytes in one commit.
pub(super) const STEP: usize = 4_096;
/// Below this share of the bound giving up ends, in hundredths: so that it does not begin again at once.
pub(super) const ENOUGH: u64 = 95;

/// What was given up to stay within the bytes: points (or alerts, or evidence) by the name of what they were.
pub type GivenUp = BTreeMap<&'static str, u64>;

impl History {
    /// Bytes in use.
    pub fn bytes(&self) -> Result<u64, HistoryError> {
        let txn = self.env().read_txn()?;
        self.bytes_in(&txn)
    }

    /// Whether something must be given up to stay within the bytes.
    pub fn is_over(&self) -> Result<bool, HistoryError> {
        let txn = self.env().read_txn()?;
        Ok(self.bytes_in(&txn)? > self.keep.max_bytes || self.evidence_bytes(&txn)? > self.keep.evidence_bytes)
    }

    /// The bound.
    pub const fn max_bytes(&self) -> u64 {
        self.keep.max_bytes
    }

    fn bytes_in(&self, txn: &RoTxn<'_>) -> Result<u64, HistoryError> {
        let of =
            |s: heed::DatabaseStat| (s.branch_pages + s.leaf_pages + s.overflow_pages) as u64 * u64::from(s.page_size);
        let mut bytes = of(self.assets.stat(txn)?) + of(self.confirmed.stat(txn)?);
        for database in self.points.iter().chain(self.others()) {
            bytes += of(database.stat(txn)?);
        }
        Ok(bytes)
    }

    /// Removes what is too old at `now`, and gives up what does not fit.
    pub fn keep(&self, now: Micros) -> Result<GivenUp, HistoryError> {
        let mut txn = self.env().write_txn()?;
        let days = [self.keep.raw, self.keep.minute, self.keep.hour];
        for (resolution, kept) in Resolution::ALL.into_iter().zip(days) {
            let wanted = aligned(now.saturating_sub(kept), resolution);
            if wanted > self.floor(&txn, resolution)? {
                self.raise(&mut txn, resolution, wanted)?;
            }
        }
        self.trim_alerts(&mut txn, now.saturating_sub(self.keep.alerts))?;
        self.trim_audit(&mut txn, now.saturating_sub(self.keep.hour))?;
        let mut given_up = GivenUp::new();
        self.keep_evidence(&mut txn, now.saturating_sub(self.keep.alerts), &mut given_up)?;
        if self.bytes_in(&txn)? > self.keep.max_bytes {
            self.fit(&mut txn, now, &mut given_up)?;
        }
        txn.commit()?;
        Ok(given_up)
    }

    fn ids(&self, txn: &RoTxn<'_>) -> Result<Vec<u32>, HistoryError> {
        let mut ids = Vec::new();
        for item in self.assets.iter(txn)? {
            let (_, bytes) = item?;
            if let Ok(names) = serde_json::from_slice::<Names>(bytes) {
                ids.push(names.id);
            }
        }
        Ok(ids)
    }

    /// Removes every chunk below `at` and moves the floor there.
    fn raise(&self, txn: &mut RwTxn<'_>, resolution: Resolution, at: Micros) -> Result<(), HistoryError> {
        for id in self.ids(txn)? {
            let (low, high) = (chunk_key(id, Micros::MIN), chunk_key(id, at));
            self.points[resolution as usize].delete_range(txn, &between(&low, &high))?;
        }
        self.set_floor(txn, resolution, at)
    }

    /// Gives up the finest and oldest until the rest fits, at most [`STEP`] at once: the next call goes on.
    fn fit(&self, txn: &mut RwTxn<'_>, now: Micros, given_up: &mut GivenUp) -> Result<(), HistoryError> {
        let ids = self.ids(txn)?;
        let enough = self.keep.max_bytes / 100 * ENOUGH;
        let mut left = STEP;
        for resolution in Resolution::ALL {
            while left > 0 && self.bytes_in(txn)? > enough {
                let Some(oldest) = self.oldest(txn, resolution, &ids)? else { break };
                let end = aligned_up(oldest.saturating_add(resolution.span()), resolution);
                let mut points = 0;
                for id in &ids {
                    let removed = self.remove(txn, resolution, *id, end, &mut points)?;
                    left = left.saturating_sub(removed);
                }
                *given_up.entry(resolution.as_str()).or_default() += points;
                if end <= now && end > self.floor(txn, resolution)? {
                    self.set_floor(txn, resolution, end)?;
                }
            }
        }
        while left > 0 && self.bytes_in(txn)? > enough {
            let removed = self.remove_oldest_alerts(txn, 256)?;
            if removed == 0 {
                break;
            }
            left = left.saturating_sub(removed);
            *given_up.entry("alerts").or_default() += removed as u64;
        }
        Ok(())
    }

    /// The start of the oldest chunk of any asset.
    fn oldest(&self, txn: &RoTxn<'_>, of: Resolution, ids: &[u32]) -> Result<Option<Micros>, HistoryError> {
        let mut oldest: Option<Micros> = None;
        for id in ids {
            if let Some(start) = first(&self.points[of as usize], txn, *id)? {
                oldest = Some(oldest.map_or(start, |known| known.min(start)));
            }
        }
        Ok(oldest)
    }

    /// Removes an asset's chunks that begin before `end`, and counts their points.
    fn remove(
        &self,
        txn: &mut RwTxn<'_>,
        of: Resolution,
        id: u32,
        end: Micros,
        points: &mut u64,
    ) -> Result<usize, HistoryError> {
        let (low, high) = (chunk_key(id, Micros::MIN), chunk_key(id, end));
        let range = between(&low, &high);
        for item in self.points[of as usize].range(txn, &range)? {
            *points += chunk::count(item?.1);
        }
        Ok(self.points[of as usize].delete_range(txn, &range)?)
    }

    /// The first and last instant that a resolution has of an asset.
    pub fn extent(&self, txn: &RoTxn<'_>, of: Resolution, id: u32) -> Result<Option<(Micros, Micros)>, HistoryError> {
        let database = &self.points[of as usize];
        let Some(first) = first(database, txn, id)? else { return Ok(None) };
        let (low, high) = (chunk_key(id, Micros::MIN), chunk_key(id, Micros::MAX));
        let Some(last) = database.rev_range(txn, &between(&low, &high))?.next() else { return Ok(None) };
        let (key, bytes) = last?;
        let start = key.get(4..).and_then(instant).unwrap_or(first);
        let newest = chunk::decode(start, bytes).and_then(|points| points.last().map(|p| p.last_at.max(p.at)));
        Ok(Some((first, newest.unwrap_or(start))))
    }
}

fn first(database: &Database<'static, Bytes, Bytes>, txn: &RoTxn<'_>, id: u32) -> Result<Option<Micros>, HistoryError> {
    let (low, high) = (chunk_key(id, Micros::MIN), chunk_key(id, Micros::MAX));
    let database = database.remap_data_type::<DecodeIgnore>();
    let found = database.range(txn, &between(&low, &high))?.next();
    Ok(match found {
        Some(item) => item?.0.get(4..).and_then(instant),
        None => None,
    })
}

/// Floors lie on multiples of the next coarser chunk's points and of the own chunk.
const fn aligned(at: Micros, resolution: Resolution) -> Micros {
    floor(at, resolution.span())
}

fn aligned_up(at: Micros, resolution: Resolution) -> Micros {
    aligned(at.saturating_add(resolution.span() - 1), resolution)
}

impl History {
    fn trim_alerts(&self, txn: &mut RwTxn<'_>, before: Micros) -> Result<(), HistoryError> {
        let (low, high) = (sortable(Micros::MIN), sortable(before));
        if self.alerts.range(txn, &between(&low, &high))?.next().is_none() {
            return Ok(());
        }
        self.alerts.delete_range(txn, &between(&low, &high))?;
        for id in self.ids(txn)? {
            let (low, high) = (chunk_key(id, Micros::MIN), chunk_key(id, before));
            self.alerts_by_asset.delete_range(txn, &between(&low, &high))?;
        }
        Ok(())
    }

    fn remove_oldest_alerts(&self, txn: &mut RwTxn<'_>, count: usize) -> Result<usize, HistoryError> {
        let Some(last) = self.alerts.iter(txn)?.take(count).last() else { return Ok(0) };
        let Some(at) = last?.0.get(..8).and_then(instant) else { return Ok(0) };
        let before = self.alerts.len(txn)?;
        self.trim_alerts(txn, at.saturating_add(1))?;
        Ok(usize::try_from(before - self.alerts.len(txn)?).unwrap_or(usize::MAX))
    }

    fn trim_audit(&self, txn: &mut RwTxn<'_>, before: Micros) -> Result<(), HistoryError> {
        let (low, high) = (sortable(Micros::MIN), sortable(before));
        let mut gone = Vec::new();
        for item in self.audit.range(txn, &between(&low, &high))? {
            gone.extend(super::audit::id_of(item?.0).map(str::to_owned));
        }
        for id in &gone {
            self.confirmed.delete(txn, id)?;
        }
        if !gone.is_empty() {
            self.audit.delete_range(txn, &between(&low, &high))?;
        }
        Ok(())
    }
}

/// How far back each is kept unless configured.
pub const RAW_DAYS: Micros = 7 * time::DAY;
/// See [`RAW_DAYS`].
pub const MINUTE_DAYS: Micros = 90 * time::DAY;
/// See [`RAW_DAYS`]: five years.
pub const HOUR_DAYS: Micros = 1_826 * time::DAY;
/// See [`RAW_DAYS`].
pub const ALERT_DAYS: Micros = 90 * time::DAY;
/// The bound unless configured: 16 GiB, enough for the days above of about 700 assets with five channels.
pub const MAX_BYTES: u64 = 16 << 30;
