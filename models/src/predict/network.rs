//! A dense network: flat f32 tensors per layer, rectified linear between layers, linear at the end.
//!
//! Place in the flow: trained by [`crate::train`], written as ONNX by [`super::onnx`], changed by federated updates tensor
//! by tensor. [`Network::evaluate`] is the reference that another runtime is compared with.
//!
//! N1: every tensor has exactly the size its layer's shape says; checked when a network enters ([`Network::check`]).

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// One layer: `weights` is outputs x inputs, row by row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Layer {
    /// Numbers that come in.
    pub inputs: usize,
    /// Numbers that go out.
    pub outputs: usize,
    /// Weights, one row for each output.
    pub weights: Vec<f32>,
    /// One bias for each output.
    pub biases: Vec<f32>,
}

/// Layers in order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Network {
    /// At least one.
    pub layers: Vec<Layer>,
}

/// Why a network is none.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum NetworkError {
    /// There is no layer, or one without inputs or outputs.
    #[error("the network has no layer, or an empty one")]
    Empty,
    /// A tensor's size contradicts the shape.
    #[error("layer {layer}: {found} numbers where {inputs} inputs and {outputs} outputs are declared")]
    Size {
        /// Which layer, from 0.
        layer: usize,
        /// Declared inputs.
        inputs: usize,
        /// Declared outputs.
        outputs: usize,
        /// Numbers found.
        found: usize,
    },
    /// A layer does not take what the one before gives.
    #[error("layer {layer} takes {inputs} numbers, the one before gives {before}")]
    Joint {
        /// Which layer, from 0.
        layer: usize,
        /// What it takes.
        inputs: usize,
        /// What the one before gives.
        before: usize,
    },
    /// A weight is not finite.
    #[error("layer {layer} holds a number that is not finite")]
    NotFinite {
        /// Which layer, from 0.
        layer: usize,
    },
}

impl Network {
    /// Checks N1, the joints between layers and that every number is finite.
    ///
    /// # Errors
    /// The first contradiction.
    pub fn check(&self) -> Result<(), NetworkError> {
        let mut before = None;
        for (layer, l) in self.layers.iter().enumerate() {
            if l.inputs == 0 || l.outputs == 0 {
                return Err(NetworkError::Empty);
            }
            let sizes = [(l.inputs.checked_mul(l.outputs), l.weights.len()), (Some(l.outputs), l.biases.len())];
            if let Some((_, found)) = sizes.into_iter().find(|(wanted, found)| *wanted != Some(*found)) {
                return Err(NetworkError::Size { layer, inputs: l.inputs, outputs: l.outputs, found });
            }
            if let Some(before) = before.filter(|before| *before != l.inputs) {
                return Err(NetworkError::Joint { layer, inputs: l.inputs, before });
            }
            if l.weights.iter().chain(&l.biases).any(|w| !w.is_finite()) {
                return Err(NetworkError::NotFinite { layer });
            }
            before = Some(l.outputs);
        }
        before.map(|_| ()).ok_or(NetworkError::Empty)
    }

    /// Numbers that go in.
    pub fn inputs(&self) -> usize {
        self.layers.first().map_or(0, |l| l.inputs)
    }

    /// Weights and biases altogether.
    pub fn parameters(&self) -> usize {
        self.tensors().map(<[f32]>::len).sum()
    }

    /// The tensors in order: weights and biases of the first layer, of the second, ... Updates and statistics are taken
    /// tensor by tensor in this order.
    pub fn tensors(&self) -> impl Iterator<Item = &[f32]> {
        self.layers.iter().flat_map(|l| [&l.weights[..], &l.biases[..]])
    }

    /// The same, to be changed.
    pub fn tensors_mut(&mut self) -> impl Iterator<Item = &mut [f32]> {
        self.layers.iter_mut().flat_map(|l| [&mut l.weights[..], &mut l.biases[..]])
    }

    /// The first output for one row of inputs.
    pub fn evaluate(&self, row: &[f32]) -> f32 {
        let mut now = row.to_vec();
        for (i, layer) in self.layers.iter().enumerate() {
            let last = i + 1 == self.layers.len();
            let weights = layer.weights.chunks_exact(layer.inputs);
            let next = weights.zip(&layer.biases).map(|(w, b)| {
                let sum = b + dot(w, &now);
                if last { sum } else { sum.max(0.0) }
            });
            now = next.collect();
        }
        now.first().copied().unwrap_or(f32::NAN)
    }
}

/// Eight partial sums, so that the processor need not wait for each addition.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 8;
    let mut sums = [0f32; LANES];
    let (a_chunks, b_chunks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest: f32 = a_chunks.remainder().iter().zip(b_chunks.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a_chunks.zip(b_chunks) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    sums.iter().sum::<f32>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(inputs: usize, outputs: usize, weights: &[f32], biases: &[f32]) -> Layer {
        Layer { inputs, outputs, weights: weights.to_vec(), biases: biases.to_vec() }
    }

    #[test]
    fn the_output_agrees_with_a_calculation_by_hand() {
        let layers = vec![layer(2, 2, &[1.0, -1.0, 0.5, 2.0], &[0.0, -1.0]), layer(2, 1, &[3.0, -2.0], &[0.25])];
        let network = Network { layers };
        network.check().unwrap();
        // Hidden: max(0, 1 - 2) = 0, max(0, 0.5 + 4 - 1) = 3.5; out: -7 + 0.25.
        assert_eq!(network.evaluate(&[1.0, 2.0]), -6.75);
        assert_eq!(network.parameters(), 9);
    }

    #[test]
    fn a_contradiction_is_found_before_use() {
        let good = layer(2, 1, &[1.0, 2.0], &[0.0]);
        let check = |layers: Vec<Layer>| Network { layers }.check();
        assert_eq!(check(vec![]), Err(NetworkError::Empty));
        assert!(matches!(check(vec![layer(2, 1, &[1.0], &[0.0])]), Err(NetworkError::Size { found: 1, .. })));
        assert!(matches!(check(vec![good.clone(), good]), Err(NetworkError::Joint { layer: 1, .. })));
        let nan = layer(1, 1, &[f32::NAN], &[0.0]);
        assert_eq!(check(vec![nan]), Err(NetworkError::NotFinite { layer: 0 }));
        let huge = Layer { inputs: usize::MAX, outputs: 2, weights: vec![], biases: vec![] };
        assert!(matches!(check(vec![huge]), Err(NetworkError::Size { .. })));
    }
}
