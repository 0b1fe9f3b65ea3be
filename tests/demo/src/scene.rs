//! What is played, and when: times in the plant and on the wall, and the configurations that follow from them.

use std::time::Duration;

use fettle_wire::time::{HOUR, Micros, Rfc3339};

use crate::clock::Clock;

/// Sites and the agents on them. The first one's link is cut, and there the machine wears out.
pub(crate) const SITES: [(&str, &str); 2] = [("plant-a", "gw-a"), ("plant-b", "gw-b")];
/// Machines of each site.
pub(crate) const MACHINES: usize = 6;
/// How long the story takes if nothing else is asked for.
const LENGTH: Duration = Duration::from_secs(130);
/// What is kept at the end to tell it.
const TAIL: Duration = Duration::from_secs(10);
/// Plant time of the story: a day to learn, because load and temperature have a day's rhythm and half of it looks like a
/// fault in the other half; two hours of peace; and a bearing that fails 22 h later.
const SPAN: Micros = 52 * HOUR;
const ONSET: Micros = 26 * HOUR;
const FAILURE: Micros = 48 * HOUR;
/// A day of slides of two minutes.
const BASELINE_SLIDES: u32 = 720;

/// The timetable.
#[derive(Debug, Clone)]
pub(crate) struct Scene {
    seed: u64,
    /// Plant time of the first reading.
    pub(crate) start: Micros,
    /// Plant time per wall time.
    pub(crate) speed: f64,
    /// When the link is cut, since the start.
    pub(crate) cut_at: Duration,
    /// When it is whole again.
    pub(crate) mend_at: Duration,
}

impl Scene {
    /// Fits the story into `length`.
    pub(crate) fn new(seed: u64, length: Option<Duration>) -> Self {
        let told_in = length.unwrap_or(LENGTH).saturating_sub(TAIL).max(Duration::from_secs(30));
        let seconds = told_in.as_secs_f64();
        Self {
            seed,
            start: Clock::wall() - SPAN,
            speed: SPAN as f64 / 1e6 / seconds,
            cut_at: told_in.mul_f64(0.55),
            mend_at: told_in.mul_f64(0.55) + Duration::from_secs(3),
        }
    }

    /// What a spectator should know first.
    pub(crate) fn opening(&self) -> Vec<String> {
        let (machines, hour) = (MACHINES * SITES.len(), 3600.0 / self.speed);
        vec![
            format!(
                "{machines} pumps at {} sites, each with a sensor node that runs our firmware; embedded MQTT and Kafka.",
                SITES.len()
            ),
            format!(
                "An hour in the plant takes {hour:.1} s. One pump will wear out; nobody has told the agents which."
            ),
        ]
    }

    /// Hours of plant time, as a person says it.
    pub(crate) fn hours(time: Micros) -> String {
        let hours = time as f64 / HOUR as f64;
        if hours.abs() < 1.0 { format!("{:.0} min", hours * 60.0) } else { format!("{hours:.1} h") }
    }

    /// The plant of `site`, whose nodes reach their broker on `port`.
    pub(crate) fn plant(&self, site: usize, port: u16) -> String {
        let (name, prefix) = (SITES[site].0, ["pump", "booster"][site]);
        let mut text = format!(
            "site = \"{name}\"\nseed = {}\nmachines = {MACHINES}\nname_prefix = \"{prefix}\"\nnode = \"firmware\"\n\
             interval = \"30s\"\nframe_readings = 16\nframe_age = \"5min\"\nstart = \"{}\"\nspeed = {:.3}\nwait = true\nring_bytes = \"2MiB\"\nresend_after = \"2s\"\n\
             truth = \"{name}-truth.jsonl\"\nledger = \"{name}-nodes.json\"\nledger_interval = \"250ms\"\n\
             [mqtt]\nport = {port}\n[waveform]\ninterval = \"2min\"\nsamples = 4096\n",
            self.seed + site as u64,
            Rfc3339(self.start),
            self.speed
        );
        if site == 0 {
            text += &format!(
                "[fault]\nshare = 0.17\nonset = \"{}min\"\ntime_to_failure = \"{}min\"\n",
                ONSET / (HOUR / 60),
                (FAILURE - ONSET) / (HOUR / 60)
            );
        }
        text
    }

    /// The agent of `site`.
    pub(crate) fn agent(&self, site: usize, mqtt: u16, kafka: &str, http: u16) -> String {
        let (site, agent) = SITES[site];
        format!(
            "site = \"{site}\"\nagent = \"{agent}\"\nstore = \"{agent}\"\nregistry = \"{site}-registry.toml\"\nsign = true\n\
             [mqtt]\nhost = \"127.0.0.1\"\nport = {mqtt}\n[kafka]\nbrokers = \"{kafka}\"\n[http]\nlisten = \"127.0.0.1:{http}\"\n\
             [ledger]\ninterval = \"1s\"\n\
             [engine]\nslide = \"2min\"\nwindow = \"30min\"\npublish = \"10min\"\nlateness = \"10min\"\n\
             baseline_slides = {BASELINE_SLIDES}\nfalse_alarms_per_asset_month = 0.1\n\
             [waveform]\nblocks_per_minute = 100000\npublish = \"4h\"\n"
        )
    }

    /// The fleet gateway.
    pub(crate) fn gateway(kafka: &str, listen: std::net::SocketAddr) -> String {
        format!(
            "listen = \"{listen}\"\nstore = \"fleet\"\ninstance = \"demo\"\n[kafka]\nbrokers = \"{kafka}\"\n[topics]\npartitions = 2\n"
        )
    }
}
