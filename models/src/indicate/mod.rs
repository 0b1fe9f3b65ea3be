//! Condition indicators: numbers computed from a window or from a waveform.
//!
//! Place in the flow: `moment` stands between windows and whoever reads a health record; `waveform` before windows, since
//! what it computes of a block becomes readings.

pub mod moment;
pub mod waveform;
