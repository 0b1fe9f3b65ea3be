//! The firmware as a static library for a bare Cortex-M board: `no_std`, its own panic handler, its own bounded heap.
//!
//! A vendor's main program in C links it, gives it three functions of the board ([`Hal`]) and calls [`fettle_poll`] and
//! [`fettle_exchange`] from its loop. That it links at all proves that [`fettle_firmware`] needs no standard library; a
//! test of that crate builds it.
//!
//! - I1: memory is [`HEAP_BYTES`] and nothing more; a heap that is exhausted stops the node ([`stop`]), and the watchdog
//!   that every such board has starts it anew.
//! - I2: there is one node to a board; its functions are called from one context, never from an interrupt.
//!
//! It must never unwind, and never touch the board but through [`Hal`].
#![no_std]

extern crate alloc;

mod hal;

use alloc::string::ToString;
use alloc::vec::Vec;
use core::mem::MaybeUninit;
use core::panic::PanicInfo;
use core::ptr::{addr_of_mut, null_mut};

use fettle_firmware::board::{Quantity, Span, WaveformSettings};
use fettle_firmware::sensor::iis3dwb::FullScale;
use fettle_firmware::{Action, Board, BoardSettings, Chips, Clock, Destination, Event, LinkSettings, NodeSettings};
use fettle_wire::Durable;
use hal::{Delay, I2c, Spi};
use linked_list_allocator::LockedHeap;

pub use hal::Hal;

/// Bytes of the heap: what `Board::ram` states, the frame handed to the transport, and room for what an allocator loses
/// between blocks of different size.
pub const HEAP_BYTES: usize = 256 * 1024;
/// Bytes of unconfirmed frames.
const RING_BYTES: usize = 128 * 1024;

#[global_allocator]
static HEAP: LockedHeap = LockedHeap::empty();
static mut ARENA: [MaybeUninit<u8>; HEAP_BYTES] = [const { MaybeUninit::uninit() }; HEAP_BYTES];

/// What the firmware cannot go on from: the watchdog starts the board anew.
fn stop() -> ! {
    loop {
        core::hint::spin_loop();
    }
}

#[panic_handler]
fn panicked(_: &PanicInfo<'_>) -> ! {
    stop()
}

/// The node of this board.
pub struct Node {
    board: Board<Spi, I2c, Delay>,
    actions: Vec<Action>,
}

fn settings() -> BoardSettings {
    BoardSettings {
        node: NodeSettings {
            channels: ["speed", "temperature", "pressure", "current", "acceleration"].map(|c| c.to_string()).to_vec(),
            frame_readings: 4,
            frame_age: None,
            ring_bytes: RING_BYTES,
            ring_frames: Some(RING_BYTES / 512),
            link: LinkSettings::default(),
        },
        quantities: [Quantity::Speed, Quantity::Temperature, Quantity::Pressure, Quantity::Current].to_vec(),
        interval: 1_000_000,
        waveform: Some(WaveformSettings {
            interval: 60_000_000,
            offset: 1_000_000,
            samples: 4_096,
            blocks: 1,
            full_scale: FullScale::G16,
        }),
        loops: [Span { low: 0.0, high: 4_000.0 }, Span { low: 0.0, high: 200.0 }, Span { low: 0.0, high: 150.0 }],
    }
}

/// Bytes that the node takes at most, itself included.
#[unsafe(no_mangle)]
pub extern "C" fn fettle_ram() -> usize {
    Board::<Spi, I2c, Delay>::ram(&settings()).unwrap_or(usize::MAX)
}

/// Starts the node of this board with a random boot id at `now` microseconds since power-up; null if it would not fit
/// into its heap. Its time is the board's uptime: it has no clock until the agent restamps it.
///
/// # Safety
/// Called once, before every other function but [`fettle_ram`]; the functions of `hal` stay valid for ever.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fettle_start(hal: Hal, boot: u64, now: u64) -> *mut Node {
    // SAFETY: called once (I2), so nobody else has the arena.
    unsafe { HEAP.lock().init(addr_of_mut!(ARENA).cast(), HEAP_BYTES) };
    if fettle_ram() > HEAP_BYTES {
        return null_mut();
    }
    let chips =
        Chips { vibration: Spi(hal), temperature: I2c(hal), pressure: I2c(hal), loops: I2c(hal), delay: Delay(hal) };
    let board = Board::new(settings(), chips, boot, now, Clock::Absent);
    alloc::boxed::Box::into_raw(alloc::boxed::Box::new(Node { board, actions: Vec::with_capacity(1) }))
}

/// Does what is due at `now` and returns when to call again.
///
/// # Safety
/// `node` is what [`fettle_start`] gave.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fettle_poll(node: *mut Node, now: u64) -> u64 {
    // SAFETY: the caller's promise.
    let Some(node) = (unsafe { node.as_mut() }) else { return u64::MAX };
    node.board.poll(now, &mut |_| {})
}

/// What happened between the board and its broker.
#[repr(C)]
pub enum Happened {
    /// A connection stands.
    Connected = 0,
    /// It broke.
    Disconnected = 1,
    /// The client takes one frame: it is handed to `publish`.
    Room = 2,
    /// The broker acknowledged the sequence given.
    Acknowledged = 3,
    /// A confirmation of the agent came: its bytes are given.
    Confirmed = 4,
}

/// Tells the node what happened at `now`, with `sequence` or `bytes` where that has them. A frame to send is handed to
/// `publish`: its sequence, the index of the channel whose waveform it is or -1 for readings, its bytes, which are valid
/// until `publish` returns.
///
/// # Safety
/// `node` is what [`fettle_start`] gave; `bytes` points at `length` bytes or is null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fettle_exchange(
    node: *mut Node,
    now: u64,
    happened: Happened,
    sequence: u64,
    bytes: *const u8,
    length: usize,
    publish: extern "C" fn(u64, i32, *const u8, usize),
) {
    // SAFETY: the caller's promise.
    let Some(node) = (unsafe { node.as_mut() }) else { return };
    // SAFETY: the caller's promise.
    let bytes = if bytes.is_null() { &[] } else { unsafe { core::slice::from_raw_parts(bytes, length) } };
    let durable;
    let event = match happened {
        Happened::Connected => Event::Connected,
        Happened::Disconnected => Event::Disconnected,
        Happened::Room => Event::Room(1),
        Happened::Acknowledged => Event::Acknowledged(sequence),
        Happened::Confirmed => match Durable::decode(bytes) {
            Ok(read) => {
                durable = read;
                Event::Confirmed(&durable)
            }
            // Bytes of a stranger confirm nothing.
            Err(_) => return,
        },
    };
    node.board.node_mut().step(now, event, &mut node.actions);
    for Action::Publish { sequence, to, bytes, .. } in node.actions.drain(..) {
        let channel = match to {
            Destination::Readings => -1,
            Destination::Waveform(channel) => i32::from(channel),
        };
        publish(sequence, channel, bytes.as_ptr(), bytes.len());
    }
}
