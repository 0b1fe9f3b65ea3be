//! TLS for the API through the system's OpenSSL, in builds with the feature `tls`. TLS 1.2 and later.
//!
//! Certificate and key are read again when either file changes, for connections that begin after it; a change that does
//! not read leaves what was, and is said.

#[cfg(feature = "tls")]
use std::time::SystemTime;

use crate::config::ServerTls;

#[cfg(feature = "tls")]
pub(crate) use tokio_native_tls::{TlsAcceptor, TlsStream};

/// Without the feature there is none.
#[cfg(not(feature = "tls"))]
pub(crate) enum Certificate {}

/// A certificate with its key, and what they were read from.
#[cfg(feature = "tls")]
pub(crate) struct Certificate {
    files: ServerTls,
    read_as: [Option<(SystemTime, u64)>; 2],
    acceptor: TlsAcceptor,
}

#[cfg(feature = "tls")]
fn stamps(files: &ServerTls) -> [Option<(SystemTime, u64)>; 2] {
    [&files.cert_file, &files.key_file].map(|path| {
        let found = std::fs::metadata(path).ok()?;
        Some((found.modified().ok()?, found.len()))
    })
}

#[cfg(feature = "tls")]
impl Certificate {
    /// Reads the files; the reason if they will not do.
    pub(crate) fn open(files: &ServerTls) -> Result<Self, String> {
        let read_as = stamps(files);
        Ok(Self { acceptor: acceptor(files)?, read_as, files: files.clone() })
    }

    /// What a connection is opened with, as the files have it now.
    pub(crate) fn current(&mut self) -> &TlsAcceptor {
        let found = stamps(&self.files);
        if found != self.read_as {
            self.read_as = found;
            match acceptor(&self.files) {
                Ok(acceptor) => {
                    self.acceptor = acceptor;
                    tracing::info!("the renewed certificate is shown from now on");
                }
                Err(error) => tracing::error!("the certificate read before is still shown: {error}"),
            }
        }
        &self.acceptor
    }
}

#[cfg(not(feature = "tls"))]
impl Certificate {
    /// Refused, because this build has no TLS.
    pub(crate) fn open(_: &ServerTls) -> Result<Self, String> {
        Err("only in a build with the feature tls".into())
    }
}

#[cfg(feature = "tls")]
fn acceptor(tls: &ServerTls) -> Result<TlsAcceptor, String> {
    use tokio_native_tls::native_tls;
    let read = |path: &std::path::Path| std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()));
    let (certificate, key) = (read(&tls.cert_file)?, read(&tls.key_file)?);
    let identity = native_tls::Identity::from_pkcs8(&certificate, &key).map_err(|e| {
        format!("certificate chain (PEM, own first) and unencrypted PKCS#8 key (PEM) do not go together: {e}")
    })?;
    let mut builder = native_tls::TlsAcceptor::builder(identity);
    builder.min_protocol_version(Some(native_tls::Protocol::Tlsv12));
    builder.build().map(Into::into).map_err(|e| e.to_string())
}
