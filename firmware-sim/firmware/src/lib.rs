//! What a sensor node runs: chips are read, readings and waveform blocks become frames, frames wait in a ring until the
//! agent has confirmed them durable.
//!
//! `no_std` with `alloc`: no clock, no network, no randomness. Whoever embeds it (the simulated plant, or a board through
//! `firmware-sim/image`) passes the time and the buses in, carries the [`Action`]s out and reports what became of them as
//! [`Event`]s:
//!
//! ```text
//! chips on SPI, I2C --> Board [ sensor/<chip> ] --reading, block--> Node [ batch -> ring -> link ] --Publish--> MQTT
//!                                                                           ^                ^---- room, acknowledged,
//!                                                                           |                      refused, broken
//!                                                                           '---- durable confirmation
//! ```
//!
//! - F1: a frame leaves the ring only because a durable confirmation covers it, because the ring overflowed (oldest
//!   first), or because no transport can ever carry it. Each way is counted, and the sums balance.
//! - F2: every frame that is sent carries the `oldest` of the moment it is sent, not of the moment it was made.
//! - F3: a broker's acknowledgement frees nothing.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod board;
pub mod link;
pub mod node;
pub mod ring;
pub mod sensor;

pub use board::{Board, BoardSettings, Chips};
pub use link::{Action, Destination, Event, LinkSettings};
pub use node::{Account, Block, Clock, Node, NodeSettings};
pub use ring::Ring;
pub use sensor::{Reason, SensorError};
