//! Birth and recovery: the last snapshots, then a replay of every batch that one of them lacks.

use std::ops::ControlFlow;

use fettle_models::Engine;
use fettle_wire::{Arrival, Lane};

use super::commit::{Batch, Journal, Mark};
use super::generation::Generation;
use super::release::Releases;
use super::slot::{Slot, Slots};
use super::{Birth, Core, Limits, evidence, lives};
use crate::acquire::template::Templates;
use crate::journal::entry::{EntryError, Header, next_stored};
use crate::journal::snapshot::{self, AssetSnapshot, SharedSnapshot, asset_of};
use crate::journal::store::{Store, StoreError};
use crate::journal::{Damage, SEAL_BYTES, SHARED_KEY, batch_key, evidence_key, number_of, open};
use crate::outbox::{LANES, Outbox, record};

/// Why the agent cannot start from its store.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A record is not what was written.
    #[error(transparent)]
    Damage(#[from] Damage),
    /// A batch holds what this build does not know.
    #[error("journal batch {batch}: {source}")]
    Entry {
        /// The batch.
        batch: u64,
        /// What is wrong.
        source: EntryError,
    },
    /// A batch that a snapshot needs is gone.
    #[error("journal batch {0} is missing although a snapshot needs it; restore a backup or begin a new store")]
    Gap(u64),
    /// An engine snapshot does not fit this build.
    #[error("the snapshot of asset {asset} cannot be used: {why}")]
    State {
        /// The asset.
        asset: String,
        /// What is wrong.
        why: String,
    },
    /// The journaled generation cannot be read.
    #[error("the journaled configuration cannot be read: {0}")]
    Generation(String),
}

/// What recovery did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Recovered {
    /// Batches read.
    pub batches: u64,
    /// Entries applied.
    pub entries: u64,
    /// Records that wait for Kafka.
    pub records: u64,
}

impl Core {
    /// Brings the state back from `store`, under the journaled generation; `generation` is in force where there is none
    /// yet. The shell then steps [`super::Event::Reload`] with what the configuration says now.
    pub fn recover(store: &dyn Store, birth: Birth, generation: Generation) -> Result<(Self, Recovered), RecoverError> {
        let mut recovered = Recovered::default();
        let (mut core, replay_from) = Self::from_snapshots(store, birth, &generation)?;
        core.journal.replay_from = replay_from.unwrap_or(0);
        core.load_releases(store)?;
        core.replay_batches(store, replay_from, &mut recovered)?;
        let replaced = core.load_outbox(store, &mut recovered)?;
        core.load_marks(store)?;
        core.slots.recount();
        core.slots.all_due();
        core.pending = Batch::default();
        for sequence in replaced {
            core.pending.delete_record(Lane::Ledger, sequence, core.now.monotonic);
        }
        core.outputs.clear();
        core.replaying = false;
        Ok((core, recovered))
    }

    fn from_snapshots(
        store: &dyn Store,
        birth: Birth,
        generation: &Generation,
    ) -> Result<(Self, Option<u64>), RecoverError> {
        let last = store.last(&batch_key(0), &[b'z' + 1])?;
        let header = last.as_ref().map(|(key, value)| header_of(key, value)).transpose()?;
        let shared = match store.get(SHARED_KEY)? {
            Some(value) => snapshot::decode::<SharedSnapshot>(SHARED_KEY, &open(SHARED_KEY, &value)?)?,
            None => SharedSnapshot::default(),
        };
        let in_force = if shared.shared.generation.0.is_empty() {
            generation.clone()
        } else {
            Generation::decode(&shared.shared.generation.0).map_err(|e| RecoverError::Generation(e.to_string()))?
        };
        let mut engine = Engine::new(in_force.settings.clone(), in_force.registry.clone());
        if !shared.engine.0.is_empty() {
            let why =
                |e: fettle_models::StateError| RecoverError::State { asset: "(shared)".into(), why: e.to_string() };
            engine.load_shared(&shared.engine.0).map_err(why)?;
        }
        let slots = load_assets(store, &mut engine)?;
        let templates =
            Templates::new(&in_force.templates()).map_err(|(_, e)| RecoverError::Generation(e.to_string()))?;
        let mut outbox = Outbox::new(birth.limits.outbox_bytes);
        outbox.set_next_sequences(header.map_or([0; LANES], |h| h.lanes));
        let next = last.as_ref().and_then(|(key, _)| number_of(key)).map_or(1, |n| n + 1);
        let core = Self {
            identity: birth.identity,
            topics: birth.topics,
            key: birth.key,
            limits: birth.limits,
            generation: in_force,
            templates,
            engine,
            slots,
            shared: shared.shared,
            shared_batch: shared.batch,
            shared_dirty: false,
            outbox,
            journal: Journal::new(
                next,
                header.map_or(0, |h| h.position)
                    + last.as_ref().map_or(0, |(_, value)| (value.len() - SEAL_BYTES) as u64),
                header.map_or(0, |h| h.dead),
            ),
            pending: Batch::default(),
            lanes: header.map_or([0; LANES], |h| h.lanes),
            now: header.map_or(Arrival::default(), |h| h.arrival),
            outputs: Vec::new(),
            early: std::collections::VecDeque::new(),
            evidence: load_evidence(store)?,
            releases: Releases::new(birth.releases),
            lives: load_lives(store)?,
            replaying: true,
            observed: None,
        };
        Ok((core, header.map(|h| h.replay_from)))
    }

    fn replay_batches(
        &mut self,
        store: &dyn Store,
        replay_from: Option<u64>,
        recovered: &mut Recovered,
    ) -> Result<(), RecoverError> {
        let Some(from) = replay_from else { return Ok(()) };
        let (next, lanes, now) = (self.journal.next, self.lanes, self.now);
        let mut expected = from;
        let mut failure = None;
        store.scan(&batch_key(from), &[b'z' + 1], &mut |key, value| {
            let number = number_of(key).unwrap_or(0);
            let outcome = if number == expected {
                self.replay_batch(number, key, value, recovered)
            } else {
                Err(RecoverError::Gap(expected))
            };
            expected += 1;
            match outcome {
                Ok(()) => ControlFlow::Continue(()),
                Err(e) => {
                    failure = Some(e);
                    ControlFlow::Break(())
                }
            }
        })?;
        self.journal.next = next;
        self.lanes = lanes;
        self.now = now;
        match failure {
            Some(failure) => Err(failure),
            None if expected != next => Err(RecoverError::Gap(expected)),
            None => Ok(()),
        }
    }

    fn replay_batch(
        &mut self,
        number: u64,
        key: &[u8],
        value: &[u8],
        recovered: &mut Recovered,
    ) -> Result<(), RecoverError> {
        let fail = |source| RecoverError::Entry { batch: number, source };
        let payload = open(key, value)?;
        let mut bytes = &payload[..];
        Header::decode(&mut bytes).map_err(fail)?;
        self.journal.next = number;
        recovered.batches += 1;
        while let Some(entry) = next_stored(&mut bytes).map_err(fail)? {
            self.now = *entry.arrival();
            self.apply_stored(&entry).map_err(fail)?;
            recovered.entries += 1;
        }
        Ok(())
    }

    /// Takes the records up again; returns the ledger entries that a newer one replaces.
    fn load_outbox(&mut self, store: &dyn Store, recovered: &mut Recovered) -> Result<Vec<u64>, RecoverError> {
        let mut failure = None;
        let mut found: Vec<(Lane, u64, u64, String)> = Vec::new();
        store.scan(b"o", &[b'o' + 1], &mut |key, value| {
            let outcome = open(key, value).and_then(|bytes| {
                let (kafka_key, payload) = record::decode(&bytes)?;
                let asset = kafka_key.rsplit('/').next().unwrap_or_default().to_owned();
                if let Some((lane, sequence)) = record::of_key(key) {
                    found.push((lane, sequence, (kafka_key.len() + payload.len()) as u64, asset));
                }
                Ok(())
            });
            match outcome {
                Ok(()) => ControlFlow::Continue(()),
                Err(e) => {
                    failure = Some(e);
                    ControlFlow::Break(())
                }
            }
        })?;
        if let Some(damage) = failure {
            return Err(damage.into());
        }
        let mut replaced = Vec::new();
        for (lane, sequence, bytes, asset) in found {
            recovered.records += 1;
            replaced.extend(self.outbox.push(lane, sequence, bytes, self.now.monotonic, &asset));
        }
        Ok(replaced)
    }

    /// Finds trimming points again, by looking at evenly spaced batches.
    fn load_marks(&mut self, store: &dyn Store) -> Result<(), RecoverError> {
        let Some(first) = first_batch(store)? else { return Ok(()) };
        let last = self.journal.next - 1;
        let stride = ((last - first) / 256).max(1);
        let mut number = first;
        while number <= last {
            let key = batch_key(number);
            if let Some(value) = store.get(&key)? {
                let header = header_of(&key, &value)?;
                self.mark(Mark { number, position: header.position, wall: header.arrival.wall });
            }
            number += stride;
        }
        Ok(())
    }
}

fn load_assets(store: &dyn Store, engine: &mut Engine) -> Result<Slots, RecoverError> {
    let mut slots = Slots::default();
    let mut failure = None;
    store.scan(b"s", &[b's' + 1], &mut |key, value| {
        let mut load = || -> Result<(), RecoverError> {
            let saved: AssetSnapshot = snapshot::decode(key, &open(key, value)?)?;
            let Some(asset) = asset_of(key) else { return Ok(()) };
            if let Some(bytes) = &saved.engine {
                let why =
                    |e: fettle_models::StateError| RecoverError::State { asset: asset.to_string(), why: e.to_string() };
                engine.load_asset(&asset, &bytes.0).map_err(why)?;
            }
            slots.add(asset, Slot::stored(saved.door, saved.batch));
            Ok(())
        };
        match load() {
            Ok(()) => ControlFlow::Continue(()),
            Err(e) => {
                failure = Some(e);
                ControlFlow::Break(())
            }
        }
    })?;
    failure.map_or(Ok(slots), Err)
}

/// What evidence the store holds; only its size is asked, so damage shows when somebody looks at it.
fn load_evidence(store: &dyn Store) -> Result<evidence::Index, StoreError> {
    let mut index = evidence::Index::default();
    store.scan(&evidence_key(0), b"f", &mut |key, value| {
        if let Some(number) = number_of(key) {
            index.found(number, value.len().saturating_sub(SEAL_BYTES) as u64);
        }
        ControlFlow::Continue(())
    })?;
    Ok(index)
}

/// What lives the store holds.
fn load_lives(store: &dyn Store) -> Result<lives::Lives, StoreError> {
    let mut found = lives::Lives::default();
    store.scan(&lives::stored::key(0, lives::stored::Part::HEAD), b"m", &mut |key, value| {
        found.found(key, value);
        ControlFlow::Continue(())
    })?;
    Ok(found)
}

fn first_batch(store: &dyn Store) -> Result<Option<u64>, StoreError> {
    let mut first = None;
    store.scan(&batch_key(0), &[b'z' + 1], &mut |key, _| {
        first = number_of(key);
        ControlFlow::Break(())
    })?;
    Ok(first)
}

/// The header of a sealed batch.
pub(crate) fn header_of(key: &[u8], value: &[u8]) -> Result<Header, RecoverError> {
    let payload = open(key, value)?;
    Header::decode(&mut &payload[..])
        .map_err(|source| RecoverError::Entry { batch: number_of(key).unwrap_or(0), source })
}

impl Limits {
    /// The bounds that a configuration asks for.
    pub fn of(config: &crate::config::checked::Checked) -> Self {
        let micros = |d: std::time::Duration| u64::try_from(d.as_micros()).unwrap_or(u64::MAX);
        Self {
            batch: config.journal.batch,
            commit_interval: micros(config.journal.commit_interval),
            keep_bytes: config.journal.keep_bytes,
            keep: i64::try_from(config.journal.keep.as_micros()).unwrap_or(i64::MAX),
            outbox_bytes: config.outbox.max_bytes,
            evidence_bytes: config.evidence_bytes,
            lives_bytes: config.lives_bytes,
        }
    }
}
