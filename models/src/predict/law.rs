//! How damage grows: a channel's way from its baseline mean under five power laws at once, of which the data choose.
//!
//! Idea: wear feeds on itself. With the damage d (how far the level is from the baseline mean, towards the limit) most
//! laws in use have the form d' = c d^p: p = 0 is even wear, p = 1 exponential growth, p above 1 growth that ends in
//! finite time, as Paris and Erdogan (1963) have it for cracks and Li et al. (1999) for spalls. A straight line through
//! such a curve tells an end many times too late and is sure of it. So each law has a Kalman filter of (d, c) of its own,
//! linearised about its own flow, and a weight: the likelihood of what it foretold (Bayesian model averaging). The
//! passage is the mixture of the five, each computed in the coordinate z(d) in which its damage grows evenly, z' = c.
//!
//! No law holds for ever: c is taken to wander by [`WANDER`] of itself in the time in which damage grows e-fold,
//! variance WANDER^2 c^2 g a slide with g = c d^(p - 1). That is free of units and makes a forecast as uncertain as it
//! is far: over n e-folds the end is known to about WANDER n^1.5 / sqrt(3) of an e-fold.
//!
//! Wear also comes in bursts: a spall lengthens by pieces, and what a filter follows within a burst is not what the next
//! hours bring. So each filter keeps the mean and the variance of c over about two e-folds; the forecast's rate is
//! log-normal about a centre that leans to the mean, with that variance (three-point Gauss-Hermite quadrature).
//!
//! R is the long-run variance (`degradation`), so neighbouring residuals that hang together are not taken for evidence.
//! What grows ever slower (p < 0) is not among them: it is told early, which errs to the safe side.

use serde::{Deserialize, Serialize};

use super::degradation::Estimate;
use super::passage::passed;

/// Exponents p of the laws.
const LAWS: [Law; 5] = [Law::Even, Law::Half, Law::Exponential, Law::ThreeHalves, Law::Square];
/// How far c wanders, of itself, in an e-fold.
const WANDER: f64 = 0.3;
/// Evidence of a slide weighs this much a slide later, so that an early choice can be undone.
const FORGETTING: f64 = 0.999;
/// The least weight of a law beside the best one's 1: no choice is final.
const LEAST: f64 = 1e-3;
/// Standard deviations (of the residual, of the level) that make damage.
const BEGINS: (f64, f64) = (2.0, 4.0);
/// Of the first rate, its standard deviation: it comes from a straight line through what may be a curve.
const FIRST_RATE: f64 = 1.5;
/// The most by which damage is taken to grow within a slide, of itself.
const FASTEST: f64 = 0.5;

/// Weight of the newest c, for growth by an e-fold; and the least and most a slide.
const BURSTS: (f64, f64, f64) = (0.5, 1.0 / 500.0, 1.0 / 8.0);
/// How far a forecast goes by the c of now, the rest by its mean.
const NOW: f64 = 0.3;
/// The least spread of the logarithm of c, known or not; and the most of its variance in squares of its mean.
const SPREAD: (f64, f64) = (0.2, 20.0);
/// Three-point Gauss-Hermite quadrature of a standard normal: places and weights.
const NORMAL: [(f64, f64); 3] =
    [(-1.732_050_807_568_877_2, 1.0 / 6.0), (0.0, 2.0 / 3.0), (1.732_050_807_568_877_2, 1.0 / 6.0)];

#[derive(Debug, Clone, Copy, PartialEq)]
enum Law {
    Even,
    Half,
    Exponential,
    ThreeHalves,
    Square,
}

impl Law {
    fn exponent(self) -> f64 {
        match self {
            Self::Even => 0.0,
            Self::Half => 0.5,
            Self::Exponential => 1.0,
            Self::ThreeHalves => 1.5,
            Self::Square => 2.0,
        }
    }

    /// d^p; d is positive.
    fn power(self, d: f64) -> f64 {
        match self {
            Self::Even => 1.0,
            Self::Half => d.sqrt(),
            Self::Exponential => d,
            Self::ThreeHalves => d * d.sqrt(),
            Self::Square => d * d,
        }
    }

    /// The integral of d^-p: where the damage grows evenly.
    fn even(self, d: f64) -> f64 {
        match self {
            Self::Even => d,
            Self::Half => 2.0 * d.sqrt(),
            Self::Exponential => libm::log(d),
            Self::ThreeHalves => -2.0 / d.sqrt(),
            Self::Square => -1.0 / d,
        }
    }
}

/// One law's filter.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Filter {
    /// Damage, SI of the channel, positive.
    d: f64,
    /// c of d' = c d^p, per slide.
    c: f64,
    p11: f64,
    p12: f64,
    p22: f64,
    /// Mean and variance of c of late.
    mean: f64,
    variance: f64,
    /// Logarithm of the likelihood so far, with forgetting.
    weight: f64,
}

impl Filter {
    fn new(law: Law, d: f64, rate: f64, p11: f64, rate_variance: f64) -> Self {
        let power = law.power(d);
        let (c, p22) = (rate / power, rate_variance / (power * power));
        Self { d, c, p11, p12: 0.0, p22, mean: c, variance: 0.0, weight: 0.0 }
    }

    /// Relative growth a slide.
    fn growth(&self, law: Law) -> f64 {
        (self.c * law.power(self.d) / self.d).max(0.0)
    }

    fn wander(&self, law: Law) -> f64 {
        WANDER * WANDER * self.c * self.c * self.growth(law)
    }

    fn step(&mut self, law: Law, d: Option<f64>, r: f64) {
        let (g, power, q) = (self.growth(law).min(FASTEST), law.power(self.d), self.wander(law));
        let stretch = 1.0 + law.exponent() * g;
        self.p11 = stretch * (stretch * self.p11 + 2.0 * power * self.p12) + power * power * self.p22;
        self.p12 = stretch * self.p12 + power * self.p22;
        self.p22 += q;
        self.d += (self.c * power).min(FASTEST * self.d);
        if let Some(d) = d {
            let (error, variance) = (d - self.d, self.p11 + r);
            let (gain_d, gain_c) = (self.p11 / variance, self.p12 / variance);
            self.d += gain_d * error;
            self.c += gain_c * error;
            self.p22 -= gain_c * self.p12;
            self.p12 -= gain_d * self.p12;
            self.p11 -= gain_d * self.p11;
            self.note_rate(law);
            let surprise = error * error / variance + libm::log(variance / r);
            self.weight = FORGETTING * self.weight - 0.5 * surprise;
        }
        // Below half a standard deviation there is no damage to follow; the laws need a positive one.
        self.d = self.d.max(0.5 * r.sqrt());
    }

    /// Takes c into its mean and variance. The weight goes by the mean growth: by the growth of now, bursts would count
    /// for more than the time between them.
    fn note_rate(&mut self, law: Law) {
        let g = self.mean * law.power(self.d) / self.d;
        let weight = (BURSTS.0 * g).clamp(BURSTS.1, BURSTS.2);
        let moved = self.c - self.mean;
        self.mean += weight * moved;
        self.variance = (1.0 - weight) * (self.variance + weight * moved * moved);
    }

    /// The state in the law's own coordinate, at the three rates of a forecast, each with its weight; and how far it is
    /// to `limit` (a damage).
    fn ahead(&self, law: Law, limit: f64) -> ([(Estimate, f64); 3], f64) {
        let power = law.power(self.d);
        let (p11, p12, p22) = (self.p11 / (power * power), self.p12 / power, self.p22);
        let at = |rate| Estimate { level: 0.0, rate, p11, p12, p22, q: self.wander(law) };
        let centre = (1.0 - NOW) * self.mean + NOW * self.c;
        // Of a log-normal with this mean and variance.
        let log_variance = libm::log(1.0 + (self.variance / (self.mean * self.mean)).min(SPREAD.1));
        let spread = (log_variance + SPREAD.0 * SPREAD.0).sqrt();
        let each = NORMAL.map(|(place, weight)| {
            // What stands still or goes back has no rate to spread.
            let factor = if centre > 0.0 { libm::exp(place * spread - 0.5 * log_variance) } else { 1.0 };
            let rate = centre * factor;
            (at(rate), weight)
        });
        (each, law.even(limit) - law.even(self.d))
    }
}

/// The laws of one channel, while it has damage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Laws {
    /// 1 if the level rises, -1 if it falls.
    up: f64,
    filters: [Filter; LAWS.len()],
}

impl Laws {
    /// Begins where an identifiable trend (`estimate`, rate not 0) has led far enough from `mean`; `level` is the newest
    /// observation, with variance `r`.
    pub(super) fn begin(estimate: &Estimate, mean: f64, level: f64, r: f64) -> Option<Self> {
        let up = estimate.rate.signum();
        let (d, seen) = ((estimate.level - mean) * up, (level - mean) * up);
        if d < BEGINS.0 * r.sqrt() || d < BEGINS.1 * estimate.p11.sqrt() {
            return None;
        }
        // A filter that lags behind is wrong by what it last missed.
        let (p11, rate) = (estimate.p11 + r + (seen - d) * (seen - d), estimate.rate * up);
        let rate_variance = 4.0 * estimate.p22 + (FIRST_RATE * rate) * (FIRST_RATE * rate);
        let d = d.max(0.5 * seen);
        Some(Self { up, filters: LAWS.map(|law| Filter::new(law, d, rate, p11, rate_variance)) })
    }

    /// One slide, with its level if there is one.
    pub(super) fn step(&mut self, level: Option<f64>, mean: f64, r: f64) {
        for (filter, law) in self.filters.iter_mut().zip(LAWS) {
            filter.step(law, level.map(|level| (level - mean) * self.up), r);
        }
    }

    /// Whether what they say can be used: a filter whose numbers have run away says nothing for ever.
    pub(super) fn is_finite(&self) -> bool {
        let numbers = |f: &Filter| [f.d, f.c, f.p11, f.p12, f.p22, f.mean, f.variance, f.weight];
        self.filters.iter().all(|f| numbers(f).iter().all(|x| x.is_finite()))
    }

    /// Whether they lead to `limit` from `mean`.
    pub(super) fn towards(&self, limit: f64, mean: f64) -> bool {
        (limit - mean) * self.up > 0.0
    }

    /// The probability that `limit` is passed after so many slides: the mixture over the laws.
    pub(super) fn passed(&self, limit: f64, mean: f64) -> impl Fn(f64) -> f64 + use<> {
        let limit = (limit - mean) * self.up;
        let best = self.filters.iter().map(|f| f.weight).fold(f64::NEG_INFINITY, f64::max);
        let weights = self.filters.map(|f| libm::exp(f.weight - best) + LEAST);
        let whole: f64 = weights.iter().sum();
        let mut parts = [(Estimate::default(), 0.0, 0.0); LAWS.len() * NORMAL.len()];
        let mut places = parts.iter_mut();
        for ((filter, law), weight) in self.filters.iter().zip(LAWS).zip(weights) {
            let (each, ahead) = filter.ahead(law, limit);
            for ((estimate, share), place) in each.into_iter().zip(places.by_ref()) {
                *place = (estimate, ahead, share * weight / whole);
            }
        }
        move |t| parts.iter().map(|(estimate, ahead, weight)| weight * passed(estimate, *ahead, t)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::super::passage::quantiles;
    use super::*;

    const LIMIT: f64 = 60.0;
    const LIFE: u32 = 2000;

    fn noise(i: u32) -> f64 {
        // Uniform, variance 1.
        (f64::from(i.wrapping_mul(2_654_435_761) >> 8) / f64::from(1u32 << 24) - 0.5) * 12.0f64.sqrt()
    }

    /// Follows a curve of damage from where it is 4 to its end; shares of slides at which the truth is within P10..P90
    /// and in which the median is within a factor of 1.6.
    fn follow(curve: impl Fn(f64) -> f64, up: f64) -> (f64, f64) {
        let mut laws: Option<Laws> = None;
        let (mut all, mut held, mut close) = (0.0, 0.0, 0.0);
        for i in 0..LIFE {
            let share = f64::from(i) / f64::from(LIFE);
            let (before, d) = (curve(share - 1.0 / f64::from(LIFE)), curve(share));
            let level = 5.0 + up * (d + noise(i));
            match &mut laws {
                Some(laws) => laws.step(Some(level), 5.0, 1.0),
                None if d > 4.0 => {
                    let estimate =
                        Estimate { level: 5.0 + up * d, rate: up * (d - before), p11: 0.1, p12: 0.0, p22: 0.0, q: 0.0 };
                    laws = Laws::begin(&estimate, 5.0, level, 1.0);
                }
                None => {}
            }
            let Some(laws) = &laws else { continue };
            assert!(laws.is_finite() && laws.towards(5.0 + up * LIMIT, 5.0) && !laws.towards(5.0 - up * LIMIT, 5.0));
            let found = quantiles(&laws.passed(5.0 + up * LIMIT, 5.0), 1e6);
            let truth = f64::from(LIFE - i);
            all += 1.0;
            if let Some(found) = found {
                held += f64::from(u8::from(found.p10 <= truth && found.p90.is_none_or(|p90| truth <= p90)));
                close += f64::from(u8::from((found.p50 / truth).clamp(1.0 / 1.6, 1.6) == found.p50 / truth));
            }
        }
        assert!(all > 100.0, "{all}");
        (held / all, close / all)
    }

    #[test]
    fn each_law_is_followed_to_its_end_with_an_interval_that_holds_it() {
        for up in [1.0, -1.0] {
            let even = follow(|s| LIMIT * s, up);
            let square = follow(|s| LIMIT * s * s, up);
            let exponential = follow(|s| LIMIT * (5.0 * (s - 1.0)).exp(), up);
            let finite = follow(|s| LIMIT * 0.05 / (1.05 - s), up);
            // Where growth ends in finite time the laws above exponential are believed late: the interval holds the end
            // all the same, the median is too long at first.
            for (name, (held, close), most) in [
                ("even", even, 0.7),
                ("square", square, 0.7),
                ("exponential", exponential, 0.7),
                ("finite", finite, 0.45),
            ] {
                assert!(held > 0.8, "{name}: {held} within the interval that 0.8 are asked for");
                assert!(close > most, "{name}: {close} of the medians close");
            }
        }
    }

    #[test]
    fn wear_that_comes_in_bursts_is_told_with_an_interval_that_holds_it() {
        // Exponential growth whose rate is thrice the mean in bursts of 60 slides, a third of it between them.
        let mut curve = vec![2.0];
        for i in 1..LIFE {
            let burst = if i / 60 % 4 == 0 { 3.0 } else { 1.0 / 3.0 };
            curve.push(curve[curve.len() - 1] * (1.0 + 3.4 * burst / f64::from(LIFE)));
        }
        let end = curve[curve.len() - 1];
        let (held, _) =
            follow(|share| curve[((share * f64::from(LIFE)) as usize).min(curve.len() - 1)] * LIMIT / end, 1.0);
        assert!(held > 0.8, "{held}");
    }

    #[test]
    fn a_law_follows_its_own_flow_exactly_where_nothing_disturbs() {
        for law in LAWS {
            let (mut filter, rate) = (Filter::new(law, 10.0, 0.001, 0.0, 0.0), 0.001);
            let c = filter.c;
            for _ in 0..100 {
                filter.step(law, None, 1.0);
            }
            let moved = law.even(filter.d) - law.even(10.0);
            assert!((moved / (100.0 * c) - 1.0).abs() < 1e-3, "{law:?}: {moved}, {rate}");
        }
    }

    #[test]
    fn the_coordinate_of_a_law_is_the_integral_of_its_inverse_power() {
        for law in LAWS {
            let (d, h) = (3.0, 1e-5);
            let slope = (law.even(d + h) - law.even(d - h)) / (2.0 * h);
            assert!((slope * law.power(d) - 1.0).abs() < 1e-8, "{law:?}");
            assert!((law.power(d) - d.powf(law.exponent())).abs() < 1e-12, "{law:?}");
        }
    }

    #[test]
    fn what_is_noise_is_no_damage() {
        let estimate = Estimate { level: 6.0, rate: 0.01, p11: 0.1, p12: 0.0, p22: 0.0, q: 0.0 };
        assert!(Laws::begin(&estimate, 5.0, 6.0, 1.0).is_none());
        assert!(Laws::begin(&estimate, 2.0, 6.0, 1.0).is_some());
        let falls = Estimate { rate: -0.01, ..estimate };
        assert!(Laws::begin(&falls, 2.0, 6.0, 1.0).is_none(), "it comes back");
    }
}
