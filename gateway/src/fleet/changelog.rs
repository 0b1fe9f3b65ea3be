//! Keeps the local copy current: reads a compacted topic whole, without a group, and applies it to the store together
//! with the positions, so after a crash or on an empty disk reading goes on where the data ends (G3).
//!
//! Two feeds: the fleet topic, and the commands (so that every instance shows what was asked for and is not confirmed).
//! The copy is emptied and read again where its positions mean nothing any more: another cluster, or offsets that the
//! broker no longer has.
//! Must never: write to Kafka; take in a value that does not read as what its key promises.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use fettle_wire::{Command, Micros, Name, time};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};

use super::asset::{self, COMMAND};
use super::store::{Change, Store, StoreError};
use crate::clock;
use crate::commands;
use crate::config::Kafka;
use crate::events::Metrics;
use crate::kafka::{self, LinkError, Quiet};
use crate::pace::{Backoff, Stop};
use crate::status::Status;

/// At most this many records in one transaction of the store.
const BATCH: usize = 2_000;
/// A batch is applied at the latest this long after its first record.
const INTERVAL: Duration = Duration::from_millis(50);
/// How long after its expiry a command is kept.
const KEEP_COMMANDS: Micros = time::DAY;
/// How often expired commands are looked for.
const PRUNE: Duration = Duration::from_secs(3600);

/// Which topic is copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feed {
    /// What the owners know.
    Fleet,
    /// What people asked for.
    Commands,
}

/// Why copying stopped; all are retried.
#[derive(Debug, thiserror::Error)]
enum ChangelogError {
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the broker no longer has the offsets that were to be read next; the copy is read again from the start")]
    OffsetsGone,
}

impl From<KafkaError> for ChangelogError {
    fn from(error: KafkaError) -> Self {
        Self::Link(LinkError::Kafka(error))
    }
}

/// Copies one topic into the store.
pub struct Changelog {
    /// Which.
    pub feed: Feed,
    /// How Kafka is reached.
    pub kafka: Kafka,
    /// This instance.
    pub instance: Name,
    /// Where to.
    pub store: Arc<Store>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// What is shown of this thread.
    pub status: Arc<Status>,
    /// When to end.
    pub stop: Stop,
}

impl Changelog {
    /// Runs until stopped.
    pub fn run(self) {
        let mut retry = Backoff::default();
        while !self.stop.is_set() {
            match self.follow(&mut retry) {
                Ok(()) => return,
                Err(error) => {
                    if matches!(error, ChangelogError::OffsetsGone)
                        && let Err(error) = self.store.wipe()
                    {
                        tracing::error!(%error, "the copy of the fleet cannot be emptied");
                    }
                    self.status.set_caught_up(self.feed, false);
                    if retry.is_worth_saying() {
                        tracing::warn!(feed = ?self.feed, "the copy waits: {error}");
                    }
                    retry.wait(&self.stop);
                }
            }
        }
    }

    fn topic(&self) -> String {
        match self.feed {
            Feed::Fleet => self.kafka.topics().fleet(),
            Feed::Commands => self.kafka.topics().commands(),
        }
    }

    fn client(&self) -> Result<ClientConfig, LinkError> {
        // The library wants a group's name even from a reader that joins none and commits nothing.
        let group = format!("{}-{}-copy", self.kafka.group, self.instance);
        let mut config = kafka::consumer(&self.kafka, "copy", &group)?;
        config.set("auto.offset.reset", "error").set("enable.partition.eof", "true");
        Ok(config)
    }

    fn follow(&self, retry: &mut Backoff) -> Result<(), ChangelogError> {
        let topic = self.topic();
        let consumer: BaseConsumer<Quiet> = self.client()?.create_with_context(Quiet).map_err(LinkError::Kafka)?;
        let partitions = kafka::partitions(&consumer, &topic)?;
        self.check_cluster(&consumer)?;
        let epoch = self.store.epoch();
        let mut next = self.store.positions(&topic)?;
        let mut list = TopicPartitionList::new();
        for partition in 0..partitions {
            let offset = next.get(&partition).map_or(Offset::Beginning, |&offset| Offset::Offset(offset));
            list.add_partition_offset(&topic, partition, offset)?;
        }
        consumer.assign(&list)?;
        let mut ended = BTreeSet::new();
        let mut prune_at = clock::monotonic();
        while !self.stop.is_set() {
            if self.store.epoch() != epoch {
                return Err(StoreError::Emptied.into()); // by the other feed: begin again
            }
            if self.feed == Feed::Commands && clock::monotonic() >= prune_at {
                self.prune(epoch)?;
                prune_at = clock::monotonic() + PRUNE;
            }
            let changes = self.read_batch(&consumer, &topic, &mut next, &mut ended)?;
            if let Some((changes, positions)) = changes {
                self.metrics.copied(self.feed, changes.len());
                self.store.apply(epoch, &changes, &positions)?;
                retry.reset();
            }
            if ended.len() >= usize::try_from(partitions).unwrap_or(usize::MAX) {
                self.status.set_caught_up(self.feed, true);
            }
        }
        Ok(())
    }

    /// Reads until the batch is full, its interval is over or nothing came for a moment.
    #[expect(clippy::type_complexity, reason = "what Store::apply takes")]
    fn read_batch(
        &self,
        consumer: &BaseConsumer<Quiet>,
        topic: &str,
        next: &mut BTreeMap<i32, i64>,
        ended: &mut BTreeSet<i32>,
    ) -> Result<Option<(Vec<Change>, BTreeMap<(String, i32), i64>)>, ChangelogError> {
        let mut changes = Vec::new();
        let mut positions = BTreeMap::new();
        let mut until = None;
        while changes.len() < BATCH {
            let now = clock::monotonic();
            let wait = match until {
                None => Duration::from_millis(200),
                Some(until) if until > now => until - now,
                Some(_) => break,
            };
            match consumer.poll(wait) {
                None => break,
                Some(Ok(message)) => {
                    until.get_or_insert(now + INTERVAL);
                    let offset = message.offset() + 1;
                    next.insert(message.partition(), offset);
                    positions.insert((topic.to_owned(), message.partition()), offset);
                    changes.extend(self.change(message.key(), message.payload()));
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    ended.insert(partition);
                }
                Some(Err(error)) => self.judge(error)?,
            }
        }
        Ok((!positions.is_empty()).then_some((changes, positions)))
    }

    /// Which errors end this reading; the library recovers from the others by itself.
    fn judge(&self, error: KafkaError) -> Result<(), ChangelogError> {
        use RDKafkaErrorCode::{AutoOffsetReset, OffsetOutOfRange};
        match error {
            KafkaError::MessageConsumption(AutoOffsetReset | OffsetOutOfRange) => Err(ChangelogError::OffsetsGone),
            KafkaError::MessageConsumptionFatal(_) => Err(error.into()),
            KafkaError::MessageConsumption(RDKafkaErrorCode::UnknownTopicOrPartition) => Err(error.into()),
            _ => Ok(()),
        }
    }

    fn change(&self, key: Option<&[u8]>, payload: Option<&[u8]>) -> Option<Change> {
        let change = match self.feed {
            Feed::Fleet => fleet_change(key, payload),
            Feed::Commands => command_change(payload, clock::wall()),
        };
        match change {
            Ok(change) => change,
            Err(()) => {
                self.metrics.copy_skipped(self.feed);
                None
            }
        }
    }

    /// Another cluster under the same address: nothing of the copy means anything there.
    fn check_cluster(&self, consumer: &BaseConsumer<Quiet>) -> Result<(), ChangelogError> {
        let Some(cluster) = consumer.client().fetch_cluster_id(Duration::from_secs(5)) else { return Ok(()) };
        let identity = format!("{cluster}/{}", self.kafka.prefix);
        match self.store.meta("cluster")? {
            Some(known) if known == identity => return Ok(()),
            Some(known) => {
                tracing::warn!(known, now = identity, "another Kafka cluster or prefix: the copy is read again");
                self.store.wipe()?;
            }
            None => {}
        }
        Ok(self.store.set_meta("cluster", &identity)?)
    }

    /// Removes commands that nobody can answer any more.
    fn prune(&self, epoch: u64) -> Result<(), ChangelogError> {
        let now = clock::wall();
        let mut gone = Vec::new();
        self.store.scan(COMMAND, |key, command: Command| {
            if command.expires.saturating_add(KEEP_COMMANDS) < now {
                gone.push(Change { key: key.to_owned(), value: None });
            }
        })?;
        if !gone.is_empty() {
            self.store.apply(epoch, &gone, &BTreeMap::new())?;
        }
        Ok(())
    }
}

/// `Err`: not what its key promises.
fn fleet_change(key: Option<&[u8]>, payload: Option<&[u8]>) -> Result<Option<Change>, ()> {
    let key = key.and_then(|key| std::str::from_utf8(key).ok()).ok_or(())?;
    // Ours are shorter by construction.
    if key.is_empty() || key.len() > crate::lmdb::MAX_KEY {
        return Err(());
    }
    let value = match payload {
        None => None,
        Some(value) if asset::is_readable(key, value) => Some(value.to_vec()),
        Some(_) => return Err(()),
    };
    Ok(Some(Change { key: key.to_owned(), value }))
}

/// Long expired commands are passed over.
fn command_change(payload: Option<&[u8]>, now: Micros) -> Result<Option<Change>, ()> {
    let Some(payload) = payload else { return Ok(None) };
    let command = Command::decode(payload).map_err(|_| ())?;
    if command.expires.saturating_add(KEEP_COMMANDS) < now {
        return Ok(None);
    }
    let key = asset::command_key(&command.site, commands::subject(&command.request).asset, &command.id);
    let value = command.encode().map_err(|_| ())?.into_bytes();
    Ok((key.len() <= 511).then_some(Change { key, value: Some(value) }))
}

#[cfg(test)]
mod tests {
    use fettle_wire::Request;

    use super::*;

    #[test]
    fn a_value_that_breaks_its_keys_promise_is_not_taken_in() {
        let mark = br#"{"sequence":3}"#;
        assert!(fleet_change(Some(b"hw|t|0|a/b|00|health"), Some(mark)).unwrap().is_some());
        assert_eq!(fleet_change(Some(b"asset|a/b"), Some(mark)), Err(()));
        assert_eq!(fleet_change(Some(b"\xff"), Some(mark)), Err(()));
        assert_eq!(fleet_change(None, Some(mark)), Err(()));
        let removed = fleet_change(Some(b"asset|a/b"), None).unwrap().unwrap();
        assert_eq!(removed, Change { key: "asset|a/b".into(), value: None });
    }

    #[test]
    fn a_command_is_kept_under_its_asset_until_it_is_long_expired() {
        let command = Command {
            version: fettle_wire::SCHEMA_VERSION,
            id: "c1".into(),
            site: Name::new("plant-a").unwrap(),
            agent: Name::new("gw-1").unwrap(),
            issuer: "ada".into(),
            issued: 0,
            expires: time::DAY,
            request: Request::Adopt { asset: Name::new("pump").unwrap() },
        };
        let bytes = command.encode().unwrap();
        let kept = command_change(Some(bytes.as_bytes()), 0).unwrap().unwrap();
        assert_eq!(kept.key, "command|plant-a/pump|c1");
        assert_eq!(command_change(Some(bytes.as_bytes()), 3 * time::DAY), Ok(None));
        assert_eq!(command_change(Some(b"{}"), 0), Err(()));
    }
}
