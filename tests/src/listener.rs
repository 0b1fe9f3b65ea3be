//! A reader of a fleet gateway's server-sent events on a plain socket: what a browser's `EventSource` does, without a
//! browser around it, so that there can be hundreds.

use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crate::clock::wall;
use fettle_wire::Micros;

/// A thread of a reader needs little.
const STACK: usize = 256 << 10;

/// One event as it came.
#[derive(Debug, Clone, Default)]
pub struct Event {
    /// Its id, as `<run of the gateway>-<number>`; empty where it has none.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its data.
    pub data: String,
    /// Wall time at which it was read, microseconds since 1970.
    pub arrived: Micros,
}

impl Event {
    /// The number in its id.
    pub fn number(&self) -> Option<u64> {
        self.id.rsplit_once('-')?.1.parse().ok()
    }
}

/// Reads until dropped, and keeps of each event what it was told to keep.
#[derive(Debug)]
pub struct Listener<T> {
    stream: TcpStream,
    kept: Arc<Mutex<Vec<T>>>,
    thread: Option<JoinHandle<()>>,
}

/// Connects and asks for events. HTTP/1.0, so that they come without chunks around them.
pub fn ask(address: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap_or_else(|e| panic!("cannot connect to {address}: {e}"));
    let request = format!("GET /api/v1/events HTTP/1.0\r\nHost: {address}\r\nAccept: text/event-stream\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap_or_else(|e| panic!("cannot ask {address}: {e}"));
    stream
}

impl<T: Send + 'static> Listener<T> {
    /// Listens at `address`; `keep` says what is kept of an event, if anything.
    pub fn start(address: &str, keep: impl Fn(Event) -> Option<T> + Send + 'static) -> Self {
        let stream = ask(address);
        let reader = BufReader::new(stream.try_clone().expect("a socket's handle can be duplicated"));
        let kept = Arc::new(Mutex::new(Vec::new()));
        let keeps = Arc::clone(&kept);
        let read = move || {
            let mut event = Event::default();
            for line in reader.lines().map_while(Result::ok) {
                if line.is_empty() {
                    let whole = Event { arrived: wall(), ..std::mem::take(&mut event) };
                    // The first empty line ends the answer's headers.
                    if let Some(value) = Some(whole).filter(|e| !e.name.is_empty()).and_then(&keep) {
                        lock(&keeps).push(value);
                    }
                } else if let Some((field, value)) = line.split_once(": ") {
                    match field {
                        "id" => event.id = value.to_owned(),
                        "event" => event.name = value.to_owned(),
                        "data" => event.data = value.to_owned(),
                        // A status line's or header's, `retry`, or a comment.
                        _ => {}
                    }
                }
            }
        };
        let thread = std::thread::Builder::new().stack_size(STACK).spawn(read).expect("a thread can be started");
        Self { stream, kept, thread: Some(thread) }
    }

    /// How much was kept so far.
    pub fn count(&self) -> usize {
        lock(&self.kept).len()
    }

    /// Takes what was kept so far.
    pub fn take(&self) -> Vec<T> {
        std::mem::take(&mut *lock(&self.kept))
    }

    /// Whether the gateway still holds the connection.
    pub fn is_connected(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }
}

fn lock<T>(kept: &Mutex<Vec<T>>) -> MutexGuard<'_, Vec<T>> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T> Drop for Listener<T> {
    fn drop(&mut self) {
        // Fails where the other end has closed it, which ends the thread as well.
        let _ = self.stream.shutdown(Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
