//! An independent computation of window aggregates, from the simulator's own record of what it measured.
//!
//! Nothing of `models` is used, units are converted by a table of its own, and every sum is taken in two passes over all
//! readings of the window: slow, plain and obviously right. The agent merges partial moments instead; the two must agree.

use std::collections::BTreeMap;
use std::path::Path;

use fettle_wire::time::Micros;
use fettle_wire::{Health, Indicator};

/// One reading of the record: event time and value in the channel's unit.
pub type Reading = (Micros, f64);

/// Readings by asset and channel.
#[derive(Debug, Clone, Default)]
pub struct History {
    readings: BTreeMap<(String, String), Vec<Reading>>,
}

impl History {
    /// Reads the record: CSV with a heading, of which the columns `asset,channel,time_us,value` are used.
    pub fn load(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("cannot read {}: {e}", path.display()));
        Self::parse(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    }

    /// Reads the record's text; the error names the line.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut lines = text.lines().enumerate();
        let heading: Vec<_> = lines.next().map(|(_, line)| line.split(',').collect()).unwrap_or_default();
        let column = |name: &str| heading.iter().position(|c| *c == name).ok_or(format!("no column {name}"));
        let (asset, channel, time, value) =
            (column("asset")?, column("channel")?, column("time_us")?, column("value")?);
        let mut history = Self::default();
        for (number, line) in lines {
            let fields: Vec<_> = line.split(',').collect();
            let field = |index: usize| fields.get(index).copied().ok_or(format!("line {}: too short", number + 1));
            let broken = |text: &str| format!("line {}: not a number: {text}", number + 1);
            let at = field(time)?.parse().map_err(|_| broken(line))?;
            let measured = field(value)?.parse().map_err(|_| broken(line))?;
            history.push(field(asset)?, field(channel)?, (at, measured));
        }
        Ok(history)
    }

    /// Adds one reading.
    pub fn push(&mut self, asset: &str, channel: &str, reading: Reading) {
        self.readings.entry((asset.to_owned(), channel.to_owned())).or_default().push(reading);
    }

    /// How many readings it holds.
    pub fn len(&self) -> usize {
        self.readings.values().map(Vec::len).sum()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.readings.is_empty()
    }

    /// How many readings of one asset it holds.
    pub fn count(&self, asset: &str) -> usize {
        self.readings.iter().filter(|(key, _)| key.0 == asset).map(|(_, readings)| readings.len()).sum()
    }

    /// The channels of an asset.
    pub fn channels<'a>(&'a self, asset: &'a str) -> impl Iterator<Item = &'a str> {
        self.readings.keys().filter(move |key| key.0 == asset).map(|key| key.1.as_str())
    }

    /// The aggregates of `[start, end)` in SI, from the readings in `unit` (UCUM); `None` without a reading.
    pub fn aggregate(&self, asset: &str, channel: &str, unit: &str, start: Micros, end: Micros) -> Option<Aggregate> {
        let readings = self.readings.get(&(asset.to_owned(), channel.to_owned()))?;
        let inside = readings.iter().filter(|(time, _)| (start..end).contains(time));
        let si: Vec<Reading> = inside.map(|(time, value)| (*time, to_si(unit, *value))).collect();
        (!si.is_empty()).then(|| Aggregate::of(&si))
    }
}

/// Value in SI of a value in a unit that the simulator uses.
fn to_si(unit: &str, value: f64) -> f64 {
    match unit {
        "1" | "m/s" | "K" | "Pa" | "A" | "V" | "W" | "Hz" | "m/s2" | "rad/s" => value,
        "%" => value / 100.0,
        "mm/s" => value / 1000.0,
        "Cel" => value + 273.15,
        "bar" => value * 100_000.0,
        "kPa" | "kW" => value * 1000.0,
        "MPa" => value * 1e6,
        "{rpm}" => value * std::f64::consts::TAU / 60.0,
        "[g]" => value * 9.806_65,
        "mA" => value / 1000.0,
        other => panic!("the naive computation does not know the unit {other}"),
    }
}

/// The aggregates of one window.
#[derive(Debug, Clone, PartialEq)]
pub struct Aggregate {
    /// Readings.
    pub count: u64,
    /// Arithmetic mean.
    pub mean: f64,
    /// Population variance.
    pub variance: f64,
    /// m3 / m2^1.5.
    pub skewness: Option<f64>,
    /// m4 / m2^2.
    pub kurtosis: Option<f64>,
    /// Smallest.
    pub min: f64,
    /// Largest.
    pub max: f64,
    /// Root of the mean square.
    pub rms: f64,
    /// Least-squares slope, per second.
    pub slope: Option<f64>,
}

impl Aggregate {
    /// Two passes: the mean, then powers of the differences from it.
    pub fn of(readings: &[Reading]) -> Self {
        let n = readings.len() as f64;
        let average = |f: &dyn Fn(&Reading) -> f64| readings.iter().map(f).sum::<f64>() / n;
        let mean = average(&|r| r.1);
        let moment = |power: i32| average(&|r| (r.1 - mean).powi(power));
        let (variance, third, fourth) = (moment(2), moment(3), moment(4));
        let origin = readings[0].0;
        let seconds = |r: &Reading| (r.0 - origin) as f64 / 1e6;
        let mean_time = average(&|r| seconds(r));
        let time_variance = average(&|r| (seconds(r) - mean_time).powi(2));
        let covariance = average(&|r| (seconds(r) - mean_time) * (r.1 - mean));
        Self {
            count: readings.len() as u64,
            mean,
            variance,
            skewness: (variance > 0.0).then(|| third / variance.powf(1.5)),
            kurtosis: (variance > 0.0).then(|| fourth / (variance * variance)),
            min: readings.iter().map(|r| r.1).fold(f64::INFINITY, f64::min),
            max: readings.iter().map(|r| r.1).fold(f64::NEG_INFINITY, f64::max),
            rms: average(&|r| r.1 * r.1).sqrt(),
            slope: (time_variance > 0.0).then(|| covariance / time_variance),
        }
    }

    /// What of `indicator` differs from this, beyond rounding; empty if nothing.
    ///
    /// Both sides round: the naive mean by `n` additions, the agent's by merging. Differences from the mean inherit an
    /// absolute error of some units in the last place of the largest value, so higher moments and the slope are compared
    /// with the spread as their scale.
    pub fn differences(&self, indicator: &Indicator) -> Vec<String> {
        let size = self.min.abs().max(self.max.abs());
        let spread = self.variance.sqrt();
        // Relative error that `size * epsilon` means for a difference of size `spread`, with room for n additions.
        let noise = if spread > 0.0 { size / spread * f64::EPSILON * 64.0 } else { 0.0 };
        let loose = 1e-9 + noise;
        let mut found = Vec::new();
        let mut compare = |what: &str, naive: f64, agent: f64, tolerance: f64| {
            // Not `>`: a NaN on either side is a difference.
            let equal = (naive - agent).abs() <= tolerance;
            if !equal {
                found.push(format!("{what}: naive {naive:e}, agent {agent:e}"));
            }
        };
        compare("count", self.count as f64, indicator.count as f64, 0.0);
        compare("min", self.min, indicator.min, size * f64::EPSILON * 4.0);
        compare("max", self.max, indicator.max, size * f64::EPSILON * 4.0);
        compare("mean", self.mean, indicator.mean, size * 1e-12);
        compare("rms", self.rms, indicator.rms, size * 1e-12);
        compare(
            "variance",
            self.variance,
            indicator.variance,
            self.variance * loose + (size * f64::EPSILON * 64.0).powi(2),
        );
        if let (Some(naive), Some(agent)) = (self.skewness, indicator.skewness) {
            compare("skewness", naive, agent, loose * (1.0 + naive.abs()) * 10.0);
        }
        if let (Some(naive), Some(agent)) = (self.kurtosis, indicator.kurtosis) {
            compare("kurtosis", naive, agent, loose * (1.0 + naive.abs()) * 10.0);
        }
        match (self.slope, indicator.slope) {
            // A slope's natural size is one spread over the window; a window has at least one second here.
            (Some(naive), Some(agent)) => compare("slope", naive, agent, loose * (naive.abs() + spread)),
            (None, None) => {}
            (naive, agent) => found.push(format!("slope: naive {naive:?}, agent {agent:?}")),
        }
        found
    }
}

/// Compares every channel's summary of a health record with the naive computation; `unit` tells a channel's unit in
/// the record. The answer lists what differs, and says how many summaries were compared.
pub fn compare(history: &History, health: &Health, unit: impl Fn(&str) -> String) -> (usize, Vec<String>) {
    let mut compared = 0;
    let mut differences = Vec::new();
    for indicator in &health.indicators {
        let place = format!("{} {} [{}, {})", health.asset, indicator.channel, health.window_start, health.window_end);
        let unit = unit(&indicator.channel);
        let naive = history.aggregate(&health.asset, &indicator.channel, &unit, health.window_start, health.window_end);
        match naive {
            Some(naive) => {
                compared += 1;
                differences.extend(naive.differences(indicator).into_iter().map(|d| format!("{place}: {d}")));
            }
            None if indicator.count == 0 => {}
            None => differences.push(format!("{place}: the agent saw {} readings, the record none", indicator.count)),
        }
    }
    (compared, differences)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_aggregates_of_four_numbers_are_those_worked_by_hand() {
        // 1, 2, 3, 6 at 0, 1, 2, 3 s: mean 3, m2 = 14/4, m3 = 18/4, m4 = 98/4; slope = covariance 2 / variance 1.25.
        let a = Aggregate::of(&[(0, 1.0), (1_000_000, 2.0), (2_000_000, 3.0), (3_000_000, 6.0)]);
        assert_eq!((a.count, a.mean, a.variance, a.min, a.max), (4, 3.0, 3.5, 1.0, 6.0));
        assert!((a.skewness.unwrap() - 4.5 / 3.5_f64.powf(1.5)).abs() < 1e-15);
        assert!((a.kurtosis.unwrap() - 24.5 / 12.25).abs() < 1e-15);
        assert!((a.rms - 12.5_f64.sqrt()).abs() < 1e-15);
        assert!((a.slope.unwrap() - 1.6).abs() < 1e-15);
    }

    #[test]
    fn a_window_includes_its_start_and_not_its_end() {
        let history = History::parse("asset,channel,time_us,value\na,c,10,1\na,c,20,2\na,c,30,3\n").unwrap();
        assert_eq!(history.aggregate("a", "c", "1", 10, 30).unwrap().count, 2);
        assert_eq!(history.aggregate("a", "c", "1", 31, 40), None);
    }

    #[test]
    fn a_summary_that_is_off_by_a_millionth_is_noticed() {
        let readings: Vec<Reading> = (0..100).map(|i| (i * 1_000_000, 300.0 + (i as f64).sin())).collect();
        let a = Aggregate::of(&readings);
        let same = Indicator {
            channel: fettle_wire::Name::new("c").unwrap(),
            unit: "K".to_owned(),
            count: a.count,
            mean: a.mean,
            variance: a.variance,
            skewness: a.skewness,
            kurtosis: a.kurtosis,
            min: a.min,
            max: a.max,
            rms: a.rms,
            slope: a.slope,
        };
        assert_eq!(a.differences(&same), Vec::<String>::new());
        for spoil in [
            |i: &mut Indicator| i.mean *= 1.000_001,
            |i: &mut Indicator| i.variance *= 1.000_001,
            |i: &mut Indicator| i.kurtosis = i.kurtosis.map(|k| k * 1.000_001),
            |i: &mut Indicator| i.slope = i.slope.map(|s| s + 1e-6),
            |i: &mut Indicator| i.count += 1,
        ] {
            let mut other = same.clone();
            spoil(&mut other);
            assert_eq!(a.differences(&other).len(), 1, "{other:?}");
        }
    }
}
