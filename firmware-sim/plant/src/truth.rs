//! The ground truth: what is really the matter with each machine, one JSON line each.

use fettle_wire::Micros;
use fettle_wire::time::Rfc3339;
use serde::Serialize;

use crate::channel::Channel;
use crate::fault::Growth;
use crate::fleet::Fleet;

/// One line of the truth.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Truth {
    /// The asset.
    pub asset: String,
    /// Its fault; `null` for a healthy machine.
    pub fault: Option<FaultTruth>,
    /// The limits it must not pass, by channel, in the channel's unit.
    pub limits: Vec<Limit>,
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
    fleet.members.iter().map(|member| Truth {
        asset: member.name.to_string(),
        fault: member.machine.fault().map(|fault| FaultTruth {
            kind: "bearing_wear",
            growth: fault.growth,
            onset_us: fault.onset,
            failure_us: fault.failure,
            onset: Rfc3339(fault.onset).to_string(),
            failure: Rfc3339(fault.failure).to_string(),
        }),
        limits: Channel::ALL
            .into_iter()
            .filter_map(|c| Some(Limit { channel: c.name(), unit: c.unit(), limit: c.limit()? }))
            .collect(),
    })
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
