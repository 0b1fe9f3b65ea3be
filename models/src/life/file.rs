//! Lives as a file: what an agent exports and a training tool reads. Pure encoding and decoding, bounded.
//!
//! One CBOR value (RFC 8949), packed as everything of ours in CBOR: a record is a map whose keys are the positions of its
//! fields, an enum is its variant's position; fields may be added at the end. docs/lives.md has the table for readers
//! without this crate. Columns are 32-bit floats, little-endian, one for each step; NaN stands for "no reading".
//!
//! L1: a life that decodes has as many ends and values in each column as it has steps, indices and ends ascend, and
//! names are names.

use fettle_wire::cbor::{self, CborError};
use fettle_wire::time::LATEST;
use fettle_wire::{EventKind, Micros, Name};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::registry::Role;

/// The version that this build writes and reads.
pub const VERSION: u8 = 1;
/// The largest file that is read, in bytes.
pub const MAX_FILE: usize = 256 << 20;
/// The most channels of one life.
pub const MAX_COLUMNS: usize = 4_096;

/// Why bytes are not such a file. No retry with the same bytes helps.
#[derive(Debug, Error)]
pub enum FileError {
    /// Not the CBOR that was expected.
    #[error("not a file of lives")]
    Malformed(#[source] CborError),
    /// Of another version.
    #[error("the file has version {0}, this build reads {VERSION}")]
    Version(u8),
    /// A life contradicts itself.
    #[error("life {life} of {asset}: {what}")]
    Life {
        /// The asset.
        asset: String,
        /// Its life.
        life: u64,
        /// What is wrong.
        what: &'static str,
    },
}

/// One channel of a life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LifeChannel {
    /// Its name.
    pub name: Name,
    /// Unit of the values, UCUM code of an SI unit.
    pub unit: String,
    /// What it measures, where the registry says so.
    pub kind: Option<String>,
    /// What it is to detection, where the registry says so.
    pub role: Option<Role>,
}

/// How a life ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LifeEnd {
    /// The machine failed: the only end that remaining life can be learned from.
    Failed,
    /// It was replaced before it failed.
    Replaced,
    /// Components were replaced.
    Maintained,
    /// Nothing was heard of it for so long that the agent gave it up.
    Unseen,
    /// The agent began to record it anew (another length of step); the life itself went on.
    Interrupted,
}

impl From<EventKind> for LifeEnd {
    fn from(kind: EventKind) -> Self {
        match kind {
            EventKind::Failed => Self::Failed,
            EventKind::Replaced => Self::Replaced,
            EventKind::MaintenanceDone => Self::Maintained,
        }
    }
}

impl LifeEnd {
    /// Its name, for people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Replaced => "replaced",
            Self::Maintained => "maintained",
            Self::Unseen => "unseen",
            Self::Interrupted => "interrupted",
        }
    }
}

/// The end of a life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// How.
    pub how: LifeEnd,
    /// When, event time, microseconds UTC. Steps may end up to one slide later, and, where it was told late, longer.
    pub at: Micros,
    /// Whether it was told after steps behind it were final: these are of another life, and are left out.
    pub late: bool,
    /// Components that were replaced.
    #[serde(deserialize_with = "cbor::sequence")]
    pub components: Vec<String>,
    /// What else was said.
    pub note: Option<String>,
}

/// Maintenance that ended no life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Maintenance {
    /// When, event time, microseconds UTC.
    pub at: Micros,
    /// What was said.
    pub note: Option<String>,
}

/// Bytes that serialise as a byte string.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Column(pub Vec<u8>);

impl Serialize for Column {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Column {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(<&'de [u8]>::deserialize(deserializer)?.to_vec()))
    }
}

impl Column {
    /// Appends a value; what no 32-bit float can hold counts as no reading.
    pub fn push(&mut self, value: Option<f64>) {
        let value = value.map_or(f32::NAN, |v| v as f32);
        let value = if value.is_finite() { value } else { f32::NAN };
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// Its values.
    pub fn values(&self) -> impl ExactSizeIterator<Item = Option<f32>> + '_ {
        let value =
            |four: &[u8]| Some(f32::from_le_bytes([four[0], four[1], four[2], four[3]])).filter(|v| v.is_finite());
        self.0.chunks_exact(4).map(value)
    }
}

/// One life, or what is kept of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RecordedLife {
    /// The asset.
    pub asset: Name,
    /// Machine class, where the registry says so.
    pub class: Option<String>,
    /// Which of the asset's lives, from 1.
    pub life: u64,
    /// Length of a step, microseconds.
    pub length: Micros,
    /// When it began, event time, microseconds UTC, where that is known.
    pub began: Option<Micros>,
    /// How it ended; absent while it goes on.
    pub ended: Option<Ended>,
    /// Maintenance meanwhile.
    #[serde(deserialize_with = "cbor::sequence")]
    pub maintenance: Vec<Maintenance>,
    /// Its channels.
    #[serde(deserialize_with = "cbor::sequence_up_to::<MAX_COLUMNS, _, _>")]
    pub channels: Vec<LifeChannel>,
    /// Of each step, how many came before it since the life began, silent ones included.
    #[serde(deserialize_with = "cbor::sequence")]
    pub indices: Vec<u64>,
    /// Of each step, the event time at which it ended, microseconds UTC.
    #[serde(deserialize_with = "cbor::sequence")]
    pub ends: Vec<Micros>,
    /// Of each channel, one value a step.
    #[serde(deserialize_with = "cbor::sequence_up_to::<MAX_COLUMNS, _, _>")]
    pub columns: Vec<Column>,
}

impl RecordedLife {
    /// What contradicts L1, if anything does.
    fn fault(&self) -> Option<&'static str> {
        let sane = |time: &Micros| (-LATEST..=2 * LATEST).contains(time);
        let checks = [
            (self.length > 0 && self.length <= LATEST, "the length of a step is none"),
            (self.channels.len() <= MAX_COLUMNS, "there are too many channels"),
            (self.columns.len() == self.channels.len(), "channels and columns differ in number"),
            (self.ends.len() == self.indices.len(), "ends and indices differ in number"),
            (self.columns.iter().all(|c| c.0.len() == 4 * self.ends.len()), "a column has not one value a step"),
            (self.ends.is_sorted_by(|a, b| a < b) && self.ends.iter().all(sane), "ends do not ascend"),
            (self.indices.is_sorted_by(|a, b| a < b), "indices do not ascend"),
            (self.began.iter().all(sane), "it began at no time"),
            (self.ended.iter().all(|e| sane(&e.at)), "it ended at no time"),
        ];
        checks.into_iter().find(|c| !c.0).map(|c| c.1)
    }

    /// Takes away the steps that ended more than a step after the life's end: of a life whose end was told late, they
    /// are of another.
    pub fn cut(&mut self) {
        let Some(at) = self.ended.as_ref().filter(|e| e.late).map(|e| e.at) else { return };
        let kept = self.ends.partition_point(|end| *end <= at.saturating_add(self.length));
        self.ends.truncate(kept);
        self.indices.truncate(kept);
        self.columns.iter_mut().for_each(|c| c.0.truncate(4 * kept));
    }
}

/// The file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LifeFile {
    /// Of the format.
    pub version: u8,
    /// The site.
    pub site: Name,
    /// The agent.
    pub agent: Name,
    /// The lives, in the order in which they began to be recorded.
    #[serde(deserialize_with = "cbor::sequence")]
    pub lives: Vec<RecordedLife>,
}

impl LifeFile {
    /// As bytes.
    ///
    /// # Errors
    /// Never for lives that fit L1: texts, numbers and bytes.
    pub fn encode(&self) -> Result<Vec<u8>, FileError> {
        cbor::encode(self).map_err(FileError::Malformed)
    }

    /// From bytes, at most [`MAX_FILE`].
    ///
    /// # Errors
    /// The first thing that is wrong (L1).
    pub fn decode(bytes: &[u8]) -> Result<Self, FileError> {
        #[derive(Deserialize)]
        struct First {
            version: u8,
        }
        let first: First = cbor::decode(bytes, MAX_FILE).map_err(FileError::Malformed)?;
        if first.version != VERSION {
            return Err(FileError::Version(first.version));
        }
        let file: Self = cbor::decode(bytes, MAX_FILE).map_err(FileError::Malformed)?;
        for life in &file.lives {
            if let Some(what) = life.fault() {
                return Err(FileError::Life { asset: life.asset.to_string(), life: life.life, what });
            }
        }
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn life() -> RecordedLife {
        let name = |text: &str| Name::new(text).unwrap();
        let channel = |text: &str, role| LifeChannel {
            name: name(text),
            unit: "K".into(),
            kind: Some("temperature".into()),
            role,
        };
        let column = |values: [Option<f64>; 3]| {
            let mut column = Column::default();
            values.into_iter().for_each(|v| column.push(v));
            column
        };
        RecordedLife {
            asset: name("pump-1"),
            class: Some("pump".into()),
            life: 2,
            length: 600_000_000,
            began: Some(-5),
            ended: Some(Ended {
                how: LifeEnd::Failed,
                at: 1_300_000_000,
                late: true,
                components: vec!["bearing_de".into()],
                note: None,
            }),
            maintenance: vec![Maintenance { at: 7, note: Some("greased".into()) }],
            channels: vec![channel("a", Some(Role::Monitored)), channel("b", None)],
            indices: vec![0, 1, 9],
            ends: vec![600_000_000, 1_200_000_000, 6_000_000_000],
            columns: vec![column([Some(1.0), None, Some(-2.5)]), column([Some(f64::MAX), Some(300.0), None])],
        }
    }

    fn file(life: RecordedLife) -> LifeFile {
        LifeFile { version: VERSION, site: life.asset.clone(), agent: life.asset.clone(), lives: vec![life] }
    }

    #[test]
    fn a_file_reads_back_as_written_and_what_no_float_holds_is_no_reading() {
        let one = file(life());
        assert_eq!(LifeFile::decode(&one.encode().unwrap()).unwrap(), one);
        let columns = &one.lives[0].columns;
        assert_eq!(columns[0].values().collect::<Vec<_>>(), [Some(1.0), None, Some(-2.5)]);
        assert_eq!(columns[1].values().collect::<Vec<_>>(), [None, Some(300.0), None]);
    }

    #[test]
    fn a_life_whose_end_was_told_late_loses_what_is_of_the_next() {
        let mut one = life();
        one.cut();
        assert_eq!((one.indices.as_slice(), one.columns[1].0.len()), (&[0, 1][..], 8));
        let mut timely = RecordedLife { ended: None, ..life() };
        timely.cut();
        assert_eq!(timely.indices.len(), 3);
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let broken: [fn(&mut RecordedLife); 7] = [
            |l| l.length = 0,
            |l| l.columns.truncate(1),
            |l| l.ends.truncate(2),
            |l| l.columns[0].0.push(0),
            |l| l.ends[1] = 0,
            |l| l.indices[1] = 0,
            |l| l.began = Some(i64::MAX),
        ];
        for (i, change) in broken.iter().enumerate() {
            let mut one = life();
            change(&mut one);
            let bytes = file(one).encode().unwrap();
            assert!(matches!(LifeFile::decode(&bytes), Err(FileError::Life { .. })), "change {i}");
        }
        let newer = LifeFile { version: 2, ..file(life()) };
        assert!(matches!(LifeFile::decode(&newer.encode().unwrap()), Err(FileError::Version(2))));
    }

    #[test]
    fn broken_bytes_are_refused_and_never_panic() {
        let bytes = file(life()).encode().unwrap();
        for at in 0..bytes.len() {
            assert!(LifeFile::decode(&bytes[..at]).is_err());
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << bit;
                let _ = LifeFile::decode(&flipped);
            }
        }
    }
}
