//! What was published on Kafka, opened: envelopes with their bodies as the contract's types.

use std::collections::BTreeMap;

use fettle_wire::time::Micros;
use fettle_wire::{Alert, Envelope, Health, LedgerEntry, Tally};
use serde::de::DeserializeOwned;

use crate::kafka::{Kafka, Record};

/// One record with its envelope taken apart.
#[derive(Debug, Clone)]
pub struct Published<T> {
    /// Where it was read.
    pub record: Record,
    /// Its envelope; decoding has checked the content hash.
    pub envelope: Envelope,
    /// Its body.
    pub body: T,
}

/// Everything on one topic. The error is kcat's or names the record that does not decode.
pub fn read<T: DeserializeOwned>(kafka: &Kafka, topic: &str) -> Result<Vec<Published<T>>, String> {
    let open = |record: Record| {
        let envelope = Envelope::decode(record.value.as_bytes()).map_err(|e| format!("{topic}: {e} in {record:?}"))?;
        let body = serde_json::from_str(envelope.body.get()).map_err(|e| format!("{topic}: {e} in {record:?}"))?;
        Ok(Published { record, envelope, body })
    };
    kafka.read(topic)?.into_iter().map(open).collect()
}

/// Alerts, in the order of their lane.
pub fn alerts(kafka: &Kafka) -> Result<Vec<Published<Alert>>, String> {
    let mut alerts: Vec<Published<Alert>> = read(kafka, "fettle.alerts")?;
    alerts.sort_by_key(|alert| (alert.envelope.incarnation.clone(), alert.envelope.sequence));
    Ok(alerts)
}

/// For each asset and window end the record with the highest revision.
pub fn final_health(kafka: &Kafka) -> Result<BTreeMap<(String, Micros), Health>, String> {
    let mut last: BTreeMap<(String, Micros), Health> = BTreeMap::new();
    for published in read::<Health>(kafka, "fettle.health")? {
        let key = (published.body.asset.to_string(), published.body.window_end);
        let known = last.get(&key).map(|health| health.revision);
        if known.is_none_or(|revision| published.body.revision >= revision) {
            last.insert(key, published.body);
        }
    }
    Ok(last)
}

/// For each asset the account with the highest sequence.
pub fn final_ledger(kafka: &Kafka) -> Result<BTreeMap<String, LedgerEntry>, String> {
    let mut last: BTreeMap<String, (u64, LedgerEntry)> = BTreeMap::new();
    for published in read::<LedgerEntry>(kafka, "fettle.ledger")? {
        let (sequence, asset) = (published.envelope.sequence, published.body.asset.to_string());
        if last.get(&asset).is_none_or(|known| known.0 <= sequence) {
            last.insert(asset, (sequence, published.body));
        }
    }
    Ok(last.into_iter().map(|(asset, (_, entry))| (asset, entry)).collect())
}

/// The sum of accounts.
pub fn total<'a>(entries: impl Iterator<Item = &'a LedgerEntry>) -> Tally {
    let mut sum = Tally::default();
    entries.for_each(|entry| sum.add(&entry.readings));
    sum
}

/// Ids that occur with two different contents: conflicts, of which there must be none.
pub fn conflicts<T>(records: &[Published<T>]) -> Vec<String> {
    let mut content = BTreeMap::new();
    let differs = |published: &&Published<T>| {
        let known = *content.entry(published.envelope.id).or_insert(published.envelope.content);
        known != published.envelope.content
    };
    records.iter().filter(differs).map(|published| published.envelope.id.to_string()).collect()
}

/// Sequences of a lane that are absent below the highest one, as (incarnation, sequence). Sequences that were given to
/// records which the outbox has thinned away are absent by right; alerts are never thinned.
pub fn gaps<T>(records: &[Published<T>]) -> Vec<(String, u64)> {
    let mut seen: BTreeMap<&str, std::collections::BTreeSet<u64>> = BTreeMap::new();
    for published in records {
        seen.entry(&published.envelope.incarnation).or_default().insert(published.envelope.sequence);
    }
    let absent = |(incarnation, sequences): (&str, std::collections::BTreeSet<u64>)| {
        let highest = sequences.last().copied().unwrap_or(0);
        (0..highest).filter(|n| !sequences.contains(n)).map(|n| (incarnation.to_owned(), n)).collect::<Vec<_>>()
    };
    seen.into_iter().flat_map(absent).collect()
}
