//! `fettle-gateway`: where all sites come together on Kafka. Intake, fleet state, alarms, commands, API.
//!
//! ```text
//!  Kafka alerts, health, ledger --> intake (owner of a partition) --one transaction with the offsets--> Kafka fleet
//!  Kafka alerts, health, commands --> history (every instance, whole, LMDB) --> api --> people
//!  Kafka fleet, commands --> fleet::changelog (every instance, whole) --> fleet::store (LMDB) --> api --> people
//!  api --> commands --> Kafka commands --> agents
//! ```
//! G1: what the intake knows changes only together with the consumer's offsets, in one Kafka transaction.
//! G2: applying a record again changes nothing but the count of duplicates.
//! G3: the store is a copy: whatever happens to it, reading the fleet topic from the start rebuilds it.
//! G4: a record that cannot be used is counted with its reason and passed; it never stops a partition.
//! G5: equal id with different content is a conflict: the first stays, the conflict is counted and shown.
//!
//! Must never: keep in memory alone what another instance would need; answer from anything but the stores.
#![deny(unsafe_code)]

pub mod alarms;
pub mod api;
pub mod clock;
pub mod commands;
pub mod config;
pub mod events;
pub mod fleet;
pub mod history;
pub mod intake;
pub mod kafka;
pub mod lag;
pub mod live;
pub mod lmdb;
pub mod pace;
pub mod requests;
pub mod run;
pub mod status;
pub mod topics;

pub use config::Config;
