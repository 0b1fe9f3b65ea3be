//! What is asked of a release here, and when one in shadow is promoted. Pure.

use std::collections::BTreeMap;

use fettle_models::engine::Compared;
use fettle_models::predict::feature::Schema;
use fettle_models::release::{Key, Policy, Refusal, Release, open};
use fettle_models::{derived, release};

use crate::core::generation::Generation;

/// The configuration's `[releases]`.
#[derive(Debug, Clone, PartialEq)]
pub struct ReleasePolicy {
    /// Keys that may sign; without one no release is taken.
    pub keys: Vec<Key>,
    /// Bytes of release files kept on disk.
    pub max_bytes: u64,
    /// Least version that is taken, by class.
    pub floor: BTreeMap<String, u64>,
    /// Steps, over all assets of a class, that a shadow is compared for.
    pub promote_steps: u64,
    /// Share of them at which it must have said nearly what the active one said.
    pub promote_agreement: f64,
    /// Bound of the 99th percentile of one inference, microseconds.
    pub latency_us: u64,
}

impl Default for ReleasePolicy {
    /// No keys, so nothing is taken; a day of one machine at the default step; a millisecond.
    fn default() -> Self {
        Self {
            keys: Vec::new(),
            max_bytes: 32 << 20,
            floor: BTreeMap::new(),
            promote_steps: 144,
            promote_agreement: 0.8,
            latency_us: 1_000,
        }
    }
}

/// How many more of a shadow's predictions, as a share, may be of an early end.
const MORE_URGENT: f64 = 0.02;

impl ReleasePolicy {
    /// Opens a file under what is asked of it here; `floor` is what the pointers ask.
    ///
    /// # Errors
    /// The first reason not to take it.
    pub fn open(&self, bytes: &[u8], generation: &Generation, floor: impl Fn(&str) -> u64) -> Result<Release, Refusal> {
        let least = |class: &str| self.floor.get(class).copied().unwrap_or(0).max(floor(class));
        let fits = |class: &str, schema: &Schema| fits(generation, class, schema);
        open(bytes, &Policy { keys: &self.keys, floor: &least, fits: &fits })
    }

    /// Whether a shadow that compared like this is to speak. With nothing active there is nothing to wait for.
    pub fn promotes(&self, compared: &Compared, active: bool) -> bool {
        if !active {
            return true;
        }
        let Compared { steps, agreed, urgent_active, urgent_shadow, .. } = *compared;
        let share = |n: u64| n as f64 / steps.max(1) as f64;
        steps >= self.promote_steps
            && share(agreed) >= self.promote_agreement
            && share(urgent_shadow) <= share(urgent_active) + MORE_URGENT
    }
}

/// Whether some machine of the class gives what the schema asks for.
fn fits(generation: &Generation, class: &str, schema: &Schema) -> Result<(), String> {
    let step = generation.settings.rul_step as f64 * 1e-6;
    if schema.step_seconds != step {
        return Err(format!("it is made for steps of {} s, engine.rul_step is {step} s here", schema.step_seconds));
    }
    let machines = generation.registry.assets.values().filter(|spec| spec.class.as_deref() == Some(class));
    let mut why = format!("no machine of class {class} is registered here");
    for spec in machines {
        let channels = derived::channels(spec);
        let wanted = schema.settings.iter().chain(&schema.channels);
        let lacks = wanted
            .into_iter()
            .find(|c| !channels.iter().any(|(name, spec)| **name == *c.name.as_str() && spec.unit.si_code() == c.unit));
        match lacks {
            None => return Ok(()),
            Some(c) => why = format!("no machine of class {class} has a channel {} in {}", c.name, c.unit),
        }
    }
    Err(why)
}

/// The largest file that is looked at.
pub const MAX_FILE: usize = release::MAX_BYTES;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shadow_is_promoted_when_it_has_agreed_for_long_and_cries_no_more_often() {
        let policy = ReleasePolicy {
            keys: vec![],
            max_bytes: 1,
            floor: BTreeMap::new(),
            promote_steps: 100,
            promote_agreement: 0.9,
            latency_us: 1,
        };
        let good = Compared { steps: 100, agreed: 90, urgent_active: 5, urgent_shadow: 7, spoken: 100 };
        assert!(policy.promotes(&good, true));
        assert!(!policy.promotes(&Compared { steps: 99, agreed: 99, ..good }, true), "too short");
        assert!(!policy.promotes(&Compared { agreed: 89, ..good }, true), "too often of another opinion");
        assert!(!policy.promotes(&Compared { urgent_shadow: 8, ..good }, true), "cries wolf");
        assert!(policy.promotes(&Compared::default(), false), "nothing to be compared with");
    }
}
