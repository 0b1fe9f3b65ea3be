//! Intake: from a Kafka record to a change of what is known, exactly once.
//!
//! `record` decodes, `seen` recognises what was known already, `apply` changes the state (all three pure), and
//! `consumer` carries it out: batches, the transaction with the offsets, hand-over of partitions.

pub mod apply;
pub mod consumer;
mod group;
pub mod record;
pub mod seen;
