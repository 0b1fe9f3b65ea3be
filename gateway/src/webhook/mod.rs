//! Tells another system of alarms: a webhook in Alertmanager's format, sent by whoever owns the alarm's partition.
//!
//! ```text
//!  alert --intake (owner)--> alarm record with its notices --one transaction--> Kafka fleet --> store
//!  store --sender (owner)--> HTTP receiver --2xx--> marks --intake (owner)--> the notice leaves the record
//! ```
//! N1: what is to be sent is part of the alarm's record, written in the transaction that applied the alert: it is made
//! once, survives every restart, and goes with the partition to its next owner.
//! N2: a notice leaves the record only after the receiver took it (2xx) or refused it for good (4xx). So each is sent at
//! least once; twice only where an owner is gone between the receiver's answer and the next transaction.
//! N3: an alarm that is shelved is not announced; the end of what was announced always is.
//! N4: at most [`notice::MOST`] notices wait for one alarm; beyond it the oldest are given up, and counted.

pub mod notice;
pub mod payload;
pub mod sender;
