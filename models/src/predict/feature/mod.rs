//! Features of a learned prognosis: what a network or a tree sees of an asset at one step of its life.
//!
//! Place in the flow: values of an asset's channels, once a step -> [`FeatureState::step`] -> a row of numbers -> a
//! [`crate::predict::score::Scorer`]. Training and inference run this very code, so a feature cannot mean two things.
//!
//! Per channel, of its regime-normalised value z ([`regime`]): three bias-corrected EWMAs with the schema's time
//! constants, the differences of neighbouring ones (a slope on two scales), and the deviation of the middle one from the
//! unit's own mean over its first steps (its healthy baseline: units differ from the first day, and how they differ
//! says little about wear). Last, if the schema asks for it, the age.
//!
//! F1: causal, and O(channels) a step in time and memory, however old the asset is.
//! F2: a function of the rows so far and of nothing else; a state saved and loaded goes on to the same bits.
//! F3: a step whose regime is unknown, or that lacks a channel, changes no average of what it lacks.
//! It must never: read a clock, know a data set, or fill a gap with a made-up value.

pub mod regime;
pub mod scale;
pub mod schema;

use serde::{Deserialize, Serialize};

pub use regime::Regimes;
pub use scale::Scale;
pub use schema::{Channel, Schema};

use super::Reason;

/// Features of one channel: three averages, two differences, one deviation.
pub const PER_CHANNEL: usize = 6;

/// What is learned from healthy and worn units before any network is, and frozen from then on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Frozen {
    /// What the inputs are.
    pub schema: Schema,
    /// Operating states and each channel's mean and spread in them.
    pub regimes: Regimes,
    /// Mean and spread of each feature, and how far the training data reached.
    pub scale: Scale,
}

/// One channel's averages.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
struct Averages {
    /// Weighted sums of z, one for each time constant.
    sum: [f64; 3],
    /// Their weights; sum / weight is the average without the bias of an empty start.
    weight: [f64; 3],
    /// Sum and number of z within the baseline.
    baseline: (f64, u32),
    /// Steps since the channel last had a value.
    silent: u32,
}

/// What has been seen of one unit's life so far.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FeatureState {
    /// When this life began, in the schema's unit of time.
    began: Option<f64>,
    last: Option<f64>,
    /// Steps taken into the averages.
    steps: u32,
    channels: Vec<Averages>,
}

impl FeatureState {
    /// A life of which nothing is known yet. `began` is when it began (installation, repair); without it, age counts
    /// from the first step.
    pub fn new(schema: &Schema, began: Option<f64>) -> Self {
        Self { began, last: None, steps: 0, channels: vec![Averages::default(); schema.channels.len()] }
    }

    /// Takes the values at `time` (the schema's unit; greater than the last) and writes the features to `out`
    /// ([`Schema::width`] numbers, not yet scaled). `settings` and `values` stand in the schema's order.
    ///
    /// # Errors
    /// The reason why there are no features at this step. What the step did bring is kept.
    pub fn step(
        &mut self,
        schema: &Schema,
        regimes: &Regimes,
        time: f64,
        settings: &[Option<f64>],
        values: &[Option<f64>],
        out: &mut [f64],
    ) -> Result<(), Reason> {
        if values.len() != schema.channels.len() || settings.len() != schema.settings.len() || !time.is_finite() {
            return Err(Reason::InputsMissing);
        }
        if self.last.is_some_and(|last| time <= last) {
            return Err(Reason::NotInOrder);
        }
        let elapsed = self.last.map_or(0.0, |last| time - last);
        self.last = Some(time);
        let began = *self.began.get_or_insert(time);
        let regime = regimes.of(settings)?;
        self.take(schema, regimes, regime, elapsed, values);
        self.steps = self.steps.saturating_add(1);
        self.write(schema, time - began, out)
    }

    /// Steps that reached the averages.
    pub fn steps(&self) -> u32 {
        self.steps
    }

    fn take(&mut self, schema: &Schema, regimes: &Regimes, regime: usize, elapsed: f64, values: &[Option<f64>]) {
        let decay = schema.time_constants.map(|tau| libm::exp(-elapsed / tau));
        for (i, (averages, value)) in self.channels.iter_mut().zip(values).enumerate() {
            let value = value.filter(|v| v.is_finite());
            let Some(z) = value.map(|v| regimes.normalise(regime, i, v)) else {
                averages.silent = averages.silent.saturating_add(1);
                continue;
            };
            averages.silent = 0;
            for ((sum, weight), decay) in averages.sum.iter_mut().zip(&mut averages.weight).zip(decay) {
                *sum = *sum * decay + z;
                *weight = *weight * decay + 1.0;
            }
            if averages.baseline.1 < schema.baseline_steps {
                averages.baseline = (averages.baseline.0 + z, averages.baseline.1 + 1);
            }
        }
    }

    fn write(&self, schema: &Schema, age: f64, out: &mut [f64]) -> Result<(), Reason> {
        if out.len() != schema.width() || self.channels.iter().any(|c| c.silent > schema.longest_silence()) {
            return Err(Reason::InputsMissing);
        }
        if self.channels.iter().any(|c| c.baseline.1 < schema.baseline_least) {
            return Err(Reason::BaselineNotLearned);
        }
        let (rows, rest) = out.split_at_mut(PER_CHANNEL * self.channels.len());
        for (row, c) in rows.chunks_exact_mut(PER_CHANNEL).zip(&self.channels) {
            let [short, middle, long] = [0, 1, 2].map(|k| c.sum[k] / c.weight[k]);
            let healthy = c.baseline.0 / f64::from(c.baseline.1.max(1));
            row.copy_from_slice(&[short, middle, long, short - middle, middle - long, middle - healthy]);
        }
        if let Some(last) = rest.first_mut() {
            *last = age;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(age: bool) -> Schema {
        let channel = |name: &str| Channel { name: name.into(), unit: "K".into() };
        Schema {
            channels: vec![channel("t1"), channel("t2")],
            settings: vec![channel("load")],
            time_unit: "h".into(),
            step_seconds: 0.0,
            time_constants: [2.0, 8.0, 32.0],
            baseline_steps: 3,
            baseline_least: 3,
            age,
        }
    }

    fn regimes() -> Regimes {
        Regimes {
            setting_mean: vec![0.0],
            setting_sd: vec![1.0],
            centres: vec![vec![0.0], vec![10.0]],
            reach: vec![1.0, 1.0],
            mean: vec![vec![5.0, 0.0], vec![50.0, 0.0]],
            sd: vec![vec![1.0, 2.0], vec![10.0, 2.0]],
        }
    }

    fn run(state: &mut FeatureState, schema: &Schema, time: f64, load: f64, x: [f64; 2]) -> Result<Vec<f64>, Reason> {
        let mut out = vec![0.0; schema.width()];
        state.step(schema, &regimes(), time, &[Some(load)], &x.map(Some), &mut out).map(|()| out)
    }

    #[test]
    fn features_are_those_calculated_by_hand() {
        let schema = schema(true);
        let mut state = FeatureState::new(&schema, None);
        assert_eq!(run(&mut state, &schema, 0.0, 0.0, [6.0, 0.0]), Err(Reason::BaselineNotLearned));
        // The second regime: (60 - 50) / 10 is the same z as (6 - 5) / 1.
        assert_eq!(run(&mut state, &schema, 1.0, 10.0, [60.0, 0.0]), Err(Reason::BaselineNotLearned));
        let row = run(&mut state, &schema, 2.0, 0.0, [8.0, 4.0]).unwrap();
        let d = (-0.5f64).exp();
        let short = (3.0 + d + d * d) / (1.0 + d + d * d);
        assert!((row[0] - short).abs() < 1e-12, "{row:?}");
        assert!((row[3] - (row[0] - row[1])).abs() < 1e-15 && (row[4] - (row[1] - row[2])).abs() < 1e-15);
        assert!((row[5] - (row[1] - 5.0 / 3.0)).abs() < 1e-12);
        assert_eq!(row[12], 2.0, "age counts from the first step");
    }

    #[test]
    fn a_gap_lets_the_past_fade_as_its_length_says() {
        let schema = schema(false);
        let mut state = FeatureState::new(&schema, None);
        for t in 0..3 {
            let _ = run(&mut state, &schema, f64::from(t), 0.0, [5.0, 0.0]);
        }
        let row = run(&mut state, &schema, 1000.0, 0.0, [7.0, 0.0]).unwrap();
        assert!((row[0] - 2.0).abs() < 1e-9 && (row[2] - 2.0).abs() < 1e-9, "{row:?}");
        assert_eq!(row.len(), 12, "no age");
    }

    #[test]
    fn what_cannot_be_used_says_why_and_changes_no_average() {
        let schema = schema(false);
        let mut state = FeatureState::new(&schema, None);
        for t in 0..4 {
            let _ = run(&mut state, &schema, f64::from(t), 0.0, [5.0, 0.0]);
        }
        let before = state.channels.clone();
        assert_eq!(run(&mut state, &schema, 3.0, 0.0, [9.0, 9.0]), Err(Reason::NotInOrder));
        assert_eq!(run(&mut state, &schema, 4.0, 5.0, [9.0, 9.0]), Err(Reason::RegimeUnknown));
        assert_eq!(state.channels, before);
        let mut out = vec![0.0; schema.width()];
        let mut missing = |time| state.step(&schema, &regimes(), time, &[Some(0.0)], &[Some(5.0), None], &mut out);
        assert_eq!((5..13).map(|t| missing(f64::from(t))).filter(Result::is_err).count(), 0, "coasts");
        assert_eq!(missing(13.0), Err(Reason::InputsMissing));
    }

    #[test]
    fn a_state_saved_and_loaded_goes_on_to_the_same_bits() {
        let schema = schema(true);
        let mut one = FeatureState::new(&schema, Some(-7.25));
        let value = |t: i32| [5.0 + f64::from(t * 37 % 11) / 7.0, f64::from(t % 5) / 3.0];
        for t in 0..20 {
            let _ = run(&mut one, &schema, f64::from(t), 0.0, value(t));
        }
        let mut two: FeatureState = serde_cbor::from_slice(&serde_cbor::to_vec(&one).unwrap()).unwrap();
        for t in 20..40 {
            let [a, b] = [&mut one, &mut two].map(|s| run(s, &schema, f64::from(t), 0.0, value(t)).unwrap());
            assert!(a.iter().zip(&b).all(|(a, b)| a.to_bits() == b.to_bits()));
        }
    }
}
