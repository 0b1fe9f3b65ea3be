//! Where the testbed keeps its files: below `target/fettle-testbed`, next to the binaries under test.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// The folder of the repository.
pub fn repository() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests).to_owned()
}

/// Cargo's folder of the profile that the running executable was built with, e.g. `target/debug`.
pub fn profile_folder() -> PathBuf {
    let executable = std::env::current_exe().expect("the system tells the path of the running executable");
    let mut folder = executable.parent().expect("an executable lies in a folder").to_owned();
    if folder.file_name().is_some_and(|name| name == "deps" || name == "examples") {
        folder.pop();
    }
    folder
}

/// The testbed's own folder, kept between runs.
pub fn testbed_folder() -> PathBuf {
    let profile = profile_folder();
    let folder = profile.parent().unwrap_or(&profile).join("fettle-testbed");
    fs::create_dir_all(&folder).unwrap_or_else(|e| panic!("cannot create {}: {e}", folder.display()));
    folder
}

/// A folder for one test; removed when dropped, kept when the test failed.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    kept: bool,
}

impl Folder {
    /// Creates an empty folder whose name begins with `name`.
    pub fn new(name: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = testbed_folder().join("run").join(format!("{name}-{}-{number}", std::process::id()));
        // A folder of that name can only be a left-over of an earlier process with the same number.
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap_or_else(|e| panic!("cannot create {}: {e}", path.display()));
        Self { path, kept: false }
    }

    /// A folder of that name with what it held before, never removed.
    pub fn kept(name: &str) -> Self {
        let path = testbed_folder().join(name);
        fs::create_dir_all(&path).unwrap_or_else(|e| panic!("cannot create {}: {e}", path.display()));
        Self { path, kept: true }
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A folder inside it, created.
    pub fn subfolder(&self, name: &str) -> PathBuf {
        let path = self.path.join(name);
        fs::create_dir_all(&path).unwrap_or_else(|e| panic!("cannot create {}: {e}", path.display()));
        path
    }

    /// Writes a file inside it and returns the path.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path.join(name);
        fs::write(&path, content).unwrap_or_else(|e| panic!("cannot write {}: {e}", path.display()));
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("kept for inspection: {}", self.path.display());
        } else if !self.kept {
            // What cannot be removed now is removed by the next `cargo verify`.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// Removes what tests that were themselves killed have left behind: folders whose process is gone.
pub fn remove_leftovers() {
    let Ok(entries) = fs::read_dir(testbed_folder().join("run")) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        let process = path.file_name().and_then(|n| n.to_str()).and_then(|name| name.rsplit('-').nth(1));
        if process.is_some_and(|id| !Path::new("/proc").join(id).exists()) {
            // A folder that stays costs only space.
            let _ = fs::remove_dir_all(&path);
        }
    }
}
