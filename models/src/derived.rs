//! The channels that a waveform channel becomes.
//!
//! Place in the flow: the registry names a waveform channel as it names any other, with kind [`WAVEFORM_KIND`]. It has no
//! readings of its own; for each block the engine reads one value of each channel listed here, and from there on they are
//! channels like all others: windows, baseline, detection, alarms, health records. A registry entry of such a name
//! (`acceleration.rms`) stands in the place of what is derived, so that a limit can be set or a role changed.
//!
//! Judged are five: `rms` (energy: imbalance, looseness, worn gears), `kurtosis` (single impacts, before they carry
//! energy), and `bpfo`, `bpfi`, `bsf` (which part of the bearing). Recorded and not judged are `peak` and `crest` (they
//! follow from the first two and scatter more), the bands (they add up to `rms`: five more channels that move together
//! would only make the covariance ill-conditioned), and `ftf` (next to the mean in the envelope's spectrum, and absent
//! where single blocks cannot resolve it).

use std::collections::BTreeMap;

use fettle_wire::unit::Dimension;
use fettle_wire::{Name, Unit};

use crate::indicate::waveform::{Analysis, Defect};
use crate::registry::{AssetSpec, ChannelSpec, Role};

/// The kind of a waveform channel in the registry.
pub const WAVEFORM_KIND: &str = "acceleration";
/// The longest name of a waveform channel: what is derived from it must have a name, too.
pub const MAX_WAVEFORM_NAME: usize = fettle_wire::id::MAX_NAME - ".kurtosis".len();

/// What is derived from a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quantity {
    /// RMS of the block.
    Rms,
    /// Peak.
    Peak,
    /// Crest factor.
    Crest,
    /// Kurtosis.
    Kurtosis,
    /// RMS in a band, from 0.
    Band(usize),
    /// Strength of a defect's line, dB.
    Line(Defect),
}

impl Quantity {
    /// All, those of the bearing last.
    pub const ALL: [Self; 13] = [
        Self::Rms,
        Self::Peak,
        Self::Crest,
        Self::Kurtosis,
        Self::Band(0),
        Self::Band(1),
        Self::Band(2),
        Self::Band(3),
        Self::Band(4),
        Self::Line(Defect::Outer),
        Self::Line(Defect::Inner),
        Self::Line(Defect::Ball),
        Self::Line(Defect::Cage),
    ];

    /// What follows the waveform channel's name and a dot.
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::Rms => "rms",
            Self::Peak => "peak",
            Self::Crest => "crest",
            Self::Kurtosis => "kurtosis",
            Self::Band(0) => "band1",
            Self::Band(1) => "band2",
            Self::Band(2) => "band3",
            Self::Band(3) => "band4",
            Self::Band(_) => "band5",
            Self::Line(defect) => defect.as_str(),
        }
    }

    const fn role(self) -> Role {
        match self {
            Self::Rms | Self::Kurtosis | Self::Line(Defect::Outer | Defect::Inner | Defect::Ball) => Role::Monitored,
            Self::Peak | Self::Crest | Self::Band(_) | Self::Line(Defect::Cage) => Role::Recorded,
        }
    }

    /// Its unit, where the waveform's is `unit`. Levels in dB are pure numbers.
    pub const fn unit(self, unit: Unit) -> Unit {
        match self {
            Self::Rms | Self::Peak | Self::Band(_) => unit,
            Self::Crest | Self::Kurtosis | Self::Line(_) => Unit::ONE,
        }
    }

    /// Its value, in that unit.
    pub fn of(self, analysis: &Analysis) -> Option<f64> {
        Some(match self {
            Self::Rms => analysis.shape.rms,
            Self::Peak => analysis.shape.peak,
            Self::Crest => analysis.shape.crest,
            Self::Kurtosis => analysis.shape.kurtosis,
            Self::Band(band) => *analysis.bands.get(band)?,
            Self::Line(defect) => return analysis.lines[defect as usize],
        })
    }
}

/// Whether the registry's entry is a waveform channel.
pub fn is_waveform(spec: &ChannelSpec) -> bool {
    spec.kind == WAVEFORM_KIND && spec.unit.dimension() == Dimension::Acceleration
}

/// The channel that says how fast the shaft turns: the first operating one of kind `speed` whose unit is one of rotation
/// or frequency (turns a second).
pub fn speed_channel(spec: &AssetSpec) -> Option<&Name> {
    let turns = |c: &ChannelSpec| matches!(c.unit.dimension(), Dimension::RotationRate | Dimension::Frequency);
    let speed = |c: &ChannelSpec| c.role == Role::Operating && c.kind == "speed" && turns(c);
    spec.channels.iter().find(|(_, c)| speed(c)).map(|(name, _)| name)
}

/// What is derived from each waveform channel of this asset: the bearing's lines only where geometry and speed can be known.
pub fn quantities(spec: &AssetSpec) -> impl Iterator<Item = Quantity> + use<> {
    let lines = spec.bearing_geometry.is_some() && (spec.rated_speed_rpm.is_some() || speed_channel(spec).is_some());
    Quantity::ALL.into_iter().filter(move |q| lines || !matches!(q, Quantity::Line(_)))
}

/// The name of what is derived; absent where it would be too long.
pub fn name(waveform: &Name, quantity: Quantity) -> Option<Name> {
    Name::new(&format!("{waveform}.{}", quantity.suffix())).ok()
}

/// The channels of an asset in service: derived ones stand in the place of the waveforms.
pub fn channels(spec: &AssetSpec) -> BTreeMap<Name, ChannelSpec> {
    let own = spec.channels.iter().filter(|(_, c)| !is_waveform(c));
    let mut channels: BTreeMap<_, _> = own.map(|(name, c)| (name.clone(), c.clone())).collect();
    for (waveform, c) in spec.channels.iter().filter(|(_, c)| is_waveform(c)) {
        for quantity in quantities(spec) {
            let derived = || ChannelSpec {
                unit: quantity.unit(c.unit),
                role: quantity.role(),
                kind: "waveform".into(),
                interval: c.interval,
                ..ChannelSpec::adopted()
            };
            if let Some(name) = name(waveform, quantity) {
                channels.entry(name).or_insert_with(derived);
            }
        }
    }
    channels
}

/// What is wrong with an asset's waveform channels.
pub(crate) fn check(spec: &AssetSpec, asset: &str, problem: &mut impl FnMut(String, &str, String, &str)) {
    for (waveform, c) in spec.channels.iter().filter(|(_, c)| is_waveform(c)) {
        let path = format!("{asset}.channels.{waveform}");
        if waveform.len() > MAX_WAVEFORM_NAME {
            let rule =
                format!("must have at most {MAX_WAVEFORM_NAME} characters, because {waveform}.kurtosis is a name");
            problem(path.clone(), &rule, format!("{waveform:?}"), "shorten the waveform channel's name");
        }
        if let Some(limit) = c.limit {
            let remedy = format!("give the limit to a channel of its own, {waveform}.rms");
            problem(format!("{path}.limit"), "must not be given: a waveform is no value", limit.to_string(), &remedy);
        }
        if c.role != Role::Monitored {
            let remedy = format!("remove the line, or give the role to a channel of its own, {waveform}.rms");
            let rule = "must not be given: what is derived from a waveform is judged";
            problem(format!("{path}.role"), rule, format!("{:?}", c.role).to_lowercase(), &remedy);
        }
        for quantity in quantities(spec) {
            let unit = quantity.unit(c.unit);
            let Some((name, own)) = name(waveform, quantity).and_then(|n| spec.channels.get_key_value(&n)) else {
                continue;
            };
            if own.unit.dimension() != unit.dimension() {
                let rule = format!("must be of the dimension of what is derived from {waveform}, {unit}");
                problem(
                    format!("{asset}.channels.{name}.unit"),
                    &rule,
                    own.unit.to_string(),
                    "correct the unit or rename it",
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::indicate::waveform::BearingGeometry;
    use crate::registry::Registry;

    fn named(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    fn of(kind: &str, unit: &str, role: Role) -> ChannelSpec {
        ChannelSpec { kind: kind.into(), unit: Unit::from_code(unit).unwrap(), role, ..ChannelSpec::adopted() }
    }

    fn spec() -> AssetSpec {
        AssetSpec {
            bearing_geometry: Some(BearingGeometry {
                balls: 9,
                ball_diameter_mm: 7.94,
                pitch_diameter_mm: 39.04,
                contact_angle_deg: 0.0,
            }),
            channels: BTreeMap::from([
                (named("a"), of(WAVEFORM_KIND, "m/s2", Role::Monitored)),
                (named("speed"), of("speed", "{rpm}", Role::Operating)),
            ]),
            ..AssetSpec::default()
        }
    }

    #[test]
    fn a_waveform_is_replaced_by_what_is_derived_and_a_handful_is_judged() {
        let channels = channels(&spec());
        assert_eq!(channels.len(), 14);
        assert!(!channels.contains_key("a") && channels.contains_key("a.band5"));
        let judged: Vec<_> = channels.iter().filter(|c| c.1.role == Role::Monitored).map(|c| c.0.to_string()).collect();
        assert_eq!(judged, ["a.bpfi", "a.bpfo", "a.bsf", "a.kurtosis", "a.rms"]);
        assert_eq!((channels["a.rms"].unit.code(), channels["a.bpfo"].unit.code()), ("m/s2", "1"));
    }

    #[test]
    fn without_geometry_or_speed_there_are_no_lines() {
        let blind = AssetSpec { bearing_geometry: None, ..spec() };
        assert!(!channels(&blind).contains_key("a.bpfo"));
        let mut still = spec();
        still.channels.remove("speed");
        assert!(!channels(&still).contains_key("a.bpfo"));
        still.rated_speed_rpm = Some(1_480.0);
        assert!(channels(&still).contains_key("a.bpfo"));
    }

    #[test]
    fn the_registrys_own_entry_stands_in_the_place_of_what_is_derived() {
        let mut own = spec();
        own.channels
            .insert(named("a.rms"), ChannelSpec { limit: Some(20.0), ..of("vibration", "m/s2", Role::Recorded) });
        let rms = &channels(&own)["a.rms"];
        assert_eq!((rms.limit, rms.role), (Some(20.0), Role::Recorded));
    }

    #[test]
    fn what_a_waveform_cannot_have_is_named() {
        let long = named(&"x".repeat(MAX_WAVEFORM_NAME + 1));
        let mut wrong = spec();
        wrong.bearing_geometry = wrong.bearing_geometry.map(|g| BearingGeometry { balls: 1, ..g });
        wrong.channels.insert(long.clone(), of(WAVEFORM_KIND, "[g]", Role::Monitored));
        wrong.channels.insert(named("a.rms"), of("vibration", "mm/s", Role::Monitored));
        wrong
            .channels
            .insert(named("b"), ChannelSpec { limit: Some(1.0), ..of(WAVEFORM_KIND, "m/s2", Role::Operating) });
        let registry = Registry { generation: 1, assets: BTreeMap::from([(named("p"), wrong)]) };
        let keys: Vec<_> = registry.check().into_iter().map(|p| p.key).collect();
        let expected = [
            "assets.p.bearing_geometry.balls".to_owned(),
            "assets.p.channels.a.rms.unit".to_owned(),
            "assets.p.channels.b.limit".to_owned(),
            "assets.p.channels.b.role".to_owned(),
            format!("assets.p.channels.{long}"),
        ];
        assert_eq!(keys, expected);
        assert!(Registry { generation: 1, assets: BTreeMap::from([(named("p"), spec())]) }.check().is_empty());
    }
}
