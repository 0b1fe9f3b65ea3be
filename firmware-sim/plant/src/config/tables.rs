//! The tables below the top one: broker, faults of machines, link and power, clocks.

use std::path::Path;

use fettle_wire::time::{DAY, HOUR, MINUTE, SECOND};
use fettle_wire::{Micros, Name};

use super::reader::{Problem, Reader};
use super::{ClockFault, Mqtt, NodeKind, Weather, WrongClock};
use crate::fault::Growth;
use crate::fleet::FaultPlan;
use crate::life::LifePlan;
use crate::machine::bearing::Component;

pub(super) fn read_mqtt(table: &toml::Table, folder: &Path, problems: &mut Vec<Problem>) -> Mqtt {
    let mut reader = Reader::new(table, "mqtt.");
    let user = reader.text("username");
    let file = reader.text("password_file");
    let mqtt = Mqtt {
        host: reader.text("host").unwrap_or("127.0.0.1").to_owned(),
        port: reader.integer("port", 1..=65_535, 1883) as u16,
        connections: reader.integer("connections", 1..=10_000, 1) as usize,
        inflight: reader.integer("inflight", 1..=65_535, 200) as u16,
        tcp_nodelay: reader.boolean("tcp_nodelay", true),
        credentials: user.zip(file).map(|(u, f)| (u.to_owned(), folder.join(f))),
    };
    if user.is_some() != file.is_some() {
        let found = if user.is_some() { "only username" } else { "only password_file" };
        reader.problem("username", "comes with password_file", found, "set both or neither");
    }
    problems.extend(reader.finish());
    mqtt
}

pub(super) fn read_fault(table: &toml::Table, node: NodeKind, problems: &mut Vec<Problem>) -> FaultPlan {
    let mut reader = Reader::new(table, "fault.");
    let usual = if node == NodeKind::Firmware { "spall" } else { "exponential" };
    let growth = match reader.text("growth").unwrap_or(usual) {
        "linear" => Growth::Linear,
        "exponential" => Growth::Exponential,
        "spall" => Growth::Spall,
        other => {
            reader.problem("growth", "is linear, exponential or spall", format!("{other:?}"), "choose one");
            Growth::Linear
        }
    };
    let component = match reader.text("component") {
        None => None,
        Some("outer_ring") => Some(Component::OuterRing),
        Some("inner_ring") => Some(Component::InnerRing),
        Some("ball") => Some(Component::Ball),
        Some(other) => {
            let value = format!("{other:?}");
            reader.problem("component", "is outer_ring, inner_ring or ball", value, "leave it out to have it drawn");
            None
        }
    };
    if component.is_some() && node == NodeKind::Light {
        let rule = "needs node = \"firmware\", because the light model has no bearing";
        reader.problem("component", rule, "node = \"light\"", "remove it");
    }
    let plan = FaultPlan {
        share: reader.number("share", 0.0..=1.0, 0.1),
        onset: reader.duration("onset", 0).unwrap_or(HOUR),
        spread: reader.duration("onset_spread", 0).unwrap_or(0),
        time_to_failure: reader.duration("time_to_failure", 1).unwrap_or(24 * HOUR),
        growth,
        component,
    };
    problems.extend(reader.finish());
    plan
}

pub(super) fn read_lives(table: &toml::Table, problems: &mut Vec<Problem>) -> LifePlan {
    let mut reader = Reader::new(table, "lives.");
    let plan = LifePlan {
        class: reader.integer("class", 0..=u64::MAX, 1),
        mean: reader.duration("mean", MINUTE).unwrap_or(30 * DAY),
        // Nothing lives for no time.
        spread: reader.number("spread", 0.0..=0.9, 0.3),
        pause: reader.duration("pause", 0).unwrap_or(10 * MINUTE),
    };
    problems.extend(reader.finish());
    plan
}

pub(super) fn read_weather(table: &toml::Table, problems: &mut Vec<Problem>) -> Weather {
    let mut reader = Reader::new(table, "link.");
    let weather = Weather {
        duplicate_share: reader.number("duplicate_share", 0.0..=1.0, 0.0),
        late_share: reader.number("late_share", 0.0..=1.0, 0.0),
        late_by: reader.duration("late_by", 0).unwrap_or(10 * SECOND),
        // A share of 1 would never deliver anything.
        lost_share: reader.number("lost_share", 0.0..=0.99, 0.0),
        drop_every: reader.duration("drop_every", 100_000),
        drop_for: reader.duration("drop_for", 0).unwrap_or(5 * SECOND),
        reboot_every: reader.duration("reboot_every", 100_000),
        brownout_every: reader.duration("brownout_every", 100_000),
    };
    problems.extend(reader.finish());
    weather
}

pub(super) fn read_clock(table: &toml::Table, problems: &mut Vec<Problem>) -> WrongClock {
    let mut reader = Reader::new(table, "clock.");
    let offset = reader.duration("offset", Micros::MIN);
    let fault = match reader.text("fault").unwrap_or("offset") {
        "offset" => ClockFault::Offset(offset.unwrap_or(2 * HOUR)),
        "epoch" => ClockFault::Epoch,
        "absent" => ClockFault::Absent,
        other => {
            reader.problem("fault", "is offset, epoch or absent", format!("{other:?}"), "choose one");
            ClockFault::Absent
        }
    };
    let names = reader.texts("machines").unwrap_or_default();
    let machines: Vec<Name> = names
        .into_iter()
        .filter_map(|name| {
            Name::new(name)
                .map_err(|e| reader.problem("machines", e.to_string(), format!("{name:?}"), "correct or remove it"))
                .ok()
        })
        .collect();
    let share = reader.number("share", 0.0..=1.0, if machines.is_empty() { 0.1 } else { 0.0 });
    problems.extend(reader.finish());
    WrongClock { share, machines, fault }
}
