//! The agent's decisions: acknowledgement, journal policy, engine, outbox, in one state machine without I/O or clock.
//!
//! Place in the flow: the shells hand it [`Event`]s and carry its [`Effect`]s out in the order given; the same machine
//! runs in the daemon ([`crate::run`]), in replay ([`crate::replay`]) and in the simulator under a virtual clock.
//!
//! One commit per batch. `step` applies entries to the state at once and collects what must be written; [`Core::prepare`]
//! lists the writes; the shell commits them and says so with [`Core::committed`], which releases acknowledgements,
//! confirmations and records. Between `prepare` and `committed` the shell must not `step`: a failed commit keeps its batch
//! and is retried whole, never stepped twice; meanwhile nothing is acknowledged, and alarms alone may leave uncommitted
//! ([`Core::commit_failed`]): their identity is deterministic, so the later copy is dropped.
//!
//! Invariants (checked by the simulator after each step):
//! - C1: a ticket is acknowledged only after the commit that holds its message (J1).
//! - C2: what an asset's nodes are told is durable is on disk.
//! - C3: state = function(entries): recovery from the store gives the state that was committed, bit for bit.
//! - C4: tallies balance (L1), and records leave the store only when delivered or shed with a count (O1).

mod apply;
mod commit;
pub mod dead;
mod emit;
pub mod evidence;
pub mod generation;
pub mod lives;
mod recover;
mod release;
mod slot;

use std::collections::VecDeque;

use ed25519_dalek::SigningKey;
use fettle_models::{Engine, Output};
use fettle_wire::topic::KafkaTopics;
use fettle_wire::{Arrival, Identity, Lane};

use crate::acquire::Inbound;
use crate::acquire::template::Templates;
use crate::journal::entry::{Entry, EntryError, Message, Stored};
use crate::journal::snapshot::Shared;
use crate::outbox::{LANES, Outbox};
use crate::release::ReleasePolicy;
use commit::{Batch, Journal};
use generation::Generation;
use release::Releases;
use slot::Slots;

pub use commit::JournalStatus;
pub use recover::{RecoverError, Recovered};

/// What reaches the core.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Messages drained from the broker together.
    Messages(Vec<Inbound>),
    /// The broker lost the session: tickets are void. The messages themselves stay.
    SessionLost,
    /// Time passed.
    Tick,
    /// A record of `fettle.commands`, or, with an empty payload, only its offset.
    Command {
        /// Partition it was read from.
        partition: i32,
        /// Its offset there.
        offset: i64,
        /// JSON of a command, or empty.
        payload: Vec<u8>,
    },
    /// A record of `fettle.rollouts`: JSON of a [`fettle_wire::Rollout`].
    Rollout(Vec<u8>),
    /// A release file that was asked for ([`Effect::Fetch`]); a child could open it.
    Release(Vec<u8>),
    /// A release that was asked for is not to be had: its content hash, and why, in one word.
    ReleaseRefused(String, String),
    /// The active release of a class must not speak any longer; why, in one word.
    RollBack(String, &'static str),
    /// A new configuration, already checked.
    Reload(Box<Generation>, Limits),
    /// Kafka has the record.
    Delivered(Lane, u64),
    /// Kafka's client failed for this record; it goes again.
    Failed(Lane, u64),
    /// Kafka will never take this record.
    Refused(Lane, u64),
    /// Kafka's client had no room for the record last asked for.
    NotSent(Lane),
    /// Whether Kafka can be reached.
    Reachable(bool),
}

/// What the shell must do, in the order given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Send PUBACK for these tickets.
    Acknowledge(Vec<u64>),
    /// Publish a confirmation, retained, QoS 1.
    Confirm {
        /// MQTT topic.
        topic: String,
        /// CBOR of [`fettle_wire::Durable`].
        payload: Vec<u8>,
    },
    /// Hand this record to Kafka; it lies in the store.
    Produce(Lane, u64),
    /// Look for the release file with this content hash.
    Fetch(String),
    /// Hand this alarm to Kafka although its commit has not succeeded yet.
    ProduceEarly {
        /// The sequence in the lane of alarms.
        sequence: u64,
        /// Kafka key.
        key: String,
        /// Payload.
        payload: String,
    },
}

/// Bounds that change no output.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Messages that make a batch full.
    pub batch: usize,
    /// Longest wait of a message for its commit, microseconds.
    pub commit_interval: u64,
    /// Journal bytes kept for replay.
    pub keep_bytes: u64,
    /// Microseconds of arrival wall time that the journal is kept.
    pub keep: i64,
    /// Bytes of records that may wait for Kafka.
    pub outbox_bytes: u64,
    /// Bytes of raw samples around alarms that are kept.
    pub evidence_bytes: u64,
    /// Bytes of machines' lives that are kept for learning.
    pub lives_bytes: u64,
}

/// What the core was born with.
pub struct Birth {
    /// Site, agent, incarnation.
    pub identity: Identity,
    /// Kafka topics of the fleet.
    pub topics: KafkaTopics,
    /// Signs envelopes, where configured.
    pub key: Option<SigningKey>,
    /// Bounds.
    pub limits: Limits,
    /// What is asked of releases.
    pub releases: ReleasePolicy,
}

/// The agent's decisions.
pub struct Core {
    identity: Identity,
    topics: KafkaTopics,
    key: Option<SigningKey>,
    limits: Limits,
    generation: Generation,
    templates: Templates,
    engine: Engine,
    slots: Slots,
    shared: Shared,
    /// The shared snapshot on disk holds up to this batch.
    shared_batch: u64,
    shared_dirty: bool,
    outbox: Outbox,
    journal: Journal,
    pending: Batch,
    /// Next sequence of each lane, including records of the pending batch.
    lanes: [u64; LANES],
    evidence: evidence::Index,
    releases: Releases,
    lives: lives::Lives,
    now: Arrival,
    outputs: Vec<Output>,
    /// Alarms that left before their commit and were delivered before it, too.
    early: VecDeque<u64>,
    replaying: bool,
    /// Takes outputs instead of the outbox, where somebody only wants to know them.
    observed: Option<Vec<Output>>,
}

impl Core {
    /// Applies one event that arrived at `now`.
    pub fn step(&mut self, now: Arrival, event: Event, effects: &mut Vec<Effect>) {
        debug_assert!(!self.pending.prepared(), "a batch in commit must be finished first");
        self.advance(now);
        match event {
            Event::Messages(messages) => self.messages(messages),
            Event::SessionLost => self.pending.tickets.clear(),
            Event::Tick => {
                let ledger = self.slots.any_unreported() && self.ledger_due();
                if ledger || self.engine.pending() {
                    self.record(Entry::Tick { arrival: self.now, ledger });
                }
                self.judge_releases();
                self.confirm_due(effects);
                self.send(effects);
            }
            Event::Rollout(payload) => self.roll_out(&payload, effects),
            Event::Release(bytes) => self.take_release(bytes),
            Event::ReleaseRefused(hash, reason) => self.refuse_release(hash, reason),
            Event::RollBack(class, reason) => self.roll_back(class, reason),
            Event::Command { partition, offset, payload } => {
                if self.shared.offsets.get(&partition).is_none_or(|next| offset >= *next) {
                    self.record(Entry::Command { arrival: self.now, partition, offset, payload });
                }
            }
            Event::Reload(generation, limits) => self.reload(*generation, limits),
            Event::Delivered(lane, sequence) => self.delivered(lane, sequence, effects),
            Event::Failed(lane, sequence) => {
                self.outbox.failed(lane, sequence);
                self.send(effects);
            }
            Event::Refused(lane, sequence) => {
                if self.outbox.refuse(lane, sequence) {
                    self.pending.delete_record(lane, sequence, self.now.monotonic);
                }
                self.send(effects);
            }
            Event::NotSent(lane) => self.outbox.not_sent(lane),
            Event::Reachable(reachable) => {
                self.outbox.set_reachable(reachable);
                self.send(effects);
            }
        }
    }

    /// Takes a new configuration up: bounds at once, the rest as a journaled generation if it changes an output.
    fn reload(&mut self, generation: Generation, limits: Limits) {
        self.limits = limits;
        self.outbox.set_max_bytes(limits.outbox_bytes);
        let payload = generation.encode();
        if payload != self.shared.generation.0 {
            self.record(Entry::Generation { arrival: self.now, payload });
        }
    }

    /// The monotonic clock never goes back within a store, whatever the shell says.
    fn advance(&mut self, now: Arrival) {
        self.now = Arrival { monotonic: now.monotonic.max(self.now.monotonic), ..now };
    }

    fn messages(&mut self, inbound: Vec<Inbound>) {
        let mut messages = Vec::with_capacity(inbound.len());
        for message in inbound {
            self.pending.tickets.push(message.ticket);
            messages.push(Message {
                topic: message.topic,
                payload: message.payload,
                redelivered: message.redelivered,
                oversize: message.oversize.map(|size| size as u64),
            });
        }
        self.pending.messages += messages.len();
        self.record(Entry::Messages { arrival: self.now, messages });
    }

    /// Journals an entry and applies it.
    fn record(&mut self, entry: Entry) {
        self.pending.append(&entry, self.now.monotonic);
        self.apply(&entry);
    }

    fn delivered(&mut self, lane: Lane, sequence: u64, effects: &mut Vec<Effect>) {
        if self.outbox.delivered(lane, sequence) {
            self.pending.delete_record(lane, sequence, self.now.monotonic);
        } else if lane == Lane::Alerts && self.pending.holds_record(lane, sequence) {
            self.early.push_back(sequence);
        }
        self.send(effects);
    }

    /// Applies a recorded entry for its outputs alone: nothing is journaled, nothing leaves.
    pub fn observe(&mut self, entry: &Entry) -> Vec<Output> {
        self.begin_observing(entry.arrival());
        self.apply(entry);
        self.end_observing()
    }

    /// As [`Core::observe`], of an entry where it lies.
    pub fn observe_stored(&mut self, entry: &Stored<'_>) -> Result<Vec<Output>, EntryError> {
        self.begin_observing(entry.arrival());
        self.apply_stored(entry)?;
        Ok(self.end_observing())
    }

    fn begin_observing(&mut self, arrival: &Arrival) {
        self.replaying = false;
        self.observed = Some(Vec::new());
        self.advance(*arrival);
    }

    fn end_observing(&mut self) -> Vec<Output> {
        self.pending = Batch::default();
        self.observed.take().unwrap_or_default()
    }

    /// Hands to Kafka what may go.
    fn send(&mut self, effects: &mut Vec<Effect>) {
        while let Some((lane, sequence)) = self.outbox.next_to_send() {
            effects.push(Effect::Produce(lane, sequence));
        }
    }

    fn ledger_due(&self) -> bool {
        self.now.monotonic.saturating_sub(self.shared.ledger_at) >= self.generation.ledger_interval
    }

    /// The Kafka topic of a lane.
    pub fn topic(&self, lane: Lane) -> String {
        match lane {
            Lane::Alerts => self.topics.alerts(),
            Lane::Health => self.topics.health(),
            Lane::Ledger => self.topics.ledger(),
            Lane::Evidence => self.topics.evidence(),
        }
    }

    /// Where the inbox must go on reading `fettle.commands`.
    pub fn command_offsets(&self) -> &std::collections::BTreeMap<i32, i64> {
        &self.shared.offsets
    }

    /// The engine, for status.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The accounts, for status: asset, account, whether quarantined.
    pub fn accounts(&self) -> impl Iterator<Item = (&fettle_wire::Name, &crate::ledger::Door, bool)> {
        self.slots.iter().map(|(name, slot)| (name, &slot.door, self.engine.is_quarantined(name)))
    }

    /// State that belongs to no asset, for status.
    pub fn shared(&self) -> &Shared {
        &self.shared
    }

    /// The outbox, for status.
    pub fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// The raw samples kept, for status.
    pub fn evidence(&self) -> evidence::EvidenceStatus {
        self.evidence.status()
    }

    /// The lives recorded, for status.
    pub fn lives(&self) -> &lives::Lives {
        &self.lives
    }

    /// The generation in force.
    pub fn generation(&self) -> &Generation {
        &self.generation
    }

    /// Who writes.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The newest arrival known: the floor of the next process's monotonic clock.
    pub fn now(&self) -> Arrival {
        self.now
    }
}
