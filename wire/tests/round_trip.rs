//! Whatever a sound writer sends is read back equal, bit for bit.

mod samples;

use fettle_wire::{Alert, Command, Durable, Envelope, Evidence, Frame, Health, LedgerEntry, json};
use proptest::prelude::*;

proptest! {
    #![proptest_config(samples::config(256))]

    #[test]
    fn frames(owned in samples::frame()) {
        let frame = owned.frame();
        let bytes = frame.encode().expect("encodable");
        let read = Frame::decode(&bytes).expect("a frame");
        prop_assert_eq!(&read, &frame);
        prop_assert_eq!(read.encode().expect("encodable"), bytes.as_slice(), "one frame, one encoding");
        for (read, sent) in read.readings.iter().zip(&frame.readings) {
            prop_assert_eq!(read.2.to_bits(), sent.2.to_bits());
        }
    }

    #[test]
    fn confirmations(durable in samples::durable()) {
        prop_assert_eq!(Durable::decode(&durable.encode().expect("encodable")).expect("a confirmation"), durable);
    }

    #[test]
    fn alerts(alert in samples::alert()) {
        prop_assert_eq!(json::decode::<Alert>(json::encode(&alert).expect("encodable").as_bytes()).expect("an alert"), alert);
    }

    #[test]
    fn health_records(health in samples::health()) {
        let text = json::encode(&health).expect("encodable");
        prop_assert_eq!(json::decode::<Health>(text.as_bytes()).expect("a health record"), health);
    }

    #[test]
    fn ledger_entries(entry in samples::ledger()) {
        let text = json::encode(&entry).expect("encodable");
        let read = json::decode::<LedgerEntry>(text.as_bytes()).expect("a ledger entry");
        prop_assert!(read.readings.balances() && read.nodes.iter().all(fettle_wire::NodeAccount::balances));
        prop_assert_eq!(read, entry);
    }

    #[test]
    fn evidence(evidence in samples::evidence()) {
        let text = json::encode(&evidence).expect("encodable");
        prop_assert_eq!(json::decode::<Evidence>(text.as_bytes()).expect("evidence"), evidence);
    }

    #[test]
    fn commands(command in samples::command()) {
        let text = command.encode().expect("encodable");
        prop_assert_eq!(Command::decode(text.as_bytes()).expect("a command"), command);
    }

    #[test]
    fn envelopes(envelope in samples::envelope()) {
        let text = envelope.encode().expect("encodable");
        let read = Envelope::decode(text.as_bytes()).expect("an envelope");
        prop_assert_eq!(read.encode().expect("encodable"), text);
        prop_assert_eq!(read.signed_text(), envelope.signed_text());
    }
}
