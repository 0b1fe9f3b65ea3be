//! The registry: which assets there are, what they are made of and what is measured on them.
//!
//! Place in the flow: a file of the site, numbered by generation, journaled by the agent; the engine adopts it whole at
//! a boundary between two entries. Unknown keys are refused, so that a misspelt `limit` is an error and not a machine
//! without protection.
//!
//! R1: a registry for which [`Registry::check`] finds nothing has finite, ordered ranges and finite limits.

use std::collections::BTreeMap;

use fettle_wire::time::DAY;
use fettle_wire::{Micros, Name, Unit};
use serde::{Deserialize, Serialize};

use crate::derived;
use crate::indicate::waveform::BearingGeometry;
use crate::settings::MAX_CHANNELS;

/// What a channel is to detection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Its behaviour is judged.
    #[default]
    Monitored,
    /// It says in which operating state the others are judged (speed, load).
    Operating,
    /// It is published and may have a limit; its behaviour is not judged.
    Recorded,
}

/// One measured quantity at one point of an asset.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChannelSpec {
    /// What it measures: `vibration`, `temperature`, `speed`, ...
    pub kind: String,
    /// UCUM code of the values that arrive without a unit of their own.
    pub unit: Unit,
    /// What it is to detection.
    #[serde(default)]
    pub role: Role,
    /// Plausible values, inclusive, in `unit`; others are rejected as `out_of_range`.
    #[serde(default)]
    pub range: Option<(f64, f64)>,
    /// Expected interval between readings, s.
    #[serde(default)]
    pub interval: Option<f64>,
    /// In `unit`: above it the `limit.<channel>` alarm is raised; remaining life is the time until it is reached.
    #[serde(default)]
    pub limit: Option<f64>,
}

/// A part of an asset with an age of its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Component {
    /// Its name, e.g. `bearing_de`.
    pub name: String,
    /// Date of installation, `2026-05-01`.
    #[serde(default)]
    pub installed: Option<String>,
    /// Running hours when registered.
    #[serde(default)]
    pub running_hours: Option<f64>,
}

/// One machine.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AssetSpec {
    /// Class, e.g. `pump`.
    #[serde(default)]
    pub class: Option<String>,
    /// Rated power, kW.
    #[serde(default)]
    pub power_kw: Option<f64>,
    /// Rated speed, revolutions per minute.
    #[serde(default)]
    pub rated_speed_rpm: Option<f64>,
    /// `rigid` or `flexible` (ISO 20816-3).
    #[serde(default)]
    pub mounting: Option<String>,
    /// Bearing designation.
    #[serde(default)]
    pub bearing: Option<String>,
    /// Geometry of the bearing that its waveform channels listen to.
    #[serde(default)]
    pub bearing_geometry: Option<BearingGeometry>,
    /// Its parts.
    #[serde(default)]
    pub components: Vec<Component>,
    /// Its channels.
    #[serde(default)]
    pub channels: BTreeMap<Name, ChannelSpec>,
}

/// All assets of a site.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registry {
    /// Counts configurations; the agent numbers them.
    #[serde(default)]
    pub generation: u64,
    /// The assets.
    #[serde(default)]
    pub assets: BTreeMap<Name, AssetSpec>,
}

/// One entry that cannot be run with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryProblem {
    /// Path of the entry, e.g. `assets.pump-1.channels.temperature.range`.
    pub key: String,
    /// What must hold.
    pub rule: String,
    /// What was found.
    pub value: String,
    /// What to write instead.
    pub remedy: String,
}

impl AssetSpec {
    /// When its life began as far as the registry knows: midnight UTC of the youngest component's date of installation.
    pub fn installed(&self) -> Option<Micros> {
        self.components.iter().filter_map(|c| midnight(c.installed.as_deref()?)).max()
    }
}

/// Midnight UTC of a date written `2026-05-01`.
fn midnight(date: &str) -> Option<Micros> {
    let mut parts = date.splitn(3, '-').map(|part| part.parse::<i64>().ok().filter(|n| (0..=9_999).contains(n)));
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Day count from a civil date, after Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
    let year = year - i64::from(month <= 2);
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    Some((era * 146_097 + day_of_era - 719_468) * DAY)
}

impl Registry {
    /// Everything that is wrong, all at once (R1).
    pub fn check(&self) -> Vec<RegistryProblem> {
        let mut problems = Vec::new();
        let mut problem = |key: String, rule: &str, value: String, remedy: &str| {
            problems.push(RegistryProblem { key, rule: rule.into(), value, remedy: remedy.into() });
        };
        for (name, asset) in &self.assets {
            let path = format!("assets.{name}");
            if asset.channels.is_empty() {
                let remedy = "describe at least one channel or leave the asset out";
                problem(format!("{path}.channels"), "must not be empty", "{}".into(), remedy);
            }
            let channels = derived::channels(asset).len().max(asset.channels.len());
            if channels > MAX_CHANNELS {
                let rule = format!("must have at most {MAX_CHANNELS} channels, those of waveforms included");
                let remedy = "split the machine into several assets";
                problem(format!("{path}.channels"), &rule, channels.to_string(), remedy);
            }
            for (field, rule, value) in asset.bearing_geometry.iter().flat_map(BearingGeometry::problems) {
                problem(format!("{path}.bearing_geometry.{field}"), rule, value, "write what the data sheet says");
            }
            derived::check(asset, &path, &mut problem);
            for (key, number) in [("power_kw", asset.power_kw), ("rated_speed_rpm", asset.rated_speed_rpm)] {
                if let Some(x) = number.filter(|x| !(*x > 0.0 && x.is_finite())) {
                    problem(format!("{path}.{key}"), "must be a finite number above 0", x.to_string(), "leave it out");
                }
            }
            for (channel, spec) in &asset.channels {
                spec.check(&format!("{path}.channels.{channel}"), &mut problem);
            }
        }
        problems
    }
}

impl ChannelSpec {
    /// A monitored pure number without limits: what an adopted channel is until the registry says more.
    pub fn adopted() -> Self {
        let kind = String::from("adopted");
        Self { kind, unit: Unit::ONE, role: Role::Monitored, range: None, interval: None, limit: None }
    }

    fn check(&self, path: &str, problem: &mut impl FnMut(String, &str, String, &str)) {
        if let Some((low, high)) = self.range
            && !(low.is_finite() && high.is_finite() && low < high)
        {
            let remedy = "write range = [lowest, highest] in the channel's unit";
            problem(
                format!("{path}.range"),
                "must be two finite numbers, lower first",
                format!("[{low}, {high}]"),
                remedy,
            );
        }
        if let Some(limit) = self.limit.filter(|x| !x.is_finite()) {
            problem(format!("{path}.limit"), "must be a finite number", limit.to_string(), "leave it out");
        }
        if let (Some(limit), Some((low, high))) = (self.limit, self.range)
            && !(limit >= low && limit <= high)
        {
            let rule = format!("must lie inside the range [{low}, {high}], else no reading can ever reach it");
            problem(format!("{path}.limit"), &rule, limit.to_string(), "widen range or correct limit");
        }
        if let Some(interval) = self.interval.filter(|x| !(*x > 0.0 && x.is_finite())) {
            let rule = "must be a finite number of seconds above 0";
            problem(format!("{path}.interval"), rule, interval.to_string(), "leave it out");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel(range: Option<(f64, f64)>, limit: Option<f64>) -> ChannelSpec {
        ChannelSpec { range, limit, ..ChannelSpec::adopted() }
    }

    #[test]
    fn every_broken_entry_is_named_with_its_path() {
        let name = |n: &str| Name::new(n).unwrap();
        let channels = BTreeMap::from([
            (name("a"), channel(Some((5.0, 1.0)), None)),
            (name("b"), channel(Some((0.0, 1.0)), Some(2.0))),
            (name("c"), channel(None, Some(f64::NAN))),
        ]);
        let asset = AssetSpec { power_kw: Some(-1.0), channels, ..AssetSpec::default() };
        let empty = (name("q"), AssetSpec::default());
        let registry = Registry { generation: 1, assets: BTreeMap::from([(name("p"), asset), empty]) };
        let keys: Vec<_> = registry.check().into_iter().map(|p| p.key).collect();
        let expected = [
            "assets.p.power_kw",
            "assets.p.channels.a.range",
            "assets.p.channels.b.limit",
            "assets.p.channels.c.limit",
            "assets.q.channels",
        ];
        assert_eq!(keys, expected);
    }

    #[test]
    fn the_life_of_a_machine_began_with_its_youngest_component() {
        let part =
            |installed: &str| Component { name: "part".into(), installed: Some(installed.into()), running_hours: None };
        let asset =
            |dates: &[&str]| AssetSpec { components: dates.iter().map(|d| part(d)).collect(), ..AssetSpec::default() };
        // date -u -d 2024-02-29 +%s
        assert_eq!(asset(&["2019-12-01", "2024-02-29"]).installed(), Some(1_709_164_800_000_000));
        assert_eq!(asset(&["1970-01-01"]).installed(), Some(0));
        assert_eq!(asset(&["soon", "2024-13-01", "2024-01", "-1-1-1"]).installed(), None);
    }

    #[test]
    fn a_registry_survives_the_journal() {
        let asset = AssetSpec {
            channels: BTreeMap::from([(Name::new("t").unwrap(), channel(Some((0.0, 9.0)), Some(8.0)))]),
            ..AssetSpec::default()
        };
        let registry = Registry { generation: 3, assets: BTreeMap::from([(Name::new("p").unwrap(), asset)]) };
        let bytes = fettle_wire::cbor::encode(&registry).unwrap();
        assert_eq!(fettle_wire::cbor::decode::<Registry>(&bytes, 4096).unwrap(), registry);
    }
}
