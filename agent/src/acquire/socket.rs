//! The socket to the MQTT broker: TCP, or TLS over it when built with the feature `tls`.
//!
//! It connects and moves bytes; it knows no packet. TLS is the system's OpenSSL through native-tls, and the broker's name is
//! always verified.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::config::checked::{MqttConfig, TlsConfig};

/// A connection to the broker.
#[derive(Debug)]
pub(super) enum Socket {
    Plain(TcpStream),
    #[cfg(feature = "tls")]
    Tls(Box<tls::Stream>),
}

/// What is needed to connect, read from files once.
#[derive(Debug, Clone)]
pub(super) struct Connector {
    host: String,
    port: u16,
    nodelay: bool,
    #[cfg(feature = "tls")]
    tls: Option<tls::Connector>,
}

impl Connector {
    /// Reads the certificates. Errors are texts that name file and remedy.
    pub(super) fn new(config: &MqttConfig) -> Result<Self, String> {
        Ok(Self {
            host: config.host.clone(),
            port: config.port,
            nodelay: config.tcp_nodelay,
            #[cfg(feature = "tls")]
            tls: config.tls.as_ref().map(tls::connector).transpose()?,
        })
    }

    /// Connects. Not bounded in time.
    pub(super) async fn connect(&self) -> io::Result<Socket> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        stream.set_nodelay(self.nodelay)?;
        #[cfg(feature = "tls")]
        if let Some(connector) = &self.tls {
            let stream = connector.connect(&self.host, stream).await.map_err(io::Error::other)?;
            return Ok(Socket::Tls(Box::new(stream)));
        }
        Ok(Socket::Plain(stream))
    }
}

/// Whether this build can do what `tls` asks for.
pub(super) fn supported(tls: Option<&TlsConfig>) -> Result<(), String> {
    if tls.is_some() && cfg!(not(feature = "tls")) {
        return Err("this build cannot do TLS: use one built with the feature `tls`, or remove [mqtt.tls]".into());
    }
    Ok(())
}

impl Socket {
    /// Makes the kernel confirm at once what has been read (TCP_QUICKACK), instead of up to 40 ms later with our next bytes.
    /// Brokers leave Nagle's algorithm on, so the next small message would wait for that confirmation. Best effort.
    pub(super) fn confirm_now(&self) {
        #[cfg(target_os = "linux")]
        {
            let stream = match self {
                Self::Plain(stream) => stream,
                #[cfg(feature = "tls")]
                Self::Tls(stream) => stream.get_ref().get_ref().get_ref(),
            };
            let _ = stream.set_quickack(true);
        }
    }
}

/// Calls the same poll function of whichever stream it is.
macro_rules! either {
    ($socket:expr, $stream:ident => $call:expr) => {
        match $socket.get_mut() {
            Socket::Plain(stream) => {
                let $stream = Pin::new(stream);
                $call
            }
            #[cfg(feature = "tls")]
            Socket::Tls(stream) => {
                let $stream = Pin::new(&mut **stream);
                $call
            }
        }
    };
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_read(cx, buffer))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        either!(self, stream => stream.poll_write(cx, bytes))
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_flush(cx))
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_shutdown(cx))
    }
}

#[cfg(feature = "tls")]
mod tls {
    use std::path::Path;

    use rumqttc::tokio_native_tls::native_tls::{Certificate, Identity, TlsConnector};
    use rumqttc::tokio_native_tls::{self, TlsStream};
    use tokio::net::TcpStream;

    use crate::config::checked::TlsConfig;

    pub(super) type Stream = TlsStream<TcpStream>;
    pub(super) type Connector = tokio_native_tls::TlsConnector;

    pub(super) fn connector(config: &TlsConfig) -> Result<Connector, String> {
        let mut builder = TlsConnector::builder();
        for pem in certificates(&read(&config.ca_file)?) {
            let certificate = Certificate::from_pem(pem.as_bytes()).map_err(|e| wrong(&config.ca_file, &e))?;
            builder.add_root_certificate(certificate);
        }
        if let (Some(cert), Some(key)) = (&config.cert_file, &config.key_file) {
            let identity = Identity::from_pkcs8(read(cert)?.as_bytes(), read(key)?.as_bytes());
            builder.identity(identity.map_err(|e| wrong(key, &e))?);
        }
        builder.build().map(Connector::from).map_err(|e| format!("TLS cannot be set up: {e}"))
    }

    /// The single certificates of a PEM file: native-tls takes one at a time.
    fn certificates(pem: &str) -> Vec<String> {
        const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
        pem.split(BEGIN).skip(1).map(|rest| format!("{BEGIN}{rest}")).collect()
    }

    fn read(path: &Path) -> Result<String, String> {
        std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))
    }

    fn wrong(path: &Path, error: &dyn std::fmt::Display) -> String {
        format!("{}: not usable PEM ({error}); a key must be PKCS #8", path.display())
    }
}
