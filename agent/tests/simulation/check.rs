//! The invariants, checked against the store's content and never against the core's word.
//!
//! | code | sentence | stated in |
//! |---|---|---|
//! | C1, J1 | a ticket is acknowledged only when the store's journal holds its message | core, journal |
//! | C2, S2 | a confirmation covers only frames in the store's journal or declared lost by the node, and never goes back | core, seen |
//! | C3, J3, J4 | recovery from the store gives the committed state, bit for bit; no batch that it needs is missing | core, journal |
//! | C4, L1, S3 | tallies balance and equal a naive account of the journal; a sequence counts once | core, ledger, seen |
//! | J2 | batches are numbered without a gap and never change | journal |
//! | O1 | a record leaves the store only when it is in Kafka's log, refused, shed with a count, or replaced | outbox |
//! | O2 | no partition brings a lane's record behind a later one | outbox |
//! | O4 | the outbox keeps its bound | outbox |
//! | K | a command is journaled once, in order, and has one outcome | core |
//! | R | recorded lives keep their bound, and the agent knows them as they lie in the store | core/lives |
//! | L | an event of a machine has one outcome | core |
//! | V | a block is analysed, shed over its minute's budget or refused as a naive count of the journal has it; what is kept around alarms and shown consists of blocks in the journal, keeps its bound, and is indexed as it lies in the store | engine/waveform, evidence |
//! | W | no reading is late: nobody's stamp moves a watermark beyond its own asset's time | watermark |
//! | G5, H1 | no conflicts at the gateway, revisions ascend | gateway, engine |
//! | F | at the end: all is delivered, accounts equal the nodes' own, last revisions equal the undisturbed run's | the issue |

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use fettle_agent::core::Core;
use fettle_agent::journal::entry::{Entry, Header, Message, next_entry};
use fettle_agent::journal::model::Model;
use fettle_agent::journal::store::Store;
use fettle_agent::journal::{self, batch_key, number_of};
use fettle_agent::outbox::{index, record};
use fettle_wire::topic::{self, Native};
use fettle_wire::{Command, Durable, Frame, Lane, Request};

use crate::plan::{FOREIGN, SITE};
use crate::random::mix_bytes;
use crate::waveform::Waveforms;

/// An invariant that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) code: &'static str,
    pub(crate) what: String,
}

impl Violation {
    pub(crate) fn new(code: &'static str, what: String) -> Self {
        Self { code, what }
    }
}

/// What a check says.
pub(crate) type Check = Result<(), Violation>;

macro_rules! hold {
    ($condition:expr, $code:literal, $($what:tt)+) => {
        if !$condition {
            return Err($crate::check::Violation::new($code, format!($($what)+)));
        }
    };
}
pub(crate) use hold;

/// What identifies a message: its topic and payload.
pub(crate) fn content(topic: &str, payload: &[u8]) -> u64 {
    mix_bytes(&[topic.as_bytes(), &[0], payload].concat())
}

/// The frames of one boot that the store's journal holds.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    pub(crate) sequences: BTreeSet<u64>,
    oldest: u64,
    settled: u64,
    /// Highest `next` that was confirmed.
    told: u64,
}

impl Heard {
    fn settled(&mut self) -> u64 {
        while self.settled < self.oldest || self.sequences.contains(&self.settled) {
            self.settled += 1;
        }
        self.settled
    }
}

/// A naive account of one asset.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) messages: u64,
    pub(crate) received: u64,
    pub(crate) duplicate: u64,
}

/// What was seen in the store, read batch by batch by someone who knows the format and nothing else.
#[derive(Debug, Default)]
pub(crate) struct Witness {
    last_batch: u64,
    last_value: u64,
    contents: BTreeSet<u64>,
    pub(crate) boots: BTreeMap<u64, Heard>,
    pub(crate) accounts: BTreeMap<String, Account>,
    commands: u64,
    /// Events of machines: messages, and ids of commands.
    events: u64,
    event_commands: BTreeSet<String>,
    offsets: BTreeMap<i32, i64>,
    /// In the store now: key of the record, its content.
    outbox: BTreeMap<(usize, u64), u64>,
    /// Ever in the store: lane, sequence, content.
    pub(crate) records: BTreeSet<(usize, u64, u64)>,
    newest_ledger: BTreeMap<String, u64>,
    ledger_of: BTreeMap<u64, String>,
    /// Left the store without a reason that can be seen; each must be counted as shed.
    unexplained: u64,
    pub(crate) waveforms: Waveforms,
}

/// What Kafka knows of the agent's records.
#[derive(Debug, Default)]
pub(crate) struct Delivered {
    /// In a log: lane, sequence, content.
    pub(crate) logged: BTreeSet<(usize, u64, u64)>,
}

impl Witness {
    /// Has seen nothing yet; `budget` blocks of an asset are analysed in a minute, `kept_bytes` of raw samples kept.
    pub(crate) fn new(budget: u32, kept_bytes: u64) -> Self {
        Self { waveforms: Waveforms::new(budget, kept_bytes), ..Self::default() }
    }

    /// Reads what is new in the store.
    pub(crate) fn read(&mut self, store: &Model, delivered: &Delivered) -> Check {
        self.read_batches(store)?;
        self.waveforms.read_kept(store)?;
        self.read_outbox(store, delivered)
    }

    fn read_batches(&mut self, store: &Model) -> Check {
        let mut fresh = Vec::new();
        let visit = &mut |key: &[u8], value: &[u8]| {
            fresh.push((number_of(key).unwrap_or(0), value.to_vec()));
            ControlFlow::Continue(())
        };
        store.scan(&batch_key(self.last_batch), b"{", visit).expect("the model can be read");
        for (number, value) in fresh {
            if number == self.last_batch {
                hold!(mix_bytes(&value) == self.last_value, "J2", "batch {number} has changed after its commit");
                continue;
            }
            hold!(number == self.last_batch + 1, "J2", "batch {number} follows {}", self.last_batch);
            (self.last_batch, self.last_value) = (number, mix_bytes(&value));
            let key = batch_key(number);
            let opened = journal::open(&key, &value).expect("the core has sealed it");
            let mut bytes = &opened[..];
            Header::decode(&mut bytes).expect("the core has written it");
            while let Some(entry) = next_entry(&mut bytes).expect("the core has written it") {
                self.entry(&entry)?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, entry: &Entry) -> Check {
        match entry {
            Entry::Messages { arrival, messages } => {
                messages.iter().for_each(|message| self.message(arrival.monotonic, message));
            }
            Entry::Command { partition, offset, payload, .. } => {
                let last = self.offsets.insert(*partition, *offset);
                hold!(last.is_none_or(|last| *offset > last), "K", "offset {offset} is journaled after {last:?}");
                self.commands += u64::from(!payload.is_empty());
                if let Ok(Command { id, request: Request::Event { .. }, .. }) = Command::decode(payload) {
                    self.events += u64::from(self.event_commands.insert(id));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn message(&mut self, monotonic: u64, message: &Message) {
        self.contents.insert(content(&message.topic, &message.payload));
        let asset = match topic::parse(SITE, &message.topic) {
            Some(Native::Readings { asset } | Native::Waveform { asset, .. }) => asset,
            Some(Native::Event { .. }) => {
                self.events += 1;
                return;
            }
            _ => return,
        };
        let Ok(frame) = Frame::decode(&message.payload) else { return };
        let account = self.accounts.entry(asset.to_owned()).or_default();
        account.messages += 1;
        account.received += frame.weight();
        let heard = self.boots.entry(frame.boot).or_default();
        heard.oldest = heard.oldest.max(frame.oldest);
        if !heard.sequences.insert(frame.sequence) {
            account.duplicate += frame.weight();
        } else if let Some(waveform) = &frame.waveform {
            self.waveforms.block(asset, monotonic, waveform.samples);
        }
    }

    fn read_outbox(&mut self, store: &Model, delivered: &Delivered) -> Check {
        let mut found = BTreeMap::new();
        let (records, newest, ledger_of) = (&mut self.records, &mut self.newest_ledger, &mut self.ledger_of);
        let before = &self.outbox;
        let visit = &mut |key: &[u8], value: &[u8]| {
            let Some((lane, sequence)) = record::of_key(key) else { return ControlFlow::Continue(()) };
            let place = (index(lane), sequence);
            if let Some(known) = before.get(&place) {
                found.insert(place, *known);
                return ControlFlow::Continue(());
            }
            let (kafka_key, payload) = Core::opened(lane, sequence, value).expect("the core has sealed it");
            found.insert(place, mix_bytes(&payload));
            records.insert((place.0, place.1, mix_bytes(&payload)));
            if lane == Lane::Ledger {
                newest.insert(kafka_key.clone(), sequence);
                ledger_of.insert(sequence, kafka_key);
            }
            ControlFlow::Continue(())
        };
        store.scan(b"o", b"p", visit).expect("the model can be read");
        let gone = before.iter().filter(|(place, _)| !found.contains_key(*place));
        let unexplained = gone.filter(|(place, content)| {
            let logged = delivered.logged.contains(&(place.0, place.1, **content));
            !logged && !self.replaced(place.0, place.1)
        });
        self.unexplained += unexplained.count() as u64;
        self.outbox = found;
        Ok(())
    }

    /// Whether a newer ledger entry of the same asset says all that this one says.
    pub(crate) fn replaced(&self, lane: usize, sequence: u64) -> bool {
        let newest = || self.newest_ledger.get(self.ledger_of.get(&sequence)?).copied();
        lane == index(Lane::Ledger) && newest().is_some_and(|newest| newest > sequence)
    }

    /// O1: what left without a visible reason was counted as shed.
    pub(crate) fn check_shed(&self, shed: u64) -> Check {
        hold!(
            self.unexplained <= shed,
            "O1",
            "{} records left the store, {shed} are counted as shed",
            self.unexplained
        );
        Ok(())
    }

    /// C1.
    pub(crate) fn check_acknowledged(&self, ticket: u64, content: u64) -> Check {
        hold!(self.contents.contains(&content), "C1", "ticket {ticket} is acknowledged, the store lacks its message");
        Ok(())
    }

    /// C2 and S2.
    pub(crate) fn check_confirmed(&mut self, topic: &str, payload: &[u8]) -> Check {
        let Ok(durable) = Durable::decode(payload) else {
            return Err(Violation::new("C2", format!("the confirmation on {topic} cannot be read")));
        };
        for (boot, next) in durable.confirmed {
            let heard = self.boots.entry(boot).or_default();
            let settled = heard.settled();
            hold!(next <= settled, "C2", "{topic}: {next} of {boot:x} is confirmed, the store holds up to {settled}");
            hold!(next >= heard.told, "S2", "{topic}: {next} of {boot:x} is confirmed after {}", heard.told);
            heard.told = next;
        }
        Ok(())
    }

    /// C4 and K, at a moment when everything stepped is committed.
    pub(crate) fn check_core(&self, core: &Core) -> Check {
        for (asset, door, _) in core.accounts() {
            hold!(door.tally.balances(), "C4", "the account of {asset} does not balance: {:?}", door.tally);
            // What carries no stamp is stamped by the agent's own clock, and late while that stands where it has been.
            let late = if **asset == *FOREIGN { 0 } else { door.tally.late };
            hold!(late == 0, "W", "{late} readings of {asset} are late");
        }
        for (asset, account) in &self.accounts {
            let door = core.accounts().find(|(name, ..)| ***name == *asset.as_str()).map(|(_, door, _)| door);
            let told = door.map_or(Account::default(), |d| Account {
                messages: d.frames,
                received: d.tally.received,
                duplicate: d.tally.duplicate,
            });
            hold!(told == *account, "C4", "the journal holds {account:?} for {asset}, the agent counts {told:?}");
        }
        self.waveforms.check_core(core)?;
        let shared = core.shared();
        let told = &shared.events;
        let events = told.taken + told.duplicate + told.refused.values().sum::<u64>();
        hold!(events == self.events, "L", "{} events are journaled, {events} have an outcome", self.events);
        hold!(told.late == 0, "L", "{} events are late", told.late);
        let outcomes = shared.commands_applied + shared.commands_refused.values().sum::<u64>();
        hold!(outcomes == self.commands, "K", "{} commands are journaled, {outcomes} have an outcome", self.commands);
        Ok(())
    }

    /// Records in the store now.
    pub(crate) fn waiting(&self) -> usize {
        self.outbox.len()
    }
}

/// Everything that can be seen of a core's state, part by part.
pub(crate) fn picture(core: &Core) -> BTreeMap<String, u64> {
    let mut parts = BTreeMap::new();
    for (asset, door, quarantined) in core.accounts() {
        parts.insert(format!("account {asset}"), mix_bytes(format!("{door:?} {quarantined}").as_bytes()));
    }
    for asset in core.engine().assets() {
        let state = core.engine().save_asset(asset).unwrap_or_default();
        parts.insert(format!("engine {asset}"), mix_bytes(&state));
    }
    parts.insert("shared".to_owned(), mix_bytes(format!("{:?}", core.shared()).as_bytes()));
    parts.insert("quarantine and adopted".to_owned(), mix_bytes(&core.engine().save_shared()));
    let evidence = core.evidence();
    parts.insert("evidence".to_owned(), mix_bytes(format!("{} {}", evidence.blocks, evidence.bytes).as_bytes()));
    parts.insert("lives".to_owned(), mix_bytes(format!("{:?}", core.lives().state()).as_bytes()));
    parts.insert("lanes".to_owned(), mix_bytes(format!("{:?}", core.lanes()).as_bytes()));
    parts
}

/// C3: two pictures are one.
pub(crate) fn check_pictures(committed: &BTreeMap<String, u64>, recovered: &BTreeMap<String, u64>) -> Check {
    let names: BTreeSet<&String> = committed.keys().chain(recovered.keys()).collect();
    let differ: Vec<_> = names.into_iter().filter(|name| committed.get(*name) != recovered.get(*name)).collect();
    hold!(differ.is_empty(), "C3", "recovery differs from what was committed in {differ:?}");
    Ok(())
}
