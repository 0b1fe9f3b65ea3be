//! `fettle-eval cmapss`: trains on train files, predicts on test files, several seeds, with and without age.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;

use fettle_models::predict::onnx;
use fettle_models::predict::tract::Tract;
use serde::Serialize;
use thiserror::Error;

use super::read::{self, Account, Files, ReadError};
use crate::clock;
use crate::fit::{self, FitError, Recipe, Summary};
use crate::judge::{self, Cost, CutFigures, Figures, Said, Told, Truth, Windows};
use crate::life::Life;
use crate::progress::Progress;

/// Why an evaluation ends without figures.
#[derive(Debug, Error)]
pub enum EvaluateError {
    /// The files.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The training.
    #[error("set {set}: {source}")]
    Fit {
        /// Which set.
        set: String,
        /// Why.
        source: FitError,
    },
    /// The runtime.
    #[error("set {set}: {source}")]
    Score {
        /// Which set.
        set: String,
        /// Why.
        source: fettle_models::predict::score::ScoreError,
    },
}

/// What to do.
#[derive(Debug, Clone)]
pub struct Options {
    /// Only these sets; none: all that are there.
    pub sets: Vec<String>,
    /// Trainings per set, each with its own seed.
    pub seeds: u64,
    /// How to train.
    pub recipe: Recipe,
    /// Whether to train and judge without age as well.
    pub without_age: bool,
    /// Folds of units of the train file for figures without a test file; 0: none.
    pub cross_validate: usize,
    /// Trainings at a time.
    pub jobs: usize,
}

/// Everything found.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// By set.
    pub sets: BTreeMap<String, SetReport>,
    /// Over the last rows of all sets with a truth, mean over seeds.
    pub pooled: Option<Pooled>,
    /// How it was trained.
    pub recipe: Recipe,
}

/// Intervals over all sets together.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Pooled {
    /// Share of the truth within the interval of 90 %.
    pub coverage: f64,
    /// Mean width.
    pub width: f64,
}

/// One set.
#[derive(Debug, Clone, Serialize)]
pub struct SetReport {
    /// With the recipe as it is.
    #[serde(flatten)]
    pub figures: Variant,
    /// The same without age as a feature.
    pub without_age: Option<Variant>,
    /// Why there are no figures on the test file, if there are none.
    pub reason: Option<String>,
    /// Trained on part of the train file's units, judged on the others.
    pub cross_validated: Option<CutFigures>,
    /// What became of the train file's lines.
    pub train_lines: Account,
    /// What became of the test file's lines.
    pub test_lines: Option<Account>,
    /// For the plots.
    #[serde(skip)]
    pub drawn: Option<Drawn>,
}

/// Figures of one way of training: means over seeds on last rows of test lives, their deviations, and each seed's.
#[derive(Debug, Clone, Serialize)]
pub struct Variant {
    /// Means over seeds.
    #[serde(flatten)]
    pub mean: Headline,
    /// Standard deviations over seeds.
    pub deviation: Headline,
    /// Over all rows of test lives, first seed.
    pub windows: Option<Windows>,
    /// Steps of test lives with and without a prediction, first seed.
    pub predicted: usize,
    /// Reasons for none.
    pub none: BTreeMap<&'static str, usize>,
    /// The training, first seed.
    pub training: Summary,
    /// One by one.
    pub seeds: Vec<Seed>,
}

/// The figures asked for; `null` where there is nothing to compute one from.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Headline {
    /// See [`Figures`].
    pub rmse_capped: f64,
    /// See [`Figures`].
    pub rmse_uncapped: f64,
    /// See [`Figures`].
    pub score_capped: f64,
    /// See [`Figures`].
    pub coverage: f64,
    /// See [`Figures`].
    pub width: f64,
    /// Processor seconds on one core for one whole training.
    pub seconds_train: f64,
    /// See [`Cost`].
    pub us_infer: f64,
}

/// One training.
#[derive(Debug, Clone, Serialize)]
pub struct Seed {
    /// Its seed.
    pub seed: u64,
    /// Processor seconds on one core.
    pub seconds_train: f64,
    /// At the last rows.
    pub last_row: Option<Figures>,
    /// What a prediction costs.
    pub cost: Option<Cost>,
    /// Held-out figures of the training.
    pub training: Summary,
}

/// What the plots show, from the first seed.
#[derive(Debug, Clone)]
pub struct Drawn {
    /// Last rows: what was said, and the capped truth.
    pub last: Vec<(Said, f64)>,
    /// Some lives: unit, what was said, remaining life after the last step, time of it.
    pub lives: Vec<(String, Told, f64, f64)>,
    /// All rows: what was said, capped truth.
    pub rows: Vec<(Said, f64)>,
}

pub(crate) struct Set {
    pub(crate) train: Vec<Life>,
    pub(crate) test: Vec<Life>,
    pub(crate) truth: Option<Vec<f64>>,
    pub(crate) reason: Option<String>,
    train_lines: Account,
    test_lines: Option<Account>,
}

/// Reads, trains, judges.
///
/// # Errors
/// What keeps it from giving figures at all; what merely keeps it from giving some stands in the report.
pub fn evaluate(folder: &Path, options: &Options, progress: &Progress) -> Result<Report, EvaluateError> {
    let files = chosen(folder, &options.sets)?;
    let mut sets = BTreeMap::new();
    for (name, files) in &files {
        let set = load(files)?;
        sets.insert(name.clone(), judge_set(name, &set, options, progress)?);
    }
    let pooled = pool(&sets);
    Ok(Report { sets, pooled, recipe: options.recipe.clone() })
}

pub(crate) fn chosen(folder: &Path, wanted: &[String]) -> Result<BTreeMap<String, Files>, ReadError> {
    let mut sets = read::sets(folder)?;
    if let Some(wanted) = wanted.iter().find(|w| !sets.contains_key(*w)) {
        let found = sets.keys().cloned().collect::<Vec<_>>().join(", ");
        return Err(ReadError::NoSuchSet { wanted: wanted.clone(), path: folder.to_owned(), found });
    }
    sets.retain(|name, _| wanted.is_empty() || wanted.contains(name));
    Ok(sets)
}

pub(crate) fn load(files: &Files) -> Result<Set, ReadError> {
    // `sets` keeps only sets with a train file.
    let path = files.train.as_deref().unwrap_or(Path::new(""));
    let (train, train_lines) = read::lives(path)?;
    let Some(test) = &files.test else {
        let reason = Some("there is no test file".to_owned());
        return Ok(Set { train, test: vec![], truth: None, reason, train_lines, test_lines: None });
    };
    let (test, test_lines) = read::lives(test)?;
    let (truth, reason) = match &files.truth {
        None => (None, Some("there is no RUL file: predictions are counted and not judged".to_owned())),
        Some(path) => match read::truth(path)? {
            truth if truth.len() == test.len() => (Some(truth), None),
            truth => {
                let (path, lives) = (path.display(), test.len());
                (None, Some(format!("{path} has {} lines for {lives} test units", truth.len())))
            }
        },
    };
    Ok(Set { train, test, truth, reason, train_lines, test_lines: Some(test_lines) })
}

fn judge_set(name: &str, set: &Set, options: &Options, progress: &Progress) -> Result<SetReport, EvaluateError> {
    let variants = 1 + u64::from(options.without_age);
    let trainings = (variants * options.seeds) as usize + options.cross_validate;
    progress.begin(&format!("{name}: training"), trainings * fit::steps(&options.recipe));
    let tasks: Vec<(bool, u64)> = (0..variants).flat_map(|v| (0..options.seeds).map(move |s| (v == 1, s))).collect();
    let mut done = parallel(&tasks, options.jobs, |(without_age, seed)| {
        let age = options.recipe.age && !without_age;
        let mut recipe = Recipe { age, ..options.recipe.clone() };
        recipe.training.seed += seed;
        one(name, set, &recipe, *seed == 0 && !without_age, progress)
    })?;
    let rest = done.split_off(options.seeds as usize);
    let cross_validated = match options.cross_validate {
        0 => None,
        folds => Some(cross_validate(name, set, folds, options, progress)?),
    };
    progress.end();
    let drawn = done.first_mut().and_then(|d| d.drawn.take());
    let without_age = (!rest.is_empty()).then(|| variant(rest));
    let (train_lines, test_lines) = (set.train_lines.clone(), set.test_lines.clone());
    let reason = set.reason.clone();
    Ok(SetReport { figures: variant(done), without_age, reason, cross_validated, train_lines, test_lines, drawn })
}

/// One training and its judgement.
struct Done {
    seed: Seed,
    windows: Option<Windows>,
    predicted: usize,
    none: BTreeMap<&'static str, usize>,
    drawn: Option<Drawn>,
}

fn one(name: &str, set: &Set, recipe: &Recipe, draw: bool, progress: &Progress) -> Result<Done, EvaluateError> {
    let fit_failed = |source| EvaluateError::Fit { set: name.to_owned(), source };
    let score_failed = |source| EvaluateError::Score { set: name.to_owned(), source };
    let began = clock::thread_time();
    let fitted = fit::train(&set.train, &super::inputs(), recipe, progress).map_err(fit_failed)?;
    let seconds_train = (clock::thread_time() - began).as_secs_f64();
    let mut scorer = Tract::load(&onnx::write(&fitted.model.networks)).map_err(score_failed)?;
    let told: Vec<Told> = set.test.iter().map(|life| judge::follow(&fitted, &mut scorer, life)).collect();
    let cost = judge::cost(&fitted, &mut scorer, &set.test).map_err(score_failed)?;
    let truths = truths(set, &told);
    let judged =
        (!truths.is_empty()).then(|| (judge::at_end(&truths, recipe.cap), judge::windows(&truths, recipe.cap)));
    let mut none = BTreeMap::new();
    told.iter().flat_map(|t| &t.none).for_each(|(reason, n)| *none.entry(*reason).or_default() += n);
    Ok(Done {
        windows: judged.map(|j| j.1),
        predicted: told.iter().map(|t| t.said.len()).sum(),
        none,
        drawn: draw.then(|| drawn(set, &told, &truths, recipe.cap)),
        seed: Seed {
            seed: recipe.training.seed,
            seconds_train,
            last_row: judged.map(|j| j.0),
            cost,
            training: fitted.summary,
        },
    })
}

fn truths<'a>(set: &Set, told: &'a [Told]) -> Vec<Truth<'a>> {
    let truth = set.truth.iter().flatten();
    let lives = set.test.iter().zip(told).zip(truth);
    lives.map(|((life, told), remaining)| Truth { told, end: life.end(), remaining: *remaining }).collect()
}

fn drawn(set: &Set, told: &[Told], truths: &[Truth<'_>], cap: f64) -> Drawn {
    // The longest lives show most; of equal length the first.
    let mut longest: Vec<usize> = (0..truths.len()).collect();
    longest.sort_by_key(|i| std::cmp::Reverse(told[*i].said.len()));
    let life = |i: &usize| (set.test[*i].unit.clone(), told[*i].clone(), truths[*i].remaining, truths[*i].end);
    let rows =
        truths.iter().flat_map(|t| t.told.said.iter().map(move |s| (*s, (t.remaining + t.end - s.time).min(cap))));
    Drawn {
        last: judge::pairs_at_end(truths, cap),
        lives: longest.iter().take(6).map(life).collect(),
        rows: rows.collect(),
    }
}

fn variant(done: Vec<Done>) -> Variant {
    let headline = |d: &Done| {
        let figure = |of: fn(&Figures) -> f64| d.seed.last_row.as_ref().map_or(f64::NAN, of);
        Headline {
            rmse_capped: figure(|f| f.rmse_capped),
            rmse_uncapped: figure(|f| f.rmse_uncapped),
            score_capped: figure(|f| f.score_capped),
            coverage: figure(|f| f.coverage),
            width: figure(|f| f.width),
            seconds_train: d.seed.seconds_train,
            us_infer: d.seed.cost.map_or(f64::NAN, |c| c.us_infer),
        }
    };
    let all: Vec<Headline> = done.iter().map(headline).collect();
    let (mean, deviation) = (over(&all, mean), over(&all, deviation));
    let windows = done.first().and_then(|d| d.windows);
    let predicted = done.first().map_or(0, |d| d.predicted);
    let none = done.first().map(|d| d.none.clone()).unwrap_or_default();
    let seeds: Vec<Seed> = done.into_iter().map(|d| d.seed).collect();
    // There is at least one seed: the command line asks for a positive number.
    let training = seeds[0].training.clone();
    Variant { mean, deviation, windows, predicted, none, training, seeds }
}

fn over(all: &[Headline], of: fn(&[f64]) -> f64) -> Headline {
    let each = |pick: fn(&Headline) -> f64| of(&all.iter().map(pick).collect::<Vec<_>>());
    Headline {
        rmse_capped: each(|h| h.rmse_capped),
        rmse_uncapped: each(|h| h.rmse_uncapped),
        score_capped: each(|h| h.score_capped),
        coverage: each(|h| h.coverage),
        width: each(|h| h.width),
        seconds_train: each(|h| h.seconds_train),
        us_infer: each(|h| h.us_infer),
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn deviation(values: &[f64]) -> f64 {
    let mean = mean(values);
    let n = values.len() as f64;
    (values.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / (n - 1.0).max(1.0)).sqrt()
}

fn cross_validate(
    name: &str,
    set: &Set,
    folds: usize,
    options: &Options,
    progress: &Progress,
) -> Result<CutFigures, EvaluateError> {
    let tasks: Vec<usize> = (0..folds).collect();
    let told = parallel(&tasks, options.jobs, |fold| -> Result<_, EvaluateError> {
        let (held, rest): (Vec<_>, Vec<_>) = set.train.iter().enumerate().partition(|(i, _)| i % folds == *fold);
        let rest: Vec<Life> = rest.into_iter().map(|(_, life)| life.clone()).collect();
        let fitted = fit::train(&rest, &super::inputs(), &options.recipe, progress);
        let fitted = fitted.map_err(|source| EvaluateError::Fit { set: name.to_owned(), source })?;
        let scorer = Tract::load(&onnx::write(&fitted.model.networks));
        let mut scorer = scorer.map_err(|source| EvaluateError::Score { set: name.to_owned(), source })?;
        Ok(held.iter().map(|(_, life)| (life.end(), judge::follow(&fitted, &mut scorer, life))).collect::<Vec<_>>())
    })?;
    let lives: Vec<Truth<'_>> =
        told.iter().flatten().map(|(end, told)| Truth { told, end: *end, remaining: 0.0 }).collect();
    Ok(judge::cut_anywhere(&lives, options.recipe.cap))
}

/// Runs tasks on some threads; results in the tasks' order, or the first error.
fn parallel<T: Sync, R: Send, E: Send>(
    tasks: &[T],
    jobs: usize,
    work: impl Fn(&T) -> Result<R, E> + Sync,
) -> Result<Vec<R>, E> {
    let (next, results) = (Mutex::new(0), Mutex::new(BTreeMap::new()));
    // A thread that died while it held a lock has taken the whole scope down already.
    let take = || {
        let mut next = next.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *next += 1;
        *next - 1
    };
    std::thread::scope(|scope| {
        for _ in 0..jobs.clamp(1, tasks.len().max(1)) {
            scope.spawn(|| {
                while let Some((i, task)) = Some(take()).and_then(|i| Some((i, tasks.get(i)?))) {
                    let result = work(task);
                    results.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(i, result);
                }
            });
        }
    });
    results.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner).into_values().collect()
}

fn pool(sets: &BTreeMap<String, SetReport>) -> Option<Pooled> {
    let last_rows = sets.values().flat_map(|s| s.figures.seeds.iter().filter_map(|seed| seed.last_row));
    let (mut n, mut covered, mut width) = (0.0, 0.0, 0.0);
    for f in last_rows {
        let weight = f.predictions as f64;
        n += weight;
        covered += weight * f.coverage;
        width += weight * f.width;
    }
    (n > 0.0).then(|| Pooled { coverage: covered / n, width: width / n })
}
