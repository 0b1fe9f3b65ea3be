//! What the consumer group tells while the consumer is polled: partitions given and taken.
//!
//! The callbacks only note it; the session acts on it after the poll, on the same thread. Newly given partitions are
//! paused at once, so that nothing is read before their state is here.

use std::sync::{Mutex, PoisonError};

use rdkafka::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::KafkaError;

use crate::kafka::Quiet;

/// Partitions given and taken, as the group told while the consumer was polled.
#[derive(Default)]
pub(super) struct Rebalances {
    quiet: Quiet,
    pending: Mutex<Vec<Event>>,
}

pub(super) enum Event {
    /// These partitions are ours, and paused.
    Assigned(Vec<(String, i32)>),
    /// No partition is ours any more.
    Revoked,
}

impl Rebalances {
    fn push(&self, event: Event) {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner).push(event);
    }

    pub(super) fn take(&self) -> Vec<Event> {
        std::mem::take(&mut *self.pending.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ClientContext for Rebalances {
    fn log(&self, level: rdkafka::config::RDKafkaLogLevel, facility: &str, message: &str) {
        self.quiet.log(level, facility, message);
    }
    fn error(&self, error: KafkaError, reason: &str) {
        self.quiet.error(error, reason);
    }
}

impl ConsumerContext for Rebalances {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if !matches!(rebalance, Rebalance::Assign(_)) {
            self.push(Event::Revoked);
        }
    }

    fn post_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let Rebalance::Assign(list) = rebalance else { return };
        // Nothing is read before the partition's state is here.
        if let Err(error) = consumer.pause(list) {
            tracing::warn!(%error, "newly assigned partitions cannot be paused");
        }
        let given = list.elements().iter().map(|e| (e.topic().to_owned(), e.partition())).collect();
        self.push(Event::Assigned(given));
    }
}
