//! The registry as typed: the assets of a site with their channels, from its own file or from the agent's.
//!
//! ```toml
//! generation = 3
//! [assets.pump-1]
//! class = "pump"
//! power_kw = 15
//! [assets.pump-1.channels.vibration]
//! kind = "vibration"
//! unit = "mm/s"
//! range = [0, 50]
//! interval = 10            # seconds, or "10s"
//! limit = 7.1
//! ```

use std::collections::{BTreeMap, BTreeSet};

use fettle_models::settings::MAX_CHANNELS;
use fettle_models::{AssetSpec, BearingGeometry, ChannelSpec, Component, Registry, Role, Settings};
use fettle_wire::unit::Dimension;
use fettle_wire::{Name, Unit};
use toml::de::DeValue;

use super::compile::{NAME_RULE, unit, unit_rule};
use super::quantity::duration;
use super::raw::{Rule, Section, number, plain, positive, whole};

/// Reads `generation` and `[assets]` of `section`, without finishing it.
pub(super) fn registry(section: &Section<'_, '_>, settings: &Settings) -> Registry {
    let rule = Rule("must be a whole number from 1", "count it up with each change, beginning with 1");
    let generation = section.get("generation", rule, whole(1..=i64::MAX)).and_then(|g| u64::try_from(g).ok());
    let mut assets = BTreeMap::new();
    for (typed, asset) in section.named("assets") {
        let spec = asset_spec(&asset);
        match Name::new(typed) {
            Ok(name) => {
                assets.insert(name, spec);
            }
            Err(e) => asset.report_name(typed, Rule(&e.to_string(), "rename the asset")),
        }
    }
    if assets.len() > settings.max_assets {
        let rule = format!("must be at most engine.max_assets = {} assets", settings.max_assets);
        let remedy = format!("write max_assets = {} or more in [engine]", assets.len());
        section.report_value("assets", format!("{} assets", assets.len()), Rule(&rule, &remedy));
    }
    Registry { generation: generation.unwrap_or(1), assets }
}

fn asset_spec(section: &Section<'_, '_>) -> AssetSpec {
    let text = |key: &'static str, example: &str| {
        let remedy = format!("write e.g. {key} = {example:?}, or remove the line");
        section.get(key, Rule("must be a text of 1 to 256 characters", &remedy), plain)
    };
    let amount = |key: &'static str, example: &str| {
        let remedy = format!("write the nameplate's number, e.g. {example}, or remove the line");
        section.get(key, Rule("must be a finite number above 0", &remedy), positive)
    };
    let spec = AssetSpec {
        class: text("class", "pump"),
        power_kw: amount("power_kw", "15"),
        rated_speed_rpm: amount("rated_speed_rpm", "1480"),
        mounting: section.get(
            "mounting",
            Rule(
                "must be rigid or flexible, the support classes of ISO 20816-3",
                "write \"rigid\" or \"flexible\", or remove the line",
            ),
            |v| plain(v).filter(|m| matches!(m.as_str(), "rigid" | "flexible")),
        ),
        bearing: text("bearing", "6205"),
        bearing_geometry: bearing_geometry(&section.section("bearing_geometry")),
        components: components(section),
        channels: channels(section),
    };
    section.finish();
    spec
}

/// What the bearing's data sheet says; every field of it, or none.
fn bearing_geometry(section: &Section<'_, '_>) -> Option<BearingGeometry> {
    if !section.is_present() {
        return None;
    }
    let rule = Rule("must be a whole number from 3 to 200", "write how many balls or rollers one row has, e.g. 9");
    let balls = section.require("balls", rule, whole(3..=200_u32));
    let length = |key: &'static str, example: &str| {
        let remedy = format!("write the data sheet's number in mm, e.g. {example}");
        section.require(key, Rule("must be a finite number above 0", &remedy), positive)
    };
    let (ball, pitch) = (length("ball_diameter_mm", "7.94"), length("pitch_diameter_mm", "39.04"));
    let remedy = "write the data sheet's angle, or remove the line for a deep groove bearing under radial load";
    let rule = Rule("must be a number of degrees from 0 to below 90", remedy);
    let angle = section.get("contact_angle_deg", rule, |v| number(v).filter(|a| (0.0..90.0).contains(a)));
    if let (Some(ball), Some(pitch)) = (ball, pitch)
        && pitch <= ball
    {
        let rule = format!("must be above ball_diameter_mm = {ball}: the balls run on a circle wider than themselves");
        section.report("pitch_diameter_mm", Rule(&rule, "correct one of the two"));
    }
    section.finish();
    Some(BearingGeometry {
        balls: balls?,
        ball_diameter_mm: ball?,
        pitch_diameter_mm: pitch?,
        contact_angle_deg: angle.unwrap_or(0.0),
    })
}

fn components(section: &Section<'_, '_>) -> Vec<Component> {
    let mut names = BTreeSet::new();
    let mut components = Vec::new();
    for part in section.sections("components") {
        let rule =
            Rule("must be a text of 1 to 256 characters, once per asset", "write e.g. name = \"bearing drive end\"");
        let name = part.require("name", rule, plain);
        if name.as_ref().is_some_and(|name| !names.insert(name.clone())) {
            part.report("name", rule);
        }
        let rule = Rule("must be a date", "write e.g. installed = \"2024-05-31\"");
        let installed = part.get("installed", rule, date);
        let rule = Rule("must be a number of hours from 0", "write what the hour meter says, or remove the line");
        let running_hours = part.get("running_hours", rule, |v| number(v).filter(|h| *h >= 0.0));
        part.finish();
        components.extend(name.map(|name| Component { name, installed, running_hours }));
    }
    components
}

/// A calendar date as a text or as TOML's own.
fn date(value: &DeValue<'_>) -> Option<String> {
    let text = match value {
        DeValue::Datetime(datetime) => datetime.to_string(),
        other => other.as_str()?.to_owned(),
    };
    // A TOML date is parsed by TOML's own rules: real months, real days.
    let parsed: toml::value::Datetime = text.parse().ok()?;
    (parsed.date.is_some() && parsed.time.is_none()).then_some(text)
}

fn channels(section: &Section<'_, '_>) -> BTreeMap<Name, ChannelSpec> {
    let mut channels = BTreeMap::new();
    for (typed, channel) in section.named("channels") {
        let spec = channel_spec(&channel);
        match (Name::new(typed), spec) {
            (Ok(name), Some(spec)) => {
                channels.insert(name, spec);
            }
            (Ok(_), None) => {}
            (Err(_), _) => channel.report_name(typed, Rule(NAME_RULE, "rename the channel")),
        }
    }
    if !section.has("channels") {
        let rule = Rule(
            "must have at least one channel",
            "write [assets.<asset>.channels.<channel>] with kind and unit, or leave the asset out",
        );
        section.report("channels", rule);
    }
    if channels.len() > MAX_CHANNELS {
        let rule = format!("must be at most {MAX_CHANNELS} channels");
        let rule = Rule(&rule, "split the machine into several assets");
        section.report_value("channels", format!("{} channels", channels.len()), rule);
    }
    channels
}

fn channel_spec(section: &Section<'_, '_>) -> Option<ChannelSpec> {
    let rule = Rule("must say what is measured", "write e.g. kind = \"vibration\"");
    let kind = section.require("kind", rule, plain);
    let unit = section.require("unit", Rule(&unit_rule(), "write the code of what the sensor sends"), unit);
    let rule = Rule(
        "must be monitored, operating or recorded",
        "write \"operating\" for speed and load, which explain the others, \"recorded\" for what is not to be judged; else remove the line",
    );
    let role = section.get("role", rule, |v| match v.as_str()? {
        "monitored" => Some(Role::Monitored),
        "operating" => Some(Role::Operating),
        "recorded" => Some(Role::Recorded),
        _ => None,
    });
    let rule = Rule(
        "must be two finite numbers, the lower first",
        "write what the sensor can measure, e.g. range = [0, 50], in the channel's unit",
    );
    let range = section.get("range", rule, range);
    let rule =
        Rule("must be above 0: seconds, or a duration like \"10s\"", "write how often a reading is expected, e.g. 10");
    let interval = section.get("interval", rule, |v| match v.as_str() {
        Some(text) => duration(text).map(|d| d.as_secs_f64()).filter(|s| *s > 0.0),
        None => positive(v),
    });
    let rule = Rule("must be a finite number", "write the value, in the channel's unit, at which somebody must act");
    let limit = section.get("limit", rule, number);
    if let (Some((low, high)), Some(limit)) = (range, limit)
        && !(low..=high).contains(&limit)
    {
        let rule = format!(
            "must lie inside the channel's range, {low} to {high}: what lies outside is rejected and would never alarm"
        );
        section.report("limit", Rule(&rule, "widen the range or correct the limit"));
    }
    if let (Some(kind), Some(unit)) = (&kind, unit) {
        check_kind(section, kind, unit);
    }
    section.finish();
    Some(ChannelSpec { kind: kind?, unit: unit?, role: role.unwrap_or(Role::Monitored), range, interval, limit })
}

fn range(value: &DeValue<'_>) -> Option<(f64, f64)> {
    match value.as_array()?.iter().collect::<Vec<_>>().as_slice() {
        [low, high] => Some((number(low.get_ref())?, number(high.get_ref())?)).filter(|(low, high)| low < high),
        _ => None,
    }
}

/// What a kind can be measured in; other kinds are free.
fn check_kind(section: &Section<'_, '_>, kind: &str, unit: Unit) {
    use Dimension as D;
    let fitting: &[D] = match kind {
        "vibration" => &[D::Velocity, D::Acceleration, D::Length, D::One],
        // A waveform channel: see `fettle_models::derived`.
        "acceleration" => &[D::Acceleration],
        "temperature" => &[D::Temperature],
        "pressure" => &[D::Pressure],
        "speed" => &[D::RotationRate, D::Frequency, D::Velocity, D::One],
        "current" => &[D::Current, D::One],
        "voltage" => &[D::Voltage],
        "power" => &[D::Power, D::One],
        "torque" => &[D::Torque, D::One],
        "force" => &[D::Force],
        "flow" => &[D::VolumeFlow],
        _ => return,
    };
    if fitting.contains(&unit.dimension()) {
        return;
    }
    let codes: Vec<&str> = Unit::all().filter(|u| fitting.contains(&u.dimension())).map(Unit::code).collect();
    let rule = format!("must fit the channel's kind, {kind}: {}", codes.join(" "));
    section.report("unit", Rule(&rule, "correct the unit or the kind"));
}
