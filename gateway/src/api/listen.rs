//! Connections: accepted as they come, and closed when their other end takes nothing for too long, so that a stuck
//! browser holds neither memory nor a task for ever.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::events::Metrics;

/// How long the other end may take nothing.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A listener whose connections have a limit to their patience.
pub struct Patient {
    listener: TcpListener,
    patience: Duration,
    metrics: Arc<Metrics>,
}

impl Patient {
    /// Around a listener.
    pub const fn new(listener: TcpListener, patience: Duration, metrics: Arc<Metrics>) -> Self {
        Self { listener, patience, metrics }
    }
}

impl Listener for Patient {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        // axum's own way: an error of one connection is passed over, lack of files waits a second.
        let (stream, address) = Listener::accept(&mut self.listener).await;
        // Events are small and awaited.
        let _ = stream.set_nodelay(true);
        let (patience, metrics) = (self.patience, Arc::clone(&self.metrics));
        (Connection { stream, patience, waits: None, metrics }, address)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

/// A connection that fails when it could not write for too long.
pub struct Connection {
    stream: TcpStream,
    patience: Duration,
    /// Runs while a write waits.
    waits: Option<Pin<Box<Sleep>>>,
    metrics: Arc<Metrics>,
}

impl Connection {
    /// Judges the outcome of a write: whoever waits begins to be timed, whoever got on no longer is.
    fn judge<T>(&mut self, context: &mut Context<'_>, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.waits = None;
            return outcome;
        }
        let patience = self.patience;
        let waits = self.waits.get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + patience)));
        if waits.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        self.metrics.event_reader_cut_off("slow");
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the other end took nothing for too long")))
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.judge(cx, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(cx, bytes);
        self.judge(cx, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_flush(cx);
        self.judge(cx, outcome)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
