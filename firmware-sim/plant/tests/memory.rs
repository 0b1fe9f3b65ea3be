//! The claim of a board's memory: after its start the heap stays within what `Board::ram` states, for hours, with the
//! link up and down. Measured by an allocator that counts.
#![expect(unsafe_code, reason = "GlobalAlloc can only be implemented by unsafe code; it calls the system's and counts")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use fettle_firmware::board::{Quantity, WaveformSettings};
use fettle_firmware::sensor::iis3dwb::FullScale;
use fettle_firmware::{Action, Board, BoardSettings, Clock, Event, LinkSettings, NodeSettings};
use fettle_sim::Machine;
use fettle_sim::chip::rig::{Bus, Rig, Shared, Spi, Wait, loops};
use fettle_wire::Durable;

struct Counting;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    // A thread that is being torn down has no cells any more; nothing is measured there.
    let _ = HELD.try_with(|held| {
        held.set(held.get() + bytes);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(held.get())));
    });
}

// SAFETY: every call is passed on to the system's allocator unchanged; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Old and new may both be held while one is copied into the other.
        count(size as isize);
        count(-(layout.size() as isize));
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

type Node = Board<Spi, Bus, Wait>;

/// What docs/sim.md states: four scalars a second, a block of 4,096 samples a minute, a ring of 256 KiB.
fn settings(machine: &Machine) -> BoardSettings {
    BoardSettings {
        node: NodeSettings {
            channels: ["speed", "temperature", "pressure", "current", "acceleration"].map(str::to_owned).to_vec(),
            frame_readings: 4,
            frame_age: None,
            ring_bytes: 256 * 1024,
            ring_frames: Some(1_024),
            link: LinkSettings::default(),
        },
        quantities: vec![Quantity::Speed, Quantity::Temperature, Quantity::Pressure, Quantity::Current],
        interval: 1_000_000,
        waveform: Some(WaveformSettings {
            interval: 60_000_000,
            offset: 0,
            samples: 4_096,
            blocks: 1,
            full_scale: FullScale::G16,
        }),
        loops: loops(machine.design().rated_current_a),
    }
}

const HOUR: u64 = 3_600_000_000;

#[test]
fn the_heap_of_a_board_stays_within_what_it_states_for_hours_with_the_link_up_and_down() {
    let machine = Machine::new(1, 0, None).with_physics(None);
    let settings = settings(&machine);
    let stated = Node::ram(&settings).expect("the number of frames is bounded");
    let frame_bytes = fettle_firmware::Node::frame_bytes(&settings.node, 2 * 4_096);
    let rig = Shared::new(Rig::new(1, 0, machine, Vec::new(), 0));
    let chips = rig.chips();
    let mut actions: Vec<Action> = Vec::with_capacity(8);
    let mut durable = Durable { version: 1, confirmed: vec![(7, 0)] };
    let before = HELD.get();
    PEAK.set(before);
    let mut board = Board::new(settings, chips, 7, 0, Clock::Absent);
    let (mut now, mut connected, mut peaks) = (0, false, Vec::new());
    while now < 8 * HOUR {
        rig.rig().advance_to(now as i64);
        now = board.poll(now, &mut |_| {}).max(rig.rig().now().unsigned_abs());
        // An hour up, an hour and a half down: the ring overflows.
        let up = now % (5 * HOUR / 2) < HOUR;
        if up != connected {
            let event = if up { Event::Connected } else { Event::Disconnected };
            board.node_mut().step(now, event, &mut actions);
            connected = up;
            peaks.push((PEAK.get() - before).unsigned_abs());
        }
        if up {
            // One frame at a time: what is handed over is the transport's memory.
            board.node_mut().step(now, Event::Room(1), &mut actions);
            for Action::Publish { sequence, .. } in actions.drain(..) {
                durable.confirmed[0].1 = sequence;
                board.node_mut().step(now, Event::Acknowledged(sequence), &mut Vec::new());
            }
            board.node_mut().step(now, Event::Confirmed(&durable), &mut Vec::new());
        }
    }
    let held = (PEAK.get() - before).unsigned_abs() + size_of::<Node>();
    let account = board.node().account();
    println!("{} frames in {} bytes of ring at the end", board.node().ring().len(), board.node().ring().bytes());
    println!("stated {stated} bytes, measured at most {held}, {} of them in the board itself", size_of::<Node>());
    assert!(account.overflowed.frames > 1_000 && account.confirmed.frames > 5_000, "{account:?}");
    assert!(held <= stated, "{held} bytes are more than the {stated} stated");
    // A statement that is far too generous would be none.
    assert!(held * 4 > stated * 3, "{held} of {stated}");
    // Once the ring was full nothing grows any more: it is full to within a frame, so peaks differ by less than one.
    let (full, frame) = (peaks[2], frame_bytes);
    assert!(peaks[2..].iter().all(|p| p.abs_diff(full) <= frame), "{peaks:?}");
}

#[test]
fn the_memory_stated_in_the_documentation_is_the_boards_own() {
    let machine = Machine::new(1, 0, None);
    let stated = Node::ram(&settings(&machine)).expect("the number of frames is bounded");
    let documentation = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/sim.md");
    let text = std::fs::read_to_string(documentation).expect("docs/sim.md can be read");
    let written = format!("{},{:03} bytes", stated / 1_000, stated % 1_000);
    assert!(text.contains(&written), "docs/sim.md does not state {written}");
}
