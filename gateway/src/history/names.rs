//! What the numbers in the history of an asset stand for: its series and its notes. One small dictionary for each asset,
//! which only grows, within bounds.
//!
//! The first series are the same for every asset; then three for each channel in the order in which they were first
//! seen. A channel that changes its unit is another channel here, so that no curve joins bars and pascals.

use std::collections::BTreeSet;

use fettle_wire::{Health, Name, Rul, Verdict};
use serde::{Deserialize, Serialize};

use super::point::{Point, Stat};

/// Series that every asset has, with their unit (UCUM).
pub const FIXED: [(&str, &str); 7] = [
    ("health_index", "1"),
    ("score", "1"),
    ("p_value", "1"),
    ("baseline", "1"),
    ("rul_p10", "s"),
    ("rul_p50", "s"),
    ("rul_p90", "s"),
];
/// What is kept of each channel.
pub const OF_CHANNEL: [&str; 3] = ["mean", "rms", "max"];
/// The most channels of one asset.
const MAX_CHANNELS: usize = 256;
/// The most notes of one asset.
const MAX_NOTES: usize = 256;
/// The longest note, in bytes.
const MAX_NOTE: usize = 128;

/// One channel, as it was first seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Channel {
    /// Its name.
    pub name: Name,
    /// Its SI unit, UCUM.
    pub unit: String,
}

/// The dictionary of one asset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Names {
    /// The asset's number in the store.
    pub id: u32,
    /// Channels by number.
    pub channels: Vec<Channel>,
    /// Notes by number.
    pub notes: Vec<String>,
}

/// One series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Series {
    /// Its number.
    pub number: usize,
    /// `health_index`, or `<channel>.rms`.
    pub name: String,
    /// The channel, where it is of one.
    pub channel: Option<Name>,
    /// UCUM.
    pub unit: String,
}

impl Names {
    /// Of an asset that was never seen.
    pub const fn new(id: u32) -> Self {
        Self { id, channels: Vec::new(), notes: Vec::new() }
    }

    /// Every series, by number.
    pub fn series(&self) -> Vec<Series> {
        let fixed = FIXED.iter().map(|(name, unit)| ((*name).to_owned(), None, (*unit).to_owned()));
        let of_channels = self.channels.iter().flat_map(|channel| {
            OF_CHANNEL
                .map(|what| (format!("{}.{what}", channel.name), Some(channel.name.clone()), channel.unit.clone()))
        });
        let all = fixed.chain(of_channels).enumerate();
        all.map(|(number, (name, channel, unit))| Series { number, name, channel, unit }).collect()
    }

    fn channel(&mut self, name: &Name, unit: &str) -> Option<usize> {
        if let Some(at) = self.channels.iter().position(|c| c.name == *name && c.unit == unit) {
            return Some(at);
        }
        if self.channels.len() >= MAX_CHANNELS || unit.len() > MAX_NOTE {
            return None;
        }
        self.channels.push(Channel { name: name.clone(), unit: unit.to_owned() });
        Some(self.channels.len() - 1)
    }

    fn note(&mut self, note: String) -> Option<u16> {
        if let Some(at) = self.notes.iter().position(|known| *known == note) {
            return u16::try_from(at).ok();
        }
        if self.notes.len() >= MAX_NOTES || note.len() > MAX_NOTE {
            return None;
        }
        self.notes.push(note);
        u16::try_from(self.notes.len() - 1).ok()
    }

    /// The record as a point, and how many of its channels and notes had no room in the dictionary.
    pub fn point(&mut self, health: &Health) -> (Point, u64) {
        let mut without_room = 0;
        let mut values = vec![None; FIXED.len() + self.channels.len() * OF_CHANNEL.len()];
        let (p10, p50, p90) = match &health.rul {
            Rul::Interval { p10, p50, p90, .. } => (Some(*p10), Some(*p50), *p90),
            Rul::None { .. } => (None, None, None),
        };
        let fixed = [health.health_index, health.score, health.p_value, Some(health.baseline), p10, p50, p90];
        for (value, said) in values.iter_mut().zip(fixed) {
            *value = said.and_then(stat);
        }
        for indicator in &health.indicators {
            let Some(channel) = self.channel(&indicator.channel, &indicator.unit) else {
                without_room += 1;
                continue;
            };
            let first = FIXED.len() + channel * OF_CHANNEL.len();
            values.resize(values.len().max(first + OF_CHANNEL.len()), None);
            for (n, said) in [indicator.mean, indicator.rms, indicator.max].into_iter().enumerate() {
                values[first + n] = stat(said);
            }
        }
        let mut notes = BTreeSet::new();
        for note in notes_of(health) {
            match self.note(note) {
                Some(number) => drop(notes.insert(number)),
                None => without_room += 1,
            }
        }
        let point = Point {
            at: health.window_end,
            last_at: health.window_end,
            revision: health.revision,
            records: 1,
            abnormal: u32::from(health.verdict == Verdict::Abnormal),
            undecided: u32::from(health.verdict == Verdict::None),
            notes: notes.into_iter().collect(),
            values,
        };
        (point, without_room)
    }
}

fn stat(value: f64) -> Option<Stat> {
    let value = value as f32;
    value.is_finite().then(|| Stat::one(value))
}

fn notes_of(health: &Health) -> Vec<String> {
    let mut notes = health.flags.clone();
    if let Some(reason) = health.reason {
        // A unit variant always encodes as a quoted word.
        let word = serde_json::to_string(&reason).unwrap_or_default();
        notes.push(format!("verdict:{}", word.trim_matches('"')));
    }
    if let Rul::None { reason } = &health.rul {
        notes.push(format!("rul:{reason}"));
    }
    notes
}

#[cfg(test)]
mod tests {
    use fettle_wire::{Indicator, NoVerdict};

    use super::*;
    use crate::intake::record::tests::{health, name};

    fn indicator(channel: &str, unit: &str, mean: f64) -> Indicator {
        let (channel, unit) = (name(channel), unit.into());
        let (skewness, kurtosis, slope) = (None, None, None);
        let (min, max, rms) = (mean - 1.0, mean + 1.0, mean + 0.5);
        Indicator { channel, unit, count: 9, mean, variance: 1.0, skewness, kurtosis, min, max, rms, slope }
    }

    #[test]
    fn a_record_becomes_a_point_with_named_series() {
        let mut names = Names::new(1);
        let mut said = health("pump", 60, 3);
        said.indicators = vec![indicator("temperature", "K", 300.0)];
        said.flags = vec!["restamped".into()];
        let (point, without_room) = names.point(&said);
        assert_eq!((point.at, point.revision, without_room), (60, 3, 0));
        let series = names.series();
        let of = |name: &str| {
            let found = series.iter().find(|s| s.name == name).unwrap();
            point.values[found.number].map(|stat| stat.mean)
        };
        assert_eq!(of("health_index"), Some(1.0));
        assert_eq!(of("rul_p50"), None);
        assert_eq!((of("temperature.mean"), of("temperature.max")), (Some(300.0), Some(301.0)));
        let notes: Vec<&str> = point.notes.iter().map(|n| names.notes[usize::from(*n)].as_str()).collect();
        assert_eq!(notes, ["restamped", "rul:no_limit"]);
    }

    #[test]
    fn a_channel_that_changes_its_unit_is_another_series() {
        let mut names = Names::new(1);
        for unit in ["Pa", "K", "Pa"] {
            let mut said = health("pump", 60, 0);
            said.indicators = vec![indicator("p", unit, 1.0)];
            names.point(&said);
        }
        assert_eq!(names.channels.len(), 2);
    }

    #[test]
    fn dictionaries_are_bounded_and_what_has_no_room_is_counted() {
        let mut names = Names::new(1);
        let mut said = health("pump", 60, 0);
        said.verdict = Verdict::None;
        said.reason = Some(NoVerdict::InputsMissing);
        said.indicators = (0..300).map(|n| indicator(&format!("c{n}"), "K", f64::from(n))).collect();
        said.flags = (0..300).map(|n| format!("imputed:c{n}")).collect();
        let (_, without_room) = names.point(&said);
        assert_eq!((names.channels.len(), names.notes.len()), (256, 256));
        assert_eq!(without_room, 44 + 44 + 2, "channels, flags, and the two reasons");
    }
}
