//! How fast a journal goes through the engine again: `fettle-agent replay` over the whole of it; and how long the recovery
//! after a kill -9 takes, which loads the snapshots and replays what follows the oldest of them. Under load that is too
//! little for a rate.
//!
//! `replay` runs two engines side by side, the recorded configuration's and the one in hand, so an engine has gone through
//! twice the readings in that time; both figures are told, the budget is held against the command as it is.

use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use testbed::eventually;

use crate::Bench;
use crate::agent::{Agent, Setup, listener};
use crate::clock::now;
use crate::flow::Flow;
use crate::frames::{Source, registry};
use crate::ingest::{ASSETS, learn, source};
use crate::table::{Row, Table};

const READINGS: usize = 2_000_000;
const BUDGET: f64 = 1e6;
/// Frames encoded at a time.
const PART: usize = 50_000;
/// No part is begun after this.
const LIMIT: Duration = Duration::from_secs(30);

pub(crate) fn measure(bench: &Bench, table: &mut Table) {
    for per_frame in [100, 1] {
        let site = format!("replay-{per_frame}");
        let (listener, port) = listener();
        let setup = Setup::new(&site, port.number(), registry(ASSETS));
        let mut agent = Agent::start(&bench.programs.agent, &bench.folder, &setup);
        let mut flow = Flow::as_broker(&listener);
        let plant = learn(&mut flow, &source(&site, 5), per_frame);
        let fed = feed(&mut flow, &plant, bench.scaled(READINGS) / per_frame) * per_frame;
        agent.process.kill();
        drop(flow);
        agent.process.start_again();
        let (entries, seconds) = recovered(&mut agent);
        agent.process.kill();
        let what = |what: &str| format!("{what}, frames of {per_frame}");
        let row = Row::new(what("recovery after kill -9"), seconds, "s");
        table.add(row.note(format!("{entries:.0} entries replayed onto the snapshots of {ASSETS} assets")));
        let (readings, seconds) = replay(bench, &agent);
        let rate = readings / seconds;
        let row = Row::new(what("fettle-agent replay"), rate, "readings/s").at_least(BUDGET);
        table.add(row.note(format!(
            "{readings:.0} readings ({fed} fed) in {seconds:.2} s, start included; two engines: {:.0} readings/s an engine",
            2.0 * rate
        )));
    }
}

fn feed(flow: &mut Flow, plant: &Source, frames: usize) -> usize {
    let (began, mut fed) = (now(), 0);
    while fed < frames && began.elapsed() < LIMIT {
        let to = (fed + PART).min(frames);
        fed += flow.send(&mut plant.packets(fed, to), LIMIT).frames;
    }
    flow.settle();
    fed
}

/// Entries replayed at the start, and seconds.
fn recovered(agent: &mut Agent) -> (f64, f64) {
    let status = eventually("the agent has recovered", Duration::from_secs(60), || {
        agent.process.assert_running();
        let status = agent.status()?;
        if status["phase"] == "running" { Ok(status) } else { Err(status["phase"].to_string()) }
    });
    let number = |key: &str| status["recovery"][key].as_f64().unwrap_or(f64::NAN);
    (number("entries_replayed"), number("seconds"))
}

/// Readings replayed by the command, and seconds of its run.
fn replay(bench: &Bench, agent: &Agent) -> (f64, f64) {
    let began = now();
    let output = Command::new("timeout")
        .arg("120")
        .arg(&bench.programs.agent)
        .args(["replay", "--json", "--config"])
        .arg(agent.configuration())
        .output()
        .expect("`timeout` is part of every Linux system");
    let seconds = began.elapsed().as_secs_f64();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "fettle-agent replay ended with {}:\n{errors}", output.status);
    let report: Value = serde_json::from_slice(&output.stdout).expect("--json prints JSON");
    let received = report["candidate"]["received"].as_f64();
    (received.unwrap_or_else(|| panic!("no candidate.received in {report}")), seconds)
}
