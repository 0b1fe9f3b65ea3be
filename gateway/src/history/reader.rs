//! Reads the whole of the health, alerts and commands topics into the history, without a group, in every instance (H1).
//!
//! ```text
//!  poll --at most 2,000 records or 200 ms--> take_in (one commit with the offsets) --> live --> open pages
//! ```
//! An absent or restarted Kafka is normal: librdkafka reconnects; whatever else goes wrong, reading begins again from
//! what was committed. What Kafka deleted before it was read is counted as missed.
//! Must never: write to Kafka; skip a record without counting it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fettle_wire::{Command, Lane, Name};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::{Offset, TopicPartitionList};

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
/// A batch is committed at the latest this long after its first record.
const INTERVAL: Duration = Duration::from_millis(200);
/// How often what is too old or too much is removed.
const KEEP: Duration = Duration::from_secs(60);
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

/// Partitions that were not at their end when reading began, and where that end was.
type Behind = BTreeMap<(String, i32), i64>;

/// What one topic carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Carries {
    Records(Lane),
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

    fn topics(&self) -> [(String, Carries); 3] {
        let topics = self.kafka.topics();
        [
            (topics.health(), Carries::Records(Lane::Health)),
            (topics.alerts(), Carries::Records(Lane::Alerts)),
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
        let topics = self.topics();
        let mut list = TopicPartitionList::new();
        let partitions: Vec<i32> =
            topics.iter().map(|(topic, _)| kafka::partitions(&consumer, topic)).collect::<Result<_, _>>()?;
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
        self.read(&consumer, &topics, behind, retry)
    }

    fn read(
        &self,
        consumer: &BaseConsumer<Quiet>,
        topics: &[(String, Carries); 3],
        mut behind: Behind,
        retry: &mut Backoff,
    ) -> Result<(), ReadError> {
        let (mut keep_at, mut heard) = (clock::monotonic(), clock::monotonic());
        while !self.stop.is_set() {
            let now = clock::monotonic();
            if now >= keep_at {
                self.keep()?;
                keep_at = now + KEEP;
            }
            let batch = self.read_batch(consumer, topics)?;
            if !batch.positions.is_empty() {
                behind.retain(|at, end| batch.positions.get(at).is_none_or(|next| next < end));
                self.take_in(batch, behind.is_empty())?;
                retry.reset();
                heard = clock::monotonic();
            } else if clock::monotonic().duration_since(heard) > IDLE {
                behind.clear();
            }
            self.status.set_history_copied(behind.is_empty());
        }
        Ok(())
    }

    fn take_in(&self, batch: Batch, is_current: bool) -> Result<(), ReadError> {
        let taken = self.history.take_in(&batch)?;
        self.metrics.history_taken(&taken.outcomes);
        if is_current {
            // Before the end is reached there is nothing new to tell, only much.
            for (site, health) in &batch.healths {
                self.hub.health(site, health);
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
    fn read_batch(&self, consumer: &BaseConsumer<Quiet>, topics: &[(String, Carries); 3]) -> Result<Batch, ReadError> {
        let (mut batch, mut unusable) = (Batch::default(), BTreeMap::new());
        let (mut read, mut until) = (0, None::<Instant>);
        while read < BATCH {
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

    /// `false`: the record cannot be used. The intake says which and why.
    fn add(&self, batch: &mut Batch, topics: &[(String, Carries); 3], message: &BorrowedMessage<'_>) -> bool {
        let (topic, partition) = (message.topic(), message.partition());
        batch.positions.insert((topic.to_owned(), partition), message.offset() + 1);
        let Some((_, carries)) = topics.iter().find(|(name, _)| name == topic) else { return false };
        let payload = message.payload().unwrap_or_default();
        match carries {
            Carries::Commands => match Command::decode(payload) {
                Ok(command) => batch.commands.push(command),
                Err(_) => return false,
            },
            Carries::Records(lane) => {
                let at = message.timestamp().to_millis().unwrap_or(0).saturating_mul(1_000);
                let (key, offset) = (message.key().unwrap_or_default(), message.offset());
                let incoming = Incoming { topic, lane: *lane, partition, offset, at, key, payload };
                let Ok(record) = record::decode(&incoming, &self.signatures) else { return false };
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
