//! The history: what the fleet's condition was, for people who look back.
//!
//! ```text
//!  Kafka health, alerts, evidence, commands --> reader (every instance, whole, no group)
//!                                        |--one commit with the offsets--> store (LMDB)
//!                                        \--> live (events to open pages)          store --> query --> api --> people
//! ```
//! Three resolutions of every series of an asset: the records themselves (7 days), minutes (90 days), hours (5 years),
//! each point with count, mean, least, largest and last value. Beside them every alert with its evidence (90 days) and
//! every command (the audit log), and evidence: waveforms with their spectra, bounded by number, days and bytes.
//!
//! H1: the offsets up to which Kafka was read change only together with what was read, in one commit.
//! H2: event time decides where a point lies, so the order of arrival changes nothing; a revision replaces its window.
//! H3: as long as the finer points are kept, a coarser one is computed from them, never added to: a record that is read
//!     again changes nothing.
//! H4: the store is bounded by days and by bytes; what is given up to stay within the bytes is the finest and oldest
//!     first, and counted. Evidence has a share of its own, so that neither costs the other its room.
//! H5: what has no place in the history is counted with its reason.
//!
//! Values are kept as 32-bit floats (7 digits): the history is for looking at; whoever computes reads Kafka.
//! Must never: be needed by the intake or by an alarm; hold up either.

pub mod audit;
pub mod chunk;
pub mod evidence;
pub mod keep;
pub mod log;
pub mod names;
pub mod point;
pub mod query;
pub mod reader;
pub mod store;

pub use store::{History, HistoryError};
