//! The contract between fettle's processes: every type that crosses a process boundary, its codec, its topic names.
//!
//! Nothing here does I/O, reads a clock or keeps state. `no_std` with `alloc`, so that firmware and servers share one
//! definition. Growth rule: fields are only added at the end, unknown ones are skipped, one version older and newer
//! is read. Decoders take bytes from strangers: typed targets, bounded sizes and depth, never a panic.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod alert;
pub mod cbor;
pub mod command;
pub mod confirm;
pub mod frame;
pub mod health;
pub mod id;
pub mod json;
pub mod ledger;
pub mod record;
pub mod time;
pub mod topic;
pub mod unit;

pub use alert::{Alert, AlarmState, Change, Priority};
pub use command::{Command, Request};
pub use confirm::Durable;
pub use frame::{Frame, Quality, Waveform};
pub use health::{Contribution, Health, Indicator, NoVerdict, Rul, Verdict};
pub use id::{Name, NameError};
pub use ledger::{LedgerEntry, NodeAccount, Tally};
pub use record::{Envelope, Identity, Lane, RecordId};
pub use time::{Arrival, ClockQuality, Micros};
pub use unit::Unit;

/// The schema version this build writes. Readers accept one older and one newer.
pub const SCHEMA_VERSION: u8 = 1;

/// Whether a reader of this build accepts what a writer of schema `version` wrote.
pub const fn accepts_version(version: u8) -> bool {
    version.saturating_add(1) >= SCHEMA_VERSION && version <= SCHEMA_VERSION + 1
}
