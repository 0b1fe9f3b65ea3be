//! The trainer: AdamW over mini-batches, an average of late weights, early stop on held-out samples.
//!
//! Sources: Loshchilov, Hutter (2019), "Decoupled weight decay regularization" (AdamW, cosine schedule); He et al. (2015),
//! "Delving deep into rectifiers" (first weights); Polyak, Juditsky (1992) (averaging); Li et al. (2020), "Federated
//! optimization in heterogeneous networks" (proximal term).

use serde::{Deserialize, Serialize};

use super::gradient::Work;
use super::random::Random;
use super::samples::Samples;
use crate::predict::network::{Layer, Network};

/// How to train. The defaults were chosen by cross-validation over units (docs/prognosis.md).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Plan {
    /// Rows in a mini-batch.
    pub batch: usize,
    /// Passes over the samples at most.
    pub epochs: u32,
    /// Passes without a better held-out error after which training ends.
    pub patience: u32,
    /// Learning rate at the start; it falls along a cosine to a hundredth at the last epoch.
    pub rate: f32,
    /// Decay of weights (not biases) per step, times the learning rate.
    pub decay: f32,
    /// Memory of the averaged weights, which are what is judged and kept; 0: none.
    pub average: f32,
    /// Standard deviation of noise added to each (scaled) input anew each time it is seen; 0: none.
    pub noise: f32,
    /// Strength of the pull towards the weights training began with; 0: none.
    pub proximal: f32,
    /// Everything random follows from it.
    pub seed: u64,
}

impl Default for Plan {
    fn default() -> Self {
        let (batch, epochs, patience, rate, decay) = (256, 70, 20, 3e-3, 0.5);
        Self { batch, epochs, patience, rate, decay, average: 0.995, noise: 0.0, proximal: 0.0, seed: 1 }
    }
}

/// What a call of [`Trainer::advance`] has done.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Progress {
    /// One mini-batch.
    Batch,
    /// The last mini-batch of an epoch; mean squared errors of both sets since.
    Epoch {
        /// Which, from 1.
        epoch: u32,
        /// On what is learned from, while it was learned.
        train: f64,
        /// On held-out samples.
        held: f64,
    },
    /// Nothing: training is over.
    Done,
}

/// A training that can be stopped, saved and gone on with between any two mini-batches.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Trainer {
    plan: Plan,
    /// Where the proximal term pulls to.
    origin: Option<Network>,
    network: Network,
    first: Network,
    second: Network,
    averaged: Network,
    best: Network,
    best_held: f64,
    best_epoch: u32,
    epoch: u32,
    /// Mini-batches done in this epoch.
    batch: u32,
    step: u64,
    sum: f64,
    done: bool,
    #[serde(skip)]
    order: Vec<u32>,
    #[serde(skip)]
    work: Work,
    #[serde(skip)]
    gradient: Option<Network>,
}

/// A network of these hidden layers with one output, its weights drawn after He et al.
pub fn random_network(inputs: usize, hidden: &[usize], seed: u64) -> Network {
    let mut random = Random::of(seed, 1);
    let sizes: Vec<usize> = std::iter::once(inputs).chain(hidden.iter().copied()).chain([1]).collect();
    let layer = |pair: &[usize]| {
        let (inputs, outputs) = (pair[0], pair[1]);
        let sd = (2.0 / inputs as f64).sqrt();
        let weights = (0..inputs * outputs).map(|_| (sd * random.normal()) as f32).collect();
        Layer { inputs, outputs, weights, biases: vec![0.0; outputs] }
    };
    Network { layers: sizes.windows(2).map(layer).collect() }
}

impl Trainer {
    /// A training that begins with fresh weights.
    pub fn fresh(inputs: usize, hidden: &[usize], plan: Plan) -> Self {
        let network = random_network(inputs, hidden, plan.seed);
        Self::from(network, plan)
    }

    /// A training that begins with these weights.
    pub fn from(network: Network, plan: Plan) -> Self {
        let mut zeros = network.clone();
        zeros.tensors_mut().for_each(|t| t.fill(0.0));
        let origin = (plan.proximal > 0.0).then(|| network.clone());
        Self {
            origin,
            first: zeros.clone(),
            second: zeros,
            averaged: network.clone(),
            best: network.clone(),
            network,
            best_held: f64::INFINITY,
            best_epoch: 0,
            epoch: 0,
            batch: 0,
            step: 0,
            sum: 0.0,
            done: plan.epochs == 0,
            plan,
            order: Vec::new(),
            work: Work::default(),
            gradient: None,
        }
    }

    /// One mini-batch. `train` and `held` must be the same in every call.
    pub fn advance(&mut self, train: &Samples, held: &Samples) -> Progress {
        self.done |= train.is_empty() || train.width() != self.network.inputs();
        if self.done {
            return Progress::Done;
        }
        self.take_order(train.len());
        let size = self.plan.batch.max(1);
        let begin = self.batch as usize * size;
        let end = (begin + size).min(train.len());
        self.learn(train, begin..end);
        self.batch += 1;
        if end < train.len() {
            return Progress::Batch;
        }
        self.finish_epoch(train, held)
    }

    /// To the end.
    pub fn run(mut self, train: &Samples, held: &Samples) -> Network {
        while self.advance(train, held) != Progress::Done {}
        self.into_best()
    }

    /// The best network so far: the one with the least held-out error.
    pub fn into_best(self) -> Network {
        if self.best_held.is_finite() { self.best } else { self.averaged }
    }

    /// Mean squared error of the best network on held-out samples, if there was an epoch.
    pub fn held(&self) -> Option<f64> {
        self.best_held.is_finite().then_some(self.best_held)
    }

    /// Epochs done.
    pub fn epochs(&self) -> u32 {
        self.epoch
    }

    /// The order of rows follows from seed and epoch alone, so that it need not be saved.
    fn take_order(&mut self, rows: usize) {
        if self.order.len() != rows || self.batch == 0 {
            self.order = (0..rows as u32).collect();
            Random::of(self.plan.seed, 2 + u64::from(self.epoch)).shuffle(&mut self.order);
        }
    }

    fn learn(&mut self, train: &Samples, range: std::ops::Range<usize>) {
        let n = range.len() as f32;
        let mut gradient = self.gradient.take().unwrap_or_else(|| self.network.clone());
        gradient.tensors_mut().for_each(|t| t.fill(0.0));
        let noise = (self.plan.noise, Random::of(self.plan.seed ^ 0x006E_6F69_7365, self.step));
        self.sum += self.work.backward(&self.network, train, &self.order[range], noise, &mut gradient);
        gradient.tensors_mut().for_each(|t| t.iter_mut().for_each(|g| *g /= n));
        if let Some(origin) = &self.origin {
            let pulls = gradient.tensors_mut().zip(self.network.tensors()).zip(origin.tensors());
            for ((g, w), o) in pulls {
                g.iter_mut().zip(w).zip(o).for_each(|((g, w), o)| *g += self.plan.proximal * (w - o));
            }
        }
        self.step += 1;
        self.descend(&gradient);
        self.gradient = Some(gradient);
    }

    /// AdamW with its usual constants.
    fn descend(&mut self, gradient: &Network) {
        const B1: f64 = 0.9;
        const B2: f64 = 0.999;
        const TINY: f32 = 1e-8;
        let t = self.step as f64;
        let (c1, c2) = (1.0 - libm::pow(B1, t), 1.0 - libm::pow(B2, t));
        let rate = self.rate();
        let (b1, b2) = (B1 as f32, B2 as f32);
        let (step, root) = ((f64::from(rate) / c1) as f32, libm::sqrt(c2) as f32);
        // Averaging begins as a plain mean, so that the first weights are soon forgotten.
        let keep = self.plan.average.min((t / (t + 10.0)) as f32);
        let moments = self.first.tensors_mut().zip(self.second.tensors_mut());
        let weights = self.network.tensors_mut().zip(self.averaged.tensors_mut());
        for (i, (((first, second), (w, averaged)), g)) in moments.zip(weights).zip(gradient.tensors()).enumerate() {
            let decay = if i % 2 == 0 { 1.0 - rate * self.plan.decay } else { 1.0 };
            for k in 0..g.len() {
                first[k] = b1 * first[k] + (1.0 - b1) * g[k];
                second[k] = b2 * second[k] + (1.0 - b2) * g[k] * g[k];
                w[k] = decay * w[k] - step * first[k] / (second[k].sqrt() / root + TINY);
                averaged[k] = keep * averaged[k] + (1.0 - keep) * w[k];
            }
        }
    }

    fn rate(&self) -> f32 {
        let share = f64::from(self.epoch) / f64::from(self.plan.epochs.max(1));
        self.plan.rate * (0.01 + 0.99 * 0.5 * (1.0 + libm::cos(core::f64::consts::PI * share))) as f32
    }

    fn finish_epoch(&mut self, train: &Samples, held: &Samples) -> Progress {
        let train_error = 2.0 * self.sum / train.len() as f64;
        // Without held-out samples the last network is the best.
        let held_error = match held.len() {
            0 => train_error,
            n => 2.0 * self.work.loss(&self.averaged, held) / n as f64,
        };
        self.epoch += 1;
        (self.batch, self.sum) = (0, 0.0);
        if held_error < self.best_held || held.is_empty() {
            (self.best_held, self.best_epoch) = (held_error, self.epoch);
            self.best.clone_from(&self.averaged);
        }
        self.done = self.epoch >= self.plan.epochs || self.epoch - self.best_epoch > self.plan.patience;
        Progress::Epoch { epoch: self.epoch, train: train_error, held: held_error }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: Plan = Plan {
        batch: 32,
        epochs: 60,
        patience: 60,
        rate: 5e-3,
        decay: 1e-3,
        average: 0.99,
        noise: 0.0,
        proximal: 0.0,
        seed: 5,
    };

    /// y = |x0| / 2 + x1 / 4: nothing a linear model can say.
    fn world(rows: usize, seed: u64) -> Samples {
        let mut random = Random::new(seed);
        let mut samples = Samples::new(3);
        for _ in 0..rows {
            let row = [0, 1, 2].map(|_| random.normal() as f32);
            assert!(samples.push(&row, row[0].abs() / 2.0 + row[1] / 4.0));
        }
        samples
    }

    #[test]
    fn it_learns_what_is_not_linear() {
        let (train, held) = (world(1000, 1), world(300, 2));
        let mut trainer = Trainer::fresh(3, &[16, 8], PLAN);
        while trainer.advance(&train, &held) != Progress::Done {}
        // The target's variance is 0.09 + 0.06.
        assert!(trainer.held().unwrap() < 0.003, "{:?}", trainer.held());
        let network = trainer.into_best();
        assert!((network.evaluate(&[-1.0, 0.5, 0.3]) - 0.625).abs() < 0.1);
    }

    #[test]
    fn the_same_seed_gives_the_same_bits_through_a_kill_and_resume() {
        let (train, held) = (world(500, 1), world(100, 2));
        for noise in [0.0, 0.1] {
            let plan = Plan { epochs: 5, noise, ..PLAN };
            let through = Trainer::fresh(3, &[8], plan.clone()).run(&train, &held);
            let mut stopped = Trainer::fresh(3, &[8], plan);
            for _ in 0..37 {
                stopped.advance(&train, &held);
            }
            let saved = serde_cbor::to_vec(&stopped).unwrap();
            let resumed: Trainer = serde_cbor::from_slice(&saved).unwrap();
            assert_eq!(resumed.run(&train, &held), through);
        }
        let other = Trainer::fresh(3, &[8], Plan { epochs: 5, seed: 6, ..PLAN }).run(&train, &held);
        assert_ne!(other, Trainer::fresh(3, &[8], Plan { epochs: 5, ..PLAN }).run(&train, &held));
    }

    #[test]
    fn training_ends_when_held_out_samples_no_longer_gain() {
        let (train, mut held) = (world(300, 1), Samples::new(3));
        for i in 0..100 {
            held.push(train.row(i), -5.0);
        }
        let mut trainer = Trainer::fresh(3, &[8], Plan { patience: 3, ..PLAN });
        while trainer.advance(&train, &held) != Progress::Done {}
        assert!(trainer.epochs() < 60, "{}", trainer.epochs());
    }

    #[test]
    fn a_proximal_term_keeps_a_site_near_what_it_was_given() {
        let (train, held) = (world(300, 1), Samples::new(3));
        let start = random_network(3, &[8], 9);
        let moved = |proximal| {
            let end = Trainer::from(start.clone(), Plan { proximal, epochs: 10, ..PLAN }).run(&train, &held);
            let pairs = end.tensors().flatten().zip(start.tensors().flatten());
            pairs.map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>()
        };
        assert!(moved(1.0) < 0.25 * moved(0.0));
    }

    #[test]
    fn rows_that_cannot_be_learned_from_are_refused() {
        let mut samples = Samples::new(2);
        assert!(
            !samples.push(&[1.0], 1.0)
                && !samples.push(&[1.0, f32::NAN], 1.0)
                && !samples.push(&[1.0, 2.0], f32::INFINITY)
        );
        assert_eq!(Trainer::fresh(2, &[4], PLAN).advance(&samples, &samples), Progress::Done);
    }
}
