//! Sites that lie, with keys that are good: what they do to what an honest site would have sent.

use clap::ValueEnum;
use fettle_models::federate::{Octets, Statistics, Update, Verdict};
use fettle_models::train::Samples;
use fettle_models::train::random::Random;
use serde::Serialize;

/// What attackers do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Attack {
    /// The change turned round and ten times as long, as far as the bound on its length allows.
    Sign,
    /// Noise of the greatest length that is not refused.
    Noise,
    /// Step sizes that are no numbers.
    Nan,
    /// Step sizes of 1e30.
    Huge,
    /// Learned from turned targets, with a claim of four thousand million rows and no error.
    Lie,
    /// Bytes that are no message.
    Malformed,
}

impl Attack {
    /// Whether a centre must not even notice it.
    pub(super) fn is_void(self) -> bool {
        matches!(self, Self::Nan | Self::Huge | Self::Malformed)
    }

    /// The rows an attacker learns from.
    pub(super) fn rows(self, honest: &Samples) -> Samples {
        let mut rows = Samples::new(honest.width());
        let turned = |target: f32| if self == Self::Lie { 1.0 - target } else { target };
        (0..honest.len()).for_each(|i| {
            rows.push(honest.row(i), turned(honest.target(i)));
        });
        rows
    }

    pub(super) fn update(self, update: &mut Update, clip: f64, random: &mut Random) {
        let scales = |update: &mut Update, value: f32| update.tensors.iter_mut().for_each(|t| t.scale = value);
        match self {
            Self::Nan => scales(update, f32::NAN),
            Self::Huge => scales(update, 1e30),
            Self::Sign => {
                for tensor in &mut update.tensors {
                    tensor.steps.0.iter_mut().for_each(|s| *s = (*s as i8).saturating_neg() as u8);
                    tensor.scale *= 10.0;
                }
                shorten(update, clip);
            }
            Self::Noise => {
                for tensor in &mut update.tensors {
                    tensor.scale = 1.0;
                    let noise = |s: &mut u8| *s = ((30.0 * random.normal()).clamp(-127.0, 127.0) as i8) as u8;
                    tensor.steps.0.iter_mut().for_each(noise);
                }
                shorten(update, clip);
            }
            Self::Lie => (update.samples, update.loss_before, update.loss_after) = (u32::MAX, 1.0, 0.0),
            Self::Malformed => {}
        }
    }

    /// What is put on the log in the place of a sealed update.
    pub(super) fn bytes(self, sealed: Vec<u8>, random: &mut Random) -> Vec<u8> {
        match self {
            Self::Malformed => (0..random.below(sealed.len())).map(|_| random.bits() as u8).collect(),
            _ => sealed,
        }
    }

    pub(super) fn statistics(self, statistics: &mut Statistics) {
        for cell in &mut statistics.cells {
            match self {
                Self::Nan => cell.mean = f64::NAN,
                Self::Huge => cell.mean = 1e30,
                Self::Malformed => cell.m2 = -1.0,
                // Believable means, a claim of a thousand times the rows.
                Self::Lie => {
                    let sd = cell.sd();
                    (cell.count, cell.m2, cell.mean) = (1e3 * cell.count, 1e3 * cell.m2, cell.mean + 2.0 * sd);
                }
                Self::Sign | Self::Noise => {}
            }
        }
    }

    pub(super) fn reach(self, honest: f64) -> f64 {
        match self {
            Self::Nan | Self::Malformed => f64::NAN,
            Self::Huge | Self::Lie => 1e30,
            Self::Sign | Self::Noise => honest,
        }
    }

    /// Praise for what is bad and blame for what is good.
    pub(super) fn verdict(self, verdict: &mut Verdict) {
        match self {
            Self::Nan => verdict.loss_active = f32::NAN,
            Self::Huge => (verdict.loss_active, verdict.loss_candidate) = (-1e30, 1e30),
            _ => std::mem::swap(&mut verdict.loss_active, &mut verdict.loss_candidate),
        }
    }
}

fn shorten(update: &mut Update, clip: f64) {
    let length = |t: &fettle_models::federate::Tensor| {
        let Octets(steps) = &t.steps;
        f64::from(t.scale).powi(2) * steps.iter().map(|s| f64::from(*s as i8).powi(2)).sum::<f64>()
    };
    let norm = update.tensors.iter().map(length).sum::<f64>().sqrt();
    if norm > clip {
        update.tensors.iter_mut().for_each(|t| t.scale = (f64::from(t.scale) * clip / norm) as f32);
    }
}
