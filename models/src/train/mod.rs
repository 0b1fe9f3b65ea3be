//! Training of dense networks: small, exact, without dependencies, so that a site can do it beside everything else.
//!
//! Place in the flow: features of lives that ended -> [`Samples`] -> [`Trainer`] -> a [`crate::predict::network::Network`],
//! centrally and on an agent alike.
//!
//! T1: the same samples, plan and seed give the same bits, whether training ran through or was saved, killed and resumed.
//! T2: work between two calls is one mini-batch; memory is the samples' and a few times the network's.
//! It must never: read a clock or decide when to stop for lack of time; its caller does, between two mini-batches.

mod gradient;
pub mod random;
mod samples;
mod trainer;

use crate::predict::network::Network;
use gradient::Work;

pub use samples::Samples;
pub use trainer::{Plan, Progress, Trainer, random_network};

/// Mean squared error of a network over all rows; NaN without rows or where the widths differ.
pub fn loss(network: &Network, samples: &Samples) -> f64 {
    if samples.width() != network.inputs() {
        return f64::NAN;
    }
    2.0 * Work::default().loss(network, samples) / samples.len() as f64
}
