//! Another store in the place of this one: a backup that is restored, a store of an older version that is migrated.
//!
//! Both are copy and rename, and one mechanism:
//! ```text
//!   staging/data.mdb --rename--> next/data.mdb        complete and on disk; what comes before may break off anywhere
//!   data.mdb --rename--> data.mdb.replaced
//!   next/data.mdb --rename--> data.mdb
//! ```
//! - P1: until `next` stands, the store is untouched and a leftover `staging` is worth nothing; from then on the
//!   replacement happens, if not now then whenever the store is next opened to be written ([`finish`]).
//! - P2: at every instant one of `data.mdb` and `next/data.mdb` is a whole store.
//! - P3: what was replaced is kept as `data.mdb.replaced` until the next replacement.
//!
//! Must never change a store in place: a copy that fails half-way, for want of room or because a record is damaged,
//! leaves everything as it was.

use std::fs::{File, Permissions};
use std::ops::ControlFlow;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::lmdb::{Access, Lmdb, OpenError};
use super::store::{Store, Write};
use super::{Damage, FORMAT_KEY, Format, STORE_VERSION, open, seal, snapshot};

/// The store's file in its folder.
pub(super) const DATA: &str = "data.mdb";
/// What the last replacement put aside.
const REPLACED: &str = "data.mdb.replaced";
/// A copy under way.
const STAGING: &str = "staging";
/// A complete copy that takes the store's place.
const NEXT: &str = "next";
/// Bytes of records copied in one transaction.
const PORTION: usize = 4 << 20;

/// What each version made of a record of the version before; `STEPS[v - 1]` makes version `v + 1` of version `v`.
type Step = fn(&[u8], &[u8]) -> Result<Vec<u8>, Damage>;
const STEPS: [Step; STORE_VERSION as usize - 1] = [pack];

/// Version 1 kept every payload as it was; version 2 packs what gets smaller by it.
fn pack(key: &[u8], value: &[u8]) -> Result<Vec<u8>, Damage> {
    Ok(seal(key, &open(key, value)?))
}

/// Stages a backup to replace the store in `folder`, with a new incarnation: its sequences go back, so the fleet gateway
/// must count it anew. The replacement happens when the store is next opened by its agent.
pub fn stage_backup(file: &Path, folder: &Path, max_bytes: u64, incarnation: u64) -> Result<(), OpenError> {
    if !file.is_file() {
        return Err(OpenError::NoBackup(file.to_owned()));
    }
    let staging = begin(folder)?;
    let copy = staging.join(DATA);
    std::fs::copy(file, &copy).map_err(io("cannot copy", file))?;
    private(&copy)?;
    // A file of another kind or of a newer version ends here. The backup of an older version is migrated like a store.
    Lmdb::open(&staging, max_bytes, Access::Read).map_err(|error| unusable(file, error))?;
    let mut store = Lmdb::open(&staging, max_bytes, Access::Write).map_err(|error| unusable(file, error))?;
    let format = Format { version: STORE_VERSION, incarnation };
    store.commit(&[Write::Put(FORMAT_KEY.to_vec(), seal(FORMAT_KEY, &snapshot::encode(&format)))])?;
    drop(store);
    let _ = std::fs::remove_file(staging.join(REPLACED));
    ready(folder)
}

fn unusable(file: &Path, error: OpenError) -> OpenError {
    OpenError::NotABackup { file: file.to_owned(), source: Box::new(error) }
}

/// Stages a copy of the store in `folder`, which has the older version `from`, as this build's version.
pub(super) fn stage_migration(old: &Lmdb, folder: &Path, max_bytes: u64, from: u32) -> Result<(), OpenError> {
    let staging = begin(folder)?;
    let mut new = Lmdb::open(&staging, max_bytes, Access::Write)?;
    let mut after = vec![0];
    loop {
        let portion = portion(old, &after, from)?;
        let Some(Write::Put(last, _)) = portion.last() else { break };
        after = [last.as_slice(), &[0]].concat();
        new.commit(&portion)?;
    }
    let format = Format { version: STORE_VERSION, incarnation: old.format().incarnation };
    new.commit(&[Write::Put(FORMAT_KEY.to_vec(), seal(FORMAT_KEY, &snapshot::encode(&format)))])?;
    drop(new);
    ready(folder)
}

/// The next records from key `after` on, as this build writes them.
fn portion(old: &Lmdb, after: &[u8], from: u32) -> Result<Vec<Write>, OpenError> {
    let (mut writes, mut bytes, mut failed) = (Vec::new(), 0, None);
    old.scan(after, &[u8::MAX; 16], &mut |key, value| {
        let mut value = value.to_vec();
        for step in &STEPS[from as usize - 1..] {
            match step(key, &value) {
                Ok(stepped) => value = stepped,
                Err(damage) => {
                    failed = Some(damage);
                    return ControlFlow::Break(());
                }
            }
        }
        bytes += key.len() + value.len();
        writes.push(Write::Put(key.to_vec(), value));
        if bytes < PORTION { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    failed.map_or(Ok(writes), |damage| Err(damage.into()))
}

/// Whether a replacement waits for the store in `folder` to be opened.
pub fn waits(folder: &Path) -> bool {
    folder.join(NEXT).exists()
}

/// Carries out or completes a replacement that is ready (P1, P2). The caller holds the store's lock.
pub(super) fn finish(folder: &Path) -> Result<bool, OpenError> {
    let (next, data) = (folder.join(NEXT), folder.join(DATA));
    if !next.exists() {
        return Ok(false);
    }
    let copy = next.join(DATA);
    if copy.exists() {
        if data.exists() {
            std::fs::rename(&data, folder.join(REPLACED)).map_err(io("cannot rename", &data))?;
        }
        // The readers' table belongs to the file that went.
        let _ = std::fs::remove_file(folder.join("lock.mdb"));
        std::fs::rename(&copy, &data).map_err(io("cannot rename to", &data))?;
        sync_folder(folder)?;
    }
    std::fs::remove_dir_all(&next).map_err(io("cannot remove", &next))?;
    sync_folder(folder)?;
    Ok(true)
}

/// An empty `staging`; whatever an attempt that broke off left there is worth nothing.
fn begin(folder: &Path) -> Result<PathBuf, OpenError> {
    let staging = folder.join(STAGING);
    if staging.exists() {
        std::fs::remove_dir_all(&staging).map_err(io("cannot remove", &staging))?;
    }
    std::fs::create_dir_all(&staging).map_err(io("cannot make folder", &staging))?;
    Ok(staging)
}

/// Declares `staging` complete.
fn ready(folder: &Path) -> Result<(), OpenError> {
    let (staging, next) = (folder.join(STAGING), folder.join(NEXT));
    sync_folder(&staging)?;
    if next.exists() {
        std::fs::remove_dir_all(&next).map_err(io("cannot remove", &next))?;
    }
    std::fs::rename(&staging, &next).map_err(io("cannot rename to", &next))?;
    sync_folder(folder)
}

/// What a plant's machines do is nobody else's business: readable by the agent's user alone.
pub(super) fn private(file: &Path) -> Result<(), OpenError> {
    std::fs::set_permissions(file, Permissions::from_mode(0o600)).map_err(io("cannot protect", file))
}

fn sync_folder(folder: &Path) -> Result<(), OpenError> {
    File::open(folder).and_then(|f| f.sync_all()).map_err(io("cannot sync folder", folder))
}

pub(super) fn io(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> OpenError {
    let path = path.to_owned();
    move |source| OpenError::Io { what, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAP: u64 = 1 << 24;

    fn written(folder: &Path, pairs: &[(&[u8], &[u8])]) -> Lmdb {
        let mut store = Lmdb::open(folder, MAP, Access::Write).unwrap();
        let put = |(key, payload): &(&[u8], &[u8])| Write::Put(key.to_vec(), seal(key, payload));
        store.commit(&pairs.iter().map(put).collect::<Vec<_>>()).unwrap();
        store
    }

    /// Every record but the format's, opened.
    fn records(store: &Lmdb) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut found = Vec::new();
        store
            .scan(&[0], &[u8::MAX; 16], &mut |key, value| {
                if key != FORMAT_KEY {
                    found.push((key.to_vec(), open(key, value).unwrap().into_owned()));
                }
                ControlFlow::Continue(())
            })
            .unwrap();
        found
    }

    /// As version 1 sealed: checksum, format byte 1, the payload as it is.
    fn sealed_by_version_1(key: &[u8], payload: &[u8]) -> Vec<u8> {
        let body = [&[1], payload].concat();
        [&crc32c::crc32c_append(crc32c::crc32c(key), &body).to_le_bytes()[..], &body].concat()
    }

    /// A store as version 1 wrote it.
    fn version_1(folder: &Path, pairs: &[(Vec<u8>, Vec<u8>)]) -> u64 {
        let mut store = Lmdb::open(folder, MAP, Access::Write).unwrap();
        let incarnation = store.format().incarnation;
        let format = snapshot::encode(&Format { version: 1, incarnation });
        let pairs = pairs.iter().map(|(key, payload)| (key.as_slice(), payload.as_slice()));
        for (key, payload) in pairs.chain([(FORMAT_KEY, format.as_slice())]) {
            store.commit(&[Write::Put(key.to_vec(), sealed_by_version_1(key, payload))]).unwrap();
        }
        incarnation
    }

    fn repeated() -> Vec<(Vec<u8>, Vec<u8>)> {
        (0..50u64).map(|n| ([&b"z"[..], &n.to_be_bytes()].concat(), b"temperature, ".repeat(20_000))).collect()
    }

    #[test]
    fn a_store_of_version_1_is_migrated_with_every_record_and_its_incarnation_and_the_old_one_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        // More than one portion of a transaction.
        let pairs = repeated();
        let incarnation = version_1(folder.path(), &pairs);
        let store = Lmdb::open(folder.path(), MAP, Access::Write).unwrap();
        assert_eq!((store.format().version, store.format().incarnation), (STORE_VERSION, incarnation));
        assert_eq!(records(&store), pairs);
        assert!(store.get(&pairs[7].0).unwrap().unwrap().len() < 10_000, "packed");
        assert!(folder.path().join(REPLACED).exists() && !waits(folder.path()));
        drop(store);
        std::fs::rename(folder.path().join(REPLACED), folder.path().join(DATA)).unwrap();
        assert_eq!(Lmdb::open(folder.path(), MAP, Access::Read).unwrap().format().version, 1);
    }

    #[test]
    fn a_migration_that_broke_off_anywhere_is_done_again_or_completed_p1_p2() {
        let folder = tempfile::tempdir().unwrap();
        let (path, pairs) = (folder.path(), repeated());
        version_1(path, &pairs);
        let old = Lmdb::open_as_it_is(path, MAP, Access::Write).unwrap();
        // Broken off while copying: only a staging folder, with something in it.
        std::fs::create_dir(path.join(STAGING)).unwrap();
        std::fs::write(path.join(STAGING).join(DATA), b"half").unwrap();
        stage_migration(&old, path, MAP, 1).unwrap();
        drop(old);
        // Broken off between the two renames: no data.mdb.
        std::fs::rename(path.join(DATA), path.join(REPLACED)).unwrap();
        let store = Lmdb::open(path, MAP, Access::Write).unwrap();
        assert_eq!((store.format().version, records(&store)), (STORE_VERSION, pairs));
        drop(store);
        // Broken off before the empty folder was removed.
        std::fs::create_dir(path.join(NEXT)).unwrap();
        drop(Lmdb::open(path, MAP, Access::Write).unwrap());
        assert!(!waits(path));
    }

    #[test]
    fn a_damaged_record_stops_a_migration_and_leaves_the_store_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        version_1(folder.path(), &repeated());
        let mut old = Lmdb::open_as_it_is(folder.path(), MAP, Access::Write).unwrap();
        old.commit(&[Write::Put(b"sdamaged".to_vec(), vec![0; 20])]).unwrap();
        drop(old);
        let error = Lmdb::open(folder.path(), MAP, Access::Write).unwrap_err();
        assert!(error.to_string().contains("record sdamaged is damaged"), "{error}");
        assert_eq!(Lmdb::open(folder.path(), MAP, Access::Read).unwrap().format().version, 1);
    }

    #[test]
    fn a_backup_of_a_store_in_use_takes_its_place_at_the_next_opening_with_a_new_incarnation() {
        let folder = tempfile::tempdir().unwrap();
        let mut used = written(folder.path(), &[(b"sa", b"1")]);
        let file = folder.path().join("copy.fettle");
        used.backup(&file).unwrap();
        assert!(matches!(used.backup(&file), Err(OpenError::Exists(_))));
        used.commit(&[Write::Put(b"sb".to_vec(), seal(b"sb", b"2"))]).unwrap();
        stage_backup(&file, folder.path(), MAP, 7).unwrap();
        assert!(waits(folder.path()));
        assert_eq!(records(&used).len(), 2, "nothing changes under a running agent");
        drop(used);
        let restored = Lmdb::open(folder.path(), MAP, Access::Write).unwrap();
        assert_eq!(restored.format().incarnation, 7);
        assert_eq!(records(&restored), [(b"sa".to_vec(), b"1".to_vec())]);
        assert!(folder.path().join(REPLACED).exists() && !waits(folder.path()));
    }

    #[test]
    fn a_backup_of_an_older_version_is_restored_as_this_one() {
        let folder = tempfile::tempdir().unwrap();
        let (old, new) = (folder.path().join("old"), folder.path().join("new"));
        version_1(&old, &repeated());
        stage_backup(&old.join(DATA), &new, MAP, 9).unwrap();
        let restored = Lmdb::open(&new, MAP, Access::Write).unwrap();
        assert_eq!((restored.format().version, restored.format().incarnation), (STORE_VERSION, 9));
        assert_eq!(records(&restored), repeated());
    }

    #[test]
    fn what_is_no_backup_is_refused_by_name_and_the_store_stays() {
        let folder = tempfile::tempdir().unwrap();
        let store = written(folder.path(), &[(b"sa", b"1")]);
        let absent = stage_backup(&folder.path().join("absent"), folder.path(), MAP, 1).unwrap_err();
        assert!(matches!(absent, OpenError::NoBackup(_)), "{absent}");
        let text = folder.path().join("notes.txt");
        std::fs::write(&text, "not a store ".repeat(1000)).unwrap();
        let error = stage_backup(&text, folder.path(), MAP, 1).unwrap_err();
        assert!(error.to_string().contains("notes.txt cannot be restored"), "{error}");
        assert!(!waits(folder.path()));
        assert_eq!(records(&store).len(), 1);
    }
}
