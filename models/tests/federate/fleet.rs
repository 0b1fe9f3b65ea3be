//! A small fleet to make claims about: sites with keys and rows, a centre, and updates in any state of disrepair.

use ed25519_dalek::SigningKey;
use fettle_models::federate::message::fingerprint;
use fettle_models::federate::seal::{self, Kind};
use fettle_models::federate::{
    Base, Cohort, Effect, Event, Fixed, Jury, Keyring, Learner, Rules, SitePlan, Update, Who,
};
use fettle_models::predict::network::Network;
use fettle_models::train::random::Random;
use fettle_models::train::{Samples, random_network};
use fettle_wire::id::Name;

pub(crate) const HIDDEN: [usize; 1] = [8];

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

pub(crate) struct Fleet {
    pub(crate) keys: Keyring,
    pub(crate) root: Samples,
}

pub(crate) fn who(site: usize) -> Who {
    Who { site: name(&format!("site-{site}")), agent: name("gw") }
}

pub(crate) fn key(site: usize) -> SigningKey {
    SigningKey::from_bytes(&[site as u8 + 1; 32])
}

/// y = |x0| / 2 + x1 / 4, the same law at every site.
pub(crate) fn rows(n: usize, seed: u64) -> Samples {
    let mut random = Random::new(seed);
    let mut samples = Samples::new(3);
    for _ in 0..n {
        let row = [0, 1, 2].map(|_| random.normal() as f32);
        assert!(samples.push(&row, row[0].abs() / 2.0 + row[1] / 4.0));
    }
    samples
}

impl Fleet {
    pub(crate) fn new(sites: usize) -> Self {
        let mut keys = Keyring::default();
        (0..sites).for_each(|i| keys.add(key(i).verifying_key(), who(i)));
        Self { keys, root: rows(300, 999) }
    }

    pub(crate) fn jury(&self) -> Jury<'_> {
        Jury { keys: &self.keys, root: Some(&self.root) }
    }

    /// A cohort whose first version is released.
    pub(crate) fn cohort(&self, rules: Rules) -> Cohort {
        let network = random_network(3, &HIDDEN, 1);
        let mut cohort = Cohort::new(name("pump"), rules, network).unwrap();
        self.release(&mut cohort);
        cohort
    }

    /// Carries out what the cohort last asked to be published.
    pub(crate) fn release(&self, cohort: &mut Cohort) {
        let (version, network) = cohort.active();
        let hash = fingerprint(network);
        cohort.step(0, Event::Released(version, hash), self.jury(), &mut Vec::new());
    }

    pub(crate) fn step(&self, cohort: &mut Cohort, now: i64, event: Event<'_>) -> Vec<Effect> {
        let mut effects = Vec::new();
        cohort.step(now, event, self.jury(), &mut effects);
        effects
    }

    /// A site that never learned before sends what it learned from the active version.
    pub(crate) fn honest(&self, cohort: &mut Cohort, now: i64, site: usize) -> Vec<Effect> {
        let bytes = sealed(&fresh(cohort, site), site);
        self.step(cohort, now, Event::Update(&bytes))
    }
}

/// What a site learns from the cohort's active version.
pub(crate) fn learn(learner: &mut Learner, cohort: &Cohort, site: usize, rows: &Samples) -> Update {
    let (version, network) = cohort.active();
    learn_from(learner, cohort.name(), version, network, site, rows)
}

pub(crate) fn learn_from(
    learner: &mut Learner,
    cohort: &Name,
    version: u64,
    network: &Network,
    site: usize,
    rows: &Samples,
) -> Update {
    let base = Base { cohort, release: fingerprint(network), version, network };
    learner.begin(base, &SitePlan { rate: 1e-2, ..SitePlan::default() }, site as u64);
    let nothing = Samples::new(rows.width());
    (0..100_000).find_map(|_| learner.advance(&who(site), rows, &nothing).unwrap()).unwrap()
}

pub(crate) fn fresh(cohort: &Cohort, site: usize) -> Update {
    learn(&mut Learner::default(), cohort, site, &rows(200, site as u64))
}

pub(crate) fn sealed(update: &Update, site: usize) -> Vec<u8> {
    seal::seal(Kind::Update, update, &key(site)).unwrap()
}

/// Everything of a cohort but its account of what was taken and refused, as bytes.
pub(crate) fn weights(cohort: &Cohort) -> (u64, Fixed<32>) {
    let (version, network) = cohort.active();
    (version, fingerprint(network))
}
