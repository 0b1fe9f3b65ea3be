//! The schema of a learned prognosis: names, units and order of its inputs, and how features are made of them.
//!
//! Two sides that agree on [`Schema::hash`] mean the same by every number of a feature row; a release, an update from a
//! site and an agent's configuration are compared by it. Anything that changes a feature must change the hash.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::PER_CHANNEL;

/// One input.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Channel {
    /// Its name in the registry.
    pub name: String,
    /// UCUM code of the unit in which its values come.
    pub unit: String,
}

/// What goes into the features, and with which constants.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Schema {
    /// Channels that tell of wear, in order.
    pub channels: Vec<Channel>,
    /// Channels that tell the operating state, in order; none: one regime.
    pub settings: Vec<Channel>,
    /// Unit of time, age and remaining life: `cycle`, or `step` where steps have a length.
    pub time_unit: String,
    /// Seconds of a step over which an agent averages; 0 where the unit is none of clock time.
    #[serde(default)]
    pub step_seconds: f64,
    /// Time constants of the EWMAs, ascending, in that unit.
    pub time_constants: [f64; 3],
    /// First steps of a life whose mean is the healthy baseline.
    pub baseline_steps: u32,
    /// Steps after which the mean so far stands for it; until then there is no prediction.
    pub baseline_least: u32,
    /// Whether age is a feature.
    pub age: bool,
}

/// Channels and settings together at most.
const MOST_CHANNELS: usize = 1024;
/// Changes when the same schema begins to mean other features.
const VERSION: u32 = 2;

impl Schema {
    /// Number of features.
    pub fn width(&self) -> usize {
        PER_CHANNEL * self.channels.len() + usize::from(self.age)
    }

    /// Names of the features, in order.
    pub fn feature_names(&self) -> Vec<String> {
        const KINDS: [&str; PER_CHANNEL] = ["short", "middle", "long", "short-middle", "middle-long", "middle-healthy"];
        let of = |c: &Channel| KINDS.map(|kind| format!("{}.{kind}", c.name));
        let age = self.age.then(|| "age".to_owned());
        self.channels.iter().flat_map(of).chain(age).collect()
    }

    /// Steps for which a channel may be silent before there is no prediction: the middle time constant's worth.
    pub(super) fn longest_silence(&self) -> u32 {
        self.time_constants[1] as u32
    }

    /// Whether features can be made by it at all.
    ///
    /// # Errors
    /// The rule it breaks.
    pub fn check(&self) -> Result<(), &'static str> {
        let [short, middle, long] = self.time_constants;
        let rules = [
            (!self.channels.is_empty(), "a schema needs a channel"),
            (self.channels.len() + self.settings.len() <= MOST_CHANNELS, "a schema has at most 1024 channels"),
            (0.0 < short && short < middle && middle < long && long.is_finite(), "time constants ascend from above 0"),
            (self.baseline_steps >= self.baseline_least && self.baseline_least > 0, "a baseline has steps"),
            (self.step_seconds >= 0.0 && self.step_seconds.is_finite(), "a step is not shorter than nothing"),
        ];
        rules.iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, rule)| Err(rule))
    }

    /// SHA-256 of all that gives the features their meaning, in hexadecimal digits.
    pub fn hash(&self) -> String {
        let mut digest = Sha256::new();
        // Each text with its length before it, so that no two schemas can look alike.
        let mut text = |t: &str| {
            digest.update((t.len() as u64).to_le_bytes());
            digest.update(t.as_bytes());
        };
        text(&format!("fettle feature schema {VERSION}"));
        for (kind, channels) in [("channels", &self.channels), ("settings", &self.settings)] {
            text(&format!("{kind} {}", channels.len()));
            for channel in channels {
                text(&channel.name);
                text(&channel.unit);
            }
        }
        text(&self.time_unit);
        text(&format!("{:016x}", self.step_seconds.to_bits()));
        for tau in self.time_constants {
            text(&format!("{:016x}", tau.to_bits()));
        }
        text(&format!("baseline {} {} age {}", self.baseline_least, self.baseline_steps, self.age));
        digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema() -> Schema {
        let channel = |name: &str, unit: &str| Channel { name: name.into(), unit: unit.into() };
        Schema {
            channels: vec![channel("bearing", "K"), channel("casing", "K")],
            settings: vec![channel("speed", "/min")],
            time_unit: "h".into(),
            step_seconds: 0.0,
            time_constants: [4.0, 12.0, 36.0],
            baseline_steps: 20,
            baseline_least: 10,
            age: true,
        }
    }

    #[test]
    fn every_part_of_the_meaning_changes_the_hash() {
        let base = schema();
        assert_eq!(base.hash(), schema().hash());
        assert_eq!(base.hash().len(), 64);
        let changes: [fn(&mut Schema); 9] = [
            |s| s.channels.swap(0, 1),
            |s| s.channels[0].unit = "Cel".into(),
            |s| s.channels[1].name = "cage".into(),
            |s| s.settings.clear(),
            |s| s.time_unit = "d".into(),
            |s| s.time_constants[1] = 12.5,
            |s| s.baseline_steps = 21,
            |s| s.baseline_least = 11,
            |s| s.age = false,
        ];
        for (i, change) in changes.iter().enumerate() {
            let mut other = schema();
            change(&mut other);
            assert_ne!(other.hash(), base.hash(), "change {i}");
        }
    }

    #[test]
    fn there_is_a_name_for_every_feature() {
        let names = schema().feature_names();
        assert_eq!(names.len(), schema().width());
        assert_eq!((names[0].as_str(), names[12].as_str()), ("bearing.short", "age"));
    }
}
