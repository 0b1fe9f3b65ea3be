//! What the journal needs of a disk. Two implementations: LMDB ([`super::lmdb`]), and a model that loses, tears and
//! fills up by seed ([`super::model`]), under which the same core is simulated.

use std::ops::ControlFlow;

/// One change of the key space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// Sets a key.
    Put(Vec<u8>, Vec<u8>),
    /// Removes a key; absent is fine.
    Delete(Vec<u8>),
    /// Removes every key in `[from, to)`.
    DeleteRange(Vec<u8>, Vec<u8>),
}

/// Why the store did not do as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// No room; trimming helps, a plain retry does not.
    #[error("the store is full ({0}); raise journal.max_bytes or free disk space")]
    Full(String),
    /// The medium failed; a retry may help.
    #[error("the store's medium failed: {0}")]
    Io(String),
}

/// A key and its value.
pub type Pair = (Vec<u8>, Vec<u8>);

/// Sees a key and its value; says whether to go on.
pub type Visit<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>;

/// An ordered key space with atomic, durable commits.
pub trait Store {
    /// Applies all of `writes` and returns when they are on disk, or applies none.
    fn commit(&mut self, writes: &[Write]) -> Result<(), StoreError>;

    /// The value of a key.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// Shows every key in `[from, to)` in ascending order with its value.
    fn scan(&self, from: &[u8], to: &[u8], visit: Visit<'_>) -> Result<(), StoreError>;

    /// The last key below `to` with its value, if it is at or above `from`.
    fn last(&self, from: &[u8], to: &[u8]) -> Result<Option<Pair>, StoreError>;

    /// Bytes in use and the bound.
    fn size(&self) -> (u64, u64);
}
