//! The audit log: who asked for what, when, under which command, and what became of it.
//!
//! Made of the commands topic, which every instance reads whole: a person's request is in the log of every instance,
//! whichever took it, and comes back after a lost disk as far as the topic reaches. An alert that names a command
//! confirms it. What was refused or asked for again sent no command and is not in the log; the metrics count it.
//!
//! `audit`: time, command id -> the command, JSON. `confirmed`: command id -> when and by whom, JSON.

use std::collections::BTreeMap;

use fettle_wire::{Command, Micros};
use heed::RwTxn;
use serde::{Deserialize, Serialize};

use super::store::{History, HistoryError, Taken, between, sortable};

/// When an agent's alert confirmed a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirmed {
    /// Event time of the change.
    pub at: Micros,
    /// Who, in the agent's words.
    pub by: Option<String>,
}

/// Some of the log, newest first.
#[derive(Debug, Default)]
pub struct AuditPage {
    /// The commands, with their confirmation where there was one.
    pub entries: Vec<(Command, Option<Confirmed>)>,
    /// The key of the last one, if there are more.
    pub next: Option<Vec<u8>>,
}

/// The command's id in a key of `audit`.
pub(super) fn id_of(key: &[u8]) -> Option<&str> {
    std::str::from_utf8(key.get(8..)?).ok()
}

impl History {
    pub(super) fn take_command(
        &self,
        txn: &mut RwTxn<'_>,
        said: &Command,
        taken: &mut Taken,
    ) -> Result<(), HistoryError> {
        let mut key = sortable(said.issued).to_vec();
        key.extend_from_slice(said.id.as_bytes());
        let value = serde_json::to_vec(said).map_err(|source| HistoryError::Value { what: "a command", source })?;
        self.audit.put(txn, &key, &value)?;
        taken.count("command", 1);
        Ok(())
    }

    pub(super) fn confirm(
        &self,
        txn: &mut RwTxn<'_>,
        id: &str,
        at: Micros,
        by: Option<&str>,
    ) -> Result<(), HistoryError> {
        // LMDB's keys end at 511 bytes, ids at 256.
        if id.is_empty() || id.len() > fettle_wire::command::MAX_COMMAND_TEXT {
            return Ok(());
        }
        let confirmed = Confirmed { at, by: by.map(str::to_owned) };
        let encoded = serde_json::to_vec(&confirmed);
        let value = encoded.map_err(|source| HistoryError::Value { what: "a confirmation", source })?;
        Ok(self.confirmed.put(txn, id, &value)?)
    }

    /// At most `limit` commands that `wanted` accepts, newest first, behind the key `after`.
    pub fn audit(
        &self,
        after: Option<&[u8]>,
        limit: usize,
        wanted: impl Fn(&Command) -> bool,
    ) -> Result<AuditPage, HistoryError> {
        let txn = self.env().read_txn()?;
        let (low, high) = (sortable(Micros::MIN), after.map_or_else(|| vec![0xff; 9], <[u8]>::to_vec));
        let mut page = AuditPage::default();
        let mut last = Vec::new();
        for item in self.audit.rev_range(&txn, &between(&low, &high))? {
            if page.entries.len() >= limit {
                page.next = Some(last);
                break;
            }
            let (key, value) = item?;
            last = key.to_vec();
            let Ok(command) = serde_json::from_slice::<Command>(value) else { continue };
            if wanted(&command) {
                let confirmed = self.confirmed.get(&txn, &command.id)?;
                let confirmed = confirmed.and_then(|bytes| serde_json::from_slice(bytes).ok());
                page.entries.push((command, confirmed));
            }
        }
        Ok(page)
    }

    /// How many records each database holds, for the page that shows what is kept.
    pub fn counts(&self) -> Result<BTreeMap<&'static str, u64>, HistoryError> {
        let txn = self.env().read_txn()?;
        Ok(BTreeMap::from([
            ("assets", self.assets.len(&txn)?),
            ("alerts", self.alerts.len(&txn)?),
            ("evidence", self.evidence.len(&txn)?),
            ("commands", self.audit.len(&txn)?),
        ]))
    }
}
