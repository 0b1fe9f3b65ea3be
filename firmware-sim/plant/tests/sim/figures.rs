//! Figures, printed on demand: `cargo test -p fettle-sim --test sim figures -- --ignored --nocapture`.
//!
//! The program itself runs against a mosquitto without a subscriber, so that the sim is what is measured. Wall and CPU
//! time both count from the start of the process, so that making and encoding the readings is in them: counted from
//! the first acknowledgement they would not be, because a run at full speed makes its readings at once. Settings are
//! interleaved and repeated, and every repeat is printed: on a busy machine the spread is the finding.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use fettle_sim::ledger::Ledger;
use fettle_sim::publish::Clock;

use crate::support::Broker;

struct Measured {
    per_second: f64,
    cpu_us: f64,
}

/// CPU time of a process in microseconds: fields 14 and 15 of /proc/PID/stat, in ticks of 10 ms.
fn cpu(child: &Child) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) * 10_000.0
}

fn measure(folder: &Path, port: u16, frames: u64, top: &str, mqtt: &str) -> Measured {
    let config = folder.join("sim.toml");
    let ledger = folder.join("ledger.json");
    let _ = std::fs::remove_file(&ledger);
    let text = format!(
        "site = \"a\"\nledger = \"ledger.json\"\nresend_after = \"1h\"\n\
         ring_bytes = \"1GiB\"\n{top}\n[mqtt]\nport = {port}\n{mqtt}\n"
    );
    std::fs::write(&config, text).unwrap();
    let clock = Clock::start();
    let mut child = Command::new(env!("CARGO_BIN_EXE_fettle-sim"))
        .args(["run", "--log", "error", "--config"])
        .arg(&config)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let read = || -> Option<Ledger> { serde_json::from_slice(&std::fs::read(&ledger).ok()?).ok() };
    let mut last = (0.0, 0.0, 0);
    while last.2 < frames && clock.monotonic() < 60_000_000 {
        std::thread::sleep(Duration::from_millis(50));
        let done = read().map_or(0, |l| l.traffic.acknowledged);
        if done > last.2 {
            last = (clock.monotonic() as f64, cpu(&child), done);
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let count = last.2 as f64;
    assert!(last.2 >= frames, "only {count} of {frames} frames were acknowledged");
    Measured { per_second: count / last.0 * 1e6, cpu_us: last.1 / count }
}

#[test]
#[ignore = "measures for minutes; run it alone on a quiet machine"]
fn figures() {
    for extra in ["", "set_tcp_nodelay true"] {
        let folder = tempfile::tempdir().unwrap();
        let Some(broker) = Broker::start(folder.path(), extra) else { return };
        println!("broker: {}", if extra.is_empty() { "default" } else { extra });
        for (readings, frames) in [(1, 100_000), (100, 20_000)] {
            for repeat in 1..=3 {
                for (nodelay, inflight) in [(false, 20), (true, 20), (false, 200), (true, 200)] {
                    let top = format!(
                        "machines = 20\nstart = \"now-300d\"\nspeed = 1e6\nframe_readings = {readings}\n\
                         frames = {frames}\nledger_interval = \"100ms\""
                    );
                    let mqtt = format!("tcp_nodelay = {nodelay}\ninflight = {inflight}");
                    let Measured { per_second, cpu_us } = measure(folder.path(), broker.port, frames, &top, &mqtt);
                    println!(
                        "{repeat}: readings/frame {readings:3}  tcp_nodelay {nodelay:5}  inflight {inflight:4}: \
                         {per_second:7.0} frames/s, {cpu_us:5.1} us CPU/frame"
                    );
                }
            }
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let Some(broker) = Broker::start(folder.path(), "") else { return };
    for repeat in 1..=3 {
        let top = "machines = 2000\nduration = \"12s\"\ndrain = \"0s\"";
        let Measured { cpu_us, .. } = measure(folder.path(), broker.port, 18_000, top, "connections = 4");
        // One frame of five readings a second and node.
        let nodes = 1e6 / cpu_us;
        println!("{repeat}: 2000 nodes in real time: {cpu_us:.1} us CPU/frame, {nodes:.0} nodes a core by CPU alone");
    }
}

/// `cargo test -p fettle-sim --test sim nodes_on_chips -- --ignored --nocapture`: what a node that runs the firmware costs.
#[test]
#[ignore = "measures for a minute; run it alone on a quiet machine"]
fn nodes_on_chips() {
    let folder = tempfile::tempdir().unwrap();
    let Some(broker) = Broker::start(folder.path(), "") else { return };
    // Four readings a second in one frame and a block of 4,096 samples a minute, the defaults.
    let kinds = [
        ("light, real time", 300, 1.0, "node = \"light\"\nmachines = 300"),
        ("firmware, real time", 300, 1.0, "node = \"firmware\"\nmachines = 300"),
        ("firmware, 600 times", 12, 600.0, "node = \"firmware\"\nmachines = 12\nstart = \"now-30d\"\nspeed = 600"),
    ];
    for repeat in 1..=3 {
        for (name, nodes, speed, top) in kinds {
            let top = format!("{top}\nduration = \"15s\"\ndrain = \"0s\"\nledger_interval = \"200ms\"");
            let frames = (f64::from(nodes) * speed * 12.0) as u64;
            let Measured { per_second, cpu_us } = measure(folder.path(), broker.port, frames, &top, "connections = 1");
            let share = per_second * cpu_us * 1e-6;
            println!(
                "{repeat}: {name}: {nodes} nodes take {:.1} % of a core ({cpu_us:.1} us a frame); by CPU alone {:.0} nodes \
                 a core at this speed",
                share * 100.0,
                f64::from(nodes) / share
            );
        }
    }
}
