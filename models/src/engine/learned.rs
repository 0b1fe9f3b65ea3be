//! What released models say of one asset: the active one aloud, the one in shadow for comparison only.
//!
//! Place in the flow: a finished step of a life (`crate::life`) -> [`Learned::step`] -> the next health records. A record
//! tells what was known at the last step that was final when it went out, less the time since then; so it does not belong
//! to what late readings revise (E3 leaves it out).

use fettle_wire::{Micros, Name, ReleaseRef, Rul, RulContribution};
use serde::{Deserialize, Serialize};

use super::releases::{Places, Releases};
use crate::life::LifeStep;
use crate::predict::Reason;
use crate::predict::feature::Channel;
use crate::predict::learned::{RulModel, RulState};
use crate::release::{Hash, Release};

/// Inputs that are shown as what moved a prediction.
const SHOWN: usize = 3;
/// Two predictions agree if their medians differ by no more than this share of the greater cap.
const AGREE: f64 = 0.1;
/// A prediction is urgent if its P10 lies below this share of its cap.
const URGENT: f64 = 0.1;

/// A prediction that can be told, in steps; `None` carries why there is none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Said {
    end: Micros,
    /// Length of a step, s.
    step: f64,
    told: Result<Told, Silence>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Told {
    /// P10, P50, P90, in steps.
    quantiles: [f64; 3],
    cap: f64,
    method: String,
    /// Strongest first: the input and by how many steps it moves the prediction.
    moved: Vec<(String, f64)>,
}

/// Why a release says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
enum Silence {
    /// It is not at hand.
    Missing,
    /// Its own reason.
    Reason(Reason),
}

/// One release's memory of an asset's life.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Role {
    release: ReleaseRef,
    hash: Hash,
    life: u64,
    state: Option<RulState>,
    said: Option<Said>,
    /// Numbers that were none.
    failures: u64,
}

/// How a release in shadow compares with the active one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Compared {
    /// Steps at which at least one of the two had something to say.
    pub steps: u64,
    /// Of these, how often both said nearly the same.
    pub agreed: u64,
    /// How often the active one foretold an early end.
    pub urgent_active: u64,
    /// How often the shadow did.
    pub urgent_shadow: u64,
    /// Steps at which the shadow spoke.
    pub spoken: u64,
}

impl Compared {
    pub(super) fn add(&mut self, other: &Self) {
        self.steps += other.steps;
        self.agreed += other.agreed;
        self.urgent_active += other.urgent_active;
        self.urgent_shadow += other.urgent_shadow;
        self.spoken += other.spoken;
    }
}

/// What releases say of one asset.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct Learned {
    active: Option<Role>,
    shadow: Option<Role>,
    compared: Compared,
}

/// What goes into a health record.
pub(super) struct Record {
    pub(super) rul: Rul,
    pub(super) release: ReleaseRef,
    pub(super) contributions: Vec<RulContribution>,
}

impl Learned {
    /// Shows a step to what the class runs.
    pub(super) fn step(&mut self, releases: &mut Releases, places: &Places, step: &LifeStep) {
        self.align(places);
        for (role, hash) in [(&mut self.active, places.active), (&mut self.shadow, places.shadow)] {
            match hash {
                Some(hash) => take(role, releases.get(&hash), hash, step),
                None => *role = None,
            }
        }
        self.compare();
    }

    /// What was in shadow and speaks now goes on with its state (L1), and the other way round.
    fn align(&mut self, places: &Places) {
        let is = |role: &Option<Role>, hash: Option<Hash>| role.as_ref().map(|r| r.hash) == hash;
        if !is(&self.active, places.active) && places.active.is_some() && is(&self.shadow, places.active) {
            std::mem::swap(&mut self.active, &mut self.shadow);
        }
        if !is(&self.shadow, places.shadow) {
            self.shadow = None;
        }
        if self.shadow.is_none() {
            self.compared = Compared::default();
        }
    }

    fn compare(&mut self) {
        let told = |role: &Option<Role>| role.as_ref()?.said.as_ref()?.told.clone().ok();
        if self.shadow.is_none() {
            return;
        }
        let (active, shadow) = (told(&self.active), told(&self.shadow));
        let urgent = |t: &Option<Told>| u64::from(t.as_ref().is_some_and(|t| t.quantiles[0] < URGENT * t.cap));
        let Compared { steps, agreed, urgent_active, urgent_shadow, spoken } = &mut self.compared;
        *steps += u64::from(active.is_some() || shadow.is_some());
        *spoken += u64::from(shadow.is_some());
        *urgent_active += urgent(&active);
        *urgent_shadow += urgent(&shadow);
        if let (Some(a), Some(s)) = (&active, &shadow) {
            *agreed += u64::from((a.quantiles[1] - s.quantiles[1]).abs() <= AGREE * a.cap.max(s.cap));
        }
    }

    /// How `shadow` has compared.
    pub(super) fn compared(&self, shadow: &Hash) -> Option<&Compared> {
        self.shadow.as_ref().filter(|role| role.hash == *shadow).map(|_| &self.compared)
    }

    /// How often `active` gave a number that is none.
    pub(super) fn failures(&self, active: &Hash) -> u64 {
        self.active.as_ref().filter(|role| role.hash == *active).map_or(0, |role| role.failures)
    }

    /// What the active release says for a record whose window ends at `end`, or why it says nothing; `None` where it has
    /// not been asked yet.
    pub(super) fn told(&self, end: Micros) -> Option<Result<Record, &'static str>> {
        let role = self.active.as_ref()?;
        let said = role.said.as_ref()?;
        Some(match &said.told {
            Err(Silence::Missing) => Err("not_at_hand"),
            Err(Silence::Reason(reason)) => Err(reason.as_str()),
            Ok(told) => Ok(record(&role.release, said, told, end)),
        })
    }
}

fn record(release: &ReleaseRef, said: &Said, told: &Told, end: Micros) -> Record {
    let since = ((end - said.end) as f64 * 1e-6).max(0.0);
    let left = |steps: f64| (steps * said.step - since).max(0.0);
    let [p10, p50, p90] = told.quantiles;
    let channel = told.moved.first().and_then(|(channel, _)| Name::new(channel).ok());
    Record {
        rul: Rul::Interval {
            p10: left(p10),
            p50: left(p50),
            // At the cap remaining lives are not told apart any more.
            p90: (p90 < told.cap).then(|| left(p90)),
            method: told.method.clone(),
            channel: channel.unwrap_or_else(no_channel),
        },
        release: release.clone(),
        contributions: told
            .moved
            .iter()
            .map(|(channel, steps)| RulContribution { channel: channel.clone(), moves: steps * said.step })
            .collect(),
    }
}

/// What stands for a channel where none moves the prediction more than others.
fn no_channel() -> Name {
    // A name: letters only.
    Name::new("none").unwrap_or_else(|_| unreachable!("letters make a name"))
}

fn take(role: &mut Option<Role>, release: Option<&mut Release>, hash: Hash, step: &LifeStep) {
    let known = role.as_ref().is_some_and(|r| r.hash == hash);
    let Some(release) = release else {
        if let Some(role) = role.as_mut().filter(|_| known) {
            role.said = Some(said(step, Err(Silence::Missing)));
        }
        return;
    };
    if !known {
        let name = release.manifest.name.clone();
        let release = ReleaseRef { name, version: release.manifest.version, hash: hash.to_string() };
        *role = Some(Role { release, hash, life: step.life, state: None, said: None, failures: 0 });
    }
    let Some(role) = role else { return };
    if role.life != step.life {
        (role.life, role.state, role.said) = (step.life, None, None);
    }
    let told = ask(role, release, step);
    role.failures += u64::from(told == Err(Silence::Reason(Reason::NotFinite)));
    role.said = Some(said(step, told));
}

fn said(step: &LifeStep, told: Result<Told, Silence>) -> Said {
    Said { end: step.end, step: step.length as f64 * 1e-6, told }
}

fn ask(role: &mut Role, release: &mut Release, step: &LifeStep) -> Result<Told, Silence> {
    let (model, scorer) = release.parts();
    let schema = &model.frozen.schema;
    let state = role.state.get_or_insert_with(|| RulState::new(model, step.began()));
    let values = |wanted: &[Channel]| wanted.iter().map(|c| value(step, c)).collect::<Vec<_>>();
    let (settings, channels) = (values(&schema.settings), values(&schema.channels));
    let estimate = state.step(model, scorer, step.time(), &settings, &channels).map_err(Silence::Reason)?;
    let mut moved = model.contributions(scorer, &estimate.row).map_err(Silence::Reason)?;
    moved.truncate(SHOWN);
    Ok(Told {
        quantiles: [estimate.bounds.p10, estimate.p50, estimate.bounds.p90],
        cap: model.filter.cap,
        method: RulModel::method(model).to_owned(),
        moved: moved.into_iter().map(|c| (c.channel, c.moves)).collect(),
    })
}

/// The value of a channel in the unit that the release wants; absent if the asset measures something else by that name.
fn value(step: &LifeStep, wanted: &Channel) -> Option<f64> {
    let at = step.channels.binary_search_by(|(name, _)| (**name).cmp(wanted.name.as_str())).ok()?;
    let unit = step.channels[at].1;
    step.values[at].filter(|_| unit.si_code() == wanted.unit)
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;
    use fettle_wire::Unit;

    use super::*;
    use crate::release::testing::{draft, model};
    use crate::release::{Draft, Key, Policy, open, sign};

    const STEP: Micros = 60_000_000;

    fn release(version: u64, change: impl FnOnce(&mut RulModel)) -> Release {
        let mut model = model();
        change(&mut model);
        let key = SigningKey::from_bytes(&[7; 32]);
        let bytes = sign(&Draft { version, ..draft(&model) }.build().unwrap(), &key).unwrap();
        let keys = [Key::from(&key)];
        open(&bytes, &Policy { keys: &keys, floor: &|_| 0, fits: &|_, _| Ok(()) }).unwrap()
    }

    fn step(index: u64, wear: f64) -> LifeStep {
        let name = |n: &str| Name::new(n).unwrap();
        LifeStep {
            asset: name("p1"),
            life: 1,
            index,
            length: STEP,
            end: (index as Micros + 1) * STEP,
            age: None,
            slides: 6,
            channels: vec![
                (name("noise"), Unit::from_code("K").unwrap()),
                (name("other"), Unit::ONE),
                (name("wear"), Unit::from_code("Cel").unwrap()),
            ],
            values: vec![Some(1.0), None, Some(300.0 + wear)],
        }
    }

    fn shelf(all: [Release; 2]) -> (Releases, [Hash; 2]) {
        let hashes = [0, 1].map(|i| all[i].hash);
        let mut releases = Releases::default();
        releases.loaded.extend(all.into_iter().map(|r| (r.hash, r)));
        (releases, hashes)
    }

    #[test]
    fn what_is_activated_out_of_the_shadow_speaks_at_once_and_what_spoke_can_come_back() {
        let other = |m: &mut RulModel| m.networks[0].layers[2].biases[0] += 0.2;
        let (mut releases, [one, two]) = shelf([release(3, |_| ()), release(4, other)]);
        let mut places = Places { active: Some(one), ..Places::default() };
        let mut learned = Learned::default();
        assert!(learned.told(STEP).is_none());
        learned.step(&mut releases, &places, &step(0, 0.0));
        assert!(matches!(learned.told(STEP), Some(Err("baseline_not_learned"))));
        places.stage(two);
        (1..5).for_each(|i| learned.step(&mut releases, &places, &step(i, 0.0)));
        let spoken = |l: &Learned| l.told(5 * STEP).unwrap().map(|r| r.release.version).unwrap();
        assert_eq!(spoken(&learned), 3);
        let compared = *learned.compared(&two).unwrap();
        // The one in shadow came a step later and needs as many steps for its own baseline.
        assert_eq!((compared.steps, compared.spoken), (3, 2));
        places.activate(two);
        learned.step(&mut releases, &places, &step(5, 0.0));
        assert_eq!(spoken(&learned), 4, "no baseline is learned twice (L1)");
        assert!(places.roll_back());
        learned.step(&mut releases, &places, &step(6, 0.0));
        assert!(!places.roll_back(), "there is one step back");
        assert_eq!((places.active, places.previous), (Some(one), None));
    }

    #[test]
    fn remaining_life_counts_down_between_steps_and_names_what_moved_it() {
        let (mut releases, [one, _]) = shelf([release(3, |_| ()), release(4, |_| ())]);
        let places = Places { active: Some(one), ..Places::default() };
        let mut learned = Learned::default();
        (0..5).for_each(|i| learned.step(&mut releases, &places, &step(i, 0.0)));
        let at = |end| learned.told(end).unwrap().unwrap();
        let (now, later) = (at(5 * STEP), at(5 * STEP + 30_000_000));
        let p50 = |r: &Record| match &r.rul {
            Rul::Interval { p10, p50, .. } if p10 <= p50 => *p50,
            other => panic!("{other:?}"),
        };
        assert!((p50(&now) - p50(&later) - 30.0).abs() < 1e-9 || p50(&later) == 0.0);
        assert_eq!(now.release.hash, one.to_string());
        assert!(!now.contributions.is_empty());
    }

    #[test]
    fn saved_and_loaded_it_says_the_same_and_what_is_missing_is_told() {
        let (mut releases, [one, two]) = shelf([release(3, |_| ()), release(4, |m| m.filter.gain = 0.9)]);
        let places = Places { active: Some(one), shadow: Some(two), previous: None };
        let mut learned = Learned::default();
        (0..9).for_each(|i| learned.step(&mut releases, &places, &step(i, i as f64)));
        let mut back: Learned = serde_cbor::from_slice(&serde_cbor::to_vec(&learned).unwrap()).unwrap();
        assert_eq!(back, learned);
        [&mut learned, &mut back].into_iter().for_each(|l| l.step(&mut releases, &places, &step(9, 9.0)));
        assert_eq!(back, learned);
        releases.loaded.remove(&one);
        learned.step(&mut releases, &places, &step(10, 9.0));
        assert!(matches!(learned.told(11 * STEP), Some(Err("not_at_hand"))));
    }

    #[test]
    fn a_new_life_is_foretold_anew() {
        let (mut releases, [one, _]) = shelf([release(3, |_| ()), release(4, |_| ())]);
        let places = Places { active: Some(one), ..Places::default() };
        let mut learned = Learned::default();
        (0..5).for_each(|i| learned.step(&mut releases, &places, &step(i, 0.0)));
        assert!(matches!(learned.told(5 * STEP), Some(Ok(_))));
        learned.step(&mut releases, &places, &LifeStep { life: 2, ..step(5, 0.0) });
        assert!(matches!(learned.told(6 * STEP), Some(Err("baseline_not_learned"))));
    }
}
