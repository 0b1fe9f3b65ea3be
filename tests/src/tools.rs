//! What the testbed needs from outside, and the one way of saying that it is missing.
//!
//! On a plain `cargo test` a scenario whose tool is missing says `SKIPPED` aloud, past the test runner's capture, and
//! returns. Under `cargo verify`, which installs the tools first, the same is a failure.

use std::io::Write;
use std::path::{Path, PathBuf};

use crate::{browser, kafka_install};

/// Something that scenarios start and that is not ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    /// The MQTT broker.
    Mosquitto,
    /// `mosquitto_pub` and `mosquitto_sub`.
    MosquittoClients,
    /// Apache Kafka, which needs Java, and Maven to fetch it.
    Kafka,
    /// The independent Kafka client.
    Kcat,
    /// The browser.
    Chromium,
    /// `openssl`, which makes certificates.
    Openssl,
    /// The independent HTTPS client.
    Curl,
}

impl Tool {
    /// The name in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mosquitto => "mosquitto",
            Self::MosquittoClients => "mosquitto_pub",
            Self::Kafka => "Apache Kafka",
            Self::Kcat => "kcat",
            Self::Chromium => "Chromium",
            Self::Openssl => "openssl",
            Self::Curl => "curl",
        }
    }

    /// The command that provides it on Debian.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::Mosquitto => "apt-get install mosquitto",
            Self::MosquittoClients => "apt-get install mosquitto-clients",
            Self::Kafka => "apt-get install default-jre-headless maven",
            Self::Kcat => "apt-get install kcat",
            Self::Chromium => "apt-get install chromium",
            Self::Openssl => "apt-get install openssl",
            Self::Curl => "apt-get install curl",
        }
    }

    /// Makes sure that it is there; for Kafka this fetches it once. The error says what is missing.
    pub fn find(self) -> Result<(), String> {
        let program = match self {
            Self::Mosquitto => "mosquitto",
            Self::MosquittoClients => "mosquitto_pub",
            Self::Kcat => "kcat",
            Self::Openssl => "openssl",
            Self::Curl => "curl",
            Self::Kafka => return kafka_install::libraries().map(|_| ()),
            Self::Chromium => return browser::find(),
        };
        program_path(program).map(|_| ()).ok_or_else(|| format!("{program} is not installed"))
    }
}

/// The path of a program; also looks where Debian puts daemons, which is not in every user's `PATH`.
pub fn program_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from));
    folders.map(|folder| folder.join(program)).find(|candidate| is_executable(candidate))
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

/// The path of a program that [`require`] has found.
pub(crate) fn program(program: &str) -> PathBuf {
    program_path(program).unwrap_or_else(|| panic!("{program} is not installed; call require() first"))
}

/// Whether `cargo verify` runs this: nothing may be skipped.
pub fn verifying() -> bool {
    std::env::var_os("FETTLE_VERIFY").is_some_and(|value| value == "1")
}

/// Whether the full counts were asked for (`cargo verify --long`).
pub fn long() -> bool {
    std::env::var_os("FETTLE_TESTBED_LONG").is_some_and(|value| value == "1")
}

/// Whether every tool is there. If not: panics under `cargo verify`, else says `SKIPPED` with the remedy and returns
/// `false`, upon which the test returns.
#[must_use]
pub fn require(tools: &[Tool]) -> bool {
    for tool in tools {
        if let Err(missing) = tool.find() {
            skip(tool.name(), &missing, tool.remedy());
            return false;
        }
    }
    true
}

/// Says aloud that the running test is skipped for want of `what`; panics under `cargo verify`, which allows no such skip.
pub fn skip(what: &str, missing: &str, remedy: &str) {
    let test = test_name();
    assert!(!verifying(), "{test} needs {what}: {missing}; remedy: {remedy}");
    // Not eprintln: the test runner would keep that to itself.
    let _ = writeln!(std::io::stderr(), "SKIPPED: {test} needs {what} ({missing}); {remedy}");
}

/// The running test: its thread's name, or with one test thread the executable's.
pub fn test_name() -> String {
    match std::thread::current().name() {
        Some(name) if name != "main" => name.to_owned(),
        _ => std::env::args()
            .next()
            .and_then(|a| Path::new(&a).file_name().map(|n| n.to_string_lossy().into_owned()))
            .unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_does_not_exist_is_not_found() {
        assert_eq!(program_path("no-such-program-anywhere"), None);
        assert!(program_path("sh").is_some());
    }
}
