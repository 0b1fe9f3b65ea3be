//! Beyond mosquitto's ceiling: the benchmark itself speaks MQTT to the agent, so that nothing but the agent and the feeder
//! is at work. Every frame is acknowledged by the agent after the commit that holds it. Beside it, the bare subscriber fed
//! by the same feeder.

use std::time::Duration;

use crate::Bench;
use crate::agent::{Agent, Setup, listener};
use crate::bare::{self, Bare};
use crate::flow::Flow;
use crate::frames::{Source, registry};
use crate::ingest::{ASSETS, learn, source};
use crate::table::{Row, Table};

/// No frame is begun after this.
const LIMIT: Duration = Duration::from_secs(20);

pub(crate) fn measure(bench: &Bench, table: &mut Table) {
    for (per_frame, frames) in [(1, bench.scaled(500_000)), (100, bench.scaled(50_000))] {
        let reference = bare_rate(bench, per_frame, frames / 5);
        let (cpu_us, rate, sent) = agent_rate(bench, per_frame, frames);
        let readings = per_frame as f64;
        let per_core = 1e6 / cpu_us;
        let what = |what: &str| format!("{what}, frames of {per_frame}");
        let note = format!("{sent} frames; {rate:.0} frames/s on the wall beside the feeder");
        let row = Row::new(what("frames/s of one core (CPU time)"), per_core, "frames/s");
        let row = row.beside("bare subscriber, same feeder", 1e6 / reference.each()).note(note);
        table.add(if per_frame == 1 { row.at_least(100_000.0) } else { row });
        table.add(
            Row::new(what("agent CPU a frame"), cpu_us, "us").beside("bare subscriber, same feeder", reference.each()),
        );
        table.add(Row::new(what("readings/s on the wall"), rate * readings, "readings/s"));
        table.add(Row::new(what("agent CPU a reading"), cpu_us * 1e3 / readings, "ns"));
    }
}

/// The bare subscriber on the same feeder.
fn bare_rate(bench: &Bench, per_frame: usize, frames: usize) -> bare::Report {
    let mut packets = Source { site: bare::SITE.to_owned(), ..source("", per_frame) }.packets(0, frames);
    bare::last(&mut packets);
    let (listener, port) = listener();
    let process = Bare::start(&bench.folder, port.number());
    let mut flow = Flow::as_broker(&listener);
    flow.send(&mut packets, LIMIT * 4);
    process.finish()
}

/// us of the agent's processor time a frame, frames a second on the wall, and how many were sent.
fn agent_rate(bench: &Bench, per_frame: usize, frames: usize) -> (f64, f64, usize) {
    let site = format!("direct-{per_frame}");
    let warm = source(&site, 5);
    let (listener, port) = listener();
    let setup = Setup::new(&site, port.number(), registry(ASSETS));
    let mut agent = Agent::start(&bench.programs.agent, &bench.folder, &setup);
    let mut flow = Flow::as_broker(&listener);
    let mut packets = learn(&mut flow, &warm, per_frame).packets(0, frames);
    let before = agent.cpu();
    let sent = flow.send(&mut packets, LIMIT);
    let seconds = flow.settle().duration_since(sent.began).as_secs_f64();
    let cpu = agent.cpu() - before;
    agent.stop();
    (cpu.as_secs_f64() * 1e6 / sent.frames as f64, sent.frames as f64 / seconds, sent.frames)
}
