//! Which channels tell of wear: chosen by a number without a unit, not by name.
//!
//! Per life and channel: how far the mean of the last tenth of the life lies from that of the first tenth, squared, in
//! units of what noise alone would do to such a difference (noise from differences of neighbouring steps within a regime,
//! von Neumann 1941). About 1 for a channel that only scatters; the mean over lives is compared with the threshold. The
//! squares keep faults apart that move a channel up in one unit and down in another.

use fettle_models::predict::feature::Regimes;

use super::regimes::moments;
use crate::life::Life;

/// The channels above the threshold, in order.
pub(super) fn pick(lives: &[Life], regimes: &Regimes, threshold: f64) -> Vec<usize> {
    let channels = regimes.mean.first().map_or(0, Vec::len);
    (0..channels).filter(|c| signal(lives, regimes, *c) > threshold).collect()
}

/// Mean over lives of the squared standardised difference between end and beginning.
fn signal(lives: &[Life], regimes: &Regimes, channel: usize) -> f64 {
    let all: Vec<f64> = lives.iter().filter_map(|life| of_life(life, regimes, channel)).collect();
    if all.is_empty() { 0.0 } else { all.iter().sum::<f64>() / all.len() as f64 }
}

/// The same of one life; none if it is too short to have a beginning and an end.
pub(crate) fn of_life(life: &Life, regimes: &Regimes, channel: usize) -> Option<f64> {
    let z: Vec<f64> = life
        .steps
        .iter()
        .filter_map(|s| Some(regimes.normalise(regimes.of(&s.settings).ok()?, channel, s.values[channel]?)))
        .collect();
    let tenth = (z.len() / 10).max(5);
    if z.len() < 3 * tenth {
        return None;
    }
    // Half the mean square of differences of neighbours: what is left of slow change is negligible.
    let noise = moments(z.windows(2).map(|w| w[1] - w[0])).variance() / 2.0;
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
    let moved = mean(&z[z.len() - tenth..]) - mean(&z[..tenth]);
    // A channel that never moves tells nothing; one that moves without any noise is quantised.
    let expected = 2.0 * noise.max(1e-6) / tenth as f64;
    Some(moved * moved / expected)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fit::regimes;
    use crate::life::Step;
    use fettle_models::train::random::Random;

    #[test]
    fn channels_that_wear_are_taken_in_either_direction_and_at_any_scale() {
        let mut random = Random::new(8);
        let lives: Vec<Life> = (0..20)
            .map(|unit| {
                let way = if unit % 2 == 0 { 1.0 } else { -1.0 };
                let steps = (0..200).map(|t| {
                    let wear = f64::from(t * t) / 20_000.0;
                    let mut n = || random.normal();
                    let values = [1e6 + 1e-3 * (n() + wear), n(), 5.0, 1e3 * (n() + way * wear)];
                    Step { time: f64::from(t), settings: vec![], values: values.map(Some).to_vec() }
                });
                Life { unit: unit.to_string(), steps: steps.collect() }
            })
            .collect();
        let regimes = regimes::learn(&lives).unwrap();
        assert_eq!(pick(&lives, &regimes, 5.0), [0, 3]);
    }
}
