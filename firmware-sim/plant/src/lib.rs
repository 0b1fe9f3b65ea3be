//! A simulated plant that speaks MQTT like real nodes: a seeded fleet of rotating machines, the faults of machines,
//! links and clocks, and an account of its own to hold against everyone else's.
//!
//! ```text
//! config -> fleet [ machine: profile, vibration, thermal, pressure, motor, shaft, bearing | fault ] -> truth, registry
//!                      | light: samples          | firmware: chip [ registers, FIFO | sensor fault ] <--buses-- drivers
//!                      v  (pure, deterministic by seed, both)                                                      |
//!           publish: station [ firmware Node, or Board with its drivers <------------------------------------------' ]
//!                      |   -> weather (late, double, lost, cut) -> client (rumqttc) -> broker
//!                      |             ^------------------- durable confirmations ---------'
//!                      '-> record, ledger
//! ```
//!
//! Everything left of `publish` is pure: no clock, no network; tests and benchmarks draw whole months from it.
#![forbid(unsafe_code)]

pub mod channel;
pub mod chip;
pub mod config;
pub mod fault;
pub mod fleet;
pub mod ledger;
pub mod life;
pub mod machine;
pub mod publish;
pub mod random;
pub mod record;
pub mod registry;
pub mod truth;

pub use channel::Channel;
pub use config::Config;
pub use fault::{Fault, Growth};
pub use fleet::Fleet;
pub use machine::{Machine, Sample};
