//! The lives recorded for learning, for `fettle-agent lives`: a list, or a file that a training tool reads.
//!
//! Reads the store beside a running agent and changes nothing in it. The file's form is
//! [`fettle_models::life::file`]'s; it appears whole or not at all.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;

use fettle_models::life::file::FileError;
use fettle_wire::Name;
use fettle_wire::time::Rfc3339;
use serde::Serialize;

use super::table::thousands;
use crate::core::lives::stored::{self, Listed};
use crate::journal::store::{Store, StoreError};

/// Why lives were not exported.
#[derive(Debug, thiserror::Error)]
pub enum LivesError {
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What was recorded has no form in the file.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file cannot be written.
    #[error("cannot write {path}")]
    Write {
        /// The path.
        path: String,
        /// Why.
        source: io::Error,
    },
}

/// One line of `--json`.
#[derive(Serialize)]
struct Line<'a> {
    asset: &'a str,
    class: Option<&'a str>,
    life: u64,
    began: Option<String>,
    ended: Option<String>,
    label: Option<&'a str>,
    late: bool,
    steps: usize,
    step_s: f64,
    channels: usize,
    maintenance: usize,
    bytes: u64,
}

impl<'a> Line<'a> {
    fn of(listed: &'a Listed) -> Self {
        let life = &listed.life;
        let ended = life.ended.as_ref();
        Self {
            asset: &life.asset,
            class: life.class.as_deref(),
            life: life.life,
            began: life.began.map(|at| Rfc3339(at).to_string()),
            ended: ended.map(|e| Rfc3339(e.at).to_string()),
            label: ended.map(|e| e.how.as_str()),
            late: ended.is_some_and(|e| e.late),
            steps: life.ends.len(),
            step_s: life.length as f64 * 1e-6,
            channels: life.channels.len(),
            maintenance: life.maintenance.len(),
            bytes: listed.bytes,
        }
    }
}

/// A list in the order in which they began to be recorded: one line each, for people or as JSON.
pub fn list(store: &dyn Store, json: bool) -> Result<String, StoreError> {
    let (lives, damaged) = stored::all(store)?;
    let mut text = String::new();
    for listed in &lives {
        let line = Line::of(listed);
        // Writing to a String cannot fail. Invariant: texts and finite numbers; JSON holds them all.
        let _ = if json {
            writeln!(text, "{}", serde_json::to_string(&line).unwrap_or_default())
        } else {
            let began = line.began.as_deref().unwrap_or("(not known)");
            let ended = match (&line.ended, line.label) {
                (Some(at), Some(label)) => format!("{label} {at}{}", if line.late { " (told late)" } else { "" }),
                _ => "goes on".to_owned(),
            };
            let Line { asset, life, steps, step_s, channels, bytes, .. } = line;
            let (steps, bytes) = (thousands(steps as u64), thousands(bytes));
            writeln!(
                text,
                "{asset} {life}  began {began}, {ended}; {steps} steps of {step_s} s, {channels} channels, {bytes} bytes"
            )
        };
    }
    if text.is_empty() && !json {
        text.push_str("no life is recorded\n");
    }
    if damaged > 0 && !json {
        let _ = writeln!(text, "{damaged} parts cannot be read: their records are damaged");
    }
    Ok(text)
}

/// Writes every life with steps to `path`; what it holds, in words.
pub fn export(store: &dyn Store, site: &Name, agent: &Name, path: &Path) -> Result<String, LivesError> {
    let (lives, damaged) = stored::all(store)?;
    let file = stored::file(site, agent, lives);
    let bytes = file.encode()?;
    let write = |source| LivesError::Write { path: path.display().to_string(), source };
    let part = path.with_extension("part");
    fs::write(&part, bytes).and_then(|()| fs::rename(&part, path)).map_err(write)?;
    let steps: usize = file.lives.iter().map(|l| l.ends.len()).sum();
    let ended = file.lives.iter().filter(|l| l.ended.is_some()).count();
    let mut text = format!(
        "{} lives, {ended} of them ended, {} steps",
        thousands(file.lives.len() as u64),
        thousands(steps as u64)
    );
    if damaged > 0 {
        let _ = write!(text, ", without {damaged} damaged parts,");
    }
    Ok(text)
}
