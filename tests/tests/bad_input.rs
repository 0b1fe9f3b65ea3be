//! Bad input: malformed CBOR and JSON, a quarantined asset, NaN, clocks of 1970 and 2106, 300 KB on a permissive broker,
//! 10 MB: each is counted or missing, nothing stops, and there is no reconnect loop.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use fettle_wire::time::{DAY, Micros};
use fettle_wire::{ClockQuality, Frame, SCHEMA_VERSION, topic};
use testbed::{Plant, PlantOptions, Policy, clock, eventually, http, plant, require};

/// A frame of one temperature reading by a node of its own.
fn frame(sequence: u64, time: Micros, value: f64) -> Vec<u8> {
    let frame = Frame {
        version: SCHEMA_VERSION,
        boot: 4711,
        sequence,
        oldest: 0,
        time: Some(time),
        uptime: sequence,
        clock: ClockQuality::Synced,
        channels: vec!["temperature"],
        readings: vec![(0, 0, value)],
        flags: Vec::new(),
        waveform: None,
    };
    frame.encode().unwrap()
}

/// A reason of the ledger, and how many readings were rejected for it.
fn rejected(plant: &Plant, reason: &str) -> Result<f64, String> {
    let metrics = http::get(&plant.agent.url("/metrics"))?;
    Ok(http::labelled_metric(&metrics, "fettle_agent_readings_rejected_total", "reason", reason).unwrap_or(0.0))
}

fn await_rejected(plant: &Plant, reason: &str, count: f64) {
    eventually(&format!("{count} readings are rejected as {reason}"), Duration::from_secs(30), || {
        match rejected(plant, reason)? {
            seen if seen == count => Ok(()),
            seen => Err(format!("{seen}; log:\n{}", plant.agent.process.log_end())),
        }
    });
}

/// How often the agent has connected, by the broker's own log.
fn connections(plant: &mut Plant) -> usize {
    let log = plant.broker.process().log();
    log.lines().filter(|line| line.contains("New client connected") && line.contains("as fettle-plant-a-gw-1")).count()
}

#[test]
fn bad_input_is_counted_and_stops_nothing() {
    if !require(&plant::TOOLS) {
        return;
    }
    let mut options = PlantOptions::new("bad-input");
    options.policy = Policy::Permissive;
    options.sim =
        "seed = 2\nmachines = 3\ninterval = \"1s\"\nframe_readings = 5\nwait = true\nduration = \"10min\"".to_owned();
    options.agent_tables = "[[mqtt.foreign]]\ntopic = \"sensors/{asset}/{channel}\"\nunit = \"Cel\"\n".to_owned();
    let mut plant = Plant::start(&options);
    plant.start_sim();
    let confirmed = plant.await_confirmed(0, 5, Duration::from_secs(60));

    let now = clock::wall();
    let known = topic::readings(plant::SITE, "pump-0001");
    plant.broker.publish(&known, b"\xff this is not CBOR");
    await_rejected(&plant, "malformed_cbor", 1.0);
    plant.broker.publish("sensors/pump-0001/temperature", b"{\"value\": ");
    await_rejected(&plant, "malformed_json", 1.0);
    plant.broker.publish(&topic::readings(plant::SITE, "stranger"), &frame(0, now, 20.0));
    await_rejected(&plant, "quarantined", 1.0);
    plant.broker.publish(&known, &frame(0, now, f64::NAN));
    await_rejected(&plant, "not_finite", 1.0);
    plant.broker.publish(&known, &frame(1, 0, 20.0));
    // 2106-02-07, where an unsigned 32-bit count of seconds ends.
    plant.broker.publish(&known, &frame(2, 4_294_967_295_000_000, 20.0));
    await_rejected(&plant, "time_after_2100", 1.0);
    plant.broker.publish(&known, &frame(3, now + DAY, 20.0));
    await_rejected(&plant, "time_in_future", 1.0);
    // 1970: either rejected, or the node is found to have no clock and its readings are re-stamped.
    let old = rejected(&plant, "time_before_2000").unwrap();
    println!("of 1 frame of 1970: {old} readings rejected, the others re-stamped");

    // Larger than the Maximum Packet Size that the agent announces: this broker stores it and may not hand it over.
    plant.broker.try_publish(&known, &vec![0x80; 300 * 1024], false);
    plant.broker.try_publish("sensors/pump-0001/temperature", &vec![b'1'; 10 * 1024 * 1024], false);
    plant.broker.publish(&known, &frame(5, now, 21.0));
    eventually("the frame after the large ones is taken, the one before it missing", Duration::from_secs(30), || {
        match plant.agent.metric("fettle_agent_frames_missing")? {
            1.0 => Ok(()),
            missing => Err(format!("{missing} missing")),
        }
    });

    plant.await_confirmed(confirmed, 20, Duration::from_secs(60));
    plant.agent.process.assert_running();
    assert_eq!(connections(&mut plant), 1, "the agent never had to connect again");
    assert_eq!(plant.agent.metric("fettle_agent_mqtt_reconnects_total"), Ok(0.0));
    assert_eq!(plant.agent.metric("fettle_agent_readings_balanced"), Ok(1.0));
    plant.agent.stop();
}
