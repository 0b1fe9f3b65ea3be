//! The row of regressors of one slide: operating channels now, one slide before, smoothed, multiplied and cubed; each
//! monitored channel's own last values; and what is to be explained, the monitored channels now.
//!
//! Place in the flow: the first step of detection, the same while learning and afterwards. The row holds more than a
//! model uses: which regressors earn their place is decided when the baseline is fitted. Smoothed operating channels
//! (time constants of 8 and 32 slides) stand for heat that is stored in a machine; squares, products
//! and cubes for laws such as flow times pressure, and for curves as far as a machine's range goes: what is left of a
//! curve is a lasting shift in some regime, which a chart that gathers small shifts takes for a fault.
//!
//! F1: what is not known is NaN in a row, never a guess; but where only the older part of a channel's past is unknown, the
//! next younger value stands in, or one missing slide would cost a verdict for eight. Rows are not stored.
//! F2: across a gap in slides there is no lag; across more than [`LONG_GAP`] slides the smoothed channels start anew.

use fettle_wire::Micros;
use serde::{Deserialize, Serialize};

use crate::registry::Role;

/// Weight of the newest value in each smoothed copy of an operating channel.
const SMOOTHINGS: [f64; 2] = [1.0 / 8.0, 1.0 / 32.0];
/// How many of its own last values explain a monitored channel. A slow channel with a noisy sensor has a longer memory
/// than its physics: with two of them its smoothed innovations have half the variance they should, and the channel
/// hardly alarms.
pub(crate) const LAGS: usize = 8;
/// After a gap of more slides than this, a machine's stored heat is unknown.
const LONG_GAP: i64 = 8;
/// With more operating channels than this, only squares and no products of two are offered.
const MAX_PRODUCT_CHANNELS: usize = 4;

/// Which channels take part, by index in the layout, and where in a row things are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) operating: Vec<usize>,
    pub(crate) monitored: Vec<usize>,
}

impl Plan {
    /// All channels that `take_part`.
    pub(crate) fn new(roles: &[Role], take_part: impl Fn(usize) -> bool) -> Self {
        let of = |role: Role| (0..roles.len()).filter(|i| roles[*i] == role && take_part(*i)).collect();
        Self { operating: of(Role::Operating), monitored: of(Role::Monitored) }
    }

    fn products(&self) -> usize {
        let n = self.operating.len();
        n + if n <= MAX_PRODUCT_CHANNELS { n * (n + 1) / 2 } else { n }
    }

    /// Regressors in a row, which come before the targets.
    pub(crate) fn regressors(&self) -> usize {
        self.shapes().end + LAGS * self.monitored.len()
    }

    /// Components of a row.
    pub(crate) fn dimension(&self) -> usize {
        self.regressors() + self.monitored.len()
    }

    /// Operating channels now.
    pub(crate) fn now(&self) -> std::ops::Range<usize> {
        0..self.operating.len()
    }

    /// Smoothed, multiplied and cubed operating channels; what comes before is operating channels now and one slide before.
    pub(crate) fn shapes(&self) -> std::ops::Range<usize> {
        let n = self.operating.len();
        2 * n..(2 + SMOOTHINGS.len()) * n + self.products()
    }

    /// The value of the monitored channel at `position` of the plan, `age` (1 to [`LAGS`]) slides before.
    pub(crate) fn lag(&self, position: usize, age: usize) -> usize {
        self.shapes().end + self.monitored.len() * (age - 1) + position
    }

    /// The value to be explained.
    pub(crate) fn target(&self, position: usize) -> usize {
        self.regressors() + position
    }
}

/// One slide's components in the order of [`Plan`]; NaN where unknown (F1).
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) values: Vec<f64>,
    /// Whether every operating channel of the plan is known now.
    pub(crate) operating_known: bool,
}

impl Row {
    /// Whether nothing is unknown.
    pub(crate) fn is_complete(&self) -> bool {
        !self.values.iter().any(|v| v.is_nan())
    }
}

/// What must be remembered of earlier slides, per channel of the layout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Lags {
    previous_end: Option<Micros>,
    /// Values one slide before, two, ..
    own: [Vec<Option<f64>>; LAGS],
    /// Smoothed copies; of operating channels only.
    smooth: Vec<Option<[f64; SMOOTHINGS.len()]>>,
    /// First value seen; squares are taken about it, so that they are not collinear with the value itself.
    centre: Vec<Option<f64>>,
}

impl Lags {
    /// For an asset with `n` channels.
    pub(crate) fn new(n: usize) -> Self {
        Self {
            previous_end: None,
            own: std::array::from_fn(|_| vec![None; n]),
            smooth: vec![None; n],
            centre: vec![None; n],
        }
    }

    /// Makes the row of the slide that ends at `end` and remembers its values for the next.
    pub(crate) fn advance(&mut self, plan: &Plan, end: Micros, slide: Micros, x: &[Option<f64>]) -> Row {
        self.meet_gap(end, slide);
        self.smoothen(plan, x);
        let row = self.row(plan, x);
        self.own.rotate_right(1);
        self.own[0].clear();
        self.own[0].extend_from_slice(x);
        self.previous_end = Some(end);
        row
    }

    /// Puts another value in place of the one just remembered, where that was an outlier.
    pub(crate) fn replace(&mut self, channel: usize, value: f64) {
        self.own[0][channel] = Some(value);
    }

    /// Takes the value just remembered for unknown, where it was wild.
    pub(crate) fn forget(&mut self, channel: usize) {
        self.own[0][channel] = None;
    }

    fn meet_gap(&mut self, end: Micros, slide: Micros) {
        let Some(previous) = self.previous_end else { return };
        let distance = end.saturating_sub(previous);
        if distance != slide {
            self.own.iter_mut().for_each(|lag| lag.fill(None));
        }
        if distance < 0 || distance > slide.saturating_mul(LONG_GAP) {
            self.smooth.fill(None);
        }
    }

    fn smoothen(&mut self, plan: &Plan, x: &[Option<f64>]) {
        for &channel in &plan.operating {
            let Some(value) = x[channel] else { continue };
            self.centre[channel].get_or_insert(value);
            let smooth = self.smooth[channel].get_or_insert([value; SMOOTHINGS.len()]);
            smooth.iter_mut().zip(SMOOTHINGS).for_each(|(s, weight)| *s += weight * (value - *s));
        }
    }

    fn row(&self, plan: &Plan, x: &[Option<f64>]) -> Row {
        let known = |value: Option<f64>| value.unwrap_or(f64::NAN);
        let mut values = Vec::with_capacity(plan.dimension());
        values.extend(plan.operating.iter().map(|c| known(x[*c])));
        let operating_known = !values.iter().any(|v| v.is_nan());
        values.extend(plan.operating.iter().map(|c| known(self.own[0][*c])));
        for channel in &plan.operating {
            values.extend(self.smooth[*channel].unwrap_or([f64::NAN; SMOOTHINGS.len()]));
        }
        let centred = |c: usize| known(x[c]) - known(self.centre[c]);
        for (i, a) in plan.operating.iter().enumerate() {
            let all = if plan.operating.len() <= MAX_PRODUCT_CHANNELS { 0..i + 1 } else { i..i + 1 };
            values.extend(plan.operating[all].iter().map(|b| centred(*a) * centred(*b)));
        }
        values.extend(plan.operating.iter().map(|c| centred(*c).powi(3)));
        let mut past: Vec<Option<f64>> = vec![None; x.len()];
        for lag in &self.own {
            past.iter_mut().zip(lag).for_each(|(younger, older)| *younger = older.or(*younger));
            values.extend(plan.monitored.iter().map(|c| known(past[*c])));
        }
        values.extend(plan.monitored.iter().map(|c| known(x[*c])));
        Row { values, operating_known }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLIDE: Micros = 60;

    /// Load, pressure, speed, vibration.
    const ROLES: [Role; 4] = [Role::Operating, Role::Monitored, Role::Operating, Role::Monitored];

    fn values(x: [f64; 4]) -> [Option<f64>; 4] {
        x.map(Some)
    }

    #[test]
    fn every_component_stands_where_the_plan_says() {
        let (mut lags, plan) = (Lags::new(4), Plan::new(&ROLES, |_| true));
        lags.advance(&plan, 0, SLIDE, &values([1.0, 10.0, 100.0, 1000.0]));
        lags.advance(&plan, 60, SLIDE, &values([2.0, 20.0, 200.0, 2000.0]));
        let row = lags.advance(&plan, 120, SLIDE, &values([4.0, 40.0, 400.0, 4000.0]));
        assert_eq!(row.values.len(), plan.dimension());
        assert!(row.is_complete() && row.operating_known);
        assert_eq!(row.values[plan.now()], [4.0, 400.0]);
        assert_eq!(row.values[2..4], [2.0, 200.0]);
        let shapes = &row.values[plan.shapes()];
        assert_eq!(shapes[4..7], [9.0, 3.0 * 300.0, 90_000.0], "squares and product about the first value");
        assert_eq!(shapes[7..], [27.0, 2.7e7], "cubes about the first value");
        let smooth = 1.0 + (1.0f64 / 8.0) * 1.0;
        assert_eq!(shapes[0], smooth + (4.0 - smooth) / 8.0);
        assert_eq!([row.values[plan.lag(0, 1)], row.values[plan.lag(1, 1)]], [20.0, 2000.0]);
        assert_eq!([row.values[plan.lag(0, 2)], row.values[plan.lag(1, 2)]], [10.0, 1000.0]);
        assert_eq!([row.values[plan.target(0)], row.values[plan.target(1)]], [40.0, 4000.0]);
    }

    #[test]
    fn across_a_gap_there_is_no_lag() {
        let (mut lags, plan) = (Lags::new(4), Plan::new(&ROLES, |_| true));
        lags.advance(&plan, 0, SLIDE, &values([1.0, 10.0, 100.0, 1000.0]));
        let row = lags.advance(&plan, 120, SLIDE, &values([2.0, 20.0, 200.0, 2000.0]));
        assert!(row.values[plan.lag(0, 1)].is_nan() && row.values[2].is_nan());
        assert!(!row.values[plan.shapes()][0].is_nan(), "stored heat survives a short gap");
        let row = lags.advance(&plan, 180, SLIDE, &values([2.0, 20.0, 200.0, 2000.0]));
        assert_eq!(row.values[plan.lag(0, 1)], 20.0);
        assert_eq!(row.values[plan.lag(0, 2)], 20.0, "the younger value stands in");
    }

    #[test]
    fn an_absent_operating_channel_is_known_to_be_absent() {
        let (mut lags, plan) = (Lags::new(4), Plan::new(&ROLES, |_| true));
        let row = lags.advance(&plan, 0, SLIDE, &[Some(1.0), Some(2.0), None, Some(3.0)]);
        assert!(!row.operating_known);
        assert_eq!(row.values[plan.target(1)], 3.0);
    }
}
