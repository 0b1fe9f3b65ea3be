//! The firmware's board on the simulated chips, without a network: what the chips say on the bus, what the physics put
//! into the samples, what faults of sensors and power make of it.
#![expect(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

mod chips;
mod faults;
mod physics;
mod support;
mod waveform;
