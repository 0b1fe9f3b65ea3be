//! Moments of a block in time: RMS, peak, crest factor, kurtosis.
//!
//! All about the block's mean, because the mean of an accelerometer is gravity and offset: RMS is the standard deviation,
//! the peak the largest distance from the mean, the crest factor peak / RMS, kurtosis m4 / m2^2 (Pearson: 3 for a
//! Gaussian, 1.5 for a sine). Two passes, so that a large mean costs no digits; sums run in eight lanes that are added in
//! a fixed order, so a result is the same on every machine.

use super::block::counts;

/// Moments of one block, in the unit of its values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shape {
    /// Root mean square about the mean.
    pub rms: f64,
    /// Largest distance from the mean.
    pub peak: f64,
    /// `peak / rms`.
    pub crest: f64,
    /// m4 / m2^2.
    pub kurtosis: f64,
}

const LANES: usize = 8;

/// Writes the counts less their mean into `out`; the mean.
pub fn centre(samples: &[u8], out: &mut Vec<f64>) -> f64 {
    // At most 2^14 samples of 15 bits: exact.
    let sum: i32 = counts(samples).map(i32::from).sum();
    let mean = f64::from(sum) / counts(samples).len().max(1) as f64;
    out.clear();
    out.extend(counts(samples).map(|count| f64::from(count) - mean));
    mean
}

/// The moments of centred values, each times `scale`; absent where they do not vary.
pub fn shape(centred: &[f64], scale: f64) -> Option<Shape> {
    let (mut m2, mut m4, mut peak) = ([0.0; LANES], [0.0; LANES], [0.0_f64; LANES]);
    let (whole, rest) = centred.as_chunks::<LANES>();
    let mut tail = [0.0; LANES];
    tail[..rest.len()].copy_from_slice(rest);
    for chunk in whole.iter().chain([&tail]) {
        for lane in 0..LANES {
            let square = chunk[lane] * chunk[lane];
            m2[lane] += square;
            m4[lane] += square * square;
            peak[lane] = peak[lane].max(chunk[lane].abs());
        }
    }
    let n = centred.len() as f64;
    let (m2, m4) = (m2.iter().sum::<f64>() / n, m4.iter().sum::<f64>() / n);
    let peak = peak.into_iter().fold(0.0, f64::max);
    let rms = m2.sqrt();
    (m2 > 0.0).then(|| Shape {
        rms: rms * scale.abs(),
        peak: peak * scale.abs(),
        crest: peak / rms,
        kurtosis: m4 / (m2 * m2),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[i16], scale: f64) -> Option<Shape> {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let mut centred = Vec::new();
        centre(&bytes, &mut centred);
        shape(&centred, scale)
    }

    #[test]
    fn a_known_sample_has_its_known_moments() {
        // Mean 3, deviations -2 -1 0 3.
        let s = of(&[1, 2, 3, 6], 0.5).unwrap();
        assert!((s.rms - 0.5 * 3.5_f64.sqrt()).abs() < 1e-15 && s.peak == 1.5);
        assert!((s.crest - 3.0 / 3.5_f64.sqrt()).abs() < 1e-15);
        assert!((s.kurtosis - (16.0 + 1.0 + 81.0) / 4.0 / (3.5 * 3.5)).abs() < 1e-14);
        assert_eq!(of(&[4; 9], 1.0), None);
    }

    #[test]
    fn a_sine_of_whole_periods_has_the_closed_forms_of_a_sine() {
        let values: Vec<i16> = (0..1024)
            .map(|i| (20_000.0 * (f64::from(i) * std::f64::consts::TAU / 64.0).sin()).round() as i16)
            .collect();
        let s = of(&values, 1e-4).unwrap();
        assert!((s.rms - std::f64::consts::SQRT_2).abs() < 1e-4 && (s.peak - 2.0).abs() < 1e-4);
        assert!((s.crest - std::f64::consts::SQRT_2).abs() < 1e-4 && (s.kurtosis - 1.5).abs() < 1e-4);
    }

    #[test]
    fn an_offset_and_a_turned_sensor_change_nothing() {
        let values: Vec<i16> = (0..333).map(|i| ((i * i) % 101) as i16).collect();
        let moved: Vec<i16> = values.iter().map(|v| 30_000 - v).collect();
        let (a, b) = (of(&values, 0.1).unwrap(), of(&moved, -0.1).unwrap());
        for (x, y) in [(a.rms, b.rms), (a.peak, b.peak), (a.crest, b.crest), (a.kurtosis, b.kurtosis)] {
            assert!((x - y).abs() < 1e-9 * x, "{x} {y}");
        }
    }
}
