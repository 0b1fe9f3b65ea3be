//! Claims about whole runs, against a real mosquitto and a stand-in for the agent.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::support::{Agent, Boot, Broker, config, missing};
use fettle_sim::Config;
use fettle_sim::ledger::Ledger;
use fettle_sim::publish::{self, Clock};

pub(crate) async fn run(config: &Config) -> Ledger {
    let never = Arc::new(AtomicBool::new(false));
    let run = publish::run(config, Clock::start(), never);
    let outcome = tokio::time::timeout(Duration::from_secs(100), run).await.expect("the run ends").unwrap();
    assert!(outcome.ledger.balances(), "{:#?}", outcome.ledger);
    outcome.ledger
}

fn boot_of<'a>(seen: &'a BTreeMap<(String, u64), Boot>, asset: &str, boot: &str) -> Option<&'a Boot> {
    seen.get(&(asset.to_owned(), u64::from_str_radix(boot, 16).unwrap()))
}

/// What the ledger says is lost is an upper bound of what the agent misses, boot by boot; all else arrived.
pub(crate) fn reconcile(ledger: &Ledger, seen: &BTreeMap<(String, u64), Boot>) -> u64 {
    let mut missed = 0;
    for machine in &ledger.machines {
        for boot in &machine.boots {
            let lost = boot.frames.overflowed + boot.frames.lost_by_reboot + boot.frames.discarded;
            let gone =
                boot_of(seen, &machine.asset, &boot.boot).map_or(boot.next, |b| missing(b, boot.next).len() as u64);
            assert!(gone <= lost, "{} misses {gone} frames of boot {boot:#?}", machine.asset);
            missed += gone;
        }
    }
    missed
}

#[tokio::test]
async fn every_reading_of_a_calm_run_is_confirmed_and_equals_the_record() {
    let folder = tempfile::tempdir().unwrap();
    let Some(broker) = Broker::start(folder.path(), "") else { return };
    let agent = Agent::start(broker.port, "test");
    let top = "machines = 20\nframe_readings = 3\nspan = \"30s\"\nstart = \"now-1h\"\nspeed = 20\ntruth = \"truth\"\n\
               ledger = \"ledger.json\"\nrecord = \"record.csv\"\nresend_after = \"20s\"";
    let ledger = run(&config(folder.path(), broker.port, top, "connections = 3\n[fault]\nshare = 0.5")).await;
    assert_eq!(ledger.readings.generated, 20 * 30 * 5);
    assert_eq!((ledger.frames.confirmed, ledger.frames.held), (ledger.frames.generated, 0));
    assert_eq!((ledger.traffic.resent, ledger.traffic.acknowledged), (0, ledger.frames.generated));
    let seen = agent.stop().await;
    assert_eq!(reconcile(&ledger, &seen), 0);

    let mut recorded: BTreeMap<(String, u64), Vec<String>> = BTreeMap::new();
    for line in std::fs::read_to_string(folder.path().join("record.csv")).unwrap().lines().skip(1) {
        let fields: Vec<&str> = line.split(',').collect();
        let key = (fields[0].to_owned(), u64::from_str_radix(fields[4], 16).unwrap());
        recorded.entry(key).or_default().push(format!("{},{},{},{}", fields[1], fields[2], fields[3], fields[5]));
    }
    let received: BTreeMap<(String, u64), Vec<String>> = seen
        .iter()
        .map(|(key, boot)| {
            let lines = boot.frames.iter().flat_map(|(sequence, readings)| {
                readings
                    .iter()
                    .map(move |(channel, time, value)| format!("{channel},{},{value},{sequence}", time.unwrap()))
            });
            (key.clone(), lines.collect())
        })
        .collect();
    assert_eq!(recorded, received);

    let truth = std::fs::read_to_string(folder.path().join("truth")).unwrap();
    assert_eq!(truth.lines().count(), 20);
    assert_eq!(truth.matches("bearing_wear").count(), 10);
    let written: Ledger = serde_json::from_slice(&std::fs::read(folder.path().join("ledger.json")).unwrap()).unwrap();
    assert_eq!(written, ledger);
}

#[tokio::test]
async fn in_foul_weather_whatever_is_not_counted_as_lost_arrives() {
    let folder = tempfile::tempdir().unwrap();
    let Some(broker) = Broker::start(folder.path(), "") else { return };
    let agent = Agent::start(broker.port, "test");
    let top = "machines = 12\ninterval = \"50ms\"\nduration = \"6s\"\nresend_after = \"400ms\"";
    let tables = "connections = 2\n[link]\nduplicate_share = 0.2\nlate_share = 0.2\nlate_by = \"700ms\"\nlost_share = 0.2\n\
                  drop_every = \"1s\"\ndrop_for = \"300ms\"\nreboot_every = \"2s\"\n[clock]\nfault = \"absent\"\nshare = 0.3";
    let ledger = run(&config(folder.path(), broker.port, top, tables)).await;
    let seen = agent.stop().await;
    assert_eq!(ledger.frames.held, 0, "{:#?}", ledger.frames);
    reconcile(&ledger, &seen);
    let traffic = &ledger.traffic;
    assert!(
        traffic.resent > 0 && traffic.duplicated > 0 && traffic.delayed > 0 && traffic.swallowed > 0,
        "{traffic:?}"
    );
    assert!(ledger.connects >= 6 && ledger.machines.iter().all(|m| m.boots.len() >= 2), "{}", ledger.connects);
    let times: Vec<bool> = seen.values().flat_map(|b| b.frames.values().flatten().map(|r| r.1.is_some())).collect();
    assert!(times.contains(&true) && times.contains(&false));
}

#[tokio::test]
async fn a_broker_that_comes_late_and_dies_in_between_costs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mut broker) = Broker::prepare(folder.path(), "") else { return };
    let agent = Agent::start(broker.port, "test");
    let top = "machines = 5\ninterval = \"50ms\"\nduration = \"5s\"\nresend_after = \"500ms\"";
    let config = config(folder.path(), broker.port, top, "");
    let run = run(&config);
    let outage = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        broker.up();
        tokio::time::sleep(Duration::from_secs(2)).await;
        broker.down();
        broker.up();
    };
    let (ledger, ()) = tokio::join!(run, outage);
    let seen = agent.stop().await;
    assert_eq!((ledger.frames.held, ledger.frames.overflowed), (0, 0));
    assert_eq!(reconcile(&ledger, &seen), 0);
    assert!(ledger.connects >= 2);
}

#[tokio::test]
async fn without_an_agent_frames_stay_held_and_a_small_ring_counts_what_it_drops() {
    let folder = tempfile::tempdir().unwrap();
    let Some(broker) = Broker::start(folder.path(), "") else { return };
    let top = "machines = 2\ninterval = \"10ms\"\nduration = \"1500ms\"\nring_bytes = \"4KiB\"\ndrain = \"500ms\"";
    let ledger = run(&config(folder.path(), broker.port, top, "")).await;
    assert!(ledger.frames.held > 0 && ledger.frames.overflowed > 0, "{:?}", ledger.frames);
    assert!(ledger.traffic.acknowledged > 0 && ledger.frames.confirmed == 0, "an acknowledgement frees nothing");
}

#[tokio::test]
async fn an_overflowed_ring_does_not_leave_agent_and_node_waiting_for_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let Some(broker) = Broker::start(folder.path(), "") else { return };
    let top = "machines = 3\ninterval = \"10ms\"\nduration = \"3s\"\nring_bytes = \"4KiB\"\nresend_after = \"300ms\"";
    let config = config(folder.path(), broker.port, top, "");
    let late = async {
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        Agent::start(broker.port, "test")
    };
    let (ledger, agent) = tokio::join!(run(&config), late);
    let seen = agent.stop().await;
    assert!(
        ledger.frames.overflowed > 0 && ledger.frames.confirmed > 0 && ledger.frames.held == 0,
        "{:?}",
        ledger.frames
    );
    assert!(reconcile(&ledger, &seen) > 0);
}

#[tokio::test]
async fn a_frame_larger_than_the_broker_takes_is_given_up_and_breaks_no_connection() {
    let folder = tempfile::tempdir().unwrap();
    let Some(broker) = Broker::start(folder.path(), "max_packet_size 300") else { return };
    let top = "machines = 1\ninterval = \"10ms\"\nframe_readings = 100\nframes = 5\ndrain = \"2s\"";
    let ledger = run(&config(folder.path(), broker.port, top, "")).await;
    assert_eq!((ledger.frames.discarded, ledger.frames.held, ledger.connects), (5, 0, 1));
}

#[tokio::test]
async fn generation_that_waits_for_the_link_overflows_nothing_at_any_speed() {
    let folder = tempfile::tempdir().unwrap();
    let Some(broker) = Broker::start(folder.path(), "") else { return };
    let agent = Agent::start(broker.port, "test");
    let top = "machines = 4\nwait = true\nspeed = 1e6\nstart = \"now-30d\"\nframes = 8000\nring_bytes = \"16KiB\"";
    let ledger = run(&config(folder.path(), broker.port, top, "")).await;
    assert_eq!((ledger.frames.generated, ledger.frames.confirmed, ledger.frames.overflowed), (8_000, 8_000, 0));
    assert_eq!(reconcile(&ledger, &agent.stop().await), 0);
}
