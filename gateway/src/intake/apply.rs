//! The owner's memory of its partitions and how a record changes it. A state machine: no clock, no Kafka; what it does
//! not hold it asks of `backing` (the store).
//!
//! G2: applying a record again changes nothing but the count of duplicates. Whatever changed since the last commit is
//! drained by [`Overlay::drain`] and goes into one Kafka transaction with the offsets (G1); if that fails the whole
//! overlay is dropped, because the store then is the truth again.

use std::collections::{BTreeMap, BTreeSet};

use fettle_wire::{Alert, Health, LedgerEntry, Micros};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::record::{Body, Incoming, Record};
use super::seen::{self, Remembered, Seen};
use crate::fleet::StoreError;
use crate::fleet::asset::{
    AccountRecord, AlarmRecord, AssetRecord, Counts, HighWater, Known, Rejected, alarm_key, asset_key, count_key,
    high_water_key, ledger_key, remember,
};

/// What became of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// Changed what is known.
    Applied,
    /// Known already.
    Duplicate,
    /// Known id, other content.
    Conflict,
    /// Not usable, with the reason.
    Rejected(&'static str),
}

/// Where values are that the overlay does not hold: JSON by key.
pub type Backing<'a> = dyn Fn(&str) -> Result<Option<Vec<u8>>, StoreError> + 'a;

/// Values of one kind, with what changed since the last drain.
#[derive(Debug, Clone, PartialEq)]
struct Table<T> {
    held: BTreeMap<String, T>,
    dirty: BTreeSet<(i32, String)>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { held: BTreeMap::new(), dirty: BTreeSet::new() }
    }
}

impl<T: Serialize + DeserializeOwned> Table<T> {
    /// Takes the value out, from here or from the backing.
    fn take(&mut self, key: &str, backing: &Backing<'_>) -> Result<Option<T>, StoreError> {
        if let Some(value) = self.held.remove(key) {
            return Ok(Some(value));
        }
        let Some(bytes) = backing(key)? else { return Ok(None) };
        serde_json::from_slice(&bytes).map(Some).map_err(|source| StoreError::Value { key: key.into(), source })
    }

    fn put(&mut self, partition: i32, key: String, value: T, changed: bool) {
        if changed {
            self.dirty.insert((partition, key.clone()));
        }
        self.held.insert(key, value);
    }

    fn drain(&mut self, out: &mut Vec<(i32, String, Vec<u8>)>) -> Result<(), StoreError> {
        for (partition, key) in std::mem::take(&mut self.dirty) {
            let Some(value) = self.held.get(&key) else { continue };
            let bytes = serde_json::to_vec(value).map_err(|source| StoreError::Value { key: key.clone(), source })?;
            out.push((partition, key, bytes));
        }
        Ok(())
    }
}

/// What the owner knows beyond the store.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Overlay {
    alarms: Table<AlarmRecord>,
    assets: Table<AssetRecord>,
    accounts: Table<AccountRecord>,
    marks: Table<HighWater>,
    counts: Table<Counts>,
}

impl Overlay {
    /// Applies one decoded record, or counts why it could not be decoded.
    pub fn step(
        &mut self,
        incoming: &Incoming<'_>,
        decoded: Result<Record, &'static str>,
        backing: &Backing<'_>,
    ) -> Result<Outcome, StoreError> {
        let outcome = match decoded {
            Err(reason) => Outcome::Rejected(reason),
            Ok(record) => match self.apply(incoming, record, backing)? {
                Seen::New => Outcome::Applied,
                Seen::Duplicate => Outcome::Duplicate,
                Seen::Conflict => Outcome::Conflict,
            },
        };
        self.count(incoming, outcome, backing)?;
        Ok(outcome)
    }

    /// How many values are held.
    pub fn len(&self) -> usize {
        let Self { alarms, assets, accounts, marks, counts } = self;
        alarms.held.len() + assets.held.len() + accounts.held.len() + marks.held.len() + counts.held.len()
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What changed since the last drain: (partition, key, JSON), in an order that depends on nothing but the content.
    pub fn drain(&mut self) -> Result<Vec<(i32, String, Vec<u8>)>, StoreError> {
        let mut out = Vec::new();
        self.alarms.drain(&mut out)?;
        self.assets.drain(&mut out)?;
        self.accounts.drain(&mut out)?;
        self.marks.drain(&mut out)?;
        self.counts.drain(&mut out)?;
        Ok(out)
    }

    fn apply(&mut self, incoming: &Incoming<'_>, record: Record, backing: &Backing<'_>) -> Result<Seen, StoreError> {
        let Record { origin, lane, sequence, known, body } = record;
        let mark_key = high_water_key(incoming.topic, incoming.partition, &origin, lane);
        let mark = self.marks.take(&mark_key, backing)?;
        let number = Number { mark: mark.map(|m| m.sequence), sequence, known, at: incoming.at };
        let partition = incoming.partition;
        let site = origin.site.clone();
        let seen = match body {
            Body::Alert(alert) => {
                let key = alarm_key(&site, &alert.asset, &alert.condition);
                let before = self.alarms.take(&key, backing)?;
                let (seen, after) = step_alarm(before, origin, *alert, &number);
                self.alarms.put(partition, key, after, seen != Seen::Duplicate);
                seen
            }
            Body::Health(health) => {
                let key = asset_key(&site, &health.asset);
                let before = self.assets.take(&key, backing)?;
                let (seen, after) = step_asset(before, origin, *health, &number);
                self.assets.put(partition, key, after, seen != Seen::Duplicate);
                seen
            }
            Body::Ledger(entry) => {
                let key = ledger_key(&site, &origin.agent, &entry.asset);
                let before = self.accounts.take(&key, backing)?;
                let (seen, after) = step_account(before, origin, *entry, &number);
                self.accounts.put(partition, key, after, seen != Seen::Duplicate);
                seen
            }
        };
        let highest = number.mark.map_or(sequence, |mark| mark.max(sequence));
        self.marks.put(partition, mark_key, HighWater { sequence: highest }, number.mark != Some(highest));
        Ok(seen)
    }

    fn count(&mut self, incoming: &Incoming<'_>, outcome: Outcome, backing: &Backing<'_>) -> Result<(), StoreError> {
        let key = count_key(incoming.topic, incoming.partition);
        let mut counts = self.counts.take(&key, backing)?.unwrap_or_default();
        match outcome {
            Outcome::Applied => counts.applied += 1,
            Outcome::Duplicate => counts.duplicates += 1,
            Outcome::Conflict => counts.conflicts += 1,
            Outcome::Rejected(reason) => {
                *counts.rejected.entry(reason.into()).or_default() += 1;
                counts.last_rejected = Some(Rejected { offset: incoming.offset, reason: reason.into() });
            }
        }
        self.counts.put(incoming.partition, key, counts, true);
        Ok(())
    }
}

/// A record's number and identity, beside the mark it is judged by.
struct Number {
    mark: Option<u64>,
    sequence: u64,
    known: Known,
    at: Micros,
}

type Who = crate::fleet::asset::Origin;

fn step_alarm(before: Option<AlarmRecord>, origin: Who, alert: Alert, number: &Number) -> (Seen, AlarmRecord) {
    let remembered = before.as_ref().map(|b| Remembered {
        recent: &b.recent,
        same_incarnation: b.origin == origin,
        occurrence: b.alert.occurrence,
    });
    let seen = seen::by_occurrence(number.mark, number.sequence, remembered, alert.occurrence, &number.known);
    let Some(mut after) = before else {
        let recent = vec![number.known];
        return (seen, AlarmRecord::new(origin, alert, number.at, recent));
    };
    match seen {
        Seen::New => {
            remember(&mut after.recent, number.known);
            after.tell(origin, alert, number.at);
        }
        Seen::Conflict => after.conflicts += 1,
        Seen::Duplicate => {}
    }
    (seen, after)
}

fn step_asset(before: Option<AssetRecord>, origin: Who, health: Health, number: &Number) -> (Seen, AssetRecord) {
    let recent = before.as_ref().map_or(&[][..], |b| &b.recent);
    let seen = seen::by_sequence(number.mark, number.sequence, recent, &number.known);
    let Some(mut after) = before else {
        // Nothing is known, so even a number at the mark brings news (the mark then is another asset's).
        return (Seen::New, AssetRecord { origin, health, seen: number.at, recent: vec![number.known], conflicts: 0 });
    };
    match seen {
        Seen::New => {
            remember(&mut after.recent, number.known);
            after.seen = after.seen.max(number.at);
            let newer = (health.window_end, health.revision) >= (after.health.window_end, after.health.revision);
            if newer || after.origin != origin {
                (after.origin, after.health) = (origin, health);
            }
        }
        Seen::Conflict => after.conflicts += 1,
        Seen::Duplicate => {}
    }
    (seen, after)
}

fn step_account(
    before: Option<AccountRecord>,
    origin: Who,
    entry: LedgerEntry,
    number: &Number,
) -> (Seen, AccountRecord) {
    let recent = before.as_ref().map_or(&[][..], |b| &b.recent);
    let seen = seen::by_sequence(number.mark, number.sequence, recent, &number.known);
    let Some(mut after) = before else {
        let fresh = AccountRecord {
            origin,
            entry,
            seen: number.at,
            recent: vec![number.known],
            earlier: fettle_wire::Tally::default(),
            earlier_frames: 0,
            conflicts: 0,
        };
        return (Seen::New, fresh);
    };
    match seen {
        Seen::New => {
            if after.origin != origin {
                after.earlier.add(&after.entry.readings);
                after.earlier_frames = after.earlier_frames.saturating_add(after.entry.frames);
            }
            remember(&mut after.recent, number.known);
            (after.origin, after.entry, after.seen) = (origin, entry, after.seen.max(number.at));
        }
        Seen::Conflict => after.conflicts += 1,
        Seen::Duplicate => {}
    }
    (seen, after)
}

#[cfg(test)]
mod tests;
