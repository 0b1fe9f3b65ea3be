//! Resident memory at 1,000 assets of 5 channels, once baselines are learned and every window is full.
//!
//! What a channel holds depends on its rate: readings stay in their pane until its lateness has passed. So it is measured at
//! two rates. Event time runs faster than the clock, in frames of 50 and with few of them under way, so that buffers do not
//! count for more than they would in a plant.

use std::time::Duration;

use fettle_wire::Micros;
use fettle_wire::time::{MINUTE, SECOND};

use crate::Bench;
use crate::agent::{Agent, BASELINE_SLIDES, Setup, listener};
use crate::flow::Flow;
use crate::frames::{CHANNELS, Source, registry};
use crate::ingest::source;
use crate::proc;
use crate::table::{Row, Table};

const ASSETS: usize = 1_000;
/// Unacknowledged frames at a time.
const WINDOW: usize = 256;
/// Frames encoded at a time.
const PART: usize = 20_000;
/// A full window and the slide after it.
const SPAN: Micros = 32 * MINUTE;
const PATIENCE: Duration = Duration::from_secs(60);
const KIB: f64 = 1024.0;

pub(crate) fn measure(bench: &Bench, table: &mut Table) {
    for seconds in [10, 1] {
        let site = format!("memory-{seconds}");
        let (listener, port) = listener();
        let setup = Setup::new(&site, port.number(), registry(ASSETS));
        let mut agent = Agent::start(&bench.programs.agent, &bench.folder, &setup);
        let mut flow = Flow::as_broker(&listener);
        flow.narrow(WINDOW);
        let (empty, _) = proc::resident(agent.pid());
        let sparse = Source { assets: ASSETS, interval: MINUTE, ..source(&site, CHANNELS.len()) };
        let learning = ASSETS * (BASELINE_SLIDES + 10);
        feed(&mut flow, &sparse, learning);
        let steady = sparse.then(learning, 10 * CHANNELS.len(), seconds * SECOND);
        let covered = feed(&mut flow, &steady, steady.frames_in(SPAN));
        let (own, all) = proc::resident(agent.pid());
        let channels = (ASSETS * CHANNELS.len()) as f64;
        let note = format!(
            "{:.2} KiB a channel above 16 MiB; {:.1} MiB before the first reading; {covered} of {} min fed",
            (own as f64 - 16.0 * KIB) / channels,
            empty as f64 / KIB,
            SPAN / MINUTE
        );
        let what = |what: &str| format!("{what}, {ASSETS} assets x 5, a reading each {seconds} s");
        let budget = 16.0 + 3.0 * channels / KIB;
        table.add(Row::new(what("memory of its own"), own as f64 / KIB, "MiB").at_most(budget).note(note));
        table.add(Row::new(what("all resident, mapped store included"), all as f64 / KIB, "MiB"));
        agent.process.kill();
    }
}

/// Feeds so many frames, in parts; the minutes of event time that were fed.
fn feed(flow: &mut Flow, plant: &Source, frames: usize) -> Micros {
    let began = crate::clock::now();
    let mut fed = 0;
    while fed < frames && began.elapsed() < PATIENCE {
        let to = (fed + PART).min(frames);
        fed += flow.send(&mut plant.packets(fed, to), PATIENCE).frames;
    }
    flow.settle();
    plant.span(fed) / MINUTE
}
