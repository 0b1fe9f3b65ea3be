//! Claims about the simulated chips: what they say on the bus, and that the drivers understand it.

use embedded_hal::i2c::I2c;
use embedded_hal::spi::{Operation, SpiDevice};
use fettle_firmware::Reason;
use fettle_sim::chip::NoAnswer;
use fettle_sim::chip::rig::{Rig, Shared, Spi};

use crate::support::{Bench, START, machine, mean};

fn shared() -> Shared {
    Shared::new(Rig::new(3, 0, machine(3, 0.0), Vec::new(), START))
}

/// Bytes of registers, as an SPI master reads them.
fn registers<const N: usize>(spi: &mut Spi, address: u8) -> [u8; N] {
    let mut answer = [0; N];
    spi.transaction(&mut [Operation::Write(&[0x80 | address]), Operation::Read(&mut answer)]).unwrap();
    answer
}

#[test]
fn the_iis3dwb_answers_register_by_register() {
    let shared = shared();
    let mut spi = shared.chips().vibration;
    assert_eq!(registers(&mut spi, 0x0f), [0x7b]);
    spi.write(&[0x0f, 0x00]).unwrap();
    assert_eq!(registers(&mut spi, 0x0f), [0x7b], "WHO_AM_I cannot be written");
    // Addresses count up in a burst, to write and to read.
    spi.write(&[0x07, 0x00, 0x01, 0x0a]).unwrap();
    assert_eq!(registers(&mut spi, 0x07), [0x00, 0x01, 0x0a, 0x00]);
    // A reset takes 50 us and sets defaults.
    spi.write(&[0x12, 0x01]).unwrap();
    assert_eq!(registers(&mut spi, 0x12), [0x05]);
    shared.rig().advance_to(START + 50);
    assert_eq!(registers(&mut spi, 0x12), [0x04]);
    assert_eq!(registers(&mut spi, 0x07), [0x00, 0x00, 0x00]);
}

#[test]
fn the_fifo_of_the_iis3dwb_fills_at_its_rate_and_says_when_it_ran_over() {
    let shared = shared();
    let mut spi = shared.chips().vibration;
    let fine = f64::from(registers::<1>(&mut spi, 0x63)[0].cast_signed());
    let rate = 26_667.0 * (1.0 + 0.0015 * fine);
    spi.write(&[0x07, 0x00, 0x01, 0x0a, 0x00]).unwrap();
    spi.write(&[0x10, 0xa4]).unwrap();
    shared.rig().advance_to(START + 5_000);
    assert_eq!(registers(&mut spi, 0x3a), [0, 0], "bypassed it takes nothing");
    spi.write(&[0x0a, 0x06]).unwrap();
    let begun = START + 5_000;
    shared.rig().advance_to(begun + 5_000);
    let expected = (0.005 * rate) as u16;
    assert_eq!(u16::from_le_bytes(registers(&mut spi, 0x3a)), expected);
    // At the watermark bit 7 is set; full bit 5; run over bits 6 and 3, and then not again.
    shared.rig().advance_to(begun + 10_000);
    assert_eq!(registers::<2>(&mut spi, 0x3a)[1] & 0xe8, 0x80);
    shared.rig().advance_to(begun + 1_000_000);
    assert_eq!(registers(&mut spi, 0x3a), [0x00, 0x80 | 0x40 | 0x20 | 0x08 | 0x02]);
    assert_eq!(registers(&mut spi, 0x3a), [0x00, 0x80 | 0x20 | 0x02]);
    // Words come with tags of the accelerometer that count up by one, whole words at once or byte by byte.
    let words: [u8; 21] = registers(&mut spi, 0x78);
    let slots = [words[0], words[7], words[14]].map(|tag| (tag >> 3, tag >> 1 & 3, tag.count_ones() % 2));
    assert!(slots.iter().all(|s| s.0 == 2 && s.2 == 0), "{slots:?}");
    assert!(slots.windows(2).all(|w| w[1].1 == (w[0].1 + 1) % 4), "{slots:?}");
    assert_eq!(u16::from_le_bytes(registers(&mut spi, 0x3a)) & 0x03ff, 509);
    spi.write(&[0x0a, 0x00]).unwrap();
    assert_eq!(registers(&mut spi, 0x3a), [0, 0], "bypass empties it");
}

#[test]
fn the_i2c_chips_answer_at_their_addresses_and_take_their_time() {
    let shared = shared();
    let mut bus = shared.chips().temperature;
    let mut two = [0; 2];
    assert_eq!(bus.write(0x50, &[0]), Err(NoAnswer), "nobody lives there");
    // TMP117: identity, -256 before the first conversion, one-shot of 15.5 ms.
    bus.write_read(0x49, &[0x0f], &mut two).unwrap();
    assert_eq!(two, [0x01, 0x17]);
    bus.write_read(0x49, &[0x00], &mut two).unwrap();
    assert_eq!(two, [0x80, 0x00]);
    bus.write(0x49, &[0x01, 0x0c, 0x00]).unwrap();
    shared.rig().advance_to(START + 15_000);
    bus.write_read(0x49, &[0x01], &mut two).unwrap();
    assert_eq!(two, [0x0c, 0x00]);
    shared.rig().advance_to(START + 15_500);
    bus.write_read(0x49, &[0x01], &mut two).unwrap();
    assert_eq!(two, [0x24, 0x00], "ready, and shut down");
    bus.write_read(0x49, &[0x01], &mut two).unwrap();
    assert_eq!(two, [0x04, 0x00], "ready is read once");
    // KELLER LD: busy until it has converted; its range is 0 to 40 bar.
    let mut five = [0; 5];
    bus.write(0x40, &[0xac]).unwrap();
    bus.read(0x40, &mut five).unwrap();
    assert_eq!(five[0], 0x60);
    let mut three = [0; 3];
    bus.write(0x40, &[0x15]).unwrap();
    shared.rig().advance_to(START + 20_000);
    bus.read(0x40, &mut three).unwrap();
    assert_eq!(three, [0x40, 0x42, 0x20], "40.0 is 42200000");
    // ADS1115: default configuration; a conversion of 860 a second.
    bus.write_read(0x48, &[0x01], &mut two).unwrap();
    assert_eq!(two, [0x85, 0x83]);
    bus.write(0x48, &[0x01, 0xc3, 0xe3]).unwrap();
    bus.write_read(0x48, &[0x01], &mut two).unwrap();
    assert_eq!(two, [0x43, 0xe3], "busy");
    shared.rig().advance_to(START + 21_200);
    bus.write_read(0x48, &[0x01], &mut two).unwrap();
    assert_eq!(two, [0xc3, 0xe3]);
}

#[test]
fn the_drivers_read_from_the_chips_what_the_machine_does() {
    let mut bench = Bench::new(5, machine(5, 0.0), Vec::new());
    bench.run(120_000_000);
    let mut machine = machine(5, 0.0);
    let states: Vec<_> = (0..120).map(|i| machine.state(START + i * 1_000_000)).collect();
    let design = machine.design();
    let means = |pick: &dyn Fn(&fettle_sim::machine::State) -> f64| mean(&states.iter().map(pick).collect::<Vec<_>>());
    for (channel, expected, tolerance) in [
        ("speed", means(&|s| s.speed * design.rated_speed_rpm), 0.01),
        ("load", means(&|s| s.load * 100.0), 0.02),
        ("current", means(&|s| s.current), 0.03),
        ("temperature", means(&|s| s.temperature), 0.02),
        ("pressure", means(&|s| s.pressure), 0.03),
    ] {
        let (good, bad) = bench.values(channel);
        assert_eq!((good.len(), bad.len()), (120, 0), "{channel}");
        let found = mean(&good);
        assert!((found / expected - 1.0).abs() < tolerance, "{channel}: {found} instead of {expected}");
    }
    assert!((0..6).all(|channel| bench.board.failures(channel) == [0; Reason::ALL.len()]));
    assert!(bench.taken.len() == 600 && bench.board.samples_lost() == 0);
}

#[test]
fn a_seed_decides_every_byte() {
    let frames = |seed| {
        let mut bench = Bench::new(seed, machine(seed, 0.3), Vec::new());
        bench.run(70_000_000);
        bench.bytes
    };
    assert_eq!(frames(11), frames(11));
    assert_ne!(frames(11), frames(12));
}
