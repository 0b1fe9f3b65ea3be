//! A growing fault is found before the machine fails. The lead time of each is printed, beside the false alarms of the
//! healthy machines of the same fleet.

use std::time::Duration;

use fettle_wire::time::{HOUR, Micros};
use fettle_wire::{Alert, Change};
use testbed::{Plant, PlantOptions, plant, records, require};

/// When the first alarm of an asset at or after `from` was raised.
fn first_alarm(alerts: &[records::Published<Alert>], asset: &str, from: Micros) -> Option<(Micros, String)> {
    let raised = alerts.iter().map(|a| &a.body).filter(|a| a.change == Change::Raised && a.asset.as_str() == asset);
    raised.filter(|a| a.at >= from).map(|a| (a.at, a.condition.clone())).min()
}

#[test]
fn a_growing_fault_is_found_before_the_machine_fails() {
    if !require(&plant::TOOLS) {
        return;
    }
    // A day of baseline holds every shift, at whatever hour this runs.
    let mut options = PlantOptions::new("fault-found");
    options.sim = "seed = 5\nmachines = 12\ninterval = \"10s\"\nframe_readings = 10\n\
                   start = \"now-38h\"\nspan = \"36h\"\nspeed = 1800.0\nwait = true"
        .to_owned();
    options.sim_tables =
        "[fault]\nshare = 0.5\nonset = \"27h\"\ntime_to_failure = \"6h\"\ngrowth = \"exponential\"".to_owned();
    options.engine = "idle = \"10min\"\nlateness = \"30min\"\nbaseline_slides = 1440".to_owned();
    let mut plant = Plant::start(&options);
    plant.start_sim();
    let sim = plant.await_sim(Duration::from_secs(240));
    assert!(sim.all_confirmed(), "{:?}", sim.frames);
    plant.await_outbox_empty(Duration::from_secs(60));

    let alerts = records::alerts(&plant.kafka).unwrap();
    let (mut faulty, mut false_alarms) = (0, 0);
    for machine in plant.truth() {
        let asset = machine["asset"].as_str().unwrap();
        let fault = &machine["fault"];
        let Some(failure) = fault["failure_us"].as_i64() else {
            false_alarms += u32::from(first_alarm(&alerts, asset, 0).is_some());
            continue;
        };
        faulty += 1;
        let onset = fault["onset_us"].as_i64().unwrap();
        let (found, condition) = first_alarm(&alerts, asset, onset).unwrap_or_else(|| panic!("{asset}: no alarm"));
        assert!(found < failure, "{asset}: found {:.2} h after the failure", (found - failure) as f64 / HOUR as f64);
        let hours = |from: Micros, to: Micros| (to - from) as f64 / HOUR as f64;
        println!(
            "{asset}: {condition} {:.2} h after the onset, {:.2} h before the failure",
            hours(onset, found),
            hours(found, failure)
        );
    }
    println!("{faulty} faults found; {false_alarms} of {} healthy machines had a false alarm", 12 - faulty);
    assert!(faulty >= 2, "the fleet has faulty machines");
}
