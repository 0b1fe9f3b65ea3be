//! Indicators from waveform blocks: what a node samples fast enough to hear single impacts.
//!
//! Place in the flow: the engine hands over one block at a time ([`block::Block`]); the numbers that come back become
//! readings of derived channels and go the way of every reading. In order:
//!
//! ```text
//! block -> judged (block) -> moments (time) -> spectrum, band energies (spectrum)
//!    \-> joined with the blocks before it (block::Run) -> envelope of the most impulsive octave (envelope)
//!            -> lines at the bearing's frequencies (bearing)
//! ```
//!
//! V1: an analysis is a function of the block, the run it belongs to, the shaft's speed and the geometry. What an
//! [`Analyser`] keeps between calls (plans, windows, buffers) changes no result.
//! V2: memory is bounded: a run holds at most [`MAX_SAMPLES`] samples, transforms have at most that many points.
//! V3: a result is finite, or it is absent; a block that cannot be trusted gives none and says why ([`Fault`]).
//!
//! Two builds or two kinds of CPU may differ in the last bits: the transforms choose the processor's instructions.

pub mod analyse;
pub mod bearing;
pub mod block;
pub mod envelope;
pub mod spectrum;
pub mod time;

pub use analyse::{Analyser, Analysis, Picture};
pub use bearing::{BearingGeometry, Defect};
pub use block::{Block, Fault, Run};

/// The fewest samples of a block: below, kurtosis and spectrum say nothing.
pub const MIN_SAMPLES: usize = 256;
/// The most samples of a block, and of a run of joined blocks.
pub const MAX_SAMPLES: usize = 16_384;
/// Sampling rates that are taken, Hz.
pub const RATES: (f64, f64) = (100.0, 1_000_000.0);
