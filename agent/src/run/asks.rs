//! What the running agent can be asked for from outside, and the signals that ask it.

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::{Handle, Signals};
use tokio::sync::mpsc;

use super::{RunError, shells};

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// Read the configuration again (SIGHUP).
    Reload,
    /// Let the restored backup that waits take the store's place (SIGUSR1).
    Replace,
    /// End cleanly (SIGTERM, SIGINT). So does whoever drops the sending side.
    Stop,
}

/// Signals of the operating system as [`Ask`]s, until dropped.
pub(super) struct OfTheSystem {
    pub(super) asks: mpsc::UnboundedReceiver<Ask>,
    handle: Handle,
}

impl OfTheSystem {
    /// Takes the signals over from the system.
    pub(super) fn listen() -> Result<Self, RunError> {
        let (sender, asks) = mpsc::unbounded_channel();
        let caught = Signals::new([SIGHUP, SIGUSR1, SIGTERM, SIGINT]);
        let mut caught = caught.map_err(shells::start("the signal handler"))?;
        let handle = caught.handle();
        std::thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || {
                for signal in caught.forever() {
                    let ask = match signal {
                        SIGHUP => Ask::Reload,
                        SIGUSR1 => Ask::Replace,
                        _ => Ask::Stop,
                    };
                    if sender.send(ask).is_err() {
                        return;
                    }
                }
            })
            .map_err(shells::start("the signal thread"))?;
        Ok(Self { asks, handle })
    }
}

impl Drop for OfTheSystem {
    fn drop(&mut self) {
        self.handle.close();
    }
}
