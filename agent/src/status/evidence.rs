//! The evidence kept on disk, for `fettle-agent evidence`: a list, or files that a person can open.
//!
//! Reads the store beside a running agent and changes nothing in it. Samples are saved as CSV, seconds and values in the
//! channel's unit, because every spreadsheet and every tool for signals reads that without being told scale or rate; an
//! `index.csv` beside them says what they are.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::path::Path;

use fettle_wire::time::Rfc3339;
use serde::Serialize;

use crate::core::evidence::Kept;
use crate::journal::store::{Store, StoreError};
use crate::journal::{evidence_key, number_of, open};

/// Why evidence was not saved.
#[derive(Debug, thiserror::Error)]
pub enum EvidenceError {
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The folder or a file in it cannot be written.
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
    number: u64,
    asset: &'a str,
    channel: &'a str,
    time: String,
    condition: &'a str,
    occurrence: u64,
    raised_at: String,
    place: &'a str,
    samples: usize,
    rate: f64,
    unit: &'a str,
}

impl<'a> Line<'a> {
    fn of(number: u64, kept: &'a Kept) -> Self {
        Self {
            number,
            asset: &kept.asset,
            channel: &kept.channel,
            time: Rfc3339(kept.time).to_string(),
            condition: &kept.condition,
            occurrence: kept.occurrence,
            raised_at: Rfc3339(kept.raised_at).to_string(),
            place: if kept.after { "after" } else { "before" },
            samples: kept.samples.0.len() / 2,
            rate: kept.rate,
            unit: kept.unit.code(),
        }
    }

    /// The name of its file; made of checked names and digits.
    fn file(&self) -> String {
        let time = self.time.replace([':', '-'], "");
        let Self { number, asset, channel, condition, occurrence, place, .. } = self;
        format!("{number:06}-{asset}-{channel}-{time}-{condition}-{occurrence}-{place}.csv")
    }
}

/// Shows each record in the store, of `asset` alone where one is given; how many cannot be read.
fn each(
    store: &dyn Store,
    asset: Option<&str>,
    visit: &mut dyn FnMut(u64, Kept) -> ControlFlow<()>,
) -> Result<u64, StoreError> {
    let mut damaged = 0;
    store.scan(&evidence_key(0), b"f", &mut |key, value| match open(key, value)
        .ok()
        .and_then(|bytes| Kept::decode(&bytes).ok())
    {
        Some(kept) if asset.is_none_or(|asset| asset == kept.asset.as_str()) => {
            visit(number_of(key).unwrap_or(0), kept)
        }
        Some(_) => ControlFlow::Continue(()),
        None => {
            damaged += 1;
            ControlFlow::Continue(())
        }
    })?;
    Ok(damaged)
}

/// A list, oldest first: one line each, for people or as JSON.
pub fn list(store: &dyn Store, asset: Option<&str>, json: bool) -> Result<String, StoreError> {
    let mut text = String::new();
    let damaged = each(store, asset, &mut |number, kept| {
        let line = Line::of(number, &kept);
        // Writing to a String cannot fail. Invariant: texts and finite numbers; JSON holds them all.
        let _ = if json {
            writeln!(text, "{}", serde_json::to_string(&line).unwrap_or_default())
        } else {
            let Line { asset, channel, time, condition, occurrence, raised_at, place, samples, rate, unit, .. } = line;
            writeln!(
                text,
                "{time}  {asset}/{channel}  {samples} samples at {rate} Hz in {unit}, {place} {condition} {occurrence} \
                 raised at {raised_at}"
            )
        };
        ControlFlow::Continue(())
    })?;
    if text.is_empty() && !json {
        text.push_str("no evidence is kept\n");
    }
    if damaged > 0 && !json {
        let _ = writeln!(text, "{damaged} more cannot be read: their records are damaged");
    }
    Ok(text)
}

/// Writes each record as a CSV file into `folder`, and `index.csv`; how many.
pub fn save(store: &dyn Store, asset: Option<&str>, folder: &Path) -> Result<u64, EvidenceError> {
    let write = |path: &Path, text: &str| {
        fs::write(path, text).map_err(|source| EvidenceError::Write { path: path.display().to_string(), source })
    };
    fs::create_dir_all(folder).map_err(|source| EvidenceError::Write { path: folder.display().to_string(), source })?;
    let mut index = String::from("file,asset,channel,time,condition,occurrence,raised_at,place,samples,rate_hz,unit\n");
    let (mut count, mut failure) = (0, None);
    each(store, asset, &mut |number, kept| {
        let line = Line::of(number, &kept);
        let file = line.file();
        let mut text = format!("time_s,value_{}\n", line.unit);
        for (time, value) in kept.values() {
            let _ = writeln!(text, "{time:.7},{value}");
        }
        let Line { asset, channel, time, condition, occurrence, raised_at, place, samples, rate, unit, .. } = line;
        let _ = writeln!(
            index,
            "{file},{asset},{channel},{time},{condition},{occurrence},{raised_at},{place},{samples},{rate},{unit}"
        );
        count += 1;
        match write(&folder.join(file), &text) {
            Ok(()) => ControlFlow::Continue(()),
            Err(e) => {
                failure = Some(e);
                ControlFlow::Break(())
            }
        }
    })?;
    if let Some(failure) = failure {
        return Err(failure);
    }
    write(&folder.join("index.csv"), &index)?;
    Ok(count)
}

#[cfg(test)]
mod tests {
    use fettle_wire::{Name, Unit};

    use super::*;
    use crate::journal::model::Model;
    use crate::journal::seal;
    use crate::journal::snapshot::Bytes;
    use crate::journal::store::Write;

    fn store() -> Model {
        let kept = |asset: &str, after: bool| Kept {
            asset: Name::new(asset).unwrap(),
            channel: Name::new("a").unwrap(),
            time: 1_795_254_314_500_000,
            rate: 4.0,
            unit: Unit::from_code("m/s2").unwrap(),
            scale: 0.5,
            offset: 0.0,
            condition: "limit.a.rms".into(),
            occurrence: 2,
            raised_at: 1_795_254_315_000_000,
            after,
            samples: Bytes(vec![1, 0, 0xfe, 0xff]),
        };
        let records = [kept("pump", false), kept("pump", true), kept("fan", false)];
        let put = |(n, kept): (usize, &Kept)| {
            let key = evidence_key(n as u64);
            Write::Put(key.to_vec(), seal(&key, &kept.encode()))
        };
        let mut store = Model::default();
        let writes: Vec<_> = records.iter().enumerate().map(put).collect();
        store.commit(&writes).unwrap();
        store
    }

    #[test]
    fn the_list_names_alarm_and_place_and_can_be_narrowed_to_an_asset() {
        let text = list(&store(), Some("pump"), false).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert!(lines[0].contains("pump/a  2 samples at 4 Hz in m/s2, before limit.a.rms 2"), "{text}");
        assert!(lines[1].contains("after limit.a.rms"), "{text}");
        for line in list(&store(), None, true).unwrap().lines() {
            assert!(serde_json::from_str::<serde_json::Value>(line).unwrap()["rate"] == 4.0);
        }
        assert_eq!(list(&Model::default(), None, false).unwrap(), "no evidence is kept\n");
    }

    #[test]
    fn saved_files_hold_seconds_and_values_and_an_index_says_what_they_are() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(save(&store(), None, folder.path()).unwrap(), 3);
        let index = fs::read_to_string(folder.path().join("index.csv")).unwrap();
        assert_eq!(index.lines().count(), 4);
        let first = index.lines().nth(1).unwrap().split(',').next().unwrap();
        let text = fs::read_to_string(folder.path().join(first)).unwrap();
        assert_eq!(text, "time_s,value_m/s2\n0.0000000,0.5\n0.2500000,-1\n");
        assert!(first.starts_with("000000-pump-a-20261121T094514"), "{first}");
    }
}
