//! Claims about the samples: the bearing's line is where the geometry says, and grows with the spall.

use std::f64::consts::TAU;

use fettle_sim::machine::bearing::Component;
use fettle_sim::{Fault, Growth, Machine};
use fettle_wire::time::HOUR;

use crate::support::{Bench, Block, START, machine, mean};

/// The strength of the envelope at `frequency`: the DFT of the squared signal after a difference that takes the shaft's
/// low orders away.
fn envelope(blocks: &[Block], frequency: f64) -> f64 {
    let samples: Vec<f64> = blocks.iter().flat_map(|b| b.samples.iter().copied()).collect();
    let squared: Vec<f64> = samples.windows(3).map(|w| (w[2] - 2.0 * w[1] + w[0]).powi(2)).collect();
    let level = mean(&squared);
    let (mut re, mut im) = (0.0, 0.0);
    for (i, value) in squared.iter().enumerate() {
        let phase = frequency / blocks[0].rate * i as f64 * TAU;
        re += (value - level) * phase.cos();
        im += (value - level) * phase.sin();
    }
    (re * re + im * im).sqrt() / squared.len() as f64
}

struct Line {
    /// At the ball pass frequency, the strongest within 2 %: the bearing slips.
    strength: f64,
    /// Between it and its neighbours in the comb, where nothing is.
    floor: f64,
}

fn line(severity: f64) -> Line {
    let machine = machine(5, severity);
    let (order, rated) = (machine.bearing().geometry.bpfo(), machine.design().rated_speed_rpm);
    let mut bench = Bench::new(5, machine, Vec::new());
    bench.run(2_000_000);
    let (speed, _) = bench.values("speed");
    let bpfo = mean(&speed) / 60.0 * order;
    assert!((speed[0] / rated) > 0.6);
    let at = |frequency: f64| envelope(&bench.blocks, frequency);
    let strength = (-10..=10).map(|i| at(bpfo * (1.0 + f64::from(i) * 0.002))).fold(0.0, f64::max);
    let beside = (0..40).map(|i| at(bpfo * (1.25 + 0.0125 * f64::from(i))));
    Line { strength, floor: mean(&beside.collect::<Vec<_>>()) }
}

#[test]
fn a_spall_of_the_outer_ring_shows_in_the_envelope_at_the_ball_pass_frequency_and_grows_with_it() {
    let sound = line(0.0);
    assert!(sound.strength < 6.0 * sound.floor, "{} {}", sound.strength, sound.floor);
    let lines: Vec<Line> = [0.2, 0.5, 1.0].into_iter().map(line).collect();
    for line in &lines {
        assert!(line.strength > 8.0 * line.floor, "{} {}", line.strength, line.floor);
    }
    let strengths: Vec<f64> = lines.iter().map(|l| l.strength).collect();
    assert!(strengths.windows(2).all(|w| w[1] > 2.0 * w[0]), "{strengths:?}");
}

#[test]
fn the_part_that_spalls_decides_the_frequency() {
    for component in [Component::OuterRing, Component::InnerRing] {
        let fault = Fault { onset: START - HOUR, failure: START, growth: Growth::Spall };
        let machine = Machine::new(5, 0, Some(fault)).with_physics(Some(component));
        let geometry = machine.bearing().geometry;
        let mut bench = Bench::new(5, machine, Vec::new());
        bench.run(2_000_000);
        let turns = mean(&bench.values("speed").0) / 60.0;
        let near = |order: f64| {
            (-10..=10)
                .map(|i| envelope(&bench.blocks, turns * order * (1.0 + f64::from(i) * 0.002)))
                .fold(0.0, f64::max)
        };
        let (outer, inner) = (near(geometry.bpfo()), near(geometry.bpfi()));
        let (own, other) = if component == Component::OuterRing { (outer, inner) } else { (inner, outer) };
        assert!(own > 2.0 * other, "{component:?}: {own} {other}");
    }
}

#[test]
fn the_shaft_turns_once_where_the_speed_says() {
    let mut bench = Bench::new(5, machine(5, 0.0), Vec::new());
    bench.run(2_000_000);
    let turns = mean(&bench.values("speed").0) / 60.0;
    let samples: Vec<f64> = bench.blocks.iter().flat_map(|b| b.samples.iter().copied()).collect();
    let amplitude = |frequency: f64| {
        let (mut re, mut im) = (0.0, 0.0);
        for (i, value) in samples.iter().enumerate() {
            let phase = frequency / bench.blocks[0].rate * i as f64 * TAU;
            re += value * phase.cos();
            im += value * phase.sin();
        }
        2.0 * (re * re + im * im).sqrt() / samples.len() as f64
    };
    let first = (-10..=10).map(|i| amplitude(turns * (1.0 + f64::from(i) * 0.002))).fold(0.0, f64::max);
    assert!(first > 10.0 * amplitude(turns * 1.5), "{first} {}", amplitude(turns * 1.5));
}
