//! Units spread over sites, and the normaliser they agree on before the first round.
//!
//! The sites answer the cohort's questions by sealed messages, as they would over Kafka: moments per regime and channel,
//! how strongly each channel tells of wear, moments per feature, how far rows reach. What is not asked is where the
//! regimes lie: their centres come with a cohort's schema, and here from k-means over all sites' settings.

use clap::ValueEnum;
use ed25519_dalek::SigningKey;
use fettle_models::federate::census::{self, Census, Statistics};
use fettle_models::federate::message::{self, MAX_SMALL, MAX_STATISTICS, Reach, Survey, cohort_name};
use fettle_models::federate::seal::{self, Keyring, Kind};
use fettle_models::federate::{Refusal, Who};
use fettle_models::predict::feature::{Channel, Regimes, Scale, Schema};
use fettle_models::train::Samples;
use fettle_models::train::random::Random;
use fettle_wire::id::Name;
use serde::Serialize;

use super::attack::Attack;
use super::{Options, Parts, simulate};
use crate::cmapss;
use crate::fit::{Recipe, Table, channels, regimes};
use crate::life::Life;

/// How units come to sites.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Split {
    /// At random.
    Iid,
    /// By length of life: some sites know only machines that fail early, others only late ones.
    ByLife,
}

/// A site before it learns.
pub(super) struct Site {
    pub(super) who: Who,
    pub(super) key: SigningKey,
    pub(super) rows: Samples,
    pub(super) attacker: bool,
}

/// The sites, and everything the centre has.
pub(super) struct World {
    pub(super) cohort: Name,
    pub(super) keys: Keyring,
    pub(super) sites: Vec<Site>,
    pub(super) root: Samples,
    /// Rows of the units judged, scaled.
    pub(super) judged: Table,
    /// Statistics refused, by reason.
    pub(super) refused: Vec<Refusal>,
}

/// A unit at a site: where there are more sites than units, sites share one, row by row in turn.
struct Share<'a> {
    life: &'a Life,
    turn: usize,
    of: usize,
}

impl Share<'_> {
    fn has(&self, row: usize) -> bool {
        row % self.of == self.turn
    }
}

impl World {
    pub(super) fn new(parts: &Parts, options: &Options, recipe: &Recipe) -> Result<Self, String> {
        if parts.spread.len() < 2 || parts.judged.is_empty() {
            return Err(format!("{} units are too few to spread", parts.spread.len()));
        }
        let shares = deal(&parts.spread, options);
        let base = regimes::learn(&parts.spread).map_err(|e| e.to_string())?;
        let mut poll = Poll::new(options)?;
        let regimes = poll.regimes(&shares, base)?;
        let picked = poll.channels(&shares, &regimes, recipe.channel_threshold)?;
        let regimes = regimes::of_channels(&regimes, &picked);
        let schema = schema(&picked, recipe);
        let table = |lives: &[Life]| Table::new(lives, &schema, &regimes, &picked, recipe);
        let mut tables: Vec<Table> =
            shares.iter().map(|units| table(&units.iter().map(|s| s.life.clone()).collect::<Vec<_>>())).collect();
        let scale = poll.scale(&shares, &tables, schema.width())?;
        let judged: Vec<Life> = parts.judged.iter().map(|(life, _)| life.clone()).collect();
        let (mut root, mut judged) = (table(&parts.root), table(&judged));
        tables.iter_mut().chain([&mut root, &mut judged]).for_each(|t| {
            t.scale(&scale);
        });
        let cohort = Name::new("turbofan").ok().and_then(|class| cohort_name(&class, &schema.hash()));
        let rows = tables.iter().zip(&shares).map(|(t, units)| samples(t, |unit, row| units[unit].has(row)));
        let Poll { keys, members, refused, .. } = poll;
        let sites = members.into_iter().zip(rows).map(|(m, rows)| Site { rows, ..m }).collect();
        let root = samples(&root, |_, _| true);
        Ok(Self { cohort: cohort.ok_or("no name for the cohort")?, keys, sites, root, judged, refused })
    }

    pub(super) fn width(&self) -> usize {
        self.root.width()
    }

    /// All sites' rows at one place.
    pub(super) fn all(&self) -> Samples {
        let mut all = Samples::new(self.width());
        for rows in self.sites.iter().map(|s| &s.rows) {
            (0..rows.len()).for_each(|i| {
                all.push(rows.row(i), rows.target(i));
            });
        }
        all
    }
}

fn samples(table: &Table, has: impl Fn(usize, usize) -> bool) -> Samples {
    let mut samples = Samples::new(table.width());
    for (unit, rows) in table.units().enumerate() {
        let begin = rows.start;
        for i in rows.filter(|i| has(unit, i - begin)) {
            samples.push(table.row(i), table.target(i) as f32);
        }
    }
    samples
}

fn schema(picked: &[usize], recipe: &Recipe) -> Schema {
    let inputs = cmapss::inputs();
    let named = |(name, unit): &(String, String)| Channel { name: name.clone(), unit: unit.clone() };
    Schema {
        channels: picked.iter().map(|c| named(&inputs.channels[*c])).collect(),
        settings: inputs.settings.iter().map(named).collect(),
        time_unit: inputs.time_unit.clone(),
        step_seconds: inputs.step_seconds,
        time_constants: recipe.time_constants,
        baseline_steps: recipe.baseline_steps,
        baseline_least: recipe.baseline_least.min(recipe.baseline_steps),
        age: recipe.age,
    }
}

/// Each site's units. They come shuffled.
fn deal<'a>(lives: &'a [Life], options: &Options) -> Vec<Vec<Share<'a>>> {
    let mut order: Vec<&Life> = lives.iter().collect();
    if options.split == Split::ByLife {
        order.sort_by_key(|life| life.steps.len());
    }
    let (sites, units) = (options.sites, order.len());
    if sites > units {
        let share = |site: usize| {
            let unit = site * units / sites;
            let turns: Vec<usize> = (0..sites).filter(|s| s * units / sites == unit).collect();
            vec![Share { life: order[unit], turn: site - turns[0], of: turns.len() }]
        };
        return (0..sites).map(share).collect();
    }
    // Neighbours in the order stay together.
    let range = |site: usize| site * units / sites..(site + 1) * units / sites;
    let whole = |life: &&'a Life| Share { life, turn: 0, of: 1 };
    (0..sites).map(|site| order[range(site)].iter().map(whole).collect()).collect()
}

/// The questions before the first round.
struct Poll {
    cohort: Name,
    keys: Keyring,
    members: Vec<Site>,
    attack: Attack,
    refused: Vec<Refusal>,
}

impl Poll {
    fn new(options: &Options) -> Result<Self, String> {
        let name = |text: &str| Name::new(text).map_err(|e| e.to_string());
        let attacks = simulate::attacking(options);
        let mut random = Random::of(options.seed, 2);
        let (mut keys, mut members) = (Keyring::default(), Vec::new());
        for (i, attacker) in attacks.into_iter().enumerate() {
            let mut secret = [0; 32];
            secret.chunks_exact_mut(8).for_each(|part| part.copy_from_slice(&random.bits().to_le_bytes()));
            let key = SigningKey::from_bytes(&secret);
            let who = Who { site: name(&format!("site-{i:03}"))?, agent: name("gateway-1")? };
            keys.add(key.verifying_key(), who.clone());
            members.push(Site { who, key, rows: Samples::new(0), attacker });
        }
        Ok(Self { cohort: name("turbofan")?, keys, members, attack: options.attack, refused: Vec::new() })
    }

    /// Sends each site's answer through its seal into a census, and closes it.
    fn ask(&mut self, question: u8, cells: usize, answers: Vec<Statistics>) -> Result<Statistics, String> {
        let mut census = Census::new(cells);
        for (site, mut statistics) in self.members.iter().zip(answers) {
            if site.attacker {
                self.attack.statistics(&mut statistics);
            }
            let who = site.who.clone();
            let survey = Survey { version: message::VERSION, cohort: self.cohort.clone(), who, question, statistics };
            let bytes = seal::seal(Kind::Survey, &survey, &site.key).map_err(|e| e.to_string())?;
            let opened = seal::open::<Survey>(Kind::Survey, &bytes, MAX_STATISTICS, &self.keys, &self.cohort);
            let done = opened.and_then(|(s, _)| census.answer(s.who, s.statistics));
            self.refused.extend(done.err().filter(|reason| *reason != Refusal::NoSamples));
        }
        let (merged, out) = census.close();
        self.refused.extend(out.iter().map(|_| Refusal::Implausible));
        Ok(merged)
    }

    fn regimes(&mut self, shares: &[Vec<Share<'_>>], mut regimes: Regimes) -> Result<Regimes, String> {
        let (count, channels) = (regimes.centres.len(), regimes.mean.first().map_or(0, Vec::len));
        let of = |units: &Vec<Share<'_>>| {
            let mut statistics = Statistics::new(count * channels);
            for unit in units {
                for (_, step) in unit.life.steps.iter().enumerate().filter(|(i, _)| unit.has(*i)) {
                    let Ok(scaled) = regimes.scaled(&step.settings) else { continue };
                    let Some((regime, _)) = regimes.nearest(&scaled) else { continue };
                    let cells = &mut statistics.cells[regime * channels..(regime + 1) * channels];
                    cells.iter_mut().zip(&step.values).for_each(|(cell, x)| x.iter().for_each(|x| cell.push(*x)));
                }
            }
            statistics
        };
        let merged = self.ask(0, count * channels, shares.iter().map(of).collect())?;
        let rows = |of: fn(&census::Moment) -> f64| {
            let row = |cells: &[census::Moment]| cells.iter().map(of).collect();
            merged.cells.chunks(channels.max(1)).map(row).collect::<Vec<Vec<f64>>>()
        };
        (regimes.mean, regimes.sd) = (rows(|c| c.mean), rows(census::Moment::sd));
        Ok(regimes)
    }

    /// Channels by the mean over lives of what `fit` calls their signal.
    fn channels(&mut self, shares: &[Vec<Share<'_>>], regimes: &Regimes, threshold: f64) -> Result<Vec<usize>, String> {
        let channels = regimes.mean.first().map_or(0, Vec::len);
        let of = |units: &Vec<Share<'_>>| {
            let mut statistics = Statistics::new(channels);
            // A unit that several sites share counts once.
            for unit in units.iter().filter(|unit| unit.turn == 0) {
                statistics.push((0..channels).map(|c| channels::of_life(unit.life, regimes, c)));
            }
            statistics
        };
        let merged = self.ask(1, channels, shares.iter().map(of).collect())?;
        let picked: Vec<usize> = (0..channels).filter(|c| merged.cells[*c].mean > threshold).collect();
        if picked.is_empty() { Err("no channel tells of wear".into()) } else { Ok(picked) }
    }

    fn scale(&mut self, shares: &[Vec<Share<'_>>], tables: &[Table], width: usize) -> Result<Scale, String> {
        let mut answers = Vec::new();
        for (table, units) in tables.iter().zip(shares) {
            let mut statistics = Statistics::new(width);
            own(table, units).for_each(|row| statistics.push(row.iter().map(|x| Some(*x))));
            answers.push(statistics);
        }
        let merged = self.ask(2, width, answers)?;
        let mut scale = merged.scale(0.0);
        let mut reports = Vec::new();
        for ((site, table), units) in self.members.iter().zip(tables).zip(shares) {
            let farthest = own(table, units).map(|row| census::distance(&scale, row)).fold(0.0, f64::max);
            let farthest = if site.attacker { self.attack.reach(farthest) } else { farthest };
            let (cohort, who) = (self.cohort.clone(), site.who.clone());
            let reach = Reach { version: message::VERSION, cohort, who, farthest };
            let bytes = seal::seal(Kind::Reach, &reach, &site.key).map_err(|e| e.to_string())?;
            let opened = seal::open::<Reach>(Kind::Reach, &bytes, MAX_SMALL, &self.keys, &self.cohort);
            reports.extend(opened.ok().map(|(reach, _)| reach.farthest));
        }
        scale.farthest = census::reach(&reports);
        Ok(scale)
    }
}

/// The feature rows that are a site's own.
fn own<'a>(table: &'a Table, units: &'a [Share<'_>]) -> impl Iterator<Item = &'a [f64]> {
    let of = table.units().enumerate().flat_map(|(unit, rows)| {
        let begin = rows.start;
        rows.map(move |i| (unit, i - begin))
    });
    table.features().zip(of).filter(|(_, (unit, row))| units[*unit].has(*row)).map(|(row, _)| row)
}
