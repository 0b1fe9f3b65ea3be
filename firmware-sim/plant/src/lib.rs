//! A simulated plant that speaks MQTT like real nodes: a seeded fleet of rotating machines, the faults of machines,
//! links and clocks, and an account of its own to hold against everyone else's.
//!
//! ```text
//! config -> fleet [ machine: profile, vibration, thermal, pressure, motor | fault ] -> truth, registry
//!                      | samples (pure, deterministic by seed)
//!                      v
//!           publish: station [ firmware Node ] -> weather (late, double, lost, cut) -> client (rumqttc) -> broker
//!                      |             ^------------------- durable confirmations ----------------'
//!                      '-> record, ledger
//! ```
//!
//! Everything left of `publish` is pure: no clock, no network; tests and benchmarks draw whole months from it.
#![forbid(unsafe_code)]

pub mod channel;
pub mod config;
pub mod fault;
pub mod fleet;
pub mod ledger;
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
