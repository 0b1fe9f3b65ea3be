//! A golden life: steps of a made-up machine, and what the release says at each. An agent that comes to other numbers must
//! not trust itself with it: another feature code, runtime or processor would be speaking.
//!
//! The life begins in the first regime and wears until it leaves the domain or the steps are over, so features, scaling,
//! networks, trees and intervals are all seen at work.

use serde::{Deserialize, Serialize};

use super::Refusal;
use crate::predict::learned::{Prediction, RulModel, RulState};
use crate::predict::score::Scorer;

/// Steps after the baseline has been learned.
const SPOKEN: u32 = 24;
/// Steps at most.
const MOST: usize = 4096;
/// Greatest difference, as a share of the cap: two runtimes add up in another order.
const TOLERANCE: f64 = 1e-4;

/// One step and what is said then.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Step {
    settings: Vec<f64>,
    values: Vec<f64>,
    said: Said,
}

/// The raw remaining life and P10, P50, P90 around it, or the reason why there is none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Said {
    Life([f64; 4]),
    None(String),
}

/// Steps of a made-up machine and what is said of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Golden {
    steps: Vec<Step>,
}

impl Golden {
    /// What `scorer` makes of a life made up for `model`, which must have passed its check.
    pub fn of(model: &RulModel, scorer: &mut dyn Scorer) -> Self {
        let schema = &model.frozen.schema;
        let regimes = &model.frozen.regimes;
        let count = schema.baseline_least.min(MOST as u32 / 2) + SPOKEN;
        let scaled = regimes.centres[0].iter().zip(&regimes.setting_mean).zip(&regimes.setting_sd);
        let settings: Vec<f64> = scaled.map(|((centre, mean), sd)| mean + centre * sd).collect();
        let mut state = RulState::new(model, None);
        let step = |t: u32| {
            let worn = f64::from(t.saturating_sub(schema.baseline_least)) / f64::from(SPOKEN);
            let value = |(i, (mean, sd)): (usize, (&f64, &f64))| {
                let way = if i % 2 == 0 { 1.0 } else { -1.0 };
                mean + sd * (0.3 * libm::sin(f64::from(t) + i as f64) + way * worn)
            };
            let values: Vec<f64> = regimes.mean[0].iter().zip(&regimes.sd[0]).enumerate().map(value).collect();
            let said = say(&mut state, model, scorer, t as usize, &settings, &values);
            Step { settings: settings.clone(), values, said }
        };
        Self { steps: (0..count).map(step).collect() }
    }

    /// Lives through the steps with `scorer` and compares.
    ///
    /// # Errors
    /// [`Refusal::Golden`] with the first step at which something else is said.
    pub fn check(&self, model: &RulModel, scorer: &mut dyn Scorer) -> Result<(), Refusal> {
        if self.steps.is_empty() || self.steps.len() > MOST {
            return Err(Refusal::Malformed(format!(
                "{} golden steps; 1 to {MOST} are lived through",
                self.steps.len()
            )));
        }
        let mut state = RulState::new(model, None);
        for (t, step) in self.steps.iter().enumerate() {
            let said = say(&mut state, model, scorer, t, &step.settings, &step.values);
            let near = match (&said, &step.said) {
                (Said::Life(a), Said::Life(b)) => {
                    a.iter().zip(b).all(|(a, b)| (a - b).abs() <= TOLERANCE * model.filter.cap)
                }
                (a, b) => a == b,
            };
            if !near {
                let (found, expected) = (format!("{said:?}"), format!("{:?}", step.said));
                return Err(Refusal::Golden { step: t, found, expected });
            }
        }
        Ok(())
    }
}

fn say(
    state: &mut RulState,
    model: &RulModel,
    scorer: &mut dyn Scorer,
    t: usize,
    settings: &[f64],
    values: &[f64],
) -> Said {
    let some = |x: &[f64]| x.iter().map(|x| Some(*x)).collect::<Vec<_>>();
    let said: Prediction = state.step(model, scorer, t as f64, &some(settings), &some(values));
    match said {
        Ok(e) => Said::Life([e.raw, e.bounds.p10, e.p50, e.bounds.p90]),
        Err(reason) => Said::None(reason.as_str().to_owned()),
    }
}
