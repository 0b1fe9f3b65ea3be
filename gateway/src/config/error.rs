//! What can be wrong with a configuration, said so that a person can put it right.

use std::fmt;
use std::path::PathBuf;

/// One thing wrong with one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The key, with its tables: `kafka.brokers`.
    pub key: String,
    /// The rule it breaks.
    pub rule: String,
    /// What is there, as typed; "nothing" where it is absent.
    pub value: String,
    /// What to do.
    pub remedy: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, rule, value, remedy } = self;
        write!(f, "{key}: {rule}\n    found:  {value}\n    remedy: {remedy}")
    }
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {path}: {source}; give the path of a readable TOML file with --config")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Everything that is wrong with it, at once.
    #[error("{} is wrong with the configuration:\n{}", count(.0.len()), list(.0))]
    Problems(Vec<Problem>),
}

fn count(problems: usize) -> String {
    if problems == 1 { "1 thing".into() } else { format!("{problems} things") }
}

fn list(problems: &[Problem]) -> String {
    problems.iter().map(|p| format!("  {p}")).collect::<Vec<_>>().join("\n")
}
