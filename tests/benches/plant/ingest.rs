//! Through mosquitto to durable: the agent's processor time a frame beside that of a bare subscriber in the same run, and
//! the rate beside the broker's own ceiling, which is the bare subscriber's rate.
//!
//! The bare subscriber runs before and after the agent; its figure is the mean of both, and both are told. The frames, the
//! broker, its configuration and the window are the same. The agent has learned its baselines, so windows, indicators,
//! detection and health records to Kafka are in its figure.

use std::time::Duration;

use fettle_wire::time::{HOUR, MINUTE, SECOND};
use testbed::{Broker, Policy};

use crate::Bench;
use crate::agent::{Agent, BASELINE_SLIDES, Setup};
use crate::bare::{self, Bare};
use crate::clock::{now, pause};
use crate::flow::Flow;
use crate::frames::{Source, registry};
use crate::table::{Row, Table};

/// Assets that send.
pub(crate) const ASSETS: usize = 100;
/// No frame is begun after this.
const LIMIT: Duration = Duration::from_secs(20);
/// Until the slowest has taken everything.
const PATIENCE: Duration = Duration::from_secs(90);
/// Between two looks at the agent's report, which changes once a second.
const LOOK: Duration = Duration::from_millis(250);
/// Event time before now at which sources begin: more than any run covers.
const AGO: i64 = 24 * HOUR;

/// A plant of [`ASSETS`] at one sample a second, which began long enough ago.
pub(crate) fn source(site: &str, per_frame: usize) -> Source {
    let start = (testbed::clock::wall() - AGO) / MINUTE * MINUTE;
    Source { site: site.to_owned(), assets: ASSETS, per_frame, interval: SECOND, start, boot: 1 }
}

/// Feeds one sample a minute until the baselines are learned; what comes after it, at one sample a second.
pub(crate) fn learn(flow: &mut Flow, plant: &Source, per_frame: usize) -> Source {
    let sparse = Source { interval: MINUTE, ..plant.clone() };
    let frames = sparse.assets * (BASELINE_SLIDES + 10);
    let sent = flow.send(&mut sparse.packets(0, frames), PATIENCE);
    assert_eq!(sent.frames, frames, "the agent did not take {frames} frames in {PATIENCE:?}");
    flow.settle();
    sparse.then(frames, per_frame, SECOND)
}

pub(crate) fn measure(bench: &Bench, table: &mut Table) {
    let broker = Broker::start(&bench.folder, Policy::Shipped);
    for (per_frame, frames) in [(1, bench.scaled(200_000)), (100, bench.scaled(20_000))] {
        let before = bare_run(bench, &broker, per_frame, frames);
        let (cpu_us, rate) = agent_run(bench, &broker, per_frame, frames);
        let after = bare_run(bench, &broker, per_frame, frames);
        let bare_us = f64::midpoint(before.each(), after.each());
        let ceiling = f64::midpoint(before.rate(), after.rate());
        let what = |what: &str| format!("{what}, frames of {per_frame}");
        let note = format!("bare before and after: {:.2} and {:.2} us", before.each(), after.each());
        if per_frame == 1 {
            let row = Row::new(what("agent CPU above a bare subscriber, a frame"), cpu_us - bare_us, "us");
            table.add(row.at_most(3.0).note(&note));
        } else {
            let above = (cpu_us - bare_us) / per_frame as f64;
            let row = Row::new(what("agent CPU above a bare subscriber, a reading"), above, "us");
            table.add(row.at_most(0.3).note(&note));
        }
        table.add(Row::new(what("agent CPU, a frame"), cpu_us, "us").beside("bare subscriber", bare_us));
        let row = Row::new(what("mosquitto's ceiling: the bare subscriber's rate"), ceiling, "frames/s");
        table.add(row);
        if let Some(rate) = rate {
            table.add(Row::new(what("frames to durable"), rate, "frames/s").beside("mosquitto's ceiling", ceiling));
        }
    }
}

fn bare_run(bench: &Bench, broker: &Broker, per_frame: usize, frames: usize) -> bare::Report {
    let mut packets = source(bare::SITE, per_frame).packets(0, frames);
    let mut subscriber = Bare::start(&bench.folder, broker.port());
    subscriber.await_subscribed();
    let mut feeder = Flow::to_broker(broker.port(), "feeder-of-bare");
    feeder.send(&mut packets, LIMIT);
    let mut last = crate::frames::Packets::default();
    bare::last(&mut last);
    feeder.send(&mut last, LIMIT);
    feeder.settle();
    subscriber.finish()
}

/// us of the agent's processor time a frame, and frames a second on the wall if the run was long enough to tell.
fn agent_run(bench: &Bench, broker: &Broker, per_frame: usize, frames: usize) -> (f64, Option<f64>) {
    let site = format!("ingest-{per_frame}");
    let setup = Setup { kafka: bench.kafka(), ..Setup::new(&site, broker.port(), registry(ASSETS)) };
    let mut agent = Agent::start(&bench.programs.agent, &bench.folder, &setup);
    agent.await_ready();
    let mut feeder = Flow::to_broker(broker.port(), "feeder-of-agent");
    let measured = learn(&mut feeder, &source(&site, 5), per_frame);
    let learned = (ASSETS * (BASELINE_SLIDES + 10)) as u64;
    agent.await_acknowledged(learned, PATIENCE);
    // What learning made for Kafka is not part of the figure.
    agent.await_number("/kafka/lag_records", PATIENCE, |waiting| waiting == 0.0);
    let mut packets = measured.packets(0, frames);
    let before = agent.cpu();
    let (sent, rate) = std::thread::scope(|scope| {
        let feeding = scope.spawn(|| feeder.send(&mut packets, LIMIT));
        let rate = watch(&agent, learned, || feeding.is_finished());
        (feeding.join().expect("the feeder does not panic"), rate)
    });
    agent.await_acknowledged(learned + sent.frames as u64, PATIENCE);
    let cpu = agent.cpu() - before;
    agent.stop();
    (cpu.as_secs_f64() * 1e6 / sent.frames as f64, rate)
}

/// Frames acknowledged a second while they are fed, from the agent's own reports and their times.
fn watch(agent: &Agent, learned: u64, fed: impl Fn() -> bool) -> Option<f64> {
    let mut seen: Vec<(f64, f64)> = Vec::new();
    let began = now();
    while !fed() || (seen.len() < 2 && began.elapsed() < PATIENCE) {
        pause(LOOK);
        let Ok(status) = agent.status() else { continue };
        let number = |pointer: &str| status.pointer(pointer).and_then(serde_json::Value::as_f64).unwrap_or(0.0);
        let (at, acknowledged) = (number("/at"), number("/mqtt/acknowledged"));
        if acknowledged > learned as f64 && seen.last().is_none_or(|last| last.0 < at) {
            seen.push((at, acknowledged));
        }
    }
    // A report at which nothing new had come is of the time after the last frame.
    seen.dedup_by(|later, earlier| later.1 <= earlier.1);
    let (first, last) = (seen.first()?, seen.last()?);
    (last.0 > first.0).then(|| (last.1 - first.1) / ((last.0 - first.0) / 1e6))
}
