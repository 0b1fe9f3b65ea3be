//! The agent's key: ed25519, made at first start, in `identity.key` of the store's folder, readable by its owner only.
//!
//! Whoever has the file can sign as this agent; whoever loses it signs as somebody new. So it is written whole or not
//! at all (a second start cannot tear it), never overwritten, never logged, and refused if every user may read it. The
//! file holds the 32 secret bytes as 64 hexadecimal digits.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use ed25519_dalek::SigningKey;
use fettle_wire::record::{Hex, key_id, unhex};

/// The file's name in the store's folder.
pub const KEY_FILE: &str = "identity.key";

/// Why there is no key. A retry helps only after the file or its folder was put right.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The folder or file cannot be read or written.
    #[error("cannot {action} {path}; the agent's user must own the store's folder")]
    File {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Anybody on the machine may read the key.
    #[error(
        "{path} has mode {mode:04o} and can be read by every user; run chmod 600 and consider the key known to others"
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file is not a key.
    #[error(
        "{path} does not hold 64 hexadecimal digits; restore it from a backup, or move it away to sign as somebody new"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// The system gave no random numbers.
    #[error("the system gives no random numbers for a new key")]
    Random(#[source] io::Error),
}

/// The key of the store in `folder`; makes folder and key where they are absent.
pub fn load_or_create(folder: &Path) -> Result<SigningKey, IdentityError> {
    let path = folder.join(KEY_FILE);
    match load(&path) {
        Err(IdentityError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => create(folder, &path),
        other => other,
    }
}

fn load(path: &Path) -> Result<SigningKey, IdentityError> {
    let failed = |source| IdentityError::File { action: "read", path: path.to_owned(), source };
    let mode = fs::metadata(path).map_err(failed)?.permissions().mode() & 0o777;
    if mode & 0o007 != 0 {
        return Err(IdentityError::Exposed { path: path.to_owned(), mode });
    }
    let text = fs::read_to_string(path).map_err(failed)?;
    let mut secret = [0; 32];
    unhex(text.trim_end(), &mut secret).ok_or_else(|| IdentityError::Damaged { path: path.to_owned() })?;
    Ok(SigningKey::from_bytes(&secret))
}

fn create(folder: &Path, path: &Path) -> Result<SigningKey, IdentityError> {
    let failed = |action| move |source| IdentityError::File { action, path: path.to_owned(), source };
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed("make the folder of"))?;
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).map_err(|e| IdentityError::Random(io::Error::other(e)))?;
    // Written beside and linked into place: the name appears only with the whole content, and never replaces a key.
    let draft = folder.join(format!("{KEY_FILE}.{}", std::process::id()));
    let written = write_durably(&draft, &secret).and_then(|()| fs::hard_link(&draft, path));
    // The draft holds the secret too; that it is gone matters more than whether the link stood.
    let removed = fs::remove_file(&draft);
    match written {
        Ok(()) => {}
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
        Err(e) => return Err(failed("write")(e)),
    }
    removed.map_err(failed("clean up after"))?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed("make durable"))?;
    // Whoever linked first wins, and both sign alike.
    load(path)
}

fn write_durably(path: &Path, secret: &[u8; 32]) -> io::Result<()> {
    match fs::remove_file(path) {
        // Left by a process of the same number that died here.
        Ok(()) => {}
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(e),
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    writeln!(file, "{}", Hex(secret))?;
    file.sync_all()
}

/// What `fettle-agent identity` prints: the key's id and its public half.
pub fn describe(key: &SigningKey) -> String {
    let public = key.verifying_key();
    format!("key id      {}\npublic key  {}\n", key_id(&public), Hex(public.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_made_once_and_only_its_owner_can_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("new/store");
        let first = load_or_create(&store).unwrap();
        let second = load_or_create(&store).unwrap();
        assert_eq!(first.to_bytes(), second.to_bytes());
        let mode = fs::metadata(store.join(KEY_FILE)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
        assert_eq!(fs::read_dir(&store).unwrap().count(), 1, "no draft is left");
    }

    #[test]
    fn a_key_that_everybody_can_read_is_refused_with_the_remedy() {
        let folder = tempfile::tempdir().unwrap();
        load_or_create(folder.path()).unwrap();
        let path = folder.path().join(KEY_FILE);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let error = load_or_create(folder.path()).unwrap_err().to_string();
        assert!(error.contains("0644") && error.contains("chmod 600"), "{error}");
    }

    #[test]
    fn a_damaged_key_is_refused_and_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(KEY_FILE);
        fs::write(&path, "12").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(matches!(load_or_create(folder.path()), Err(IdentityError::Damaged { .. })));
        assert_eq!(fs::read_to_string(&path).unwrap(), "12");
    }

    #[test]
    fn what_is_shown_is_public() {
        let key = SigningKey::from_bytes(&[7; 32]);
        let shown = describe(&key);
        assert!(shown.contains(&key_id(&key.verifying_key())));
        assert!(!shown.contains(&Hex(&[7; 32]).to_string()));
    }
}
