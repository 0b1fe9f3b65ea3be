//! The store on disk: one LMDB environment, one key space, one writer.
//!
//! Default durability: a commit returns after `fdatasync`, so what it held survives a kill -9 and a power cut. The only
//! module of the agent that may say `unsafe`: memory-mapping a file is unsafe because another process could truncate it;
//! [`crate::lock`] keeps a second agent away, and readers (`backup`, `dead-letters`) open the same environment through
//! LMDB's own lock. The files are `data.mdb` and `lock.mdb`.
#![expect(unsafe_code, reason = "opening a memory-mapped environment is unsafe in heed; nothing else here is")]

use std::fs::File;
use std::ops::{Bound, ControlFlow};
use std::path::{Path, PathBuf};

use heed::types::Bytes;
use heed::{CommitOrAbort, CompactionOption, Database, Env, EnvFlags, EnvOpenOptions, MdbError, PutFlags, WithTls};

use super::replace::{self, DATA, io, private};
use super::store::{Pair, Store, StoreError, Visit, Write};
use super::{Damage, FORMAT_KEY, Format, STORE_VERSION, open, seal, snapshot};
use crate::lock::{LockError, StoreLock};

/// Why the store could not be opened, copied or restored.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A second agent, or no right to lock.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The file system refused.
    #[error("{what} {path}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which path.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// LMDB refused.
    #[error("the environment in {store}: {source}")]
    Lmdb {
        /// The store's folder.
        store: PathBuf,
        /// Why not.
        source: heed::Error,
    },
    /// Written by a newer build.
    #[error(
        "the store {store} has version {found}, this build knows up to {STORE_VERSION}; run the newer fettle-agent"
    )]
    Newer {
        /// The store's folder.
        store: PathBuf,
        /// The version found.
        found: u32,
    },
    /// The format record is damaged.
    #[error(transparent)]
    Damage(#[from] Damage),
    /// There is no store.
    #[error("{0} holds no store; fettle-agent run makes one at its first start")]
    Absent(PathBuf),
    /// There is no such backup.
    #[error("{0} is no file; name a backup made by fettle-agent backup")]
    NoBackup(PathBuf),
    /// The file is no store that this build can use. The store in place is untouched.
    #[error("{file} cannot be restored: {source}")]
    NotABackup {
        /// The file.
        file: PathBuf,
        /// Why not.
        source: Box<OpenError>,
    },
    /// The target exists.
    #[error("{0} exists already; name a file that does not")]
    Exists(PathBuf),
    /// Reading or writing the store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

type Keys = Database<'static, Bytes, Bytes>;

/// An open store.
#[derive(Debug)]
pub struct Lmdb {
    env: Env<WithTls>,
    keys: Keys,
    format: Format,
    /// Held while this process may write.
    _lock: Option<StoreLock>,
}

/// Whether the store is opened to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// By the one agent: takes the lock, makes the store if there is none.
    Write,
    /// Beside a running agent.
    Read,
}

impl Lmdb {
    /// Opens the store in `folder`. `max_bytes` is the most it can ever take on disk. To be written, a restored backup
    /// that waits takes its place first, and a store of an older version is migrated.
    pub fn open(folder: &Path, max_bytes: u64, access: Access) -> Result<Self, OpenError> {
        if access == Access::Read {
            if !folder.join(DATA).exists() {
                return Err(OpenError::Absent(folder.to_owned()));
            }
            return Self::open_as_it_is(folder, max_bytes, access);
        }
        let lock = StoreLock::take(folder)?;
        replace::finish(folder)?;
        let mut store = Self::open_as_it_is(folder, max_bytes, access)?;
        let from = store.format.version;
        if from < STORE_VERSION {
            replace::stage_migration(&store, folder, max_bytes, from)?;
            drop(store);
            replace::finish(folder)?;
            store = Self::open_as_it_is(folder, max_bytes, access)?;
            tracing::info!(event = "store.migrated", from, to = STORE_VERSION, "the store has this build's version");
        }
        store._lock = Some(lock);
        Ok(store)
    }

    /// Opens without lock, replacement or migration: for this module's own use, on a folder whose lock is held.
    pub(super) fn open_as_it_is(folder: &Path, max_bytes: u64, access: Access) -> Result<Self, OpenError> {
        let env = open_env(folder, max_bytes, access)
            .map_err(|source| OpenError::Lmdb { store: folder.to_owned(), source })?;
        let (keys, format) = match access {
            Access::Write => open_keys(&env, folder)?,
            Access::Read => read_keys(&env, folder)?,
        };
        Ok(Self { env, keys, format, _lock: None })
    }

    /// The store's identity.
    pub fn format(&self) -> &Format {
        &self.format
    }

    /// Copies the store, compacted, into a new file while it may be in use.
    pub fn backup(&self, file: &Path) -> Result<u64, OpenError> {
        if file.exists() {
            return Err(OpenError::Exists(file.to_owned()));
        }
        let part = file.with_extension("part");
        let lmdb = |source| OpenError::Lmdb { store: self.env.path().to_owned(), source };
        self.env.copy_to_path(&part, CompactionOption::Enabled).map_err(lmdb)?;
        let copy = File::open(&part).map_err(io("cannot open", &part))?;
        private(&part)?;
        copy.sync_all().map_err(io("cannot sync", &part))?;
        std::fs::rename(&part, file).map_err(io("cannot rename to", file))?;
        Ok(copy.metadata().map(|m| m.len()).unwrap_or(0))
    }
}

fn open_env(folder: &Path, max_bytes: u64, access: Access) -> Result<Env<WithTls>, heed::Error> {
    let page = 4096;
    let mut options = EnvOpenOptions::new();
    options.map_size((usize::try_from(max_bytes).unwrap_or(usize::MAX) / page).max(256) * page);
    options.max_dbs(1).max_readers(16);
    if access == Access::Read {
        // SAFETY: READ_ONLY does not relax any of LMDB's own locking.
        unsafe { options.flags(EnvFlags::READ_ONLY) };
    }
    // SAFETY: the files are changed by LMDB alone: the folder is the agent's own, a second agent is kept away by the
    // lock file, and a replacement renames files while holding that lock and with no environment open.
    unsafe { options.open(folder) }
}

fn open_keys(env: &Env<WithTls>, folder: &Path) -> Result<(Keys, Format), OpenError> {
    let lmdb = |source| OpenError::Lmdb { store: folder.to_owned(), source };
    let txn = env.write_txn().map_err(lmdb)?;
    let opened = env.create_databases_and_commit(txn, |opener, txn| {
        opener.create_database::<Bytes, Bytes>(txn, None).map(CommitOrAbort::<_, ()>::Commit)
    });
    let keys: Keys = opened.map_err(lmdb)?.unwrap_commit();
    let mut txn = env.write_txn().map_err(lmdb)?;
    let found = keys.get(&txn, FORMAT_KEY).map_err(lmdb)?.map(|value| format_of(value, folder)).transpose()?;
    let format = match found {
        Some(format) => format,
        None => {
            let format = Format { version: STORE_VERSION, incarnation: random(folder)? };
            keys.put(&mut txn, FORMAT_KEY, &seal(FORMAT_KEY, &snapshot::encode(&format))).map_err(lmdb)?;
            format
        }
    };
    txn.commit().map_err(lmdb)?;
    Ok((keys, format))
}

fn read_keys(env: &Env<WithTls>, folder: &Path) -> Result<(Keys, Format), OpenError> {
    let lmdb = |source| OpenError::Lmdb { store: folder.to_owned(), source };
    let absent = || OpenError::Absent(folder.to_owned());
    let txn = env.read_txn().map_err(lmdb)?;
    let opened = env.open_databases_and_commit(txn, |opener, txn| {
        opener.open_database::<Bytes, Bytes>(txn, None).map(CommitOrAbort::<_, ()>::Commit)
    });
    let keys: Keys = opened.map_err(lmdb)?.unwrap_commit().ok_or_else(absent)?;
    let txn = env.read_txn().map_err(lmdb)?;
    let format = format_of(keys.get(&txn, FORMAT_KEY).map_err(lmdb)?.ok_or_else(absent)?, folder)?;
    drop(txn);
    Ok((keys, format))
}

/// A new incarnation.
pub fn random(folder: &Path) -> Result<u64, OpenError> {
    getrandom::u64().map_err(|e| OpenError::Io {
        what: "the system gave no random number for",
        path: folder.to_owned(),
        source: std::io::Error::other(e.to_string()),
    })
}

fn format_of(value: &[u8], folder: &Path) -> Result<Format, OpenError> {
    let format: Format = snapshot::decode(FORMAT_KEY, &open(FORMAT_KEY, value)?)?;
    if format.version == 0 {
        return Err(
            Damage::Content { key: super::readable(FORMAT_KEY), why: "there is no version 0".to_owned() }.into()
        );
    }
    if format.version > STORE_VERSION {
        return Err(OpenError::Newer { store: folder.to_owned(), found: format.version });
    }
    Ok(format)
}

fn store_error(error: heed::Error) -> StoreError {
    match error {
        heed::Error::Mdb(MdbError::MapFull) => StoreError::Full("journal.max_bytes is reached".to_owned()),
        heed::Error::Io(e) if e.kind() == std::io::ErrorKind::StorageFull => {
            StoreError::Full("the disk has no room".to_owned())
        }
        other => StoreError::Io(other.to_string()),
    }
}

fn range<'a>(from: &'a [u8], to: &'a [u8]) -> (Bound<&'a [u8]>, Bound<&'a [u8]>) {
    (Bound::Included(from), Bound::Excluded(to))
}

impl Store for Lmdb {
    fn commit(&mut self, writes: &[Write]) -> Result<(), StoreError> {
        let mut txn = self.env.write_txn().map_err(store_error)?;
        for write in writes {
            match write {
                // Batches sort last and grow: appending fills pages instead of splitting them in half.
                Write::Put(key, value) if key.first() == Some(&b'z') => {
                    match self.keys.put_with_flags(&mut txn, PutFlags::APPEND, key, value) {
                        Err(heed::Error::Mdb(MdbError::KeyExist)) => self.keys.put(&mut txn, key, value),
                        other => other,
                    }
                }
                Write::Put(key, value) => self.keys.put(&mut txn, key, value),
                Write::Delete(key) => self.keys.delete(&mut txn, key).map(|_| ()),
                Write::DeleteRange(from, to) => self.keys.delete_range(&mut txn, &range(from, to)).map(|_| ()),
            }
            .map_err(store_error)?;
        }
        txn.commit().map_err(store_error)
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let txn = self.env.read_txn().map_err(store_error)?;
        Ok(self.keys.get(&txn, key).map_err(store_error)?.map(<[u8]>::to_vec))
    }

    fn scan(&self, from: &[u8], to: &[u8], visit: Visit<'_>) -> Result<(), StoreError> {
        let txn = self.env.read_txn().map_err(store_error)?;
        for item in self.keys.range(&txn, &range(from, to)).map_err(store_error)? {
            let (key, value) = item.map_err(store_error)?;
            if let ControlFlow::Break(()) = visit(key, value) {
                break;
            }
        }
        Ok(())
    }

    fn last(&self, from: &[u8], to: &[u8]) -> Result<Option<Pair>, StoreError> {
        let txn = self.env.read_txn().map_err(store_error)?;
        let mut keys = self.keys.rev_range(&txn, &range(from, to)).map_err(store_error)?;
        let last = keys.next().transpose().map_err(store_error)?;
        Ok(last.map(|(key, value)| (key.to_vec(), value.to_vec())))
    }

    fn size(&self) -> (u64, u64) {
        let info = self.env.info();
        let used = self.env.read_txn().and_then(|txn| self.keys.stat(&txn)).map_or(0, |stat| {
            (stat.branch_pages + stat.leaf_pages + stat.overflow_pages) as u64 * u64::from(stat.page_size)
        });
        (used, info.map_size as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(folder: &Path) -> Lmdb {
        Lmdb::open(folder, 1 << 24, Access::Write).unwrap()
    }

    fn put(key: &[u8], value: &[u8]) -> Write {
        Write::Put(key.to_vec(), value.to_vec())
    }

    #[test]
    fn what_is_committed_is_there_after_reopening_and_the_incarnation_stays() {
        let folder = tempfile::tempdir().unwrap();
        let mut first = store(folder.path());
        first.commit(&[put(b"a", b"1"), put(b"zb", b"2"), put(b"za", b"3"), Write::Delete(b"none".to_vec())]).unwrap();
        let incarnation = first.format().incarnation;
        drop(first);
        let second = store(folder.path());
        assert_eq!(second.format().incarnation, incarnation);
        assert_eq!(second.get(b"a").unwrap().as_deref(), Some(&b"1"[..]));
        assert_eq!(second.last(b"z", &[b'z' + 1]).unwrap(), Some((b"zb".to_vec(), b"2".to_vec())));
    }

    #[test]
    fn a_second_agent_is_kept_away_and_told_who_holds_the_store() {
        let folder = tempfile::tempdir().unwrap();
        let _held = store(folder.path());
        let error = Lmdb::open(folder.path(), 1 << 24, Access::Write).unwrap_err();
        assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
    }

    #[test]
    fn a_newer_store_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut newer = store(folder.path());
        let format = Format { version: STORE_VERSION + 1, incarnation: 1 };
        newer.commit(&[put(FORMAT_KEY, &seal(FORMAT_KEY, &snapshot::encode(&format)))]).unwrap();
        drop(newer);
        let error = Lmdb::open(folder.path(), 1 << 24, Access::Write).unwrap_err();
        assert!(matches!(error, OpenError::Newer { found: 3, .. }), "{error}");
    }

    #[test]
    fn a_full_store_says_so_and_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let mut small = Lmdb::open(folder.path(), 1 << 20, Access::Write).unwrap();
        let error = small.commit(&[put(b"a", b"1"), put(b"b", &vec![0; 4 << 20])]).unwrap_err();
        assert!(matches!(error, StoreError::Full(_)), "{error}");
        assert_eq!(small.get(b"a").unwrap(), None);
        small.commit(&[put(b"a", b"1")]).unwrap();
    }
}
