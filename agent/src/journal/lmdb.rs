//! The store on disk: one LMDB environment, one key space, one writer.
//!
//! Default durability: a commit returns after `fdatasync`, so what it held survives a kill -9 and a power cut. The only
//! module of the agent that may say `unsafe`: memory-mapping a file is unsafe because another process could truncate it;
//! [`crate::lock`] keeps a second agent away, and readers (`backup`, `dead-letters`) open the same environment through
//! LMDB's own lock. The files are `data.mdb` and `lock.mdb`.
#![expect(unsafe_code, reason = "opening a memory-mapped environment is unsafe in heed; nothing else here is")]

use std::fs::{File, Permissions};
use std::ops::{Bound, ControlFlow};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use heed::types::Bytes;
use heed::{CommitOrAbort, CompactionOption, Database, Env, EnvFlags, EnvOpenOptions, MdbError, PutFlags, WithTls};

use super::store::{Pair, Store, StoreError, Visit, Write};
use super::{Damage, FORMAT_KEY, Format, STORE_VERSION, open, seal};
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
    /// Opens the store in `folder`. `max_bytes` is the most it can ever take on disk.
    pub fn open(folder: &Path, max_bytes: u64, access: Access) -> Result<Self, OpenError> {
        let lock = match access {
            Access::Write => Some(StoreLock::take(folder)?),
            Access::Read if !folder.join("data.mdb").exists() => return Err(OpenError::Absent(folder.to_owned())),
            Access::Read => None,
        };
        let lmdb = |source| OpenError::Lmdb { store: folder.to_owned(), source };
        let env = open_env(folder, max_bytes, access).map_err(lmdb)?;
        let (keys, format) = match access {
            Access::Write => open_keys(&env, folder)?,
            Access::Read => read_keys(&env, folder)?,
        };
        Ok(Self { env, keys, format, _lock: lock })
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

/// Puts a backup in the place of the store in `folder`. The store gets a new incarnation: its sequences go back, so the
/// fleet gateway must count it anew. What it replaces is kept beside it.
pub fn restore(file: &Path, folder: &Path, max_bytes: u64, incarnation: u64) -> Result<(), OpenError> {
    let held = StoreLock::take(folder)?;
    let staging = folder.join("restoring");
    if staging.exists() {
        std::fs::remove_dir_all(&staging).map_err(io("cannot remove", &staging))?;
    }
    std::fs::create_dir(&staging).map_err(io("cannot make folder", &staging))?;
    let copy = staging.join("data.mdb");
    std::fs::copy(file, &copy).map_err(io("cannot copy", file))?;
    private(&copy)?;
    // Opening checks that it is a store of a version we know, before anything is replaced.
    drop(Lmdb::open(&staging, max_bytes, Access::Read)?);
    let mut store = Lmdb::open(&staging, max_bytes, Access::Write)?;
    store.format.incarnation = incarnation;
    let value = seal(FORMAT_KEY, &encode_format(&store.format));
    store.commit(&[Write::Put(FORMAT_KEY.to_vec(), value)])?;
    drop(store);
    let data = folder.join("data.mdb");
    if data.exists() {
        let aside = folder.join("data.mdb.replaced");
        std::fs::rename(&data, &aside).map_err(io("cannot rename", &data))?;
    }
    let _ = std::fs::remove_file(folder.join("lock.mdb"));
    std::fs::rename(&copy, &data).map_err(io("cannot rename to", &data))?;
    std::fs::remove_dir_all(&staging).map_err(io("cannot remove", &staging))?;
    sync_folder(folder)?;
    drop(held);
    Ok(())
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
    // lock file, and restore replaces the file by rename while holding that lock.
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
            keys.put(&mut txn, FORMAT_KEY, &seal(FORMAT_KEY, &encode_format(&format))).map_err(lmdb)?;
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

fn encode_format(format: &Format) -> Vec<u8> {
    super::snapshot::encode(format)
}

fn format_of(value: &[u8], folder: &Path) -> Result<Format, OpenError> {
    let format: Format = super::snapshot::decode(FORMAT_KEY, &open(FORMAT_KEY, value)?)?;
    if format.version > STORE_VERSION {
        return Err(OpenError::Newer { store: folder.to_owned(), found: format.version });
    }
    Ok(format)
}

/// What a plant's machines do is nobody else's business: readable by the agent's user alone.
fn private(file: &Path) -> Result<(), OpenError> {
    std::fs::set_permissions(file, Permissions::from_mode(0o600)).map_err(io("cannot protect", file))
}

fn sync_folder(folder: &Path) -> Result<(), OpenError> {
    File::open(folder).and_then(|f| f.sync_all()).map_err(io("cannot sync folder", folder))
}

fn io(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> OpenError {
    let path = path.to_owned();
    move |source| OpenError::Io { what, path, source }
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
        newer.commit(&[put(FORMAT_KEY, &seal(FORMAT_KEY, &encode_format(&format)))]).unwrap();
        drop(newer);
        let error = Lmdb::open(folder.path(), 1 << 24, Access::Write).unwrap_err();
        assert!(matches!(error, OpenError::Newer { found: 2, .. }), "{error}");
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

    #[test]
    fn a_backup_of_a_store_in_use_restores_with_a_new_incarnation() {
        let folder = tempfile::tempdir().unwrap();
        let mut used = store(folder.path());
        used.commit(&[put(b"a", b"1")]).unwrap();
        let file = folder.path().join("copy.fettle");
        used.backup(&file).unwrap();
        assert!(matches!(used.backup(&file), Err(OpenError::Exists(_))));
        let incarnation = used.format().incarnation;
        assert!(matches!(restore(&file, folder.path(), 1 << 24, 7), Err(OpenError::Lock(_))));
        drop(used);
        restore(&file, folder.path(), 1 << 24, 7).unwrap();
        let restored = store(folder.path());
        assert_ne!(restored.format().incarnation, incarnation);
        assert_eq!(restored.get(b"a").unwrap().as_deref(), Some(&b"1"[..]));
    }
}
