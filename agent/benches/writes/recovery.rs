//! Recovery timed: a journal of frames in a store in memory, then `Core::recover` over it, in thread time.

use std::hint::black_box;

use fettle_agent::core::{Core, Event};
use fettle_agent::journal::entry::Header;
use fettle_agent::journal::model::Model;
use fettle_agent::journal::store::{Store, Write};
use fettle_agent::journal::{SHARED_KEY, open, seal};

use crate::{FRAMES_EVERY, SECOND, birth, plant};

const READINGS: u64 = 500_000;
/// Recoveries, of which the fastest counts: a machine that others use, too, makes the rest slower.
const ROUNDS: usize = 8;
/// Frames a commit holds, drained together: what an agent under load or at one commit a second has.
const DRAINED: u64 = 100;

/// Processor time of this thread, in seconds.
fn thread_time() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0) as f64 / 1e9
}

/// A journal of `frames` frames whose snapshots were taken away: a recovery replays all of it.
fn journal(frames: u64, per_frame: u64) -> Model {
    let mut store = Model::default();
    let (mut core, _) = Core::recover(&store, birth(SECOND), plant::generation()).expect("an empty store");
    let mut effects = Vec::new();
    core.step(plant::at(0), Event::Reload(Box::new(plant::generation()), birth(SECOND).limits), &mut effects);
    for first in (0..frames).step_by(DRAINED as usize) {
        let messages = (first..(first + DRAINED).min(frames)).map(|n| plant::frame(n, per_frame)).collect();
        let now = plant::at((first + DRAINED) * FRAMES_EVERY);
        core.step(now, Event::Messages(messages), &mut effects);
        core.step(now, Event::Tick, &mut effects);
        let batches: Vec<Write> = core.prepare().iter().filter_map(without_snapshots).collect();
        store.commit(&batches).expect("memory has room");
        core.committed(&mut effects);
        effects.clear();
    }
    assert_eq!(store.get(SHARED_KEY), Ok(None));
    store
}

/// The write, if it is a batch: as it is, but asking for a replay from the first.
fn without_snapshots(write: &Write) -> Option<Write> {
    let Write::Put(key, value) = write else { return None };
    if key.first() != Some(&b'z') {
        return None;
    }
    let opened = open(key, value).expect("the core has sealed it");
    let mut entries = &opened[..];
    let header = Header::decode(&mut entries).expect("the core has written it");
    let mut payload = Vec::new();
    Header { replay_from: 1, ..header }.encode(&mut payload);
    payload.extend_from_slice(entries);
    Some(Write::Put(key.clone(), seal(key, &payload)))
}

pub(crate) fn measure() {
    for per_frame in [1, 100] {
        let store = journal(READINGS / per_frame, per_frame);
        let mut best = f64::INFINITY;
        for _ in 0..ROUNDS {
            let began = thread_time();
            let (core, _) = Core::recover(&store, birth(SECOND), plant::generation()).expect("what was journaled");
            best = best.min(thread_time() - began);
            black_box(&core);
        }
        let rate = READINGS as f64 / best;
        println!("recovery, frames of {per_frame}: {rate:.0} readings/s, {:.0} ns a reading", 1e9 / rate);
    }
}
