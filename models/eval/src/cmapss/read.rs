//! Reads the files. What cannot be used is counted with a reason and its first line; a file that is mostly such is refused.
//!
//! Rows may come late and twice: a life is put in order of its cycles, and of rows of one unit and cycle the first
//! stays. Units stand in order of their first row, whatever they are called, because that is the order of the truth file.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde::Serialize;
use thiserror::Error;

use crate::life::{Life, Step};

const SETTINGS: usize = 3;
const CHANNELS: usize = 21;
const COLUMNS: usize = 2 + SETTINGS + CHANNELS;
/// Share of unusable lines beyond which a file is refused.
const TOO_MANY: f64 = 0.05;
/// Bytes of a file beyond which it is none of these.
const MAX_BYTES: u64 = 1 << 30;

/// Why nothing can be read.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The folder cannot be listed.
    #[error("cannot list {path}: {source}; give the folder that holds train_FD001.txt and the like")]
    Folder {
        /// Which folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// There is nothing to train on.
    #[error("{path} holds no train_*.txt or train_*.txt.gz; give the folder that holds train_FD001.txt and the like")]
    NoSets {
        /// Which folder.
        path: PathBuf,
    },
    /// The set that was asked for is not there.
    #[error("there is no train_{wanted}.txt or .gz in {path}; it holds {found}")]
    NoSuchSet {
        /// What was asked for.
        wanted: String,
        /// Which folder.
        path: PathBuf,
        /// What there is.
        found: String,
    },
    /// A file cannot be read.
    #[error("cannot read {path}: {source}")]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file holds nothing that can be used.
    #[error("{path} holds no usable row{}", first.as_ref().map(|f| format!("; {f}")).unwrap_or_default())]
    Empty {
        /// Which file.
        path: PathBuf,
        /// The first line that could not be used.
        first: Option<String>,
    },
    /// Too many lines cannot be used.
    #[error("{path}: {bad} of {all} lines cannot be used, first {first}; repair or remove them")]
    TooManyBad {
        /// Which file.
        path: PathBuf,
        /// Lines that cannot be used.
        bad: usize,
        /// Lines that are not blank.
        all: usize,
        /// The first of them.
        first: String,
    },
}

/// What became of a file's lines: lines = used + duplicates + unusable.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Account {
    /// Lines that are not blank.
    pub lines: usize,
    /// Rows used.
    pub used: usize,
    /// Rows of a unit and cycle that was there already.
    pub duplicates: usize,
    /// Rows used though younger ones of their unit stood before them.
    pub out_of_order: usize,
    /// Cycles between a unit's first and last row without a row.
    pub gaps: usize,
    /// Lines that could not be used, by reason.
    pub unusable: BTreeMap<String, usize>,
    /// The first of them: line, reason.
    pub first_unusable: Option<String>,
}

/// The files of one set.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Files {
    /// Lives to failure.
    pub train: Option<PathBuf>,
    /// Lives that were cut.
    pub test: Option<PathBuf>,
    /// Remaining life after each test life's last row.
    pub truth: Option<PathBuf>,
}

/// The sets in a folder, by name.
///
/// # Errors
/// If the folder cannot be listed or holds nothing to train on.
pub fn sets(folder: &Path) -> Result<BTreeMap<String, Files>, ReadError> {
    let failed = |source| ReadError::Folder { path: folder.to_owned(), source };
    let mut sets = BTreeMap::<String, Files>::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let Some(name) = path.file_name().and_then(|n| n.to_str()) else { continue };
        let Some(stem) = name.strip_suffix(".gz").unwrap_or(name).strip_suffix(".txt") else { continue };
        let Some((kind, set)) = stem.split_once('_') else { continue };
        let place = |files: &mut Files, path: PathBuf| match kind {
            "train" => files.train = Some(path),
            "test" => files.test = Some(path),
            _ => files.truth = Some(path),
        };
        if ["train", "test", "RUL"].contains(&kind) {
            place(sets.entry(set.to_owned()).or_default(), path.clone());
        }
    }
    sets.retain(|_, files| files.train.is_some());
    if sets.is_empty() { Err(ReadError::NoSets { path: folder.to_owned() }) } else { Ok(sets) }
}

/// The lives of a train or test file.
///
/// # Errors
/// If the file cannot be read, or hardly any of it used.
pub fn lives(path: &Path) -> Result<(Vec<Life>, Account), ReadError> {
    let text = text(path)?;
    let mut account = Account::default();
    let mut lives: Vec<Life> = Vec::new();
    let mut places = HashMap::<String, usize>::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        account.lines += 1;
        match row(line) {
            Err(reason) => refuse(&mut account, number + 1, &reason),
            Ok((unit, step)) => {
                let place = *places.entry(unit.to_owned()).or_insert_with(|| {
                    lives.push(Life { unit: unit.to_owned(), steps: Vec::new() });
                    lives.len() - 1
                });
                lives[place].steps.push(step);
            }
        }
    }
    for life in &mut lives {
        order(life, &mut account);
    }
    judge(path, &account)?;
    Ok((lives, account))
}

/// Remaining life after the last row of each test life, in order.
///
/// # Errors
/// If the file cannot be read or a line is not a number.
pub fn truth(path: &Path) -> Result<Vec<f64>, ReadError> {
    let text = text(path)?;
    let mut account = Account::default();
    let mut values = Vec::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        account.lines += 1;
        match line.trim().parse::<f64>().ok().filter(|v| v.is_finite() && *v >= 0.0) {
            Some(value) => values.push(value),
            None => refuse(&mut account, number + 1, "not a remaining life"),
        }
    }
    account.used = values.len();
    // A line left out would shift all that follow it to other units.
    match account.first_unusable {
        Some(first) => Err(ReadError::TooManyBad {
            path: path.to_owned(),
            bad: account.lines - account.used,
            all: account.lines,
            first,
        }),
        None if values.is_empty() => Err(ReadError::Empty { path: path.to_owned(), first: None }),
        None => Ok(values),
    }
}

fn text(path: &Path) -> Result<String, ReadError> {
    let failed = |source| ReadError::File { path: path.to_owned(), source };
    let bytes = fs::read(path).map_err(failed)?;
    let bytes = if bytes.starts_with(&[0x1F, 0x8B]) {
        let mut plain = Vec::new();
        flate2::read::MultiGzDecoder::new(&bytes[..]).take(MAX_BYTES).read_to_end(&mut plain).map_err(failed)?;
        plain
    } else {
        bytes
    };
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn row(line: &str) -> Result<(&str, Step), String> {
    let mut columns = line.split([' ', '\t', ',', ';', '\r']).filter(|c| !c.is_empty());
    let count = columns.clone().count();
    if count != COLUMNS {
        return Err(format!("{count} columns instead of {COLUMNS}"));
    }
    let unit = columns.next().unwrap_or_default();
    let mut numbers = Vec::with_capacity(COLUMNS - 1);
    for column in columns {
        let number = column.parse::<f64>();
        numbers.push(number.map_err(|_| format!("column {} is not a number", numbers.len() + 2))?);
    }
    let time = numbers[0];
    if !time.is_finite() {
        return Err("the cycle is not a finite number".into());
    }
    let given = |n: &f64| Some(*n).filter(|n| n.is_finite());
    let settings = numbers[1..=SETTINGS].iter().map(given).collect();
    let values = numbers[1 + SETTINGS..].iter().map(given).collect();
    Ok((unit, Step { time, settings, values }))
}

fn refuse(account: &mut Account, line: usize, reason: &str) {
    *account.unusable.entry(reason.to_owned()).or_default() += 1;
    account.first_unusable.get_or_insert_with(|| format!("line {line}: {reason}"));
}

fn order(life: &mut Life, account: &mut Account) {
    let mut youngest = f64::NEG_INFINITY;
    for step in &life.steps {
        account.out_of_order += usize::from(step.time < youngest);
        youngest = youngest.max(step.time);
    }
    let before = life.steps.len();
    // The sort is stable: of equal cycles the first row stays.
    life.steps.sort_by(|a, b| a.time.total_cmp(&b.time));
    life.steps.dedup_by(|later, earlier| later.time == earlier.time);
    account.duplicates += before - life.steps.len();
    account.used += life.steps.len();
    account.gaps += life.steps.windows(2).map(|w| (w[1].time - w[0].time - 1.0).max(0.0) as usize).sum::<usize>();
}

fn judge(path: &Path, account: &Account) -> Result<(), ReadError> {
    let (path, bad) = (path.to_owned(), account.unusable.values().sum::<usize>());
    if account.used == 0 {
        return Err(ReadError::Empty { path, first: account.first_unusable.clone() });
    }
    match &account.first_unusable {
        Some(first) if bad as f64 > TOO_MANY * account.lines as f64 => {
            Err(ReadError::TooManyBad { path, bad, all: account.lines, first: first.clone() })
        }
        _ => Ok(()),
    }
}
