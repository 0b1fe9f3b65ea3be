//! Reads the whole of the health, alerts, evidence and commands topics into the history, without a group, in every instance (H1).
//!
//! ```text
//!  poll --at most 2,000 records, 8 MiB or 200 ms--> take_in (one commit with the offsets) --> live --> open pages
//! ```
//! An absent or restarted Kafka is normal: librdkafka reconnects; whatever else goes wrong, reading begins again from
//! what was committed. What Kafka deleted before it was read is counted as missed. A fleet whose topics are older than
//! evidence goes without: its topic is looked for again now and then.
//! Must never: write to Kafka; skip a record without counting it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fettle_wire::{Command, Envelope, Evidence, Lane, Name};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::{Offset, TopicPartitionList};

use super::evidence::{self, Exhibit};
use super::store::{Batch, History, HistoryError, Said};
use crate::clock;
use crate::config::{Kafka, Signatures};
use crate::events::Metrics;
use crate::intake::record::{self, Body, Incoming};
use crate::kafka::{self, LinkError, Quiet};
use crate::live::Hub;
use crate::pace::{Backoff, Stop};
use crate::status::Status;

/// At most this many records in one commit.
const BATCH: usize = 2_000;
/// At most this much in one commit; a record of evidence is some 30 KiB.
const BATCH_BYTES: usize = 8 << 20;
/// A batch is committed at the latest this long after its first record.
const INTERVAL: Duration = Duration::from_millis(200);
/// How often what is too old or too much is removed.
const KEEP: Duration = Duration::from_secs(60);
/// How often the topic of evidence is looked for where it was absent.
const LOOK: Duration = Duration::from_secs(10);
/// Whoever hears nothing for this long has read everything: what is left of a partition are a transaction's markers.
const IDLE: Duration = Duration::from_secs(10);
/// How long one question to Kafka may take.
const CALL: Duration = Duration::from_secs(5);

/// Why reading stopped; all are retried.
#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error(transparent)]
    History(#[from] HistoryError),
}

impl From<KafkaError> for ReadError {
    fn from(error: KafkaError) -> Self {
        Self::Link(LinkError::Kafka(error))
    }
}

/// Reads until stopped.
pub struct Reader {
    /// How Kafka is reached.
    pub kafka: Kafka,
    /// Whose records are believed.
    pub signatures: Signatures,
    /// This instance.
    pub instance: Name,
    /// Where to.
    pub history: Arc<History>,
    /// Who hears of it at once.
    pub hub: Arc<Hub>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// What is shown of this thread.
    pub status: Arc<Status>,
    /// When to end.
    pub stop: Stop,
}

/// Topics with what they carry.
type Topics = Vec<(String, Carries)>;

/// Partitions that were not at their end when reading began, and where that end was.
type Behind = BTreeMap<(String, i32), i64>;

/// What one topic carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Carries {
    Records(Lane),
    Evidence,
    Commands,
}

impl Reader {
    /// Runs until stopped.
    pub fn run(self) {
        let mut retry = Backoff::default();
        while !self.stop.is_set() {
            if let Err(error) = self.follow(&mut retry) {
                self.status.set_history_copied(false);
                if retry.is_worth_saying() {
                    tracing::warn!("the history waits: {error}");
                }
                retry.wait(&self.stop);
            }
        }
    }

    fn topics(&self) -> Topics {
        let topics = self.kafka.topics();
        vec![
            (topics.health(), Carries::Records(Lane::Health)),
            (topics.alerts(), Carries::Records(Lane::Alerts)),
            (topics.evidence(), Carries::Evidence),
            (topics.commands(), Carries::Commands),
        ]
    }

    fn consumer(&self) -> Result<BaseConsumer<Quiet>, ReadError> {
        // The library wants a group's name even from a reader that joins none and commits nothing.
        let group = format!("{}-{}-history", self.kafka.group, self.instance);
        let mut config = kafka::consumer(&self.kafka, "history", &group)?;
        config.set("auto.offset.reset", "earliest");
        Ok(config.create_with_context(Quiet)?)
    }

    fn follow(&self, retry: &mut Backoff) -> Result<(), ReadError> {
        let consumer = self.consumer()?;
        let mut topics = self.topics();
        let mut list = TopicPartitionList::new();
        let mut partitions = Vec::with_capacity(topics.len());
        for (topic, carries) in &topics {
            match kafka::partitions(&consumer, topic) {
                Err(LinkError::NoTopic { topic }) if *carries == Carries::Evidence => {
                    tracing::warn!(
                        topic,
                        "no waveforms will be shown: the topic does not exist; `topics apply` creates it"
                    );
                }
                count => partitions.push(count?),
            }
        }
        let is_whole = topics.len() == partitions.len();
        if !is_whole {
            topics.retain(|(_, carries)| *carries != Carries::Evidence);
        }
        if let Some(cluster) = consumer.client().fetch_cluster_id(CALL) {
            self.history.set_cluster(&cluster)?;
        }
        let mut behind = Behind::new();
        for ((topic, _), partitions) in topics.iter().zip(&partitions) {
            let next = self.history.positions(topic)?;
            for partition in 0..*partitions {
                let next = next.get(&partition).copied();
                list.add_partition_offset(topic, partition, next.map_or(Offset::Beginning, Offset::Offset))?;
                let (first, end) = consumer.fetch_watermarks(topic, partition, CALL)?;
                self.count_missed(topic, partition, next, first);
                if next.unwrap_or(first) < end {
                    behind.insert((topic.clone(), partition), end);
                }
            }
        }
        consumer.assign(&list)?;
        self.read(&consumer, &topics, behind, retry, is_whole)
    }

    fn read(
        &self,
        consumer: &BaseConsumer<Quiet>,
        topics: &Topics,
        mut behind: Behind,
        retry: &mut Backoff,
        is_whole: bool,
    ) -> Result<(), ReadError> {
        let evidence = self.kafka.topics().evidence();
        let (mut keep_at, mut heard) = (clock::monotonic(), clock::monotonic());
        let mut look_at = (!is_whole).then(|| clock::monotonic() + LOOK);
        while !self.stop.is_set() {
            let now = clock::monotonic();
            if now >= keep_at {
                self.keep()?;
                keep_at = now + KEEP;
            }
            if look_at.is_some_and(|at| now >= at) {
                if kafka::partitions(consumer, &evidence).is_ok() {
                    // Reading begins again from what was committed, with the topic that is there now.
                    return Ok(());
                }
                look_at = Some(now + LOOK);
            }
            let batch = self.read_batch(consumer, topics)?;
            if !batch.positions.is_empty() {
                behind.retain(|at, end| batch.positions.get(at).is_none_or(|next| next < end));
                let waits = |of_evidence| behind.keys().any(|(topic, _)| (*topic == evidence) == of_evidence);
                self.take_in(&batch, !waits(false), !waits(true))?;
                retry.reset();
                heard = clock::monotonic();
            } else if clock::monotonic().duration_since(heard) > IDLE {
                behind.clear();
            }
            self.status.set_history_copied(behind.is_empty());
        }
        Ok(())
    }

    fn take_in(&self, batch: &Batch, is_current: bool, is_evidence_current: bool) -> Result<(), ReadError> {
        let taken = self.history.take_in(batch)?;
        self.metrics.history_taken(&taken.outcomes);
        // Before the end is reached there is nothing new to tell, only much.
        if is_current {
            for (site, health) in &batch.healths {
                self.hub.health(site, health);
            }
        }
        if is_evidence_current {
            for (site, asset, listed) in &taken.evidence {
                self.hub.evidence(site, asset, listed);
            }
        }
        if self.history.is_over()? {
            self.keep()?;
        }
        Ok(())
    }

    fn keep(&self) -> Result<(), HistoryError> {
        let given_up = self.history.keep(clock::wall())?;
        self.metrics.history_given_up(&given_up);
        self.metrics.set_history_bytes(self.history.bytes()?);
        Ok(())
    }

    /// What Kafka has deleted between what was read last and what it still has.
    fn count_missed(&self, topic: &str, partition: i32, next: Option<i64>, first: i64) {
        let missed = next.map_or(0, |next| u64::try_from(first.saturating_sub(next)).unwrap_or(0));
        if missed > 0 {
            tracing::warn!(topic, partition, missed, "Kafka deleted records before the history read them");
            self.metrics.history_missed(missed);
        }
    }

    /// Reads until the batch is full, its interval is over or nothing came for a moment.
    fn read_batch(&self, consumer: &BaseConsumer<Quiet>, topics: &Topics) -> Result<Batch, ReadError> {
        let (mut batch, mut unusable) = (Batch::default(), BTreeMap::new());
        let (mut read, mut bytes, mut until) = (0, 0, None::<Instant>);
        while read < BATCH && bytes < BATCH_BYTES {
            let now = clock::monotonic();
            let wait = match until {
                None => INTERVAL,
                Some(until) if until > now => until - now,
                Some(_) => break,
            };
            match consumer.poll(wait) {
                None => break,
                Some(Ok(message)) => {
                    until.get_or_insert(now + INTERVAL);
                    read += 1;
                    bytes += message.payload_len();
                    if !self.add(&mut batch, topics, &message) {
                        *unusable.entry("unusable").or_default() += 1;
                    }
                }
                Some(Err(error)) => judge(error)?,
            }
        }
        self.metrics.history_taken(&unusable);
        Ok(batch)
    }

    fn evidence(&self, incoming: &Incoming<'_>) -> Result<(Envelope, Box<Evidence>), &'static str> {
        let (envelope, body) = record::decode_evidence(incoming, &self.signatures)?;
        if evidence::is_possible(body.time, clock::wall()) { Ok((envelope, body)) } else { Err("impossible_time") }
    }

    /// `false`: the record cannot be used. The intake says which and why; of evidence, this does.
    fn add(&self, batch: &mut Batch, topics: &Topics, message: &BorrowedMessage<'_>) -> bool {
        let (topic, partition) = (message.topic(), message.partition());
        batch.positions.insert((topic.to_owned(), partition), message.offset() + 1);
        let Some((_, carries)) = topics.iter().find(|(name, _)| name == topic) else { return false };
        let payload = message.payload().unwrap_or_default();
        let at = message.timestamp().to_millis().unwrap_or(0).saturating_mul(1_000);
        let (key, offset) = (message.key().unwrap_or_default(), message.offset());
        let incoming = |lane| Incoming { topic, lane, partition, offset, at, key, payload };
        match carries {
            Carries::Commands => match Command::decode(payload) {
                Ok(command) => batch.commands.push(command),
                Err(_) => return false,
            },
            Carries::Evidence => match self.evidence(&incoming(Lane::Evidence)) {
                Ok((envelope, evidence)) => {
                    let Envelope { site, agent, id, content, .. } = envelope;
                    batch.evidence.push(Exhibit { site, agent, id, content, seen: at, evidence });
                }
                Err(reason) => {
                    self.metrics.evidence_rejected(reason);
                    self.metrics.say_rejected(topic, partition, offset, reason);
                    return false;
                }
            },
            Carries::Records(lane) => {
                let Ok(record) = record::decode(&incoming(*lane), &self.signatures) else { return false };
                match record.body {
                    Body::Health(health) => batch.healths.push((record.origin.site, health)),
                    Body::Alert(alert) => {
                        let (origin, id) = (record.origin, record.known.id);
                        batch.alerts.push(Said { origin, id, seen: at, alert });
                    }
                    Body::Ledger(_) => return false,
                }
            }
        }
        true
    }
}

/// Which errors end this reading; the library recovers from the others by itself.
fn judge(error: KafkaError) -> Result<(), ReadError> {
    match error {
        KafkaError::MessageConsumptionFatal(_)
        | KafkaError::MessageConsumption(RDKafkaErrorCode::UnknownTopicOrPartition) => Err(error.into()),
        _ => Ok(()),
    }
}
