//! Claims about what goes wrong: each sensor fault is seen for what it is, and no loss of power costs a confirmed frame.

use fettle_firmware::sensor::Reason;
use fettle_firmware::{Board, Clock, Event};
use fettle_sim::chip::fault::{Kind, SensorFault};
use fettle_wire::time::{ClockQuality, HOUR};

use crate::support::{Bench, START, WAVEFORM, machine, mean};

const MINUTE: i64 = 60_000_000;

fn fault(kind: Kind, channel: &'static str, amount: f64) -> SensorFault {
    SensorFault { kind, channel, onset: START + 5 * MINUTE, end: None, amount }
}

/// Ten minutes, of which the fault is there in the second half.
fn run(fault: SensorFault) -> Bench {
    let mut bench = Bench::new(5, machine(5, 0.1), vec![fault]);
    bench.run(10 * MINUTE);
    bench
}

fn count(bench: &Bench, channel: u16, reason: Reason) -> u32 {
    bench.board.failures(channel)[reason as usize]
}

#[test]
fn a_stuck_sensor_is_sent_as_bad_after_a_minute_of_the_same_value() {
    let bench = run(fault(Kind::Stuck, "temperature", 0.0));
    let (good, bad) = bench.values("temperature");
    assert!((235..=241).contains(&bad.len()) && good.len() + bad.len() == 600, "{} {}", good.len(), bad.len());
    assert!(bad.windows(2).all(|w| w[0] == w[1]));
    assert_eq!(count(&bench, 1, Reason::Stuck) as usize, bad.len());
}

#[test]
fn an_offset_and_a_drift_look_like_good_readings_of_something_else() {
    let healthy = mean(&run(fault(Kind::Offset, "pressure", 0.0)).values("pressure").0[300..]);
    let bench = run(fault(Kind::Offset, "pressure", 1.5));
    let (good, bad) = bench.values("pressure");
    assert!(bad.is_empty() && (mean(&good[300..]) - healthy - 1.5).abs() < 0.01, "{}", mean(&good[300..]));
    // 12 bar an hour make half a bar in the mean of the last five minutes.
    let (drifting, _) = run(fault(Kind::Drift, "pressure", 12.0)).values("pressure");
    assert!((mean(&drifting[300..]) - healthy - 0.5).abs() < 0.01, "{}", mean(&drifting[300..]));
}

#[test]
fn a_saturated_accelerometer_clips_its_samples() {
    let bench = run(fault(Kind::Saturation, "acceleration", 0.5));
    let peak =
        |half: &[crate::support::Block]| half.iter().flat_map(|b| b.samples.iter()).fold(0.0f64, |a, b| a.max(b.abs()));
    let (before, after) = bench.blocks.split_at(bench.blocks.len() / 2);
    assert!(peak(before) > 1.0 && peak(after) < 0.505, "{} {}", peak(before), peak(after));
}

#[test]
fn an_unsteady_contact_leaves_readings_out_and_counts_them() {
    let bench = run(fault(Kind::Dropout, "pressure", 0.3));
    let (good, bad) = bench.values("pressure");
    let absent = count(&bench, 2, Reason::Bus) as usize;
    assert!(absent > 100 && bad.is_empty() && good.len() + absent == 600, "{} {absent}", good.len());
    // The others on the same bus are not harmed.
    assert_eq!(bench.values("temperature").0.len(), 600);
}

#[test]
fn a_broken_loop_is_sent_as_bad_and_a_broken_bus_line_as_nothing() {
    let bench = run(fault(Kind::BrokenWire, "current", 0.0));
    let (good, bad) = bench.values("current");
    assert_eq!((good.len(), bad.len()), (300, 300));
    assert_eq!(count(&bench, 3, Reason::OutOfRange), 300);
    assert_eq!(bench.values("speed").0.len(), 600, "the loop beside it");

    let bench = run(fault(Kind::BrokenWire, "temperature", 0.0));
    assert_eq!((bench.values("temperature").0.len(), count(&bench, 1, Reason::Bus)), (300, 300));

    let bench = run(fault(Kind::BrokenWire, "acceleration", 0.0));
    assert_eq!(bench.blocks.len(), 20, "five bursts of four");
    let failures = bench.board.failures(WAVEFORM);
    assert!(failures[Reason::Malformed as usize] >= 1 && failures[Reason::Identity as usize] >= 3, "{failures:?}");
}

#[test]
fn a_stuck_accelerometer_sends_no_blocks_and_counts_them() {
    let bench = run(fault(Kind::Stuck, "acceleration", 0.0));
    assert_eq!((bench.blocks.len(), count(&bench, WAVEFORM, Reason::Stuck)), (20, 20));
}

#[test]
fn a_chip_that_comes_back_is_started_anew() {
    let mut bench = Bench::new(
        5,
        machine(5, 0.1),
        vec![SensorFault { end: Some(START + 7 * MINUTE), ..fault(Kind::BrokenWire, "acceleration", 0.0) }],
    );
    bench.run(10 * MINUTE);
    assert_eq!(bench.blocks.len(), 32, "bursts at minutes 5 and 6 are missing");
    let first_after = bench.blocks[20].time - START;
    assert!(first_after > 7 * MINUTE && first_after < 7 * MINUTE + 30_000_000, "{first_after}");
}

#[test]
fn a_brown_out_in_the_middle_of_a_frame_costs_no_confirmed_frame() {
    let mut bench = Bench::new(5, machine(5, 0.1), Vec::new());
    let clock = Clock::Utc { offset: 0, quality: ClockQuality::Synced };
    let mut confirmed = 0;
    for boot in 0..10u64 {
        // Some polls into a burst, at another place each time.
        let end = bench.next + 61 * 1_000_000;
        while bench.next < end || !bench.board.mid_frame() {
            bench.poll();
        }
        for _ in 0..boot {
            bench.poll();
        }
        let account = bench.board.node().account();
        assert!(account.balances());
        confirmed += account.confirmed.frames;
        bench.rig.rig().power_cycle();
        let at = bench.next.unsigned_abs();
        bench.board = Board::new(bench.settings.clone(), bench.rig.chips(), 100 + boot, at, clock);
        bench.board.node_mut().step(0, Event::Connected, &mut Vec::new());
    }
    // Whatever a boot was told is durable, the agent has; and blocks after a boot are whole.
    assert_eq!(confirmed as usize, bench.readings.len() + bench.blocks.len());
    assert!(
        bench.blocks.len() >= 36 && bench.blocks.iter().all(|b| b.samples.len() == 4_096),
        "{}",
        bench.blocks.len()
    );
    bench.run(HOUR / 60);
    assert!(bench.board.failures(WAVEFORM).iter().all(|f| *f == 0), "the chips came back from the loss of power");
}
