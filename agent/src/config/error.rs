//! What can be wrong with a configuration, and how it is said: one line a problem, with the place, the key, the value,
//! the rule it breaks and what to write instead.
//!
//! Every problem of a file is reported at once; whoever repairs a configuration on a machine far away must not learn of
//! the second mistake after a second restart. Values of keys that may hold a secret are never shown.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// One broken rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// File name as given on the command line or by the configuration.
    pub file: String,
    /// Line in that file, from 1; absent where something is missing from the whole file.
    pub line: Option<usize>,
    /// Dotted path of the key, e.g. `mqtt.port` or `assets.pump-1.channels.vib.unit`.
    pub key: String,
    /// The value as typed, shortened; `(absent)` if there is none.
    pub value: String,
    /// What must hold.
    pub rule: String,
    /// What to do.
    pub remedy: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, key, value, rule, remedy, .. } = self;
        match self.line {
            Some(line) => write!(f, "{file}:{line}: ")?,
            None => write!(f, "{file}: ")?,
        }
        write!(f, "{key} = {value}: {rule}; {remedy}")
    }
}

/// Why there is no configuration. Trying again helps only after the file was changed.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {file}; check the path and its permissions")]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// At least one rule is broken.
    #[error("{}", list(.0))]
    Problems(Vec<Problem>),
}

impl ConfigError {
    /// Every problem, empty if the file could not even be read.
    pub fn problems(&self) -> &[Problem] {
        match self {
            Self::Unreadable { .. } => &[],
            Self::Problems(problems) => problems,
        }
    }
}

fn list(problems: &[Problem]) -> String {
    let mut text = match problems.len() {
        1 => "the configuration has 1 problem".to_owned(),
        n => format!("the configuration has {n} problems"),
    };
    for problem in problems {
        text.push_str("\n  ");
        text.push_str(&problem.to_string());
    }
    text
}
