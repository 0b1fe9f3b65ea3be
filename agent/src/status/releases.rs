//! Releases in the report: what each class of machines runs, how it does, and what was refused.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use fettle_wire::ReleaseRef;
use serde::{Deserialize, Serialize};

use crate::core::Core;
use crate::release::latency::BOUNDS;

/// Releases.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ReleasesStatus {
    /// By class of machines.
    pub classes: BTreeMap<String, ClassStatus>,
    /// Content hashes that are looked for on Kafka.
    pub wanted: Vec<String>,
    /// Files on disk.
    pub kept: u64,
    /// Their bytes.
    pub kept_bytes: u64,
    /// Releases taken since the store began.
    pub taken: u64,
    /// Promotions out of the shadow.
    pub promoted: u64,
    /// Releases refused, by reason.
    pub refused: BTreeMap<String, u64>,
    /// Roll-backs, by reason.
    pub rolled_back: BTreeMap<String, u64>,
}

/// What one class of machines runs.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ClassStatus {
    /// What speaks.
    pub active: Option<RunStatus>,
    /// What is compared.
    pub shadow: Option<RunStatus>,
    /// What a roll-back would bring back.
    pub previous: Option<ReleaseRef>,
    /// Steps at which active and shadow were compared, and for how many they are.
    pub compared: u64,
    /// See `compared`.
    pub compared_of: u64,
    /// Of these, how often both said nearly the same.
    pub agreed: u64,
    /// Why the release that was last asked for is not taken.
    pub refused: Option<(String, String)>,
}

/// A release that is run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunStatus {
    /// Which.
    pub release: ReleaseRef,
    /// Inferences since start.
    pub inferences: u64,
    /// Seconds they took together.
    pub seconds: f64,
    /// Inferences no longer than each bound, microseconds.
    pub within_us: Vec<(u64, u64)>,
}

impl ReleasesStatus {
    /// What the core knows.
    pub fn of(core: &Core) -> Self {
        let account = &core.shared().releases;
        let latencies: BTreeMap<String, _> = core.latencies().map(|(hash, l)| (hash.to_string(), l.read())).collect();
        let run = |release: ReleaseRef| {
            let (counts, seconds) = latencies.get(&release.hash).copied().unwrap_or_default();
            let mut sum = 0;
            let cumulative = BOUNDS.iter().zip(counts).map(|(bound, n)| {
                sum += n;
                (*bound, sum)
            });
            let within_us = cumulative.collect();
            RunStatus { release, inferences: counts.iter().sum(), seconds, within_us }
        };
        let mut classes: BTreeMap<String, ClassStatus> = BTreeMap::new();
        for status in core.releases() {
            let class = ClassStatus {
                active: status.active.map(run),
                shadow: status.shadow.map(run),
                previous: status.previous,
                compared: status.compared.steps,
                compared_of: status.promote_steps,
                agreed: status.compared.agreed,
                refused: None,
            };
            classes.insert(status.class, class);
        }
        for (class, refused) in &account.last_refusal {
            classes.entry(class.clone()).or_default().refused = Some(refused.clone());
        }
        Self {
            classes,
            wanted: core.wanted_releases(),
            kept: account.kept.len() as u64,
            kept_bytes: account.kept.values().map(|k| k.bytes).sum(),
            taken: account.taken,
            promoted: account.promoted,
            refused: account.refused.clone(),
            rolled_back: account.rolled_back.clone(),
        }
    }

    /// Lines for people: a class and what it runs.
    pub fn lines(&self) -> Vec<(String, String)> {
        let named = |r: &ReleaseRef| format!("{} {}", r.name, r.version);
        let mut lines = Vec::new();
        for (class, status) in &self.classes {
            let mut text = status.active.as_ref().map_or("no release speaks".to_owned(), |run| named(&run.release));
            // Writing to a String cannot fail.
            if let Some(shadow) = &status.shadow {
                let (agreed, of) = (status.agreed, status.compared);
                let _ = write!(text, "; in shadow {}, agreed {agreed} of {of} steps", named(&shadow.release));
                let _ = write!(text, " ({} needed)", status.compared_of);
            }
            if let Some(previous) = &status.previous {
                let _ = write!(text, "; before {}", named(previous));
            }
            lines.push((class.clone(), text));
            if let Some((hash, reason)) = &status.refused {
                lines.push((class.clone(), format!("REFUSED {}: {reason}", hash.get(..12).unwrap_or(hash))));
            }
        }
        for hash in &self.wanted {
            lines.push(("looking for".to_owned(), hash.clone()));
        }
        lines
    }
}
