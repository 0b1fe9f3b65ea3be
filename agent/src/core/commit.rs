//! The batch being built and what one commit writes: entries, records, deletions, dead letters, snapshots, trimming.
//!
//! Policy. A commit is due when the batch is full, when its oldest message has waited for the commit interval, at once
//! when an alarm was raised, and for deletions alone after a second. Snapshots ride along: of changed assets the one with
//! the oldest snapshot first, as far as a tenth of the journal's bytes allows; new assets and structural changes at once,
//! on account of the tenth.
//! Trimming removes one segment (a 256th of what is kept) per commit, never at or above `replay_from` (J4).

use std::collections::VecDeque;

use fettle_wire::{Lane, Name};

use super::dead::{DeadLetter, MAX_DEAD};
use super::evidence::Kept;
use super::{Core, Effect, lives};
use crate::journal::entry::{Entry, Header};
use crate::journal::snapshot::{self, AssetSnapshot, Bytes, SharedSnapshot};
use crate::journal::store::Write;
use crate::journal::{
    self, SEAL_BYTES, SHARED_KEY, batch_key, dead_key, evidence_key, release_key, seal, snapshot_key,
};
use crate::outbox::{LANES, record};

/// How long deletions alone may wait for a commit, microseconds.
const DELETIONS_WAIT: u64 = 1_000_000;
/// Snapshot bytes per journal byte: one tenth.
const SNAPSHOT_SHARE: i64 = 10;
/// Segments into which what is kept is divided for trimming.
const SEGMENTS: u64 = 256;

/// A record of the batch that is not yet committed.
#[derive(Debug)]
struct NewRecord {
    lane: Lane,
    sequence: u64,
    asset: Name,
    key: String,
    payload: String,
    left_early: bool,
}

/// Everything since the last commit.
#[derive(Debug, Default)]
pub(super) struct Batch {
    entries: Vec<u8>,
    count: u64,
    pub(super) messages: usize,
    /// To be acknowledged after the commit; void when the session is lost.
    pub(super) tickets: Vec<u64>,
    records: Vec<NewRecord>,
    deletes: Vec<[u8; 10]>,
    retired: Vec<Name>,
    /// Assets whose snapshot must go with this commit.
    pub(super) snapshots: Vec<Name>,
    pub(super) dead: Vec<DeadLetter>,
    /// Raw samples around alarms.
    pub(super) captures: Vec<Kept>,
    /// Release files that come and go: content hash and bytes.
    pub(super) files: Vec<(String, Option<Vec<u8>>)>,
    /// An alarm was raised.
    pub(super) urgent: bool,
    /// The shared snapshot must go with this commit.
    pub(super) structural: bool,
    /// Every snapshot must go with this commit.
    pub(super) everything: bool,
    /// Monotonic instant of the first entry.
    since: Option<u64>,
    deletes_since: Option<u64>,
    /// The writes, once listed; kept until the commit succeeds.
    writes: Vec<Write>,
    shared: bool,
    header: Option<Header>,
}

impl Batch {
    pub(super) fn append(&mut self, entry: &Entry, monotonic: u64) {
        entry.encode(&mut self.entries);
        self.count += 1;
        self.since.get_or_insert(monotonic);
    }

    pub(super) fn put_record(&mut self, lane: Lane, sequence: u64, asset: &Name, key: String, payload: String) {
        self.records.push(NewRecord { lane, sequence, asset: asset.clone(), key, payload, left_early: false });
    }

    pub(super) fn delete_record(&mut self, lane: Lane, sequence: u64, monotonic: u64) {
        self.deletes.push(record::key(lane, sequence));
        self.deletes_since.get_or_insert(monotonic);
    }

    pub(super) fn holds_record(&self, lane: Lane, sequence: u64) -> bool {
        self.records.iter().any(|r| r.lane == lane && r.sequence == sequence)
    }

    pub(super) fn retire(&mut self, asset: &Name) {
        self.retired.push(asset.clone());
    }

    pub(super) fn prepared(&self) -> bool {
        !self.writes.is_empty()
    }
}

/// One point of the journal, for trimming: batches below `number` hold `position` bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    pub(super) number: u64,
    pub(super) position: u64,
    pub(super) wall: i64,
}

/// Index over the journal on disk.
#[derive(Debug, Default)]
pub(super) struct Journal {
    /// The number of the batch being built (or replayed).
    pub(super) next: u64,
    pub(super) position: u64,
    pub(super) dead: u64,
    /// Of the last batch committed: recovery needs no batch below.
    pub(super) replay_from: u64,
    /// Ascending; the first is the oldest batch kept.
    pub(super) marks: VecDeque<Mark>,
    /// Bytes that snapshots may take. Negative after one that was larger than expected, or that could not wait:
    /// what was just written needs no renewal, so the others wait until its bytes are earned.
    snapshot_credit: i64,
    /// Bytes of the last snapshot: what the next will take, as far as anybody knows. It is saved up for, not borrowed.
    last_snapshot: i64,
    commits: u64,
    entries: u64,
    failures: u64,
    snapshot_bytes: u64,
    snapshots: u64,
}

impl Journal {
    /// The index of a store whose next batch is `next`.
    pub(super) fn new(next: u64, position: u64, dead: u64) -> Self {
        Self { next, position, dead, ..Self::default() }
    }

    fn charge_snapshot(&mut self, bytes: u64) {
        self.snapshot_credit -= bytes as i64;
        self.last_snapshot = bytes as i64;
        self.snapshot_bytes += bytes;
        self.snapshots += 1;
    }

    /// The number of the batch whose entries are being applied.
    pub(super) fn applying(&self) -> u64 {
        self.next
    }
}

/// What the journal looks like from outside; counts since the start of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct JournalStatus {
    /// Batches ever appended in this store.
    pub batches: u64,
    /// Bytes of the batches kept.
    pub bytes: u64,
    /// Commits that succeeded.
    pub commits: u64,
    /// Entries committed.
    pub entries: u64,
    /// Commits that failed.
    pub failures: u64,
    /// Bytes of snapshots written.
    pub snapshot_bytes: u64,
    /// Bytes of journal batches ever appended in this store.
    pub position: u64,
    /// Wall time of the oldest batch kept.
    pub oldest: i64,
    /// Dead letters kept.
    pub dead: u64,
    /// Dead letters ever written in this store.
    pub dead_total: u64,
    /// Snapshots written.
    pub snapshots: u64,
}

impl Core {
    /// Whether a commit is due at monotonic instant `now`.
    pub fn commit_due(&self, now: u64) -> bool {
        let batch = &self.pending;
        batch.urgent
            || batch.prepared()
            || batch.messages >= self.limits.batch
            || self.next_commit().is_some_and(|at| now >= at)
    }

    /// The monotonic instant at which a commit falls due by itself.
    pub fn next_commit(&self) -> Option<u64> {
        let entries = self.pending.since.map(|since| since + self.limits.commit_interval);
        let deletes = self.pending.deletes_since.map(|since| since + DELETIONS_WAIT);
        entries.into_iter().chain(deletes).min()
    }

    /// Whether a tick within the second would change something.
    pub fn wants_tick(&self) -> bool {
        self.engine.pending() || self.slots.any_due() || self.slots.any_unreported()
    }

    /// Lists the writes of the commit. After a failure, the same list again.
    pub fn prepare(&mut self) -> &[Write] {
        if !self.pending.prepared() {
            self.list_records();
            self.list_snapshots();
            self.list_batch();
            self.trim();
        }
        &self.pending.writes
    }

    /// Lists a sealed record; returns what it takes on disk beside key and seal.
    fn put(&mut self, key: &[u8], payload: &[u8]) -> u64 {
        let value = seal(key, payload);
        let bytes = (value.len() - SEAL_BYTES) as u64;
        self.pending.writes.push(Write::Put(key.to_vec(), value));
        bytes
    }

    fn list_records(&mut self) {
        let records = std::mem::take(&mut self.pending.records);
        for new in &records {
            self.put(&record::key(new.lane, new.sequence), &record::encode(&new.key, &new.payload));
        }
        self.pending.records = records;
        for key in std::mem::take(&mut self.pending.deletes) {
            self.pending.writes.push(Write::Delete(key.to_vec()));
        }
        self.pending.deletes_since = None;
        for letter in std::mem::take(&mut self.pending.dead) {
            self.put(&dead_key(self.journal.dead), &letter.encode());
            if let Some(oldest) = self.journal.dead.checked_sub(MAX_DEAD) {
                self.pending.writes.push(Write::Delete(dead_key(oldest).to_vec()));
            }
            self.journal.dead += 1;
        }
        for kept in std::mem::take(&mut self.pending.captures) {
            let bytes = self.put(&evidence_key(self.evidence.next()), &kept.encode());
            for number in self.evidence.wrote(bytes, self.limits.evidence_bytes) {
                self.pending.writes.push(Write::Delete(evidence_key(number).to_vec()));
            }
        }
        for (hash, file) in std::mem::take(&mut self.pending.files) {
            match file {
                Some(bytes) => drop(self.put(&release_key(&hash), &bytes)),
                None => self.pending.writes.push(Write::Delete(release_key(&hash))),
            }
        }
        for (life, part, payload) in self.lives.changed() {
            let bytes = self.put(&lives::stored::key(life, part), &payload);
            self.lives.wrote(life, part, bytes);
        }
        for (life, part) in self.lives.give_up(self.limits.lives_bytes) {
            self.pending.writes.push(Write::Delete(lives::stored::key(life, part).to_vec()));
        }
        for asset in std::mem::take(&mut self.pending.retired) {
            self.pending.writes.push(Write::Delete(snapshot_key(&asset)));
        }
    }

    fn list_snapshots(&mut self) {
        if self.pending.count == 0 {
            return;
        }
        let batch = self.journal.next;
        let due = if self.pending.everything { self.slots.names() } else { self.slots.unstored() };
        for asset in due.into_iter().chain(std::mem::take(&mut self.pending.snapshots)) {
            self.list_snapshot(&asset, batch);
        }
        if self.pending.everything || self.pending.structural {
            self.list_shared(batch);
        }
        while self.journal.snapshot_credit > self.journal.last_snapshot {
            let oldest = self.slots.oldest_changed().cloned();
            let shared_older = self.shared_dirty && oldest.as_ref().is_none_or(|o| o.0 > Some(self.shared_batch));
            match oldest {
                _ if shared_older && !self.pending.shared => self.list_shared(batch),
                // An asset whose snapshot is of the batch before would only be written again and again.
                Some((stored, asset)) if stored < Some(batch) => self.list_snapshot(&asset, batch),
                _ => break,
            }
        }
    }

    fn list_snapshot(&mut self, asset: &Name, batch: u64) {
        let engine = self.engine.save_asset(asset).map(Bytes);
        let Some(slot) = self.slots.get(asset) else { return };
        let payload = snapshot::encode(&AssetSnapshot { batch, door: slot.door.clone(), engine });
        let bytes = self.put(&snapshot_key(asset), &payload);
        self.slots.stored(asset, batch);
        self.journal.charge_snapshot(bytes);
    }

    fn list_shared(&mut self, batch: u64) {
        let snapshot = SharedSnapshot { batch, shared: self.shared.clone(), engine: Bytes(self.engine.save_shared()) };
        let bytes = self.put(SHARED_KEY, &snapshot::encode(&snapshot));
        self.shared_batch = batch;
        self.shared_dirty = false;
        self.pending.shared = true;
        self.journal.charge_snapshot(bytes);
    }

    fn list_batch(&mut self) {
        if self.pending.count == 0 {
            return;
        }
        let number = self.journal.next;
        let shared = self.shared_dirty.then_some(self.shared_batch);
        let oldest = self.slots.oldest_changed().map(|c| c.0.unwrap_or(0));
        let replay_from = shared.into_iter().chain(oldest).min().unwrap_or(number) + 1;
        let header = Header {
            arrival: self.now,
            replay_from,
            lanes: self.lanes,
            dead: self.journal.dead,
            position: self.journal.position,
        };
        let mut payload = Vec::with_capacity(self.pending.entries.len() + 64);
        header.encode(&mut payload);
        payload.extend_from_slice(&self.pending.entries);
        let bytes = self.put(&batch_key(number), &payload);
        self.pending.header = Some(header);
        self.mark(Mark { number, position: self.journal.position, wall: self.now.wall });
        self.journal.position += bytes;
        self.journal.snapshot_credit += bytes as i64 / SNAPSHOT_SHARE;
        self.journal.next += 1;
    }

    /// Notes a point to which the journal may later be trimmed, if the last one is far enough away.
    pub(super) fn mark(&mut self, mark: Mark) {
        let far = self.journal.marks.back().is_none_or(|last| {
            mark.position - last.position >= self.limits.keep_bytes / SEGMENTS
                || mark.wall.saturating_sub(last.wall) >= self.limits.keep / SEGMENTS as i64
        });
        if far {
            self.journal.marks.push_back(mark);
        }
    }

    fn trim(&mut self) {
        let Some(header) = self.pending.header else { return };
        let [Some(oldest), Some(next)] = [0, 1].map(|i| self.journal.marks.get(i).copied()) else { return };
        let over = self.journal.position.saturating_sub(oldest.position) > self.limits.keep_bytes;
        let old = self.now.wall.saturating_sub(next.wall) > self.limits.keep;
        if (over || old) && next.number <= header.replay_from {
            self.journal.marks.pop_front();
            let (from, to) = (batch_key(oldest.number).to_vec(), batch_key(next.number).to_vec());
            self.pending.writes.push(Write::DeleteRange(from, to));
        }
    }

    /// The commit succeeded: what waited for it may leave.
    pub fn committed(&mut self, effects: &mut Vec<Effect>) {
        let batch = std::mem::take(&mut self.pending);
        self.journal.commits += 1;
        self.journal.entries += batch.count;
        // What was thinned after the commit before was deleted with this one.
        self.outbox.deleted();
        if let Some(header) = batch.header {
            self.journal.replay_from = header.replay_from;
        }
        if !batch.tickets.is_empty() {
            effects.push(Effect::Acknowledge(batch.tickets));
        }
        for new in batch.records {
            let bytes = (new.key.len() + new.payload.len()) as u64;
            let replaced = self.outbox.push(new.lane, new.sequence, bytes, self.now.monotonic, &new.asset);
            if let Some(older) = replaced {
                self.pending.delete_record(new.lane, older, self.now.monotonic);
            }
        }
        for sequence in std::mem::take(&mut self.early) {
            if self.outbox.delivered(Lane::Alerts, sequence) {
                self.pending.delete_record(Lane::Alerts, sequence, self.now.monotonic);
            }
        }
        for (lane, sequence) in self.outbox.thin() {
            self.pending.delete_record(lane, sequence, self.now.monotonic);
        }
        self.confirm_due(effects);
        self.send(effects);
    }

    /// The commit failed: the batch stays. Alarms leave all the same.
    pub fn commit_failed(&mut self, effects: &mut Vec<Effect>) {
        self.journal.failures += 1;
        for new in &mut self.pending.records {
            if new.lane == Lane::Alerts && !new.left_early {
                new.left_early = true;
                effects.push(Effect::ProduceEarly {
                    sequence: new.sequence,
                    key: new.key.clone(),
                    payload: new.payload.clone(),
                });
            }
        }
    }

    /// A store that is nearly full gives up raw entries before anything else: the older half of what no recovery needs.
    /// To be committed by itself, because a store reuses freed pages only after the commit that freed them.
    pub fn make_room(&mut self) -> Option<Write> {
        let oldest = *self.journal.marks.front()?;
        let half = (self.journal.marks.len() / 2).max(1);
        while self.journal.marks.len() > half && self.journal.marks[1].number <= self.journal.replay_from {
            self.journal.marks.pop_front();
        }
        let kept = self.journal.marks.front()?.number;
        (kept > oldest.number).then(|| Write::DeleteRange(batch_key(oldest.number).to_vec(), batch_key(kept).to_vec()))
    }

    /// Confirms to nodes what is on disk; only called when everything stepped is committed.
    pub(super) fn confirm_due(&mut self, effects: &mut Vec<Effect>) {
        if self.pending.count > 0 {
            return;
        }
        for asset in self.slots.take_due(self.now.monotonic) {
            let Some(slot) = self.slots.get(&asset) else { continue };
            if let Ok(payload) = slot.door.durable().encode() {
                let topic = fettle_wire::topic::durable(&self.identity.site, &asset);
                effects.push(Effect::Confirm { topic, payload });
            }
        }
    }

    /// Asks for every snapshot with the next commit: the clean stop.
    pub fn snapshot_everything(&mut self) {
        if self.slots.all_changed().is_empty() && !self.shared_dirty && self.pending.count == 0 {
            return;
        }
        if self.pending.count == 0 {
            self.record(Entry::Tick { arrival: self.now, ledger: false });
        }
        self.pending.everything = true;
    }

    /// What the journal looks like.
    pub fn journal(&self) -> JournalStatus {
        let first = self.journal.marks.front();
        JournalStatus {
            batches: self.journal.next - 1,
            bytes: first.map_or(0, |m| self.journal.position - m.position),
            commits: self.journal.commits,
            entries: self.journal.entries,
            failures: self.journal.failures,
            snapshot_bytes: self.journal.snapshot_bytes,
            position: self.journal.position,
            oldest: first.map_or(0, |m| m.wall),
            dead: self.journal.dead.min(MAX_DEAD),
            dead_total: self.journal.dead,
            snapshots: self.journal.snapshots,
        }
    }

    /// The record that the uplink must send, Kafka key and payload, from the store's value.
    pub fn opened(lane: Lane, sequence: u64, value: &[u8]) -> Result<(String, Vec<u8>), journal::Damage> {
        let bytes = journal::open(&record::key(lane, sequence), value)?;
        record::decode(&bytes).map(|(key, payload)| (key.to_owned(), payload.to_vec()))
    }

    /// Next sequence of each outbox lane.
    pub fn lanes(&self) -> [u64; LANES] {
        self.lanes
    }
}
