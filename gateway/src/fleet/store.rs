//! The local copy of the fleet: one LMDB environment.
//!
//! Layout: database `state` (key as in [`super::asset`], value JSON), `positions` (topic|partition -> next offset, 8
//! bytes big endian), `meta` (store version, instance, cluster). Data and the positions it was read up to change in one
//! transaction, so after a crash reading goes on exactly where the data ends (G3).
//! The copy can always be rebuilt, so an older version is emptied rather than migrated; a newer one is refused.
//! Must never: be opened by two processes (a lock file is held), be the only keeper of anything.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use heed::types::{Bytes, Str};
use heed::{Database, Env};
use serde::de::DeserializeOwned;

use crate::lmdb::{self, OpenError, Opened, database};

/// The layout this build writes.
const VERSION: &str = "1";
/// Address space set aside for the map; the file grows as it is used.
const MAP_BYTES: usize = 16 << 30;

/// Why the store failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Written by a later build.
    #[error(
        "the store {path} has version {found}, this build reads {VERSION}; use the newer build, or remove the folder (it is rebuilt from Kafka)"
    )]
    Newer {
        /// The folder.
        path: PathBuf,
        /// Its version.
        found: String,
    },
    /// Emptied meanwhile; what was read before is void. A retry from the start helps.
    #[error("the copy of the fleet was emptied meanwhile; it is read again")]
    Emptied,
    /// LMDB.
    #[error("store: {0}; if this persists, stop the gateway and remove the store folder (it is rebuilt from Kafka)")]
    Lmdb(#[from] heed::Error),
    /// A value that was checked when it was written no longer reads.
    #[error(
        "store: the value of {key} does not read: {source}; stop the gateway and remove the store folder (it is rebuilt from Kafka)"
    )]
    Value {
        /// Its key.
        key: String,
        /// Why.
        source: serde_json::Error,
    },
}

/// One change of the copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The key.
    pub key: String,
    /// The new value; `None` removes.
    pub value: Option<Vec<u8>>,
}

/// The local copy.
pub struct Store {
    opened: Opened,
    state: Database<'static, Str, Bytes>,
    positions: Database<'static, Str, Bytes>,
    meta: Database<'static, Str, Str>,
    /// Counts changes, so that a reader knows whether anything is new.
    generation: AtomicU64,
    /// Counts how often the copy was emptied: what was looked up before is void.
    epoch: AtomicU64,
}

impl Store {
    /// Opens or makes the store in `folder`.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        let opened = lmdb::open(folder, MAP_BYTES, 3)?;
        let store = Self {
            state: database(&opened.env, "state")?,
            positions: database(&opened.env, "positions")?,
            meta: database(&opened.env, "meta")?,
            opened,
            generation: AtomicU64::new(0),
            epoch: AtomicU64::new(0),
        };
        match store.meta("version")?.as_deref() {
            Some(VERSION) => {}
            Some(found) if found.parse::<u32>().is_ok_and(|v| v == 0) => store.wipe()?,
            Some(found) => return Err(StoreError::Newer { path: folder.into(), found: found.into() }),
            None => {}
        }
        store.set_meta("version", VERSION)?;
        Ok(store)
    }

    fn env(&self) -> &Env {
        &self.opened.env
    }

    /// A value of `meta`.
    pub fn meta(&self, key: &str) -> Result<Option<String>, StoreError> {
        let txn = self.env().read_txn()?;
        Ok(self.meta.get(&txn, key)?.map(str::to_owned))
    }

    /// Sets a value of `meta`.
    pub fn set_meta(&self, key: &str, value: &str) -> Result<(), StoreError> {
        let mut txn = self.env().write_txn()?;
        self.meta.put(&mut txn, key, value)?;
        Ok(txn.commit()?)
    }

    /// One value as JSON bytes.
    pub fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let txn = self.env().read_txn()?;
        Ok(self.state.get(&txn, key)?.map(<[u8]>::to_vec))
    }

    /// One value.
    pub fn read<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, StoreError> {
        let txn = self.env().read_txn()?;
        let Some(bytes) = self.state.get(&txn, key)? else { return Ok(None) };
        serde_json::from_slice(bytes).map(Some).map_err(|source| StoreError::Value { key: key.into(), source })
    }

    /// Every value whose key begins with `prefix`, in key order, all of one instant.
    pub fn scan<T: DeserializeOwned>(&self, prefix: &str, mut each: impl FnMut(&str, T)) -> Result<(), StoreError> {
        let txn = self.env().read_txn()?;
        for item in self.state.prefix_iter(&txn, prefix)? {
            let (key, bytes) = item?;
            let value =
                serde_json::from_slice(bytes).map_err(|source| StoreError::Value { key: key.into(), source })?;
            each(key, value);
        }
        Ok(())
    }

    /// Applies changes and the positions they were read up to, in one transaction; refused if the copy was emptied
    /// since `epoch`, because then positions would stand over a hole.
    pub fn apply(
        &self,
        epoch: u64,
        changes: &[Change],
        positions: &BTreeMap<(String, i32), i64>,
    ) -> Result<(), StoreError> {
        let mut txn = self.env().write_txn()?;
        if self.epoch() != epoch {
            return Err(StoreError::Emptied);
        }
        for Change { key, value } in changes {
            match value {
                Some(value) => self.state.put(&mut txn, key, value)?,
                None => {
                    self.state.delete(&mut txn, key)?;
                }
            }
        }
        for ((topic, partition), next) in positions {
            self.positions.put(&mut txn, &format!("{topic}|{partition}"), &next.to_be_bytes())?;
        }
        txn.commit()?;
        self.generation.fetch_add(1, Ordering::Release);
        Ok(())
    }

    /// The next offset to read of each partition of `topic`, where any was read.
    pub fn positions(&self, topic: &str) -> Result<BTreeMap<i32, i64>, StoreError> {
        let txn = self.env().read_txn()?;
        let mut out = BTreeMap::new();
        for item in self.positions.prefix_iter(&txn, &format!("{topic}|"))? {
            let (key, bytes) = item?;
            let partition = key.rsplit_once('|').and_then(|(_, partition)| partition.parse().ok());
            if let (Some(partition), Ok(bytes)) = (partition, <[u8; 8]>::try_from(bytes)) {
                out.insert(partition, i64::from_be_bytes(bytes));
            }
        }
        Ok(out)
    }

    /// Empties the copy, so that it is read again from the start. What was looked up before is void (see `epoch`).
    pub fn wipe(&self) -> Result<(), StoreError> {
        self.epoch.fetch_add(1, Ordering::SeqCst);
        let mut txn = self.env().write_txn()?;
        self.state.clear(&mut txn)?;
        self.positions.clear(&mut txn)?;
        txn.commit()?;
        self.generation.fetch_add(1, Ordering::Release);
        Ok(())
    }

    /// Changes with each change of the copy.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Changes when the copy is emptied.
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::SeqCst)
    }

    /// Bytes on disk.
    pub fn bytes(&self) -> u64 {
        self.env().real_disk_size().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::asset::HighWater;

    fn put(key: &str, sequence: u64) -> Change {
        Change { key: key.into(), value: serde_json::to_vec(&HighWater { sequence }).ok() }
    }

    #[test]
    fn data_and_position_survive_together() {
        let folder = tempfile::tempdir().unwrap();
        let at = BTreeMap::from([(("fettle.fleet".to_owned(), 3), 42)]);
        {
            let store = Store::open(folder.path()).unwrap();
            store.apply(store.epoch(), &[put("hw|a", 1), put("hw|b", 2)], &at).unwrap();
            store.apply(store.epoch(), &[Change { key: "hw|a".into(), value: None }], &BTreeMap::new()).unwrap();
        }
        let store = Store::open(folder.path()).unwrap();
        assert_eq!(store.read::<HighWater>("hw|b").unwrap(), Some(HighWater { sequence: 2 }));
        assert_eq!(store.get("hw|a").unwrap(), None);
        assert_eq!(store.positions("fettle.fleet").unwrap(), BTreeMap::from([(3, 42)]));
        assert!(store.positions("fettle").unwrap().is_empty());
    }

    #[test]
    fn a_second_process_is_turned_away() {
        let folder = tempfile::tempdir().unwrap();
        let _held = Store::open(folder.path()).unwrap();
        assert!(matches!(Store::open(folder.path()), Err(StoreError::Open(OpenError::InUse(_)))));
    }

    #[test]
    fn a_newer_store_is_refused_and_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        Store::open(folder.path()).unwrap().set_meta("version", "2").unwrap();
        let Err(error) = Store::open(folder.path()) else { panic!("opened") };
        assert!(error.to_string().contains("version 2"), "{error}");
    }

    #[test]
    fn emptying_changes_the_epoch_and_keeps_the_instance() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        store.set_meta("instance", "gw-a").unwrap();
        store.apply(store.epoch(), &[put("hw|a", 1)], &BTreeMap::from([(("t".to_owned(), 0), 9)])).unwrap();
        let (epoch, generation) = (store.epoch(), store.generation());
        store.wipe().unwrap();
        assert!(store.epoch() > epoch && store.generation() > generation);
        assert_eq!(store.get("hw|a").unwrap(), None);
        assert!(store.positions("t").unwrap().is_empty());
        assert_eq!(store.meta("instance").unwrap().as_deref(), Some("gw-a"));
        let late = store.apply(epoch, &[put("hw|b", 1)], &BTreeMap::new());
        assert!(matches!(late, Err(StoreError::Emptied)), "read before it was emptied");
    }
}
