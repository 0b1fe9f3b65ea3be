//! A store in memory that fails by plan: it refuses commits, fills up, and loses what was not committed. The simulator
//! runs the core on it; with no plan it is simply a store without a disk.
//!
//! It keeps LMDB's promise (a commit is all or nothing) and breaks everything that LMDB does not promise.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use super::store::{Pair, Store, StoreError, Visit, Write};

/// What happens to the next commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fate {
    /// It succeeds.
    #[default]
    Commits,
    /// It fails and nothing is written.
    Fails,
    /// It fails for want of room and nothing is written.
    Full,
    /// It is written, but the caller is told that it failed: the power went between the write and the answer.
    CommitsUnheard,
}

/// The store.
#[derive(Debug, Clone, Default)]
pub struct Model {
    keys: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Consumed by the next commit.
    pub fate: Fate,
    /// The bound on the sum of keys and values; none if 0.
    pub max_bytes: u64,
}

impl Model {
    fn bytes(&self) -> u64 {
        self.keys.iter().map(|(k, v)| (k.len() + v.len()) as u64).sum()
    }
}

impl Store for Model {
    fn commit(&mut self, writes: &[Write]) -> Result<(), StoreError> {
        let fate = std::mem::take(&mut self.fate);
        match fate {
            Fate::Fails => return Err(StoreError::Io("the model fails as planned".to_owned())),
            Fate::Full => return Err(StoreError::Full("the model is full as planned".to_owned())),
            Fate::Commits | Fate::CommitsUnheard => {}
        }
        let before = (self.max_bytes > 0).then(|| self.keys.clone());
        for write in writes {
            match write {
                Write::Put(key, value) => {
                    self.keys.insert(key.clone(), value.clone());
                }
                Write::Delete(key) => {
                    self.keys.remove(key);
                }
                Write::DeleteRange(from, to) => self.keys.retain(|key, _| key < from || key >= to),
            }
        }
        if let Some(before) = before
            && self.bytes() > self.max_bytes
        {
            self.keys = before;
            return Err(StoreError::Full("the model's bound is reached".to_owned()));
        }
        if fate == Fate::CommitsUnheard {
            return Err(StoreError::Io("the model committed without saying so, as planned".to_owned()));
        }
        Ok(())
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.keys.get(key).cloned())
    }

    fn scan(&self, from: &[u8], to: &[u8], visit: Visit<'_>) -> Result<(), StoreError> {
        for (key, value) in self.keys.range(from.to_vec()..to.to_vec()) {
            if let ControlFlow::Break(()) = visit(key, value) {
                break;
            }
        }
        Ok(())
    }

    fn last(&self, from: &[u8], to: &[u8]) -> Result<Option<Pair>, StoreError> {
        Ok(self.keys.range(from.to_vec()..to.to_vec()).next_back().map(|(k, v)| (k.clone(), v.clone())))
    }

    fn size(&self) -> (u64, u64) {
        (self.bytes(), if self.max_bytes == 0 { u64::MAX } else { self.max_bytes })
    }
}
