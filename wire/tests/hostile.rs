//! Bytes from strangers: whatever arrives, a decoder does not panic and does not take memory for what did not arrive.
//!
//! The claim, measured by an allocator that counts: while a decoder runs it holds at most [`MULTIPLE`] times the input
//! plus [`FIXED`] bytes. The multiple is that of the worst input found by hand: an array of empty texts or of the shortest
//! readings, at the instant when a full vector is copied into one of twice its size.
#![expect(unsafe_code, reason = "GlobalAlloc can only be implemented by unsafe code; it calls the system's and counts")]

mod samples;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use fettle_wire::{Alert, AssetEvent, Command, Durable, Envelope, Evidence, Frame, Health, LedgerEntry, cbor, json};
use proptest::collection::vec;
use proptest::prelude::*;

/// Bytes held at most for each byte of input.
const MULTIPLE: usize = 32;
/// And besides: the first believed elements of three sequences, and error texts.
const FIXED: usize = 16 * 1024;

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

/// The most bytes that `run` held at once.
fn peak<T>(run: impl FnOnce() -> T) -> usize {
    let before = HELD.get();
    PEAK.set(before);
    drop(run());
    (PEAK.get() - before).unsigned_abs()
}

/// Every decoder of the contract, over the same bytes.
fn decode_all(bytes: &[u8]) {
    let limit = MULTIPLE * bytes.len() + FIXED;
    let check = |what: &str, held: usize| {
        assert!(
            held <= limit,
            "{what}: {held} bytes held for {} bytes: {:.1} each",
            bytes.len(),
            held as f64 / bytes.len() as f64
        );
    };
    check("frame", peak(|| Frame::decode(bytes)));
    check("confirmation", peak(|| Durable::decode(bytes)));
    check("event", peak(|| AssetEvent::decode(bytes)));
    check("health in CBOR", peak(|| cbor::decode::<Skipped>(bytes, bytes.len())));
    check("envelope", peak(|| Envelope::decode(bytes)));
    check("command", peak(|| Command::decode(bytes)));
    check("alert", peak(|| json::decode::<Alert>(bytes)));
    check("health", peak(|| json::decode::<Health>(bytes)));
    check("evidence", peak(|| json::decode::<Evidence>(bytes)));
    check("ledger", peak(|| json::decode::<LedgerEntry>(bytes)));
}

/// A struct that knows no field: all of its CBOR is skipped.
#[derive(serde::Deserialize)]
struct Skipped {}

/// Bytes that begin like CBOR more often than chance would have it.
fn cbor_like() -> impl Strategy<Value = Vec<u8>> {
    let token = prop_oneof![
        any::<u8>().prop_map(|b| vec![b]),
        (0x80..0xc0u8).prop_map(|b| vec![b]),
        (0..12u8).prop_map(|b| vec![b]),
        // Lengths that are announced and do not follow.
        (prop::sample::select(&[0x5b_u8, 0x7b, 0x9b, 0xbb][..]), any::<u64>()).prop_map(|(major, n)| [
            &[major][..],
            &n.to_be_bytes()
        ]
        .concat()),
        (prop::sample::select(&[0x5a_u8, 0x7a, 0x9a, 0xba][..]), any::<u32>()).prop_map(|(major, n)| [
            &[major][..],
            &n.to_be_bytes()
        ]
        .concat()),
        Just(vec![0xfb, 0x7f, 0xf8, 0, 0, 0, 0, 0, 0]),
    ];
    vec(token, 0..64).prop_map(|tokens| tokens.concat())
}

fn json_like() -> impl Strategy<Value = Vec<u8>> {
    let words: [&'static str; 15] = [
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"\"",
        "\"kind\"",
        "\"body\"",
        "null",
        "1e999",
        "-0",
        "\"\\ud800\"",
        "1",
        "{\"a\":",
    ];
    vec(prop::sample::select(words.to_vec()), 0..64).prop_map(|tokens| tokens.concat().into_bytes())
}

/// One to four changes: a byte flipped, removed, inserted, or the rest cut off.
fn mutate(mut bytes: Vec<u8>, changes: &[(u8, prop::sample::Index, u8)]) -> Vec<u8> {
    for (kind, at, byte) in changes {
        if bytes.is_empty() {
            break;
        }
        let at = at.index(bytes.len());
        match kind % 4 {
            0 => bytes[at] ^= byte | 1,
            1 => drop(bytes.remove(at)),
            2 => bytes.insert(at, *byte),
            _ => bytes.truncate(at),
        }
    }
    bytes
}

fn changes() -> impl Strategy<Value = Vec<(u8, prop::sample::Index, u8)>> {
    vec(any::<(u8, prop::sample::Index, u8)>(), 1..5)
}

proptest! {
    #![proptest_config(samples::config(1024))]

    #[test]
    fn arbitrary_bytes_are_taken_calmly(bytes in prop_oneof![vec(any::<u8>(), 0..300), cbor_like(), json_like()]) {
        decode_all(&bytes);
    }

    #[test]
    fn a_damaged_frame_is_taken_calmly(owned in samples::frame(), changes in changes()) {
        decode_all(&mutate(owned.frame().encode().expect("encodable"), &changes));
    }

    #[test]
    fn a_damaged_confirmation_is_taken_calmly(durable in samples::durable(), changes in changes()) {
        decode_all(&mutate(durable.encode().expect("encodable"), &changes));
    }

    #[test]
    fn damaged_records_are_taken_calmly(envelope in samples::envelope(), command in samples::command(), changes in changes()) {
        decode_all(&mutate(envelope.body.get().as_bytes().to_vec(), &changes));
        decode_all(&mutate(envelope.encode().expect("encodable").into_bytes(), &changes));
        decode_all(&mutate(command.encode().expect("encodable").into_bytes(), &changes));
    }
}

/// `head`, then `element` until `size` bytes are full, then `tail`.
fn filled(head: &[u8], element: &[u8], tail: &[u8], size: usize) -> Vec<u8> {
    let mut bytes = head.to_vec();
    while bytes.len() + element.len() + tail.len() <= size {
        bytes.extend(element);
    }
    bytes.extend(tail);
    bytes
}

#[test]
fn the_worst_inputs_found_stay_within_the_multiple() {
    let ledger = |field: &str| format!("{{\"asset\":\"a\",{field}");
    // Just above and just below a doubling, and as large as it gets.
    for size in [1_000, 1_600, 5_000, 70_000, 131_072, 200_000, 262_144] {
        // Field 7 of a frame: empty texts, one byte each for 16 in memory.
        decode_all(&filled(&[0xa1, 7, 0x9f], &[0x60], &[0xff], size));
        // Field 8: the shortest reading, four bytes for 24 in memory. Field 9: the shortest flag, three for eight.
        decode_all(&filled(&[0xa1, 8, 0x9f], &[0x83, 0, 0, 0], &[0xff], size));
        decode_all(&filled(&[0xa1, 9, 0x9f], &[0x82, 0, 0], &[0xff], size));
        // A text in pieces is put together in a buffer before it is refused.
        decode_all(&filled(&[0xa1, 0x0b, 0x7f], &[0x61, b'a'], &[0xff], size));
        // JSON: lists of empty texts, of pairs; maps of short keys; skipped and buffered values.
        decode_all(&filled(b"{\"flags\":[", b"\"\",", b"\"\"]}", size));
        decode_all(&filled(b"{\"rul\":{\"kind\":\"none\",\"x\":[", b"0,", b"0]}}", size));
        decode_all(&filled(b"{\"nodes\":[{\"missing_ranges\":[", b"[0,0],", b"[0,0]]}]}", size));
        decode_all(&filled(b"{\"body\":[", b"0,", b"0]}", size));
        let mut keys = ledger("\"readings\":{\"rejected\":{").into_bytes();
        for i in 0.. {
            let key = format!("\"{i:x}\":0,");
            if keys.len() + key.len() > size {
                break;
            }
            keys.extend(key.bytes());
        }
        decode_all(&keys);
    }
}

#[test]
fn ten_bytes_that_announce_a_billion_elements_cost_a_few_kib() {
    for field in [7, 8, 9] {
        let bytes = [0xa1, field, 0x9b, 0, 0, 0, 0, 0x3b, 0x9a, 0xca, 0x00];
        let held = peak(|| Frame::decode(&bytes));
        assert!(held <= 4096, "field {field}: {held} bytes");
    }
}

#[test]
fn deep_nesting_is_refused_without_deep_recursion() {
    for opening in [&[0x81][..], &[0x9f], &[0xa1, 0x00], &[0xbf, 0x00], &[0xc1], &[0xd9, 0x01, 0x00]] {
        // In an unknown field, where nothing but the limit would end it.
        let bytes = filled(&[0xa1, 0x18, 0x40], opening, &[0x00], 100_000);
        let error = Frame::decode(&bytes).expect_err("refused").to_string();
        assert!(error.contains("recursion"), "{error}");
        // As the whole message, and in place of a known field.
        assert!(Frame::decode(&filled(&[], opening, &[0x00], 100_000)).is_err());
        assert!(Frame::decode(&filled(&[0xa1, 0x00], opening, &[0x00], 100_000)).is_err());
    }
    // JSON is skipped without recursion where it is unknown and refused where it is known.
    let deep = |n: usize| format!("{{\"x\":{}{}}}", "[".repeat(n), "]".repeat(n));
    for text in [deep(100_000), deep(100_000).replace("\"x\"", "\"body\""), deep(100_000).replace("\"x\"", "\"rul\"")] {
        decode_all(text.as_bytes());
        assert!(Envelope::decode(text.as_bytes()).is_err());
        assert!(json::decode::<Health>(text.as_bytes()).is_err());
    }
}

#[test]
fn the_counting_allocator_counts() {
    assert_eq!(peak(|| vec![0_u8; 1000]), 1000);
    assert_eq!(peak(|| (vec![0_u8; 1000], vec![0_u8; 500])), 1500);
}
