//! The site's side: from the active release and the site's own rows to one [`Update`], by a few local epochs.
//!
//! A private state: idle -> learning (one mini-batch a call) -> idle, with an update on the way out. What is kept between
//! two updates is the residual of rounding and the count of updates; what is kept within one is the trainer. All of it is
//! [`Learner`], which may be saved between any two calls (G4), so a site that is killed goes on where it was.
//!
//! The learning rate falls with the cohort's version, rate / (1 + version / fade), because averaging changes that were
//! each made with a large rate ends in a valley's walls and not on its floor. An optional proximal term (FedProx: Li et
//! al. 2020) pulls towards the release; a site whose rows are unlike the others' then moves less far from it.

use serde::{Deserialize, Serialize};

use super::codec::{self, Delta, Residual};
use super::message::{self, Update, Verdict, Who, fingerprint};
use super::octets::Fixed;
use super::refusal::Refusal;
use crate::predict::network::Network;
use crate::train::random::Random;
use crate::train::{Plan, Progress, Samples, Trainer, loss};
use fettle_wire::id::Name;

/// How a site learns. The defaults were chosen on units held out of train files (docs/federation.md).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SitePlan {
    /// Passes over the site's rows.
    pub epochs: u32,
    /// Rows in a mini-batch.
    pub batch: usize,
    /// Learning rate at the cohort's first version.
    pub rate: f32,
    /// Versions after which the rate is half of that.
    pub fade: f32,
    /// Decay of weights, as in [`Plan`].
    pub decay: f32,
    /// Memory of the averaged weights, as in [`Plan`].
    pub average: f32,
    /// Pull towards the release; 0: none.
    pub proximal: f32,
    /// Length to which the change is clipped ([`super::Rules::clip`]).
    pub clip: f64,
}

impl Default for SitePlan {
    fn default() -> Self {
        let clip = super::Rules::default().clip;
        Self { epochs: 3, batch: 64, rate: 3e-3, fade: 30.0, decay: 0.5, average: 0.9, proximal: 0.0, clip }
    }
}

impl SitePlan {
    fn at(&self, version: u64, seed: u64) -> Plan {
        let rate = self.rate / (1.0 + version as f32 / self.fade);
        Plan {
            batch: self.batch,
            epochs: self.epochs,
            patience: self.epochs,
            rate,
            decay: self.decay,
            average: self.average,
            noise: 0.0,
            proximal: self.proximal,
            seed,
        }
    }
}

/// The release a site begins with.
#[derive(Debug, Clone, Copy)]
pub struct Base<'a> {
    /// Its cohort.
    pub cohort: &'a Name,
    /// Its hash.
    pub release: Fixed<32>,
    /// Its version within the cohort.
    pub version: u64,
    /// Its network.
    pub network: &'a Network,
}

/// What a site keeps of its learning.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Learner {
    residual: Residual,
    sequence: u64,
    running: Option<Running>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Running {
    cohort: Name,
    release: Fixed<32>,
    version: u64,
    base: Network,
    trainer: Trainer,
    seed: u64,
    clip: f64,
}

impl Learner {
    /// Begins to learn from a release; what was begun and not finished is dropped. `seed` is the site's own and constant:
    /// what is drawn follows from it, the release's version and the count of updates.
    pub fn begin(&mut self, base: Base<'_>, plan: &SitePlan, seed: u64) {
        let seed = Random::of(seed ^ base.version.rotate_left(32), self.sequence).bits();
        self.running = Some(Running {
            cohort: base.cohort.clone(),
            release: base.release,
            version: base.version,
            base: base.network.clone(),
            trainer: Trainer::from(base.network.clone(), plan.at(base.version, seed)),
            seed,
            clip: plan.clip,
        });
    }

    /// The release it learns from at present.
    pub fn learning_from(&self) -> Option<Fixed<32>> {
        self.running.as_ref().map(|r| r.release)
    }

    /// One mini-batch; after the last one the update. `train` and `held` must be the same until then; `held` (units the
    /// site does not learn from, may be empty) stops early and gives the losses told.
    ///
    /// # Errors
    /// [`Refusal::NoSamples`] without rows, [`Refusal::WrongShape`] for rows the network does not take,
    /// [`Refusal::NonFinite`] if learning left the finite numbers; the learner is idle then, its residual as it was.
    pub fn advance(&mut self, who: &Who, train: &Samples, held: &Samples) -> Result<Option<Update>, Refusal> {
        let Some(running) = &mut self.running else { return Ok(None) };
        if running.trainer.advance(train, held) != Progress::Done {
            return Ok(None);
        }
        let Some(running) = self.running.take() else { return Ok(None) };
        if train.is_empty() {
            return Err(Refusal::NoSamples);
        }
        if train.width() != running.base.inputs() {
            return Err(Refusal::WrongShape);
        }
        let trained = running.trainer.into_best();
        let judged_by = if held.is_empty() { train } else { held };
        let change = Delta::between(&running.base, &trained).ok_or(Refusal::WrongShape)?;
        let tensors = codec::encode(change, &mut self.residual, running.clip, running.seed)?;
        self.sequence += 1;
        Ok(Some(Update {
            version: message::VERSION,
            cohort: running.cohort,
            who: who.clone(),
            base: running.release,
            base_version: running.version,
            sequence: self.sequence,
            samples: u32::try_from(train.len()).unwrap_or(u32::MAX),
            loss_before: loss(&running.base, judged_by) as f32,
            loss_after: loss(&trained, judged_by) as f32,
            tensors,
        }))
    }
}

/// What a site finds about a candidate on its own rows.
pub fn judge(cohort: &Name, who: &Who, active: &Network, candidate: &Network, rows: &Samples) -> Verdict {
    Verdict {
        version: message::VERSION,
        cohort: cohort.clone(),
        who: who.clone(),
        candidate: fingerprint(candidate),
        samples: u32::try_from(rows.len()).unwrap_or(u32::MAX),
        loss_active: loss(active, rows) as f32,
        loss_candidate: loss(candidate, rows) as f32,
    }
}

#[cfg(test)]
mod tests {
    use super::super::seal::{self, Kind};
    use super::*;
    use crate::train::random_network;
    use ed25519_dalek::SigningKey;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    fn world(width: usize, rows: usize, seed: u64) -> Samples {
        let mut random = Random::new(seed);
        let mut samples = Samples::new(width);
        for _ in 0..rows {
            let row: Vec<f32> = (0..width).map(|_| random.normal() as f32).collect();
            assert!(samples.push(&row, (row[0].abs() / 2.0).min(1.0)));
        }
        samples
    }

    fn base<'a>(cohort: &'a Name, network: &'a Network, version: u64) -> Base<'a> {
        Base { cohort, release: Fixed([3; 32]), version, network }
    }

    fn finish(learner: &mut Learner, who: &Who, train: &Samples, held: &Samples) -> Update {
        (0..10_000).find_map(|_| learner.advance(who, train, held).unwrap()).unwrap()
    }

    #[test]
    fn a_sealed_update_of_7617_weights_fits_into_8_kib_with_the_longest_names() {
        let network = random_network(85, &[64, 32], 1);
        assert_eq!(network.parameters(), 7_617);
        let long = name(&"n".repeat(64));
        let who = Who { site: long.clone(), agent: long.clone() };
        let (train, held) = (world(85, 300, 1), world(85, 50, 2));
        let mut learner = Learner { sequence: u64::MAX - 1, ..Learner::default() };
        learner.begin(Base { version: u64::MAX, ..base(&long, &network, 0) }, &SitePlan::default(), 5);
        let update = finish(&mut learner, &who, &train, &held);
        assert!(update.loss_after < update.loss_before && update.samples == 300);
        let sealed = seal::seal(Kind::Update, &update, &SigningKey::from_bytes(&[1; 32])).unwrap();
        assert!(sealed.len() <= 8_192, "{} bytes", sealed.len());
    }

    #[test]
    fn a_site_killed_anywhere_sends_the_same_bits() {
        let (network, cohort) = (random_network(3, &[8], 1), name("c"));
        let who = Who { site: name("a"), agent: name("gw") };
        let (train, held) = (world(3, 500, 1), world(3, 100, 2));
        let mut through = Learner::default();
        let mut killed = Learner::default();
        for round in 0..3 {
            through.begin(base(&cohort, &network, round), &SitePlan::default(), 5);
            killed.begin(base(&cohort, &network, round), &SitePlan::default(), 5);
            let expected = finish(&mut through, &who, &train, &held);
            let found = (0..1000).find_map(|_| {
                let bytes = serde_cbor::to_vec(&killed).unwrap();
                killed = serde_cbor::from_slice(&bytes).unwrap();
                killed.advance(&who, &train, &held).unwrap()
            });
            assert_eq!(found, Some(expected), "round {round}");
            assert!(killed.learning_from().is_none() && killed.residual == through.residual);
        }
        assert_ne!(through.residual, Residual::default());
    }

    #[test]
    fn without_rows_or_with_others_than_the_network_takes_there_is_a_reason() {
        let (network, cohort) = (random_network(3, &[8], 1), name("c"));
        let who = Who { site: name("a"), agent: name("gw") };
        let mut learner = Learner::default();
        assert_eq!(learner.advance(&who, &world(3, 9, 1), &Samples::new(3)), Ok(None), "nothing begun");
        for (rows, reason) in [(Samples::new(3), Refusal::NoSamples), (world(4, 9, 1), Refusal::WrongShape)] {
            learner.begin(base(&cohort, &network, 0), &SitePlan::default(), 5);
            assert_eq!(learner.advance(&who, &rows, &Samples::new(3)), Err(reason));
            assert!(learner.learning_from().is_none());
        }
    }

    #[test]
    fn a_verdict_names_the_candidate_and_both_errors() {
        let (active, candidate) = (random_network(3, &[8], 1), random_network(3, &[8], 2));
        let who = Who { site: name("a"), agent: name("gw") };
        let rows = world(3, 50, 1);
        let verdict = judge(&name("c"), &who, &active, &candidate, &rows);
        assert_eq!(verdict.candidate, fingerprint(&candidate));
        assert_eq!(verdict.loss_active, loss(&active, &rows) as f32);
    }
}
