//! The ground truth: what is really the matter with each machine, one JSON line each.

use fettle_wire::Micros;
use fettle_wire::time::Rfc3339;
use serde::Serialize;

use crate::channel::Channel;
use crate::chip::fault::SensorFault;
use crate::fault::{Fault, Growth, SPALL_AT_FAILURE};
use crate::fleet::{Fleet, Member};
use crate::life::Life;
use crate::machine::bearing::{Component, Geometry};

/// One line of the truth.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Truth {
    /// The asset.
    pub asset: String,
    /// Its fault; `null` for a healthy machine.
    pub fault: Option<FaultTruth>,
    /// The limits it must not pass, by channel, in the channel's unit.
    pub limits: Vec<Limit>,
    /// Its bearing, under chips.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bearing: Option<BearingTruth>,
    /// Its first lives, where they end; the ledger has what came of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lives: Vec<Life>,
    /// What is wrong with its sensors, under chips.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sensor_faults: Vec<SensorFault>,
}

/// A bearing as it is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BearingTruth {
    /// Its designation.
    pub designation: &'static str,
    /// Its geometry.
    pub geometry: Geometry,
    /// Its frequencies per turn of the shaft: outer ring, inner ring, ball spin, cage.
    pub bpfo: f64,
    /// See `bpfo`.
    pub bpfi: f64,
    /// See `bpfo`; a spalled ball strikes at twice this.
    pub bsf: f64,
    /// See `bpfo`.
    pub ftf: f64,
}

/// A spall as it grows.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Spall {
    /// Where it is.
    pub component: Component,
    /// Impacts per turn of the shaft.
    pub order: f64,
    /// When it counts as failed.
    pub criterion: String,
    /// (event time in microseconds UTC, area in mm2) from onset to failure, in equal steps.
    pub area_mm2: Vec<(Micros, f64)>,
}

/// A fault as it is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FaultTruth {
    /// What is wearing out.
    pub kind: &'static str,
    /// How it grows.
    pub growth: Growth,
    /// Event time of the onset, microseconds UTC.
    pub onset_us: Micros,
    /// Event time of the failure, microseconds UTC.
    pub failure_us: Micros,
    /// The onset for people.
    pub onset: String,
    /// The failure for people.
    pub failure: String,
    /// The spall, under chips.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spall: Option<Spall>,
}

/// A limit of one channel.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Limit {
    /// The channel.
    pub channel: &'static str,
    /// Its UCUM code.
    pub unit: &'static str,
    /// The limit.
    pub limit: f64,
}

/// The truth about every machine, in the fleet's order.
pub fn of(fleet: &Fleet) -> impl Iterator<Item = Truth> {
    fleet.members.iter().map(|member| one(member, fleet.waveform.is_some()))
}

fn one(member: &Member, on_chips: bool) -> Truth {
    let bearing = member.machine.bearing();
    let geometry = bearing.geometry;
    // Under chips vibration is no level that could be compared with a limit.
    let limited = Channel::ALL.into_iter().filter(|c| !(on_chips && *c == Channel::Vibration));
    Truth {
        asset: member.name.to_string(),
        fault: member.machine.fault().map(|fault| FaultTruth {
            kind: if on_chips { "bearing_spall" } else { "bearing_wear" },
            growth: fault.growth,
            onset_us: fault.onset,
            failure_us: fault.failure,
            onset: Rfc3339(fault.onset).to_string(),
            failure: Rfc3339(fault.failure).to_string(),
            spall: on_chips.then(|| spall(fault, bearing.component, &geometry)),
        }),
        limits: limited.filter_map(|c| Some(Limit { channel: c.name(), unit: c.unit(), limit: c.limit()? })).collect(),
        bearing: on_chips.then(|| BearingTruth {
            designation: bearing.designation,
            geometry,
            bpfo: geometry.bpfo(),
            bpfi: geometry.bpfi(),
            bsf: geometry.bsf(),
            ftf: geometry.ftf(),
        }),
        lives: member.lives.iter().flat_map(|lives| lives.clone().take(LIVES)).collect(),
        sensor_faults: member.sensor_faults.clone(),
    }
}

/// Lives of a machine that are written.
const LIVES: usize = 100;
/// Steps in which the spall's growth is written.
const STEPS: i64 = 40;

fn spall(fault: &Fault, component: Component, geometry: &Geometry) -> Spall {
    let span = fault.failure.saturating_sub(fault.onset);
    // The area at the onset is that of the moment after it.
    let moment = |step: i64| match step {
        STEPS => fault.failure,
        step => fault.onset.saturating_add(span / STEPS * step).max(fault.onset + 1),
    };
    Spall {
        component,
        order: component.order(geometry),
        criterion: format!("spalled area of {SPALL_AT_FAILURE} mm2"),
        area_mm2: (0..=STEPS).map(moment).map(|time| (time, fault.spall_mm2(time))).collect(),
    }
}

/// The truth as JSON lines.
pub fn json_lines(fleet: &Fleet) -> Result<String, serde_json::Error> {
    let mut text = String::new();
    for line in of(fleet) {
        text.push_str(&serde_json::to_string(&line)?);
        text.push('\n');
    }
    Ok(text)
}
