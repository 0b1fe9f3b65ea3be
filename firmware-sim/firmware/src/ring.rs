//! The ring: encoded frames that are not confirmed yet, bounded in bytes.
//!
//! Between the batch (which pushes) and the link (which reads and frees). Frames are kept encoded, because a node has
//! kilobytes: an encoded reading takes a third of an owned one. One field of a frame must still be able to change
//! after encoding: `oldest` tells the agent at each send what the node no longer holds. It is therefore encoded at
//! full width and overwritten in place at each send (F2); CBOR readers accept an integer of any width.
//!
//! - R1: the sequences held are contiguous, so that a sequence is an index.
//! - R2: pushed = confirmed + overflowed + discarded + held, in frames and in readings.
//! - R3: bytes held never exceed the capacity; where the number of frames is bounded too, their places are made at the
//!   start and never grow.
//!
//! It must never free a frame on anything but a durable confirmation, its own overflow, or a transport's word that it
//! can never carry it (F1); nor free by confirmation what was never sent.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::link::Destination;

/// What a held frame is charged beyond its bytes: the entry itself.
pub const ENTRY_BYTES: usize = size_of::<Held>();

/// How many frames and readings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Count {
    /// Frames.
    pub frames: u64,
    /// Readings in them.
    pub readings: u64,
}

impl Count {
    fn add(&mut self, readings: u32) {
        self.frames += 1;
        self.readings += u64::from(readings);
    }

    fn take(&mut self, readings: u32) {
        self.frames -= 1;
        self.readings -= u64::from(readings);
    }
}

/// One frame in the ring, with what the link knows of it.
#[derive(Debug)]
pub(crate) struct Held {
    bytes: Box<[u8]>,
    oldest_at: u32,
    readings: u32,
    /// Where it goes.
    pub(crate) to: Destination,
    /// How often it was handed to the transport.
    pub(crate) sends: u32,
    /// Whether the broker has acknowledged the last hand-over.
    pub(crate) acked: bool,
    /// Whether it can never be carried; it holds its place until all before it is gone.
    pub(crate) discarded: bool,
    /// When it was last handed over, or acknowledged; microseconds of the node's monotonic clock.
    pub(crate) at: u64,
}

/// The bounded store of unconfirmed frames.
#[derive(Debug)]
pub struct Ring {
    held: VecDeque<Held>,
    first: u64,
    bytes: usize,
    capacity: usize,
    frames: usize,
    confirmed: Count,
    overflowed: Count,
    discarded: Count,
    live: Count,
}

impl Ring {
    /// A ring that holds at most `capacity` bytes, [`ENTRY_BYTES`] a frame included.
    pub fn new(capacity: usize) -> Self {
        Self::with(VecDeque::new(), capacity, usize::MAX)
    }

    /// A ring that in addition holds at most `frames` frames, for which it makes room at once: from here on the heap
    /// only carries the frames' own bytes.
    pub fn bounded(capacity: usize, frames: usize) -> Self {
        // One more, because the new frame is put in before the oldest goes.
        Self::with(VecDeque::with_capacity(frames.saturating_add(1)), capacity, frames)
    }

    fn with(held: VecDeque<Held>, capacity: usize, frames: usize) -> Self {
        Self {
            held,
            first: 0,
            bytes: 0,
            capacity,
            frames,
            confirmed: Count::default(),
            overflowed: Count::default(),
            discarded: Count::default(),
            live: Count::default(),
        }
    }

    /// The lowest sequence still held; with nothing held, the next one to come.
    pub fn oldest(&self) -> u64 {
        self.first
    }

    /// One above the highest sequence pushed.
    pub fn next(&self) -> u64 {
        self.first + self.held.len() as u64
    }

    /// Frames held.
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Bytes held, [`ENTRY_BYTES`] a frame included.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The bound on [`Self::bytes`].
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Freed because the agent confirmed them.
    pub fn confirmed(&self) -> Count {
        self.confirmed
    }

    /// Lost, oldest first, because the ring was full.
    pub fn overflowed(&self) -> Count {
        self.overflowed
    }

    /// Given up because no transport can carry them.
    pub fn discarded(&self) -> Count {
        self.discarded
    }

    /// Frames and readings held and not given up.
    pub fn held(&self) -> Count {
        self.live
    }

    /// Adds the frame of sequence [`Self::next`]: its bytes, where the eight bytes of `oldest` lie in them, how many
    /// readings it carries and where it goes. Makes room by dropping the oldest; a frame larger than the ring drops
    /// everything, itself included.
    pub(crate) fn push(&mut self, bytes: Vec<u8>, oldest_at: u32, readings: u32, to: Destination) {
        // A vector that grew while it was encoded has room to spare, which would be held uncounted.
        let bytes = bytes.into_boxed_slice();
        self.bytes += bytes.len() + ENTRY_BYTES;
        self.live.add(readings);
        self.held.push_back(Held { bytes, oldest_at, readings, to, sends: 0, acked: false, discarded: false, at: 0 });
        while self.bytes > self.capacity || self.held.len() > self.frames {
            let Some(gone) = self.pop() else { break };
            if !gone.discarded {
                self.overflowed.add(gone.readings);
            }
        }
    }

    /// Frees what a confirmation covers: every sequence below `next` that was sent at least once. A confirmation of
    /// what was never sent is not believed.
    pub(crate) fn confirm(&mut self, next: u64) -> bool {
        let before = self.first;
        while self.first < next && self.held.front().is_some_and(|h| h.sends > 0 || h.discarded) {
            let Some(gone) = self.pop() else { break };
            if !gone.discarded {
                self.confirmed.add(gone.readings);
            }
        }
        self.drop_discarded();
        self.first > before
    }

    /// Gives a frame up that no transport can ever carry.
    pub(crate) fn discard(&mut self, sequence: u64) {
        let Some(held) = self.get_mut(sequence) else { return };
        if held.discarded {
            return;
        }
        held.discarded = true;
        let (freed, readings) = (held.bytes.len(), held.readings);
        held.bytes = Box::default();
        self.bytes -= freed;
        self.live.take(readings);
        self.discarded.add(readings);
        self.drop_discarded();
    }

    pub(crate) fn get(&self, sequence: u64) -> Option<&Held> {
        self.held.get(usize::try_from(sequence.checked_sub(self.first)?).ok()?)
    }

    pub(crate) fn get_mut(&mut self, sequence: u64) -> Option<&mut Held> {
        self.held.get_mut(usize::try_from(sequence.checked_sub(self.first)?).ok()?)
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Held> {
        self.held.iter_mut()
    }

    /// The bytes of a frame as they must be sent now: with the current `oldest` (F2).
    pub(crate) fn encoded(&self, sequence: u64) -> Option<Vec<u8>> {
        let held = self.get(sequence).filter(|h| !h.discarded)?;
        let mut bytes = held.bytes.to_vec();
        let at = held.oldest_at as usize;
        // Push was given the place of eight bytes inside the frame; were that wrong, the frame goes out as encoded.
        if let Some(place) = bytes.get_mut(at..at + 8) {
            place.copy_from_slice(&self.first.to_be_bytes());
        }
        Some(bytes)
    }

    fn pop(&mut self) -> Option<Held> {
        let gone = self.held.pop_front()?;
        self.first += 1;
        self.bytes -= gone.bytes.len() + ENTRY_BYTES;
        if !gone.discarded {
            self.live.take(gone.readings);
        }
        Some(gone)
    }

    fn drop_discarded(&mut self) {
        while self.held.front().is_some_and(|h| h.discarded) {
            self.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn ring_of(frames: usize, capacity: usize) -> Ring {
        let mut ring = Ring::new(capacity);
        for i in 0..frames {
            ring.push(vec![i as u8; 10], 0, 2, Destination::Readings);
        }
        ring
    }

    #[test]
    fn overflow_drops_the_oldest_and_raises_oldest() {
        let ring = ring_of(5, 3 * (10 + ENTRY_BYTES));
        assert_eq!((ring.oldest(), ring.next(), ring.len()), (2, 5, 3));
        assert_eq!(ring.overflowed(), Count { frames: 2, readings: 4 });
        assert!(ring.bytes() <= ring.capacity());
    }

    #[test]
    fn a_ring_bounded_in_frames_drops_the_oldest_and_never_grows_its_places() {
        let mut ring = Ring::bounded(1_000_000, 3);
        let places = ring.held.capacity();
        for i in 0..50u8 {
            ring.push(vec![i; 10], 0, 1, Destination::Readings);
            assert!(ring.len() <= 3 && ring.held.capacity() == places);
        }
        assert_eq!((ring.oldest(), ring.overflowed().frames), (47, 47));
    }

    #[test]
    fn a_frame_larger_than_the_ring_costs_itself_and_leaves_the_count_right() {
        let mut ring = ring_of(2, 3 * (10 + ENTRY_BYTES));
        ring.push(vec![0; 1000], 0, 1, Destination::Readings);
        assert!(ring.is_empty());
        assert_eq!((ring.oldest(), ring.next(), ring.bytes()), (3, 3, 0));
        assert_eq!(ring.overflowed().frames, 3);
    }

    #[test]
    fn a_confirmation_of_what_was_never_sent_frees_nothing() {
        let mut ring = ring_of(3, 10_000);
        assert!(!ring.confirm(u64::MAX));
        assert_eq!(ring.len(), 3);
        ring.get_mut(0).unwrap().sends = 1;
        assert!(ring.confirm(u64::MAX));
        assert_eq!(ring.oldest(), 1);
    }

    #[test]
    fn a_discarded_frame_holds_its_place_until_all_before_it_is_gone() {
        let mut ring = ring_of(3, 10_000);
        ring.discard(1);
        assert_eq!((ring.oldest(), ring.len()), (0, 3));
        assert!(ring.encoded(1).is_none());
        ring.get_mut(0).unwrap().sends = 1;
        ring.confirm(1);
        assert_eq!(ring.oldest(), 2);
        assert_eq!((ring.confirmed().frames, ring.discarded().frames, ring.held().frames), (1, 1, 1));
    }

    #[test]
    fn what_is_sent_carries_the_oldest_of_now() {
        let mut ring = ring_of(3, 10_000);
        ring.get_mut(0).unwrap().sends = 1;
        assert_eq!(&ring.encoded(2).unwrap()[..8], 0u64.to_be_bytes());
        ring.confirm(1);
        assert_eq!(&ring.encoded(2).unwrap()[..8], 1u64.to_be_bytes());
    }
}
