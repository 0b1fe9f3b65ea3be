//! Our own programs under test, of the same profile as the running test.
//!
//! `cargo verify` has built them before. A plain `cargo test` may not have, or may have built only the tests since the
//! sources changed; then they are built here, by cargo, once.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::SystemTime;

use crate::folder::{profile_folder, repository};
use crate::tools::verifying;

/// One of our programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binary {
    /// `fettle-agent`.
    Agent,
    /// `fettle-gateway`.
    Gateway,
    /// `fettle-sim`.
    Sim,
}

impl Binary {
    /// Its name, which is its package's name too.
    pub fn name(self) -> &'static str {
        match self {
            Self::Agent => "fettle-agent",
            Self::Gateway => "fettle-gateway",
            Self::Sim => "fettle-sim",
        }
    }

    /// The folders whose sources go into it.
    fn sources(self) -> &'static [&'static str] {
        match self {
            Self::Agent => &["wire", "models", "agent"],
            Self::Gateway => &["wire", "models", "gateway"],
            Self::Sim => &["wire", "firmware-sim"],
        }
    }

    /// Its path, built if it is absent or older than its sources.
    pub fn path(self) -> PathBuf {
        static BUILDING: Mutex<()> = Mutex::new(());
        let profile = profile_folder();
        let path = profile.join(self.name());
        if verifying() {
            assert!(path.exists(), "{} is not there although verify builds it first", path.display());
            return path;
        }
        let _one_at_a_time = BUILDING.lock();
        if self.is_stale(&path) {
            build(&profile);
        }
        path
    }

    fn is_stale(self, path: &Path) -> bool {
        let built = path.metadata().and_then(|m| m.modified());
        let newest = self.sources().iter().filter_map(|folder| newest_source(&repository().join(folder))).max();
        match (built, newest) {
            (Ok(built), Some(newest)) => built < newest,
            _ => true,
        }
    }
}

/// Builds all of them by one command: alone, each would be built with other features of shared dependencies, and those
/// anew for each.
fn build(profile: &Path) {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let folder = profile.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    // The folder of the profile `dev` is called `debug`; every other profile's is called as the profile.
    let profile_name = if folder == "debug" { "dev" } else { &folder };
    let packages = [Binary::Agent, Binary::Gateway, Binary::Sim].map(Binary::name);
    let output = Command::new(cargo)
        .args(["build", "--profile", profile_name])
        .args(packages.iter().flat_map(|package| ["--package", package]))
        .arg("--target-dir")
        .arg(profile.parent().unwrap_or(profile))
        .current_dir(repository())
        .stdin(Stdio::null())
        .output()
        .expect("cargo runs this test, so it can be started");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the programs under test cannot be built:\n{text}");
}

fn newest_source(folder: &Path) -> Option<SystemTime> {
    let entries = std::fs::read_dir(folder).ok()?;
    let newest = |path: PathBuf| {
        // The dashboard's files are part of the gateway's program.
        let is_source =
            path.extension().is_some_and(|e| ["rs", "toml", "js", "css", "html", "svg"].iter().any(|s| e == *s));
        let skip = ["tests", "benches", "testdata"].iter().any(|name| path.ends_with(name));
        match (path.is_dir(), is_source, skip) {
            (_, _, true) => None,
            (true, ..) => newest_source(&path),
            (false, true, _) => path.metadata().and_then(|m| m.modified()).ok(),
            _ => None,
        }
    };
    entries.flatten().filter_map(|entry| newest(entry.path())).max()
}
