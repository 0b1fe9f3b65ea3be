//! Condition indicators: numbers computed from a window.
//!
//! Place in the flow: between windows and whoever reads a health record. Moment indicators only, so far; indicators
//! from waveforms join as files beside `moment`.

pub mod moment;
