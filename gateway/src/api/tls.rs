//! TLS for the API through the system's OpenSSL, in builds with the feature `tls`. TLS 1.2 and later.
//!
//! Certificate and key are read at the start: a renewed certificate needs a restart, which loses nothing.

use crate::config::ServerTls;

#[cfg(feature = "tls")]
pub(crate) use tokio_native_tls::{TlsAcceptor, TlsStream};

/// Without the feature there is none.
#[cfg(not(feature = "tls"))]
#[derive(Clone)]
pub(crate) enum TlsAcceptor {}

/// What connections are opened with; the reason if the files will not do.
#[cfg(feature = "tls")]
pub(crate) fn acceptor(tls: &ServerTls) -> Result<TlsAcceptor, String> {
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

/// What connections are opened with; refused, because this build has no TLS.
#[cfg(not(feature = "tls"))]
pub(crate) fn acceptor(_: &ServerTls) -> Result<TlsAcceptor, String> {
    Err("only in a build with the feature tls".into())
}
