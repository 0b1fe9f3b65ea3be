//! Nodes on the real firmware that lose power in the middle of frames, reboot, and lose their broker to kill -9, for so
//! long that rings overflow: no frame that a node was told is durable is lost, everything sent is received or missing, and
//! what a ring dropped shows with its very sequences in the agent's ledger and at the fleet gateway.
//!
//! What lies on the agent's disk is read from its store, batch by batch, by somebody who knows the format and nothing of
//! the ledger.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::time::Duration;

use fettle_agent::journal::entry::{Entry, Header, next_entry};
use fettle_agent::journal::lmdb::{Access, Lmdb};
use fettle_agent::journal::store::Store;
use fettle_agent::journal::{batch_key, open};
use fettle_wire::{Frame, LedgerEntry, NodeAccount};
use serde_json::Value;
use testbed::sim_ledger::{Boot, SimLedger};
use testbed::{Deadline, Plant, PlantOptions, SimOptions, account, eventually, plant, records, require};

const PATIENCE: Duration = Duration::from_secs(60);
/// Frames confirmed between two blows.
const BETWEEN: u64 = 300;
/// How often the broker dies.
const BLOWS: u32 = 6;
/// Frames that a steady node makes and drops while the broker is away.
const DROPPED: u64 = 20;
/// The room that an agent's store may take by default.
const STORE_BYTES: u64 = 1 << 36;

/// What both kinds of nodes have in common: at this speed the ring holds some four seconds.
const NODES: &str = "node = \"firmware\"\ninterval = \"1s\"\nframe_readings = 8\nframe_age = \"4s\"\nstart = \"now-7d\"\n\
                     speed = 60.0\nring_bytes = \"64KiB\"\nresend_after = \"2s\"\ndrain = \"3min\"";
const WAVEFORM: &str = "[waveform]\ninterval = \"10s\"\nsamples = 512\nblocks = 3\n";

fn options() -> PlantOptions {
    let mut options = PlantOptions::new("brown-outs");
    options.sim = format!("seed = 21\nmachines = 6\nname_prefix = \"rough\"\nduration = \"100s\"\n{NODES}");
    // At most 16 boots of a node are listed; these are some dozen.
    options.sim_tables = format!(
        "{WAVEFORM}[link]\nbrownout_every = \"11s\"\nreboot_every = \"31s\"\ndrop_every = \"17s\"\ndrop_for = \"2s\"\n\
         duplicate_share = 0.03\nlost_share = 0.03"
    );
    let sim = format!("seed = 22\nmachines = 3\nname_prefix = \"steady\"\nduration = \"100s\"\n{NODES}");
    options.also = vec![SimOptions { name: "steady".to_owned(), sim, tables: WAVEFORM.to_owned() }];
    options.engine = "lateness = \"1d\"\nidle = \"1h\"".to_owned();
    options.agent_tables = "[waveform]\nblocks_per_minute = 100000".to_owned();
    options
}

/// Sequences of each boot's frames on the agent's disk, and the readings in them.
#[derive(Debug, Default)]
struct Disk {
    boots: BTreeMap<String, BTreeSet<u64>>,
    readings: u64,
}

impl Disk {
    fn read(plant: &Plant) -> Self {
        let store = Lmdb::open(&plant.folder.path().join("agent"), STORE_BYTES, Access::Read).unwrap();
        let mut disk = Self::default();
        let visit = &mut |key: &[u8], value: &[u8]| {
            let opened = open(key, value).unwrap();
            let mut bytes = &opened[..];
            Header::decode(&mut bytes).unwrap();
            while let Some(entry) = next_entry(&mut bytes).unwrap() {
                disk.take(&entry);
            }
            ControlFlow::Continue(())
        };
        store.scan(&batch_key(0), &batch_key(u64::MAX), visit).unwrap();
        disk
    }

    fn take(&mut self, entry: &Entry) {
        let Entry::Messages { messages, .. } = entry else { return };
        for message in messages {
            let frame = Frame::decode(&message.payload).unwrap();
            if self.boots.entry(format!("{:016x}", frame.boot)).or_default().insert(frame.sequence) {
                self.readings += frame.weight();
            }
        }
    }

    fn of(&self, boot: &Boot) -> BTreeSet<u64> {
        self.boots.get(&boot.boot).cloned().unwrap_or_default()
    }

    /// Frames that the node was told are durable and that are neither here nor dropped by the node before.
    fn broken_promises(&self, boot: &Boot) -> Vec<u64> {
        let held = self.of(boot);
        (0..boot.durable).filter(|s| !held.contains(s) && !boot.overflowed(*s)).collect()
    }
}

/// Gaps below the highest sequence, inclusive.
fn gaps(sequences: &BTreeSet<u64>) -> Vec<(u64, u64)> {
    let mut gaps = Vec::new();
    let mut next = 0;
    for sequence in sequences {
        if *sequence > next {
            gaps.push((next, sequence - 1));
        }
        next = sequence + 1;
    }
    gaps
}

/// kill -9 of the agent; what nodes were told until then is on its disk.
fn kill_agent(plant: &mut Plant) {
    plant.agent.kill();
    let disk = Disk::read(plant);
    // As last written: some moments old, so it says at most what was told.
    for sim in [plant.sim_ledger().unwrap(), plant.also[0].ledger().unwrap()] {
        for boot in sim.machines.iter().flat_map(|m| &m.boots) {
            let broken = disk.broken_promises(boot);
            assert!(broken.is_empty(), "{}: told durable, not on disk after kill -9: {broken:?}", boot.boot);
        }
    }
}

/// What a node made and its ring dropped while there was no broker at all: its boot, and the sequences, inclusive.
type Dropped = (String, u64, u64);

/// The broker stays away until each steady node's ring has dropped so many frames that were made without it.
fn cut_until_rings_overflow(plant: &mut Plant) -> Vec<Dropped> {
    let sim = &plant.also[0];
    let generated = |ledger: &SimLedger| ledger.frames.generated;
    let await_next = |than: u64| {
        eventually("the nodes go on without a broker", PATIENCE, || match sim.ledger()? {
            ledger if generated(&ledger) > than => Ok(ledger),
            _ => Err("no newer account".to_owned()),
        })
    };
    plant.broker.kill();
    // The second account after that was begun after that.
    let alone = await_next(generated(&await_next(generated(&sim.ledger().unwrap()))));
    let marks: Vec<_> = alone.machines.iter().map(|m| (m.boots[0].boot.clone(), m.boots[0].next)).collect();
    let dropped = eventually("the steady nodes' rings overflow", PATIENCE, || {
        let ledger = sim.ledger()?;
        let end = |at: usize| ledger.machines[at].boots[0].overflowed_ranges.last().map_or(0, |range| range.1);
        match (0..marks.len()).find(|at| end(*at) < marks[*at].1 + DROPPED) {
            Some(at) => Err(format!("the ring of {} has dropped up to {}", ledger.machines[at].asset, end(at))),
            None => Ok(marks.iter().enumerate().map(|(at, (boot, next))| (boot.clone(), *next, end(at))).collect()),
        }
    });
    plant.broker.start_again();
    dropped
}

/// Blows, each after some frames were confirmed, all of them kill -9 of the broker among other things; what rings dropped
/// meanwhile.
fn disturb(plant: &mut Plant) -> Vec<Dropped> {
    let mut dropped = Vec::new();
    let mut confirmed = plant.await_confirmed(0, BETWEEN, PATIENCE);
    for blow in 0..BLOWS {
        match blow % 3 {
            0 => {
                plant.broker.kill();
                plant.broker.start_again();
            }
            1 => {
                kill_agent(plant);
                plant.await_unconfirmed(100, PATIENCE);
                plant.broker.kill();
                plant.broker.start_again();
                plant.agent.start_again();
            }
            _ => dropped.extend(cut_until_rings_overflow(plant)),
        }
        confirmed = plant.await_confirmed(confirmed, BETWEEN, PATIENCE);
    }
    dropped
}

/// What was seen of all boots.
#[derive(Debug, Default)]
struct Seen {
    boots: u64,
    brownouts: u64,
    overflowed: u64,
    confirmed: u64,
    missing: u64,
    /// Behind the last frame of a boot that was received: dropped by its ring, or gone with the power.
    tails: u64,
}

/// Compares one boot's own account, the agent's, and the agent's disk.
fn compare(boot: &Boot, told: Option<&NodeAccount>, disk: &Disk, seen: &mut Seen) {
    let on_disk = disk.of(boot);
    let name = &boot.boot;
    let broken = disk.broken_promises(boot);
    assert!(broken.is_empty(), "{name}: told durable, not on disk: {broken:?}");
    let below = on_disk.range(..boot.durable).count() as u64;
    assert!(below >= boot.frames.confirmed, "{name}: {} frames confirmed, {below} on disk", boot.frames.confirmed);
    let next = on_disk.last().map_or(0, |last| last + 1);
    assert!(next <= boot.next, "{name}: frame {} was never made", next - 1);
    let Some(told) = told else {
        assert_eq!((on_disk.len(), boot.frames.confirmed), (0, 0), "{name}: the agent has no account of it");
        seen.tails += boot.next;
        return;
    };
    assert!(told.balances());
    assert_eq!((told.next, told.received), (next, on_disk.len() as u64), "{name}: next and received");
    assert_eq!(told.missing_ranges, gaps(&on_disk), "{name}: missing ranges");
    // Everything sent is received or missing, but for what a node took with it when it died.
    let tail = boot.next - next;
    assert_eq!(boot.frames.generated, told.received + told.missing + tail, "{name}");
    let absent = told.missing_ranges.iter().flat_map(|(from, to)| *from..=*to).chain(next..boot.next);
    for absent in absent {
        assert!(boot.overflowed(absent) || boot.lost_by_reboot(absent), "{name}: frame {absent} vanished");
    }
    seen.missing += told.missing;
    seen.tails += tail;
}

/// Every boot of every node of a simulator, as the agent and as the gateway have it.
fn compare_all(sim: &SimLedger, agent: &BTreeMap<String, LedgerEntry>, shown: &Value, disk: &Disk) -> Seen {
    let mut seen = Seen::default();
    for machine in &sim.machines {
        let entry = &agent[&machine.asset];
        assert_eq!((entry.retired_received, entry.retired_missing), (0, 0), "every boot is listed");
        let mut heard = 0;
        for boot in &machine.boots {
            let told = entry.nodes.iter().find(|node| node.boot == boot.boot);
            heard += usize::from(told.is_some());
            compare(boot, told, disk, &mut seen);
        }
        assert_eq!(heard, entry.nodes.len(), "{}: boots that nobody had", machine.asset);
        let at_gateway = shown["entries"].as_array().unwrap().iter().find(|e| e["asset"] == machine.asset.as_str());
        let nodes: Vec<NodeAccount> = serde_json::from_value(at_gateway.unwrap()["nodes"].clone()).unwrap();
        assert_eq!(nodes, entry.nodes, "{}: the boots at the gateway", machine.asset);
        seen.boots += machine.boots.len() as u64;
        seen.brownouts += machine.brownouts;
        seen.overflowed += machine.frames.overflowed;
        seen.confirmed += machine.frames.confirmed;
    }
    seen
}

/// Of nodes that never rebooted, what is missing is what their rings dropped, but for what had gone out before; and what
/// was made and dropped while there was no broker is missing to the last frame.
fn overflow_is_missing(sim: &SimLedger, agent: &BTreeMap<String, LedgerEntry>, dropped: &[Dropped]) {
    for machine in &sim.machines {
        let ([boot], [told]) = (&machine.boots[..], &agent[&machine.asset].nodes[..]) else {
            panic!("{} has rebooted", machine.asset)
        };
        println!("{}: its ring dropped {:?}", machine.asset, boot.overflowed_ranges);
        println!("{}: missing at agent and gateway {:?}", machine.asset, told.missing_ranges);
        assert_eq!(boot.frames.generated, told.received + told.missing, "{}: all is accounted for", machine.asset);
        assert_eq!(told.missing, told.lost, "{}: the node itself says that they are lost", machine.asset);
        for (_, from, to) in dropped.iter().filter(|d| d.0 == boot.boot) {
            let whole = told.missing_ranges.iter().any(|range| range.0 <= *from && *to <= range.1);
            assert!(whole, "{}: {from}..={to} was dropped without a broker, and is not missing", machine.asset);
        }
    }
}

#[test]
fn no_confirmed_frame_is_lost_by_brown_outs_reboots_and_brokers_that_die_and_what_rings_dropped_shows_with_its_range() {
    if !require(&plant::TOOLS) {
        return;
    }
    let clock = Deadline::new(Duration::MAX);
    let mut plant = Plant::start(&options());
    plant.start_sim();
    plant.also[0].start();
    let dropped = disturb(&mut plant);
    let (rough, steady) = (plant.await_sim(Duration::from_secs(300)), plant.also[0].await_end(PATIENCE));

    let (agent, total) = eventually("accounts on Kafka and at the gateway cover the agent's disk", PATIENCE, || {
        let agent = records::final_ledger(&plant.kafka)?;
        let behind = account::behind(&[&rough, &steady], &agent);
        let (total, fleet, disk) = (records::total(agent.values()), plant.fleet(0)?, Disk::read(&plant));
        let shown = fleet.totals.readings == total && fleet.totals.unbalanced == 0 && fleet.conflicts == 0;
        match total.received - total.duplicate == disk.readings && shown && behind.is_empty() {
            true => Ok((agent, total)),
            false => Err(format!("{behind:?}; disk {}, account {total:?}, {:?}", disk.readings, fleet.totals)),
        }
    });
    let shown = plant.gateways[0].json("/api/v1/ledger?limit=10000").unwrap();
    let fleet = plant.fleet(0).unwrap();
    plant.agent.kill();
    let disk = Disk::read(&plant);

    let seen = [&rough, &steady].map(|sim| compare_all(sim, &agent, &shown, &disk));
    overflow_is_missing(&steady, &agent, &dropped);
    assert!(total.balances(), "{total:?}");
    assert_eq!(total.received - total.duplicate, disk.readings, "each reading on disk is counted once");
    assert_eq!(fleet.totals.missing, seen.iter().map(|s| s.missing).sum::<u64>());
    println!(
        "rough nodes: {:?}\nsteady nodes: {:?}\n{BLOWS} times kill -9 of mosquitto; {:.0} s of wall time",
        seen[0],
        seen[1],
        clock.elapsed().as_secs_f64()
    );
    assert!(seen[0].brownouts >= 12 && seen[0].boots >= 24, "power failed too seldom: {:?}", seen[0]);
}
