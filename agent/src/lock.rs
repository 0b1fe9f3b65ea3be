//! One agent per store: the file `lock` in the store's folder, locked for as long as the process lives, with its number
//! inside.
//!
//! The lock is the kernel's (flock) and dies with its holder, so nothing is left to clean up after a crash. The number is
//! believed only while somebody holds the lock. On a network file system flock may mean nothing: the store belongs on a
//! local disk.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process};

use crate::run::Ask;

/// The file's name in the store's folder.
pub const LOCK_FILE: &str = "lock";

/// Why the store is not ours.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another agent runs on this store. A retry helps once it has stopped.
    #[error("the store {folder} is in use by process {pid}; stop that agent, or give this one its own store")]
    Held {
        /// The store's folder.
        folder: PathBuf,
        /// The process that holds it.
        pid: u32,
    },
    /// No agent runs on this store.
    #[error("no agent runs on the store {folder}; is this its configuration (store), and was it started?")]
    NotHeld {
        /// The store's folder.
        folder: PathBuf,
    },
    /// The agent cannot be signalled.
    #[error("cannot signal process {pid}, which holds the store; run this as the agent's user or as root")]
    Signal {
        /// The process.
        pid: u32,
        /// What the system said.
        source: io::Error,
    },
    /// The file cannot be opened, locked or written.
    #[error("cannot lock {path}; the agent's user must own the store's folder")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Holds the store until dropped.
#[derive(Debug)]
pub struct StoreLock {
    _file: File,
}

impl StoreLock {
    /// Takes the store in `folder`, making the folder where it is absent.
    pub fn take(folder: &Path) -> Result<Self, LockError> {
        let path = folder.join(LOCK_FILE);
        let failed = |source| LockError::File { path: path.clone(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
        let mut file = open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let pid = read_pid(&mut file).map_err(failed)?;
                return Err(LockError::Held { folder: folder.to_owned(), pid });
            }
            Err(TryLockError::Error(e)) => return Err(failed(e)),
        }
        file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(failed)?;
        Ok(Self { _file: file })
    }
}

/// The process that holds the store in `folder`, if any.
pub fn holder(folder: &Path) -> Result<Option<u32>, LockError> {
    match StoreLock::probe(folder) {
        Ok(()) => Ok(None),
        Err(LockError::Held { pid, .. }) => Ok(Some(pid)),
        Err(e) => Err(e),
    }
}

/// Asks the agent that holds the store in `folder`; gives its process number.
pub fn ask(folder: &Path, what: Ask) -> Result<u32, LockError> {
    let pid = holder(folder)?.ok_or_else(|| LockError::NotHeld { folder: folder.to_owned() })?;
    let process = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let failed = |source| LockError::Signal { pid, source };
    let process = process.ok_or_else(|| failed(io::Error::from(io::ErrorKind::InvalidData)))?;
    let signal = match what {
        Ask::Reload => Signal::HUP,
        Ask::Replace => Signal::USR1,
        Ask::Stop => Signal::TERM,
    };
    kill_process(process, signal).map_err(|e| failed(e.into()))?;
    Ok(pid)
}

impl StoreLock {
    /// As [`StoreLock::take`], writing nothing: an error of kind `Held` names the holder.
    fn probe(folder: &Path) -> Result<(), LockError> {
        let path = folder.join(LOCK_FILE);
        let failed = |source| LockError::File { path: path.clone(), source };
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(failed(e)),
        };
        match file.try_lock_shared() {
            Ok(()) => Ok(()),
            Err(TryLockError::WouldBlock) => {
                let pid = read_pid(&mut file).map_err(failed)?;
                Err(LockError::Held { folder: folder.to_owned(), pid })
            }
            Err(TryLockError::Error(e)) => Err(failed(e)),
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

fn read_pid(file: &mut File) -> io::Result<u32> {
    let mut text = String::new();
    file.rewind()?;
    file.take(32).read_to_string(&mut text)?;
    text.trim().parse().map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "the lock file holds no process number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reload_without_an_agent_signals_nobody() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(LOCK_FILE), "1\n").unwrap();
        assert!(matches!(ask(folder.path(), Ask::Reload), Err(LockError::NotHeld { .. })));
    }

    #[test]
    fn a_second_agent_is_told_who_holds_the_store() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(holder(folder.path()).unwrap(), None);
        let lock = StoreLock::take(folder.path()).unwrap();
        let me = std::process::id();
        assert!(matches!(StoreLock::take(folder.path()), Err(LockError::Held { pid, .. }) if pid == me));
        assert_eq!(holder(folder.path()).unwrap(), Some(me));
        drop(lock);
        assert_eq!(holder(folder.path()).unwrap(), None);
        StoreLock::take(folder.path()).unwrap();
    }
}
