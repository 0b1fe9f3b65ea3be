//! The fleet gateway's intake by its published rules: alerts are known by id, health and ledger records by the highest
//! sequence of their partition and lane; a known id with other content is a conflict (G5).

use std::collections::BTreeMap;

use fettle_wire::{Alert, Envelope, Evidence, Health, Lane, LedgerEntry, RecordId, json};

use crate::check::{Check, Violation};

/// What the gateway knows.
#[derive(Debug, Default)]
pub(crate) struct Gateway {
    marks: BTreeMap<(Lane, u32), u64>,
    known: BTreeMap<RecordId, RecordId>,
    /// The last revision of each window: revision, and the record's text as revision 0.
    pub(crate) health: BTreeMap<(String, i64), (u32, String)>,
    pub(crate) ledger: BTreeMap<String, LedgerEntry>,
    pub(crate) alerts: Vec<Alert>,
    pub(crate) evidence: Vec<Evidence>,
    pub(crate) duplicates: u64,
}

fn violated(code: &'static str, what: String) -> Check {
    Err(Violation::new(code, what))
}

impl Gateway {
    /// Takes the next record of a partition.
    pub(crate) fn take(&mut self, lane: Lane, partition: u32, payload: &[u8]) -> Check {
        let envelope = match Envelope::decode(payload) {
            Ok(envelope) if envelope.lane == lane => envelope,
            Ok(_) => return violated("G0", format!("a record of another lane on {}", lane.as_str())),
            Err(e) => return violated("G0", format!("an envelope cannot be read: {e}")),
        };
        let mark = self.marks.get(&(lane, partition)).copied();
        let below = mark.is_some_and(|mark| envelope.sequence <= mark);
        self.marks.insert((lane, partition), mark.map_or(envelope.sequence, |mark| mark.max(envelope.sequence)));
        if let Some(content) = self.known.insert(envelope.id, envelope.content) {
            self.duplicates += 1;
            if content != envelope.content {
                let what = format!("record {} of {} comes with other content", envelope.sequence, lane.as_str());
                return violated("G5", format!("{what}: {}", envelope.body.get()));
            }
            return Ok(());
        }
        let body = envelope.body.get().as_bytes();
        let unread =
            |e: json::JsonError| Violation::new("G0", format!("a body of {} cannot be read: {e}", lane.as_str()));
        if lane == Lane::Alerts {
            self.alerts.push(json::decode(body).map_err(unread)?);
            return Ok(());
        }
        if below {
            // It would be taken for a repetition although nobody has seen it.
            let what = format!("record {} of {} came behind {mark:?}", envelope.sequence, lane.as_str());
            return violated("O2", what);
        }
        if lane == Lane::Evidence {
            self.evidence.push(json::decode(body).map_err(unread)?);
            return Ok(());
        }
        if lane == Lane::Ledger {
            let entry: LedgerEntry = json::decode(body).map_err(unread)?;
            if !entry.readings.balances() || !entry.nodes.iter().all(fettle_wire::NodeAccount::balances) {
                return violated("C4", format!("an account at the gateway does not balance: {entry:?}"));
            }
            self.ledger.insert(entry.asset.to_string(), entry);
            return Ok(());
        }
        let mut health: Health = json::decode(body).map_err(unread)?;
        let revision = std::mem::take(&mut health.revision);
        let text = format!("{health:?}");
        match self.health.get(&(health.asset.to_string(), health.window_end)) {
            Some((known, _)) if *known >= revision => {
                violated("H1", format!("{} {}: revision {revision} after {known}", health.asset, health.window_end))
            }
            _ => {
                self.health.insert((health.asset.to_string(), health.window_end), (revision, text));
                Ok(())
            }
        }
    }
}
