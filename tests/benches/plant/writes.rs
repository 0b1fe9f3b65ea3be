//! Bytes that reach the disk for each reading, by the system's count, at 100 frames a second in real time for one minute,
//! which holds one evaluation and one health record of every asset, Kafka's reports and the deletions that follow them.
//!
//! The three agents run side by side: none of them is near a processor's or the disk's limit.

use fettle_wire::Micros;
use fettle_wire::time::{MINUTE, SECOND};

use crate::Bench;
use crate::agent::{Agent, Setup, listener};
use crate::flow::Flow;
use crate::frames::{Source, registry};
use crate::ingest::ASSETS;
use crate::proc;
use crate::table::{Row, Table};

const RATE: f64 = 100.0;
const SECONDS: usize = 60;

/// Readings a frame, commit interval, event time between samples (so that it runs as the clock does), budget in bytes.
const CASES: [(usize, &str, Micros, f64); 3] =
    [(1, "50ms", 5 * SECOND, 300.0), (1, "1s", 5 * SECOND, 300.0), (100, "50ms", SECOND / 20, 32.0)];

/// What one agent wrote.
struct Written {
    bytes: f64,
    readings: f64,
    status: serde_json::Value,
}

pub(crate) fn measure(bench: &Bench, table: &mut Table) {
    let kafka = bench.kafka();
    let written: Vec<_> = std::thread::scope(|scope| {
        let running = CASES.map(|case| {
            let kafka = kafka.clone();
            let (programs, folder) = (&bench.programs, &bench.folder);
            scope.spawn(move || run(&programs.agent, folder, kafka, case))
        });
        running.into_iter().map(|one| one.join().expect("the feeder does not panic")).collect()
    });
    for ((per_frame, interval, _, budget), written) in CASES.into_iter().zip(written) {
        let number = |key: &str| written.status["journal"][key].as_f64().unwrap_or(f64::NAN);
        let what = |what: &str| format!("{what}, frames of {per_frame}, 100 frames/s, commits every {interval}");
        let each = written.bytes / written.readings;
        let note = format!(
            "{:.0} commits, {:.1} pages of 4 KiB each; entries themselves {:.0} B a reading",
            number("commits"),
            written.bytes / number("commits") / 4096.0,
            number("bytes") / written.readings
        );
        table.add(Row::new(what("written to disk a reading"), each, "B").at_most(budget).note(note));
        let share = 100.0 * number("snapshot_bytes") / number("bytes");
        table.add(Row::new(what("snapshots beside journal bytes"), share, "%").at_most(10.0));
    }
}

fn run(
    program: &std::path::Path,
    folder: &testbed::Folder,
    kafka: String,
    (per_frame, commit, interval, _): (usize, &str, Micros, f64),
) -> Written {
    let site = format!("writes-{per_frame}-{commit}");
    let (listener, port) = listener();
    let tables = format!("[journal]\ncommit_interval = \"{commit}\"\n");
    let setup = Setup { kafka, tables, ..Setup::new(&site, port.number(), registry(ASSETS)) };
    let mut agent = Agent::start(program, folder, &setup);
    let mut flow = Flow::as_broker(&listener);
    // A slide ends in the middle of the run.
    let start = testbed::clock::wall() / MINUTE * MINUTE - 30 * SECOND;
    let plant = Source { site, assets: ASSETS, per_frame, interval, start, boot: 1 };
    let mut packets = plant.packets(0, RATE as usize * SECONDS);
    let before = proc::written(agent.pid());
    flow.pace(&mut packets, RATE);
    flow.settle();
    let bytes = (proc::written(agent.pid()) - before) as f64;
    let counted = packets.len() as f64;
    // The report is a second old at most.
    let status = testbed::eventually("the report counts every frame", std::time::Duration::from_secs(20), || {
        let status = agent.status()?;
        let received = status["mqtt"]["acknowledged"].as_f64().unwrap_or(0.0);
        if received >= counted { Ok(status) } else { Err(format!("{received} of {counted}")) }
    });
    agent.process.kill();
    Written { bytes, readings: counted * per_frame as f64, status }
}
