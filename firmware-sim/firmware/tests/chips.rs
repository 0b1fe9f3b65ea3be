//! Claims about drivers: the exact transactions on the bus, against a script written from the data sheets.
#![expect(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::{self, I2c};
use embedded_hal::spi::{self, SpiDevice};
use fettle_firmware::SensorError;
use fettle_firmware::sensor::ads1115::{Ads1115, Input};
use fettle_firmware::sensor::iis3dwb::{FullScale, Iis3dwb, Level};
use fettle_firmware::sensor::keller_ld::{KellerLd, Mode};
use fettle_firmware::sensor::tmp117::Tmp117;

/// One thing that happens on a bus.
#[derive(Debug, Clone, PartialEq)]
enum Step {
    /// A transaction at this I2C address (0 for SPI): bytes written, then bytes the chip answers.
    Bus(u8, Vec<u8>, Vec<u8>),
    /// A transaction that the bus fails.
    Fails(u8, Vec<u8>),
    /// At least so many microseconds pass.
    Wait(u32),
}
use Step::{Bus, Fails, Wait};

#[derive(Debug, Clone, Copy, PartialEq)]
struct Broken;
impl spi::Error for Broken {
    fn kind(&self) -> spi::ErrorKind {
        spi::ErrorKind::Other
    }
}
impl i2c::Error for Broken {
    fn kind(&self) -> i2c::ErrorKind {
        i2c::ErrorKind::Bus
    }
}

/// Plays a script: whatever the driver does must be its next step.
#[derive(Debug, Clone)]
struct Script(Rc<RefCell<VecDeque<Step>>>);

impl Script {
    fn new(steps: impl IntoIterator<Item = Step>) -> Self {
        Self(Rc::new(RefCell::new(steps.into_iter().collect())))
    }

    fn next(&self, address: u8, written: Vec<u8>, wanted: usize) -> Result<Vec<u8>, Broken> {
        let step = self.0.borrow_mut().pop_front();
        match step {
            Some(Bus(at, out, answer)) => {
                assert_eq!((at, out, answer.len()), (address, written, wanted), "another transaction");
                Ok(answer)
            }
            Some(Fails(at, out)) => {
                assert_eq!((at, out), (address, written));
                Err(Broken)
            }
            other => panic!("{written:02x?} at {address:#x} instead of {other:?}"),
        }
    }

    fn is_over(&self) {
        assert!(self.0.borrow().is_empty(), "left: {:?}", self.0.borrow());
    }
}

impl spi::ErrorType for Script {
    type Error = Broken;
}
impl SpiDevice for Script {
    fn transaction(&mut self, operations: &mut [spi::Operation<'_, u8>]) -> Result<(), Broken> {
        let (mut out, mut wanted) = (Vec::new(), 0);
        for operation in operations.iter() {
            match operation {
                spi::Operation::Write(bytes) => out.extend_from_slice(bytes),
                spi::Operation::Read(into) => wanted += into.len(),
                other => panic!("{other:?} is not what these drivers do"),
            }
        }
        let mut answer = self.next(0, out, wanted)?.into_iter();
        for operation in operations {
            if let spi::Operation::Read(into) = operation {
                into.iter_mut().for_each(|place| *place = answer.next().unwrap());
            }
        }
        Ok(())
    }
}

impl i2c::ErrorType for Script {
    type Error = Broken;
}
impl I2c for Script {
    fn transaction(&mut self, address: u8, operations: &mut [i2c::Operation<'_>]) -> Result<(), Broken> {
        let (mut out, mut wanted) = (Vec::new(), 0);
        for operation in operations.iter() {
            match operation {
                i2c::Operation::Write(bytes) => out.extend_from_slice(bytes),
                i2c::Operation::Read(into) => wanted += into.len(),
            }
        }
        let mut answer = self.next(address, out, wanted)?.into_iter();
        for operation in operations {
            if let i2c::Operation::Read(into) = operation {
                into.iter_mut().for_each(|place| *place = answer.next().unwrap());
            }
        }
        Ok(())
    }
}

impl DelayNs for Script {
    fn delay_ns(&mut self, ns: u32) {
        // Several calls of the delay make up one wait.
        let mut steps = self.0.borrow_mut();
        match steps.front_mut() {
            Some(Wait(left)) => {
                *left = left.saturating_sub(ns.div_ceil(1_000));
                if *left == 0 {
                    steps.pop_front();
                }
            }
            other => panic!("a wait of {ns} ns instead of {other:?}"),
        }
    }
}

fn spi(out: &[u8], answer: &[u8]) -> Step {
    Bus(0, out.to_vec(), answer.to_vec())
}

/// DS12569: identity, reset, block data update and address increment, FIFO of 256 words watermark at the full batch rate,
/// bypassed; then +-16 g at 26.667 kHz.
fn start_of_the_iis3dwb() -> Vec<Step> {
    vec![
        Wait(10_000),
        spi(&[0x8f], &[0x7b]),
        spi(&[0x12, 0x01], &[]),
        Wait(1_000),
        spi(&[0x92], &[0x05]),
        Wait(1_000),
        spi(&[0x92], &[0x04]),
        spi(&[0x12, 0x44], &[]),
        spi(&[0x07, 0x00], &[]),
        spi(&[0x08, 0x01], &[]),
        spi(&[0x09, 0x0a], &[]),
        spi(&[0x0a, 0x00], &[]),
        spi(&[0xe3], &[0xfc]),
        spi(&[0x10, 0xa4], &[]),
        Wait(10_000),
    ]
}

/// A word as the FIFO gives it; the tag's parity is even.
fn word(tag: u8, xyz: [i16; 3]) -> Vec<u8> {
    let mut bytes = vec![tag];
    xyz.iter().for_each(|v| bytes.extend(v.to_le_bytes()));
    bytes
}

#[test]
fn the_iis3dwb_is_identified_reset_and_set_up_as_its_data_sheet_says() {
    let script = Script::new(start_of_the_iis3dwb());
    let mut chip = Iis3dwb::new(script.clone(), FullScale::G16);
    chip.start(&mut script.clone()).unwrap();
    script.is_over();
    // Four steps of 0.15 % slow; 0.488 mg a count.
    assert!((chip.rate() - 26_667.0 * 0.994).abs() < 1e-9);
    assert!((chip.scale() - 0.488e-3 * 9.80665).abs() < 1e-15);
}

#[test]
fn the_iis3dwb_gives_consecutive_words_of_its_fifo() {
    let mut answer = word(0x11, [1, -2, 3]);
    answer.extend(word(0x12, [4, 5, -6]));
    // 32 words to a transaction; slots 2, 3, 0, 1 and on.
    let tags = [0x14, 0x17, 0x11, 0x12];
    let many: Vec<u8> = (0..32).flat_map(|i| word(tags[i % 4], [0, 0, i as i16])).collect();
    let last = word(tags[0], [0, 0, 32]);
    let script = Script::new([
        spi(&[0x0a, 0x00], &[]),
        spi(&[0x0a, 0x06], &[]),
        spi(&[0xba], &[0x23, 0x80]),
        spi(&[0xf8], &answer),
        spi(&[0xf8], &many),
        spi(&[0xf8], &last),
        spi(&[0xba], &[0x00, 0x6a]),
        spi(&[0x0a, 0x00], &[]),
    ]);
    let mut chip = Iis3dwb::new(script.clone(), FullScale::G16);
    chip.begin().unwrap();
    assert_eq!(chip.level(), Ok(Level { words: 35, overrun: false }));
    let mut words = Vec::new();
    chip.drain(2, |xyz| words.push(xyz)).unwrap();
    assert_eq!(words, [[1, -2, 3], [4, 5, -6]]);
    chip.drain(33, |xyz| words.push(xyz)).unwrap();
    assert_eq!(words.iter().skip(2).map(|w| w[2]).collect::<Vec<_>>(), (0..33).collect::<Vec<i16>>());
    assert_eq!(chip.level(), Ok(Level { words: 512, overrun: true }));
    chip.end().unwrap();
    script.is_over();
}

#[test]
fn a_word_that_is_not_the_next_sample_is_refused() {
    // Slot 0 and then: slot 2; slot 1 with odd parity; slot 1 of a temperature.
    for (tag, why) in [(0x14, "a slot is missing"), (0x13, "the parity is odd"), (0x1b, "a temperature")] {
        let mut answer = word(0x11, [7, 7, 7]);
        answer.extend(word(tag, [8, 8, 8]));
        let script = Script::new([spi(&[0xf8], &answer)]);
        let mut chip = Iis3dwb::new(script, FullScale::G16);
        let mut words = Vec::new();
        let error = chip.drain(2, |xyz| words.push(xyz)).unwrap_err();
        assert_eq!(words, [[7, 7, 7]], "{why}");
        assert_eq!(error, SensorError::Malformed { register: "FIFO_DATA_OUT_TAG", found: u32::from(tag) }, "{why}");
    }
}

#[test]
fn another_chip_and_no_chip_are_told_by_the_identity_and_a_broken_bus_by_its_error() {
    for found in [0x6c, 0x00, 0xff] {
        let script = Script::new([Wait(10_000), spi(&[0x8f], &[found])]);
        let error = Iis3dwb::new(script.clone(), FullScale::G2).start(&mut script.clone()).unwrap_err();
        assert_eq!(error, SensorError::Identity { register: "WHO_AM_I", expected: 0x7b, found: u32::from(found) });
        script.is_over();
    }
    let script = Script::new([Wait(10_000), Fails(0, vec![0x8f])]);
    let error = Iis3dwb::new(script.clone(), FullScale::G2).start(&mut script.clone()).unwrap_err();
    assert_eq!(error, SensorError::Bus { register: "WHO_AM_I", source: Broken });
    assert_eq!(error.to_string(), "the bus failed at WHO_AM_I: Broken");

    let script = Script::new([Bus(0x49, vec![0x0f], vec![0x01, 0x16])]);
    let error = Tmp117::new(script.clone()).start(&mut script.clone()).unwrap_err();
    assert_eq!(error, SensorError::Identity { register: "Device_ID", expected: 0x117, found: 0x116 });

    let script = Script::new([Bus(0x40, vec![0x00], vec![]), Wait(1_000), Bus(0x40, vec![], vec![0x40, 0, 0])]);
    let error = KellerLd::new(script.clone()).start(&mut script.clone()).unwrap_err();
    assert_eq!(error, SensorError::Identity { register: "CUST_ID0", expected: 1, found: 0 });
}

#[test]
fn a_chip_that_does_not_come_back_from_its_reset_is_given_up() {
    let mut steps = vec![Wait(10_000), spi(&[0x8f], &[0x7b]), spi(&[0x12, 0x01], &[])];
    for _ in 0..10 {
        steps.extend([Wait(1_000), spi(&[0x92], &[0x05])]);
    }
    let script = Script::new(steps);
    let error = Iis3dwb::new(script.clone(), FullScale::G2).start(&mut script.clone()).unwrap_err();
    assert_eq!(error, SensorError::NotReady { register: "CTRL3_C" });
    script.is_over();
}

#[test]
fn the_tmp117_converts_once_and_is_waited_for() {
    let at = |out: &[u8], answer: &[u8]| Bus(0x49, out.to_vec(), answer.to_vec());
    let script = Script::new([
        at(&[0x0f], &[0x01, 0x17]),
        // Reset, 2 ms, shut down.
        at(&[0x01], &[0x02, 0x20]),
        at(&[0x01, 0x02, 0x22], &[]),
        Wait(2_000),
        at(&[0x01], &[0x02, 0x20]),
        at(&[0x01, 0x06, 0x20], &[]),
        // One-shot without averaging, not ready, ready; 3200 codes are 25 degrees.
        at(&[0x01], &[0x06, 0x20]),
        at(&[0x01, 0x0e, 0x00], &[]),
        at(&[0x01], &[0x0e, 0x00]),
        Wait(10_000),
        at(&[0x01], &[0x26, 0x00]),
        at(&[0x00], &[0x0c, 0x80]),
    ]);
    let mut chip = Tmp117::new(script.clone());
    chip.start(&mut script.clone()).unwrap();
    assert_eq!(chip.read(&mut script.clone()), Ok(25.0));
    script.is_over();
}

#[test]
fn the_keller_ld_reads_its_range_once_and_then_pressure_by_request() {
    let asked = |what: u8| Bus(0x40, vec![what], vec![]);
    let says = |answer: &[u8]| Bus(0x40, vec![], answer.to_vec());
    let mut steps = Vec::new();
    // -1 bar is bf800000, 10 bar 41200000.
    for (address, word) in
        [(0x00, 0x0145), (0x12, 0x0002), (0x13, 0xbf80), (0x14, 0x0000), (0x15, 0x4120), (0x16, 0x0000u16)]
    {
        let [high, low] = word.to_be_bytes();
        steps.extend([asked(address), Wait(1_000), says(&[0x40, high, low])]);
    }
    // Code 32768 is the middle of the range.
    steps.extend([asked(0xac), Wait(8_000), says(&[0x40, 0x80, 0x00, 0x4e, 0x20])]);
    steps.extend([asked(0xac), Wait(8_000), says(&[0x60, 0x80, 0x00, 0x4e, 0x20])]);
    steps.extend([asked(0xac), Wait(8_000), says(&[0x44, 0x80, 0x00, 0x4e, 0x20])]);
    let script = Script::new(steps);
    let mut chip = KellerLd::new(script.clone());
    chip.start(&mut script.clone()).unwrap();
    assert_eq!(chip.mode(), Mode::Absolute);
    assert_eq!(chip.read(&mut script.clone()), Ok(4.5));
    assert_eq!(chip.read(&mut script.clone()), Err(SensorError::NotReady { register: "STATUS" }));
    assert_eq!(chip.read(&mut script.clone()), Err(SensorError::Malformed { register: "STATUS", found: 0x44 }));
    script.is_over();
}

#[test]
fn the_ads1115_converts_the_input_asked_for_into_the_loops_current() {
    let at = |out: &[u8], answer: &[u8]| Bus(0x48, out.to_vec(), answer.to_vec());
    let script = Script::new([
        // Default 8583 with the range of 4.096 V, then 860 samples a second.
        at(&[0x01, 0x83, 0x83], &[]),
        at(&[0x01, 0x83, 0xe3], &[]),
        // An input that nobody reads.
        at(&[0x01], &[0x83, 0xe3]),
        at(&[0x01, 0xf3, 0xe3], &[]),
        // A1, once the converter is idle: 9600 codes of 125 uV over 100 ohm are 12 mA.
        at(&[0x01], &[0x73, 0xe3]),
        Wait(2_000),
        at(&[0x01], &[0xf3, 0xe3]),
        at(&[0x01, 0xd3, 0xe3], &[]),
        Wait(2_000),
        at(&[0x01], &[0xd3, 0xe3]),
        at(&[0x00], &[0x25, 0x80]),
    ]);
    let mut chip = Ads1115::new(script.clone());
    chip.start().unwrap();
    assert_eq!(chip.read(Input::A1, &mut script.clone()), Ok(12.0));
    script.is_over();
}

#[test]
fn a_converter_that_never_ends_is_given_up() {
    let mut steps = Vec::new();
    for _ in 0..4 {
        steps.extend([Bus(0x48, vec![0x01], vec![0x05, 0x83]), Wait(2_000)]);
    }
    let script = Script::new(steps);
    let error = Ads1115::new(script.clone()).read(Input::A0, &mut script.clone()).unwrap_err();
    assert_eq!(error, SensorError::NotReady { register: "Conversion" });
    script.is_over();
}
