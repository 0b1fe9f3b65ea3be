//! A backup is made and restored while the agent runs and nodes send: the agent goes on with the backup as its store,
//! what came after the backup is missing with its ranges, and everything else is accounted for.

use std::time::Duration;

use testbed::binaries::Binary;
use testbed::{Plant, PlantOptions, eventually, plant, require};

const PATIENCE: Duration = Duration::from_secs(120);

#[test]
fn a_backup_restored_under_the_running_agent_becomes_its_store_and_what_came_after_it_is_missing() {
    if !require(&plant::TOOLS) {
        return;
    }
    let mut options = PlantOptions::new("restored");
    options.sim =
        "seed = 5\nmachines = 10\ninterval = \"10s\"\nframe_readings = 5\nstart = \"now-3h\"\nspan = \"2h\"\n\
                   speed = 60.0\nwait = true\ndrain = \"3min\"\nresend_after = \"3s\""
            .to_owned();
    options.engine = "lateness = \"1d\"\nidle = \"1h\"".to_owned();
    let mut plant = Plant::start(&options);
    plant.start_sim();
    let at_backup = plant.await_confirmed(0, 500, PATIENCE);
    let file = plant.folder.path().join("backup.fettle");
    plant.command(Binary::Agent, &["backup", file.to_str().unwrap()]);
    let first = incarnation(&plant).unwrap();
    let at_restore = plant.await_confirmed(at_backup, 1000, PATIENCE);

    let said = plant.command(Binary::Agent, &["restore", file.to_str().unwrap()]);
    eventually("the agent runs with another incarnation", PATIENCE, || {
        plant.agent.process.assert_running();
        let now = incarnation(&plant)?;
        if now == first { Err(now) } else { Ok(()) }
    });
    assert!(said.contains(&incarnation(&plant).unwrap()), "{said}");
    plant.await_confirmed(at_restore, 500, PATIENCE);

    let sim = plant.await_sim(Duration::from_secs(600));
    assert!(sim.all_confirmed(), "{:?}", sim.frames);
    plant.await_outbox_empty(PATIENCE);
    // Nodes have freed what was confirmed after the backup, so nobody can send it again; the account says how much it is.
    let gone = at_restore - at_backup;
    eventually("the gateway shows what is missing", PATIENCE, || {
        let fleet = plant.fleet(0)?;
        // The backup and the restore each happen a moment after the count.
        let plausible = (gone / 2..2 * gone).contains(&fleet.totals.missing);
        if plausible && fleet.totals.unbalanced == 0 && fleet.conflicts == 0 {
            println!("{gone} frames were confirmed after the backup; {} are missing", fleet.totals.missing);
            return Ok(());
        }
        Err(format!("{:?}, {} conflicts; {gone} frames came after the backup", fleet.totals, fleet.conflicts))
    });
    assert!(plant.folder.path().join("agent/data.mdb.replaced").exists(), "what was replaced is kept");
}

/// What the agent says of itself.
fn incarnation(plant: &Plant) -> Result<String, String> {
    let report = plant.agent.json("/status")?;
    Ok(report["incarnation"].as_str().ok_or("no incarnation")?.to_owned())
}
