//! What everybody knows at one instant: the nodes of themselves, and the fleet gateway of everybody, through its REST API
//! as a spectator would ask it.

use std::net::SocketAddr;
use std::time::Duration;

use fettle_wire::{Micros, Rul};
use serde::Deserialize;

/// What the nodes of one site say of their frames.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Nodes {
    /// Plant time of the foremost machine.
    pub(crate) time: Micros,
    /// Frames made.
    pub(crate) generated: u64,
    /// Frames that the agent has confirmed.
    pub(crate) confirmed: u64,
    /// Frames that wait in the nodes' rings.
    pub(crate) held: u64,
    /// Frames that are lost.
    pub(crate) lost: u64,
}

/// Everything at one instant.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    /// By site.
    pub(crate) nodes: Vec<Nodes>,
    /// Whether the link of the first site is cut.
    pub(crate) cut: bool,
    /// Assets, as the gateway knows them; empty until it answers.
    pub(crate) assets: Vec<Asset>,
    /// Alarms ever raised and remembered.
    pub(crate) alarms: Vec<Alarm>,
    /// The account of every reading.
    pub(crate) readings: u64,
    /// Frames missing.
    pub(crate) missing: u64,
}

/// An asset.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Asset {
    /// The site.
    pub(crate) site: String,
    /// Its name.
    pub(crate) asset: String,
    /// What its agent thinks of it.
    #[serde(default)]
    pub(crate) health: Option<Health>,
}

/// Health.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Health {
    /// End of the window.
    pub(crate) window_end: Micros,
    /// Share of the baseline that is learned.
    pub(crate) baseline: f64,
    /// Remaining life.
    pub(crate) rul: Rul,
}

/// An alarm.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Alarm {
    /// The site.
    pub(crate) site: String,
    /// The agent that raised it.
    pub(crate) agent: String,
    /// The asset.
    pub(crate) asset: String,
    /// The condition.
    pub(crate) condition: String,
    /// Which occurrence.
    pub(crate) occurrence: u64,
    /// When it was raised.
    pub(crate) raised_at: Micros,
    /// In words.
    pub(crate) message: String,
}

#[derive(Deserialize)]
struct Assets {
    assets: Vec<Asset>,
}

#[derive(Deserialize)]
struct Alarms {
    alarms: Vec<Alarm>,
}

#[derive(Deserialize)]
struct Ledger {
    totals: Totals,
}

#[derive(Deserialize)]
struct Totals {
    readings: fettle_wire::Tally,
    missing: u64,
}

/// Asks the gateway.
#[derive(Debug)]
pub(crate) struct Gateway {
    client: ureq::Agent,
    address: SocketAddr,
}

impl Gateway {
    pub(crate) fn new(address: SocketAddr) -> Self {
        let client = ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(5))).build().into();
        Self { client, address }
    }

    fn get<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T, ureq::Error> {
        self.client.get(format!("http://{}{path}", self.address)).call()?.body_mut().read_json()
    }

    /// Adds what it knows to `seen`. A gateway that does not answer yet knows nothing.
    pub(crate) fn ask(&self, seen: &mut Seen) {
        let answers = || -> Result<(Assets, Alarms, Ledger), ureq::Error> {
            Ok((
                self.get("/api/v1/assets?limit=100")?,
                self.get("/api/v1/alarms?limit=100")?,
                self.get("/api/v1/ledger?limit=1")?,
            ))
        };
        match answers() {
            Ok((assets, alarms, ledger)) => {
                seen.assets = assets.assets;
                seen.alarms = alarms.alarms;
                seen.readings = ledger.totals.readings.received;
                seen.missing = ledger.totals.missing;
            }
            Err(error) => tracing::debug!(%error, "the gateway does not answer yet"),
        }
    }
}
