//! From starting the process to the first acknowledgement: the benchmark is the broker, answers at once, and hands out one
//! frame as soon as the agent has subscribed. The wait for the commit is in it.

use std::time::Duration;

use crate::Bench;
use crate::agent::{Agent, Setup, listener};
use crate::clock::now;
use crate::flow::Flow;
use crate::frames::registry;
use crate::ingest::{ASSETS, learn, source};
use crate::latency::quantile;
use crate::table::{Row, Table};

const STARTS: usize = 10;
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn measure(bench: &Bench, table: &mut Table) {
    let (listener, port) = listener();
    let setup = Setup::new("start", port.number(), registry(ASSETS));
    let mut agent = Agent::start(&bench.programs.agent, &bench.folder, &setup);
    let mut flow = Flow::as_broker(&listener);
    let mut plant = learn(&mut flow, &source("start", 5), 5);
    // The agent first: else it would connect again and wait where the next start is awaited.
    agent.stop();
    drop(flow);
    let mut took = Vec::new();
    for _ in 0..STARTS {
        let mut packets = plant.packets(0, 1);
        plant = plant.then(1, 5, plant.interval);
        let began = now();
        agent.process.start_again();
        let mut flow = Flow::as_broker(&listener);
        flow.send(&mut packets, PATIENCE);
        took.push(flow.settle().duration_since(began).as_secs_f64() * 1e3);
        agent.stop();
    }
    let note =
        format!("{STARTS} starts after a clean stop, store of {ASSETS} assets; the commit interval's 50 ms included");
    table.add(Row::new("start to first acknowledgement, median", quantile(&took, 0.5), "ms").at_most(200.0).note(note));
    table.add(Row::new("start to first acknowledgement, slowest", quantile(&took, 1.0), "ms"));
}
