//! Connections: accepted as they come up to a bound, opened with TLS where asked for, and closed when their other end
//! takes nothing or sends no whole head of a request for too long, so that neither a stuck browser nor one who wants to
//! holds memory or a task for ever.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::serve::Listener;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, Sleep, sleep_until};
use tower_service::Service;

use super::guard::Peer;
use super::tls::Certificate;
use crate::events::Metrics;

/// How long the other end may take nothing.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// How long the head of a request may take to come, the opening of TLS included; also how long an idle connection stays.
const HEAD: Duration = Duration::from_secs(15);
/// The largest head of a request, in bytes.
const HEAD_BYTES: usize = 32 << 10;
/// The most lines in it.
const HEADERS: usize = 100;
/// The most connections; the next ones wait to be accepted.
const CONNECTIONS: usize = 2_000;

/// How connections are served.
pub struct Serving {
    pub(crate) patience: Duration,
    pub(crate) metrics: Arc<Metrics>,
    tls: Option<Certificate>,
}

impl Serving {
    /// Without TLS.
    pub const fn plain(patience: Duration, metrics: Arc<Metrics>) -> Self {
        Self { patience, metrics, tls: None }
    }

    /// With TLS; the reason if its files will not do.
    pub fn with(self, tls: &crate::config::ServerTls) -> Result<Self, String> {
        Ok(Self { tls: Some(Certificate::open(tls)?), ..self })
    }

    fn open(&mut self, stream: TcpStream) -> Stream {
        match &mut self.tls {
            None => Stream::Plain(stream),
            #[cfg(feature = "tls")]
            Some(tls) => {
                let tls = tls.current().clone();
                Stream::Opening(Box::pin(async move { tls.accept(stream).await.map_err(io::Error::other) }))
            }
            #[cfg(not(feature = "tls"))]
            Some(never) => match *never {},
        }
    }
}

/// Serves for ever.
pub async fn serve(mut listener: TcpListener, router: Router, mut serving: Serving) -> Infallible {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        // Never closed, so there is always a place in the end.
        let place = Arc::clone(&places).acquire_owned().await;
        // axum's own way: an error of one connection is passed over, lack of files waits a second.
        let (stream, address) = Listener::accept(&mut listener).await;
        // Events are small and awaited.
        let _ = stream.set_nodelay(true);
        let (patience, metrics) = (serving.patience, Arc::clone(&serving.metrics));
        let connection = Connection { stream: serving.open(stream), patience, waits: None, metrics };
        let router = router.clone();
        let service = service_fn(move |request: hyper::Request<Incoming>| {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(Peer(address.ip()));
            // A router is always ready.
            router.clone().call(request)
        });
        tokio::spawn(async move {
            let mut builder = http1::Builder::new();
            builder.timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(HEAD_BYTES).max_headers(HEADERS);
            // What goes wrong with a connection concerns whoever opened it.
            if let Err(error) = builder.serve_connection(TokioIo::new(connection), service).await {
                tracing::debug!(%address, %error, "a connection ended");
            }
            drop(place);
        });
    }
}

/// The bytes below.
enum Stream {
    Plain(TcpStream),
    #[cfg(feature = "tls")]
    Opening(Pin<Box<dyn Future<Output = io::Result<super::tls::TlsStream<TcpStream>>> + Send>>),
    #[cfg(feature = "tls")]
    Tls(Box<super::tls::TlsStream<TcpStream>>),
    #[cfg(feature = "tls")]
    Failed,
}

trait Bytes: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Bytes for T {}

impl Stream {
    /// The open stream; opens it first.
    fn open(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Pin<&mut dyn Bytes>>> {
        #[cfg(feature = "tls")]
        if let Self::Opening(opening) = self {
            let opened = std::task::ready!(opening.as_mut().poll(context));
            *self = Self::Failed; // what is asked of it after a failure is refused
            *self = Self::Tls(Box::new(opened?));
        }
        #[cfg(not(feature = "tls"))]
        let _ = context;
        match self {
            Self::Plain(stream) => Poll::Ready(Ok(Pin::new(stream))),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => Poll::Ready(Ok(Pin::new(stream.as_mut()))),
            #[cfg(feature = "tls")]
            // Opening was turned into Tls above.
            Self::Opening(_) | Self::Failed => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }
}

/// A connection that fails when it could not write for too long.
struct Connection {
    stream: Stream,
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
        std::task::ready!(self.stream.open(cx))?.poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = std::task::ready!(self.stream.open(cx))?.poll_write(cx, bytes);
        self.judge(cx, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = std::task::ready!(self.stream.open(cx))?.poll_write_vectored(cx, bytes);
        self.judge(cx, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        matches!(self.stream, Stream::Plain(_))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = std::task::ready!(self.stream.open(cx))?.poll_flush(cx);
        self.judge(cx, outcome)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        std::task::ready!(self.stream.open(cx))?.poll_shutdown(cx)
    }
}
