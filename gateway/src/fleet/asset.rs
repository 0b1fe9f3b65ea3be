//! The records of the compacted fleet topic: their keys and their JSON.
//!
//! | key | value | written for each record of |
//! |---|---|---|
//! | `alarm\|site/asset\|condition` | [`AlarmRecord`] | alerts |
//! | `asset\|site/asset` | [`AssetRecord`] | health |
//! | `ledger\|site/agent/asset` | [`AccountRecord`] | ledger |
//! | `hw\|topic\|partition\|site/agent\|incarnation\|lane` | [`HighWater`] | all three |
//! | `count\|topic\|partition` | [`Counts`] | all three, and for what was rejected |
//! | `owner\|partition` | [`Owner`] | each transaction, last in its partition |
//!
//! Each key belongs to one intake topic and one partition of it, and lives in the fleet topic's partition of the same
//! number: whoever owns that partition is the only writer. A site's records are bounded: rings of [`RECENT`] ids, never
//! a growing set. Growth rule as in `wire`: fields are only added, with a default; unknown ones are skipped.

use std::collections::BTreeMap;

use fettle_wire::{Alert, Change, Health, Lane, LedgerEntry, Micros, Name, RecordId, Tally, topic};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// How many ids with their content are remembered for each alarm and asset, to tell a repetition from a conflict. An
/// occurrence of an alarm changes three times by itself (raised, returned, acknowledged) and as often as people comment,
/// label and shelve; a lower occurrence is known to be old.
pub const RECENT: usize = 16;

/// Key kinds.
pub const ALARM: &str = "alarm|";
/// See [`ALARM`].
pub const ASSET: &str = "asset|";
/// See [`ALARM`].
pub const LEDGER: &str = "ledger|";
/// See [`ALARM`].
pub const HIGH_WATER: &str = "hw|";
/// See [`ALARM`].
pub const COUNT: &str = "count|";
/// See [`ALARM`].
pub const OWNER: &str = "owner|";
/// Not in the fleet topic: commands, copied from their own topic into the same store.
pub const COMMAND: &str = "command|";

/// Id and content of one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// What it was about.
    pub id: RecordId,
    /// What it said.
    pub content: RecordId,
}

/// Appends to a ring of [`RECENT`].
pub fn remember(recent: &mut Vec<Known>, known: Known) {
    if recent.len() >= RECENT {
        recent.remove(0);
    }
    recent.push(known);
}

/// Who said it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The site.
    pub site: Name,
    /// The agent.
    pub agent: Name,
    /// The agent's store, 16 hexadecimal digits.
    pub incarnation: String,
}

/// An alarm as its agent last told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AlarmRecord {
    /// Who said it.
    pub origin: Origin,
    /// The newest alert.
    pub alert: Alert,
    /// Kafka's time of that record.
    pub seen: Micros,
    /// Ids lately applied.
    pub recent: Vec<Known>,
    /// Records with a known id and another content.
    #[serde(default)]
    pub conflicts: u64,
    /// Who acknowledged this occurrence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged_by: Option<String>,
    /// Commands that the latest alerts confirmed, at most [`RECENT`], newest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub confirmed: Vec<String>,
}

impl AlarmRecord {
    /// The first that is heard of an alarm.
    pub fn new(origin: Origin, alert: Alert, seen: Micros, recent: Vec<Known>) -> Self {
        let mut new = Self { origin, alert, seen, recent, conflicts: 0, acknowledged_by: None, confirmed: Vec::new() };
        new.note();
        new
    }

    /// Takes the next alert in.
    pub fn tell(&mut self, origin: Origin, alert: Alert, seen: Micros) {
        if self.origin != origin || self.alert.occurrence != alert.occurrence {
            self.acknowledged_by = None;
        }
        (self.origin, self.alert, self.seen) = (origin, alert, seen);
        self.note();
    }

    /// What the newest alert says of people, which the next one does not repeat.
    fn note(&mut self) {
        if self.alert.change == Change::Acknowledged {
            self.acknowledged_by.clone_from(&self.alert.by);
        }
        if let Some(command) = &self.alert.command {
            if self.confirmed.len() >= RECENT {
                self.confirmed.remove(0);
            }
            self.confirmed.push(command.clone());
        }
    }

    /// Who acknowledged; records of earlier builds say it only while the acknowledgement is the last change.
    pub fn acknowledger(&self) -> Option<String> {
        let last = self.alert.by.as_ref().filter(|_| self.alert.change == Change::Acknowledged);
        self.acknowledged_by.as_ref().or(last).cloned()
    }
}

/// An asset as its agent last told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AssetRecord {
    /// Who said it.
    pub origin: Origin,
    /// The newest health by (window end, revision).
    pub health: Health,
    /// Kafka's time of the newest record, whatever window it was about.
    pub seen: Micros,
    /// Ids lately applied.
    pub recent: Vec<Known>,
    /// Records with a known id and another content.
    #[serde(default)]
    pub conflicts: u64,
}

/// The account of an asset at an agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AccountRecord {
    /// Who said it.
    pub origin: Origin,
    /// The newest entry of the present incarnation; its counters are cumulative.
    pub entry: LedgerEntry,
    /// Kafka's time of that record.
    pub seen: Micros,
    /// Ids lately applied.
    pub recent: Vec<Known>,
    /// What earlier incarnations had counted when they were last heard.
    #[serde(default)]
    pub earlier: Tally,
    /// Frames of earlier incarnations.
    #[serde(default)]
    pub earlier_frames: u64,
    /// Records with a known id and another content.
    #[serde(default)]
    pub conflicts: u64,
}

/// The highest sequence applied of one lane of one incarnation of one agent, in one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HighWater {
    /// The sequence.
    pub sequence: u64,
}

/// What became of a partition's records. Counted in the transaction that applied them, so exact over any crash.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Changed what is known.
    pub applied: u64,
    /// Known already.
    pub duplicates: u64,
    /// Known id, other content.
    pub conflicts: u64,
    /// Not usable, by reason.
    pub rejected: BTreeMap<String, u64>,
    /// The last one that was not usable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_rejected: Option<Rejected>,
}

/// A record that was not usable: where it lies, so that a person can look at it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Rejected {
    /// Its offset in the partition.
    pub offset: i64,
    /// Why.
    pub reason: String,
}

/// Who owns a partition. Written as the last record of each transaction in that partition: an instance that reads its
/// own mark back has read everything before it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The instance.
    pub instance: Name,
    /// Random number of the intake session, 16 hexadecimal digits.
    pub session: String,
    /// Transactions of that session so far.
    pub commits: u64,
}

/// The key of an alarm.
pub fn alarm_key(site: &str, asset: &str, condition: &str) -> String {
    format!("{ALARM}{}|{condition}", topic::asset_key(site, asset))
}

/// The key of an asset.
pub fn asset_key(site: &str, asset: &str) -> String {
    format!("{ASSET}{}", topic::asset_key(site, asset))
}

/// The key of an account.
pub fn ledger_key(site: &str, agent: &str, asset: &str) -> String {
    format!("{LEDGER}{}", topic::ledger_key(site, agent, asset))
}

/// The key of a high-water mark.
pub fn high_water_key(topic: &str, partition: i32, origin: &Origin, lane: Lane) -> String {
    let Origin { site, agent, incarnation } = origin;
    format!("{HIGH_WATER}{topic}|{partition}|{site}/{agent}|{incarnation}|{}", lane.as_str())
}

/// The key of a partition's counts.
pub fn count_key(topic: &str, partition: i32) -> String {
    format!("{COUNT}{topic}|{partition}")
}

/// The key of a partition's owner.
pub fn owner_key(partition: i32) -> String {
    format!("{OWNER}{partition}")
}

/// The key under which a command is kept in the store.
pub fn command_key(site: &str, asset: &str, id: &str) -> String {
    format!("{COMMAND}{}|{id}", topic::asset_key(site, asset))
}

/// Whether `value` is what `key` promises. What is not is not taken into the store.
pub fn is_readable(key: &str, value: &[u8]) -> bool {
    fn reads<T: DeserializeOwned>(value: &[u8]) -> bool {
        serde_json::from_slice::<T>(value).is_ok()
    }
    match key.split_once('|').map(|(kind, _)| kind) {
        Some("alarm") => reads::<AlarmRecord>(value),
        Some("asset") => reads::<AssetRecord>(value),
        Some("ledger") => reads::<AccountRecord>(value),
        Some("hw") => reads::<HighWater>(value),
        Some("count") => reads::<Counts>(value),
        Some("owner") => reads::<Owner>(value),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_readable_only_as_what_its_key_promises() {
        let mark = serde_json::to_vec(&HighWater { sequence: 7 }).unwrap();
        assert!(is_readable("hw|fettle.health|3|a/b|00|health", &mark));
        assert!(!is_readable("count|fettle.health|3", &mark));
        assert!(!is_readable("other|x", &mark));
        assert!(!is_readable("hw", &mark));
    }

    #[test]
    fn the_ring_of_ids_stays_bounded_and_keeps_the_newest() {
        let mut recent = Vec::new();
        for n in 0..20_u8 {
            let id = RecordId::of(&[&[n]]);
            remember(&mut recent, Known { id, content: id });
        }
        assert_eq!(recent.len(), RECENT);
        assert_eq!(recent[RECENT - 1].id, RecordId::of(&[&[19]]));
    }

    #[test]
    fn the_longest_keys_fit_into_the_store() {
        let long = "x".repeat(64);
        let origin =
            Origin { site: Name::new(&long).unwrap(), agent: Name::new(&long).unwrap(), incarnation: "0".repeat(16) };
        assert!(high_water_key(&format!("{long}.alerts"), i32::MAX, &origin, Lane::Alerts).len() <= 511);
        assert!(alarm_key(&long, &long, &"c".repeat(128)).len() <= 511);
        assert!(command_key(&long, &long, &"c".repeat(256)).len() <= 511);
    }
}
