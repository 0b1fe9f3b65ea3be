//! The shell of the intake: consumer group, batches, hand-over of partitions, one transaction per batch.
//!
//! ```text
//!  subscribe --assigned--> paused: mark the partition, wait for the mark in the store --> running --revoked--> idle
//!  any error --> the session ends: producer, consumer and overlay are dropped, a new session begins after a pause
//! ```
//! G1: state and offsets are written in one transaction, fenced by the group's generation (offsets) and by the stable
//! transactional id `<group>-<instance>` (a second process of the same name, or our own former session).
//!
//! Hand-over. A new owner must not read a partition's records before everything its last owner committed is in the
//! store. (1) The committed offsets are fetched, which the broker answers only when no transaction on them is pending:
//! whoever had sent offsets has ended, whoever had not is fenced by the generation. (2) A mark is written into the fleet
//! partition, in a transaction. (3) The copy reads in order what is committed; when the mark is in the store,
//! everything before it is. The mark is renewed as the last record of each transaction, so the same look tells when the
//! overlay is no longer needed.
//!
//! Sessions have no partial repair: whatever fails, what Kafka has committed is the truth, and a new session starts
//! from there. The transactional producer is polled by its own thread; without it an abort would wait for ever.
//! Must never: commit offsets outside a transaction; keep an overlay over a failed commit.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fettle_wire::record::Hex;
use fettle_wire::{Lane, Name, Priority};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};
use rdkafka::{Offset, TopicPartitionList};

use super::apply::{Outcome, Overlay};
use super::group::{Event, Rebalances};
use super::record::{self, Incoming};
use crate::clock;
use crate::config::{Intake as Pace, Kafka, Signatures};
use crate::events::Metrics;
use crate::fleet::asset::{Owner, owner_key};
use crate::fleet::{Store, StoreError};
use crate::kafka::{self, LinkError, Quiet};
use crate::pace::{Backoff, Stop};
use crate::status::{Phase, Status};
use crate::webhook::sender::Marks;

/// A transaction that is not ended within this time is aborted by the broker: how long a dead instance holds others up.
const TRANSACTION_TIMEOUT_MS: &str = "10000";
/// An instance that is silent this long has lost its partitions.
const SESSION_TIMEOUT_MS: &str = "10000";
/// How long one call to Kafka may take before the session ends.
const CALL: Duration = Duration::from_secs(15);
/// How long the mark may take to come back once the copy is current.
const MARK: Duration = Duration::from_secs(60);
/// How long an instance stands back that was fenced by another of the same name, so that one of them gets on.
const STAND_BACK: Duration = Duration::from_secs(10);
/// How many values the overlay may hold before it is dropped at the next moment the store has them all.
const OVERLAY: usize = 20_000;

/// Why a session ended; a new one is begun.
#[derive(Debug, thiserror::Error)]
enum IntakeError {
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(
        "topics differ in partitions: {0}; run `fettle-gateway topics check --config FILE`, all need the same number"
    )]
    Unequal(String),
    #[error("this instance's mark did not come back from the fleet topic within {} s; the copy of it stands still", MARK.as_secs())]
    NoMark,
    #[error("the transaction failed: {0}; it is undone and its records are read again")]
    Transaction(KafkaError),
    #[error("fenced: another gateway of this group runs under this instance name, {0}; give each its own `instance`")]
    Fenced(Name),
    #[error("a record came from a partition that was not ready; the partition is read again from what was committed")]
    NotReady,
}

impl From<KafkaError> for IntakeError {
    fn from(error: KafkaError) -> Self {
        match error {
            KafkaError::Transaction(_) => Self::Transaction(error),
            other => Self::Link(LinkError::Kafka(other)),
        }
    }
}

/// Takes records in until stopped.
pub struct Intake {
    /// How Kafka is reached.
    pub kafka: Kafka,
    /// Batches.
    pub pace: Pace,
    /// Whose records are believed.
    pub signatures: Signatures,
    /// This instance.
    pub instance: Name,
    /// The least priority that is announced to the webhook, where there is one.
    pub announce: Option<Priority>,
    /// Notices that were sent.
    pub sent: Arc<Marks>,
    /// The copy.
    pub store: Arc<Store>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// What is shown of this thread.
    pub status: Arc<Status>,
    /// When to end.
    pub stop: Stop,
}

impl Intake {
    /// Runs until stopped.
    pub fn run(self) {
        let mut retry = Backoff::default();
        while !self.stop.is_set() {
            let ended = Session::begin(&self).and_then(|mut session| session.run(&mut retry));
            let ended = ended.map_err(|error| self.name_fencing(error));
            self.status.set_intake(Phase::WaitingForKafka, BTreeSet::new());
            if let Err(error) = ended {
                self.metrics.intake_restarted();
                if retry.is_worth_saying() {
                    tracing::warn!("intake waits: {error}");
                }
                match error {
                    IntakeError::Fenced(_) => drop(self.stop.wait(STAND_BACK)),
                    _ => retry.wait(&self.stop),
                }
            }
        }
    }

    fn name_fencing(&self, error: IntakeError) -> IntakeError {
        match error {
            IntakeError::Transaction(KafkaError::Transaction(e)) if e.code() == RDKafkaErrorCode::Fenced => {
                IntakeError::Fenced(self.instance.clone())
            }
            other => other,
        }
    }

    fn topics(&self) -> [(String, Lane); 3] {
        let topics = self.kafka.topics();
        [(topics.alerts(), Lane::Alerts), (topics.health(), Lane::Health), (topics.ledger(), Lane::Ledger)]
    }

    fn consumer(&self) -> Result<BaseConsumer<Rebalances>, IntakeError> {
        let mut config = kafka::consumer(&self.kafka, &self.instance, &self.kafka.group)?;
        // Range gives one member the same partition numbers of all topics, if they have equally many.
        config
            .set("partition.assignment.strategy", "range")
            .set("auto.offset.reset", "earliest")
            .set("session.timeout.ms", SESSION_TIMEOUT_MS)
            .set("heartbeat.interval.ms", "2000");
        Ok(config.create_with_context(Rebalances::default())?)
    }

    fn producer(&self) -> Result<ThreadedProducer<Quiet>, IntakeError> {
        let mut config = kafka::base(&self.kafka, &self.instance)?;
        config
            .set("transactional.id", format!("{}-{}", self.kafka.group, self.instance))
            .set("transaction.timeout.ms", TRANSACTION_TIMEOUT_MS)
            .set("message.timeout.ms", TRANSACTION_TIMEOUT_MS)
            .set("linger.ms", "0");
        Ok(config.create_with_context(Quiet)?)
    }

    /// Every topic exists, with equally many partitions.
    fn check_topics(&self, consumer: &BaseConsumer<Rebalances>) -> Result<(), IntakeError> {
        let fleet = self.kafka.topics().fleet();
        let mut found = vec![(kafka::partitions(consumer, &fleet)?, fleet)];
        for (topic, _) in self.topics() {
            found.push((kafka::partitions(consumer, &topic)?, topic));
        }
        if found.iter().any(|(count, _)| *count != found[0].0) {
            let told: Vec<String> = found.iter().map(|(count, topic)| format!("{topic} {count}")).collect();
            return Err(IntakeError::Unequal(told.join(", ")));
        }
        Ok(())
    }
}

/// What was read since the last commit.
#[derive(Default)]
struct Batch {
    records: usize,
    /// The next offset of each (topic, partition).
    next: BTreeMap<(String, i32), i64>,
    outcomes: BTreeMap<(Lane, Outcome), u64>,
}

/// From joining the group to the first error.
struct Session<'a> {
    intake: &'a Intake,
    topics: [(String, Lane); 3],
    fleet: String,
    consumer: BaseConsumer<Rebalances>,
    producer: ThreadedProducer<Quiet>,
    mark: Owner,
    /// The number of our last transaction in each partition.
    marks: BTreeMap<i32, u64>,
    /// The store's epoch when the partitions were taken over.
    epoch: u64,
    /// Assigned, and their state is not here yet.
    waiting: BTreeSet<(String, i32)>,
    /// Assigned and read.
    ready: BTreeSet<(String, i32)>,
    overlay: Overlay,
    batch: Batch,
}

impl<'a> Session<'a> {
    fn begin(intake: &'a Intake) -> Result<Self, IntakeError> {
        let consumer = intake.consumer()?;
        intake.check_topics(&consumer)?;
        let producer = intake.producer()?;
        producer.init_transactions(CALL)?;
        let topics = intake.topics();
        consumer.subscribe(&topics.each_ref().map(|(topic, _)| topic.as_str()))?;
        let mut random = [0; 8];
        if getrandom::fill(&mut random).is_err() {
            // Only told apart from this instance's other sessions: the clock does as well.
            random = clock::wall().to_be_bytes();
        }
        let mark = Owner { instance: intake.instance.clone(), session: Hex(&random).to_string(), commits: 0 };
        intake.status.set_intake(Phase::Idle, BTreeSet::new());
        Ok(Self {
            fleet: intake.kafka.topics().fleet(),
            epoch: intake.store.epoch(),
            marks: BTreeMap::new(),
            waiting: BTreeSet::new(),
            ready: BTreeSet::new(),
            overlay: Overlay::announcing(intake.announce),
            batch: Batch::default(),
            intake,
            topics,
            consumer,
            producer,
            mark,
        })
    }

    fn run(&mut self, retry: &mut Backoff) -> Result<(), IntakeError> {
        let ended = self.take_in(retry);
        if ended.is_err() {
            // Best effort: frees the partitions' pending offsets at once rather than after the transaction's timeout.
            let _ = self.producer.abort_transaction(Duration::from_secs(2));
        }
        ended
    }

    fn take_in(&mut self, retry: &mut Backoff) -> Result<(), IntakeError> {
        while !self.intake.stop.is_set() {
            self.read_batch()?;
            if !self.waiting.is_empty() {
                self.take_over()?;
                continue;
            }
            if self.take_marks()? || self.batch.records > 0 {
                self.commit()?;
                retry.reset();
            }
            if self.overlay.len() > OVERLAY && self.is_copied(&self.partitions())? {
                self.overlay = Overlay::announcing(self.intake.announce);
            }
        }
        Ok(())
    }

    /// Takes notices that were sent out of their alarms, with the next commit; whether there are any. A commit is fenced
    /// by the group's generation only where it commits offsets, so those of the alarm's partition go with it, unchanged;
    /// where none are known the mark is dropped, and the sender offers it again.
    fn take_marks(&mut self) -> Result<bool, IntakeError> {
        let mut marks = self.intake.sent.take();
        let alerts = self.topics.iter().find(|(_, lane)| *lane == Lane::Alerts).map(|(topic, _)| topic.clone());
        let Some(alerts) = alerts else { return Ok(false) };
        marks.retain(|mark| self.ready.contains(&(alerts.clone(), mark.partition)));
        let mut unknown = TopicPartitionList::new();
        for partition in marks.iter().map(|mark| mark.partition).collect::<BTreeSet<i32>>() {
            if !self.batch.next.contains_key(&(alerts.clone(), partition)) {
                unknown.add_partition(&alerts, partition);
            }
        }
        if unknown.count() > 0 {
            for element in self.consumer.committed_offsets(unknown, CALL)?.elements() {
                if let (Ok(()), Offset::Offset(offset)) = (element.error(), element.offset()) {
                    self.batch.next.insert((alerts.clone(), element.partition()), offset);
                }
            }
        }
        let mut is_any = false;
        for mark in marks.iter().filter(|mark| self.batch.next.contains_key(&(alerts.clone(), mark.partition))) {
            let store = &self.intake.store;
            self.overlay.sent(mark, &|key| store.get(key))?;
            is_any = true;
        }
        Ok(is_any)
    }

    /// Partition numbers that are ready.
    fn partitions(&self) -> BTreeSet<i32> {
        self.ready.iter().map(|(_, partition)| *partition).collect()
    }

    /// Polls until the batch is full, its interval is over, nothing comes, or partitions change hands.
    fn read_batch(&mut self) -> Result<(), IntakeError> {
        let mut until: Option<Instant> = None;
        while self.batch.records < self.intake.pace.batch {
            let now = clock::monotonic();
            let wait = match until {
                None => Duration::from_millis(100),
                Some(until) if until > now => until - now,
                Some(_) => break,
            };
            if !self.poll(wait)? {
                break;
            }
            until.get_or_insert(now + self.intake.pace.interval);
        }
        Ok(())
    }

    /// Polls once; `false` if nothing came or partitions changed hands.
    fn poll(&mut self, wait: Duration) -> Result<bool, IntakeError> {
        // The message borrows the consumer, the step changes the rest: taken apart field by field.
        let Self { intake, topics, consumer, waiting, ready, overlay, batch, .. } = self;
        let polled = consumer.poll(wait);
        let mut changed = false;
        for event in consumer.context().take() {
            changed = true;
            match event {
                // The assignment is eager: everything is taken before anything is given. What was read and not
                // committed is read again by whoever comes next.
                Event::Revoked => {
                    waiting.clear();
                    ready.clear();
                    *overlay = Overlay::announcing(intake.announce);
                    *batch = Batch::default();
                    intake.status.set_intake(Phase::Idle, BTreeSet::new());
                }
                Event::Assigned(given) => waiting.extend(given),
            }
        }
        match polled {
            None => Ok(false),
            Some(Err(error)) => judge(error).map(|()| !changed),
            Some(Ok(message)) => {
                let at = (message.topic().to_owned(), message.partition());
                if !ready.contains(&at) {
                    // Paused partitions give nothing; if one does, what it gave must be read again.
                    return Err(IntakeError::NotReady);
                }
                step(intake, topics, overlay, batch, &message, at)?;
                Ok(!changed)
            }
        }
    }

    /// Steps 1 to 3 of the hand-over, then lets the partitions run.
    fn take_over(&mut self) -> Result<(), IntakeError> {
        let given = self.waiting.clone();
        let numbers: BTreeSet<i32> = given.iter().map(|(_, partition)| *partition).collect();
        self.intake.status.set_intake(Phase::CatchingUp, numbers.clone());
        let mut list = TopicPartitionList::new();
        for (topic, partition) in &given {
            list.add_partition(topic, *partition);
        }
        self.epoch = self.intake.store.epoch();
        let committed = self.consumer.committed_offsets(list.clone(), CALL)?;
        let mut known = TopicPartitionList::new();
        for element in committed.elements() {
            element.error()?;
            if let Offset::Offset(offset) = element.offset() {
                known.add_partition_offset(element.topic(), element.partition(), Offset::Offset(offset))?;
            }
        }
        self.transact(&[], &numbers, &known)?;
        if !self.wait_for_mark(&given, &numbers)? {
            return Ok(()); // partitions changed hands again
        }
        self.ready.extend(std::mem::take(&mut self.waiting));
        self.consumer.resume(&list)?;
        self.intake.status.set_intake(Phase::Running, self.partitions());
        tracing::info!(partitions = ?self.partitions(), "partitions taken over");
        Ok(())
    }

    /// Polls, so that the group hears of us, until the store has our mark; `false` if partitions changed hands.
    fn wait_for_mark(&mut self, given: &BTreeSet<(String, i32)>, numbers: &BTreeSet<i32>) -> Result<bool, IntakeError> {
        let mut since = clock::monotonic();
        while !self.is_copied(numbers)? {
            if self.intake.stop.is_set() {
                return Ok(false);
            }
            self.poll(Duration::from_millis(20))?;
            if self.waiting != *given {
                return Ok(false);
            }
            let now = clock::monotonic();
            if !self.intake.status.is_fleet_copied() {
                since = now; // still reading: that may take its time
            }
            if now.duration_since(since) > MARK {
                return Err(IntakeError::NoMark);
            }
        }
        Ok(true)
    }

    /// Whether the store has everything up to our last transaction in these partitions.
    fn is_copied(&self, numbers: &BTreeSet<i32>) -> Result<bool, IntakeError> {
        for partition in numbers {
            let owner: Option<Owner> = self.intake.store.read(&owner_key(*partition))?;
            // Partitions without a record in the last transactions carry an older number of the same session.
            if owner.is_none_or(|o| o.session != self.mark.session || o.commits < self.marked(*partition)) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The number of our last transaction in this partition.
    fn marked(&self, partition: i32) -> u64 {
        self.marks.get(&partition).copied().unwrap_or(0)
    }

    fn commit(&mut self) -> Result<(), IntakeError> {
        if self.intake.store.epoch() != self.epoch {
            return Err(StoreError::Emptied.into()); // what was looked up is void
        }
        let batch = std::mem::take(&mut self.batch);
        let changes = self.overlay.drain()?;
        let numbers: BTreeSet<i32> = batch.next.keys().map(|(_, partition)| *partition).collect();
        let mut offsets = TopicPartitionList::new();
        for ((topic, partition), next) in &batch.next {
            offsets.add_partition_offset(topic, *partition, Offset::Offset(*next))?;
        }
        let begun = clock::monotonic();
        self.transact(&changes, &numbers, &offsets)?;
        self.intake.metrics.committed(clock::monotonic() - begun, &batch.outcomes);
        Ok(())
    }

    /// One transaction: changes, then the mark in each partition, and the offsets.
    fn transact(
        &mut self,
        changes: &[(i32, String, Vec<u8>)],
        numbers: &BTreeSet<i32>,
        offsets: &TopicPartitionList,
    ) -> Result<(), IntakeError> {
        self.mark.commits += 1;
        let mark =
            serde_json::to_vec(&self.mark).map_err(|source| StoreError::Value { key: "owner".into(), source })?;
        self.producer.begin_transaction()?;
        for (partition, key, value) in changes {
            self.send(*partition, key, value)?;
        }
        for partition in numbers {
            self.send(*partition, &owner_key(*partition), &mark)?;
            self.marks.insert(*partition, self.mark.commits);
        }
        if offsets.count() > 0
            && let Some(generation) = self.consumer.group_metadata()
        {
            self.producer.send_offsets_to_transaction(offsets, &generation, CALL)?;
        }
        let ended = match self.producer.commit_transaction(CALL) {
            // Not known whether it was committed: asking again is safe.
            Err(KafkaError::Transaction(e)) if e.is_retriable() => self.producer.commit_transaction(CALL),
            other => other,
        };
        if ended.is_err() {
            self.intake.metrics.transaction_failed();
        }
        Ok(ended?)
    }

    fn send(&self, partition: i32, key: &str, value: &[u8]) -> Result<(), IntakeError> {
        let mut record = BaseRecord::<str, [u8], ()>::to(&self.fleet).partition(partition).key(key).payload(value);
        let until = clock::monotonic() + CALL;
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back))
                    if clock::monotonic() < until && !self.intake.stop.wait(Duration::from_millis(10)) =>
                {
                    record = back;
                }
                Err((error, _)) => return Err(error.into()),
            }
        }
    }
}

/// Which errors of the consumer end the session; the library recovers from the others by itself.
fn judge(error: KafkaError) -> Result<(), IntakeError> {
    match error {
        KafkaError::MessageConsumptionFatal(_)
        | KafkaError::MessageConsumption(RDKafkaErrorCode::UnknownTopicOrPartition) => Err(error.into()),
        _ => Ok(()),
    }
}

fn step(
    intake: &Intake,
    topics: &[(String, Lane); 3],
    overlay: &mut Overlay,
    batch: &mut Batch,
    message: &BorrowedMessage<'_>,
    at: (String, i32),
) -> Result<(), IntakeError> {
    let Some((topic, lane)) = topics.iter().find(|(topic, _)| *topic == at.0) else { return Ok(()) };
    let incoming = Incoming {
        topic,
        lane: *lane,
        partition: message.partition(),
        offset: message.offset(),
        at: message.timestamp().to_millis().unwrap_or(0).saturating_mul(1_000),
        key: message.key().unwrap_or_default(),
        payload: message.payload().unwrap_or_default(),
    };
    let decoded = record::decode(&incoming, &intake.signatures);
    let outcome = overlay.step(&incoming, decoded, &|key| intake.store.get(key))?;
    if let Outcome::Rejected(reason) = outcome {
        let Incoming { topic, partition, offset, .. } = incoming;
        intake.metrics.say_rejected(topic, partition, offset, reason);
    }
    batch.records += 1;
    batch.next.insert(at, message.offset() + 1);
    *batch.outcomes.entry((*lane, outcome)).or_default() += 1;
    Ok(())
}
