//! Replay: a recorded journal runs through another configuration, with the very code that runs in the plant, and what
//! would have been different is shown.
//!
//! Two cores get the same entries: one follows the recorded configuration generations, the other keeps the configuration
//! in hand. Both begin without state at the first entry kept, so a baseline learned before it is learned anew by both: the
//! comparison is fair, but early verdicts are "baseline not learned" on both sides. Nothing is written and nothing leaves.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use fettle_models::Output;
use fettle_wire::time::Rfc3339;
use fettle_wire::{Alert, Change, Health, Micros, Tally};
use serde::Serialize;

use crate::config::Checked;
use crate::core::generation::Generation;
use crate::core::{Birth, Core, RecoverError};
use crate::journal::entry::{Entry, EntryError, Header, Stored, next_stored};
use crate::journal::model::Model;
use crate::journal::snapshot::{self, SharedSnapshot};
use crate::journal::store::{Store, StoreError};
use crate::journal::{Damage, SHARED_KEY, batch_key, number_of, open};

/// Why a journal cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A record is damaged.
    #[error(transparent)]
    Damage(#[from] Damage),
    /// A batch cannot be read, or a core cannot be made.
    #[error(transparent)]
    Recover(#[from] RecoverError),
}

/// One thing that would have been different.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "difference")]
pub enum Difference {
    /// The recorded configuration raised this alarm, the other does not.
    AlarmOnlyRecorded(Box<Alert>),
    /// The other configuration raises this alarm, the recorded one did not.
    AlarmOnlyCandidate(Box<Alert>),
    /// An asset's verdicts differ.
    Verdicts {
        /// The asset.
        asset: String,
        /// Windows that both judged.
        windows: u64,
        /// Of those, with another verdict.
        differ: u64,
    },
}

/// What came of a replay.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Comparison {
    /// Arrival of the first entry replayed.
    pub first: Micros,
    /// Arrival of the last one.
    pub last: Micros,
    /// Entries replayed.
    pub entries: u64,
    /// What became of the readings under the recorded configuration.
    pub recorded: Tally,
    /// And under the other.
    pub candidate: Tally,
    /// What would have been different.
    pub differences: Vec<Difference>,
}

/// What one core said.
#[derive(Default)]
struct Said {
    raised: BTreeMap<(String, String, Micros), Alert>,
    verdicts: BTreeMap<(String, Micros), String>,
}

impl Said {
    fn hear(&mut self, outputs: Vec<Output>) {
        for output in outputs {
            match output {
                Output::Alert(alert) if alert.change == Change::Raised => {
                    let key = (alert.asset.to_string(), alert.condition.clone(), alert.raised_at);
                    self.raised.insert(key, alert);
                }
                Output::Alert(_)
                | Output::Evidence(_)
                | Output::Capture(_)
                | Output::LifeStep(_)
                | Output::LifeEvent(_) => {}
                Output::Health(health) => {
                    let Health { asset, window_end, verdict, .. } = health;
                    self.verdicts.insert((asset.to_string(), window_end), format!("{verdict:?}"));
                }
            }
        }
    }
}

/// Runs the journal in `store`, from the first entry that arrived at `from` or later, through `config`.
pub fn compare(store: &dyn Store, config: &Checked, from: Option<Micros>) -> Result<Comparison, ReplayError> {
    let candidate_generation = Generation::of(config);
    let recorded_generation = recorded_generation(store)?.unwrap_or_else(|| candidate_generation.clone());
    let empty = Model::default();
    let (mut recorded, _) = Core::recover(&empty, Birth::of(config, 0, None), recorded_generation)?;
    let (mut candidate, _) = Core::recover(&empty, Birth::of(config, 0, None), candidate_generation)?;
    let (mut heard_recorded, mut heard_candidate) = (Said::default(), Said::default());
    let mut comparison = Comparison::default();
    each_entry(store, &mut |entry| {
        let at = entry.arrival().wall;
        if from.is_some_and(|from| at < from) {
            return Ok(());
        }
        if comparison.entries == 0 {
            comparison.first = at;
        }
        comparison.last = at;
        comparison.entries += 1;
        heard_recorded.hear(recorded.observe_stored(entry)?);
        if !matches!(entry, Stored::Other(Entry::Generation { .. })) {
            heard_candidate.hear(candidate.observe_stored(entry)?);
        }
        Ok(())
    })?;
    comparison.recorded = total(&recorded);
    comparison.candidate = total(&candidate);
    comparison.differences = differences(heard_recorded, heard_candidate);
    Ok(comparison)
}

/// The oldest generation known: the first one kept in the journal is what follows it.
fn recorded_generation(store: &dyn Store) -> Result<Option<Generation>, ReplayError> {
    let Some(value) = store.get(SHARED_KEY)? else { return Ok(None) };
    let shared: SharedSnapshot = snapshot::decode(SHARED_KEY, &open(SHARED_KEY, &value)?)?;
    let read = Generation::decode(&shared.shared.generation.0);
    read.map(Some).map_err(|e| RecoverError::Generation(e.to_string()).into())
}

type Visitor<'a> = &'a mut dyn FnMut(&Stored<'_>) -> Result<(), EntryError>;

/// Shows every entry of the journal, oldest first.
fn each_entry(store: &dyn Store, visit: Visitor<'_>) -> Result<(), ReplayError> {
    let mut failure = None;
    store.scan(&batch_key(0), &[b'z' + 1], &mut |key, value| {
        let mut read = || -> Result<(), ReplayError> {
            let batch = number_of(key).unwrap_or(0);
            let fail = |source| RecoverError::Entry { batch, source };
            let payload = open(key, value)?;
            let mut bytes = &payload[..];
            Header::decode(&mut bytes).map_err(fail)?;
            while let Some(entry) = next_stored(&mut bytes).map_err(fail)? {
                visit(&entry).map_err(fail)?;
            }
            Ok(())
        };
        match read() {
            Ok(()) => ControlFlow::Continue(()),
            Err(e) => {
                failure = Some(e);
                ControlFlow::Break(())
            }
        }
    })?;
    failure.map_or(Ok(()), Err)
}

fn total(core: &Core) -> Tally {
    let mut total = core.shared().nameless.clone();
    core.accounts().for_each(|(_, door, _)| total.add(&door.tally));
    total
}

fn differences(recorded: Said, candidate: Said) -> Vec<Difference> {
    let mut found = Vec::new();
    let keys: BTreeSet<_> = recorded.raised.keys().chain(candidate.raised.keys()).cloned().collect();
    for key in keys {
        match (recorded.raised.get(&key), candidate.raised.get(&key)) {
            (Some(alert), None) => found.push(Difference::AlarmOnlyRecorded(Box::new(alert.clone()))),
            (None, Some(alert)) => found.push(Difference::AlarmOnlyCandidate(Box::new(alert.clone()))),
            _ => {}
        }
    }
    let mut assets: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for (key, verdict) in &recorded.verdicts {
        if let Some(other) = candidate.verdicts.get(key) {
            let count = assets.entry(&key.0).or_default();
            count.0 += 1;
            count.1 += u64::from(other != verdict);
        }
    }
    let verdicts = assets.into_iter().filter(|(_, c)| c.1 > 0);
    found.extend(verdicts.map(|(asset, (windows, differ))| Difference::Verdicts {
        asset: asset.to_owned(),
        windows,
        differ,
    }));
    found
}

impl Comparison {
    /// For people.
    pub fn describe(&self, seconds: f64) -> String {
        use std::fmt::Write as _;
        let mut text = String::new();
        if self.entries == 0 {
            return "the journal holds no entry in that time\n".to_owned();
        }
        let rate = self.candidate.received as f64 / seconds.max(1e-9);
        let _ = writeln!(
            text,
            "replayed {} entries, {} readings, from {} to {} (twice, in {seconds:.1} s: {rate:.0} readings/s each)",
            self.entries,
            self.candidate.received,
            Rfc3339(self.first),
            Rfc3339(self.last)
        );
        for (name, tally) in [("recorded", &self.recorded), ("this configuration", &self.candidate)] {
            let rejected: u64 = tally.rejected.values().sum();
            let shed: u64 = tally.shed.values().sum();
            let _ = writeln!(
                text,
                "{name}: {} used, {} late, {} duplicate, {rejected} rejected, {shed} shed",
                tally.used, tally.late, tally.duplicate
            );
        }
        if self.differences.is_empty() {
            text.push_str("no alarm and no verdict would have been different\n");
        }
        for difference in &self.differences {
            let _ = match difference {
                Difference::AlarmOnlyRecorded(a) => {
                    writeln!(text, "- {} {} {}: {}", Rfc3339(a.raised_at), a.asset, a.condition, a.message)
                }
                Difference::AlarmOnlyCandidate(a) => {
                    writeln!(text, "+ {} {} {}: {}", Rfc3339(a.raised_at), a.asset, a.condition, a.message)
                }
                Difference::Verdicts { asset, windows, differ } => {
                    writeln!(text, "~ {asset}: another verdict in {differ} of {windows} windows")
                }
            };
        }
        text
    }
}
