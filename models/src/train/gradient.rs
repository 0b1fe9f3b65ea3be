//! Forward and backward through a dense network for one mini-batch, feature by feature so that the processor's lanes run
//! over rows. Checked against finite differences.
//!
//! Layout: a matrix of n numbers for each of `BLOCK` rows is n runs of `BLOCK` numbers. Rows beyond the batch's end are
//! zeros with a zero error, and so without effect.

use super::random::Random;
use super::samples::Samples;
use crate::predict::network::{Layer, Network};

/// Rows worked on at once; a mini-batch is a multiple.
pub(super) const BLOCK: usize = 64;
/// Rows that one set of accumulators holds.
const LANES: usize = 16;

/// Intermediate results, kept between mini-batches to save their allocation.
#[derive(Debug, Clone, Default)]
pub(super) struct Work {
    /// Input of each layer, and the last one's output.
    values: Vec<Vec<f32>>,
    /// Error at the output of a layer, and at its input.
    error: Vec<f32>,
    error_before: Vec<f32>,
    transposed: Vec<f32>,
}

impl Work {
    /// Adds the gradient of the sum of (output - target)^2 / 2 over the given rows to `gradient`; returns that sum.
    pub(super) fn backward(
        &mut self,
        network: &Network,
        samples: &Samples,
        rows: &[u32],
        (noise, mut random): (f32, Random),
        gradient: &mut Network,
    ) -> f64 {
        let mut sum = 0.0;
        for block in rows.chunks(BLOCK) {
            self.gather(network, samples, block);
            if noise > 0.0 {
                disturb(&mut self.values[0], noise, &mut random);
            }
            self.forward(network);
            sum += self.output_error(samples, block);
            for l in (0..network.layers.len()).rev() {
                self.layer_gradient(l, &mut gradient.layers[l]);
                if l > 0 {
                    self.pass_back(&network.layers[l], l);
                }
            }
        }
        sum
    }

    /// Sum of (output - target)^2 / 2 over all rows.
    pub(super) fn loss(&mut self, network: &Network, samples: &Samples) -> f64 {
        let all: Vec<u32> = (0..samples.len() as u32).collect();
        let blocks = all.chunks(BLOCK);
        blocks.fold(0.0, |sum, block| {
            self.gather(network, samples, block);
            self.forward(network);
            sum + self.output_error(samples, block)
        })
    }

    fn gather(&mut self, network: &Network, samples: &Samples, block: &[u32]) {
        self.values.resize_with(network.layers.len() + 1, Vec::new);
        let input = &mut self.values[0];
        input.clear();
        input.resize(samples.width() * BLOCK, 0.0);
        for (r, row) in block.iter().enumerate() {
            for (i, x) in samples.row(*row as usize).iter().enumerate() {
                input[i * BLOCK + r] = *x;
            }
        }
    }

    fn forward(&mut self, network: &Network) {
        for (l, layer) in network.layers.iter().enumerate() {
            let (before, after) = self.values.split_at_mut(l + 1);
            affine(&layer.weights, &layer.biases, layer.inputs, &before[l], &mut after[0]);
            if l + 1 < network.layers.len() {
                after[0].iter_mut().for_each(|v| *v = v.max(0.0));
            }
        }
    }

    fn output_error(&mut self, samples: &Samples, block: &[u32]) -> f64 {
        self.error.clear();
        self.error.resize(BLOCK, 0.0);
        let output = self.values.last().map_or(&[][..], |v| v);
        let mut sum = 0.0;
        for ((error, output), row) in self.error.iter_mut().zip(output).zip(block) {
            *error = output - samples.target(*row as usize);
            sum += 0.5 * f64::from(*error) * f64::from(*error);
        }
        sum
    }

    fn layer_gradient(&self, l: usize, gradient: &mut Layer) {
        let inputs = &self.values[l];
        let errors = self.error.chunks_exact(BLOCK);
        let rows = gradient.weights.chunks_exact_mut(gradient.inputs);
        for ((error, row), bias) in errors.zip(rows).zip(&mut gradient.biases) {
            *bias += error.iter().sum::<f32>();
            let mut pairs = row.chunks_exact_mut(2);
            let mut columns = inputs.chunks_exact(2 * BLOCK);
            for (pair, columns) in pairs.by_ref().zip(columns.by_ref()) {
                let (a, b) = columns.split_at(BLOCK);
                let [x, y] = dots(error, a, b);
                pair[0] += x;
                pair[1] += y;
            }
            if let (Some(last), column) = (pairs.into_remainder().first_mut(), columns.remainder())
                && column.len() == BLOCK
            {
                *last += dots(error, column, column)[0];
            }
        }
    }

    /// The error at the layer's output becomes that at its input, which the one before gave through the rectifier.
    fn pass_back(&mut self, layer: &Layer, l: usize) {
        self.transposed.clear();
        let columns = (0..layer.inputs).flat_map(|i| layer.weights.iter().skip(i).step_by(layer.inputs));
        self.transposed.extend(columns);
        let zeros = vec![0f32; layer.inputs];
        affine(&self.transposed, &zeros, layer.outputs, &self.error, &mut self.error_before);
        for (error, value) in self.error_before.iter_mut().zip(&self.values[l]) {
            *error = if *value > 0.0 { *error } else { 0.0 };
        }
        std::mem::swap(&mut self.error, &mut self.error_before);
    }
}

/// Adds noise of nearly normal shape (the sum of four uniform numbers) and the given standard deviation.
fn disturb(values: &mut [f32], sd: f32, random: &mut Random) {
    // The variance of a uniform 16-bit number is 65536^2 / 12, that of four of them a third of 65536^2.
    let scale = sd * 3f32.sqrt() / 65536.0;
    for value in values {
        let bits = random.bits();
        let sum = (bits & 0xFFFF) + (bits >> 16 & 0xFFFF) + (bits >> 32 & 0xFFFF) + (bits >> 48);
        *value += scale * (sum as f32 - 131_070.0);
    }
}

/// y = W x + b for `BLOCK` columns: two outputs and sixteen rows at a time stay in registers.
fn affine(weights: &[f32], biases: &[f32], inputs: usize, x: &[f32], y: &mut Vec<f32>) {
    y.clear();
    y.resize(biases.len() * BLOCK, 0.0);
    for (o, b) in biases.chunks(2).enumerate() {
        let w = &weights[2 * o * inputs..(2 * o + b.len()) * inputs];
        let out = &mut y[2 * o * BLOCK..(2 * o + b.len()) * BLOCK];
        if let [b0, b1] = b {
            let ((w0, w1), (y0, y1)) = (w.split_at(inputs), out.split_at_mut(BLOCK));
            for lane in (0..BLOCK).step_by(LANES) {
                let (mut s0, mut s1) = ([*b0; LANES], [*b1; LANES]);
                for ((w0, w1), x) in w0.iter().zip(w1).zip(x.chunks_exact(BLOCK)) {
                    let x = &x[lane..lane + LANES];
                    for k in 0..LANES {
                        s0[k] += w0 * x[k];
                        s1[k] += w1 * x[k];
                    }
                }
                y0[lane..lane + LANES].copy_from_slice(&s0);
                y1[lane..lane + LANES].copy_from_slice(&s1);
            }
        } else {
            for lane in (0..BLOCK).step_by(LANES) {
                let mut s = [b[0]; LANES];
                for (w, x) in w.iter().zip(x.chunks_exact(BLOCK)) {
                    for (s, x) in s.iter_mut().zip(&x[lane..lane + LANES]) {
                        *s += w * x;
                    }
                }
                out[lane..lane + LANES].copy_from_slice(&s);
            }
        }
    }
}

/// The products of one error column with two input columns, each a `BLOCK` long.
fn dots(error: &[f32], a: &[f32], b: &[f32]) -> [f32; 2] {
    let (mut s, mut t) = ([0f32; LANES], [0f32; LANES]);
    for ((e, a), b) in error.chunks_exact(LANES).zip(a.chunks_exact(LANES)).zip(b.chunks_exact(LANES)) {
        for k in 0..LANES {
            s[k] += e[k] * a[k];
            t[k] += e[k] * b[k];
        }
    }
    [s.iter().sum(), t.iter().sum()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::trainer::random_network;

    fn world(width: usize, rows: usize) -> Samples {
        let mut random = Random::new(11);
        let mut samples = Samples::new(width);
        for _ in 0..rows {
            let row: Vec<f32> = (0..width).map(|_| random.normal() as f32).collect();
            assert!(samples.push(&row, random.uniform() as f32));
        }
        samples
    }

    #[test]
    fn the_batch_gives_what_single_rows_give() {
        let (samples, network) = (world(7, 150), random_network(7, &[5, 3], 2));
        let direct: f64 =
            (0..150).map(|i| 0.5 * f64::from(network.evaluate(samples.row(i)) - samples.target(i)).powi(2)).sum();
        assert!((Work::default().loss(&network, &samples) / direct - 1.0).abs() < 1e-5);
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        // Odd widths, so that every remainder is taken; rows beyond one block.
        let (samples, mut network) = (world(7, 100), random_network(7, &[5, 3], 2));
        // With biases of zero a row that no unit of the first layer answers to lies exactly on the
        // kink of every unit of the second, where the two have no derivative to agree on.
        let mut random = Random::new(3);
        for bias in network.tensors_mut().skip(1).step_by(2) {
            bias.fill_with(|| 0.1 + 0.2 * random.uniform() as f32);
        }
        let rows: Vec<u32> = (0..100).collect();
        let mut gradient = network.clone();
        gradient.tensors_mut().for_each(|t| t.fill(0.0));
        let mut work = Work::default();
        work.backward(&network, &samples, &rows, (0.0, Random::new(0)), &mut gradient);
        let sizes: Vec<usize> = network.tensors().map(<[f32]>::len).collect();
        for (tensor, size) in sizes.iter().enumerate() {
            for place in 0..*size {
                let mut at = |h: f32| {
                    let mut moved = network.clone();
                    moved.tensors_mut().nth(tensor).unwrap()[place] += h;
                    work.loss(&moved, &samples)
                };
                let step = 2e-4;
                let difference = (at(step) - at(-step)) / (2.0 * f64::from(step));
                let found = f64::from(gradient.tensors().nth(tensor).unwrap()[place]);
                let size = difference.abs().max(1.0);
                assert!((difference - found).abs() / size < 2e-2, "tensor {tensor}[{place}]: {found}, {difference}");
            }
        }
    }
}
