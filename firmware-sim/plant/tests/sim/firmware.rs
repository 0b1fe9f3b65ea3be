//! Claims about runs whose nodes are the firmware on simulated chips, against a real mosquitto and the agent's stand-in.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::run::{reconcile, run};
use crate::support::{Agent, Broker, config};
use fettle_sim::publish::{Clock, Running};
use fettle_sim::{registry, truth};

#[tokio::test]
async fn readings_and_waveforms_of_the_firmware_are_all_confirmed_and_equal_the_record() {
    let folder = tempfile::tempdir().unwrap();
    let Some(broker) = Broker::start(folder.path(), "") else { return };
    let agent = Agent::start(broker.port, "test");
    let top = "node = \"firmware\"\nmachines = 4\nspan = \"180s\"\nstart = \"now-1h\"\nspeed = 60\ntruth = \"truth\"\n\
               record = \"record.csv\"\nresend_after = \"20s\"";
    let tables = "connections = 2\n[waveform]\ninterval = \"60s\"\nblocks = 2\n[fault]\nshare = 0.5";
    let ledger = run(&config(folder.path(), broker.port, top, tables)).await;
    // Four channels a second and two blocks a minute; a reading that falls into a burst waits for its end.
    let blocks = 4 * 3 * 2;
    assert!((4 * 176 * 4..=4 * 180 * 4 + blocks).contains(&ledger.readings.generated), "{:?}", ledger.readings);
    assert_eq!((ledger.frames.confirmed, ledger.frames.held), (ledger.frames.generated, 0));
    assert!(ledger.machines.iter().all(|m| m.sensor_failures.is_empty() && m.samples_lost == 0));
    let seen = agent.stop().await;
    assert_eq!(reconcile(&ledger, &seen), 0);
    let waveforms: Vec<_> = seen.values().flat_map(|b| b.waveforms.iter()).collect();
    assert_eq!(waveforms.len() as u64, blocks);
    assert!(waveforms.iter().all(|w| w.1.2 == 4_096));
    for boot in seen.values() {
        let blocks: Vec<_> = boot.waveforms.iter().collect();
        for pair in blocks.chunks(2) {
            let [(one, a), (other, b)] = pair else { panic!("a burst of two") };
            let length = (b.0.unwrap() - a.0.unwrap()) as f64 * 1e-6 * a.1;
            assert!(**other == **one + 1 && (length - 4_096.0).abs() < 0.1, "{length} samples from block to block");
        }
    }
    let recorded = std::fs::read_to_string(folder.path().join("record.csv")).unwrap();
    let mut recorded: Vec<String> = recorded.lines().skip(1).map(str::to_owned).collect();
    let mut received: Vec<String> = Vec::new();
    for ((asset, boot), state) in &seen {
        for (sequence, readings) in &state.frames {
            for (channel, time, value) in readings {
                received.push(format!("{asset},{channel},{},{value},{boot:016x},{sequence}", time.unwrap()));
            }
        }
    }
    recorded.sort();
    received.sort();
    assert_eq!(recorded, received);
    let truth = std::fs::read_to_string(folder.path().join("truth")).unwrap();
    let lines: Vec<serde_json::Value> = truth.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let spalls: Vec<_> = lines.iter().filter(|l| !l["fault"].is_null()).map(|l| &l["fault"]["spall"]).collect();
    assert_eq!(spalls.len(), 2);
    for spall in spalls {
        let last = spall["area_mm2"].as_array().unwrap().last().unwrap()[1].as_f64().unwrap();
        assert!((last - 6.45).abs() < 1e-9 && spall["order"].as_f64().unwrap() > 1.0, "{spall}");
    }
    assert!(lines.iter().all(|l| l["bearing"]["bpfo"].as_f64().unwrap() > 1.0));
}

#[tokio::test]
async fn brown_outs_reboots_and_cuts_cost_no_confirmed_frame() {
    let folder = tempfile::tempdir().unwrap();
    let Some(broker) = Broker::start(folder.path(), "") else { return };
    let agent = Agent::start(broker.port, "test");
    let top = "node = \"firmware\"\nmachines = 4\nduration = \"6s\"\nstart = \"now-3d\"\nspeed = 60\n\
               resend_after = \"400ms\"";
    let tables = "connections = 2\n[waveform]\ninterval = \"20s\"\n[link]\nlost_share = 0.1\nbrownout_every = \"1500ms\"\n\
                  reboot_every = \"4s\"\ndrop_every = \"2s\"\ndrop_for = \"300ms\"\n\
                  [[sensor_fault]]\nkind = \"dropout\"\nchannel = \"pressure\"\nshare = 1.0\nonset = \"0s\"";
    let ledger = run(&config(folder.path(), broker.port, top, tables)).await;
    let seen = agent.stop().await;
    assert_eq!(ledger.frames.held, 0, "{:#?}", ledger.frames);
    reconcile(&ledger, &seen);
    for machine in &ledger.machines {
        assert!(machine.boots.len() >= 4, "{}", machine.boots.len());
        // What the node was told is durable, the agent has.
        for boot in &machine.boots {
            let state = seen.get(&(machine.asset.clone(), u64::from_str_radix(&boot.boot, 16).unwrap()));
            let missing = (0..boot.durable).filter(|s| !state.is_some_and(|b| b.frames.contains_key(s))).count();
            assert_eq!(missing as u64, 0, "{} misses confirmed frames of {boot:?}", machine.asset);
        }
        assert!(machine.sensor_failures["pressure"]["bus"] > 0, "{:?}", machine.sensor_failures);
    }
    let readings: u64 = ledger.machines.iter().map(|m| m.readings.lost_by_reboot).sum();
    assert!(readings > 0);
    // A boot numbers its frames from 0 without a gap, whatever the power did.
    let mut boots: BTreeMap<&str, usize> = BTreeMap::new();
    seen.keys().for_each(|(asset, _)| *boots.entry(asset).or_default() += 1);
    assert!(boots.values().all(|count| *count >= 2), "{boots:?}");
}

#[tokio::test]
async fn two_plants_run_in_one_process_and_are_watched_as_values() {
    let folder = tempfile::tempdir().unwrap();
    let Some(broker) = Broker::start(folder.path(), "") else { return };
    let agent = Agent::start(broker.port, "test");
    let plant = |prefix: &str, node: &str| {
        let top = format!(
            "name_prefix = \"{prefix}\"\nnode = \"{node}\"\nmachines = 2\nstart = \"now-3d\"\nspeed = 600\n\
             ledger_interval = \"100ms\""
        );
        Running::start(
            config(folder.path(), broker.port, &top, "[fault]\nshare = 1.0"),
            Clock::start(),
            &tokio::runtime::Handle::current(),
        )
    };
    let plants = [plant("pump", "firmware"), plant("fan", "light")];
    assert_eq!(truth::of(plants[0].fleet()).filter(|t| t.fault.is_some()).count(), 2);
    assert!(registry::toml(plants[0].fleet(), &[], 1.0).unwrap().contains("bearing_geometry"));
    for plant in &plants {
        let mut progress = plant.progress();
        let begun = progress.borrow().event_time;
        let grown = progress.wait_for(|p| p.ledger.frames.confirmed > 50 && p.event_time > begun + 600_000_000);
        let grown = tokio::time::timeout(Duration::from_secs(60), grown).await.expect("it goes on").unwrap().clone();
        assert!(grown.speed == 600.0 && grown.ledger.balances() && grown.ledger.machines.len() == 2);
    }
    for plant in plants {
        plant.stop();
        let mut progress = plant.progress();
        let outcome = plant.join().await.unwrap();
        assert!(outcome.stopped && outcome.ledger.phase == "finished");
        assert_eq!(*progress.borrow_and_update().ledger, outcome.ledger);
        assert!(progress.changed().await.is_err(), "closed at the end");
    }
    agent.stop().await;
}
