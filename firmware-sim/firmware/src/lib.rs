//! What a sensor node runs: readings become frames, frames wait in a ring until the agent has confirmed them durable.
//!
//! `no_std` with `alloc`, and pure: no clock, no network, no randomness. Whoever embeds it (the simulated plant today,
//! a board tomorrow) passes the time in, carries the [`Action`]s out and reports what became of them as [`Event`]s:
//!
//! ```text
//! sensor --reading--> Node [ batch -> ring -> link ] --Action::Publish--> MQTT client
//!                              ^                 ^------Event: room, acknowledged, refused, lost connection
//!                              '-----------------------Event: durable confirmation
//! ```
//!
//! - F1: a frame leaves the ring only because a durable confirmation covers it, because the ring overflowed (oldest
//!   first), or because no transport can ever carry it. Each way is counted, and the sums balance.
//! - F2: every frame that is sent carries the `oldest` of the moment it is sent, not of the moment it was made.
//! - F3: a broker's acknowledgement frees nothing.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod link;
pub mod node;
pub mod ring;

pub use link::{Action, Event, LinkSettings};
pub use node::{Account, Clock, Node, NodeSettings};
pub use ring::Ring;
