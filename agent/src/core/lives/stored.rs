//! A life as it lies in the store: a head, and chunks of steps. Read by the core, by `fettle-agent lives`, and by nobody
//! else; what leaves is a file of its own form ([`fettle_models::life::file`]).
//!
//! | key | value |
//! |---|---|
//! | `l` + number of the recorded life + 0 | [`Head`] |
//! | `l` + number of the recorded life + n | the n-th [`Chunk`], from 1 |
//!
//! Both are CBOR in packed form, sealed like every record. Values are 32-bit floats in columns; indices and ends are
//! differences, because most are alike.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use fettle_models::LifeStep;
use fettle_models::life::file::{Column, Ended, LifeChannel, LifeFile, Maintenance, RecordedLife, VERSION};
use fettle_wire::{Micros, Name, cbor};
use serde::{Deserialize, Serialize};

use crate::journal::store::{Store, StoreError};
use crate::journal::{Damage, open, readable};

/// The largest part that is read back, in bytes.
const MAX_PART: usize = 16 << 20;

/// Which part of a life: 0 the head, then its chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Part(pub u32);

impl Part {
    /// The head.
    pub const HEAD: Self = Self(0);
}

/// The key of a part.
pub fn key(life: u64, part: Part) -> [u8; 13] {
    let mut key = [b'l'; 13];
    key[1..9].copy_from_slice(&life.to_be_bytes());
    key[9..].copy_from_slice(&part.0.to_be_bytes());
    key
}

/// What [`key`] was made of.
pub fn of_key(key: &[u8]) -> Option<(u64, Part)> {
    let (life, part) = key.strip_prefix(b"l")?.split_first_chunk::<8>()?;
    Some((u64::from_be_bytes(*life), Part(u32::from_be_bytes(part.try_into().ok()?))))
}

/// What is known of a life beside its steps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The asset.
    pub asset: Name,
    /// Which of its lives.
    pub life: u64,
    /// Machine class.
    pub class: Option<String>,
    /// Length of a step; 0 before the first.
    pub length: Micros,
    /// When the life began, where that is known.
    pub began: Option<Micros>,
    /// How it ended.
    pub ended: Option<Ended>,
    /// Whether it takes no more steps.
    pub is_closed: bool,
    /// Maintenance meanwhile.
    pub maintenance: Vec<Maintenance>,
    /// Columns, in the order in which they appeared.
    pub channels: Vec<LifeChannel>,
}

impl Head {
    /// Of a life of which nothing is recorded yet.
    pub fn new(asset: Name, life: u64, class: Option<String>) -> Self {
        Self {
            asset,
            life,
            class,
            length: 0,
            began: None,
            ended: None,
            is_closed: false,
            maintenance: Vec::new(),
            channels: Vec::new(),
        }
    }

    /// Takes what a step says of its life; whether that is new.
    pub fn take(&mut self, step: &LifeStep) -> bool {
        let began = step.age.map(|age| step.end - (age * 1e6).round() as Micros);
        let before = (self.length, self.began);
        (self.length, self.began) = (step.length, began);
        before != (self.length, self.began)
    }

    /// The column of a channel with this unit, and whether it is a new one, which `describe` describes.
    pub fn channel(&mut self, name: &Name, unit: &str, describe: impl FnOnce() -> LifeChannel) -> (u32, bool) {
        let at = self.channels.iter().position(|c| c.name == *name && c.unit == unit);
        if at.is_none() {
            self.channels.push(LifeChannel { unit: unit.into(), ..describe() });
        }
        // A configuration allows far fewer channels than that.
        (at.unwrap_or(self.channels.len() - 1) as u32, at.is_none())
    }

    /// As bytes.
    pub fn encode(&self) -> Vec<u8> {
        // Invariant: texts, numbers and bytes; CBOR holds them all.
        cbor::encode(self).unwrap_or_default()
    }
}

/// Consecutive steps of a life.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Chunk {
    /// The first index, then differences.
    indices: Vec<u64>,
    /// The first end, then differences.
    ends: Vec<Micros>,
    /// (place in [`Head::channels`], one value a step).
    columns: Vec<(u32, Column)>,
}

impl Chunk {
    /// Its steps.
    pub fn len(&self) -> usize {
        self.indices.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.indices.is_empty()
    }

    /// Index and end of its last step. Sums saturate: a damaged record is known by its checksum, not by its sums.
    pub fn last(&self) -> Option<(u64, Micros)> {
        let (indices, ends) = (self.indices.iter(), self.ends.iter());
        let sum = (indices.fold(0u64, |a, b| a.saturating_add(*b)), ends.fold(0i64, |a, b| a.saturating_add(*b)));
        (!self.is_empty()).then_some(sum)
    }

    /// Appends a step that follows the last; `values` by column.
    pub fn push(&mut self, index: u64, end: Micros, values: &[(u32, Option<f64>)]) {
        let (before, at) = self.last().unwrap_or((0, 0));
        for (column, value) in values {
            let place = self.columns.iter().position(|c| c.0 == *column);
            let place = place.unwrap_or_else(|| {
                self.columns.push((*column, gap(self.indices.len())));
                self.columns.len() - 1
            });
            self.columns[place].1.push(*value);
        }
        self.indices.push(index - before);
        self.ends.push(end - at);
        let steps = self.indices.len();
        for (_, column) in self.columns.iter_mut().filter(|c| c.1.values().len() < steps) {
            column.push(None);
        }
    }

    /// As bytes.
    pub fn encode(&self) -> Vec<u8> {
        // Invariant: as for [`Head::encode`].
        cbor::encode(self).unwrap_or_default()
    }
}

/// A column of `steps` steps without a reading.
fn gap(steps: usize) -> Column {
    let mut column = Column::default();
    (0..steps).for_each(|_| column.push(None));
    column
}

/// A part, read.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// [`Part::HEAD`].
    Head(Head),
    /// Any other.
    Chunk(Chunk),
}

/// Reads a part found under `key`.
pub fn read(key: &[u8], value: &[u8]) -> Result<(u64, Part, Content), Damage> {
    let content = |why: String| Damage::Content { key: readable(key), why };
    let (life, part) = of_key(key).ok_or_else(|| content("its key is none of a life".to_owned()))?;
    let bytes = open(key, value)?;
    let read = match part {
        Part::HEAD => cbor::decode(&bytes, MAX_PART).map(Content::Head),
        _ => cbor::decode(&bytes, MAX_PART).map(Content::Chunk),
    };
    Ok((life, part, read.map_err(|e| content(e.to_string()))?))
}

/// A life in the store as `fettle-agent lives` shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct Listed {
    /// What was recorded.
    pub life: RecordedLife,
    /// Bytes on disk.
    pub bytes: u64,
}

/// Every life in the store, in the order in which they began to be recorded, and how many parts cannot be read.
pub fn all(store: &dyn Store) -> Result<(Vec<Listed>, u64), StoreError> {
    let mut lives: BTreeMap<u64, Listed> = BTreeMap::new();
    let mut damaged = 0;
    store.scan(&key(0, Part::HEAD), b"m", &mut |key, value| {
        match read(key, value) {
            Ok((number, _, Content::Head(head))) => {
                lives.insert(number, Listed { life: recorded(head), bytes: 0 });
            }
            Ok((number, _, Content::Chunk(chunk))) => match lives.get_mut(&number) {
                Some(listed) => append(&mut listed.life, &chunk),
                None => damaged += 1,
            },
            Err(_) => damaged += 1,
        }
        if let Some(listed) = of_key(key).and_then(|(number, _)| lives.get_mut(&number)) {
            listed.bytes += value.len() as u64;
        }
        ControlFlow::Continue(())
    })?;
    lives.values_mut().for_each(|listed| listed.life.cut());
    Ok((lives.into_values().collect(), damaged))
}

fn recorded(head: Head) -> RecordedLife {
    let Head { asset, life, class, length, began, ended, maintenance, channels, .. } = head;
    RecordedLife {
        columns: vec![Column::default(); channels.len()],
        asset,
        class,
        life,
        length,
        began,
        ended,
        maintenance,
        channels,
        indices: Vec::new(),
        ends: Vec::new(),
    }
}

fn append(life: &mut RecordedLife, chunk: &Chunk) {
    let (mut index, mut end) = (0u64, 0i64);
    for (next, later) in chunk.indices.iter().zip(&chunk.ends) {
        (index, end) = (index.saturating_add(*next), end.saturating_add(*later));
        life.indices.push(index);
        life.ends.push(end);
    }
    for (at, column) in life.columns.iter_mut().enumerate() {
        let of_chunk = chunk.columns.iter().find(|c| c.0 as usize == at);
        column.0.extend_from_slice(of_chunk.map_or(&gap(chunk.len()), |c| &c.1).0.as_slice());
    }
}

/// The lives with steps, as a file.
pub fn file(site: &Name, agent: &Name, lives: Vec<Listed>) -> LifeFile {
    let lives = lives.into_iter().map(|listed| listed.life).filter(|life| !life.ends.is_empty()).collect();
    LifeFile { version: VERSION, site: site.clone(), agent: agent.clone(), lives }
}
