//! Predictions along lives, and figures over them.

use std::collections::BTreeMap;

use fettle_models::predict::learned::RulState;
use fettle_models::predict::metrics::{
    Along, Judged, alpha_lambda, coverage, interval_score, mean, nasa_penalty, prognostic_horizon, rmse, width,
};
use fettle_models::predict::onnx;
use fettle_models::predict::score::{ScoreError, Scorer};
use fettle_models::predict::tract::Tract;
use serde::Serialize;

use crate::clock;
use crate::fit::{Fitted, Weighting};
use crate::life::Life;

/// One prediction.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Said {
    /// Steps of the life so far.
    pub steps: usize,
    /// When.
    pub time: f64,
    /// P50.
    pub p50: f64,
    /// Ends of P10..P90.
    pub p80: (f64, f64),
    /// Ends of the interval of 90 %.
    pub p90: (f64, f64),
}

/// What was said of one life.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Told {
    /// Predictions in order of time.
    pub said: Vec<Said>,
    /// Steps without one, by reason.
    pub none: BTreeMap<&'static str, usize>,
    /// Whether the last step has one.
    pub at_end: bool,
}

/// A life and how long it had left after its last step.
#[derive(Debug, Clone, Copy)]
pub struct Truth<'a> {
    /// What was said.
    pub told: &'a Told,
    /// Time of its last step.
    pub end: f64,
    /// Remaining life then.
    pub remaining: f64,
}

impl Truth<'_> {
    fn of(&self, said: &Said) -> f64 {
        self.remaining + self.end - said.time
    }
}

/// Runs the model over a life as an agent would.
pub fn follow(fitted: &Fitted, scorer: &mut dyn Scorer, life: &Life) -> Told {
    let mut state = RulState::new(&fitted.model, None);
    let mut told = Told::default();
    for (i, step) in life.steps.iter().enumerate() {
        let values: Vec<Option<f64>> = fitted.picked.iter().map(|c| step.values[*c]).collect();
        let prediction = state.step(&fitted.model, scorer, step.time, &step.settings, &values);
        told.at_end = prediction.is_ok();
        match prediction {
            Err(reason) => *told.none.entry(reason.as_str()).or_default() += 1,
            Ok(e) => {
                let (p80, p90) = ((e.bounds.p10, e.bounds.p90), (e.bounds.low, e.bounds.high));
                told.said.push(Said { steps: i + 1, time: step.time, p50: e.p50, p80, p90 });
            }
        }
    }
    told
}

/// Figures over some predictions; `null` in JSON where there is nothing to compute them from.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Figures {
    /// Predictions judged.
    pub predictions: usize,
    /// Truth capped as the predictions are.
    pub rmse_capped: f64,
    /// Truth as it is.
    pub rmse_uncapped: f64,
    /// NASA score: a sum over units for last rows, a mean per prediction for windows.
    pub score_capped: f64,
    /// The same with the truth as it is.
    pub score_uncapped: f64,
    /// Share of the capped truth within the interval of 90 %.
    pub coverage: f64,
    /// Its mean width.
    pub width: f64,
    /// Its mean interval score.
    pub interval_score: f64,
    /// Share of the truth as it is within the interval, whose upper end at the cap says "or more".
    pub coverage_uncapped: f64,
    /// Share of the capped truth within P10..P90.
    pub coverage_p10_p90: f64,
}

fn figures(pairs: &[(Said, f64)], cap: f64, sum: bool) -> Figures {
    let capped = || pairs.iter().map(|(s, t)| (s.p50, t.min(cap)));
    let uncapped = || pairs.iter().map(|(s, t)| (s.p50, *t));
    let judged = || pairs.iter().map(|(s, t)| Judged { low: s.p90.0, high: s.p90.1, truth: t.min(cap) });
    let open = |high: f64| if high >= cap - 1e-9 { f64::INFINITY } else { high };
    let total = if sum { pairs.len() as f64 } else { 1.0 };
    let score = |pairs: &mut dyn Iterator<Item = (f64, f64)>| total * mean(pairs.map(|(p, t)| nasa_penalty(p, t)));
    Figures {
        predictions: pairs.len(),
        rmse_capped: rmse(capped()),
        rmse_uncapped: rmse(uncapped()),
        score_capped: score(&mut capped()),
        score_uncapped: score(&mut uncapped()),
        coverage: coverage(judged()),
        width: width(judged()),
        interval_score: interval_score(judged(), 0.1),
        coverage_uncapped: coverage(pairs.iter().map(|(s, t)| Judged { low: s.p90.0, high: open(s.p90.1), truth: *t })),
        coverage_p10_p90: coverage(pairs.iter().map(|(s, t)| Judged {
            low: s.p80.0,
            high: s.p80.1,
            truth: t.min(cap),
        })),
    }
}

/// At the last row of each life, which is what everyone reports.
pub fn at_end(lives: &[Truth<'_>], cap: f64) -> Figures {
    let last = |life: &Truth<'_>| life.told.said.last().filter(|_| life.told.at_end).map(|s| (*s, life.of(s)));
    figures(&lives.iter().filter_map(last).collect::<Vec<_>>(), cap, true)
}

/// The pairs behind [`at_end`]: predicted, capped truth and the interval.
pub fn pairs_at_end(lives: &[Truth<'_>], cap: f64) -> Vec<(Said, f64)> {
    let last = |life: &Truth<'_>| life.told.said.last().filter(|_| life.told.at_end).map(|s| (*s, life.of(s).min(cap)));
    lives.iter().filter_map(last).collect()
}

/// Over all rows, with what only whole lives tell.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Windows {
    /// Over all predictions.
    #[serde(flatten)]
    pub figures: Figures,
    /// Share of lives whose prediction halfway from the first one to the failure is within a fifth of the truth.
    pub alpha_lambda: f64,
    /// Mean remaining life from which on all predictions are within 13 of the (capped) truth.
    pub prognostic_horizon: f64,
}

/// Over all rows of all lives.
pub fn windows(lives: &[Truth<'_>], cap: f64) -> Windows {
    let all = lives.iter().flat_map(|life| life.told.said.iter().map(|s| (*s, life.of(s))));
    let along = |life: &Truth<'_>| {
        let of = |s: &Said| Along { time: s.time, predicted: s.p50, truth: life.of(s) };
        life.told.said.iter().map(of).collect::<Vec<Along>>()
    };
    let halves = lives.iter().filter_map(|life| alpha_lambda(&along(life), 0.2, 0.5));
    let horizon = |life: &Truth<'_>| {
        let capped: Vec<Along> = along(life).iter().map(|a| Along { truth: a.truth.min(cap), ..*a }).collect();
        prognostic_horizon(&capped, 13.0)
    };
    Windows {
        figures: figures(&all.collect::<Vec<_>>(), cap, false),
        alpha_lambda: mean(halves.map(|good| f64::from(u8::from(good)))),
        prognostic_horizon: mean(lives.iter().filter(|l| !l.told.said.is_empty()).map(horizon)),
    }
}

/// Figures in the manner of the test protocol over lives known to their failure: each life is cut at every row at which
/// it could have been cut, and weighs 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct CutFigures {
    /// Lives.
    pub lives: usize,
    /// Root of the mean over lives of the mean square error.
    pub rmse_capped: f64,
    /// NASA score of as many test units as there are lives.
    pub score_capped: f64,
    /// Share of the capped truth within the interval of 90 %.
    pub coverage: f64,
    /// Its mean width.
    pub width: f64,
}

/// See [`CutFigures`].
pub fn cut_anywhere(lives: &[Truth<'_>], cap: f64) -> CutFigures {
    let weighting = Weighting::default();
    let per_life: Vec<[f64; 4]> = lives
        .iter()
        .filter_map(|life| {
            let counts =
                |s: &&Said| s.steps >= weighting.steps && (weighting.least..=weighting.most).contains(&life.of(s));
            let pairs: Vec<(Said, f64)> = life.told.said.iter().filter(counts).map(|s| (*s, life.of(s))).collect();
            let f = figures(&pairs, cap, false);
            (!pairs.is_empty()).then_some([f.rmse_capped.powi(2), f.score_capped, f.coverage, f.width])
        })
        .collect();
    let over = |i: usize| mean(per_life.iter().map(|f| f[i]));
    CutFigures {
        lives: per_life.len(),
        rmse_capped: over(0).sqrt(),
        score_capped: over(1) * per_life.len() as f64,
        coverage: over(2),
        width: over(3),
    }
}

/// What a prediction costs, us of wall time, on the machine as it is used now.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Cost {
    /// 99th percentile of scoring one row by the whole ensemble.
    pub us_infer: f64,
    /// Median of it.
    pub us_infer_p50: f64,
    /// 99th percentile of one member by itself.
    pub us_infer_member: f64,
}

/// Notes the rows it is asked for.
struct Noting<'a> {
    inner: &'a mut dyn Scorer,
    rows: Vec<Vec<f32>>,
}

impl Scorer for Noting<'_> {
    fn score(&mut self, row: &[f32]) -> Result<f32, ScoreError> {
        self.rows.push(row.to_vec());
        self.inner.score(row)
    }
}

/// Measures scoring over rows of these lives.
///
/// # Errors
/// If a member cannot be loaded by the runtime.
pub fn cost(fitted: &Fitted, scorer: &mut Tract, lives: &[Life]) -> Result<Option<Cost>, ScoreError> {
    let mut noting = Noting { inner: scorer, rows: Vec::new() };
    for life in lives {
        follow(fitted, &mut noting, life);
        if noting.rows.len() >= 4_000 {
            break;
        }
    }
    let rows = noting.rows;
    let mut single = Tract::load(&onnx::write(&fitted.model.networks[..1]))?;
    let whole = timed(&rows, |row| fitted.model.raw(scorer, row).unwrap_or(0.0));
    let member = timed(&rows, |row| f64::from(single.score(row).unwrap_or(0.0)));
    Ok(whole.zip(member).map(|((p50, p99), (_, member))| Cost {
        us_infer: p99,
        us_infer_p50: p50,
        us_infer_member: member,
    }))
}

/// Median and 99th percentile in us; of five passes the best, because other work on the machine is not the question.
fn timed(rows: &[Vec<f32>], mut score: impl FnMut(&[f32]) -> f64) -> Option<(f64, f64)> {
    let mut passes = (0..5).filter_map(|_| {
        let mut times: Vec<f64> = rows
            .iter()
            .map(|row| {
                let began = clock::now();
                std::hint::black_box(score(row));
                began.elapsed().as_secs_f64() * 1e6
            })
            .collect();
        times.sort_by(f64::total_cmp);
        Some((*times.get(times.len() / 2)?, *times.get(times.len() * 99 / 100)?))
    });
    let first = passes.next()?;
    Some(passes.fold(first, |best, pass| (best.0.min(pass.0), best.1.min(pass.1))))
}
