//! A change of weights in one byte a weight: difference, clipped, quantised, what was lost kept for the next time.
//!
//! d = trained - base + residual; if |d| > clip, d = d clip / |d|. Per tensor s = max|d| / 127 and
//! q = floor(d / s + u), u uniform on 0..1, so that E[s q] = d; residual = d - s q, carried to the next update. What
//! clipping takes off is not carried: it would be paid back later, and the bound would bound nothing.
//!
//! Sources: Alistarh, Grubic, Li, Tomioka, Vojnovic (2017), "QSGD" (stochastic rounding); Karimireddy, Rebjock, Stich,
//! Jaggi (2019), "Error feedback fixes SignSGD and other gradient compression schemes" (residual).
//!
//! Decoding is total: any bytes give a [`Delta`] of the base's shape with finite numbers, or a reason.

use serde::{Deserialize, Serialize};

use super::octets::Octets;
use super::refusal::Refusal;
use crate::predict::network::Network;
use crate::train::random::Random;

/// Steps on either side of zero.
const STEPS: f32 = 127.0;

/// One tensor of a change: value = scale x step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tensor {
    /// What a step is worth; 0 if nothing changed.
    pub scale: f32,
    /// One signed byte a weight.
    pub steps: Octets,
}

/// A change of weights, tensor by tensor in the order of [`Network::tensors`].
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Delta(pub Vec<Vec<f32>>);

/// What earlier updates of a site lost by rounding. Kept across restarts by whoever runs the site.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Residual(Delta);

impl Delta {
    /// What leads from `base` to `trained`; `None` if their shapes differ.
    pub fn between(base: &Network, trained: &Network) -> Option<Self> {
        let same = base.tensors().map(<[f32]>::len).eq(trained.tensors().map(<[f32]>::len));
        let tensor = |(t, b): (&[f32], &[f32])| t.iter().zip(b).map(|(t, b)| t - b).collect();
        same.then(|| Self(trained.tensors().zip(base.tensors()).map(tensor).collect()))
    }

    /// Euclidean length over all tensors.
    pub fn norm(&self) -> f64 {
        self.0.iter().flatten().map(|d| f64::from(*d) * f64::from(*d)).sum::<f64>().sqrt()
    }

    /// Multiplies every number.
    pub fn scale(&mut self, factor: f64) {
        self.0.iter_mut().flatten().for_each(|d| *d = (f64::from(*d) * factor) as f32);
    }

    /// Makes it no longer than `bound`; returns the factor.
    pub fn bound(&mut self, bound: f64) -> f64 {
        let norm = self.norm();
        let factor = if norm > bound { bound / norm } else { 1.0 };
        if factor < 1.0 {
            self.scale(factor);
        }
        factor
    }

    /// The network that many times this change away from `base`, whose shape it must have.
    pub fn applied(&self, base: &Network, times: f64) -> Network {
        let mut moved = base.clone();
        for (tensor, change) in moved.tensors_mut().zip(&self.0) {
            tensor.iter_mut().zip(change).for_each(|(w, d)| *w = (f64::from(*w) + times * f64::from(*d)) as f32);
        }
        moved
    }

    fn fits(&self, shape: &Self) -> bool {
        self.0.iter().map(Vec::len).eq(shape.0.iter().map(Vec::len))
    }
}

/// Encodes a change of at most `clip`, and leaves in `residual` what rounding lost. A residual of another shape (the
/// release before had another network) is forgotten.
///
/// # Errors
/// [`Refusal::NonFinite`], and then `residual` is as it was.
pub fn encode(mut change: Delta, residual: &mut Residual, clip: f64, seed: u64) -> Result<Vec<Tensor>, Refusal> {
    if residual.0.fits(&change) {
        let pairs = change.0.iter_mut().flatten().zip(residual.0.0.iter().flatten());
        pairs.for_each(|(d, r)| *d += r);
    }
    if !change.norm().is_finite() {
        return Err(Refusal::NonFinite);
    }
    change.bound(clip);
    let mut random = Random::of(seed, 0x0071_7561_6E74);
    let tensors = change.0.iter_mut().map(|tensor| round(tensor, &mut random)).collect();
    residual.0 = change;
    Ok(tensors)
}

/// Rounds a tensor and leaves in it what was lost.
fn round(tensor: &mut [f32], random: &mut Random) -> Tensor {
    let greatest = tensor.iter().fold(0f32, |greatest, d| greatest.max(d.abs()));
    let scale = greatest / STEPS;
    if scale < f32::MIN_POSITIVE {
        // Nothing, or so little that the step would vanish: it stays in the residual.
        return Tensor { scale: 0.0, steps: Octets(vec![0; tensor.len()]) };
    }
    let step = |d: &mut f32| {
        let step = (*d / scale + random.uniform() as f32).floor().clamp(-STEPS, STEPS);
        *d -= step * scale;
        (step as i8) as u8
    };
    Tensor { scale, steps: Octets(tensor.iter_mut().map(step).collect()) }
}

/// The change that was encoded.
///
/// # Errors
/// [`Refusal::WrongShape`], [`Refusal::NonFinite`], or [`Refusal::TooLarge`] for a change longer than `greatest`.
pub fn decode(tensors: &[Tensor], base: &Network, greatest: f64) -> Result<Delta, Refusal> {
    if !tensors.iter().map(|t| t.steps.0.len()).eq(base.tensors().map(<[f32]>::len)) {
        return Err(Refusal::WrongShape);
    }
    if tensors.iter().any(|t| !t.scale.is_finite()) {
        return Err(Refusal::NonFinite);
    }
    if tensors.iter().any(|t| t.scale < 0.0 || f64::from(t.scale) > greatest) {
        return Err(Refusal::TooLarge);
    }
    let value = |scale: f32| move |step: &u8| scale * f32::from(*step as i8);
    let delta = Delta(tensors.iter().map(|t| t.steps.0.iter().map(value(t.scale)).collect()).collect());
    // A sum of finite squares: no longer than sqrt(n) 128 greatest, which f64 holds.
    if delta.norm() > greatest { Err(Refusal::TooLarge) } else { Ok(delta) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::random_network;
    use proptest::prelude::*;

    fn change(network: &Network, size: f64, seed: u64) -> Delta {
        let mut random = Random::new(seed);
        let mut number = |_: &f32| (size * random.normal()) as f32;
        Delta(network.tensors().map(|t| t.iter().map(&mut number).collect()).collect())
    }

    #[test]
    fn rounding_is_right_on_average_and_never_wrong_by_more_than_a_step() {
        let network = random_network(3, &[4], 1);
        let truth = change(&network, 0.01, 2);
        let mut sum = vec![0f64; network.parameters()];
        let repeats = 4_000;
        let mut widest = 0f64;
        for seed in 0..repeats {
            let tensors = encode(truth.clone(), &mut Residual::default(), 1e9, seed).unwrap();
            let decoded = decode(&tensors, &network, 1e9).unwrap();
            let step = tensors.iter().flat_map(|t| t.steps.0.iter().map(|_| f64::from(t.scale)));
            let pairs = decoded.0.iter().flatten().zip(truth.0.iter().flatten()).zip(step);
            for (sum, ((said, truth), step)) in sum.iter_mut().zip(pairs) {
                let error = f64::from(said - truth);
                assert!(error.abs() <= 1.001 * step, "{error} of a step of {step}");
                *sum += error;
                widest = widest.max(step);
            }
        }
        // The error of one rounding has a standard deviation of at most half a step; five of the mean's are allowed.
        let allowed = 5.0 * 0.5 * widest / f64::from(repeats as u32).sqrt();
        assert!(sum.iter().all(|s| (s / f64::from(repeats as u32)).abs() < allowed), "{allowed}: {sum:?}");
    }

    #[test]
    fn what_rounding_loses_is_sent_later_and_survives_being_saved() {
        let network = random_network(3, &[4], 1);
        let (mut residual, mut lossy) = (Residual::default(), 0f64);
        let (mut sent, mut meant) = (vec![0f64; network.parameters()], vec![0f64; network.parameters()]);
        for round in 0..50 {
            let truth = change(&network, 0.01, round);
            let before = residual.clone();
            let tensors = encode(truth.clone(), &mut residual, 1e9, round).unwrap();
            // Saved, killed and loaded between any two rounds: the same bits.
            let mut loaded: Residual = serde_cbor::from_slice(&serde_cbor::to_vec(&before).unwrap()).unwrap();
            assert_eq!(encode(truth.clone(), &mut loaded, 1e9, round).unwrap(), tensors);
            assert_eq!(loaded, residual);
            let decoded = decode(&tensors, &network, 1e9).unwrap();
            for (i, (s, t)) in decoded.0.iter().flatten().zip(truth.0.iter().flatten()).enumerate() {
                sent[i] += f64::from(*s);
                meant[i] += f64::from(*t);
            }
            lossy = tensors.iter().fold(0.0, |a, t| f64::max(a, f64::from(t.scale)));
        }
        // After any number of rounds what was sent lacks no more than one step of what was meant.
        assert!(sent.iter().zip(&meant).all(|(s, m)| (s - m).abs() < 1.5 * lossy), "a step is {lossy}");
    }

    #[test]
    fn a_change_is_clipped_and_one_that_is_not_finite_changes_nothing() {
        let network = random_network(3, &[4], 1);
        let mut residual = Residual::default();
        let tensors = encode(change(&network, 5.0, 1), &mut residual, 0.5, 1).unwrap();
        let norm = decode(&tensors, &network, 1.0).unwrap().norm();
        assert!((0.45..0.55).contains(&norm), "{norm}");
        let before = residual.clone();
        let mut bad = change(&network, 1.0, 1);
        bad.0[1][0] = f32::NAN;
        assert_eq!(encode(bad, &mut residual, 0.5, 1), Err(Refusal::NonFinite));
        assert_eq!(residual, before);
        let nothing = Delta(network.tensors().map(|t| vec![0.0; t.len()]).collect());
        let tensors = encode(nothing.clone(), &mut Residual::default(), 0.5, 1).unwrap();
        assert_eq!(decode(&tensors, &network, 1.0).unwrap(), nothing);
    }

    #[test]
    fn a_residual_of_another_network_is_forgotten() {
        let (small, large) = (random_network(3, &[4], 1), random_network(3, &[5], 1));
        let mut residual = Residual::default();
        encode(change(&small, 1.0, 1), &mut residual, 1e9, 1).unwrap();
        let tensors = encode(change(&large, 1.0, 1), &mut residual, 1e9, 1).unwrap();
        assert_eq!(tensors, encode(change(&large, 1.0, 1), &mut Residual::default(), 1e9, 1).unwrap());
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn any_tensors_decode_to_a_bounded_change_or_a_reason(
            scales in proptest::collection::vec(any::<f32>(), 4),
            sizes in prop_oneof![Just(vec![12usize, 4, 4, 1]), proptest::collection::vec(0usize..20, 0..6)],
            step in any::<u8>(),
        ) {
            let network = random_network(3, &[4], 1);
            let tensor = |(i, n): (usize, &usize)| Tensor { scale: scales[i % 4], steps: Octets(vec![step; *n]) };
            let tensors: Vec<Tensor> = sizes.iter().enumerate().map(tensor).collect();
            match decode(&tensors, &network, 3.0) {
                Ok(delta) => {
                    prop_assert!(delta.norm() <= 3.0);
                    prop_assert!(delta.applied(&network, 1.0).check().is_ok());
                }
                Err(reason) => prop_assert!([Refusal::WrongShape, Refusal::NonFinite, Refusal::TooLarge].contains(&reason)),
            }
        }
    }
}
