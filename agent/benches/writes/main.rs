//! What the journal writes and how fast it comes back, measured on the core and a real LMDB store under a virtual clock.
//!
//! ```text
//! cargo bench -p fettle-agent --bench writes [-- pages | recovery]
//! ```
//! `pages`: a hundred assets send a hundred frames a second; records reach Kafka shortly after their commit. After each
//! commit the tree is walked, so that every page it wrote is known by name. Beside it stands what the system counts
//! (`write_bytes`), and the snapshots' share of the journal. The first minute (an empty store: every asset's first
//! snapshot, the first round of accounts) is told apart from the rest.
//! `recovery`: `Core::recover` over a journal without snapshots, in thread time: waiting for a busy machine is not in it.

mod pages;
mod plant;
mod recovery;

use std::collections::VecDeque;
use std::fs::File;

use fettle_agent::core::{Birth, Core, Effect, Event, Limits};
use fettle_agent::journal::lmdb::{Access, Lmdb};
use fettle_agent::journal::store::Store;
use fettle_agent::outbox::record;
use fettle_wire::topic::KafkaTopics;
use fettle_wire::{Identity, Lane};

use pages::{Counts, Pages};

const SECOND: u64 = 1_000_000;
/// Time between frames, microseconds: a hundred a second.
const FRAMES_EVERY: u64 = 10_000;
/// From handing a record to Kafka's client until its report.
const KAFKA_TAKES: u64 = 15_000;
const MINUTES: u64 = 6;
const MAP: u64 = 4 << 30;

/// What some virtual time cost.
#[derive(Debug, Default, Clone)]
struct Cost {
    commits: u64,
    readings: u64,
    pages: Counts,
    counted: u64,
    snapshots: u64,
    entries: u64,
}

impl Cost {
    fn add(&mut self, pages: Counts) {
        self.commits += 1;
        for (what, count) in pages {
            *self.pages.entry(what).or_default() += count;
        }
    }
}

/// The daemon's loop around a core, without its threads.
struct Rig {
    core: Core,
    store: Lmdb,
    pages: Pages,
    effects: Vec<Effect>,
    /// Reports on their way: when, which.
    kafka: VecDeque<(u64, Lane, u64)>,
    cost: Cost,
}

fn birth(commit_interval: u64) -> Birth {
    Birth {
        identity: Identity { site: plant::site(), agent: plant::name("gateway"), incarnation: 7 },
        topics: KafkaTopics::new(plant::name("fettle")),
        key: None,
        limits: Limits {
            batch: 1000,
            commit_interval,
            keep_bytes: 1 << 30,
            keep: i64::MAX,
            outbox_bytes: 1 << 26,
            evidence_bytes: 1 << 26,
            lives_bytes: 8 << 20,
        },
        releases: fettle_agent::release::ReleasePolicy::default(),
    }
}

impl Rig {
    fn new(folder: &std::path::Path, commit_interval: u64) -> Self {
        let store = Lmdb::open(folder, MAP, Access::Write).expect("a store in an empty folder");
        let (core, _) = Core::recover(&store, birth(commit_interval), plant::generation()).expect("an empty store");
        let file = File::open(folder.join("data.mdb")).expect("the store has its file");
        let mut rig = Self {
            core,
            store,
            pages: Pages::new(file),
            effects: Vec::new(),
            kafka: VecDeque::new(),
            cost: Cost::default(),
        };
        let limits = birth(commit_interval).limits;
        rig.step(0, Event::Reload(Box::new(plant::generation()), limits));
        rig
    }

    fn step(&mut self, now: u64, event: Event) {
        self.core.step(plant::at(now), event, &mut self.effects);
        self.carry_out(now);
    }

    fn carry_out(&mut self, now: u64) {
        for effect in std::mem::take(&mut self.effects) {
            if let Effect::Produce(lane, sequence) = effect {
                let value = self.store.get(&record::key(lane, sequence)).expect("the store can be read");
                assert!(value.is_some(), "record {sequence} of {} is not in the store", lane.as_str());
                self.kafka.push_back((now + KAFKA_TAKES, lane, sequence));
            }
        }
    }

    fn commit_if_due(&mut self, now: u64) {
        if self.core.commit_due(now) {
            self.store.commit(self.core.prepare()).expect("the disk has room");
            self.core.committed(&mut self.effects);
            self.carry_out(now);
            let written = self.pages.written();
            self.cost.add(written);
        }
    }

    /// Lets everything happen until `to`, which no frame precedes.
    fn run_to(&mut self, to: u64) {
        loop {
            let report = self.kafka.front().map(|(at, ..)| *at);
            let next = [report, self.core.next_commit()].into_iter().flatten().min();
            let Some(now) = next.filter(|at| *at <= to) else { return };
            while let Some((_, lane, sequence)) = self.kafka.pop_front_if(|(at, ..)| *at <= now) {
                self.step(now, Event::Delivered(lane, sequence));
            }
            self.commit_if_due(now);
        }
    }

    /// A minute of the plant.
    fn minute(&mut self, minute: u64, per_frame: u64) -> Cost {
        let before = (system_wrote(), self.core.journal());
        for second in minute * 60..(minute + 1) * 60 {
            for frame in 0..SECOND / FRAMES_EVERY {
                let now = second * SECOND + frame * FRAMES_EVERY;
                self.run_to(now);
                let number = now / FRAMES_EVERY;
                self.step(now, Event::Messages(vec![plant::frame(number, per_frame)]));
                self.commit_if_due(now);
                self.cost.readings += per_frame;
            }
            self.step((second + 1) * SECOND, Event::Tick);
            self.commit_if_due((second + 1) * SECOND);
        }
        let mut cost = std::mem::take(&mut self.cost);
        let journal = self.core.journal();
        cost.counted = system_wrote() - before.0;
        cost.snapshots = journal.snapshot_bytes - before.1.snapshot_bytes;
        cost.entries = journal.position - before.1.position;
        cost
    }
}

/// Bytes that the system says this process has caused to be written.
fn system_wrote() -> u64 {
    let text = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("write_bytes:"));
    line.and_then(|number| number.trim().parse().ok()).unwrap_or(0)
}

fn show(what: &str, cost: &Cost) {
    let (commits, readings) = (cost.commits as f64, cost.readings as f64);
    let pages: u64 = cost.pages.values().sum();
    println!(
        "  {what}: {:.1} B a reading ({:.1} B as the system counts), {:.2} pages a commit, {commits:.0} commits",
        pages as f64 * 4096.0 / readings,
        cost.counted as f64 / readings,
        pages as f64 / commits,
    );
    let share = 100.0 * cost.snapshots as f64 / cost.entries as f64;
    println!("    batches {:.1} B a reading; snapshots {share:.1} % of batch bytes", cost.entries as f64 / readings);
    let mut by_size: Vec<_> = cost.pages.iter().collect();
    by_size.sort_by_key(|(_, pages)| std::cmp::Reverse(**pages));
    for (what, pages) in by_size {
        println!("    {:8.3} pages a commit  {what}", *pages as f64 / commits);
    }
}

fn measure_pages() {
    for (per_frame, interval) in [(1, 50_000), (1, SECOND), (100, 50_000), (100, SECOND)] {
        println!("frames of {per_frame}, 100 frames/s, commits every {} ms", interval / 1000);
        let folder = tempfile::tempdir().expect("there is a place for temporary files");
        let mut rig = Rig::new(folder.path(), interval);
        show("minute 1", &rig.minute(0, per_frame));
        let mut rest = Cost::default();
        for minute in 1..MINUTES {
            let cost = rig.minute(minute, per_frame);
            rest.readings += cost.readings;
            rest.counted += cost.counted;
            rest.snapshots += cost.snapshots;
            rest.entries += cost.entries;
            let commits = rest.commits + cost.commits;
            rest.add(cost.pages);
            rest.commits = commits;
        }
        show(&format!("minutes 2-{MINUTES}"), &rest);
    }
}

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let asked = |what: &str| wanted.is_empty() || wanted.iter().any(|w| w == what);
    if asked("pages") {
        measure_pages();
    }
    if asked("recovery") {
        recovery::measure();
    }
}
