//! Configuration twice: as typed ([`raw`]), then as run ([`checked`]). Nothing else in the daemon sees a raw value, and
//! `check` says everything that is wrong at once.

mod access;
mod checked;
mod error;
mod raw;

use std::path::Path;

pub use checked::{
    Access, Config, Credentials, Intake, Kafka, Keep, Mechanism, ServerTls, Signatures, Tls, Topics, Webhook,
};
pub use error::{ConfigError, Problem};

/// Reads and checks a configuration file. Relative paths in it are relative to its folder.
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.into(), source })?;
    let folder = path.parent().unwrap_or(Path::new("."));
    parse(&text, folder)
}

/// Checks a configuration's text; relative paths in it are relative to `folder`.
pub fn parse(text: &str, folder: &Path) -> Result<Config, ConfigError> {
    let (raw, mut problems) = raw::read(text).map_err(|problem| ConfigError::Problems(vec![problem]))?;
    let checked = checked::check(raw, folder, &mut problems);
    match checked {
        Some(config) if problems.is_empty() => Ok(config),
        _ => Err(ConfigError::Problems(problems)),
    }
}

#[cfg(test)]
mod tests;
