//! Fuzzes what a node or the agent may be sent over MQTT: a frame and a confirmation. What is accepted must mean the same
//! after it was encoded and decoded again. Seeds: `testdata/v1/*.cbor`.
#![no_main]

use fettle_wire::frame::MAX_FRAME;
use fettle_wire::{Durable, Frame};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(frame) = Frame::decode(bytes) {
        let encoded = frame.encode().expect("what was decoded can be encoded");
        if encoded.len() > MAX_FRAME {
            // A foreign encoder may be more terse than ours; then only the limit refuses ours.
            return;
        }
        let again = Frame::decode(&encoded).expect("what was encoded can be decoded");
        // Compared as bytes: a NaN is not equal to itself.
        assert_eq!(again.encode().expect("encodable"), encoded);
        assert_eq!(again.weight(), frame.weight());
    }
    if let Ok(durable) = Durable::decode(bytes) {
        // A foreign encoder may be more terse than ours, so ours may pass the limit: then only the limit refuses it.
        if let Ok(again) = Durable::decode(&durable.encode().expect("encodable")) {
            assert_eq!(again, durable);
        }
    }
});
