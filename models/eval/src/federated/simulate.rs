//! The rounds: sites that come and go, a log in memory, the centre that reads it.
//!
//! A tick is an hour. A site that is online at a tick first delivers what it learned since it was last there, then takes
//! the newest release and learns until it is online again; so updates are stale as they are in a plant, and arrive in
//! any order. The stand-in for a release's hash is the fingerprint of its network.

use std::collections::BTreeMap;

use fettle_models::federate::message::fingerprint;
use fettle_models::federate::seal::{self, Kind};
use fettle_models::federate::site::judge;
use fettle_models::federate::{Base, Cohort, Effect, Event, Jury, Learner};
use fettle_models::predict::network::Network;
use fettle_models::train::Samples;
use fettle_models::train::random::Random;
use serde::Serialize;

use super::Options;
use super::spread::{Site, World};
use crate::clock;
use crate::progress::Progress;

/// Microseconds in a tick.
const TICK: i64 = 3_600_000_000;
/// Ticks for each round asked for, after which it ends anyway.
const TICKS: u64 = 40;

/// The course of it.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Outcome {
    /// Versions published.
    pub rounds: u64,
    /// Rounds that gave none, by reason.
    pub voided: BTreeMap<&'static str, u64>,
    /// Hours of the simulation.
    pub ticks: u64,
    /// Bytes of the largest update as it stands on the log.
    pub update_bytes: usize,
    /// Updates taken.
    pub accepted: u64,
    /// Updates and verdicts refused, by reason.
    pub refused: BTreeMap<&'static str, u64>,
    /// Answers to the questions before the first round that were refused or left out.
    pub statistics_refused: BTreeMap<&'static str, u64>,
    /// Processor time of a step that merges, mean, microseconds.
    pub merge_us: f64,
    /// Of one that takes an update and does not, mean.
    pub take_us: f64,
    /// Updates in a merge, mean.
    pub merged: f64,
    /// Versions that merged updates lay behind, mean.
    pub staleness: f64,
    /// Error on the root set (without one: on all sites' rows) of the first weights and of the last.
    pub rmse_begin: f64,
    /// See [`Self::rmse_begin`].
    pub rmse_end: f64,
    /// Bits by which the result differs from one without the attackers; for attacks that must have no effect.
    pub bits_changed: Option<u64>,
}

/// How many sites attack.
pub(super) fn attackers(options: &Options) -> usize {
    ((options.attackers * options.sites as f64).round() as usize).min(options.sites)
}

/// Which ones.
pub(super) fn attacking(options: &Options) -> Vec<bool> {
    let mut attacking: Vec<bool> = (0..options.sites).map(|i| i < attackers(options)).collect();
    Random::of(options.seed, 3).shuffle(&mut attacking);
    attacking
}

/// A site while it learns.
struct Member<'a> {
    site: &'a Site,
    rows: Samples,
    learner: Learner,
    seed: u64,
    /// Learned and not delivered.
    pending: Option<Vec<u8>>,
    /// The candidate it judged last.
    judged: Option<u64>,
}

/// The centre and what stands around it.
struct Centre<'a> {
    cohort: Cohort,
    jury: Jury<'a>,
    now: i64,
    candidate: Option<(u64, Network)>,
    outcome: Outcome,
    /// Steps and their processor seconds: those that merge, those that only take.
    spent: [(f64, f64); 2],
    parts: (f64, f64),
}

impl Centre<'_> {
    /// Reads one record of the log, or learns that time has passed.
    fn step(&mut self, event: Event<'_>) {
        let mut effects = Vec::new();
        let began = clock::thread_time();
        self.cohort.step(self.now, event.clone(), self.jury, &mut effects);
        let spent = (clock::thread_time() - began).as_secs_f64();
        let merges = |e: &Effect| matches!(e, Effect::Publish { .. } | Effect::Void { .. } | Effect::Judge { .. });
        let kind = if effects.iter().any(merges) { 0 } else { 1 };
        if kind == 0 || matches!(event, Event::Update(_)) {
            self.spent[kind] = (self.spent[kind].0 + 1.0, self.spent[kind].1 + spent);
        }
        effects.into_iter().for_each(|effect| self.carry_out(effect));
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Taken { .. } => self.outcome.accepted += 1,
            Effect::Refused { reason, .. } => *self.outcome.refused.entry(reason.as_str()).or_default() += 1,
            Effect::Judge { round, network } => self.candidate = Some((round, network)),
            Effect::Publish { version, network, account } => {
                self.candidate = None;
                if let Some(account) = account {
                    self.outcome.rounds += 1;
                    self.parts.0 += account.contributions.len() as f64;
                    self.parts.1 += account.contributions.iter().map(|c| c.staleness as f64).sum::<f64>();
                }
                self.step(Event::Released(version, fingerprint(&network)));
            }
            Effect::Void { reason, .. } => {
                self.candidate = None;
                *self.outcome.voided.entry(reason.as_str()).or_default() += 1;
            }
        }
    }
}

/// Runs until so many versions are published; `silent`: attackers say nothing at all.
pub(super) fn run(
    world: &World,
    first: Network,
    options: &Options,
    silent: bool,
    progress: &Progress,
) -> Result<(Network, Outcome), String> {
    let tuning = &options.tuning;
    let cohort = Cohort::new(world.cohort.clone(), tuning.rules.clone(), first)?;
    let jury = Jury { keys: &world.keys, root: Some(&world.root).filter(|root| !root.is_empty()) };
    let outcome = Outcome::default();
    let (spent, parts) = ([(0.0, 0.0); 2], (0.0, 0.0));
    let mut centre = Centre { cohort, jury, now: 0, candidate: None, outcome, spent, parts };
    centre.cohort.outstanding().into_iter().for_each(|effect| centre.carry_out(effect));
    let mut members = members(world, options);
    // One stream for who is there and one for attackers, so that silencing them changes nothing else.
    let (mut coming, mut wicked) = (Random::of(options.seed, 4), Random::of(options.seed, 5));
    while centre.outcome.rounds < options.rounds && centre.outcome.ticks < TICKS * options.rounds {
        centre.outcome.ticks += 1;
        centre.now += TICK;
        let mut there: Vec<usize> = (0..members.len()).filter(|_| coming.uniform() < options.online).collect();
        coming.shuffle(&mut there);
        centre.step(Event::Online(there.len() as u32));
        let mut log = Vec::new();
        for i in &there {
            let member = &mut members[*i];
            log.extend(member.pending.take());
        }
        let before = centre.outcome.rounds;
        for record in &log {
            centre.outcome.update_bytes = centre.outcome.update_bytes.max(record.len());
            centre.step(Event::Update(record));
        }
        for i in &there {
            let member = &mut members[*i];
            if !(silent && member.site.attacker) {
                let verdict = verdict(member, &centre, world, options)?;
                verdict.iter().for_each(|bytes| centre.step(Event::Verdict(bytes)));
                learn(member, &centre.cohort, options, &mut wicked)?;
            }
        }
        (before..centre.outcome.rounds).for_each(|_| progress.step());
    }
    Ok(finish(centre, world))
}

fn members<'a>(world: &'a World, options: &Options) -> Vec<Member<'a>> {
    let member = |(i, site): (usize, &'a Site)| Member {
        site,
        rows: if site.attacker { options.attack.rows(&site.rows) } else { site.rows.clone() },
        learner: Learner::default(),
        seed: Random::of(options.seed, 100 + i as u64).bits(),
        pending: None,
        judged: None,
    };
    world.sites.iter().enumerate().map(member).collect()
}

fn learn(member: &mut Member<'_>, cohort: &Cohort, options: &Options, wicked: &mut Random) -> Result<(), String> {
    let (version, network) = cohort.active();
    let base = Base { cohort: cohort.name(), release: fingerprint(network), version, network };
    member.learner.begin(base, &options.tuning.site, member.seed);
    let nothing = Samples::new(member.rows.width());
    let who = &member.site.who;
    while member.learner.learning_from().is_some() {
        let update = member.learner.advance(who, &member.rows, &nothing).map_err(|e| format!("{}: {e}", who.site))?;
        let Some(mut update) = update else { continue };
        if member.site.attacker {
            options.attack.update(&mut update, options.tuning.rules.clip, wicked);
        }
        let sealed = seal::seal(Kind::Update, &update, &member.site.key).map_err(|e| e.to_string())?;
        let bytes = if member.site.attacker { options.attack.bytes(sealed, wicked) } else { sealed };
        member.pending = Some(bytes);
    }
    Ok(())
}

fn verdict(
    member: &mut Member<'_>,
    centre: &Centre<'_>,
    world: &World,
    options: &Options,
) -> Result<Option<Vec<u8>>, String> {
    let Some((round, candidate)) = &centre.candidate else { return Ok(None) };
    if member.judged == Some(*round) {
        return Ok(None);
    }
    member.judged = Some(*round);
    let (_, active) = centre.cohort.active();
    let mut verdict = judge(&world.cohort, &member.site.who, active, candidate, &member.site.rows);
    if member.site.attacker {
        options.attack.verdict(&mut verdict);
    }
    seal::seal(Kind::Verdict, &verdict, &member.site.key).map(Some).map_err(|e| e.to_string())
}

fn finish(centre: Centre<'_>, world: &World) -> (Network, Outcome) {
    let Centre { cohort, mut outcome, spent, parts, .. } = centre;
    let mean_us = |(n, seconds): (f64, f64)| 1e6 * seconds / n.max(1.0);
    (outcome.merge_us, outcome.take_us) = (mean_us(spent[0]), mean_us(spent[1]));
    outcome.merged = parts.0 / (outcome.rounds as f64).max(1.0);
    outcome.staleness = parts.1 / parts.0.max(1.0);
    for reason in &world.refused {
        *outcome.statistics_refused.entry(reason.as_str()).or_default() += 1;
    }
    (cohort.active().1.clone(), outcome)
}
