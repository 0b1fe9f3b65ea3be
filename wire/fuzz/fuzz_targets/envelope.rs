//! Fuzzes what is read from Kafka: an envelope with each kind of body, the bodies alone, and a command. Most mutations
//! break the content hash, so the bodies are also read without their envelope. Seeds: `testdata/v1/*.json`.
#![no_main]

use fettle_wire::{Alert, Command, Envelope, Evidence, Health, LedgerEntry, NodeAccount, json};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(envelope) = Envelope::decode(bytes) {
        let again = Envelope::decode(envelope.encode().expect("encodable").as_bytes()).expect("decodable");
        assert_eq!(again.signed_text(), envelope.signed_text());
        let _ = (envelope.body::<Alert>(), envelope.body::<Health>(), envelope.body::<LedgerEntry>(), envelope.body::<Evidence>());
    }
    if let Ok(alert) = json::decode::<Alert>(bytes) {
        assert_eq!(
            json::decode::<Alert>(json::encode(&alert).expect("encodable").as_bytes()).expect("decodable"),
            alert
        );
    }
    if let Ok(health) = json::decode::<Health>(bytes) {
        assert_eq!(
            json::decode::<Health>(json::encode(&health).expect("encodable").as_bytes()).expect("decodable"),
            health
        );
    }
    if let Ok(entry) = json::decode::<LedgerEntry>(bytes) {
        let _ = (entry.readings.balances(), entry.nodes.iter().all(NodeAccount::balances));
        let mut sum = entry.readings.clone();
        sum.add(&entry.readings);
    }
    if let Ok(command) = Command::decode(bytes) {
        let again = Command::decode(command.encode().expect("encodable").as_bytes()).expect("decodable");
        assert_eq!(again, command);
    }
});
