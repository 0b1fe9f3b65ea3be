//! The site's own history for learning: the steps of every life, labelled when it ends, within a bound of bytes.
//!
//! Place in the flow: the engine tells of finished steps and of what happened to machines
//! ([`fettle_models::LifeStep`], [`fettle_models::LifeEvent`]); what follows from them is written in the commit of the
//! entry that caused it ([`stored`] has the form). [`Lives`] knows what lies in the store. What is replayed is on disk
//! already and is not recorded again. Nothing of it leaves the site by itself: `fettle-agent lives export` writes a file.
//!
//! R1: the sum of bytes keeps the bound: beyond it whole lives are given up, counted, those that have ended before those
//! that go on, the oldest first.
//! R2: steps of a recorded life ascend; where a step does not follow what is recorded, the record is closed as interrupted
//! and another begins.
//! R3: a life is closed, and takes no more steps, when one of a later life of the asset comes, or when the engine has
//! given the asset up.

pub mod stored;

use std::collections::{BTreeMap, BTreeSet};

use fettle_models::life::file::{Ended, LifeChannel, LifeEnd, Maintenance};
use fettle_models::{AssetSpec, LifeEvent, LifeStep};
use fettle_wire::Name;

use stored::{Chunk, Content, Head, Part};

use crate::journal::SEAL_BYTES;

/// Steps of a chunk: what is written again with each step until it is full.
const CHUNK_STEPS: usize = 32;
/// Maintenance that is remembered of a life.
const MAX_MAINTENANCE: usize = 32;

/// What is known of a life on disk.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Known {
    has_ended: bool,
    /// Bytes of its head and of each chunk.
    parts: BTreeMap<Part, u64>,
}

/// A life that may take more steps.
#[derive(Debug, Clone, PartialEq)]
struct Open {
    head: Head,
    /// The chunk that is being filled.
    chunk: Chunk,
    number: u32,
    /// Index and end of the last step.
    last: Option<(u64, i64)>,
}

/// Lives recorded in the store. See the module's header.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Lives {
    /// The number that the next recorded life gets.
    next: u64,
    known: BTreeMap<u64, Known>,
    /// By number of the recorded life.
    open: BTreeMap<u64, Open>,
    /// Parts that have changed since they were last written: heads, and chunks that are being filled.
    dirty: BTreeSet<(u64, Part)>,
    /// Chunks that were filled since then.
    filled: Vec<(u64, Part, Vec<u8>)>,
    bytes: u64,
    steps_written: u64,
    given_up: u64,
}

/// What the history looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LivesStatus {
    /// Lives kept.
    pub lives: u64,
    /// Of those, the ones that have ended.
    pub ended: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Steps recorded since the start of the process.
    pub steps_written: u64,
    /// Lives given up to keep the bound, since the start of the process.
    pub given_up: u64,
}

impl Lives {
    /// A part found in the store, in ascending order of keys. What cannot be read counts as ended, so that it goes first.
    pub fn found(&mut self, key: &[u8], value: &[u8]) {
        let Some((life, part)) = stored::of_key(key) else { return };
        let bytes = value.len().saturating_sub(SEAL_BYTES) as u64;
        self.next = self.next.max(life + 1);
        self.bytes += bytes;
        let known = self.known.entry(life).or_insert(Known { has_ended: true, ..Known::default() });
        known.parts.insert(part, bytes);
        // Chunks of a life that takes no more steps are read when somebody asks for them.
        if part != Part::HEAD && !self.open.contains_key(&life) {
            return;
        }
        match stored::read(key, value) {
            Ok((.., Content::Head(head))) => {
                known.has_ended = head.ended.is_some();
                if !head.is_closed {
                    self.open.insert(life, Open { head, chunk: Chunk::default(), number: 1, last: None });
                }
            }
            Ok((.., Content::Chunk(chunk))) => {
                if let Some(open) = self.open.get_mut(&life) {
                    (open.last, open.number, open.chunk) = (chunk.last(), part.0, chunk);
                }
            }
            Err(_) => {
                self.open.remove(&life);
                known.has_ended = true;
            }
        }
    }

    /// Records a step. `spec` describes the asset, where the registry does.
    pub fn step(&mut self, step: &LifeStep, spec: Option<&AssetSpec>) {
        self.close_before(&step.asset, step.life);
        let life = match self.find(&step.asset, step.life) {
            Some(life) if self.open[&life].is_followed_by(step) => life,
            Some(life) => {
                self.interrupt(life, LifeEnd::Interrupted);
                self.begin(&step.asset, step.life, spec)
            }
            None => self.begin(&step.asset, step.life, spec),
        };
        let Some(open) = self.open.get_mut(&life) else { return };
        let mut columns = Vec::with_capacity(step.channels.len());
        let mut has_grown = open.head.take(step);
        for ((name, unit), value) in step.channels.iter().zip(&step.values) {
            let (at, is_new) = open.head.channel(name, unit.si_code(), || described(spec, name));
            has_grown |= is_new;
            columns.push((at, *value));
        }
        if open.chunk.len() >= CHUNK_STEPS {
            let part = Part(open.number);
            if self.dirty.remove(&(life, part)) {
                self.filled.push((life, part, open.chunk.encode()));
            }
            open.chunk = Chunk::default();
            open.number += 1;
        }
        open.chunk.push(step.index, step.end, &columns);
        open.last = Some((step.index, step.end));
        self.steps_written += 1;
        self.dirty.insert((life, Part(open.number)));
        if has_grown {
            self.dirty.insert((life, Part::HEAD));
        }
    }

    /// Labels what happened. `spec` as for [`Lives::step`].
    pub fn event(&mut self, event: &LifeEvent, spec: Option<&AssetSpec>) {
        let found = self.find(&event.asset, event.life);
        let Some(ends) = event.ends else {
            if event.begins.is_none()
                && let Some(life) = found
                && let Some(open) = self.open.get_mut(&life)
                && open.head.maintenance.len() < MAX_MAINTENANCE
            {
                open.head.maintenance.push(Maintenance { at: event.at, note: event.note.clone() });
                self.dirty.insert((life, Part::HEAD));
            }
            return;
        };
        // A life that ended before its first step was finished has a record all the same.
        let life = found.unwrap_or_else(|| self.begin(&event.asset, ends, spec));
        self.end(
            life,
            Ended {
                how: event.kind.into(),
                at: event.at,
                late: event.late,
                components: event.components.clone(),
                note: event.note.clone(),
            },
        );
    }

    /// The engine has given the asset up.
    pub fn retire(&mut self, asset: &Name) {
        let gone: Vec<u64> = self.open.iter().filter(|o| o.1.head.asset == *asset).map(|o| *o.0).collect();
        gone.into_iter().for_each(|life| self.interrupt(life, LifeEnd::Unseen));
    }

    /// The open record of a life.
    fn find(&self, asset: &Name, life: u64) -> Option<u64> {
        self.open.iter().rev().find(|(_, o)| o.head.life == life && o.head.asset == *asset).map(|o| *o.0)
    }

    fn begin(&mut self, asset: &Name, life: u64, spec: Option<&AssetSpec>) -> u64 {
        let number = self.next;
        self.next += 1;
        let head = Head::new(asset.clone(), life, spec.and_then(|s| s.class.clone()));
        self.open.insert(number, Open { head, chunk: Chunk::default(), number: 1, last: None });
        self.known.insert(number, Known::default());
        self.dirty.insert((number, Part::HEAD));
        number
    }

    fn end(&mut self, life: u64, ended: Ended) {
        if let Some(open) = self.open.get_mut(&life) {
            open.head.ended = Some(ended);
            self.dirty.insert((life, Part::HEAD));
        }
        if let Some(known) = self.known.get_mut(&life) {
            known.has_ended = true;
        }
    }

    /// Closes a record, as ended by `how` unless somebody has said how.
    fn interrupt(&mut self, life: u64, how: LifeEnd) {
        let Some(open) = self.open.get(&life) else { return };
        if open.head.ended.is_none() {
            let at = open.last.map_or(0, |last| last.1);
            self.end(life, Ended { how, at, late: false, components: Vec::new(), note: None });
        }
        self.close(life);
    }

    fn close(&mut self, life: u64) {
        if let Some(open) = self.open.get_mut(&life)
            && !std::mem::replace(&mut open.head.is_closed, true)
        {
            self.dirty.insert((life, Part::HEAD));
        }
    }

    /// Closes records of earlier lives of the asset (R3).
    fn close_before(&mut self, asset: &Name, life: u64) {
        let earlier = |o: &(&u64, &Open)| o.1.head.asset == *asset && o.1.head.life < life && !o.1.head.is_closed;
        let earlier: Vec<u64> = self.open.iter().filter(earlier).map(|o| *o.0).collect();
        earlier.into_iter().for_each(|life| self.interrupt(life, LifeEnd::Interrupted));
    }

    /// The parts to be written, encoded; [`Lives::wrote`] says of each what it took.
    pub fn changed(&mut self) -> Vec<(u64, Part, Vec<u8>)> {
        let mut changed = std::mem::take(&mut self.filled);
        changed.retain(|(life, ..)| self.open.contains_key(life));
        for (life, part) in std::mem::take(&mut self.dirty) {
            let Some(open) = self.open.get(&life) else { continue };
            let payload = if part == Part::HEAD { open.head.encode() } else { open.chunk.encode() };
            changed.push((life, part, payload));
        }
        self.open.retain(|_, open| !open.head.is_closed);
        changed
    }

    /// Notes a part that was written.
    pub fn wrote(&mut self, life: u64, part: Part, bytes: u64) {
        let before = self.known.get_mut(&life).and_then(|known| known.parts.insert(part, bytes));
        self.bytes = self.bytes + bytes - before.unwrap_or(0);
    }

    /// Gives lives up until the rest is at most `most` bytes (R1); what is to be deleted.
    pub fn give_up(&mut self, most: u64) -> Vec<(u64, Part)> {
        let mut gone = Vec::new();
        while self.bytes > most {
            let ended = self.known.iter().find(|(_, known)| known.has_ended).map(|(life, _)| *life);
            let Some(life) = ended.or_else(|| self.known.keys().next().copied()) else { break };
            let Some(known) = self.known.remove(&life) else { break };
            self.open.remove(&life);
            self.bytes -= known.parts.values().sum::<u64>();
            self.given_up += 1;
            gone.extend(known.parts.into_keys().map(|part| (life, part)));
        }
        gone
    }

    /// All of it that is in the store, to be compared.
    pub fn state(&self) -> impl std::fmt::Debug + PartialEq + '_ {
        (&self.known, &self.open, self.bytes)
    }

    /// What it looks like.
    pub fn status(&self) -> LivesStatus {
        LivesStatus {
            lives: self.known.len() as u64,
            ended: self.known.values().filter(|k| k.has_ended).count() as u64,
            bytes: self.bytes,
            steps_written: self.steps_written,
            given_up: self.given_up,
        }
    }
}

impl Open {
    /// Whether the step is one that can follow (R2).
    fn is_followed_by(&self, step: &LifeStep) -> bool {
        let follows = self.last.is_none_or(|(index, end)| step.index > index && step.end > end);
        !self.head.is_closed && follows && (self.last.is_none() || self.head.length == step.length)
    }
}

/// Kind and role of a channel, where the registry has them.
fn described(spec: Option<&AssetSpec>, name: &Name) -> LifeChannel {
    let channel = spec.and_then(|spec| fettle_models::derived::channels(spec).remove(name));
    LifeChannel {
        name: name.clone(),
        unit: String::new(),
        kind: channel.as_ref().map(|c| c.kind.clone()),
        role: channel.as_ref().map(|c| c.role),
    }
}

#[cfg(test)]
mod tests {
    use fettle_models::life::file::LifeFile;
    use fettle_wire::{EventKind, Unit};

    use super::*;
    use crate::journal::model::Model;
    use crate::journal::seal;
    use crate::journal::store::{Store, Write};

    const LENGTH: i64 = 600_000_000;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    fn step(asset: &str, life: u64, index: u64, values: &[Option<f64>]) -> LifeStep {
        LifeStep {
            asset: name(asset),
            life,
            index,
            length: LENGTH,
            end: (index as i64 + 1) * LENGTH,
            age: Some((index + 1) as f64 * 600.0),
            slides: 10,
            channels: (0..values.len()).map(|i| (name(&format!("c{i}")), Unit::ONE)).collect(),
            values: values.to_vec(),
        }
    }

    fn failed(asset: &str, life: u64, at: i64, late: bool) -> LifeEvent {
        LifeEvent {
            asset: name(asset),
            kind: EventKind::Failed,
            at,
            life,
            ends: Some(life),
            begins: None,
            late,
            components: vec![],
            note: None,
            by: None,
        }
    }

    /// What a commit does.
    fn commit(lives: &mut Lives, store: &mut Model, most: u64) {
        let mut writes = Vec::new();
        for (life, part, payload) in lives.changed() {
            let key = stored::key(life, part);
            let value = seal(&key, &payload);
            lives.wrote(life, part, (value.len() - SEAL_BYTES) as u64);
            writes.push(Write::Put(key.to_vec(), value));
        }
        let gone = lives.give_up(most);
        writes.extend(gone.into_iter().map(|(life, part)| Write::Delete(stored::key(life, part).to_vec())));
        store.commit(&writes).unwrap();
    }

    fn recovered(store: &Model) -> Lives {
        let mut lives = Lives::default();
        store
            .scan(b"l", b"m", &mut |key, value| {
                lives.found(key, value);
                std::ops::ControlFlow::Continue(())
            })
            .unwrap();
        lives
    }

    /// (asset, life, indices, how it ended) of all that lies in the store, read through the file's form.
    fn told(store: &Model) -> Vec<(String, u64, Vec<u64>, Option<LifeEnd>)> {
        let (listed, damaged) = stored::all(store).unwrap();
        assert_eq!(damaged, 0);
        let file = stored::file(&name("s"), &name("a"), listed);
        let file = LifeFile::decode(&file.encode().unwrap()).unwrap();
        let told = |l: fettle_models::life::file::RecordedLife| {
            (l.asset.to_string(), l.life, l.indices, l.ended.map(|e| e.how))
        };
        file.lives.into_iter().map(told).collect()
    }

    #[test]
    fn steps_of_several_chunks_come_back_in_columns_however_they_were_committed() {
        let value = |index: u64, channel: u64| (index * 10 + channel) as f64;
        for every in [1, 7, 100] {
            let (mut lives, mut store) = (Lives::default(), Model::default());
            for index in 0..80 {
                let mut values =
                    vec![Some(value(index, 0)), Some(value(index, 1)).filter(|_| !index.is_multiple_of(3))];
                values.extend((index >= 40).then(|| Some(value(index, 2))));
                lives.step(&step("p", 1, index, &values), None);
                if index % every == every - 1 {
                    commit(&mut lives, &mut store, u64::MAX);
                    assert_eq!(format!("{:?}", recovered(&store).state()), format!("{:?}", lives.state()));
                    lives = recovered(&store);
                }
            }
            commit(&mut lives, &mut store, u64::MAX);
            let (listed, _) = stored::all(&store).unwrap();
            let life = &listed[0].life;
            assert_eq!((life.began, life.indices.clone()), (Some(0), (0..80).collect::<Vec<_>>()));
            for (channel, column) in life.columns.iter().enumerate() {
                let values: Vec<_> = column.values().collect();
                let expected = |index: u64| {
                    let absent = (channel == 1 && index.is_multiple_of(3)) || (channel == 2 && index < 40);
                    (!absent).then(|| value(index, channel as u64) as f32)
                };
                assert_eq!(values, (0..80).map(expected).collect::<Vec<_>>(), "channel {channel}");
            }
            assert_eq!(lives.status().bytes, lives.known.values().flat_map(|k| k.parts.values()).sum::<u64>());
        }
    }

    #[test]
    fn a_life_is_labelled_at_once_and_takes_what_was_still_to_come() {
        let (mut lives, mut store) = (Lives::default(), Model::default());
        lives.event(&failed("q", 1, 5, false), None);
        for index in 0..3 {
            lives.step(&step("p", 1, index, &[Some(1.0)]), None);
        }
        lives.event(&failed("p", 1, 3 * LENGTH + 1, false), None);
        commit(&mut lives, &mut store, u64::MAX);
        lives = recovered(&store);
        lives.step(&step("p", 1, 3, &[Some(1.0)]), None);
        lives.step(&step("p", 2, 0, &[Some(1.0)]), None);
        commit(&mut lives, &mut store, u64::MAX);
        let failed = Some(LifeEnd::Failed);
        let expected = [("p".to_owned(), 1, vec![0, 1, 2, 3], failed), ("p".to_owned(), 2, vec![0], None)];
        assert_eq!(told(&store), expected);
        assert_eq!((lives.status().lives, lives.status().ended), (3, 2), "one ended before its first step");
        assert_eq!(lives.open.len(), 2, "life 1 of p takes no more steps");
    }

    #[test]
    fn a_life_whose_end_was_told_late_is_shown_without_what_came_after() {
        let (mut lives, mut store) = (Lives::default(), Model::default());
        (0..9).for_each(|index| lives.step(&step("p", 1, index, &[Some(1.0)]), None));
        lives.event(&failed("p", 1, 5 * LENGTH + 1, true), None);
        commit(&mut lives, &mut store, u64::MAX);
        assert_eq!(told(&store)[0].2, [0, 1, 2, 3, 4, 5]);
    }

    #[test]
    fn what_does_not_follow_is_another_record_and_what_was_given_up_is_unseen() {
        let (mut lives, mut store) = (Lives::default(), Model::default());
        lives.step(&step("p", 1, 5, &[Some(1.0)]), None);
        lives.step(&step("p", 1, 5, &[Some(1.0)]), None);
        lives.step(&LifeStep { length: 2 * LENGTH, index: 3, end: 8 * LENGTH, ..step("p", 1, 6, &[]) }, None);
        lives.retire(&name("p"));
        lives.step(&step("p", 1, 100, &[Some(1.0)]), None);
        commit(&mut lives, &mut store, u64::MAX);
        let (interrupted, unseen) = (Some(LifeEnd::Interrupted), Some(LifeEnd::Unseen));
        let ends: Vec<_> = told(&store).into_iter().map(|t| (t.2, t.3)).collect();
        assert_eq!(ends, [(vec![5], interrupted), (vec![5], interrupted), (vec![3], unseen), (vec![100], None)]);
    }

    #[test]
    fn beyond_the_bound_ended_lives_go_before_those_that_go_on_oldest_first() {
        let (mut lives, mut store) = (Lives::default(), Model::default());
        let noise = |index: u64| Some((index.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 11) as f64);
        for life in ["a", "b", "c"] {
            for index in 0..40 {
                lives.step(&step(life, 1, index, &[noise(index), noise(index + 1_000)]), None);
            }
        }
        lives.event(&failed("b", 1, 40 * LENGTH, false), None);
        lives.event(&failed("c", 1, 40 * LENGTH, false), None);
        commit(&mut lives, &mut store, u64::MAX);
        let whole = lives.status().bytes;
        let kept = |lives: &mut Lives, store: &mut Model, most: u64| {
            commit(lives, store, most);
            assert!(lives.status().bytes <= most);
            let on_disk = recovered(store);
            assert_eq!(format!("{:?}", on_disk.state()), format!("{:?}", lives.state()));
            told(store).into_iter().map(|t| t.0).collect::<Vec<_>>()
        };
        assert_eq!(kept(&mut lives, &mut store, whole - 1), ["a", "c"]);
        assert_eq!(kept(&mut lives, &mut store, whole / 2), ["a"]);
        assert!(kept(&mut lives, &mut store, 100).is_empty());
        assert_eq!(lives.status().given_up, 3);
        lives.step(&step("a", 1, 40, &[Some(1.0), None]), None);
        assert_eq!(kept(&mut lives, &mut store, 10_000), ["a"]);
    }

    #[test]
    fn a_damaged_part_is_counted_and_goes_first() {
        let (mut lives, mut store) = (Lives::default(), Model::default());
        for asset in ["a", "b"] {
            (0..40).for_each(|index| lives.step(&step(asset, 1, index, &[Some(1.0)]), None));
        }
        commit(&mut lives, &mut store, u64::MAX);
        let key = stored::key(1, Part::HEAD);
        let mut head = store.get(&key).unwrap().unwrap();
        head[9] ^= 1;
        store.commit(&[Write::Put(key.to_vec(), head)]).unwrap();
        let (listed, damaged) = stored::all(&store).unwrap();
        assert_eq!((listed.len(), damaged), (1, 3));
        let mut lives = recovered(&store);
        let most = lives.status().bytes - 1;
        let gone: Vec<u64> = lives.give_up(most).into_iter().map(|g| g.0).collect();
        assert_eq!(gone, [1, 1, 1]);
    }
}
