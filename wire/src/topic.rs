//! Every MQTT topic and every Kafka topic and key, in one file.

use alloc::format;
use alloc::string::String;

use crate::id::Name;

/// What a topic of our own MQTT tree means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Native<'a> {
    /// `fettle/1/<site>/<asset>`: a frame of readings.
    Readings {
        /// The asset.
        asset: &'a str,
    },
    /// `fettle/1/<site>/<asset>/<channel>/waveform`: a frame with one waveform block.
    Waveform {
        /// The asset.
        asset: &'a str,
        /// The channel.
        channel: &'a str,
    },
    /// `fettle/1/<site>/<asset>/durable`: our own confirmation.
    Durable {
        /// The asset.
        asset: &'a str,
    },
}

/// First level and version of our MQTT tree.
pub const MQTT_ROOT: &str = "fettle/1";

/// Where an asset's frames of readings go.
pub fn readings(site: &str, asset: &str) -> String {
    format!("{MQTT_ROOT}/{site}/{asset}")
}

/// Where one channel's waveform frames go.
pub fn waveform(site: &str, asset: &str, channel: &str) -> String {
    format!("{MQTT_ROOT}/{site}/{asset}/{channel}/waveform")
}

/// Where the agent confirms what is on disk.
pub fn durable(site: &str, asset: &str) -> String {
    format!("{MQTT_ROOT}/{site}/{asset}/durable")
}

/// The filters that an agent of `site` subscribes to for nodes with our firmware.
pub fn agent_filters(site: &Name) -> [String; 2] {
    [format!("{MQTT_ROOT}/{site}/+"), format!("{MQTT_ROOT}/{site}/+/+/waveform")]
}

/// Takes a topic of our own tree apart; `None` for every other topic. Asset and channel are not checked to be names.
pub fn parse<'a>(site: &str, topic: &'a str) -> Option<Native<'a>> {
    let rest = topic.strip_prefix(MQTT_ROOT)?.strip_prefix('/')?.strip_prefix(site)?.strip_prefix('/')?;
    let mut levels = rest.split('/');
    match (levels.next(), levels.next(), levels.next(), levels.next()) {
        (Some(asset), None, None, None) => Some(Native::Readings { asset }),
        (Some(asset), Some("durable"), None, None) => Some(Native::Durable { asset }),
        (Some(asset), Some(channel), Some("waveform"), None) => Some(Native::Waveform { asset, channel }),
        _ => None,
    }
}

/// The Kafka topics of one fleet. One fleet per prefix, `fettle` unless configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaTopics {
    prefix: Name,
}

impl KafkaTopics {
    /// The topics below `prefix`.
    pub fn new(prefix: Name) -> Self {
        Self { prefix }
    }
    /// Changes of alarms, JSON, key site/asset.
    pub fn alerts(&self) -> String {
        format!("{}.alerts", self.prefix)
    }
    /// Health records and aggregates, JSON, key site/asset.
    pub fn health(&self) -> String {
        format!("{}.health", self.prefix)
    }
    /// Ledger entries, JSON, key site/agent/asset.
    pub fn ledger(&self) -> String {
        format!("{}.ledger", self.prefix)
    }
    /// Commands to agents, JSON, key site/agent.
    pub fn commands(&self) -> String {
        format!("{}.commands", self.prefix)
    }
    /// What the fleet gateways know, compacted.
    pub fn fleet(&self) -> String {
        format!("{}.fleet", self.prefix)
    }
}

/// The key of alerts and health records: an asset's history stays in one partition.
pub fn asset_key(site: &str, asset: &str) -> String {
    format!("{site}/{asset}")
}

/// The key of ledger entries.
pub fn ledger_key(site: &str, agent: &str, asset: &str) -> String {
    format!("{site}/{agent}/{asset}")
}

/// The key of commands.
pub fn command_key(site: &str, agent: &str) -> String {
    format!("{site}/{agent}")
}
