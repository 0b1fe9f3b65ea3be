//! A foreign publisher (`mosquitto_pub` with JSON on `sensors/<asset>/temperature`) is picked up by a topic template, its
//! asset waits in quarantine until it is adopted, and an independent consumer (kcat) reads JSON that fits the schemas.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use fettle_wire::Health;
use fettle_wire::time::{Rfc3339, SECOND};
use testbed::folder::repository;
use testbed::{Kafka, Plant, PlantOptions, clock, eventually, http, plant, records, require};

const ASSET: &str = "oven-7";

fn schema(name: &str) -> jsonschema::Validator {
    let path = repository().join("wire/schema").join(format!("{name}.schema.json"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("cannot read {}: {e}", path.display()));
    jsonschema::validator_for(&serde_json::from_str(&text).unwrap()).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// Every record of a topic fits the envelope's schema, and its body the schema of `name`; how many there are.
fn assert_fits(kafka: &Kafka, topic: &str, name: &str) -> usize {
    let (envelope, body) = (schema("envelope"), schema(name));
    let records = kafka.read(topic).unwrap();
    for record in &records {
        let value: serde_json::Value = serde_json::from_str(&record.value).unwrap();
        for (schema, part) in [(&envelope, &value), (&body, &value["body"])] {
            let errors: Vec<_> = schema.iter_errors(part).map(|e| format!("{}: {e}", e.instance_path())).collect();
            assert!(errors.is_empty(), "{topic}: {errors:#?} in {}", record.value);
        }
    }
    records.len()
}

#[test]
fn a_foreign_publisher_is_picked_up_adopted_and_read_by_an_independent_consumer() {
    if !require(&plant::TOOLS) {
        return;
    }
    let mut options = PlantOptions::new("foreign");
    options.sim = "machines = 1".to_owned();
    options.engine = "window = \"5min\"".to_owned();
    options.agent_tables = "[[mqtt.foreign]]\ntopic = \"sensors/{asset}/{channel}\"\nunit = \"Cel\"\n".to_owned();
    let plant = Plant::start(&options);

    plant.broker.publish(&format!("sensors/{ASSET}/temperature"), b"{\"value\": 180.5}");
    eventually("the unknown asset is quarantined and its reading counted", Duration::from_secs(30), || {
        let metrics = http::get(&plant.agent.url("/metrics"))?;
        let waiting = http::metric(&metrics, "fettle_agent_engine_quarantined_assets");
        let counted = http::labelled_metric(&metrics, "fettle_agent_readings_rejected_total", "reason", "quarantined");
        if (waiting, counted) == (Some(1.0), Some(1.0)) { Ok(()) } else { Err(format!("{waiting:?} {counted:?}")) }
    });

    let adopt = plant.gateways[0].url(&format!("/api/v1/assets/{}/{ASSET}/adopt", plant::SITE));
    eventually("a person adopts the asset at the fleet gateway", Duration::from_secs(30), || {
        http::post_json(&adopt, &serde_json::json!({ "person": "Ada" }))
    });
    eventually("the asset is adopted", Duration::from_secs(30), || {
        match plant.agent.metric("fettle_agent_engine_quarantined_assets")? {
            0.0 => Ok(()),
            waiting => Err(format!("{waiting} wait")),
        }
    });

    // Ten minutes of readings, one each ten seconds, on full minutes so that the expected windows are plain.
    let end = clock::wall() / (60 * SECOND) * 60 * SECOND;
    let readings: Vec<_> = (0..60).map(|i| (end - (60 - i) * 10 * SECOND, 180.0 + (i % 7) as f64)).collect();
    for (time, celsius) in &readings {
        let json = format!("{{\"value\": {celsius}, \"ts\": \"{}\"}}", Rfc3339(*time));
        plant.broker.publish(&format!("sensors/{ASSET}/temperature"), json.as_bytes());
    }
    let health: Vec<Health> = eventually("health of the adopted asset is on Kafka", Duration::from_secs(60), || {
        let health = records::final_health(&plant.kafka)?;
        let own: Vec<_> = health.into_values().filter(|h| h.asset.as_str() == ASSET).collect();
        if own.len() >= 9 { Ok(own) } else { Err(format!("{} records", own.len())) }
    });
    let full = health.iter().find(|h| h.window_end == end - 60 * SECOND).expect("the last but one window is published");
    let inside = readings.iter().filter(|(time, _)| (full.window_start..full.window_end).contains(time));
    let celsius: Vec<_> = inside.map(|(_, celsius)| *celsius).collect();
    let indicator = &full.indicators[0];
    assert_eq!((indicator.channel.as_str(), indicator.count), ("temperature", celsius.len() as u64));
    let mean = celsius.iter().sum::<f64>() / celsius.len() as f64;
    // An adopted asset's channels carry the unit that the template declares: kelvin in SI.
    let expected = if indicator.unit == "K" { mean + 273.15 } else { mean };
    assert!((indicator.mean - expected).abs() < 1e-9, "{indicator:?}, expected mean {expected}");

    plant.await_outbox_empty(Duration::from_secs(30));
    assert!(assert_fits(&plant.kafka, "fettle.health", "health") >= 9);
    assert!(assert_fits(&plant.kafka, "fettle.ledger", "ledger") >= 1);
    assert_fits(&plant.kafka, "fettle.alerts", "alert");
    assert_fits_command(&plant.kafka);
}

/// The gateway's command fits its schema; commands travel without an envelope.
fn assert_fits_command(kafka: &Kafka) {
    let command = schema("command");
    let records = kafka.read("fettle.commands").unwrap();
    assert_eq!(records.len(), 1, "one adoption was asked for");
    for record in &records {
        let value: serde_json::Value = serde_json::from_str(&record.value).unwrap();
        let errors: Vec<_> = command.iter_errors(&value).map(|e| format!("{}: {e}", e.instance_path())).collect();
        assert!(errors.is_empty(), "{errors:#?} in {}", record.value);
    }
}
