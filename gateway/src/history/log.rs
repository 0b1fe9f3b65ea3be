//! The log of alarms: every alert with its evidence, newest first, of the fleet or of one asset.
//!
//! Known by (time, record id): an alert that is read again is the same entry. Values are JSON, packed: alerts are few,
//! and what they carry grows with the contract.

use fettle_wire::{Alert, Micros, Name, topic};
use heed::RwTxn;
use serde::{Deserialize, Serialize};

use super::store::{History, HistoryError, Said, Taken, between, chunk_key, sortable};

/// The longest entry that is unpacked, in bytes.
const MAX_ENTRY: usize = 2 << 20;

/// An alert as it was told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Logged {
    /// The site.
    pub site: Name,
    /// The agent.
    pub agent: Name,
    /// Kafka's time of the record, microseconds UTC.
    pub seen: Micros,
    /// What it said.
    pub alert: Alert,
}

/// Some of the log, and where the next page begins.
#[derive(Debug, Default)]
pub struct LogPage {
    /// Newest first.
    pub alerts: Vec<Logged>,
    /// The key of the last one, if there are more.
    pub next: Option<Vec<u8>>,
}

fn pack(logged: &Logged) -> Result<Vec<u8>, HistoryError> {
    let json = serde_json::to_vec(logged).map_err(|source| HistoryError::Value { what: "an alert", source })?;
    Ok(lz4_flex::compress_prepend_size(&json))
}

fn unpack(bytes: &[u8]) -> Option<Logged> {
    let (size, packed) = bytes.split_at_checked(4)?;
    let size = u32::from_le_bytes(<[u8; 4]>::try_from(size).ok()?) as usize;
    let json = (size <= MAX_ENTRY).then(|| lz4_flex::decompress(packed, size).ok())??;
    serde_json::from_slice(&json).ok()
}

impl History {
    pub(super) fn take_alert(&self, txn: &mut RwTxn<'_>, said: &Said, taken: &mut Taken) -> Result<(), HistoryError> {
        let asset = topic::asset_key(&said.origin.site, &said.alert.asset);
        let Some(names) = self.names_or_new(txn, &asset)? else {
            taken.count("too_many_assets", 1);
            return Ok(());
        };
        if let Some(command) = &said.alert.command {
            self.confirm(txn, command, said.alert.at, said.alert.by.as_deref())?;
        }
        let mut key = sortable(said.alert.at).to_vec();
        key.extend_from_slice(&said.id.0);
        if self.alerts.get(txn, &key)?.is_some() {
            taken.count("repeated", 1);
            return Ok(());
        }
        let Said { origin, seen, alert, .. } = said;
        let logged =
            Logged { site: origin.site.clone(), agent: origin.agent.clone(), seen: *seen, alert: (**alert).clone() };
        self.alerts.put(txn, &key, &pack(&logged)?)?;
        let mut by_asset = names.id.to_be_bytes().to_vec();
        by_asset.extend_from_slice(&key);
        self.alerts_by_asset.put(txn, &by_asset, &[])?;
        self.put_names(txn, &asset, &names)?;
        taken.count("alert", 1);
        Ok(())
    }

    /// At most `limit` alerts that `wanted` accepts, newest first, of one asset (`site/asset`) or of all, behind the key
    /// `after`. Looks at no more than 100 times `limit`, so a filter that finds nothing ends.
    pub fn alerts(
        &self,
        asset: Option<&str>,
        after: Option<&[u8]>,
        limit: usize,
        wanted: impl Fn(&Logged) -> bool,
    ) -> Result<LogPage, HistoryError> {
        let txn = self.env().read_txn()?;
        let mut page = LogPage::default();
        let id = match asset {
            None => None,
            Some(asset) => match self.names(&txn, asset)? {
                None => return Ok(page),
                Some(names) => Some(names.id),
            },
        };
        let prefix = id.map(|id| id.to_be_bytes().to_vec()).unwrap_or_default();
        let low = id.map_or_else(|| sortable(Micros::MIN).to_vec(), |id| chunk_key(id, Micros::MIN).to_vec());
        let high = [&prefix[..], after.unwrap_or(&[0xff; 24])].concat();
        let database = if id.is_some() { &self.alerts_by_asset } else { &self.alerts };
        let mut last = Vec::new();
        for (looked_at, item) in database.rev_range(&txn, &between(&low, &high))?.enumerate() {
            if page.alerts.len() >= limit || looked_at >= limit.saturating_mul(100) {
                page.next = Some(last);
                break;
            }
            let (key, value) = item?;
            let key = key.get(prefix.len()..).unwrap_or_default();
            let value = if id.is_some() { self.alerts.get(&txn, key)? } else { Some(value) };
            last = key.to_vec();
            page.alerts.extend(value.and_then(unpack).filter(&wanted));
        }
        Ok(page)
    }
}
