//! Pointers and release files from Kafka.
//!
//! Place in the flow: `fettle.rollouts`, read whole at every start and followed (a compacted topic of a record a class) ->
//! [`FromKafka::Rollout`]; what the core misses of `fettle.releases` -> a trial in a child -> [`FromKafka::Release`].
//! The parts are looked for from the topic's beginning, and only while something is missing.
//!
//! It commits nothing to Kafka, keeps nothing on disk and decides nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use fettle_models::release::{Hash, Key, Package};
use fettle_wire::ReleasePart;
use fettle_wire::release::MAX_PARTS;
use fettle_wire::topic::KafkaTopics;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};

use super::policy::MAX_FILE;
use super::trial;
use crate::config::checked::KafkaConfig;
use crate::uplink::{FromKafka, Quiet, Report, UplinkError, client};

/// How long one turn waits for a record.
const POLL: Duration = Duration::from_millis(200);
/// Turns between two looks at the topics' partitions: a minute, or two seconds while some are not there.
const LOOK_TURNS: (u32, u32) = (300, 10);
/// How long a look may take.
const LOOK: Duration = Duration::from_secs(2);

/// The reader. Dropping it stops it.
pub struct Fetcher {
    stop: Arc<AtomicBool>,
    wants: Sender<String>,
    thread: Option<JoinHandle<()>>,
}

impl Fetcher {
    /// Starts reading; `keys` are those that a trial believes.
    pub fn new(config: &KafkaConfig, name: &str, keys: Vec<Key>, report: Report) -> Result<Self, UplinkError> {
        let mut client = client(config)?;
        // librdkafka wants a group even where none is joined and nothing is committed.
        client.set("group.id", format!("fettle-releases-{}", name.replace('/', "-")));
        client.set("enable.auto.commit", "false");
        client.set("enable.auto.offset.store", "false");
        client.set("auto.offset.reset", "earliest");
        client.set("queued.max.messages.kbytes", "2048");
        client.set("fetch.message.max.bytes", "1048576");
        let consumer = BaseConsumer::from_config_and_context(&client, Quiet)?;
        let stop = Arc::new(AtomicBool::new(false));
        let (wants, asked) = channel();
        let reader = Reader {
            consumer,
            topics: KafkaTopics::new(config.prefix.clone()),
            keys,
            report,
            asked,
            missing: BTreeMap::new(),
            seen: BTreeMap::new(),
            assigned: BTreeSet::new(),
        };
        let told = Arc::clone(&stop);
        let thread = thread::Builder::new().name("kafka-releases".into()).spawn(move || reader.run(&told))?;
        Ok(Self { stop, wants, thread: Some(thread) })
    }

    /// Looks for the release file with this content hash until it is found.
    pub fn want(&self, hash: String) {
        // The thread ends with this struct only.
        let _ = self.wants.send(hash);
    }
}

impl Drop for Fetcher {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been told by the panic hook.
            let _ = thread.join();
        }
    }
}

/// Parts found so far.
type Parts = BTreeMap<u32, Vec<u8>>;
/// A topic and a partition.
type Place = (String, i32);

struct Reader {
    consumer: BaseConsumer<Quiet>,
    topics: KafkaTopics,
    keys: Vec<Key>,
    report: Report,
    asked: Receiver<String>,
    missing: BTreeMap<String, Parts>,
    /// The last offset seen of each partition that is read.
    seen: BTreeMap<Place, i64>,
    assigned: BTreeSet<Place>,
}

impl Reader {
    fn run(mut self, stop: &AtomicBool) {
        let mut until_look = 0;
        while !stop.load(Ordering::Relaxed) {
            if self.take_wants() {
                until_look = 0;
            }
            if until_look == 0 {
                until_look = if self.look() { LOOK_TURNS.0 } else { LOOK_TURNS.1 };
            }
            match self.consumer.poll(POLL) {
                None => until_look -= 1,
                Some(Err(error)) => {
                    tracing::debug!(%error, "cannot read releases at the moment");
                    thread::sleep(POLL);
                    until_look = until_look.min(LOOK_TURNS.1);
                }
                Some(Ok(record)) => {
                    let place = (record.topic().to_owned(), record.partition());
                    let payload = record.payload().map(<[u8]>::to_vec);
                    self.seen.insert(place.clone(), record.offset());
                    if let Some(payload) = payload {
                        self.take(&place.0, payload);
                    }
                }
            }
        }
    }

    /// Notes what is wanted anew; whether something is. Its parts may lie before what was read.
    fn take_wants(&mut self) -> bool {
        let mut any = false;
        while let Ok(hash) = self.asked.try_recv() {
            any |= self.missing.insert(hash, Parts::new()).is_none();
        }
        if any {
            let releases = self.topics.releases();
            self.seen.retain(|(topic, _), _| *topic != releases);
            self.assigned.retain(|(topic, _)| *topic != releases);
        }
        any
    }

    fn take(&mut self, topic: &str, payload: Vec<u8>) {
        if topic == self.topics.rollouts() {
            return (self.report)(FromKafka::Rollout { payload });
        }
        let Ok(part) = ReleasePart::decode(&payload) else {
            tracing::debug!(bytes = payload.len(), "a record of the releases topic is no part of a release");
            return;
        };
        let Some(parts) = self.missing.get_mut(&part.hash) else { return };
        debug_assert!(part.count <= MAX_PARTS);
        let count = part.count as usize;
        parts.insert(part.index, part.bytes);
        if parts.len() >= count {
            let parts = self.missing.remove(&part.hash).unwrap_or_default();
            let outcome = self.put_together(&part.hash, parts);
            (self.report)(FromKafka::Release { hash: part.hash, outcome });
            if self.missing.is_empty() {
                self.look();
            }
        }
    }

    /// The file, if it is the one that was asked for and a child could open it.
    fn put_together(&self, hash: &str, parts: Parts) -> Result<Vec<u8>, trial::Finding> {
        let bytes = parts.into_values().flatten().take(MAX_FILE + 1).collect::<Vec<u8>>();
        let found = Package::read(&bytes).map_err(|r| (r.reason().to_owned(), r.to_string()))?.hash;
        if Hash::parse(hash) != Some(found) {
            let text = format!("the parts of {hash} make a release with hash {found}");
            return Err(("part_hash".to_owned(), text));
        }
        trial::run(&bytes, &self.keys).map(|()| bytes)
    }

    /// Reads what there is of the topics that matter now; whether all of them are there.
    fn look(&mut self) -> bool {
        let mut wanted = vec![self.topics.rollouts()];
        if !self.missing.is_empty() {
            wanted.push(self.topics.releases());
        }
        let mut places = BTreeSet::new();
        let mut complete = true;
        for topic in wanted {
            match self.partitions(&topic) {
                Ok(found) if !found.is_empty() => places.extend(found.into_iter().map(|p| (topic.clone(), p))),
                _ => complete = false,
            }
        }
        if complete && places != self.assigned {
            match self.assign(&places) {
                Ok(()) => self.assigned = places,
                Err(error) => {
                    tracing::warn!(%error, "cannot read releases; trying again");
                    complete = false;
                }
            }
        }
        complete
    }

    fn partitions(&self, topic: &str) -> Result<Vec<i32>, KafkaError> {
        let metadata = self.consumer.fetch_metadata(Some(topic), LOOK)?;
        let found = metadata.topics().iter().find(|t| t.name() == topic && t.error().is_none());
        Ok(found.map(|t| t.partitions().iter().map(|p| p.id()).collect()).unwrap_or_default())
    }

    fn assign(&self, places: &BTreeSet<Place>) -> Result<(), KafkaError> {
        let mut list = TopicPartitionList::new();
        for place in places {
            let from = self.seen.get(place).map_or(Offset::Beginning, |last| Offset::Offset(last + 1));
            list.add_partition_offset(&place.0, place.1, from)?;
        }
        self.consumer.assign(&list)
    }
}
