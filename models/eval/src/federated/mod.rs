//! `fettle-eval federated`: the train file's units spread over sites that run the agent's and the gateway's own code over
//! a log in memory, against one training on all rows and against each site by itself.
//!
//! Nothing is chosen by a test file: with `held_out` a fifth of the train file's units is judged instead and the test
//! file is not opened; without, it is judged once, after everything else.

mod attack;
mod simulate;
mod spread;
pub mod text;

use std::collections::BTreeMap;
use std::path::Path;

use fettle_models::federate::{Rules, SitePlan};
use fettle_models::predict::metrics::rmse;
use fettle_models::predict::network::Network;
use fettle_models::train::random::Random;
use fettle_models::train::{Plan, Samples, Trainer, loss};
use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use attack::Attack;
pub use simulate::Outcome;
pub use spread::Split;

use crate::clock;
use crate::cmapss::evaluate::{self, EvaluateError};
use crate::cmapss::read::ReadError;
use crate::fit::{Recipe, Table};
use crate::life::Life;
use crate::progress::Progress;
use spread::World;

/// Share of the train file's units that is judged where the test file is not.
const HELD_OUT: f64 = 0.2;

/// Why there are no figures.
#[derive(Debug, Error)]
pub enum FederatedError {
    /// The files.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The files, or the set.
    #[error(transparent)]
    Evaluate(#[from] EvaluateError),
    /// The set has nothing to judge by.
    #[error("set {set}: {reason}; --held-out judges on units of the train file")]
    NoTruth {
        /// Which set.
        set: String,
        /// Why.
        reason: String,
    },
    /// The sites' messages or the rounds.
    #[error("set {set}: {reason}")]
    Rounds {
        /// Which set.
        set: String,
        /// Why.
        reason: String,
    },
}

/// What may be tried about learning together; what it leaves out keeps its default.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tuning {
    /// The centre's rules.
    pub rules: Rules,
    /// The sites' plan.
    pub site: SitePlan,
}

/// What to do.
#[derive(Debug, Clone)]
pub struct Options {
    /// Only these sets; none: all that are there.
    pub sets: Vec<String>,
    /// Sites.
    pub sites: usize,
    /// Share of the sites that is online at a time.
    pub online: f64,
    /// How units come to sites.
    pub split: Split,
    /// Share of the sites that attacks.
    pub attackers: f64,
    /// How.
    pub attack: Attack,
    /// Versions after which learning ends.
    pub rounds: u64,
    /// Everything random follows from it.
    pub seed: u64,
    /// Share of the train file's units that the centre keeps as its root set; 0: the sites judge candidates.
    pub root: f64,
    /// Judge on held-out units of the train file and leave the test file alone.
    pub held_out: bool,
    /// Rules and plan.
    pub tuning: Tuning,
}

/// Everything found.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// By set.
    pub sets: BTreeMap<String, SetReport>,
    /// Sets left out because nothing can be judged there, and why.
    pub skipped: BTreeMap<String, String>,
    /// What was asked.
    pub asked: Asked,
}

/// The options, for whoever reads the figures later.
#[derive(Debug, Clone, Serialize)]
pub struct Asked {
    /// See [`Options`].
    pub sites: usize,
    /// See [`Options`].
    pub online: f64,
    /// See [`Options`].
    pub split: Split,
    /// Sites that attack.
    pub attackers: usize,
    /// How.
    pub attack: Attack,
    /// See [`Options`].
    pub rounds: u64,
    /// See [`Options`].
    pub seed: u64,
    /// See [`Options`].
    pub root: f64,
    /// See [`Options`].
    pub held_out: bool,
    /// See [`Options`].
    pub tuning: Tuning,
}

/// One set; errors are root mean squares with the truth capped, in the data's unit.
#[derive(Debug, Clone, Serialize)]
pub struct SetReport {
    /// One network of the same shape trained on all sites' rows at one place.
    pub rmse_central: f64,
    /// Mean over sites of a network trained on the site's own rows only.
    pub rmse_local: f64,
    /// The best of those.
    pub rmse_local_best: f64,
    /// What the sites learned together.
    pub rmse_federated: f64,
    /// Units judged.
    pub judged: usize,
    /// Units of sites, and of the root set.
    pub units: (usize, usize),
    /// Weights and biases.
    pub parameters: usize,
    /// The course of it.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// Processor seconds: central, all local ones, federated.
    pub seconds: [f64; 3],
}

/// Reads, spreads, learns, judges.
///
/// # Errors
/// What keeps it from giving figures.
pub fn evaluate(folder: &Path, options: &Options, progress: &Progress) -> Result<Report, FederatedError> {
    let (mut sets, mut skipped) = (BTreeMap::new(), BTreeMap::new());
    for (name, mut files) in evaluate::chosen(folder, &options.sets)? {
        if options.held_out {
            (files.test, files.truth) = (None, None);
        }
        let set = evaluate::load(&files)?;
        match set.reason.clone().filter(|_| !options.held_out) {
            None => {
                let report = one(&name, set, options, progress)?;
                sets.insert(name, report);
            }
            Some(reason) if options.sets.contains(&name) => return Err(FederatedError::NoTruth { set: name, reason }),
            Some(reason) => {
                skipped.insert(name, reason);
            }
        }
    }
    if let (true, Some((set, reason))) = (sets.is_empty(), skipped.pop_first()) {
        return Err(FederatedError::NoTruth { set, reason });
    }
    let asked = Asked {
        sites: options.sites,
        online: options.online,
        split: options.split,
        attackers: simulate::attackers(options),
        attack: options.attack,
        rounds: options.rounds,
        seed: options.seed,
        root: options.root,
        held_out: options.held_out,
        tuning: options.tuning.clone(),
    };
    Ok(Report { sets, skipped, asked })
}

/// Units by what they are for.
struct Parts {
    /// Of the sites.
    spread: Vec<Life>,
    root: Vec<Life>,
    /// Judged, with the remaining life after each one's last row.
    judged: Vec<(Life, f64)>,
}

fn part(set: evaluate::Set, options: &Options) -> Parts {
    let mut units = set.train;
    Random::of(options.seed, 1).shuffle(&mut units);
    let share = |share: f64, of: usize| ((share * of as f64).round() as usize).min(of);
    let judged = if options.held_out {
        let from = units.len() - share(HELD_OUT, units.len());
        units.split_off(from).into_iter().map(|life| (life, 0.0)).collect()
    } else {
        set.test.into_iter().zip(set.truth.unwrap_or_default()).collect()
    };
    let root = units.split_off(units.len() - share(options.root, units.len()));
    Parts { spread: units, root, judged }
}

fn one(name: &str, set: evaluate::Set, options: &Options, progress: &Progress) -> Result<SetReport, FederatedError> {
    let parts = part(set, options);
    let units = (parts.spread.len(), parts.root.len());
    let recipe = Recipe::default();
    let world =
        World::new(&parts, options, &recipe).map_err(|reason| FederatedError::Rounds { set: name.into(), reason })?;
    progress.begin(&format!("{name}: learning"), 2 + options.rounds as usize + world.sites.len());
    let plan = Plan { seed: options.seed, ..recipe.training.clone() };
    let train = |rows: &Samples, held: &Samples| {
        let network = Trainer::fresh(rows.width(), &recipe.hidden, plan.clone()).run(rows, held);
        progress.step();
        network
    };
    let mut marks = vec![clock::thread_time()];
    let central = train(&world.all(), &world.root);
    marks.push(clock::thread_time());
    let nothing = Samples::new(world.width());
    let local: Vec<Network> = world.sites.iter().map(|site| train(&site.rows, &nothing)).collect();
    marks.push(clock::thread_time());
    let first = fettle_models::train::random_network(world.width(), &recipe.hidden, options.seed);
    let done = simulate::run(&world, first.clone(), options, false, progress);
    let (federated, mut outcome) = done.map_err(|reason| FederatedError::Rounds { set: name.into(), reason })?;
    marks.push(clock::thread_time());
    if options.attack.is_void() && simulate::attackers(options) > 0 {
        // What such attackers send must be as if they had said nothing.
        let silent = simulate::run(&world, first.clone(), options, true, progress);
        let (silent, _) = silent.map_err(|reason| FederatedError::Rounds { set: name.into(), reason })?;
        outcome.bits_changed = Some(bits(&federated, &silent));
    }
    progress.end();
    let validation = if world.root.is_empty() { world.all() } else { world.root.clone() };
    let on_root = |network: &Network| recipe.cap * loss(network, &validation).sqrt();
    (outcome.rmse_begin, outcome.rmse_end) = (on_root(&first), on_root(&federated));
    let judged = |network: &Network| judge(&world.judged, &parts.judged, network, options.held_out, recipe.cap);
    let locals: Vec<f64> = local.iter().map(judged).collect();
    let seconds = [0, 1, 2].map(|i| (marks[i + 1] - marks[i]).as_secs_f64());
    Ok(SetReport {
        rmse_central: judged(&central),
        rmse_local: locals.iter().sum::<f64>() / locals.len() as f64,
        rmse_local_best: locals.iter().copied().fold(f64::INFINITY, f64::min),
        rmse_federated: judged(&federated),
        judged: parts.judged.len(),
        units,
        parameters: first.parameters(),
        outcome,
        seconds,
    })
}

/// Bits in which two networks of one shape differ.
fn bits(a: &Network, b: &Network) -> u64 {
    let pairs = a.tensors().flatten().zip(b.tensors().flatten());
    pairs.map(|(a, b)| u64::from((a.to_bits() ^ b.to_bits()).count_ones())).sum()
}

/// Root mean square error with the truth capped: over held-out units as `cmapss --cross-validate` weighs them, else at
/// each test unit's last row.
fn judge(table: &Table, lives: &[(Life, f64)], network: &Network, held_out: bool, cap: f64) -> f64 {
    let said = |i: usize| (f64::from(network.evaluate(table.row(i))) * cap).clamp(0.0, cap);
    if held_out {
        return table.rmse(&(0..table.len()).map(said).collect::<Vec<_>>());
    }
    let last = table.units().zip(lives).filter_map(|(rows, (life, left))| {
        let row = rows.last().filter(|row| table.time(*row) == life.end())?;
        Some((said(row), left.min(cap)))
    });
    rmse(last)
}
