//! The envelope of the octave in which a signal is most impulsive, and its spectrum.
//!
//! A damaged bearing knocks; each impact rings at a resonance of the housing, far above the rate of the impacts. The
//! square of the envelope of that resonance repeats at the defect's frequency (Randall and Antoni 2011, "Rolling element
//! bearing diagnostics - A tutorial", Mechanical Systems and Signal Processing 25, 485-520).
//!
//! The band is the octave with the largest kurtosis of its complex envelope among four, from a sixteenth of half the rate
//! up to half the rate: `K = <|a|^4> / <|a|^2>^2 - 2`, 0 for stationary Gaussian noise, large for impacts (Antoni 2006,
//! "The spectral kurtosis: a useful tool", MSSP 20, 282-307). Four fixed octaves cost as much as two transforms of the
//! block, need no setting, and a resonance that a bearing excites spans a good part of one. An octave with less than
//! [`LEAST_SHARE`] of the energy of all four is passed over: what leaks into it from a neighbour looks impulsive, too.
//!
//! The analytic signal of an octave is its lines, shifted down to 0 and transformed back at twice the octave's width, so
//! the squared modulus does not alias. Of the top octave it is transformed back at its width, which halves the cost: what
//! folds down to the bearing's frequencies there lies a quarter of the rate away from them, where the envelope of an
//! impact has nothing left. Padded points are left out of what follows.

use realfft::num_complex::Complex;

use super::spectrum::{BANDS, Transforms};

/// The least share of the four octaves' energy that an octave must hold.
const LEAST_SHARE: f64 = 1e-3;

/// Buffers of [`Envelope::find`].
#[derive(Default)]
pub struct Buffers {
    band: Vec<Complex<f64>>,
    best: Vec<Complex<f64>>,
    spectrum: Vec<Complex<f64>>,
}

/// The squared envelope of one octave in the domain of frequency.
#[derive(Debug, Clone, PartialEq)]
pub struct Envelope {
    /// The octave, Hz.
    pub band: (f64, f64),
    /// Kurtosis of its complex envelope.
    pub kurtosis: f64,
    /// Squared moduli of the lines of the squared envelope, less its mean and seen through a Hann window.
    pub power: Vec<f64>,
    /// Distance of two lines, Hz.
    pub step: f64,
    /// Lines that share one resolved frequency: above 1 where the block was padded.
    pub spread: usize,
    /// Turns an element of `power` into a squared RMS amplitude of the squared envelope, in (unit of the values)^4 for
    /// values of scale 1.
    pub gain: f64,
}

impl Envelope {
    /// From the half spectrum of `samples` values padded to `points`, a power of two of at least 256, sampled at `rate`,
    /// and its bands' energies. Absent where no octave holds anything.
    pub fn find(
        transforms: &mut Transforms,
        buffers: &mut Buffers,
        spectrum: &[Complex<f64>],
        energies: &[f64; BANDS],
        (points, samples): (usize, usize),
        rate: f64,
    ) -> Option<Self> {
        let Buffers { band, best: winner, spectrum: lines } = buffers;
        let least = LEAST_SHARE * energies[1..].iter().sum::<f64>();
        let mut best: Option<(f64, usize)> = None;
        for (octave, _) in energies.iter().enumerate().skip(1).filter(|(_, energy)| **energy > least) {
            let low = points >> (BANDS - octave + 1);
            band.clear();
            band.extend_from_slice(&spectrum[low..2 * low]);
            band.resize((2 * low).min(points / 4), Complex::ZERO);
            transforms.inverse(band);
            let valid = band.len() * samples / points;
            let Some(kurtosis) = kurtosis(&band[..valid]) else { continue };
            if best.is_none_or(|b| kurtosis > b.0) {
                best = Some((kurtosis, low));
                std::mem::swap(band, winner);
            }
        }
        let (kurtosis, low) = best?;
        let length = winner.len();
        winner.truncate(length * samples / points);
        let mean = winner.iter().map(Complex::norm_sqr).sum::<f64>() / winner.len() as f64;
        let window = transforms.hann(winner.len());
        let input = transforms.input();
        input.clear();
        input.extend(winner.iter().zip(&*window).map(|(a, w)| (a.norm_sqr() - mean) * w));
        let padded = transforms.forward(lines);
        // The envelope has `length` points in the time of `points` samples.
        let step = rate * length as f64 / points as f64 / padded as f64;
        let amplitude = (2.0 / points as f64).powi(2) * 2.0 / (0.5 * winner.len() as f64);
        Some(Self {
            band: (rate * low as f64 / points as f64, rate * (2 * low) as f64 / points as f64),
            kurtosis,
            power: lines.iter().map(Complex::norm_sqr).collect(),
            step,
            spread: padded.div_ceil(winner.len()),
            gain: 0.5 * amplitude * amplitude,
        })
    }
}

fn kurtosis(band: &[Complex<f64>]) -> Option<f64> {
    let (mut second, mut fourth) = ([0.0; 4], [0.0; 4]);
    for chunk in band.as_chunks::<4>().0 {
        for lane in 0..4 {
            let square = chunk[lane].norm_sqr();
            second[lane] += square;
            fourth[lane] += square * square;
        }
    }
    let n = (band.len() / 4 * 4) as f64;
    let (second, fourth) = (second.iter().sum::<f64>() / n, fourth.iter().sum::<f64>() / n);
    let kurtosis = fourth / (second * second) - 2.0;
    kurtosis.is_finite().then_some(kurtosis)
}

#[cfg(test)]
mod tests {
    use super::super::spectrum::energies;
    use super::*;

    const RATE: f64 = 8_192.0;

    fn envelope(values: &[f64]) -> Envelope {
        let (mut transforms, mut spectrum) = (Transforms::default(), Vec::new());
        *transforms.input() = values.to_vec();
        let points = transforms.forward(&mut spectrum);
        let (energies, size) = (energies(&spectrum, points), (points, values.len()));
        Envelope::find(&mut transforms, &mut Buffers::default(), &spectrum, &energies, size, RATE).unwrap()
    }

    fn carrier(n: usize, hertz: f64, depth: f64, beat: f64) -> Vec<f64> {
        let turn = |hertz: f64, i: usize| std::f64::consts::TAU * hertz * i as f64 / RATE;
        (0..n).map(|i| (1.0 + depth * turn(beat, i).cos()) * turn(hertz, i).sin()).collect()
    }

    #[test]
    fn a_modulated_tone_has_the_closed_form_of_its_squared_envelope() {
        // (1 + d cos)^2 = 1 + d^2/2 + 2 d cos + d^2/2 cos 2: RMS amplitudes 2 d / sqrt 2 and d^2 / 2 / sqrt 2.
        let (depth, beat) = (0.6, 40.0);
        let found = envelope(&carrier(4_096, 3_000.0, depth, beat));
        assert_eq!(found.band, (2_048.0, 4_096.0));
        let at = |hertz: f64| (found.gain * found.power[(hertz / found.step).round() as usize]).sqrt();
        assert_eq!(found.step, 2.0);
        assert!((at(beat) - 2.0 * depth / 2.0_f64.sqrt()).abs() < 1e-3, "{}", at(beat));
        assert!((at(2.0 * beat) - depth * depth / 2.0 / 2.0_f64.sqrt()).abs() < 1e-3, "{}", at(2.0 * beat));
        assert!(at(100.0) < 1e-3);
    }

    #[test]
    fn a_padded_block_shows_the_same_lines_at_a_finer_step() {
        let found = envelope(&carrier(3_000, 3_000.0, 0.6, 40.0));
        assert_eq!(found.spread, 2);
        let at = |hertz: f64| (found.gain * found.power[(hertz / found.step).round() as usize]).sqrt();
        assert!((at(40.0) - 1.2 / 2.0_f64.sqrt()).abs() < 0.05, "{}", at(40.0));
    }

    #[test]
    fn impacts_are_found_in_the_octave_where_they_ring() {
        for (hertz, band) in [(3_100.0, (2_048.0, 4_096.0)), (1_400.0, (1_024.0, 2_048.0)), (700.0, (512.0, 1_024.0))] {
            let ring = |i: usize| {
                let since = (i % 128) as f64 / RATE;
                (-since * 600.0).exp() * (std::f64::consts::TAU * hertz * since).sin()
            };
            // Beside a strong, steady tone elsewhere, in noise.
            let tone = |i: usize| 5.0 * (std::f64::consts::TAU * 100.0 * i as f64 / RATE).sin();
            let mut state = 3_u64;
            let mut noise = || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 11) as f64 / (1_u64 << 53) as f64 - 0.5
            };
            let found = envelope(&(0..4_096).map(|i| ring(i) + tone(i) + 0.3 * noise()).collect::<Vec<_>>());
            assert_eq!(found.band, band, "{hertz}");
            let line = |h: f64| found.power[(h / found.step).round() as usize];
            // 8192 / 128 impacts a second.
            assert!(line(64.0) > 100.0 * line(90.0), "{hertz}");
        }
    }
}
