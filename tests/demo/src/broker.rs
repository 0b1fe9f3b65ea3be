//! The embedded MQTT broker: rumqttd on loopback, MQTT 5. It ends with the process.
//!
//! It hands out at most 100 unacknowledged messages at a time and keeps nothing on disk; nodes with our firmware do not
//! mind either.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};

use rumqttd::{Broker, Config, ConnectionSettings, RouterConfig, ServerSettings};

/// Larger than the largest frame.
const MAX_PAYLOAD: usize = 300 * 1024;

/// Starts it on `port`.
pub(crate) fn start(port: u16) -> std::io::Result<()> {
    let server = ServerSettings {
        name: "mqtt".to_owned(),
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
        tls: None,
        next_connection_delay_ms: 1,
        connections: ConnectionSettings {
            connection_timeout_ms: 10_000,
            max_payload_size: MAX_PAYLOAD,
            max_inflight_count: 100,
            auth: None,
            external_auth: None,
            dynamic_filters: true,
        },
    };
    let config = Config {
        router: RouterConfig {
            max_connections: 100,
            max_outgoing_packet_count: 200,
            max_segment_size: 4 << 20,
            max_segment_count: 16,
            ..RouterConfig::default()
        },
        v5: Some(HashMap::from([("mqtt".to_owned(), server)])),
        ..Config::default()
    };
    std::thread::Builder::new().name("mqtt-broker".to_owned()).spawn(move || {
        if let Err(error) = Broker::new(config).start() {
            tracing::error!(%error, "the embedded MQTT broker ended");
        }
    })?;
    Ok(())
}
