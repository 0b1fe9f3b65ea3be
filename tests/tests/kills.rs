//! kill -9 of the agent, mosquitto (with the agent away), Kafka and the gateway, mid-stream: no frame confirmed durable is
//! lost, none counts twice, no conflict, everything unconfirmed is sent again, and the final revisions equal those of an
//! undisturbed run.
//! `cargo verify --long`: 20 times the agent, 5 times each of the others.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::time::Duration;

use fettle_wire::Health;
use fettle_wire::time::{HOUR, MINUTE, Micros, Rfc3339};
use testbed::{Plant, PlantOptions, account, clock, eventually, long, plant, records, require};

/// Who is killed.
#[derive(Debug, Clone, Copy)]
enum Victim {
    Agent,
    Mosquitto,
    Kafka,
    Gateway,
}

impl Victim {
    fn kill_and_start_again(self, plant: &mut Plant) {
        match self {
            Self::Agent => {
                plant.agent.kill();
                plant.agent.start_again();
            }
            // With the agent away: what mosquitto has acknowledged then lies with it alone, and goes with it.
            Self::Mosquitto => {
                plant.agent.kill();
                plant.await_unconfirmed(ONLY_WITH_THE_BROKER, Duration::from_secs(60));
                plant.broker.kill();
                plant.broker.start_again();
                plant.agent.start_again();
            }
            Self::Kafka => {
                plant.kafka.kill();
                plant.kafka.start_again();
            }
            Self::Gateway => {
                plant.gateways[0].kill();
                plant.gateways[0].start_again();
            }
        }
    }
}

/// The order of kills: each other victim among those of the agent.
fn victims(agent: usize, others: usize) -> Vec<Victim> {
    let mut list = vec![Victim::Agent; agent];
    for round in 0..others {
        for (i, other) in [Victim::Mosquitto, Victim::Kafka, Victim::Gateway].into_iter().enumerate() {
            let place = (round * 3 + i + 1) * list.len() / (others * 3 + 1);
            list.insert(place.min(list.len()), other);
        }
    }
    list
}

/// Frames that mosquitto has acknowledged and the agent has not confirmed when mosquitto is killed.
const ONLY_WITH_THE_BROKER: u64 = 100;
/// Frames confirmed between two kills.
const BETWEEN_KILLS: u64 = 300;

/// The same fleet at the same event time, `speed` times as fast as the wall.
fn options(name: &'static str, start: Micros, span: Micros, speed: u32) -> PlantOptions {
    let mut options = PlantOptions::new(name);
    options.sim = format!(
        "seed = 11\nmachines = 20\ninterval = \"10s\"\nframe_readings = 5\nstart = \"{}\"\nspan = \"{}min\"\n\
         speed = {speed}.0\nwait = true\ndrain = \"3min\"\nresend_after = \"3s\"",
        Rfc3339(start),
        span / MINUTE
    );
    // Nothing is late and nobody idle because of a fault; the baseline is learned within the first hour, so that the
    // verdicts are compared too.
    options.engine = "lateness = \"1d\"\nidle = \"1h\"\nbaseline_slides = 60".to_owned();
    options
}

/// Everything must have arrived, once; then the final revision of each window, without its number.
fn settle(plant: &mut Plant) -> BTreeMap<(String, Micros), Health> {
    let sim = plant.await_sim(Duration::from_secs(1800));
    assert!(sim.all_confirmed(), "{:?}", sim.frames);
    eventually("the accounts cover what nodes were told, each frame once", Duration::from_secs(90), || {
        let differences = account::differences(&sim, &records::final_ledger(&plant.kafka)?);
        if differences.is_empty() { Ok(()) } else { Err(differences.join("; ")) }
    });
    plant.await_outbox_empty(Duration::from_secs(60));
    let total = records::total(records::final_ledger(&plant.kafka).unwrap().values());
    plant.await_gateway_total(0, &total, Duration::from_secs(60));
    let all: Vec<records::Published<Health>> = records::read(&plant.kafka, "fettle.health").unwrap();
    assert_eq!(records::conflicts(&all), Vec::<String>::new(), "equal id, different content");
    println!(
        "{} frames, {} sent again, {} readings received, {} known already, {} health records",
        sim.frames.confirmed,
        sim.traffic.resent,
        total.received,
        total.duplicate,
        all.len()
    );
    let mut last = records::final_health(&plant.kafka).unwrap();
    last.values_mut().for_each(|health| health.revision = 0);
    last
}

#[test]
fn nothing_confirmed_is_lost_or_doubled_by_kill_9_and_the_final_results_are_those_of_an_undisturbed_run() {
    if !require(&plant::TOOLS) {
        return;
    }
    let (agent, others, span) = if long() { (20, 5, 16 * HOUR) } else { (4, 1, 4 * HOUR) };
    let start = (clock::wall() - span - HOUR) / MINUTE * MINUTE;

    let expected = {
        let mut plant = Plant::start(&options("undisturbed", start, span, 1000));
        plant.start_sim();
        settle(&mut plant)
    };

    let mut plant = Plant::start(&options("kills", start, span, 60));
    plant.start_sim();
    let mut confirmed = 0;
    for victim in victims(agent, others) {
        confirmed = plant.await_confirmed(confirmed, BETWEEN_KILLS, Duration::from_secs(120));
        println!("{confirmed} frames confirmed: kill -9 {victim:?}");
        victim.kill_and_start_again(&mut plant);
    }
    let found = settle(&mut plant);
    let sim = plant.sim_ledger().unwrap();
    let lost_with_the_broker = others as u64 * ONLY_WITH_THE_BROKER;
    assert!(sim.traffic.resent >= lost_with_the_broker, "what a killed broker had acknowledged is sent again: {sim:?}");

    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>(), "the same windows");
    for (window, health) in &expected {
        assert_eq!(&found[window], health, "{window:?}");
    }
    assert!(expected.len() as i64 >= 20 * (span / MINUTE - 2), "only {} windows", expected.len());
}

#[test]
fn the_order_of_kills_has_everybody_as_often_as_asked() {
    let list = victims(20, 5);
    let count = |wanted: fn(&Victim) -> bool| list.iter().filter(|v| wanted(v)).count();
    assert_eq!(count(|v| matches!(v, Victim::Agent)), 20);
    assert_eq!(count(|v| matches!(v, Victim::Mosquitto)), 5);
    assert_eq!(count(|v| matches!(v, Victim::Kafka)), 5);
    assert_eq!(count(|v| matches!(v, Victim::Gateway)), 5);
}
