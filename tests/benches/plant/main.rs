//! The figures between processes, measured against the budgets: `cargo bench -p fettle-tests --bench plant`.
//!
//! Real release binaries, a real mosquitto, a real Kafka, loopback only. Each figure is a room of its own: it starts what
//! it needs, measures processor time where a rate would say more about the machine's other work than about us, runs its
//! reference in the same run, and ends within about a minute. docs/benchmarks.md keeps what was measured.
//!
//! - [`agent`] starts the agent; [`flow`] feeds it, through mosquitto or by being the broker itself; [`frames`] makes what
//!   is fed; [`bare`] is the reference subscriber; [`proc`] asks the system; [`table`] prints.
//!
//! Must never: print a number that was not measured, or judge by wall time what processor time can tell.
#![forbid(unsafe_code)]

mod agent;
mod bare;
mod clock;
mod direct;
mod engine;
mod flow;
mod frames;
mod ingest;
mod latency;
mod memory;
mod packet;
mod proc;
mod replay;
mod sizes;
mod start;
mod table;
mod writes;

use std::fs::File;
use std::path::PathBuf;
use std::sync::OnceLock;

use clap::{Parser, ValueEnum};
use testbed::folder::testbed_folder;
use testbed::kafka::KafkaOptions;
use testbed::{Folder, Kafka, Tool};

use crate::agent::Programs;
use crate::table::Table;

/// Measures fettle against its budgets.
#[derive(Debug, Parser)]
#[command(name = "plant")]
struct Cli {
    /// Which figures; all of them if none is named
    #[arg(value_enum)]
    figures: Vec<Figure>,
    /// Write the table to FILE as JSON, too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Measure the release binaries that are there, even if their sources are newer
    #[arg(long)]
    as_built: bool,
    /// Multiplies how much is fed
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// Frames a second behind which the latency of alarms is measured
    #[arg(long, default_values_t = [20_000, 2_000])]
    load: Vec<u64>,
    /// What cargo passes to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
    /// Be the bare subscriber of this port
    #[arg(long, hide = true)]
    bare_port: Option<u16>,
}

/// A figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Figure {
    /// Sizes of the binaries
    Sizes,
    /// Start to first acknowledgement
    Start,
    /// Through mosquitto to durable: CPU a frame beside a bare subscriber
    Ingest,
    /// Beyond mosquitto: fed by a broker that is only a feeder
    Direct,
    /// Published to readable from Kafka, for the reading that raises an alarm
    Latency,
    /// Resident memory at 1,000 assets x 5 channels
    Memory,
    /// Bytes written to disk a reading
    Writes,
    /// Replay and recovery
    Replay,
    /// The engine and the codec alone
    Engine,
}

/// What every figure needs.
struct Bench {
    /// Dropped before its folder.
    kafka: OnceLock<Kafka>,
    folder: Folder,
    programs: Programs,
    scale: f64,
    load: Vec<u64>,
}

impl Bench {
    /// `count` times what was asked for on the command line.
    fn scaled(&self, count: usize) -> usize {
        (count as f64 * self.scale).max(1.0) as usize
    }

    /// The one Kafka of this run, started when first needed; topics are made by using them.
    fn kafka(&self) -> String {
        let options = KafkaOptions { auto_create: true, port: None };
        self.kafka.get_or_init(|| Kafka::start(&self.folder, options)).brokers()
    }
}

fn main() {
    let cli = Cli::parse();
    if let Some(port) = cli.bare_port {
        return bare::be(port);
    }
    assert!(testbed::require(&[Tool::Mosquitto, Tool::Kafka, Tool::Kcat]), "tools are missing, see above");
    let alone = File::create(testbed_folder().join("plant.lock")).expect("a lock file can be created");
    // One plant at a time on a machine; scenarios take the same lock.
    alone.lock().expect("a file that is open can be locked");
    let figures = if cli.figures.is_empty() { Figure::value_variants() } else { &cli.figures[..] };
    let bench = Bench {
        folder: Folder::new("bench"),
        programs: Programs::find(cli.as_built),
        scale: cli.scale,
        load: cli.load,
        kafka: OnceLock::new(),
    };
    let mut table = Table::new();
    for figure in figures {
        let name = figure.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
        eprintln!("measuring: {name} (load {})", proc::load());
        table.begin(&name);
        match figure {
            Figure::Sizes => sizes::measure(&bench, &mut table),
            Figure::Start => start::measure(&bench, &mut table),
            Figure::Ingest => ingest::measure(&bench, &mut table),
            Figure::Direct => direct::measure(&bench, &mut table),
            Figure::Latency => latency::measure(&bench, &mut table),
            Figure::Memory => memory::measure(&bench, &mut table),
            Figure::Writes => writes::measure(&bench, &mut table),
            Figure::Replay => replay::measure(&bench, &mut table),
            Figure::Engine => engine::measure(&mut table),
        }
        if let Some(path) = &cli.json {
            table.write_json(path);
        }
    }
    table.print();
}
