//! Two fleet gateways share the work. One is killed mid-stream: no gap, no double, and both show everything.

use std::time::Duration;

use fettle_wire::{Health, LedgerEntry};
use testbed::{Plant, PlantOptions, account, eventually, plant, records, require};

#[test]
fn one_of_two_gateways_is_killed_and_neither_misses_nor_doubles_a_record() {
    if !require(&plant::TOOLS) {
        return;
    }
    let mut options = PlantOptions::new("gateways");
    options.gateways = 2;
    options.sim = "seed = 13\nmachines = 30\ninterval = \"10s\"\nframe_readings = 5\n\
                   start = \"now-4h\"\nspan = \"3h\"\nspeed = 120.0\nwait = true"
        .to_owned();
    options.engine = "idle = \"10min\"\nlateness = \"30min\"".to_owned();
    let mut plant = Plant::start(&options);
    eventually("both gateways own partitions", Duration::from_secs(60), || {
        let owned = |gateway: usize| plant.gateways[gateway].metric("fettle_gateway_partitions_owned");
        match (owned(0)?, owned(1)?) {
            (a, b) if a > 0.0 && b > 0.0 => Ok(()),
            owned => Err(format!("{owned:?}")),
        }
    });
    plant.start_sim();
    let confirmed = plant.await_confirmed(0, 500, Duration::from_secs(120));
    plant.gateways[1].kill();
    plant.await_confirmed(confirmed, 500, Duration::from_secs(120));
    plant.gateways[1].start_again();
    let sim = plant.await_sim(Duration::from_secs(300));
    eventually("the accounts cover what nodes were told", Duration::from_secs(60), || {
        let differences = account::differences(&sim, &records::final_ledger(&plant.kafka)?);
        if differences.is_empty() { Ok(()) } else { Err(differences.join("; ")) }
    });
    plant.await_outbox_empty(Duration::from_secs(60));

    let total = records::total(records::final_ledger(&plant.kafka).unwrap().values());
    let health: Vec<records::Published<Health>> = records::read(&plant.kafka, "fettle.health").unwrap();
    let ledger: Vec<records::Published<LedgerEntry>> = records::read(&plant.kafka, "fettle.ledger").unwrap();
    for gateway in [0, 1] {
        plant.await_gateway_total(gateway, &total, Duration::from_secs(90));
        // Everything was taken in by one of the two, once, and each shows the whole.
        eventually("every record is applied once", Duration::from_secs(60), || {
            let fleet = plant.fleet(gateway)?;
            let seen = fleet.records_of("fettle.health");
            if seen == (health.len() as u64, 0) { Ok(()) } else { Err(format!("{seen:?} of {}", health.len())) }
        });
        let fleet = plant.fleet(gateway).unwrap();
        let (applied, duplicates) = fleet.records_of("fettle.ledger");
        assert!(applied + duplicates <= ledger.len() as u64, "{applied} + {duplicates} of {}", ledger.len());
        let assets = plant.gateways[gateway].json("/api/v1/assets?limit=1000").unwrap();
        assert_eq!(assets["total"].as_u64(), Some(30), "{assets}");
    }
}
