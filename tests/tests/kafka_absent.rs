//! Kafka is stopped while alarms are raised: afterwards the alarms arrive first, and everything arrives.

use std::time::Duration;

use fettle_wire::{Change, Health, LedgerEntry};
use testbed::{Plant, PlantOptions, eventually, http, plant, records, require};

#[test]
fn alarms_raised_while_kafka_is_away_arrive_first_and_everything_arrives() {
    if !require(&plant::TOOLS) {
        return;
    }
    let mut options = PlantOptions::new("kafka-absent");
    // Every second machine fails within three hours: its vibration passes the limit.
    options.sim = "seed = 3\nmachines = 10\ninterval = \"10s\"\nframe_readings = 5\n\
                   start = \"now-5h\"\nspan = \"4h\"\nspeed = 600.0\nwait = true"
        .to_owned();
    options.sim_tables =
        "[fault]\nshare = 0.5\nonset = \"1h\"\ntime_to_failure = \"2h\"\ngrowth = \"linear\"".to_owned();
    options.engine = "idle = \"10min\"\nlateness = \"30min\"\nbaseline_slides = 45".to_owned();
    let mut plant = Plant::start(&options);
    plant.kafka.stop();
    plant.start_sim();
    let sim = plant.await_sim(Duration::from_secs(180));
    assert!(sim.all_confirmed(), "confirmations need no Kafka: {:?}", sim.frames);

    let waiting = |lane: &str, plant: &Plant| {
        let metrics = http::get(&plant.agent.url("/metrics"))?;
        http::labelled_metric(&metrics, "fettle_agent_outbox_records", "lane", lane).ok_or(format!("no lane {lane}"))
    };
    let (alerts, health) = eventually("alarms and health wait for Kafka", Duration::from_secs(30), || {
        match (waiting("alerts", &plant)?, waiting("health", &plant)?) {
            (alerts, health) if alerts >= 1.0 && health >= 100.0 => Ok((alerts, health)),
            (alerts, health) => Err(format!("{alerts} alerts, {health} health records")),
        }
    });
    println!("{alerts} alerts and {health} health records wait for Kafka");
    plant.kafka.start_again();
    plant.await_outbox_empty(Duration::from_secs(120));

    let alerts = records::alerts(&plant.kafka).unwrap();
    let health: Vec<records::Published<Health>> = records::read(&plant.kafka, "fettle.health").unwrap();
    let ledger: Vec<records::Published<LedgerEntry>> = records::read(&plant.kafka, "fettle.ledger").unwrap();
    assert!(alerts.iter().any(|alert| alert.body.change == Change::Raised), "{alerts:?}");
    let last_alert = alerts.iter().map(|alert| alert.record.appended).max().unwrap();
    let first_health = health.iter().map(|health| health.record.appended).min().unwrap();
    println!("the first health record was appended {} ms after the last alert", first_health - last_alert);
    assert!(last_alert <= first_health, "an alert was appended {} ms after health", last_alert - first_health);
    assert_eq!(records::gaps(&alerts), [], "every alert arrives");
    assert_eq!(records::gaps(&health), [], "every health record arrives");
    // Of accounts that waited only the newest arrives: it says all that the older ones said.
    assert!(!ledger.is_empty() && ledger.iter().all(|entry| entry.body.readings.balances()), "{ledger:?}");
    assert_eq!(records::conflicts(&alerts), Vec::<String>::new());

    eventually("the gateway shows each alarm", Duration::from_secs(60), || {
        let shown = plant.gateways[0].json("/api/v1/alarms")?.to_string();
        let absent = alerts.iter().find(|alert| !shown.contains(alert.body.asset.as_str()));
        absent.map_or(Ok(()), |alert| Err(format!("no alarm of {} in {shown}", alert.body.asset)))
    });
}
