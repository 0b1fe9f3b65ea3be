//! A configuration generation: all of the configuration that can change an output, as it is journaled.

use fettle_models::{Registry, Settings};
use fettle_wire::{Name, Unit};
use serde::{Deserialize, Serialize};

use crate::config::checked::{Checked, ForeignTemplate};

/// What comes into force with a journal entry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Generation {
    /// The engine's settings.
    pub settings: Settings,
    /// The assets.
    pub registry: Registry,
    /// Topics of foreign publishers.
    pub foreign: Vec<Foreign>,
    /// How often each asset's account is emitted, microseconds of arrival time.
    pub ledger_interval: u64,
}

/// [`ForeignTemplate`] as it is journaled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Foreign {
    topic: String,
    asset: Option<Name>,
    channel: Option<Name>,
    unit: Option<Unit>,
}

impl Generation {
    /// The part of a configuration that can change an output.
    pub fn of(config: &Checked) -> Self {
        let foreign = config.mqtt.foreign.iter().map(|t| Foreign {
            topic: t.topic.clone(),
            asset: t.asset.clone(),
            channel: t.channel.clone(),
            unit: t.unit,
        });
        Self {
            settings: config.engine.clone(),
            registry: config.registry.clone(),
            foreign: foreign.collect(),
            ledger_interval: u64::try_from(config.ledger_interval.as_micros()).unwrap_or(u64::MAX),
        }
    }

    /// As JSON, the form that is journaled and compared.
    pub fn encode(&self) -> Vec<u8> {
        // Invariant: settings and registry are structs, texts, numbers and text-keyed maps; JSON holds them all.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// From the journaled form.
    pub fn decode(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }

    /// The topic templates.
    pub fn templates(&self) -> Vec<ForeignTemplate> {
        let template = |f: &Foreign| ForeignTemplate {
            topic: f.topic.clone(),
            asset: f.asset.clone(),
            channel: f.channel.clone(),
            unit: f.unit,
        };
        self.foreign.iter().map(template).collect()
    }
}
