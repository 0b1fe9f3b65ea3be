//! Opens LMDB environments: the one file of this crate that is `unsafe`. The fleet's copy and the history each have an
//! environment of their own, in a folder of their own, so that either can be lost without the other.
//!
//! A lock file is held for as long as the environment is open, because LMDB's own locks do not keep two processes of
//! ours from working on one folder.
//! Must never: open a folder whose lock another process holds.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use heed::{CommitOrAbort, Database, Env, EnvOpenOptions};

/// LMDB's longest key, in bytes, as it is built: a longer one is in no store of ours.
pub(crate) const MAX_KEY: usize = 511;

/// Why an environment could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder or its lock.
    #[error("cannot use the store folder {path}: {source}; it must be a writable folder on a local disk")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Held by another process.
    #[error("the store {0} is in use by another fettle-gateway; stop that one, or name another folder as `store`")]
    InUse(PathBuf),
    /// LMDB.
    #[error(
        "store {path}: {source}; if this persists, stop the gateway and remove the folder (it is rebuilt from Kafka)"
    )]
    Lmdb {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: heed::Error,
    },
}

/// An environment and the lock on its folder.
pub(crate) struct Opened {
    pub(crate) env: Env,
    _lock: File,
}

/// Opens or makes the environment in `folder`, with `map_bytes` of address space and `databases` named databases.
pub(crate) fn open(folder: &Path, map_bytes: usize, databases: u32) -> Result<Opened, OpenError> {
    let lock = lock(folder)?;
    let env =
        open_env(folder, map_bytes, databases).map_err(|source| OpenError::Lmdb { path: folder.into(), source })?;
    Ok(Opened { env, _lock: lock })
}

#[expect(unsafe_code, reason = "LMDB maps a file; the lock file keeps other processes of ours away")]
fn open_env(folder: &Path, map_bytes: usize, databases: u32) -> Result<Env, heed::Error> {
    // SAFETY: the environment lies in a folder of our own whose lock file this process holds, so nobody else opens it;
    // no flags that weaken LMDB's own locking are set.
    unsafe { EnvOpenOptions::new().map_size(map_bytes).max_dbs(databases).max_readers(64).open(folder) }
}

fn lock(folder: &Path) -> Result<File, OpenError> {
    let failed = |source| OpenError::Folder { path: folder.into(), source };
    std::fs::create_dir_all(folder).map_err(failed)?;
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(folder.join("lock")).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse(folder.into())),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

/// Opens or makes a named database.
pub(crate) fn database<K: 'static, D: 'static>(env: &Env, name: &str) -> Result<Database<'static, K, D>, heed::Error> {
    let made = env.create_databases_and_commit(env.write_txn()?, |opener, txn| {
        opener.create_database::<K, D>(txn, Some(name)).map(CommitOrAbort::<_, ()>::Commit)
    })?;
    match made {
        CommitOrAbort::Commit(database) => Ok(database),
        CommitOrAbort::Abort(()) => unreachable!("the closure above never aborts"),
    }
}
