//! 200 assets with 5 channels each: every frame confirmed durable is accounted for at the gateway, the sums are equal, and
//! every published aggregate equals an independent naive computation from the simulator's own record.

use std::time::Duration;

use testbed::naive::{self, History};
use testbed::{Plant, PlantOptions, account, eventually, plant, records, require};

#[test]
fn every_frame_confirmed_durable_is_accounted_for_and_every_aggregate_is_right() {
    if !require(&plant::TOOLS) {
        return;
    }
    let mut options = PlantOptions::new("accounted");
    options.sim = "seed = 7\nmachines = 200\ninterval = \"10s\"\nframe_readings = 5\n\
                   start = \"now-2h\"\nspan = \"45min\"\nspeed = 60.0\nwait = true"
        .to_owned();
    options.sim_tables = "connections = 4".to_owned();
    options.engine = "lateness = \"30min\"\nidle = \"10min\"".to_owned();
    let mut plant = Plant::start(&options);
    plant.start_sim();
    let sim = plant.await_sim(Duration::from_secs(300));
    assert!(sim.all_confirmed(), "{:?}", sim.frames);
    assert_eq!(sim.readings.generated, 200 * 5 * 270);

    let ledger =
        eventually("the agent's accounts on Kafka cover what nodes were told", Duration::from_secs(60), || {
            let ledger = records::final_ledger(&plant.kafka)?;
            let differences = account::differences(&sim, &ledger);
            if differences.is_empty() { Ok(ledger) } else { Err(differences[..differences.len().min(10)].join("; ")) }
        });
    let total = records::total(ledger.values());
    plant.await_gateway_total(0, &total, Duration::from_secs(60));
    plant.await_outbox_empty(Duration::from_secs(60));

    let history = History::load(&plant.record());
    assert_eq!(history.len() as u64, sim.readings.generated, "the record holds what was sent");
    let registry = plant.registry();
    let health = records::final_health(&plant.kafka).unwrap();
    let (mut compared, mut wrong) = (0, Vec::new());
    for record in health.values() {
        let (summaries, differences) = naive::compare(&history, record, |c| plant::unit(&registry, &record.asset, c));
        compared += summaries;
        wrong.extend(differences);
    }
    assert!(
        wrong.is_empty(),
        "{} of {compared} summaries differ, e.g. {:#?}",
        wrong.len(),
        &wrong[..wrong.len().min(10)]
    );
    // 45 minutes on a grid of one minute, the last point not passed by the watermark.
    assert!(compared >= 200 * 5 * 43, "only {compared} summaries were published");
    println!("{} readings in {} frames; {compared} summaries compared", total.received, sim.frames.confirmed);
}
