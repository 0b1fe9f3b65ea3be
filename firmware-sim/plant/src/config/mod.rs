//! The configuration: read from TOML, checked as a whole, then carried as typed values.
//!
//! [`Config::parse`] returns everything wrong at once. What it returns as right needs no further check downstream.
//! Paths are relative to the folder of the configuration file.

pub mod firmware;
mod reader;
mod tables;
mod values;

use std::path::{Path, PathBuf};

use fettle_firmware::LinkSettings;
use fettle_wire::frame::MAX_FRAME;
use fettle_wire::time::{HOUR, MINUTE, SECOND};
use fettle_wire::{Micros, Name};

use crate::channel::Channel;
use crate::fleet::{self, FaultPlan, Fleet};
use crate::life::LifePlan;
pub use firmware::{NodeKind, SensorFaultPlan, Waveform};
pub use reader::Problem;
use reader::Reader;
use tables::{read_clock, read_fault, read_lives, read_mqtt, read_weather};
pub use values::Start;

/// A checked configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// The site.
    pub site: Name,
    /// The seed of everything but boot ids.
    pub seed: u64,
    /// How many machines.
    pub machines: u64,
    /// What their names begin with.
    pub name_prefix: String,
    /// What runs on its node.
    pub node: NodeKind,
    /// How nodes on chips take waveforms.
    pub waveform: Waveform,
    /// Faults of sensors, on nodes with chips.
    pub sensor_faults: Vec<SensorFaultPlan>,
    /// What each publishes, waveforms apart.
    pub channels: Vec<Channel>,
    /// Event time between readings of a channel.
    pub interval: Micros,
    /// Readings per frame.
    pub frame_readings: usize,
    /// Event time after which a frame is closed though not full.
    pub frame_age: Option<Micros>,
    /// Frames per second of the whole fleet at most, wall time.
    pub rate: Option<f64>,
    /// Event time of the first reading.
    pub start: Start,
    /// Event time per wall time.
    pub speed: f64,
    /// Wall time of generation.
    pub duration: Option<Micros>,
    /// Frames of the whole fleet.
    pub frames: Option<u64>,
    /// Event time of generation.
    pub span: Option<Micros>,
    /// Generation waits while a ring is half full, instead of overflowing it.
    pub wait: bool,
    /// How long to wait for confirmations after the end, wall time.
    pub drain: Micros,
    /// How the nodes wait.
    pub link: LinkSettings,
    /// Bytes of each node's ring.
    pub ring_bytes: usize,
    /// The broker.
    pub mqtt: Mqtt,
    /// Growing faults.
    pub fault: Option<FaultPlan>,
    /// Lives that end.
    pub lives: Option<LifePlan>,
    /// Faults of link and power.
    pub weather: Weather,
    /// Wrong clocks.
    pub wrong_clock: Option<WrongClock>,
    /// Where the ground truth goes.
    pub truth: Option<PathBuf>,
    /// Where the ledger goes.
    pub ledger: Option<PathBuf>,
    /// Wall time between ledgers.
    pub ledger_interval: Micros,
    /// Where every reading is recorded.
    pub record: Option<PathBuf>,
}

/// The broker and how to speak to it.
#[derive(Debug, Clone)]
pub struct Mqtt {
    /// Host.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Connections that the machines share.
    pub connections: usize,
    /// Publishes without PUBACK at most, per connection; the broker may allow fewer.
    pub inflight: u16,
    /// Whether small writes leave at once.
    pub tcp_nodelay: bool,
    /// User and the file of the password.
    pub credentials: Option<(String, PathBuf)>,
}

/// Faults of link and power, by chance or by the clock. Wall time.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Weather {
    /// Share of frames published twice.
    pub duplicate_share: f64,
    /// Share of frames published `late_by` later.
    pub late_share: f64,
    /// How much later.
    pub late_by: Micros,
    /// Share of frames that are never published though the node thinks so.
    pub lost_share: f64,
    /// A connection is cut this often.
    pub drop_every: Option<Micros>,
    /// And stays down this long.
    pub drop_for: Micros,
    /// A node reboots this often.
    pub reboot_every: Option<Micros>,
    /// A node on chips loses power this often, each time in the middle of a frame.
    pub brownout_every: Option<Micros>,
}

/// What is wrong with a clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClockFault {
    /// Wrong by this much, and sure of itself.
    Offset(Micros),
    /// Never set: counts from 1970 at each boot.
    Epoch,
    /// No real-time clock at all.
    Absent,
}

/// Which machines have a wrong clock.
#[derive(Debug, Clone, PartialEq)]
pub struct WrongClock {
    /// Share of the machines, by chance.
    pub share: f64,
    /// Machines by name, in addition.
    pub machines: Vec<Name>,
    /// What is wrong.
    pub fault: ClockFault,
}

impl Config {
    /// Reads a configuration whose paths are relative to `folder`; or everything wrong with it.
    pub fn parse(text: &str, folder: &Path) -> Result<Self, Vec<Problem>> {
        let table: toml::Table = text.parse().map_err(|e: toml::de::Error| {
            vec![Problem {
                key: "file".into(),
                rule: "is TOML".into(),
                value: e.to_string().trim().replace('\n', " | "),
                remedy: "correct the line shown".into(),
            }]
        })?;
        let mut top = Reader::new(&table, "");
        let mut problems = Vec::new();
        let config = Self::read(&mut top, folder, &mut problems);
        problems.splice(0..0, top.finish());
        if problems.is_empty() { Ok(config) } else { Err(problems) }
    }

    fn read(top: &mut Reader<'_>, folder: &Path, problems: &mut Vec<Problem>) -> Self {
        let path = |text: Option<&str>| text.map(|t| folder.join(t));
        let below = |top: &mut Reader<'_>, key: &'static str| top.table(key).cloned().unwrap_or_default();
        let (mqtt, fault, lives) = (below(top, "mqtt"), below(top, "fault"), below(top, "lives"));
        let (weather, clock) = (below(top, "link"), below(top, "clock"));
        let interval = top.duration("interval", 1_000).unwrap_or(SECOND);
        let node = node(top);
        let channels = channels(top, node);
        let waveform = below(top, "waveform");
        let sensor_faults = top.tables("sensor_fault");
        let config = Self {
            site: site(top),
            seed: top.integer("seed", 0..=u64::MAX, 1),
            machines: top.integer("machines", 1..=100_000, 10),
            name_prefix: top.text("name_prefix").unwrap_or("pump").to_owned(),
            frame_readings: top.integer("frame_readings", 1..=10_000, channels.len() as u64) as usize,
            node,
            waveform: firmware::read_waveform(&waveform, problems),
            sensor_faults: sensor_faults
                .into_iter()
                .filter_map(|table| firmware::read_sensor_fault(table, problems))
                .collect(),
            channels,
            interval,
            frame_age: top.duration("frame_age", 0),
            rate: top.has("rate").then(|| top.number("rate", 0.001..=1e7, 1000.0)),
            start: start(top),
            speed: top.number("speed", 0.001..=1e9, 1.0),
            duration: top.duration("duration", 1),
            frames: top.has("frames").then(|| top.integer("frames", 1..=u64::MAX, 1000)),
            span: top.duration("span", 1),
            wait: top.boolean("wait", false),
            drain: top.duration("drain", 0).unwrap_or(MINUTE),
            link: link(top),
            ring_bytes: top.bytes("ring_bytes", 1_024..=(1 << 30), 256 * 1024) as usize,
            mqtt: read_mqtt(&mqtt, folder, problems),
            fault: (!fault.is_empty()).then(|| read_fault(&fault, node, problems)),
            lives: top.has("lives").then(|| read_lives(&lives, problems)),
            weather: read_weather(&weather, problems),
            wrong_clock: (!clock.is_empty()).then(|| read_clock(&clock, problems)),
            truth: path(top.text("truth")),
            ledger: path(top.text("ledger")),
            ledger_interval: top.duration("ledger_interval", 100_000).unwrap_or(SECOND),
            record: path(top.text("record")),
        };
        config.check_together(top);
        config
    }

    /// Rules that join several keys.
    fn check_together(&self, top: &mut Reader<'_>) {
        if let Err(e) = Name::check(&fleet::asset_name(&self.name_prefix, self.machines - 1)) {
            let value = format!("{:?}", self.name_prefix);
            top.problem("name_prefix", e.to_string(), value, "choose a prefix of letters, digits, . _ -");
        }
        if self.speed > 1.0 && matches!(self.start, Start::Ago(0)) {
            let rule = "more than 1 needs a start in the past, or readings would come from the future";
            top.problem("speed", rule, self.speed, "set start = \"now-30d\" or speed = 1.0");
        }
        if self.lives.is_some() && (self.fault.is_some() || self.node == NodeKind::Firmware) {
            let rule = "needs node = \"light\" and no [fault]: lives have their own wear";
            let found = if self.fault.is_some() { "[fault]" } else { "node = \"firmware\"" };
            top.problem("lives", rule, found, "remove one of the two");
        }
        self.check_node(top);
        // A reading takes at most 19 bytes (index 1, offset 9, value 9), a frame some 200 beside channel names.
        let frame = self.frame_readings * 20 + 400;
        if frame > MAX_FRAME {
            let rule = format!("a frame stays below {MAX_FRAME} bytes, about 20 a reading");
            top.problem("frame_readings", rule, self.frame_readings, "use at most 10000");
        }
        let block = if self.node == NodeKind::Firmware { self.waveform.samples * 2 + 400 } else { 0 };
        if self.ring_bytes < 2 * frame.max(block) {
            let rule = format!("holds at least two frames, here {} bytes", 2 * frame.max(block));
            top.problem("ring_bytes", rule, self.ring_bytes, "raise it or lower frame_readings or waveform.samples");
        }
        if self.mqtt.connections as u64 > self.machines {
            let rule = format!("at most one for each of the {} machines", self.machines);
            top.problem("mqtt.connections", rule, self.mqtt.connections, "lower it or raise machines");
        }
    }

    /// Rules of what runs on a node.
    fn check_node(&self, top: &mut Reader<'_>) {
        if self.node == NodeKind::Light {
            let only = [
                (top.has("waveform"), "waveform"),
                (top.has("sensor_fault"), "sensor_fault"),
                (self.weather.brownout_every.is_some(), "link.brownout_every"),
            ];
            for (_, key) in only.into_iter().filter(|(there, _)| *there) {
                let rule = "needs node = \"firmware\", because the light model has no chips";
                top.problem(key, rule, "node = \"light\"", "remove it or set node = \"firmware\"");
            }
            return;
        }
        if self.channels.contains(&Channel::Vibration) {
            let rule = "with node = \"firmware\" does not name vibration, which is sent as waveforms of acceleration";
            top.problem("channels", rule, "\"vibration\"", "remove it");
        }
        if self.interval < FASTEST_SCALARS {
            let rule = "with node = \"firmware\" is at least 0.1 s, because conversions take 30 ms";
            top.problem("interval", rule, format!("{} us", self.interval), "raise it");
        }
    }

    /// The fleet of this configuration for a run that begins at event time `start`.
    pub fn fleet(&self, start: Micros) -> Fleet {
        if let Some(plan) = self.lives {
            return Fleet::of_lives(self.seed, &self.name_prefix, self.machines, start, plan);
        }
        let fleet = Fleet::new(self.seed, &self.name_prefix, self.machines, start, self.fault.as_ref());
        match self.node {
            NodeKind::Light => fleet,
            NodeKind::Firmware => {
                let component = self.fault.as_ref().and_then(|plan| plan.component);
                fleet.on_chips(component, self.waveform.interval, |index, name| {
                    firmware::sensor_faults(&self.sensor_faults, self.seed, index, name, start)
                })
            }
        }
    }

    /// Seconds between readings of a channel.
    pub fn interval_seconds(&self) -> f64 {
        self.interval as f64 * 1e-6
    }
}

/// The shortest interval of scalars that a board with chips keeps, microseconds.
const FASTEST_SCALARS: Micros = 100_000;

fn node(top: &mut Reader<'_>) -> NodeKind {
    match top.text("node").unwrap_or("light") {
        "light" => NodeKind::Light,
        "firmware" => NodeKind::Firmware,
        other => {
            top.problem("node", "is light or firmware", format!("{other:?}"), "choose one");
            NodeKind::Light
        }
    }
}

fn site(top: &mut Reader<'_>) -> Name {
    let fallback = || Name::new("site").unwrap_or_else(|_| unreachable!("a constant that is a name"));
    let Some(text) = top.text("site") else {
        if !top.has("site") {
            top.problem("site", "is required", "nothing", "set site = \"plant-a\"");
        }
        return fallback();
    };
    Name::new(text).unwrap_or_else(|e| {
        top.problem("site", e.to_string(), format!("{text:?}"), "set site = \"plant-a\"");
        fallback()
    })
}

fn channels(top: &mut Reader<'_>, node: NodeKind) -> Vec<Channel> {
    let Some(names) = top.texts("channels") else {
        return match node {
            NodeKind::Light => Channel::USUAL.to_vec(),
            NodeKind::Firmware => Channel::ON_CHIPS.to_vec(),
        };
    };
    let all = Channel::ALL.map(Channel::name).join(", ");
    let mut channels = Vec::new();
    for name in &names {
        match Channel::from_name(name) {
            Some(channel) if !channels.contains(&channel) => channels.push(channel),
            Some(_) => top.problem("channels", "names each channel once", format!("{name:?} again"), "remove one"),
            None => top.problem("channels", format!("is some of {all}"), format!("{name:?}"), "correct or remove it"),
        }
    }
    if names.is_empty() {
        top.problem("channels", "names at least one channel", "[]", "leave it out for the usual ones");
    }
    channels
}

fn start(top: &mut Reader<'_>) -> Start {
    let Some(text) = top.text("start") else { return Start::Ago(0) };
    Start::parse(text).unwrap_or_else(|| {
        let remedy = "write \"now\", \"now-30d\" or \"2026-11-21T09:45:14Z\"";
        top.problem("start", "is a point in time", format!("{text:?}"), remedy);
        Start::Ago(HOUR)
    })
}

fn link(top: &mut Reader<'_>) -> LinkSettings {
    let usual = LinkSettings::default();
    let resend_after = top.duration("resend_after", 1_000).map_or(usual.resend_after, |d| d as u64);
    LinkSettings { resend_after, ..usual }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<String> {
        Config::parse(text, Path::new("/etc/x")).err().unwrap_or_default().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_site_is_all_that_must_be_said() {
        let config = Config::parse("site = \"plant-a\"", Path::new("/etc/x")).unwrap();
        assert_eq!((config.machines, config.frame_readings, config.interval), (10, 5, SECOND));
        assert!(config.mqtt.tcp_nodelay && config.fault.is_none() && config.wrong_clock.is_none());
    }

    #[test]
    fn paths_are_relative_to_the_file() {
        let config = Config::parse("site = \"a\"\ntruth = \"t.jsonl\"\nledger = \"/l\"", Path::new("/etc/x")).unwrap();
        assert_eq!(config.truth.as_deref(), Some(Path::new("/etc/x/t.jsonl")));
        assert_eq!(config.ledger.as_deref(), Some(Path::new("/l")));
    }

    #[test]
    fn everything_wrong_is_said_at_once_with_key_and_remedy() {
        let text = r#"
            seed = -1
            machines = 0
            interval = "5 weeks"
            speed = 3.0
            chanels = ["speed"]
            channels = ["speed", "speed", "smell"]
            [mqtt]
            port = 70000
            username = "u"
            connections = "many"
            [fault]
            growth = "sudden"
            [link]
            lost_share = 1.5
            [clock]
            fault = "late"
            machines = ["a b"]
        "#;
        let said = problems(text);
        let keys = [
            "site:",
            "seed:",
            "machines:",
            "interval:",
            "speed:",
            "chanels:",
            "channels:",
            "mqtt.port:",
            "mqtt.username:",
            "mqtt.connections:",
            "fault.growth:",
            "link.lost_share:",
            "clock.fault:",
            "clock.machines:",
        ];
        for key in keys {
            assert!(said.iter().any(|s| s.starts_with(key)), "{key} is missing in {said:#?}");
        }
        assert_eq!(said.len(), 15, "{said:#?}");
        assert!(said.iter().all(|s| s.matches(';').count() >= 2), "{said:#?}");
    }

    #[test]
    fn what_only_chips_have_is_refused_without_them_and_checked_with_them() {
        let tables = "[waveform]\nsamples = 4096\n[link]\nbrownout_every = \"10s\"\n[fault]\ncomponent = \"ball\"\n\
                      [[sensor_fault]]\nkind = \"stuck\"\nchannel = \"pressure\"";
        let said = problems(&format!("site = \"a\"\n{tables}"));
        for key in ["waveform:", "sensor_fault:", "link.brownout_every:", "fault.component:"] {
            assert!(said.iter().any(|s| s.starts_with(key)), "{key} is missing in {said:#?}");
        }
        let right = format!("site = \"a\"\nnode = \"firmware\"\n{tables}");
        let config = Config::parse(&right, Path::new("/etc/x")).unwrap();
        assert_eq!((config.channels.len(), config.frame_readings, config.sensor_faults.len()), (4, 4, 1));
        assert_eq!(config.waveform.interval, MINUTE);
        let wrong = "site = \"a\"\nnode = \"firmware\"\nchannels = [\"vibration\"]\ninterval = \"10ms\"\n\
                     ring_bytes = \"8KiB\"\n[waveform]\ninterval = \"1s\"\nblocks = 9\nfull_scale_g = 3\n\
                     [[sensor_fault]]\nkind = \"offset\"\nchannel = \"vibration\"";
        let said = problems(wrong);
        for key in [
            "channels:",
            "interval:",
            "ring_bytes:",
            "waveform.blocks:",
            "waveform.full_scale_g:",
            "sensor_fault.channel:",
            "sensor_fault.amount:",
        ] {
            assert!(said.iter().any(|s| s.starts_with(key)), "{key} is missing in {said:#?}");
        }
        assert_eq!(said.len(), 7, "{said:#?}");
    }

    #[test]
    fn lives_end_where_their_table_stands_and_only_in_the_light_model() {
        let config = Config::parse("site = \"a\"\n[lives]\nmean = \"20h\"", Path::new("/etc/x")).unwrap();
        let plan = config.lives.unwrap();
        assert_eq!((plan.class, plan.mean, plan.pause), (1, 20 * HOUR, 10 * MINUTE));
        assert!(config.fleet(0).members.iter().all(|m| m.lives.is_some()));
        let said = problems("site = \"a\"\nnode = \"firmware\"\n[lives]\nspread = 1.0\nmean = \"1s\"");
        for key in ["lives:", "lives.spread:", "lives.mean:"] {
            assert!(said.iter().any(|s| s.starts_with(key)), "{key} is missing in {said:#?}");
        }
        assert_eq!(problems("site = \"a\"\n[lives]\n[fault]\nshare = 0.5").len(), 1);
    }

    #[test]
    fn what_is_not_toml_is_said_with_its_line() {
        let said = problems("site = plant");
        assert!(said.len() == 1 && said[0].starts_with("file: is TOML") && said[0].contains("line 1"), "{said:?}");
    }
}
