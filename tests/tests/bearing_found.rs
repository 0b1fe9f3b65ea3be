//! A bearing that spalls, on ten seeds: through simulated chips, the firmware, mosquitto, the agent, Kafka and the fleet
//! gateway it is found before it fails. Each lead time is printed beside the truth and the false alarms on the way; the
//! alarm's evidence shows the line of the part that is spalled.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::time::Duration;

use fettle_wire::time::{DAY, HOUR, MINUTE, Micros, Rfc3339};
use fettle_wire::{Alert, Change, Evidence, Occasion};
use serde_json::Value;
use testbed::records::Published;
use testbed::{Deadline, Plant, PlantOptions, SimOptions, clock, eventually, plant, records, require};

/// Each has a plant of its own: one machine that wears out, and a sound one beside it.
const SEEDS: std::ops::RangeInclusive<u64> = 1..=10;
/// A day to learn in, two hours of peace, and a bearing that fails 22 h later.
const ONSET: Micros = 26 * HOUR;
const TO_FAILURE: Micros = 22 * HOUR;
const SPAN: Micros = ONSET + TO_FAILURE + HOUR;
/// Plant time per wall time: as fast as two cores keep up with. The nodes wait where they do not.
const SPEED: u32 = 1_500;
/// Decibels by which the line of the spalled part stands out further than it did while the machine was sound.
const STANDS_OUT: f64 = 6.0;

/// Midnight before a Tuesday that is over: the shifts of a day are known after a day, a weekend would not be.
fn start() -> Micros {
    let day = (clock::wall() - SPAN - HOUR) / DAY;
    // 1970-01-01 was a Thursday.
    let since_tuesday = (day + 2) % 7;
    (day - since_tuesday) * DAY
}

fn options() -> PlantOptions {
    let start = Rfc3339(start());
    let sim = |seed: u64| {
        let sim = format!(
            "seed = {seed}\nmachines = 2\nname_prefix = \"seed{seed}\"\nnode = \"firmware\"\ninterval = \"30s\"\n\
             frame_readings = 16\nframe_age = \"5min\"\nstart = \"{start}\"\nspan = \"{}min\"\nspeed = {SPEED}.0\n\
             wait = true\nring_bytes = \"2MiB\"\ndrain = \"3min\"",
            SPAN / MINUTE
        );
        let tables = format!(
            "[waveform]\ninterval = \"2min\"\n[fault]\nshare = 0.5\nonset = \"{}min\"\ntime_to_failure = \"{}min\"",
            ONSET / MINUTE,
            TO_FAILURE / MINUTE
        );
        (sim, tables)
    };
    let mut options = PlantOptions::new("bearing-found");
    (options.sim, options.sim_tables) = sim(*SEEDS.start());
    options.also = SEEDS
        .skip(1)
        .map(|seed| {
            let (sim, tables) = sim(seed);
            SimOptions { name: format!("seed{seed}"), sim, tables }
        })
        .collect();
    options.engine = "slide = \"2min\"\nwindow = \"30min\"\npublish = \"10min\"\nlateness = \"30min\"\n\
                      baseline_slides = 720"
        .to_owned();
    // As often as a node sends them, at this speed.
    options.agent_tables = "[waveform]\nblocks_per_minute = 100000\npublish = \"4h\"".to_owned();
    options
}

/// What is known of one seed in the end.
struct Row {
    seed: u64,
    asset: String,
    part: String,
    onset: Micros,
    failure: Micros,
    found: Option<Alert>,
    /// Spalled area when it was found, mm2.
    area: f64,
    /// What evidence shows of the spalled part's line.
    line: Option<Line>,
    /// Alarms without wear: on this machine before the onset, on the sound one.
    false_alarms: (usize, usize),
}

/// Strength of a line, dB: while the machine was sound (the median), in the alarm's evidence, shortly before the failure; and
/// whether no other of the bearing's lines was stronger in the alarm's evidence.
struct Line {
    sound: f64,
    alarm: f64,
    last: f64,
    strongest: bool,
}

impl Line {
    fn stands_out(&self) -> bool {
        self.strongest && self.alarm - self.sound >= STANDS_OUT
    }
}

fn raised<'a>(alerts: &'a [Published<Alert>], asset: &'a str) -> impl Iterator<Item = &'a Alert> {
    alerts.iter().map(|a| &a.body).filter(move |a| a.change == Change::Raised && a.asset.as_str() == asset)
}

/// The line that the part's defect knocks at.
fn line_of(part: &str) -> &'static str {
    match part {
        "outer_ring" => "bpfo",
        "inner_ring" => "bpfi",
        _ => "bsf",
    }
}

fn strength(evidence: &Evidence, line: &str) -> Option<f64> {
    evidence.lines.iter().find(|l| l.name == line)?.strength
}

/// The area at `time` by the truth's steps.
fn area(spall: &Value, time: Micros) -> f64 {
    let steps = spall["area_mm2"].as_array().unwrap().iter();
    let before = steps.take_while(|step| step[0].as_i64().unwrap() <= time).last();
    before.map_or(0.0, |step| step[1].as_f64().unwrap())
}

/// What all the evidence of an asset shows of the line of `part`.
fn line(evidence: &[Published<Evidence>], found: &Alert, part: &str, fault: [Micros; 2]) -> Option<Line> {
    let of_asset = || evidence.iter().map(|e| &e.body).filter(|e| e.asset == found.asset);
    let about = |e: &&Evidence| {
        e.occasion == Occasion::Alarm
            && e.condition.as_deref() == Some(&found.condition)
            && e.occurrence == Some(found.occurrence)
    };
    let (line, [onset, failure]) = (line_of(part), fault);
    let mut sound: Vec<f64> = of_asset().filter(|e| e.time < onset).filter_map(|e| strength(e, line)).collect();
    sound.sort_by(f64::total_cmp);
    let alarm = of_asset().find(about)?;
    let last = of_asset().filter(|e| e.time < failure).max_by_key(|e| e.time)?;
    let strongest = alarm.lines.iter().filter_map(|l| l.strength).fold(f64::NEG_INFINITY, f64::max);
    let (sound, last) = (*sound.get(sound.len() / 2)?, strength(last, line)?);
    let alarm = strength(alarm, line)?;
    Some(Line { sound, alarm, last, strongest: alarm >= strongest })
}

fn row(seed: u64, truth: &[Value], alerts: &[Published<Alert>], evidence: &[Published<Evidence>]) -> Row {
    let (sick, sound): (Vec<_>, Vec<_>) = truth.iter().partition(|m| !m["fault"].is_null());
    let [[sick], [sound]] = [&sick[..], &sound[..]] else { panic!("one machine wears out, one does not: {truth:?}") };
    let (asset, fault) = (sick["asset"].as_str().unwrap(), &sick["fault"]);
    let (onset, failure) = (fault["onset_us"].as_i64().unwrap(), fault["failure_us"].as_i64().unwrap());
    let part = fault["spall"]["component"].as_str().unwrap().to_owned();
    let found = raised(alerts, asset).filter(|a| a.at >= onset).min_by_key(|a| a.at).cloned();
    Row {
        seed,
        asset: asset.to_owned(),
        onset,
        failure,
        area: found.as_ref().map_or(0.0, |a| area(&fault["spall"], a.at)),
        line: found.as_ref().and_then(|a| line(evidence, a, &part, [onset, failure])),
        false_alarms: (
            raised(alerts, asset).filter(|a| a.at < onset).count(),
            raised(alerts, sound["asset"].as_str().unwrap()).count(),
        ),
        part,
        found,
    }
}

fn print(rows: &[Row]) {
    // To the second.
    let when = |time: Micros| format!("{}Z", &Rfc3339(time).to_string()[..19]);
    let hours = |from: Micros, to: Micros| (to - from) as f64 / HOUR as f64;
    println!(
        "seed  part        true onset            first alarm           failure               lead h  after h    mm2  \
         condition  line: sound, alarm, last dB      false alarms (it, sound one)"
    );
    for row in rows {
        let Row { seed, part, onset, failure, area, false_alarms: (own, other), .. } = row;
        let (at, condition, lead, after) = match &row.found {
            Some(a) => (
                when(a.at),
                a.condition.as_str(),
                format!("{:.2}", hours(a.at, *failure)),
                format!("{:.2}", hours(*onset, a.at)),
            ),
            None => ("-".to_owned(), "-", "-".to_owned(), "-".to_owned()),
        };
        let line = row.line.as_ref().map_or("-".to_owned(), |Line { sound, alarm, last, strongest }| {
            format!("{sound:>5.1} {alarm:>5.1} {last:>5.1}{}", if *strongest { " strongest" } else { "" })
        });
        println!(
            "{seed:>4}  {part:<10}  {}  {at:<20}  {}  {lead:>6}  {after:>7}  {area:>5.3}  {condition:<9}  {:<4} {line:<27}  {own}, {other}",
            when(*onset),
            when(*failure),
            line_of(part),
        );
    }
}

#[test]
fn a_spalling_bearing_is_found_before_it_fails_on_ten_seeds() {
    if !require(&plant::TOOLS) {
        return;
    }
    let clock = Deadline::new(Duration::MAX);
    let mut plant = Plant::start(&options());
    plant.start_sim();
    plant.also.iter_mut().for_each(testbed::Sim::start);
    let mut sims = vec![plant.await_sim(Duration::from_secs(900))];
    sims.extend(plant.also.iter_mut().map(|sim| sim.await_end(Duration::from_secs(300))));
    assert!(sims.iter().all(testbed::sim_ledger::SimLedger::all_confirmed), "everything is confirmed durable");
    plant.await_outbox_empty(Duration::from_secs(60));

    let alerts = records::alerts(&plant.kafka).unwrap();
    let evidence: Vec<Published<Evidence>> = records::read(&plant.kafka, "fettle.evidence").unwrap();
    let truths = std::iter::once(plant.truth()).chain(plant.also.iter().map(testbed::Sim::truth));
    let rows: Vec<Row> = SEEDS.zip(truths).map(|(seed, truth)| row(seed, &truth, &alerts, &evidence)).collect();
    print(&rows);
    let total = records::total(records::final_ledger(&plant.kafka).unwrap().values());
    println!(
        "{:?}; {} records of evidence; {:.0} s of wall time",
        total,
        evidence.len(),
        clock.elapsed().as_secs_f64()
    );

    for row in &rows {
        let found = row.found.as_ref().unwrap_or_else(|| panic!("{}: not found", row.asset));
        assert!(found.at < row.failure, "{}: found after the failure", row.asset);
        assert!(
            row.line.is_some(),
            "{}: no evidence of the alarm with its line and with what it was before",
            row.asset
        );
    }
    let stand_out = rows.iter().filter(|r| r.line.as_ref().is_some_and(Line::stands_out)).count();
    assert!(stand_out > 0, "the spalled part's line stands out in the evidence of no alarm");
    gateway_shows(&plant, &rows);
}

/// The gateway shows each of them as an alarm, with the agent's own time of it, and no record in conflict.
fn gateway_shows(plant: &Plant, rows: &[Row]) {
    eventually("the gateway shows every alarm", Duration::from_secs(60), || {
        for row in rows {
            let logged = format!("/api/v1/alarms/history?site={}&asset={}&limit=1000", plant::SITE, row.asset);
            let logged = plant.gateways[0].json(&logged)?;
            let changes = logged["changes"].as_array().ok_or("no changes")?;
            let found = row.found.as_ref().ok_or("not found")?;
            let shown = |c: &&Value| {
                c["alert"]["change"] == "raised"
                    && c["alert"]["condition"] == found.condition.as_str()
                    && c["alert"]["at"] == found.at
            };
            changes.iter().find(shown).ok_or_else(|| format!("{}: {changes:?}", row.asset))?;
        }
        let alarms = plant.gateways[0].json("/api/v1/alarms?open=true&limit=1000")?;
        let open = alarms["alarms"].as_array().ok_or("no alarms")?;
        match rows.iter().find(|row| !open.iter().any(|a| a["asset"] == row.asset.as_str())) {
            Some(row) => Err(format!("{} has no open alarm after its failure", row.asset)),
            None => Ok(()),
        }
    });
    assert_eq!(plant.fleet(0).unwrap().conflicts, 0);
}
