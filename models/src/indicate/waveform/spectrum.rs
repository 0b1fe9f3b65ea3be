//! The spectrum of a block: a real transform, and how its energy spreads over octaves.
//!
//! A block is padded with zeros to a power of two, so that few sizes of transform exist and octaves begin at whole lines.
//! Padding adds no energy: Parseval's theorem holds of the padded block, and what it sums to is divided by the samples
//! there really are. The squares of the five bands' RMS add up to the square of the block's (but for the mean, which was
//! taken off).

use std::collections::BTreeMap;
use std::sync::Arc;

use realfft::num_complex::Complex;
use realfft::{RealFftPlanner, RealToComplex};
use rustfft::{Fft, FftPlanner};

/// Bands: below a sixteenth of half the rate, and the four octaves above.
pub const BANDS: usize = 5;
/// The most windows kept, one for each number of points.
const MAX_WINDOWS: usize = 16;

/// Plans and buffers. They change no result, only what it costs.
pub struct Transforms {
    real: RealFftPlanner<f64>,
    complex: FftPlanner<f64>,
    windows: BTreeMap<usize, Arc<[f64]>>,
    input: Vec<f64>,
    scratch: Vec<Complex<f64>>,
}

impl Default for Transforms {
    fn default() -> Self {
        Self {
            real: RealFftPlanner::new(),
            complex: FftPlanner::new(),
            windows: BTreeMap::new(),
            input: Vec::new(),
            scratch: Vec::new(),
        }
    }
}

fn room<T: Clone>(buffer: &mut Vec<T>, length: usize, empty: T) {
    if buffer.len() < length {
        buffer.resize(length, empty);
    }
}

impl Transforms {
    /// Where the values to be transformed are written.
    pub fn input(&mut self) -> &mut Vec<f64> {
        &mut self.input
    }

    /// The half spectrum of the input, padded to a power of two; returns how many points that are. The input is gone.
    pub fn forward(&mut self, out: &mut Vec<Complex<f64>>) -> usize {
        let points = self.input.len().next_power_of_two().max(2);
        let plan: Arc<dyn RealToComplex<f64>> = self.real.plan_fft_forward(points);
        self.input.resize(points, 0.0);
        out.resize(points / 2 + 1, Complex::ZERO);
        room(&mut self.scratch, plan.get_scratch_len(), Complex::ZERO);
        let scratch = &mut self.scratch[..plan.get_scratch_len()];
        // Invariant: the lengths are the plan's, so it cannot refuse.
        let done = plan.process_with_scratch(&mut self.input, out, scratch);
        debug_assert!(done.is_ok());
        points
    }

    /// The inverse transform in place, not divided by the number of points, which is a power of two.
    pub fn inverse(&mut self, buffer: &mut [Complex<f64>]) {
        let plan: Arc<dyn Fft<f64>> = self.complex.plan_fft_inverse(buffer.len());
        room(&mut self.scratch, plan.get_inplace_scratch_len(), Complex::ZERO);
        plan.process_with_scratch(buffer, &mut self.scratch[..plan.get_inplace_scratch_len()]);
    }

    /// The periodic Hann window of so many points.
    pub fn hann(&mut self, points: usize) -> Arc<[f64]> {
        if !self.windows.contains_key(&points) && self.windows.len() >= MAX_WINDOWS {
            self.windows.clear();
        }
        let step = std::f64::consts::TAU / points.max(1) as f64;
        let window = || (0..points).map(|i| 0.5 - 0.5 * libm::cos(step * i as f64)).collect();
        Arc::clone(self.windows.entry(points).or_insert_with(window))
    }
}

/// The squared moduli of the lines of each band, summed, lowest band first; the last line counts half, because it has no
/// mirror image. `spectrum` is that of `points` points, a power of two of at least 64.
pub fn energies(spectrum: &[Complex<f64>], points: usize) -> [f64; BANDS] {
    let mut energies = [0.0; BANDS];
    let mut from = 1;
    for (at, energy) in energies.iter_mut().enumerate() {
        let to = points >> (BANDS - at);
        *energy = sum_of_squares(&spectrum[from..to]);
        from = to;
    }
    energies[BANDS - 1] += 0.5 * spectrum[points / 2].norm_sqr();
    energies
}

fn sum_of_squares(lines: &[Complex<f64>]) -> f64 {
    let (whole, rest) = lines.as_chunks::<4>();
    let mut sums = [0.0; 4];
    for chunk in whole {
        for lane in 0..4 {
            sums[lane] += chunk[lane].norm_sqr();
        }
    }
    sums.iter().sum::<f64>() + rest.iter().map(Complex::norm_sqr).sum::<f64>()
}

/// The RMS in each band, of the [`energies`] of `samples` values that were padded to `points`, each to be multiplied by
/// `scale`.
pub fn bands(energies: [f64; BANDS], points: usize, samples: usize, scale: f64) -> [f64; BANDS] {
    energies.map(|energy| (2.0 * energy / (points as f64 * samples as f64)).sqrt() * scale.abs())
}

/// At most `points` points of a spectrum, evenly spaced over the logarithm of frequency from the first line to half the
/// rate: (frequency, root mean square of the lines' RMS amplitudes in that interval). `power` are the squared moduli of
/// lines `step` Hz apart, `gain` turns one into a squared RMS amplitude.
pub fn logarithmic(power: impl Iterator<Item = f64> + Clone, step: f64, points: usize, gain: f64) -> Vec<(f64, f64)> {
    let lines = power.clone().count();
    if lines < 2 || points == 0 {
        return Vec::new();
    }
    let ratio = ((lines - 1) as f64).ln() / points as f64;
    let mut out: Vec<(f64, f64)> = Vec::with_capacity(points);
    let (mut at, mut first, mut sum, mut count) = (0, 1, 0.0, 0_u32);
    for (line, power) in power.enumerate().skip(1) {
        let group = (((line as f64).ln() / ratio) as usize).min(points - 1);
        if group != at && count > 0 {
            out.push((step * 0.5 * (first + line - 1) as f64, (gain * sum / f64::from(count)).sqrt()));
            (first, sum, count) = (line, 0.0, 0);
        }
        at = group;
        sum += power;
        count += 1;
    }
    out.push((step * 0.5 * (first + lines - 1) as f64, (gain * sum / f64::from(count.max(1))).sqrt()));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(n: usize) -> Vec<f64> {
        let mut state = 7_u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as f64 / (1_u64 << 31) as f64 - 0.5
        };
        let values: Vec<f64> = (0..n).map(|_| next()).collect();
        let mean = values.iter().sum::<f64>() / n as f64;
        values.iter().map(|v| v - mean).collect()
    }

    /// The definition, term by term.
    fn naive(values: &[f64], points: usize, line: usize) -> Complex<f64> {
        let term = |(i, v): (usize, &f64)| {
            Complex::from_polar(*v, -std::f64::consts::TAU * (i * line % points) as f64 / points as f64)
        };
        values.iter().enumerate().map(term).sum()
    }

    #[test]
    fn the_transform_is_the_definition_summed_term_by_term() {
        let (mut transforms, mut spectrum) = (Transforms::default(), Vec::new());
        for n in [256, 300, 1024] {
            let values = noise(n);
            transforms.input().clone_from(&values);
            let points = transforms.forward(&mut spectrum);
            assert_eq!(points, n.next_power_of_two());
            for line in [0, 1, 2, 17, points / 4, points / 2] {
                let expected = naive(&values, points, line);
                assert!((spectrum[line] - expected).norm() < 1e-10, "{n} {line}");
            }
        }
    }

    #[test]
    fn the_bands_energies_add_up_to_the_blocks_parseval() {
        let (mut transforms, mut spectrum) = (Transforms::default(), Vec::new());
        for n in [256, 333, 4096] {
            let values = noise(n);
            transforms.input().clone_from(&values);
            let points = transforms.forward(&mut spectrum);
            let bands = bands(energies(&spectrum, points), points, n, 3.0);
            let sum: f64 = bands.iter().map(|b| b * b).sum();
            let square = 9.0 * values.iter().map(|v| v * v).sum::<f64>() / n as f64;
            assert!((sum / square - 1.0).abs() < 1e-12, "{n}: {sum} {square}");
        }
    }

    #[test]
    fn a_tone_lies_in_the_octave_of_its_frequency() {
        let (mut transforms, mut spectrum) = (Transforms::default(), Vec::new());
        // Cycles in 1024 points, and the band that they belong to: edges at 32, 64, 128, 256.
        for (cycles, band) in [(10, 0), (32, 1), (63, 1), (64, 2), (200, 3), (300, 4), (511, 4)] {
            let tone = (0..1024).map(|i| (std::f64::consts::TAU * f64::from(cycles * i % 1024) / 1024.0).sin());
            *transforms.input() = tone.collect();
            let points = transforms.forward(&mut spectrum);
            let bands = bands(energies(&spectrum, points), points, 1024, 1.0);
            for (at, rms) in bands.iter().enumerate() {
                let expected = if at == band { 0.5_f64.sqrt() } else { 0.0 };
                assert!((rms - expected).abs() < 1e-12, "{cycles} {bands:?}");
            }
        }
    }

    #[test]
    fn few_points_say_where_the_energy_lies_and_lose_none() {
        let power: Vec<f64> = (0..2049).map(|i| if i == 300 { 100.0 } else { 1.0 }).collect();
        let points = logarithmic(power.iter().copied(), 2.0, 256, 1.0);
        assert!(points.len() <= 256 && points.is_sorted_by(|a, b| a.0 < b.0));
        let highest = points.iter().max_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
        assert!((highest.0 / 600.0 - 1.0).abs() < 0.02, "{highest:?}");
        assert!(points.iter().filter(|p| p.1 > 1.001).count() == 1);
        assert!((points[0].0, points[0].1) == (2.0, 1.0) && points.last().unwrap().0 > 4_000.0);
    }
}
