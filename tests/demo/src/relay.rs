//! A link that can be cut: connections to one loopback port go on to another, until [`Relay::cut`], and again after
//! [`Relay::mend`].

use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::watch;

/// A running relay.
#[derive(Debug)]
pub(crate) struct Relay {
    port: u16,
    whole: watch::Sender<bool>,
}

impl Relay {
    /// Relays to `target` on `runtime`.
    pub(crate) fn start(runtime: &Handle, target: u16) -> std::io::Result<Self> {
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
        let port = listener.local_addr()?.port();
        let (whole, state) = watch::channel(true);
        runtime.spawn(accept(listener, SocketAddr::from((Ipv4Addr::LOCALHOST, target)), state));
        Ok(Self { port, whole })
    }

    /// Where to connect to.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Breaks every connection and lets none through.
    pub(crate) fn cut(&self) {
        let _ = self.whole.send(false);
    }

    /// Lets connections through again.
    pub(crate) fn mend(&self) {
        let _ = self.whole.send(true);
    }
}

async fn accept(listener: TcpListener, target: SocketAddr, state: watch::Receiver<bool>) {
    while let Ok((near, _)) = listener.accept().await {
        if *state.borrow() {
            tokio::spawn(carry(near, target, state.clone()));
        }
    }
}

async fn carry(mut near: TcpStream, target: SocketAddr, mut state: watch::Receiver<bool>) {
    let Ok(mut far) = TcpStream::connect(target).await else { return };
    let _ = (near.set_nodelay(true), far.set_nodelay(true));
    tokio::select! {
        _ = copy_bidirectional(&mut near, &mut far) => {}
        _ = state.wait_for(|whole| !whole) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[test]
    fn a_cut_ends_connections_and_a_mended_link_carries_again() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let echo = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let port = echo.local_addr().unwrap().port();
        runtime.spawn(async move {
            while let Ok((mut stream, _)) = echo.accept().await {
                tokio::spawn(async move {
                    let (mut read, mut write) = stream.split();
                    let _ = tokio::io::copy(&mut read, &mut write).await;
                });
            }
        });
        let relay = Relay::start(runtime.handle(), port).unwrap();
        runtime.block_on(async {
            let mut byte = [0; 1];
            let mut first = TcpStream::connect((Ipv4Addr::LOCALHOST, relay.port())).await.unwrap();
            first.write_all(b"a").await.unwrap();
            first.read_exact(&mut byte).await.unwrap();
            relay.cut();
            assert_eq!(first.read(&mut byte).await.unwrap_or(0), 0, "the connection ends");
            let mut refused = TcpStream::connect((Ipv4Addr::LOCALHOST, relay.port())).await.unwrap();
            assert_eq!(refused.read(&mut byte).await.unwrap_or(0), 0, "none comes through");
            relay.mend();
            let mut second = TcpStream::connect((Ipv4Addr::LOCALHOST, relay.port())).await.unwrap();
            second.write_all(b"b").await.unwrap();
            second.read_exact(&mut byte).await.unwrap();
            assert_eq!(byte, *b"b");
        });
    }
}
