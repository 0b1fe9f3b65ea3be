//! Lives from the files that agents export (`fettle-agent lives export`), as training takes them.
//!
//! Place in the flow: files -> [`read`] -> [`crate::fit::train`]. Lives of one class that ended in a failure, of the same
//! length of step; channels are those that every one of them has, in the same unit. What is left out is counted with its
//! reason.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use fettle_models::Role;
use fettle_models::life::file::{FileError, LifeEnd, LifeFile, RecordedLife};
use thiserror::Error;

use crate::life::{Inputs, Life, Step};

/// Steps below which a life tells nothing.
const LEAST_STEPS: usize = 20;

/// Why there are no lives to train on.
#[derive(Debug, Error)]
pub enum LivesError {
    /// A file that cannot be read.
    #[error("cannot read {path}: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file that is no such file.
    #[error("{path}: {source}; it is written by fettle-agent lives export")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: FileError,
    },
    /// Steps of different length.
    #[error("lives have steps of {0} s and of {1} s; give those of one length (engine.rul_step of the agents)")]
    Steps(f64, f64),
    /// No channel that all lives have.
    #[error("no channel is in all {0} lives with the same unit")]
    NoChannel(usize),
    /// Nothing is left.
    #[error("no life of class {class} ended in a failure; {left_out}")]
    None {
        /// The class.
        class: String,
        /// What there was instead.
        left_out: LeftOut,
    },
}

/// Lives that were left out, by reason.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeftOut(pub BTreeMap<&'static str, usize>);

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none left out");
        }
        let parts: Vec<String> = self.0.iter().map(|(reason, n)| format!("{n} {reason}")).collect();
        write!(f, "left out: {}", parts.join(", "))
    }
}

/// What training takes.
#[derive(Debug)]
pub struct Lives {
    /// The lives, each to its failure.
    pub lives: Vec<Life>,
    /// What their steps hold.
    pub inputs: Inputs,
    /// What was left out.
    pub left_out: LeftOut,
}

/// Reads all failures of machines of `class` from `files`.
///
/// # Errors
/// [`LivesError`].
pub fn read(files: &[PathBuf], class: &str) -> Result<Lives, LivesError> {
    let mut recorded: Vec<(String, RecordedLife)> = Vec::new();
    let mut left_out = LeftOut::default();
    for path in files {
        let file = read_file(path)?;
        for mut life in file.lives {
            life.cut();
            let reason = match &life.ended {
                _ if life.class.as_deref() != Some(class) => "of another class",
                None => "still going on",
                Some(ended) if ended.how != LifeEnd::Failed => "ended otherwise than by a failure",
                Some(_) if life.ends.len() < LEAST_STEPS => "shorter than 20 steps",
                Some(_) => {
                    recorded.push((format!("{}/{}/{}", file.site, life.asset, life.life), life));
                    continue;
                }
            };
            *left_out.0.entry(reason).or_default() += 1;
        }
    }
    let Some((_, first)) = recorded.first() else {
        return Err(LivesError::None { class: class.to_owned(), left_out });
    };
    let length = first.length;
    if let Some((_, other)) = recorded.iter().find(|(_, life)| life.length != length) {
        return Err(LivesError::Steps(length as f64 * 1e-6, other.length as f64 * 1e-6));
    }
    let [settings, channels] = [true, false].map(|operating| common(&recorded, operating));
    if channels.is_empty() {
        return Err(LivesError::NoChannel(recorded.len()));
    }
    let lives = recorded.iter().map(|(unit, life)| as_life(unit, life, &settings, &channels)).collect();
    let step_seconds = length as f64 * 1e-6;
    Ok(Lives { lives, inputs: Inputs { settings, channels, time_unit: "step".into(), step_seconds }, left_out })
}

fn read_file(path: &Path) -> Result<LifeFile, LivesError> {
    let bytes = std::fs::read(path).map_err(|source| LivesError::Unreadable { path: path.to_owned(), source })?;
    LifeFile::decode(&bytes).map_err(|source| LivesError::Malformed { path: path.to_owned(), source })
}

/// Names and units of the channels that every life has, operating ones or the others.
fn common(recorded: &[(String, RecordedLife)], operating: bool) -> Vec<(String, String)> {
    let has = |life: &RecordedLife, name: &str, unit: &str| {
        life.channels.iter().any(|c| c.name.as_str() == name && c.unit == unit)
    };
    let Some((_, first)) = recorded.first() else { return Vec::new() };
    let of_kind = first.channels.iter().filter(|c| (c.role == Some(Role::Operating)) == operating);
    let named = of_kind.map(|c| (c.name.to_string(), c.unit.clone()));
    let mut all: Vec<_> = named.filter(|(name, unit)| recorded.iter().all(|(_, life)| has(life, name, unit))).collect();
    all.sort();
    all
}

fn as_life(unit: &str, life: &RecordedLife, settings: &[(String, String)], channels: &[(String, String)]) -> Life {
    let columns = |wanted: &[(String, String)]| {
        let place = |(name, _): &(String, String)| life.channels.iter().position(|c| c.name.as_str() == name);
        let column = |at: usize| life.columns[at].values().map(|v| v.map(f64::from)).collect::<Vec<_>>();
        wanted.iter().filter_map(place).map(column).collect::<Vec<_>>()
    };
    let (settings, values) = (columns(settings), columns(channels));
    let row = |columns: &[Vec<Option<f64>>], i: usize| columns.iter().map(|c| c[i]).collect();
    let step =
        |(i, index): (usize, &u64)| Step { time: *index as f64, settings: row(&settings, i), values: row(&values, i) };
    Life { unit: unit.to_owned(), steps: life.indices.iter().enumerate().map(step).collect() }
}
