//! Evidence: blocks of samples with their spectra, to be looked at. Newest first of one asset, and each whole by its id.
//!
//! Known by (asset, record id): what is read again changes nothing, and the same id with another content is a conflict;
//! the first stays. Kept are the newest [`PERIODIC`] shown from time to time of each channel, and all that were shown for
//! an alarm, for as long as alerts are kept; beyond `evidence_bytes` the periodic ones go first, then those of alarms,
//! oldest first (H4). The numbers of the lane are checked by nobody: an agent thins evidence first, so gaps in it say
//! nothing, and what Kafka deleted unread is counted by its offsets.
//!
//! | database | key | value |
//! |---|---|---|
//! | `evidence` | asset's number, id | content hash, length of the head, head (JSON, LZ4), samples as they came |
//! | `evidence_list` | asset's number, time, id | occasion, channel's length, channel, [`Listed`] (JSON) |
//! | `evidence_order` | occasion (0 periodic, 1 alarm), time, asset's number, id | |
//!
//! Must never: show what does not decode (it counts as absent); grow by a record that is read again.

use fettle_wire::{Evidence, Micros, Name, Occasion, RecordId, time, topic};
use heed::{RoTxn, RwTxn};
use serde::{Deserialize, Serialize};

use super::keep::{ENOUGH, GivenUp, STEP};
use super::store::{History, HistoryError, Taken, between, chunk_key, instant, sortable};

/// The most periodic ones of one channel: a week of hours.
pub const PERIODIC: usize = 168;
/// The share of the history's bytes that evidence may take at most, as a divisor.
pub const MAX_SHARE: i64 = 2;
/// The bound unless configured: some 25,000 records. Of a smaller history a quarter.
pub const EVIDENCE_BYTES: u64 = 512 << 20;
/// Evidence from further ahead has a wrong time, and would hide what is newest.
const AHEAD: Micros = time::DAY;
/// The longest head that is unpacked, in bytes.
const MAX_HEAD: usize = 1 << 20;

/// A record of evidence with who sent it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Exhibit {
    /// The site.
    pub site: Name,
    /// The agent.
    pub agent: Name,
    /// The record's id.
    pub id: RecordId,
    /// The hash of its content.
    pub content: RecordId,
    /// Kafka's time of the record, microseconds UTC.
    pub seen: Micros,
    /// What it shows.
    pub evidence: Box<Evidence>,
}

/// Whether evidence can be of this time, when it is `now`.
pub fn is_possible(at: Micros, now: Micros) -> bool {
    (time::EARLIEST..time::LATEST).contains(&at) && at <= now.saturating_add(AHEAD)
}

/// A record of evidence in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// The record's id.
    pub id: RecordId,
    /// Event time of the first sample.
    pub time: Micros,
    /// The channel.
    pub channel: Name,
    /// Why it is shown.
    pub occasion: Occasion,
    /// The alarm's condition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    /// The alarm's occurrence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub occurrence: Option<u64>,
    /// The agent.
    pub agent: Name,
    /// Kafka's time of the record, microseconds UTC.
    pub seen: Micros,
}

impl Listed {
    /// Of a whole one.
    pub fn of(exhibit: &Exhibit) -> Self {
        let Exhibit { agent, id, seen, evidence, .. } = exhibit;
        Self {
            id: *id,
            time: evidence.time,
            channel: evidence.channel.clone(),
            occasion: evidence.occasion,
            condition: evidence.condition.clone(),
            occurrence: evidence.occurrence,
            agent: agent.clone(),
            seen: *seen,
        }
    }
}

/// Some of an asset's evidence, and where the next page begins.
#[derive(Debug, Default)]
pub struct EvidencePage {
    /// Newest first.
    pub listed: Vec<Listed>,
    /// The key of the last one, if there are more.
    pub next: Option<Vec<u8>>,
}

fn whole_key(asset: u32, id: RecordId) -> [u8; 20] {
    let mut key = [0; 20];
    key[..4].copy_from_slice(&asset.to_be_bytes());
    key[4..].copy_from_slice(&id.0);
    key
}

fn list_key(asset: u32, at: Micros, id: RecordId) -> [u8; 28] {
    let mut key = [0; 28];
    key[..12].copy_from_slice(&chunk_key(asset, at));
    key[12..].copy_from_slice(&id.0);
    key
}

fn order_key(occasion: Occasion, at: Micros, asset: u32, id: RecordId) -> [u8; 29] {
    let mut key = [0; 29];
    key[0] = rank(occasion);
    key[1..9].copy_from_slice(&sortable(at));
    key[9..13].copy_from_slice(&asset.to_be_bytes());
    key[13..].copy_from_slice(&id.0);
    key
}

/// What goes first.
const fn rank(occasion: Occasion) -> u8 {
    match occasion {
        Occasion::Periodic => 0,
        Occasion::Alarm => 1,
    }
}

/// Time, asset and id of an [`order_key`].
fn of_order(key: &[u8]) -> Option<(Micros, u32, RecordId)> {
    let at = instant(key.get(1..9)?)?;
    let asset = u32::from_be_bytes(key.get(9..13)?.try_into().ok()?);
    Some((at, asset, RecordId(key.get(13..)?.try_into().ok()?)))
}

fn pack(exhibit: &Exhibit) -> Result<Vec<u8>, HistoryError> {
    // The samples lie beside the head as they are: as text they would take a third more and pack no better.
    let mut head = exhibit.clone();
    let samples = std::mem::take(&mut head.evidence.samples);
    let json = serde_json::to_vec(&head).map_err(|source| HistoryError::Value { what: "evidence", source })?;
    let packed = lz4_flex::compress_prepend_size(&json);
    let length = u32::try_from(packed.len()).unwrap_or(u32::MAX).to_le_bytes();
    Ok([&exhibit.content.0[..], &length, &packed, &samples].concat())
}

fn unpack(bytes: &[u8]) -> Option<Exhibit> {
    let (length, rest) = bytes.get(16..)?.split_at_checked(4)?;
    let (head, samples) = rest.split_at_checked(u32::from_le_bytes(length.try_into().ok()?) as usize)?;
    let (size, packed) = head.split_at_checked(4)?;
    let size = u32::from_le_bytes(size.try_into().ok()?) as usize;
    let json = (size <= MAX_HEAD).then(|| lz4_flex::decompress(packed, size).ok())??;
    let mut exhibit: Exhibit = serde_json::from_slice(&json).ok()?;
    exhibit.evidence.samples = samples.to_vec();
    Some(exhibit)
}

/// What precedes the JSON of a [`Listed`]: enough to know occasion and channel without reading it.
fn prefix(occasion: Occasion, channel: &Name) -> Vec<u8> {
    // Invariant: a name has at most 64 bytes.
    [&[rank(occasion), channel.len() as u8][..], channel.as_bytes()].concat()
}

fn listed(value: &[u8]) -> Option<Listed> {
    serde_json::from_slice(value.get(2 + usize::from(*value.get(1)?)..)?).ok()
}

impl History {
    pub(super) fn take_evidence(
        &self,
        txn: &mut RwTxn<'_>,
        exhibit: &Exhibit,
        taken: &mut Taken,
    ) -> Result<(), HistoryError> {
        let Exhibit { site, id, content, evidence, .. } = exhibit;
        let asset = topic::asset_key(site, &evidence.asset);
        let Some(names) = self.names_or_new(txn, &asset)? else {
            taken.count("too_many_assets", 1);
            return Ok(());
        };
        let whole = whole_key(names.id, *id);
        if let Some(known) = self.evidence.get(txn, &whole)? {
            taken.count(if known.starts_with(&content.0) { "repeated" } else { "conflict" }, 1);
            return Ok(());
        }
        let key = list_key(names.id, evidence.time, *id);
        let prefix = prefix(evidence.occasion, &evidence.channel);
        if evidence.occasion == Occasion::Periodic && !self.make_place(txn, names.id, &key, &prefix, taken)? {
            taken.count("evidence_surplus", 1);
            return Ok(());
        }
        let short = Listed::of(exhibit);
        let json = serde_json::to_vec(&short).map_err(|source| HistoryError::Value { what: "evidence", source })?;
        self.evidence.put(txn, &whole, &pack(exhibit)?)?;
        self.evidence_list.put(txn, &key, &[prefix, json].concat())?;
        self.evidence_order.put(txn, &order_key(evidence.occasion, evidence.time, names.id, *id), &[])?;
        if self.names(txn, &asset)?.is_none() {
            self.put_names(txn, &asset, &names)?;
        }
        taken.count("evidence", 1);
        taken.evidence.push((site.clone(), evidence.asset.clone(), short));
        Ok(())
    }

    /// Makes a place among the channel's newest for `key` by removing the oldest; `false`: it is older than all of them.
    fn make_place(
        &self,
        txn: &mut RwTxn<'_>,
        asset: u32,
        key: &[u8],
        prefix: &[u8],
        taken: &mut Taken,
    ) -> Result<bool, HistoryError> {
        let (low, high) = (chunk_key(asset, Micros::MIN), chunk_key(asset, Micros::MAX));
        let (mut newer, mut kept, mut surplus) = (0, 0, Vec::new());
        for item in self.evidence_list.rev_range(txn, &between(&low, &high))? {
            let (other, value) = item?;
            if !value.starts_with(prefix) {
                continue;
            }
            newer += usize::from(other > key);
            kept += 1;
            if kept >= PERIODIC
                && let (Some(at), Some(id)) = (other.get(4..12).and_then(instant), other.get(12..))
                && let Ok(id) = id.try_into()
            {
                surplus.push((at, RecordId(id)));
            }
        }
        if newer >= PERIODIC {
            return Ok(false);
        }
        for (at, id) in &surplus {
            self.remove_evidence(txn, Occasion::Periodic, *at, asset, *id)?;
        }
        taken.count("evidence_surplus", surplus.len() as u64);
        Ok(true)
    }

    fn remove_evidence(
        &self,
        txn: &mut RwTxn<'_>,
        occasion: Occasion,
        at: Micros,
        asset: u32,
        id: RecordId,
    ) -> Result<(), HistoryError> {
        self.evidence.delete(txn, &whole_key(asset, id))?;
        self.evidence_list.delete(txn, &list_key(asset, at, id))?;
        self.evidence_order.delete(txn, &order_key(occasion, at, asset, id))?;
        Ok(())
    }

    /// Bytes in use by evidence.
    pub(super) fn evidence_bytes(&self, txn: &RoTxn<'_>) -> Result<u64, HistoryError> {
        let mut bytes = 0;
        for database in [&self.evidence, &self.evidence_list, &self.evidence_order] {
            let stat = database.stat(txn)?;
            bytes += (stat.branch_pages + stat.leaf_pages + stat.overflow_pages) as u64 * u64::from(stat.page_size);
        }
        Ok(bytes)
    }

    /// Removes all of one occasion from before an instant, at most `most` of them, oldest first; how many.
    fn remove_oldest_evidence(
        &self,
        txn: &mut RwTxn<'_>,
        occasion: Occasion,
        before: Micros,
        most: usize,
    ) -> Result<usize, HistoryError> {
        let low = [rank(occasion)];
        let high = [&low[..], &sortable(before)].concat();
        let mut found = Vec::new();
        for item in self.evidence_order.range(txn, &between(&low, &high))?.take(most) {
            found.extend(of_order(item?.0));
        }
        for (at, asset, id) in &found {
            self.remove_evidence(txn, occasion, *at, *asset, *id)?;
        }
        Ok(found.len())
    }

    /// Removes what is older than `before`, and gives up what does not fit, at most [`STEP`] at once.
    pub(super) fn keep_evidence(
        &self,
        txn: &mut RwTxn<'_>,
        before: Micros,
        given_up: &mut GivenUp,
    ) -> Result<(), HistoryError> {
        for occasion in [Occasion::Periodic, Occasion::Alarm] {
            self.remove_oldest_evidence(txn, occasion, before, usize::MAX)?;
        }
        if self.evidence_bytes(txn)? <= self.keep.evidence_bytes {
            return Ok(());
        }
        let enough = self.keep.evidence_bytes / 100 * ENOUGH;
        let mut left = STEP;
        for (occasion, what) in [(Occasion::Periodic, "evidence"), (Occasion::Alarm, "alarm_evidence")] {
            while left > 0 && self.evidence_bytes(txn)? > enough {
                let removed = self.remove_oldest_evidence(txn, occasion, Micros::MAX, 16)?;
                if removed == 0 {
                    break;
                }
                left = left.saturating_sub(removed);
                *given_up.entry(what).or_default() += removed as u64;
            }
        }
        Ok(())
    }

    /// At most `limit` of an asset's evidence (`site/asset`) that `wanted` accepts, newest first, behind the key `after`;
    /// `None`: nothing was ever read of the asset. Looks at no more than 100 times `limit`.
    pub fn evidence(
        &self,
        asset: &str,
        after: Option<&[u8]>,
        limit: usize,
        wanted: impl Fn(&Listed) -> bool,
    ) -> Result<Option<EvidencePage>, HistoryError> {
        let txn = self.env().read_txn()?;
        let Some(names) = self.names(&txn, asset)? else { return Ok(None) };
        let low = chunk_key(names.id, Micros::MIN);
        let high = [&names.id.to_be_bytes()[..], after.unwrap_or(&[0xff; 24])].concat();
        let mut page = EvidencePage::default();
        let mut last = Vec::new();
        for (looked_at, item) in self.evidence_list.rev_range(&txn, &between(&low, &high))?.enumerate() {
            if page.listed.len() >= limit || looked_at >= limit.saturating_mul(100) {
                page.next = Some(last);
                break;
            }
            let (key, value) = item?;
            last = key.get(4..).unwrap_or_default().to_vec();
            page.listed.extend(listed(value).filter(&wanted));
        }
        Ok(Some(page))
    }

    /// One record of an asset's evidence, whole.
    pub fn exhibit(&self, asset: &str, id: RecordId) -> Result<Option<Exhibit>, HistoryError> {
        let txn = self.env().read_txn()?;
        let Some(names) = self.names(&txn, asset)? else { return Ok(None) };
        Ok(self.evidence.get(&txn, &whole_key(names.id, id))?.and_then(unpack))
    }
}

#[cfg(test)]
mod tests;
