//! Claims about the engine, each through its public face only.
//!
//! `plant` makes readings and runs them; every other file holds the claims of one kind.
#![allow(clippy::unwrap_used, reason = "in a test, what cannot be had ends the test")]

mod alarm;
mod door;
mod life;
mod order;
mod plant;
mod script;
mod state;
mod time;
mod waveform;
