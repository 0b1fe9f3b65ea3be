//! The registry of the fleet, in the form an agent reads: what each asset is and what it measures.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::channel::{ACCELERATION, ACCELERATION_KIND, Channel};
use crate::fleet::{Fleet, Member};
use crate::machine::bearing::Geometry;

#[derive(Debug, Serialize)]
struct Registry {
    generation: u64,
    assets: BTreeMap<String, Asset>,
}

#[derive(Debug, Serialize)]
struct Asset {
    class: &'static str,
    power_kw: f64,
    rated_speed_rpm: f64,
    mounting: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    bearing: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bearing_geometry: Option<Geometry>,
    channels: BTreeMap<&'static str, ChannelEntry>,
}

/// What an agent derives from the blocks of [`ACCELERATION`], and the level at which a spall counts as a failure at three
/// quarters of the load, m/s2 (measured over the simulated machines: 5 to 7 as load and speed go).
const ACCELERATION_RMS: &str = "acceleration.rms";
const RMS_LIMIT: f64 = 6.0;

#[derive(Debug, Serialize)]
struct ChannelEntry {
    kind: &'static str,
    unit: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    range: (f64, f64),
    interval: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<f64>,
}

/// The registry as TOML, generation 1. `interval` is seconds between readings of a channel. Assets whose nodes send
/// waveforms have the waveforms' channel and their bearing in addition.
pub fn toml(fleet: &Fleet, channels: &[Channel], interval: f64) -> Result<String, toml::ser::Error> {
    let assets = fleet.members.iter().map(|member| {
        let asset = asset(member, channels, interval, fleet.waveform.map(|w| w as f64 * 1e-6));
        (member.name.to_string(), asset)
    });
    toml::to_string(&Registry { generation: 1, assets: assets.collect() })
}

fn asset(member: &Member, channels: &[Channel], interval: f64, waveform: Option<f64>) -> Asset {
    let design = member.machine.design();
    let scalar = |channel: &Channel| {
        let entry = ChannelEntry {
            kind: channel.name(),
            unit: channel.unit(),
            role: channel.is_operating().then_some("operating"),
            range: channel.range(),
            interval,
            limit: channel.limit(),
        };
        (channel.name(), entry)
    };
    let (kind, unit, range) = ACCELERATION_KIND;
    let block = |interval| {
        let entry = |kind, limit| ChannelEntry { kind, unit, role: None, range, interval, limit };
        [(ACCELERATION, entry(kind, None)), (ACCELERATION_RMS, entry("vibration", Some(RMS_LIMIT)))]
    };
    let bearing = waveform.map(|_| member.machine.bearing());
    Asset {
        class: "centrifugal-pump",
        power_kw: design.power_kw,
        rated_speed_rpm: design.rated_speed_rpm,
        mounting: "flexible",
        bearing: bearing.map(|b| b.designation),
        bearing_geometry: bearing.map(|b| b.geometry),
        channels: channels.iter().map(scalar).chain(waveform.into_iter().flat_map(block)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_registry_says_what_an_agent_must_know() {
        let text = toml(&Fleet::healthy(1, 2), &Channel::USUAL, 1.0).unwrap();
        let table: toml::Table = text.parse().unwrap();
        let assets = table["assets"].as_table().unwrap();
        assert_eq!(assets.keys().collect::<Vec<_>>(), ["pump-0001", "pump-0002"]);
        let channels = assets["pump-0001"]["channels"].as_table().unwrap();
        assert_eq!(channels.len(), 5);
        assert_eq!(channels["speed"]["role"].as_str(), Some("operating"));
        assert_eq!(channels["vibration"]["unit"].as_str(), Some("mm/s"));
        assert_eq!(channels["vibration"]["limit"].as_float(), Some(7.1));
        assert!(channels["vibration"].get("role").is_none());
    }

    #[test]
    fn a_node_that_sends_waveforms_has_their_channel_and_its_bearing_in_the_registry() {
        let fleet = Fleet::healthy(1, 1).on_chips(None, 60_000_000, |_, _| Vec::new());
        let text = toml(&fleet, &Channel::ON_CHIPS, 1.0).unwrap();
        let table: toml::Table = text.parse().unwrap();
        let asset = &table["assets"]["pump-0001"];
        assert_eq!(asset["bearing"].as_str(), Some(fleet.members[0].machine.bearing().designation));
        assert_eq!(asset["bearing_geometry"]["balls"].as_integer(), Some(8));
        for key in ["ball_diameter_mm", "pitch_diameter_mm", "contact_angle_deg"] {
            assert!(asset["bearing_geometry"][key].is_float(), "{key}");
        }
        let channel = &asset["channels"]["acceleration"];
        assert_eq!((channel["kind"].as_str(), channel["unit"].as_str()), (Some("acceleration"), Some("m/s2")));
        assert_eq!(channel["interval"].as_float(), Some(60.0));
        assert_eq!(asset["channels"]["acceleration.rms"]["limit"].as_float(), Some(RMS_LIMIT));
        assert!(asset["channels"].get("vibration").is_none());
    }
}
