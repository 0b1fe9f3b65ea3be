//! Acquisition: how readings enter the agent over MQTT, and how confirmations leave it.
//!
//! Place in the flow: broker -> `session` (one task on a current-thread runtime) -> [`FromBroker`] -> the core, which
//! journals a batch and answers with [`ToBroker`] -> `session` -> broker. `template` and `payload` are pure: they turn a
//! foreign publisher's topic and JSON into asset, channel and values; the core calls them.
//!
//! | file | holds |
//! |---|---|
//! | `session` | the task: connecting, back-off, what the core is told |
//! | `link` | one connection: reading and writing |
//! | `socket` | TCP and TLS |
//! | `packet` | the MQTT 5 packets; the only file that knows rumqttc's codec |
//! | `ticket` | which message may still be acknowledged, and with which packet id |
//! | `pending` | confirmations on their way out: the latest of each topic |
//! | `template`, `payload`, `instant` | foreign publishers |
//!
//! Invariants:
//! - A1: a PUBACK leaves only for a ticket that the core acknowledged, at most once, on the connection that delivered it.
//! - A2: messages reach the core in the order of their tickets; a ticket is never given twice.
//! - A3: what waits here is bounded: one batch towards the core, one confirmation for each topic towards the broker.
//!
//! It must never acknowledge by itself, and never wait for the core while acknowledgements lie ready to be sent.

mod instant;
mod link;
mod packet;
pub mod payload;
mod pending;
pub mod session;
mod socket;
pub mod template;
mod ticket;

use bytes::Bytes;

/// One message from the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inbound {
    /// Its number, counted from 1 in the order of arrival over the life of the task. Acknowledge by it.
    pub ticket: u64,
    /// The topic. Bytes that are not UTF-8 are replaced (such a topic matches nothing).
    pub topic: String,
    /// The payload; empty where `oversize` says so.
    pub payload: Bytes,
    /// The broker marks it as handed out before (DUP). Its earlier copy may or may not have been journaled.
    pub redelivered: bool,
    /// The packet was larger than the configured limit, by a broker that does not respect it: this many bytes were read
    /// and thrown away. Count it as `oversized` and acknowledge it.
    pub oversize: Option<usize>,
}

/// What the session tells the core.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromBroker {
    /// Messages in the order of arrival, at least one.
    Messages(Vec<Inbound>),
    /// The broker has forgotten the session (it was restarted without persistence, or the session expired): what it had
    /// not yet handed out is gone. Comes before [`FromBroker::Connected`], never at the first connection.
    SessionLost,
    /// Connected, and subscribed or about to be.
    Connected {
        /// Whether the broker kept the session.
        session_present: bool,
    },
    /// The connection ended, or the first attempt failed; told again only when the reason changes.
    Disconnected {
        /// What happened and what helps.
        reason: String,
    },
}

/// What the core tells the session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToBroker {
    /// These tickets are on disk: send their PUBACK, in this order. Tickets of an earlier connection are void and ignored.
    Acknowledge(Vec<u64>),
    /// Publish with QoS 1. Only the latest payload of a topic is kept while the broker is away or slow.
    Publish {
        /// The topic.
        topic: String,
        /// The payload.
        payload: Vec<u8>,
        /// Whether the broker retains it.
        retain: bool,
    },
}
