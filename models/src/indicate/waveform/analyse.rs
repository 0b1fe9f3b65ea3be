//! One block analysed: the other rooms of this folder in their order, and the picture that a person is shown.

use realfft::num_complex::Complex;

use super::bearing::{self, BearingGeometry, Defect, LEAST_SPEED};
use super::block::Run;
use super::envelope::{Buffers, Envelope};
use super::spectrum::{self, BANDS, Transforms};
use super::time::{self, Shape};

/// The most points of a spectrum in a picture.
pub const PICTURE_POINTS: usize = 512;
/// A picture's envelope spectrum reaches to so many times the highest of the bearing's frequencies.
const PICTURE_REACH: f64 = 3.5;
/// It reaches so far where the frequencies are not known, Hz.
const PICTURE_BLIND: f64 = 1_000.0;

/// What turns in the bearing, and how fast.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bearing {
    /// Its geometry.
    pub geometry: BearingGeometry,
    /// Turns of the shaft a second, Hz.
    pub shaft: f64,
}

/// The numbers of one block, in the unit of its channel.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Analysis {
    /// Moments of the block.
    pub shape: Shape,
    /// RMS in five bands of the block, lowest first: up to 1/16 of half the rate, and the octaves above.
    pub bands: [f64; BANDS],
    /// Strength of each of [`Defect::ALL`]'s lines in the envelope of the run, dB above the noise.
    pub lines: [Option<f64>; 4],
}

/// What a person is shown of a block.
#[derive(Debug, Clone, PartialEq)]
pub struct Picture {
    /// (Hz, RMS amplitude in the channel's unit), evenly spaced over the logarithm of frequency.
    pub spectrum: Vec<(f64, f64)>,
    /// (Hz, RMS amplitude of the squared envelope in the square of the channel's unit): the highest of each interval.
    pub envelope: Vec<(f64, f64)>,
    /// The octave whose envelope it is, Hz.
    pub band: (f64, f64),
    /// Each defect's frequency, Hz, and strength, dB.
    pub lines: Vec<(Defect, f64, Option<f64>)>,
}

/// Plans, windows and buffers for analyses of any channel (V1).
#[derive(Default)]
pub struct Analyser {
    transforms: Transforms,
    spectrum: Vec<Complex<f64>>,
    buffers: Buffers,
}

impl Analyser {
    /// The numbers of the newest block of `run`; absent for one that does not vary, which no judged block is. Without a
    /// bearing, or with one that stands still, there are no lines.
    pub fn analyse(&mut self, run: &Run, bearing: Option<&Bearing>) -> Option<Analysis> {
        let block = run.newest();
        let samples = block.len() / 2;
        time::centre(block, self.transforms.input());
        let shape = time::shape(self.transforms.input(), run.scale())?;
        let mut points = self.transforms.forward(&mut self.spectrum);
        let mut energies = spectrum::energies(&self.spectrum, points);
        let bands = spectrum::bands(energies, points, samples, run.scale());
        let mut lines = [None; 4];
        if let Some(bearing) = bearing.filter(|b| b.shaft >= LEAST_SPEED) {
            if run.blocks() > 1 {
                points = self.transform_run(run);
                energies = spectrum::energies(&self.spectrum, points);
            }
            if let Some(envelope) = self.envelope(run, points, &energies) {
                lines = bearing.geometry.frequencies(bearing.shaft).map(|f| bearing::strength(&envelope, f));
            }
        }
        Some(Analysis { shape, bands, lines })
    }

    /// Puts the spectrum of the whole run where the block's was.
    fn transform_run(&mut self, run: &Run) -> usize {
        time::centre(run.samples(), self.transforms.input());
        self.transforms.forward(&mut self.spectrum)
    }

    fn envelope(&mut self, run: &Run, points: usize, energies: &[f64; BANDS]) -> Option<Envelope> {
        let size = (points, run.samples().len() / 2);
        Envelope::find(&mut self.transforms, &mut self.buffers, &self.spectrum, energies, size, run.rate())
    }

    /// Spectra of the newest block and of the run's envelope, for people.
    pub fn picture(&mut self, run: &Run, bearing: Option<&Bearing>) -> Picture {
        let bearing = bearing.filter(|b| b.shaft >= LEAST_SPEED);
        let spectrum = self.amplitudes(run);
        let points = self.transform_run(run);
        let energies = spectrum::energies(&self.spectrum, points);
        let Some(envelope) = self.envelope(run, points, &energies) else {
            return Picture { spectrum, envelope: Vec::new(), band: (0.0, 0.0), lines: Vec::new() };
        };
        let frequencies = bearing.map(|b| b.geometry.frequencies(b.shaft));
        let lines = frequencies.iter().flat_map(|f| Defect::ALL.into_iter().zip(*f));
        let highest = frequencies.iter().flatten().copied().fold(0.0, f64::max);
        let reach = if highest > 0.0 { PICTURE_REACH * highest } else { PICTURE_BLIND };
        Picture {
            spectrum,
            lines: lines.map(|(defect, f)| (defect, f, bearing::strength(&envelope, f))).collect(),
            band: envelope.band,
            envelope: peaks(&envelope, reach, run.scale()),
        }
    }

    /// The newest block's amplitudes through a Hann window.
    fn amplitudes(&mut self, run: &Run) -> Vec<(f64, f64)> {
        let input = self.transforms.input();
        time::centre(run.newest(), input);
        let samples = input.len();
        let window = self.transforms.hann(samples);
        self.transforms.input().iter_mut().zip(&*window).for_each(|(value, weight)| *value *= weight);
        let points = self.transforms.forward(&mut self.spectrum);
        let gain = 0.5 * (2.0 * run.scale() / (0.5 * samples as f64)).powi(2);
        let power = self.spectrum.iter().map(Complex::norm_sqr);
        spectrum::logarithmic(power, run.rate() / points as f64, PICTURE_POINTS, gain)
    }
}

/// The envelope's lines up to `reach`, of several in one interval the highest: a line must not drown in its neighbours.
fn peaks(envelope: &Envelope, reach: f64, scale: f64) -> Vec<(f64, f64)> {
    let lines = ((reach / envelope.step).ceil() as usize).min(envelope.power.len());
    let group = lines.div_ceil(PICTURE_POINTS).max(1);
    let gain = envelope.gain * scale.powi(4);
    let highest = |(at, lines): (usize, &[f64])| {
        let (i, power) =
            lines.iter().enumerate().fold((0, 0.0), |best, (i, p)| if *p > best.1 { (i, *p) } else { best });
        ((at * group + i) as f64 * envelope.step, (gain * power).sqrt())
    };
    envelope.power[..lines].chunks(group).enumerate().map(highest).collect()
}

#[cfg(test)]
mod tests {
    use super::super::Block;
    use super::*;

    const BEARING: Bearing = Bearing {
        geometry: BearingGeometry {
            balls: 9,
            ball_diameter_mm: 7.94,
            pitch_diameter_mm: 39.04,
            contact_angle_deg: 0.0,
        },
        shaft: 25.0,
    };
    const RATE: f64 = 25_600.0;

    /// Gaussian noise of standard deviation 100 counts, and impacts of `size` counts `hertz` times a second with 1 % of
    /// slip in their distances, each ringing at 5 kHz.
    fn machine(samples: usize, size: f64, hertz: f64, seed: u64) -> Vec<u8> {
        let mut state = seed;
        let mut uniform = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((state >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
        };
        let mut values: Vec<f64> = (0..samples)
            .map(|_| 100.0 * (-2.0 * uniform().ln()).sqrt() * (std::f64::consts::TAU * uniform()).cos())
            .collect();
        let mut at = 0.0;
        while at < samples as f64 {
            for (i, value) in values.iter_mut().enumerate().skip(at.ceil() as usize).take(200) {
                let since = (i as f64 - at) / RATE;
                *value += size * (-1_500.0 * since).exp() * (std::f64::consts::TAU * 5_000.0 * since).sin();
            }
            at += RATE / hertz * (1.0 + 0.02 * (uniform() - 0.5));
        }
        values.iter().flat_map(|v| (*v as i16).to_le_bytes()).collect()
    }

    fn run(samples: &[u8]) -> Run {
        let block = Block { boot: 1, sequence: 0, uptime: 0, rate: RATE, scale: 0.01, offset: 0.0, samples };
        assert_eq!(block.judge(None), Ok(()));
        Run::begin(&block, 0)
    }

    /// A run of `blocks` blocks of 4,096 samples.
    fn joined(samples: &[u8], blocks: u64) -> Run {
        let part = |n: u64| Block {
            boot: 1,
            sequence: n,
            uptime: n * 160_000,
            rate: RATE,
            scale: 0.01,
            offset: 0.0,
            samples: &samples[n as usize * 8_192..(n as usize + 1) * 8_192],
        };
        let mut run = Run::begin(&part(0), 0);
        for n in 1..blocks {
            assert!(run.is_followed_by(&part(n)));
            run.append(&part(n), n as i64 * 160_000);
        }
        run
    }

    #[test]
    fn a_defect_of_each_ring_raises_its_own_line_and_not_the_others() {
        let mut analyser = Analyser::default();
        let [outer, inner, ..] = BEARING.geometry.frequencies(BEARING.shaft);
        for (at, hertz) in [(0, outer), (1, inner)] {
            let found = analyser.analyse(&joined(&machine(16_384, 800.0, hertz, 3), 4), Some(&BEARING)).unwrap();
            let strengths = found.lines.map(Option::unwrap);
            assert!(strengths[at] > 20.0, "{strengths:?}");
            assert!(strengths[1 - at] < strengths[at] - 10.0, "{strengths:?}");
            assert!(found.shape.kurtosis > 3.5);
        }
        let healthy = analyser.analyse(&joined(&machine(16_384, 0.0, outer, 3), 4), Some(&BEARING)).unwrap();
        assert!(healthy.lines.iter().all(|l| l.unwrap() < 10.0), "{:?}", healthy.lines);
        assert!((healthy.shape.kurtosis - 3.0).abs() < 0.3 && (healthy.shape.rms - 1.0).abs() < 0.05);
    }

    #[test]
    fn joined_blocks_see_what_one_cannot() {
        let mut analyser = Analyser::default();
        let outer = BEARING.geometry.frequencies(BEARING.shaft)[0];
        let mean = |analyser: &mut Analyser, blocks: u64| {
            let one = |seed| analyser.analyse(&joined(&machine(16_384, 250.0, outer, seed), blocks), Some(&BEARING));
            (1..20).map(one).map(|a| a.unwrap().lines[0].unwrap()).sum::<f64>() / 19.0
        };
        let (one, four) = (mean(&mut analyser, 1), mean(&mut analyser, 4));
        assert!(four > one + 3.0, "{one} {four}");
    }

    #[test]
    fn without_a_bearing_or_with_one_that_stands_still_there_are_no_lines() {
        let (mut analyser, run) = (Analyser::default(), run(&machine(4_096, 500.0, 90.0, 1)));
        assert_eq!(analyser.analyse(&run, None).unwrap().lines, [None; 4]);
        let still = Bearing { shaft: 0.0, ..BEARING };
        assert_eq!(analyser.analyse(&run, Some(&still)).unwrap().lines, [None; 4]);
        assert_eq!(analyser.analyse(&run, Some(&Bearing { shaft: f64::NAN, ..BEARING })).unwrap().lines, [None; 4]);
    }

    #[test]
    fn what_was_analysed_before_changes_no_bit_of_a_result_v1() {
        let block = machine(4_096, 500.0, 90.0, 1);
        let fresh = Analyser::default().analyse(&run(&block), Some(&BEARING));
        let mut used = Analyser::default();
        for samples in [256, 300, 5_000, 16_384] {
            used.analyse(&run(&machine(samples, 100.0, 50.0, 9)), Some(&BEARING));
            used.picture(&run(&machine(samples, 100.0, 50.0, 9)), Some(&BEARING));
        }
        assert_eq!(used.analyse(&run(&block), Some(&BEARING)), fresh);
    }

    #[test]
    fn a_picture_is_small_and_shows_the_line() {
        let outer = BEARING.geometry.frequencies(BEARING.shaft)[0];
        let picture = Analyser::default().picture(&joined(&machine(16_384, 1_500.0, outer, 4), 4), Some(&BEARING));
        assert!(picture.spectrum.len() <= PICTURE_POINTS && picture.envelope.len() <= PICTURE_POINTS);
        assert_eq!(picture.lines.len(), 4);
        let highest = picture.envelope.iter().max_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
        assert!((highest.0 / outer - 1.0).abs() < 0.03, "{highest:?} {outer}");
        let reach = picture.envelope.last().unwrap().0;
        assert!(reach > 3.0 * BEARING.geometry.frequencies(BEARING.shaft)[1], "{reach}");
        assert!((picture.band.0..picture.band.1).contains(&5_000.0), "{:?}", picture.band);
    }
}
