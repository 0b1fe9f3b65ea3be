//! Two hundred pages listen to one gateway, and one of them reads nothing: the others are not delayed, none misses an
//! event, memory stays bounded, and the one is cut off.
//!
//! Delays are compared, not judged: between a gateway that nobody holds up and one with a connection that takes nothing,
//! twice in turn in the same plant, so that whatever else the machine does falls on both.

use std::fs;
use std::net::TcpStream;
use std::time::Duration;

use testbed::listener::{self, Event};
use testbed::{Listener, Plant, PlantOptions, eventually, http, plant, require};

const LISTENERS: usize = 200;
/// Events that each listener hears while the delays of one phase are taken.
const EVENTS: usize = 800;
const PATIENCE: Duration = Duration::from_secs(90);
/// How many times the delay without a slow listener the delay with one may be, at the median and at the 95th percentile.
const RATIO: f64 = 2.0;
/// How much memory the gateway may take for them all: its ring of events (8 MiB), and for each listener a part of the
/// ring under way and the connection's two buffers (64 KiB each).
const MEMORY_KIB: u64 = 8 * 1024 + LISTENERS as u64 * 3 * 64;

/// An event's number, and for one about an asset how long after the newest record of that asset it was read, in
/// microseconds.
type Heard = (u64, Option<i64>);

fn keep(event: Event) -> Option<Heard> {
    if ["hello", "resumed", "reset"].contains(&event.name.as_str()) {
        return None;
    }
    let seen = event.data.split_once("\"seen\":").filter(|_| event.name == "asset");
    let seen = seen.and_then(|(_, rest)| rest.split(|c: char| !c.is_ascii_digit()).next()?.parse::<i64>().ok());
    Some((event.number()?, seen.map(|seen| event.arrived - seen)))
}

fn options() -> PlantOptions {
    let mut options = PlantOptions::new("listeners");
    options.sim =
        "seed = 17\nmachines = 60\ninterval = \"60s\"\nframe_readings = 10\nstart = \"now-90h\"\nspeed = 1440.0"
            .to_owned();
    options.engine =
        "slide = \"2min\"\nwindow = \"30min\"\npublish = \"2min\"\nlateness = \"10min\"\nidle = \"10min\"\n\
                      baseline_slides = 180"
            .to_owned();
    options
}

/// Bytes that the gateway has handed to the system for a connection and the other end has not taken, from the kernel's
/// table of sockets.
fn untaken(gateway: &str, slow: &TcpStream) -> Result<u64, String> {
    let port = |address: &str| address.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
    let ends = (port(gateway), slow.local_addr().ok().map(|address| address.port()));
    let table = fs::read_to_string("/proc/net/tcp").map_err(|e| e.to_string())?;
    let hex_port = |end: &str| end.rsplit_once(':').and_then(|(_, port)| u16::from_str_radix(port, 16).ok());
    let queue = table.lines().find_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let found = (hex_port(fields.get(1)?), hex_port(fields.get(2)?)) == ends;
        found.then(|| u64::from_str_radix(fields.get(4)?.split_once(':')?.0, 16).ok()).flatten()
    });
    queue.ok_or_else(|| "the connection is gone".to_owned())
}

/// Connects one that reads nothing, and waits until the system takes nothing more for it.
fn hold_up(gateway: &str, quick: &[Listener<Heard>]) -> TcpStream {
    let slow = listener::ask(gateway);
    eventually("a connection is full", PATIENCE, || {
        let (before, heard) = (untaken(gateway, &slow)?, quick[0].count());
        // Several batches of events, of which not one byte fitted any more.
        eventually("events go on", PATIENCE, || match quick[0].count() - heard {
            200.. => Ok(()),
            more => Err(format!("{more} events")),
        });
        match untaken(gateway, &slow)? {
            after if after > 0 && after == before => Ok(()),
            after => Err(format!("{after} bytes wait, {before} before")),
        }
    });
    slow
}

/// Delays of [`EVENTS`] events at every listener, microseconds in ascending order. No listener may have missed any.
fn phase(quick: &[Listener<Heard>], last: &mut [Option<u64>]) -> Vec<i64> {
    collect(quick, last);
    eventually("every listener has heard enough", PATIENCE, || {
        let least = quick.iter().map(Listener::count).min().unwrap_or(0);
        if least >= EVENTS { Ok(()) } else { Err(format!("{least} events")) }
    });
    let mut delays = collect(quick, last);
    delays.sort_unstable();
    delays
}

/// Takes what was heard, and holds the numbers against what each listener had heard before.
fn collect(quick: &[Listener<Heard>], last: &mut [Option<u64>]) -> Vec<i64> {
    let mut delays = Vec::new();
    for (who, (listener, last)) in quick.iter().zip(last).enumerate() {
        assert!(listener.is_connected(), "listener {who} was cut off");
        for (number, delay) in listener.take() {
            assert!(last.is_none_or(|last| number == last + 1), "listener {who}: {number} follows {last:?}");
            *last = Some(number);
            delays.extend(delay);
        }
    }
    delays
}

fn at(delays: &[i64], share: f64) -> f64 {
    delays[((delays.len() - 1) as f64 * share) as usize] as f64
}

#[test]
fn one_of_two_hundred_listeners_reads_nothing_and_the_others_are_not_delayed() {
    if !require(&plant::TOOLS) {
        return;
    }
    let mut plant = Plant::start(&options());
    plant.start_sim();
    let address = plant.gateways[0].address();
    let first = Listener::start(&address, keep);
    eventually("events flow", PATIENCE, || match first.count() {
        100.. => Ok(()),
        heard => Err(format!("{heard} events")),
    });
    drop(first);
    let memory = |plant: &Plant| plant.gateways[0].process.anonymous_kib().expect("the gateway runs");
    let before = memory(&plant);
    let quick: Vec<_> = (0..LISTENERS).map(|_| Listener::start(&address, keep)).collect();
    let mut last = vec![None; LISTENERS];

    let (mut with, mut without) = (Vec::new(), Vec::new());
    let mut slow = hold_up(&address, &quick);
    for round in 0..2 {
        with.extend(phase(&quick, &mut last));
        assert!(untaken(&address, &slow).is_ok_and(|waits| waits > 0), "the slow listener was cut off too early");
        if round == 0 {
            drop(slow);
            without.extend(phase(&quick, &mut last));
            slow = hold_up(&address, &quick);
        }
    }
    let grown = memory(&plant).saturating_sub(before);
    eventually("the slow listener is cut off", PATIENCE, || {
        let metrics = http::get(&plant.gateways[0].url("/metrics"))?;
        let cut = http::labelled_metric(&metrics, "fettle_gateway_event_readers_cut_off_total", "reason", "slow");
        if cut == Some(1.0) { Ok(()) } else { Err(format!("{cut:?} cut off as slow")) }
    });
    drop(slow);
    without.extend(phase(&quick, &mut last));

    with.sort_unstable();
    without.sort_unstable();
    for share in [0.5, 0.95] {
        let (with, without) = (at(&with, share), at(&without, share));
        println!("{:.0} %: {:.0} ms with a slow listener, {:.0} ms without", share * 100.0, with / 1e3, without / 1e3);
        assert!(
            with <= without * RATIO,
            "delays of the others, us at {share}: {with} with a slow one, {without} without"
        );
    }
    println!("memory: {before} KiB before, {grown} KiB more with {LISTENERS} listeners and one that reads nothing");
    assert!(grown <= MEMORY_KIB, "memory grew by {grown} KiB, the bound is {MEMORY_KIB} KiB");
}
