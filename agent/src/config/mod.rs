//! The configuration: TOML as typed, checked rule by rule, then as run.
pub mod checked;

pub use checked::{
    Checked, ClockConfig, ForeignTemplate, JournalConfig, KafkaConfig, Mechanism, MqttConfig, OutboxConfig, Secret,
    TlsConfig,
};
