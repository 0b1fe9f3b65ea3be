//! Claims about waveform blocks: consecutive where nothing was lost, and visibly not where something was.

use fettle_firmware::Reason;

use crate::support::{Bench, START, WAVEFORM, machine};

#[test]
fn the_blocks_of_a_burst_follow_one_another_in_sequence_and_time() {
    let mut bench = Bench::new(5, machine(5, 0.2), Vec::new());
    bench.run(180_000_000);
    assert_eq!(bench.blocks.len(), 12);
    for burst in bench.blocks.chunks(4) {
        for pair in burst.windows(2) {
            assert_eq!(pair[1].sequence, pair[0].sequence + 1);
            let length = pair[1].time - pair[0].time;
            let expected = pair[0].samples.len() as f64 / pair[0].rate * 1e6;
            assert!((length as f64 - expected).abs() <= 1.0, "{length} us instead of {expected}");
        }
    }
    let bursts: Vec<i64> = bench.blocks.chunks(4).map(|b| (b[0].time - START + 500_000) / 60_000_000).collect();
    assert_eq!(bursts, [0, 1, 2]);
    // The chip's own rate is in the frame, not the nominal one.
    let rate = bench.blocks[0].rate;
    assert!(rate != 26_667.0 && (rate / 26_667.0 - 1.0).abs() < 0.031, "{rate}");
}

#[test]
fn samples_go_on_over_the_border_of_two_blocks() {
    // Sound, so that the largest part is the shaft's: smooth from sample to sample.
    let mut bench = Bench::new(5, machine(5, 0.0), Vec::new());
    bench.run(2_000_000);
    let all: Vec<f64> = bench.blocks.iter().flat_map(|b| b.samples.iter().copied()).collect();
    let step = |i: usize| {
        // Noise is averaged away over 64 samples on either side.
        let side = |from: usize| all[from..from + 64].iter().sum::<f64>() / 64.0;
        (side(i) - side(i - 64)).abs()
    };
    let usual = (64..all.len() - 64).map(step).fold(0.0, f64::max);
    for border in [4_096, 8_192, 12_288] {
        assert!(step(border) <= usual);
    }
    assert_eq!(all.len(), 4 * 4_096);
}

#[test]
fn a_fifo_that_ran_over_costs_the_block_and_shows_as_a_gap_in_time() {
    let mut bench = Bench::new(5, machine(5, 0.2), Vec::new());
    while bench.blocks.is_empty() {
        bench.poll();
    }
    // The main loop is held up for 50 ms, in which the FIFO could hold 19.
    bench.poll();
    bench.next += 50_000;
    while bench.blocks.len() < 4 {
        bench.poll();
    }
    assert_eq!(bench.board.failures(WAVEFORM)[Reason::Overrun as usize], 1);
    assert!(bench.board.samples_lost() > 0);
    let length = 4_096.0 / bench.blocks[0].rate * 1e6;
    let gaps: Vec<f64> = bench.blocks.windows(2).map(|w| (w[1].time - w[0].time) as f64 - length).collect();
    assert!(gaps[0] > 50_000.0, "{gaps:?}");
    assert!(gaps[1..].iter().all(|g| g.abs() <= 1.0), "what follows is consecutive again: {gaps:?}");
}
