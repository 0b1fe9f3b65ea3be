//! The agent's disk: the model store, which fails as told, and the place where two defects of the transaction are put
//! back.

use fettle_agent::journal::entry::{Entry, Header, next_entry};
use fettle_agent::journal::model::{Fate, Model};
use fettle_agent::journal::snapshot::{self, AssetSnapshot};
use fettle_agent::journal::store::{Store, StoreError, Write};
use fettle_agent::journal::{self, SHARED_KEY};
use fettle_agent::ledger::Door;

use crate::plan::Defect;

/// See the module's header.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    pub(crate) model: Model,
    pub(crate) defect: Option<Defect>,
    /// What the defect keeps back: the shared snapshot, or raw samples.
    pub(crate) withheld: Vec<Write>,
    /// Messages that arrived up to this monotonic instant vanish from the next batch.
    pub(crate) void_until: Option<u64>,
}

impl Disk {
    pub(crate) fn commit(&mut self, writes: &[Write], fate: Fate) -> Result<(), StoreError> {
        self.model.fate = fate;
        let (writes, withheld) = match self.defect {
            Some(Defect::CursorOutsideTransaction) => self.held_back(writes, |key| key == SHARED_KEY),
            Some(Defect::EvidenceOutsideTransaction) => self.held_back(writes, |key| key.first() == Some(&b'e')),
            Some(Defect::PendingClearedOnLostSession) => (self.without_lost(writes), Vec::new()),
            _ => return self.model.commit(writes),
        };
        self.model.commit(&writes)?;
        (self.withheld, self.void_until) = (withheld, None);
        Ok(())
    }

    /// What is written now and what with the next commit.
    fn held_back(&self, writes: &[Write], late: impl Fn(&[u8]) -> bool) -> (Vec<Write>, Vec<Write>) {
        let is_late = |write: &Write| matches!(write, Write::Put(key, _) if late(key));
        let (held, mut now): (Vec<Write>, Vec<Write>) = writes.iter().cloned().partition(is_late);
        now.extend(self.withheld.iter().cloned());
        (now, held)
    }

    fn without_lost(&self, writes: &[Write]) -> Vec<Write> {
        let Some(until) = self.void_until else { return writes.to_vec() };
        let strip = |write: &Write| match write {
            Write::Put(key, value) if key.first() == Some(&b'z') => {
                let opened = journal::open(key, value).expect("the core has sealed it");
                let mut bytes = &opened[..];
                let header = Header::decode(&mut bytes).expect("the core has written it");
                let mut payload = Vec::new();
                header.encode(&mut payload);
                while let Some(entry) = next_entry(&mut bytes).expect("the core has written it") {
                    let lost = matches!(entry, Entry::Messages { .. }) && entry.arrival().monotonic <= until;
                    if !lost {
                        entry.encode(&mut payload);
                    }
                }
                Write::Put(key.clone(), journal::seal(key, &payload))
            }
            other => other.clone(),
        };
        writes.iter().map(strip).collect()
    }

    /// The process is gone: what was not on the disk is, too.
    pub(crate) fn crashed(&mut self) {
        self.withheld.clear();
        self.void_until = None;
        self.model = self.as_recovered();
    }

    /// The store as recovery will see it.
    pub(crate) fn as_recovered(&self) -> Model {
        let mut model = self.model.clone();
        if self.defect == Some(Defect::DuplicatesForgotten) {
            let mut writes = Vec::new();
            let visit = &mut |key: &[u8], value: &[u8]| {
                let payload = journal::open(key, value).expect("the core has sealed it");
                let saved: AssetSnapshot = snapshot::decode(key, &payload).expect("the core has written it");
                let mut door = Door::default();
                (door.tally, door.frames) = (saved.door.tally.clone(), saved.door.frames);
                (door.heard, door.heard_at) = (saved.door.heard, saved.door.heard_at);
                door.unreported = saved.door.unreported;
                let forgetful = snapshot::encode(&AssetSnapshot { door, ..saved });
                writes.push(Write::Put(key.to_vec(), journal::seal(key, &forgetful)));
                std::ops::ControlFlow::Continue(())
            };
            model.scan(b"s", b"t", visit).expect("the model can be read");
            model.fate = Fate::Commits;
            model.commit(&writes).expect("the model commits");
        }
        model
    }
}
