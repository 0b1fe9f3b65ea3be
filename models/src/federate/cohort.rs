//! The centre's side of one cohort: a buffer of updates, rounds, a gate. `step(now, event, jury) -> effects`.
//!
//! ```text
//! gathering --enough updates--> merged --root set: judged at once--> published | void
//!     ^                            '--no root set: sites judge-----> published | void
//!     '----------------------------------------------------------------------'
//! ```
//! While sites judge a candidate further updates are gathered, and merged only after it. A published version is active at
//! once; its release hash is known when the shell has signed it ([`Event::Released`]), and until then no update can be
//! based on it. All that is remembered is in [`Cohort`], which may be saved after any step together with the place in the
//! topic up to which it read; [`Cohort::outstanding`] repeats what the shell may not have carried out.
//!
//! Replays are known by the digest of their bytes, kept for as long as their base is young enough to be taken, so that
//! a site that lost its store and counts from 1 again is heard at once.
//!
//! It must never: apply anything refused in any part (G1), or let the order of arrival show (G2).

use std::collections::{BTreeMap, VecDeque};

use fettle_wire::id::Name;
use serde::{Deserialize, Serialize};

use super::codec;
use super::gate;
use super::merge::{self, Part};
use super::message::{MAX_SMALL, Update, Verdict, Who, fingerprint, update_limit};
use super::octets::Fixed;
use super::refusal::{Refusal, Void};
use super::rules::Rules;
use super::seal::{self, Keyring, Kind, MessageDigest};
use crate::predict::network::Network;
use crate::train::Samples;

/// What the centre is given by its operator: configuration, and so no part of the state.
#[derive(Debug, Clone, Copy)]
pub struct Jury<'a> {
    /// Whose word counts.
    pub keys: &'a Keyring,
    /// Rows of units no site learns from, if the operator has some.
    pub root: Option<&'a Samples>,
}

/// What happens to a cohort.
#[derive(Debug, Clone)]
pub enum Event<'a> {
    /// A sealed [`Update`] came.
    Update(&'a [u8]),
    /// A sealed [`Verdict`] came.
    Verdict(&'a [u8]),
    /// So many sites of the cohort are online.
    Online(u32),
    /// Time has passed.
    Tick,
    /// The version was signed and published under this hash.
    Released(u64, Fixed<32>),
    /// The operator puts another network in place (a roll-back, a central training); what is gathered is dropped.
    Replace(Network),
}

/// What is to be done, or to be told.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// An update or verdict was taken.
    Taken {
        /// Whose.
        who: Who,
        /// Versions its base lies behind.
        staleness: u64,
        /// It took the place of an older one of the site.
        replaced: bool,
    },
    /// One was not.
    Refused {
        /// Whose, as far as a signature proves it.
        who: Option<Who>,
        /// Why.
        reason: Refusal,
    },
    /// Ask the sites to judge this candidate against the active release.
    Judge {
        /// Which round.
        round: u64,
        /// The candidate.
        network: Network,
    },
    /// Sign and publish this network, then tell [`Event::Released`].
    Publish {
        /// Its version.
        version: u64,
        /// Its weights.
        network: Network,
        /// How it came to be; none for one put in place by the operator or told again after a restart.
        account: Option<Account>,
    },
    /// The round gave no new weights.
    Void {
        /// Why.
        reason: Void,
        /// What was tried.
        account: Account,
    },
}

/// The account of a round.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Account {
    /// Which round, from 1; void ones count.
    pub round: u64,
    /// Who contributed, in ascending order.
    pub contributions: Vec<Contribution>,
    /// Error of the active model and of the candidate on the root set.
    pub root: Option<(f64, f64)>,
    /// Sites' verdicts.
    pub verdicts: usize,
}

/// One site's part in a round.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Contribution {
    /// Who.
    pub who: Who,
    /// Versions its base lay behind.
    pub staleness: u64,
    /// Rows it reported.
    pub samples: u32,
    /// Its share of all weights.
    pub weight: f64,
    /// Length of its change.
    pub norm: f64,
    /// Factor by which that was bounded.
    pub bounded: f64,
    /// What it reported of its own rows.
    pub loss: (f32, f32),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Candidate {
    network: Network,
    fingerprint: Fixed<32>,
    since: i64,
    account: Account,
    verdicts: BTreeMap<Name, (f32, f32)>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Seen {
    site: Name,
    base_version: u64,
}

/// All that is remembered of a cohort.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cohort {
    name: Name,
    rules: Rules,
    version: u64,
    network: Network,
    /// Hash of the active release, once it has one.
    released: Option<Fixed<32>>,
    /// Versions and hashes of releases, youngest last; more than are young enough, so that a stale base is told from an
    /// unknown one.
    known: VecDeque<(u64, Fixed<32>)>,
    round: u64,
    online: u32,
    /// When the buffer got its first update.
    since: Option<i64>,
    buffer: BTreeMap<Name, Update>,
    seen: BTreeMap<MessageDigest, Seen>,
    candidate: Option<Candidate>,
    /// Least error on the root set of any active model so far.
    least: Option<f64>,
    refused: BTreeMap<Refusal, u64>,
    taken: u64,
}

impl Cohort {
    /// A cohort whose first version is this network, not yet released.
    ///
    /// # Errors
    /// What is wrong with rules or network.
    pub fn new(name: Name, rules: Rules, network: Network) -> Result<Self, String> {
        rules.check()?;
        network.check().map_err(|e| e.to_string())?;
        Ok(Self {
            name,
            rules,
            version: 0,
            network,
            released: None,
            known: VecDeque::new(),
            round: 0,
            online: 0,
            since: None,
            buffer: BTreeMap::new(),
            seen: BTreeMap::new(),
            candidate: None,
            least: None,
            refused: BTreeMap::new(),
            taken: 0,
        })
    }

    /// Its name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Version and weights that are active.
    pub fn active(&self) -> (u64, &Network) {
        (self.version, &self.network)
    }

    /// Rounds merged so far, void ones too.
    pub fn rounds(&self) -> u64 {
        self.round
    }

    /// Updates and verdicts taken.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// Refusals by reason.
    pub fn refused(&self) -> &BTreeMap<Refusal, u64> {
        &self.refused
    }

    /// Sites whose updates wait for the round.
    pub fn waiting(&self) -> impl Iterator<Item = &Name> {
        self.buffer.keys()
    }

    /// What the shell may have been told and not done before it died: doing it again is doing it once.
    pub fn outstanding(&self) -> Vec<Effect> {
        let publish = self.released.is_none().then(|| Effect::Publish {
            version: self.version,
            network: self.network.clone(),
            account: None,
        });
        let judge = self.candidate.as_ref();
        let judge = judge.map(|c| Effect::Judge { round: c.account.round, network: c.network.clone() });
        publish.into_iter().chain(judge).collect()
    }

    /// One event at `now` (microseconds); what is to be done is added to `effects`.
    pub fn step(&mut self, now: i64, event: Event<'_>, jury: Jury<'_>, effects: &mut Vec<Effect>) {
        match event {
            Event::Update(bytes) => {
                let done = self.take_update(now, bytes, jury);
                self.tell(done, effects);
            }
            Event::Verdict(bytes) => {
                let done = self.take_verdict(bytes, jury);
                self.tell(done, effects);
            }
            Event::Online(sites) => self.online = sites,
            Event::Tick => {}
            Event::Released(version, hash) => self.release(version, hash),
            Event::Replace(network) => self.replace(network, effects),
        }
        self.decide(now, effects);
        self.merge(now, jury, effects);
    }

    fn tell(&mut self, done: Result<Effect, (Option<Who>, Refusal)>, effects: &mut Vec<Effect>) {
        match done {
            Ok(effect) => {
                self.taken += 1;
                effects.push(effect);
            }
            Err((who, reason)) => {
                *self.refused.entry(reason).or_default() += 1;
                effects.push(Effect::Refused { who, reason });
            }
        }
    }

    fn take_update(&mut self, now: i64, bytes: &[u8], jury: Jury<'_>) -> Result<Effect, (Option<Who>, Refusal)> {
        let limit = update_limit(&self.network);
        let (update, digest): (Update, _) =
            seal::open(Kind::Update, bytes, limit, jury.keys, &self.name).map_err(|reason| (None, reason))?;
        let refused = |reason| (Some(update.who.clone()), reason);
        let staleness = self.staleness(&update).map_err(refused)?;
        self.judge_update(&update, digest, jury).map_err(refused)?;
        let site = &update.who.site;
        self.seen.insert(digest, Seen { site: site.clone(), base_version: update.base_version });
        self.since.get_or_insert(now);
        let who = update.who.clone();
        let replaced = self.buffer.insert(site.clone(), update).is_some();
        Ok(Effect::Taken { who, staleness, replaced })
    }

    fn staleness(&self, update: &Update) -> Result<u64, Refusal> {
        let known = self.known.iter().find(|(_, hash)| *hash == update.base).ok_or(Refusal::UnknownBase)?;
        if known.0 != update.base_version {
            return Err(Refusal::WrongBase);
        }
        let staleness = self.version.saturating_sub(update.base_version);
        if staleness > self.rules.stalest { Err(Refusal::TooStale) } else { Ok(staleness) }
    }

    fn judge_update(&self, update: &Update, digest: MessageDigest, jury: Jury<'_>) -> Result<(), Refusal> {
        if self.seen.contains_key(&digest) {
            return Err(Refusal::Replayed);
        }
        // Order of (base, count) and not of arrival: the newest of a site stays whichever came first.
        let age = |u: &Update| (u.base_version, u.sequence, u.who.agent.clone());
        if self.buffer.get(&update.who.site).is_some_and(|held| age(held) >= age(update)) {
            return Err(Refusal::Superseded);
        }
        if self.seen.values().filter(|s| s.site == update.who.site).count() >= self.rules.flood {
            return Err(Refusal::Flooded);
        }
        if update.samples == 0 {
            return Err(Refusal::NoSamples);
        }
        if !(update.loss_before.is_finite() && update.loss_after.is_finite()) {
            return Err(Refusal::NonFinite);
        }
        let delta = codec::decode(&update.tensors, &self.network, 2.0 * self.rules.clip)?;
        let harms = |root| gate::harmful(&self.network, &delta.applied(&self.network, 1.0), root, &self.rules);
        if jury.root.is_some_and(harms) { Err(Refusal::Harmful) } else { Ok(()) }
    }

    fn take_verdict(&mut self, bytes: &[u8], jury: Jury<'_>) -> Result<Effect, (Option<Who>, Refusal)> {
        let (verdict, _): (Verdict, _) =
            seal::open(Kind::Verdict, bytes, MAX_SMALL, jury.keys, &self.name).map_err(|reason| (None, reason))?;
        let Verdict { who, candidate, samples, loss_active, loss_candidate, .. } = verdict;
        let refused = |reason| (Some(who.clone()), reason);
        let asked = self.candidate.as_mut().filter(|c| c.fingerprint == candidate);
        let asked = asked.ok_or_else(|| refused(Refusal::NotAsked))?;
        if samples == 0 {
            return Err(refused(Refusal::NoSamples));
        }
        // A candidate that is not finite on a site's rows is bad, a verdict that says nothing of the active one is none.
        if !(loss_active.is_finite() && loss_active >= 0.0 && loss_candidate >= 0.0) {
            return Err(refused(Refusal::NonFinite));
        }
        if asked.verdicts.contains_key(&who.site) {
            return Err(refused(Refusal::Replayed));
        }
        asked.verdicts.insert(who.site.clone(), (loss_active, loss_candidate));
        Ok(Effect::Taken { who, staleness: 0, replaced: false })
    }

    fn release(&mut self, version: u64, hash: Fixed<32>) {
        if version == self.version && self.released.is_none() {
            self.released = Some(hash);
            self.known.push_back((version, hash));
            let keep = 4 * (self.rules.stalest as usize + 1);
            while self.known.len() > keep {
                self.known.pop_front();
            }
        }
    }

    fn replace(&mut self, network: Network, effects: &mut Vec<Effect>) {
        let same_shape = codec::Delta::between(&self.network, &network).is_some() && network.check().is_ok();
        if let Some(Candidate { account, .. }) = self.candidate.take() {
            effects.push(Effect::Void { reason: Void::Replaced, account });
        }
        self.buffer.clear();
        self.since = None;
        self.least = None;
        if !same_shape {
            // Updates on releases of another shape mean nothing any more.
            self.known.clear();
        }
        self.publish(network, None, effects);
    }

    fn publish(&mut self, network: Network, account: Option<Account>, effects: &mut Vec<Effect>) {
        self.version += 1;
        self.network = network.clone();
        self.released = None;
        let oldest = self.version.saturating_sub(self.rules.stalest);
        self.seen.retain(|_, seen| seen.base_version >= oldest);
        effects.push(Effect::Publish { version: self.version, network, account });
    }

    fn merge(&mut self, now: i64, jury: Jury<'_>, effects: &mut Vec<Effect>) {
        let enough = self.rules.enough(self.buffer.len(), self.online, self.since, now);
        if self.candidate.is_some() || self.buffer.is_empty() || !enough {
            return;
        }
        self.round += 1;
        self.since = None;
        let (network, mut account) = self.merged();
        if network.check().is_err() {
            effects.push(Effect::Void { reason: Void::NonFinite, account });
            return;
        }
        let Some(root) = jury.root else {
            let fingerprint = fingerprint(&network);
            effects.push(Effect::Judge { round: self.round, network: network.clone() });
            self.candidate = Some(Candidate { network, fingerprint, since: now, account, verdicts: BTreeMap::new() });
            return;
        };
        let judged = gate::on_root(&self.network, &network, root, self.least, &self.rules);
        account.root = Some((judged.active, judged.candidate));
        self.least = Some(self.least.unwrap_or(judged.active).min(judged.active));
        if judged.passed {
            self.publish(network, Some(account), effects);
        } else {
            effects.push(Effect::Void { reason: Void::NotBetter, account });
        }
    }

    /// The candidate the buffer makes, which is empty afterwards.
    fn merged(&mut self) -> (Network, Account) {
        let mut updates: Vec<Update> = std::mem::take(&mut self.buffer).into_values().collect();
        let greatest = 2.0 * self.rules.clip;
        let mut parts = Vec::with_capacity(updates.len());
        // All were decoded when they came; the network has had the same shape since.
        updates.retain(|u| match codec::decode(&u.tensors, &self.network, greatest) {
            Ok(delta) => {
                let staleness = self.version.saturating_sub(u.base_version);
                parts.push(Part { delta, samples: u.samples, staleness });
                true
            }
            Err(_) => false,
        });
        let staleness: Vec<u64> = parts.iter().map(|p| p.staleness).collect();
        let (delta, shares) = merge::merge(parts, &self.rules);
        let contributions =
            updates.into_iter().zip(staleness).zip(shares).map(|((u, staleness), share)| Contribution {
                who: u.who,
                staleness,
                samples: u.samples,
                weight: share.weight,
                norm: share.norm,
                bounded: share.bounded,
                loss: (u.loss_before, u.loss_after),
            });
        let account = Account { round: self.round, contributions: contributions.collect(), root: None, verdicts: 0 };
        (delta.applied(&self.network, self.rules.step), account)
    }

    /// Decides about a candidate that sites judge.
    fn decide(&mut self, now: i64, effects: &mut Vec<Effect>) {
        let Some(candidate) = &self.candidate else { return };
        let wanted = self.rules.enough(candidate.verdicts.len(), self.online, Some(candidate.since), now);
        let late = now.saturating_sub(candidate.since) >= self.rules.patience;
        if !wanted && !late {
            return;
        }
        let Some(Candidate { network, mut account, verdicts, .. }) = self.candidate.take() else { return };
        account.verdicts = verdicts.len();
        if !wanted {
            effects.push(Effect::Void { reason: Void::NotJudged, account });
        } else if gate::by_sites(verdicts.into_values(), &self.rules) {
            self.publish(network, Some(account), effects);
        } else {
            effects.push(Effect::Void { reason: Void::SitesDisagree, account });
        }
    }
}
