//! The contract between fettle's processes: every type that crosses a process boundary, its codec, its topic names.
//!
//! A node's frame comes in as CBOR over MQTT ([`frame`]) and is confirmed by [`confirm`]; what happened to a machine comes
//! the same way ([`event`]); what the agent concludes goes
//! out as JSON over Kafka: an [`alert`], [`health`], [`ledger`] or [`evidence`] body inside the envelope of [`record`]; a [`command`]
//! comes back. [`id`], [`time`] and [`unit`] are the words they are written in, [`topic`] says where they travel,
//! [`cbor`] and [`json`] are the two codecs.
//!
//! - Nothing here does I/O, reads a clock or keeps state. `no_std` with `alloc`, so that firmware and servers share one
//!   definition; no feature of ours turns `std` on.
//! - Growth: fields are only added, at the end, and with `#[serde(default)]`; unknown ones are skipped; one version
//!   older and newer is read. An enum is closed: a new variant of an old enum can only be sent once every reader knows
//!   it, so it takes a version that announces it and a later one that sends it.
//! - Decoders take bytes from strangers: typed targets, bounded sizes and depth, memory a small multiple of the input
//!   (`tests/hostile.rs` measures it), never a panic.
//! - What has been written stays readable: `testdata/v1/` is decoded by a test for ever, and `schema/` is what readers
//!   without Rust may rely on.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod alert;
pub mod cbor;
pub mod command;
pub mod confirm;
pub mod event;
pub mod evidence;
pub mod frame;
pub mod health;
pub mod id;
pub mod json;
pub mod ledger;
pub mod record;
pub mod release;
pub mod time;
pub mod topic;
pub mod unit;

pub use alert::{AlarmState, Alert, Change, Label, Priority};
pub use command::{Command, Request};
pub use confirm::Durable;
pub use event::{AssetEvent, EventKind};
pub use evidence::{Evidence, Occasion};
pub use frame::{Frame, Quality, Waveform};
pub use health::{Contribution, Health, Indicator, NoVerdict, Rul, RulContribution, Verdict};
pub use id::{Name, NameError};
pub use ledger::{LedgerEntry, NodeAccount, Tally};
pub use record::{Envelope, Identity, Lane, RecordId};
pub use release::{Mode, ReleasePart, ReleaseRef, Rollout};
pub use time::{Arrival, ClockQuality, Micros};
pub use unit::Unit;

/// The schema version this build writes. Readers accept one older and one newer.
pub const SCHEMA_VERSION: u8 = 1;

/// Whether a reader of this build accepts what a writer of schema `version` wrote.
pub const fn accepts_version(version: u8) -> bool {
    version.abs_diff(SCHEMA_VERSION) <= 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_version_older_and_newer_is_read_and_no_other() {
        let accepted: alloc::vec::Vec<u8> = (0..=u8::MAX).filter(|v| accepts_version(*v)).collect();
        assert_eq!(accepted, [SCHEMA_VERSION - 1, SCHEMA_VERSION, SCHEMA_VERSION + 1]);
    }
}
