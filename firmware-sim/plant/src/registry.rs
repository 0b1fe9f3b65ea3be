//! The registry of the fleet, in the form an agent reads: what each asset is and what it measures.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::channel::Channel;
use crate::fleet::Fleet;

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
    channels: BTreeMap<&'static str, ChannelEntry>,
}

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

/// The registry as TOML, generation 1. `interval` is seconds between readings of a channel.
pub fn toml(fleet: &Fleet, channels: &[Channel], interval: f64) -> Result<String, toml::ser::Error> {
    let entry = |channel: &Channel| {
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
    let asset = |member: &crate::fleet::Member| {
        let design = member.machine.design();
        let asset = Asset {
            class: "centrifugal-pump",
            power_kw: design.power_kw,
            rated_speed_rpm: design.rated_speed_rpm,
            mounting: "flexible",
            channels: channels.iter().map(entry).collect(),
        };
        (member.name.to_string(), asset)
    };
    toml::to_string(&Registry { generation: 1, assets: fleet.members.iter().map(asset).collect() })
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
}
