//! The uplink: records to Kafka and commands from it.
//!
//! Place in the flow: the core takes records from the outbox and hands them to [`Producer`]; delivery reports come back
//! as [`FromKafka`] and only then does the core delete them. [`inbox`] brings commands the other way.
//!
//! | file | holds |
//! |---|---|
//! | `connect` | client configuration, credentials, TLS, librdkafka's log lines |
//! | `producer` | the only file with a producer |
//! | `inbox` | commands; the other consumer is [`crate::release::fetch`] |
//!
//! Invariants:
//! - U1: each [`Outgoing`] that `send` accepted is reported exactly once, as delivered or as failed.
//! - U2: within a lane and key, records reach Kafka in the order in which `send` accepted them.
//! - U3: commands and progress of one partition are reported with rising offsets.
//!
//! It keeps nothing: whatever lies here when the process dies is still in the outbox. Kafka absent at start, or for days,
//! is normal and never an error.

mod connect;
pub mod inbox;
pub mod producer;

pub(crate) use connect::{Quiet, client};
pub use connect::{UplinkError, supported};
pub use inbox::Inbox;
pub use producer::{Producer, Report};

use fettle_wire::Lane;

/// One record for Kafka.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// The outbox lane.
    pub lane: Lane,
    /// The sequence within the lane.
    pub sequence: u64,
    /// The Kafka topic.
    pub topic: String,
    /// The key, which chooses the partition.
    pub key: String,
    /// The value, JSON.
    pub payload: Vec<u8>,
}

/// What the uplink tells the core. Called on the uplink's own threads: hand over and return.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromKafka {
    /// Kafka has the record on all in-sync replicas.
    Delivered {
        /// The outbox lane.
        lane: Lane,
        /// The sequence within the lane.
        sequence: u64,
    },
    /// Kafka has not taken the record, or its answer was lost. Send it again, in order, before any later one of its lane.
    Failed {
        /// The outbox lane.
        lane: Lane,
        /// The sequence within the lane.
        sequence: u64,
        /// What happened and what helps.
        reason: String,
        /// Sending this very record again cannot help (it is larger than Kafka takes).
        fatal: bool,
    },
    /// Whether at least one Kafka broker can be reached; told on each change.
    Connected(bool),
    /// A command for this agent. Store `offset` with what it caused.
    Command {
        /// Partition of the commands topic.
        partition: i32,
        /// Offset of this record.
        offset: i64,
        /// The record's value.
        payload: Vec<u8>,
    },
    /// Every record of `partition` up to and including `offset` has been seen, and the last ones were for other agents:
    /// store the offset when convenient. Told at most once for each 1,000 records or second of quiet.
    Progress {
        /// Partition of the commands topic.
        partition: i32,
        /// The last offset seen.
        offset: i64,
    },
    /// A class of machines is to run a release: JSON of [`fettle_wire::Rollout`].
    Rollout {
        /// The record's value.
        payload: Vec<u8>,
    },
    /// A release file that was asked for was found.
    Release {
        /// Its content hash, as asked for.
        hash: String,
        /// The file, once a child could open it; else why not: in one word, and for people.
        outcome: Result<Vec<u8>, (String, String)>,
    },
}
