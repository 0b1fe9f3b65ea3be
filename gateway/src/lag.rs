//! Measures how far the group is behind: committed offsets against the ends of the partitions, for the whole group,
//! whichever instance owns what. A thread of its own, because a Kafka that does not answer must hold up nothing else.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Offset, TopicPartitionList};

use crate::clock;
use crate::config::Kafka;
use crate::kafka::{self, LinkError, Quiet};
use crate::pace::Stop;
use crate::status::{Lag, PartitionLag, Status};

/// How often it is measured.
const EVERY: Duration = Duration::from_secs(5);
/// How long one question may take.
const CALL: Duration = Duration::from_secs(5);

/// Measures until stopped.
pub struct Monitor {
    /// How Kafka is reached.
    pub kafka: Kafka,
    /// Where it is shown.
    pub status: Arc<Status>,
    /// When to end.
    pub stop: Stop,
}

impl Monitor {
    /// Runs until stopped.
    pub fn run(self) {
        // Made once: it never joins the group, it only asks what the group has committed.
        let made = kafka::consumer(&self.kafka, "lag", &self.kafka.group)
            .and_then(|config| Ok(config.create_with_context::<_, BaseConsumer<Quiet>>(Quiet)?));
        let consumer = match made {
            Ok(consumer) => consumer,
            Err(error) => {
                tracing::error!(%error, "the lag cannot be measured");
                self.status.set_lag_error(error.to_string());
                return;
            }
        };
        loop {
            match measure(&consumer, &self.kafka, &self.stop) {
                Ok(Some(lag)) => self.status.set_lag(lag),
                Ok(None) => {}
                Err(error) => self.status.set_lag_error(error.to_string()),
            }
            if self.stop.wait(EVERY) {
                return;
            }
        }
    }
}

/// `None`: it is time to end.
fn measure(consumer: &BaseConsumer<Quiet>, kafka: &Kafka, stop: &Stop) -> Result<Option<Lag>, LinkError> {
    let topics = kafka.topics();
    let mut list = TopicPartitionList::new();
    for topic in [topics.alerts(), topics.health(), topics.ledger()] {
        for partition in 0..kafka::partitions(consumer, &topic)? {
            list.add_partition(&topic, partition);
        }
    }
    let committed = consumer.committed_offsets(list, CALL)?;
    let mut lag = Lag::default();
    for element in committed.elements() {
        if stop.is_set() {
            return Ok(None);
        }
        let (start, end) = consumer.fetch_watermarks(element.topic(), element.partition(), CALL)?;
        let committed = match element.offset() {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        };
        let behind = behind(start, end, committed);
        lag.total = lag.total.saturating_add(behind);
        let (topic, partition) = (element.topic().to_owned(), element.partition());
        lag.partitions.push(PartitionLag { topic, partition, committed, end, lag: behind });
    }
    lag.measured_at = Some(clock::wall());
    Ok(Some(lag))
}

/// Before the first commit everything that the partition still holds is to be read.
fn behind(start: i64, end: i64, committed: Option<i64>) -> i64 {
    end.saturating_sub(committed.unwrap_or(start).max(start)).max(0)
}

#[cfg(test)]
mod tests {
    use super::behind;

    #[test]
    fn lag_counts_what_can_still_be_read() {
        assert_eq!(behind(0, 10, Some(4)), 6);
        assert_eq!(behind(3, 10, None), 7);
        assert_eq!(behind(8, 10, Some(4)), 2, "what was deleted cannot be read any more");
        assert_eq!(behind(0, 0, Some(4)), 0, "a topic made again");
    }
}
