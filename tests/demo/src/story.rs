//! The story in plain lines: a pure state machine from what is seen to what is said.
//!
//! It says only what the daemons and the ground truth say, false alarms too. [`Story::is_told`] is true once everything
//! that was to happen has happened.

use std::collections::BTreeSet;

use fettle_wire::{Micros, Rul};

use crate::look::{Alarm, Asset, Seen};
use crate::scene::{MACHINES, SITES, Scene};

/// The machine that wears out, from the ground truth.
#[derive(Debug, Clone)]
pub(crate) struct Doomed {
    /// Its site.
    pub(crate) site: String,
    /// Its name.
    pub(crate) asset: String,
    /// When the wear begins, plant time.
    pub(crate) onset: Micros,
    /// When it fails, plant time.
    pub(crate) failure: Micros,
}

/// The last word about the remaining life.
#[derive(Debug, Clone, Copy)]
struct Word {
    at: Micros,
    p10: f64,
    p50: f64,
    p90: Option<f64>,
}

/// Where the story stands.
#[derive(Debug)]
pub(crate) struct Story {
    doomed: Doomed,
    readings: bool,
    baseline: bool,
    cut: bool,
    waited: u64,
    mended: bool,
    found: Option<Micros>,
    told_alarms: BTreeSet<(String, String, u64)>,
    false_alarms: u64,
    word: Option<Word>,
    /// Remaining life, as the truth has it, below which the next word about it is said.
    next_word: Micros,
    words: u64,
    failed: bool,
    /// Frames made, confirmed on disk, on their way, lost: of every node, when last seen.
    frames: [u64; 4],
}

impl Story {
    pub(crate) fn new(doomed: Doomed) -> Self {
        let next_word = doomed.failure - doomed.onset;
        Self {
            doomed,
            readings: false,
            baseline: false,
            cut: false,
            waited: 0,
            mended: false,
            found: None,
            told_alarms: BTreeSet::new(),
            false_alarms: 0,
            word: None,
            next_word,
            words: 0,
            failed: false,
            frames: [0; 4],
        }
    }

    /// Whether everything has happened: readings, baseline, a cut without loss, the fault found and its life predicted
    /// before the failure, the failure.
    pub(crate) fn is_told(&self) -> bool {
        self.readings && self.baseline && self.mended && self.found.is_some() && self.words > 0 && self.failed
    }

    /// What is new.
    pub(crate) fn step(&mut self, seen: &Seen) -> Vec<String> {
        let mut lines = Vec::new();
        self.frames = seen.nodes.iter().fold([0; 4], |[made, confirmed, held, lost], n| {
            [made + n.generated, confirmed + n.confirmed, held + n.held, lost + n.lost]
        });
        self.arrivals(seen, &mut lines);
        self.link(seen, &mut lines);
        for alarm in &seen.alarms {
            self.alarm(alarm, &mut lines);
        }
        self.life(seen, &mut lines);
        self.failure(seen, &mut lines);
        lines
    }

    fn arrivals(&mut self, seen: &Seen, lines: &mut Vec<String>) {
        let all = seen.assets.len() == MACHINES * SITES.len();
        if !self.readings && all && seen.readings > 0 {
            self.readings = true;
            lines.push(format!(
                "Readings arrive: {} from {} machines are on the agents' disks and counted at the gateway.",
                seen.readings,
                seen.assets.len()
            ));
        }
        let learned = |asset: &Asset| asset.health.as_ref().is_some_and(|h| h.baseline >= 1.0);
        if !self.baseline && all && seen.assets.iter().all(learned) {
            self.baseline = true;
            lines.push(
                "Each machine's baseline is learned: from here on it is compared with its own healthy self.".to_owned(),
            );
        }
    }

    fn link(&mut self, seen: &Seen, lines: &mut Vec<String>) {
        let Some(nodes) = seen.nodes.first() else { return };
        let site = SITES[0].0;
        if seen.cut {
            self.waited = self.waited.max(nodes.held);
            if !self.cut {
                self.cut = true;
                lines.push(format!("The link of {site} is cut. Its nodes keep what nobody has confirmed."));
            }
        } else if self.cut && !self.mended {
            self.waited = self.waited.max(nodes.held);
            // What is on its way in the ordinary course of things is less than a tenth of what had piled up.
            if nodes.held * 10 <= self.waited && nodes.lost == 0 && seen.missing == 0 {
                self.mended = true;
                lines.push(format!(
                    "The link is back: {} frames had waited, all are on the agent's disk; lost: {}, missing at the gateway: {}.",
                    self.waited, nodes.lost, seen.missing
                ));
            }
        }
    }

    fn alarm(&mut self, alarm: &Alarm, lines: &mut Vec<String>) {
        let key = (format!("{}/{}", alarm.site, alarm.asset), alarm.condition.clone(), alarm.occurrence);
        if !self.told_alarms.insert(key) {
            return;
        }
        let Alarm { asset, agent, message, raised_at, .. } = alarm;
        let sick = alarm.site == self.doomed.site && *asset == self.doomed.asset && *raised_at >= self.doomed.onset;
        if !sick {
            self.false_alarms += 1;
            lines.push(format!("Alarm from {agent}: {message}. (A false one: the truth knows of nothing on {asset}.)"));
            return;
        }
        lines.push(format!("Alarm from {agent}, through Kafka, on the page: {message}."));
        if self.found.is_none() {
            self.found = Some(*raised_at);
            lines.push(format!(
                "That is the one. Truth: wearing for {}, it will fail in {}.",
                Scene::hours(raised_at - self.doomed.onset),
                Scene::hours(self.doomed.failure - raised_at)
            ));
        }
    }

    fn life(&mut self, seen: &Seen, lines: &mut Vec<String>) {
        let ours = |a: &&Asset| a.site == self.doomed.site && a.asset == self.doomed.asset;
        let Some(health) = seen.assets.iter().find(ours).and_then(|a| a.health.as_ref()) else { return };
        let Rul::Interval { p10, p50, p90, .. } = &health.rul else { return };
        let left = self.doomed.failure - health.window_end;
        if self.found.is_none() || left <= 0 {
            return;
        }
        self.word = Some(Word { at: health.window_end, p10: *p10, p50: *p50, p90: *p90 });
        if left > self.next_word {
            return;
        }
        self.next_word = left * 7 / 10;
        self.words += 1;
        let word = self.word.map_or(String::new(), |w| w.said());
        lines.push(format!(
            "{} has {word} left, says its agent; the truth is {}.",
            self.doomed.asset,
            Scene::hours(left)
        ));
    }

    fn failure(&mut self, seen: &Seen, lines: &mut Vec<String>) {
        let now = seen.nodes.first().map_or(0, |nodes| nodes.time);
        if self.failed || now < self.doomed.failure {
            return;
        }
        self.failed = true;
        let asset = &self.doomed.asset;
        let found = match self.found {
            Some(at) => format!("It was found {} before", Scene::hours(self.doomed.failure - at)),
            None => "Nobody had found it".to_owned(),
        };
        let last = match self.word {
            Some(word) => format!(
                "; the last prediction, {} before the end, was {}",
                Scene::hours(self.doomed.failure - word.at),
                word.said()
            ),
            None => "; there was no prediction".to_owned(),
        };
        lines.push(format!("{asset} has failed (truth). {found}{last}."));
    }

    /// What is to be said at the end.
    pub(crate) fn closing(&self) -> Vec<String> {
        let absent = [
            (self.readings, "readings from every machine"),
            (self.baseline, "every baseline learned"),
            (self.mended, "the link cut and recovered without loss"),
            (self.found.is_some(), "the worn machine found"),
            (self.words > 0, "its remaining life predicted"),
            (self.failed, "its failure"),
        ];
        let absent: Vec<_> = absent.iter().filter(|(there, _)| !there).map(|(_, what)| *what).collect();
        let text = if absent.is_empty() {
            format!("The story is told. False alarms on the way: {}.", self.false_alarms)
        } else {
            format!("Cut short; not seen: {}.", absent.join(", "))
        };
        let [made, confirmed, held, lost] = self.frames;
        let frames =
            format!("Of {made} frames {confirmed} are confirmed on disk, {held} were on their way, {lost} are lost.");
        vec![text, frames]
    }
}

impl Word {
    fn said(&self) -> String {
        let hours = |seconds: f64| Scene::hours((seconds * 1e6) as Micros);
        match self.p90 {
            Some(p90) => format!("{} ({} to {})", hours(self.p50), hours(self.p10), hours(p90)),
            None => format!("{} (at least {})", hours(self.p50), hours(self.p10)),
        }
    }
}

#[cfg(test)]
mod tests {
    use fettle_wire::time::HOUR;

    use super::*;
    use crate::look::{Health, Nodes};

    const ONSET: Micros = 7 * HOUR;
    const FAILURE: Micros = 26 * HOUR;

    fn story() -> Story {
        Story::new(Doomed { site: "plant-a".into(), asset: "pump-0003".into(), onset: ONSET, failure: FAILURE })
    }

    fn seen(time: Micros, baseline: f64, held: u64) -> Seen {
        let assets = (0..MACHINES * SITES.len()).map(|n| {
            let site = SITES[n / MACHINES].0.to_owned();
            let rul = Rul::Interval {
                p10: 3600.0,
                p50: 7200.0,
                p90: None,
                method: "m".into(),
                channel: fettle_wire::Name::new("c").unwrap(),
            };
            let health = Some(Health { window_end: time, baseline, rul });
            Asset { site, asset: format!("pump-{:04}", n % MACHINES + 1), health }
        });
        let nodes = Nodes { time, generated: 1000, confirmed: 1000 - held, held, lost: 0 };
        Seen { nodes: vec![nodes, nodes], assets: assets.collect(), readings: 10, ..Seen::default() }
    }

    fn alarm(asset: &str, raised_at: Micros) -> Alarm {
        Alarm {
            site: "plant-a".into(),
            agent: "gw-a".into(),
            asset: asset.into(),
            condition: "anomaly".into(),
            occurrence: 1,
            raised_at,
            message: format!("{asset} behaves unusually"),
        }
    }

    fn texts(lines: &[String]) -> String {
        lines.join("\n")
    }

    #[test]
    fn each_thing_is_said_once_and_the_story_is_told_when_all_has_happened() {
        let mut story = story();
        let first = texts(&story.step(&seen(HOUR, 0.2, 10)));
        assert!(first.contains("Readings arrive") && !first.contains("baseline"), "{first}");
        assert!(texts(&story.step(&seen(6 * HOUR, 1.0, 10))).contains("baseline is learned"));
        assert!(story.step(&seen(7 * HOUR, 1.0, 10)).is_empty());
        assert!(texts(&story.step(&Seen { cut: true, ..seen(8 * HOUR, 1.0, 20) })).contains("is cut"));
        assert!(story.step(&Seen { cut: true, ..seen(9 * HOUR, 1.0, 500) }).is_empty());
        assert!(story.step(&seen(9 * HOUR, 1.0, 400)).is_empty(), "not before what had piled up has gone");
        assert!(texts(&story.step(&seen(9 * HOUR, 1.0, 40))).contains("500 frames had waited"));
        let alarmed = Seen { alarms: vec![alarm("pump-0003", 20 * HOUR)], ..seen(20 * HOUR, 1.0, 10) };
        let found = texts(&story.step(&alarmed));
        assert!(found.contains("That is the one. Truth: wearing for 13.0 h, it will fail in 6.0 h."), "{found}");
        assert!(found.contains("pump-0003 has 2.0 h (at least 1.0 h) left, says its agent; the truth is 6.0 h."));
        assert!(story.step(&alarmed).is_empty());
        assert!(!story.is_told() && texts(&story.closing()).contains("not seen: its failure"));
        assert!(texts(&story.step(&seen(27 * HOUR, 1.0, 0))).contains("has failed (truth). It was found 6.0 h before"));
        assert!(story.is_told() && texts(&story.closing()).contains("False alarms on the way: 0"));
    }

    #[test]
    fn an_alarm_without_wear_is_called_false_even_on_the_machine_that_wears_later() {
        let mut story = story();
        let alarms = vec![alarm("pump-0003", ONSET - 1), alarm("pump-0005", FAILURE - 1)];
        let said = texts(&story.step(&Seen { alarms, ..seen(FAILURE - 1, 1.0, 0) }));
        assert_eq!(said.matches("A false one").count(), 2, "{said}");
        assert!(!said.contains("That is the one"));
    }

    #[test]
    fn a_loss_is_no_recovery() {
        let mut story = story();
        story.step(&Seen { cut: true, ..seen(8 * HOUR, 1.0, 500) });
        let lost = Seen { missing: 3, ..seen(9 * HOUR, 1.0, 0) };
        assert!(!texts(&story.step(&lost)).contains("The link is back"));
    }
}
