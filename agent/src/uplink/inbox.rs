//! The inbox: commands for this agent, from Kafka. The only file with a consumer.
//!
//! Place in the flow: `<prefix>.commands` -> [`FromKafka::Command`] -> core, which journals it. The agent keeps its own
//! offsets in its store, in the transaction of what a command caused, so there is no consumer group: all partitions are
//! assigned, each from the record after the stored one, or from the beginning (the topic keeps 30 days) where none is stored.
//!
//! - Records with another key than `site/agent` are not handed over; so that the stored offset still moves,
//!   [`FromKafka::Progress`] tells of them after [`PROGRESS`] such records, or a second after the last.
//! - The topic may be absent for ever, and Kafka too: both are asked for again every few seconds.
//! - An offset that Kafka no longer has (expired, or the topic was made anew) leads to the earliest that it has. Offsets then
//!   fall once; commands know themselves by id.
//!
//! It never commits to Kafka and never judges a command.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use fettle_wire::topic::KafkaTopics;
use rdkafka::Offset;
use rdkafka::TopicPartitionList;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;

use super::FromKafka;
use super::connect::{self, Quiet, UplinkError};
use super::producer::Report;
use crate::config::checked::KafkaConfig;

/// Records of others after which the offset is told.
const PROGRESS: u32 = 1_000;
/// How long one turn waits for a record.
const POLL: Duration = Duration::from_millis(100);
/// Quiet turns after which the offset is told: a second.
const QUIET_TURNS: u32 = 10;
/// Turns between two looks at the topic's partitions: a minute, or five seconds while there are none.
const LOOK_TURNS: (u32, u32) = (600, 50);
/// How long a look may take.
const LOOK: Duration = Duration::from_secs(2);

/// The inbox. Dropping it stops it.
pub struct Inbox {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Inbox {
    /// Starts reading commands with key `key` (see `fettle_wire::topic::command_key`). `stored` has the last offset of each
    /// partition that the agent has dealt with.
    pub fn new(
        config: &KafkaConfig,
        key: String,
        stored: BTreeMap<i32, i64>,
        report: Report,
    ) -> Result<Self, UplinkError> {
        let mut client = connect::client(config)?;
        // librdkafka wants a group even where none is joined and nothing is committed.
        client.set("group.id", format!("fettle-agent-{}", key.replace('/', "-")));
        client.set("enable.auto.commit", "false");
        client.set("enable.auto.offset.store", "false");
        client.set("auto.offset.reset", "earliest");
        client.set("queued.max.messages.kbytes", "1024");
        client.set("fetch.wait.max.ms", "500");
        let consumer = BaseConsumer::from_config_and_context(&client, Quiet)?;
        let stop = Arc::new(AtomicBool::new(false));
        let topic = KafkaTopics::new(config.prefix.clone()).commands();
        let reader = Reader { consumer, topic, key, stored, assigned: Vec::new(), others: BTreeMap::new(), report };
        let told = Arc::clone(&stop);
        let thread = thread::Builder::new().name("kafka-inbox".into()).spawn(move || reader.run(&told))?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been told by the panic hook.
            let _ = thread.join();
        }
    }
}

struct Reader {
    consumer: BaseConsumer<Quiet>,
    topic: String,
    key: String,
    /// The last offset seen, by partition.
    stored: BTreeMap<i32, i64>,
    /// Partitions that are read, ascending.
    assigned: Vec<i32>,
    /// Partitions with records of others that were not told yet: last offset, how many.
    others: BTreeMap<i32, (i64, u32)>,
    report: Report,
}

impl Reader {
    fn run(mut self, stop: &AtomicBool) {
        let (mut quiet, mut until_look) = (0, 0);
        while !stop.load(Ordering::Relaxed) {
            if until_look == 0 {
                self.look();
                until_look = if self.assigned.is_empty() { LOOK_TURNS.1 } else { LOOK_TURNS.0 };
            }
            match self.turn() {
                Turn::Record => quiet = 0,
                Turn::Quiet => {
                    quiet += 1;
                    until_look -= 1;
                }
                Turn::Look => {
                    thread::sleep(POLL);
                    until_look = until_look.min(LOOK_TURNS.1);
                }
            }
            self.tell(quiet >= QUIET_TURNS);
        }
    }

    fn turn(&mut self) -> Turn {
        let (partition, offset, ours, payload) = match self.consumer.poll(POLL) {
            None => return Turn::Quiet,
            Some(Err(error)) => {
                tracing::debug!(%error, topic = self.topic, "cannot read commands at the moment");
                return Turn::Look;
            }
            Some(Ok(record)) => {
                let ours = record.key() == Some(self.key.as_bytes());
                let payload = record.payload().filter(|_| ours).map(<[u8]>::to_vec);
                (record.partition(), record.offset(), ours, payload)
            }
        };
        self.stored.insert(partition, offset);
        if let Some(payload) = payload.filter(|_| ours) {
            self.others.remove(&partition);
            (self.report)(FromKafka::Command { partition, offset, payload });
        } else {
            let entry = self.others.entry(partition).or_default();
            *entry = (offset, entry.1 + 1);
        }
        Turn::Record
    }

    /// Tells how far records of others were skipped: all of it when it is quiet, else where they are many.
    fn tell(&mut self, quiet: bool) {
        let due = |count: u32| quiet || count >= PROGRESS;
        let report = &self.report;
        self.others.retain(|partition, (offset, count)| {
            let due = due(*count);
            if due {
                report(FromKafka::Progress { partition: *partition, offset: *offset });
            }
            !due
        });
    }

    /// Asks which partitions there are, and reads new ones too.
    fn look(&mut self) {
        match self.partitions() {
            Ok(partitions) if partitions != self.assigned => {
                if let Err(error) = self.assign(&partitions) {
                    tracing::warn!(%error, topic = self.topic, "cannot read commands; trying again");
                    return;
                }
                tracing::info!(topic = self.topic, partitions = partitions.len(), "reading commands");
                self.assigned = partitions;
            }
            Ok(_) => {}
            Err(error) => tracing::debug!(%error, topic = self.topic, "Kafka does not answer; trying again"),
        }
    }

    /// Existing partitions, ascending; those read so far if the topic cannot be seen.
    fn partitions(&self) -> Result<Vec<i32>, KafkaError> {
        let metadata = self.consumer.fetch_metadata(Some(&self.topic), LOOK)?;
        let topic = metadata.topics().iter().find(|topic| topic.name() == self.topic && topic.error().is_none());
        let mut partitions: Vec<i32> = match topic {
            Some(topic) => topic.partitions().iter().map(|partition| partition.id()).collect(),
            None => self.assigned.clone(),
        };
        partitions.sort_unstable();
        Ok(partitions)
    }

    fn assign(&self, partitions: &[i32]) -> Result<(), KafkaError> {
        let mut list = TopicPartitionList::new();
        for partition in partitions {
            let from = self.stored.get(partition).map_or(Offset::Beginning, |last| Offset::Offset(last + 1));
            list.add_partition_offset(&self.topic, *partition, from)?;
        }
        self.consumer.assign(&list)
    }
}

enum Turn {
    Record,
    Quiet,
    Look,
}
