//! The shells around the core: threads, runtimes, channels. Nothing is decided here.

use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::{mpsc, watch};

use super::{BROKER_QUEUE, RunError};
use crate::acquire::template::Templates;
use crate::acquire::{FromBroker, ToBroker, session};
use crate::config::Checked;
use crate::core::Core;
use crate::http;
use crate::release::fetch::Fetcher;
use crate::status::report::Report;
use crate::uplink::{FromKafka, Inbox, Producer};

/// Serves HTTP already; the brokers come once the core has recovered.
pub(super) struct Serving {
    runtime: tokio::runtime::Runtime,
    stop: watch::Sender<bool>,
}

/// All shells.
pub(super) struct Shells {
    pub(super) from_broker: mpsc::Receiver<FromBroker>,
    pub(super) from_kafka: mpsc::UnboundedReceiver<FromKafka>,
    pub(super) producer: Producer,
    to_broker: mpsc::UnboundedSender<ToBroker>,
    inbox: Inbox,
    /// Absent where no key may sign: then no release is ever taken.
    fetcher: Option<Fetcher>,
    stop: watch::Sender<bool>,
    quit: watch::Sender<bool>,
    net: JoinHandle<()>,
}

pub(super) fn start(what: &'static str) -> impl FnOnce(std::io::Error) -> RunError {
    move |source| RunError::Start { what, source }
}

impl Shells {
    /// Takes the HTTP address, so that a start that cannot succeed fails before recovery.
    pub(super) fn serve(config: &Checked, reports: watch::Receiver<Arc<Report>>) -> Result<Serving, RunError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("net")
            .enable_all()
            .build()
            .map_err(start("the network runtime"))?;
        let listener = runtime.block_on(http::bind(config.http_listen))?;
        let (stop, stopped) = watch::channel(false);
        runtime.spawn(async move {
            let mut stopped = stopped;
            let ended = async move {
                let _ = stopped.wait_for(|stop| *stop).await;
            };
            if let Err(error) = http::serve(listener, reports, ended).await {
                tracing::error!(event = "http.failed", %error, "metrics and status are no longer served");
            }
        });
        Ok(Serving { runtime, stop })
    }

    pub(super) fn to_broker(&self, message: ToBroker) {
        // The session ends only at a stop; what it would have sent then comes again.
        let _ = self.to_broker.send(message);
    }

    /// Looks for a release file.
    pub(super) fn fetch(&self, hash: String) {
        if let Some(fetcher) = &self.fetcher {
            fetcher.want(hash);
        }
    }

    /// The session sends what it holds and leaves; nothing more is handed out.
    pub(super) fn quit_broker(&self) {
        let _ = self.quit.send(true);
    }

    pub(super) fn end(self) {
        let _ = self.stop.send(true);
        let _ = self.quit.send(true);
        drop(self.inbox);
        drop(self.fetcher);
        drop(self.producer);
        if self.net.join().is_err() {
            tracing::error!(
                event = "mqtt.disconnected",
                reason = "the network thread panicked",
                "stopping all the same"
            );
        }
    }
}

impl Serving {
    /// Connects to both brokers.
    pub(super) fn connect(self, config: &Checked, core: &Core) -> Result<Shells, RunError> {
        let (broker_sender, from_broker) = mpsc::channel(BROKER_QUEUE);
        let (to_broker, broker_receiver) = mpsc::unbounded_channel();
        let (quit, quitting) = watch::channel(false);
        let mut filters = fettle_wire::topic::agent_filters(&config.site).to_vec();
        if let Ok(templates) = Templates::new(&config.mqtt.foreign) {
            filters.extend(templates.filters());
        }
        session::supported(&config.mqtt).map_err(session::SessionError::Tls)?;
        let session = session::run(config.mqtt.clone(), filters, broker_sender, broker_receiver, quitting);
        let runtime = self.runtime;
        let mut stopped = self.stop.subscribe();
        let net = std::thread::Builder::new()
            .name("net-main".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    if let Err(error) = session.await {
                        tracing::error!(event = "mqtt.refused", %error, "the MQTT session cannot work");
                    }
                    let _ = stopped.wait_for(|stop| *stop).await;
                });
            })
            .map_err(start("the network thread"))?;
        let (kafka_sender, from_kafka) = mpsc::unbounded_channel();
        let reports = kafka_sender.clone();
        let producer = Producer::new(&config.kafka, Arc::new(move |report| drop(reports.send(report))))?;
        let released = kafka_sender.clone();
        let name = fettle_wire::topic::command_key(&config.site, &config.agent);
        let releases = Arc::new(move |report| drop(released.send(report)));
        let keys = config.releases.keys.clone();
        let fetcher = (!keys.is_empty()).then(|| Fetcher::new(&config.kafka, &name, keys, releases)).transpose()?;
        if let Some(fetcher) = &fetcher {
            core.wanted_releases().into_iter().for_each(|hash| fetcher.want(hash));
        }
        let inbox = Inbox::new(
            &config.kafka,
            name,
            core.command_offsets().iter().filter_map(|(p, next)| Some((*p, next.checked_sub(1)?))).collect(),
            Arc::new(move |report| drop(kafka_sender.send(report))),
        )?;
        Ok(Shells { from_broker, from_kafka, producer, to_broker, inbox, fetcher, stop: self.stop, quit, net })
    }
}
