//! Sends what waits in the alarms of the partitions that this instance owns, oldest first, and says what was sent.
//!
//! Looks at the store, which holds what is committed and nothing else. One request at a time; what fails is tried again
//! with growing pauses, and what waits meanwhile is bounded by N4. Must never: send for a partition of another owner.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fettle_wire::{Micros, Name};

use super::notice::Notice;
use super::payload::payload;
use crate::config::Webhook;
use crate::events::Metrics;
use crate::fleet::asset::{ALARM, AlarmRecord};
use crate::fleet::{Store, StoreError};
use crate::pace::{Backoff, Stop};
use crate::status::{Phase, Status};

/// How often the store is looked at.
const EVERY: Duration = Duration::from_millis(500);
/// How long a request may take.
const TAKES: Duration = Duration::from_secs(10);
/// So many sent notices are remembered until their records are rid of them.
const REMEMBERED: usize = 100_000;

/// A notice that was sent.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    /// The partition.
    pub partition: i32,
    /// The alarm's key.
    pub key: String,
    /// The notice's number.
    pub number: u64,
}

/// What was sent, from the sender to the intake, which takes it out of the records.
#[derive(Default)]
pub struct Marks {
    inner: Mutex<BTreeSet<Mark>>,
}

impl Marks {
    fn put(&self, mark: Mark) {
        // A set is whole whoever died holding it. The sender offers again what is still in the store.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).insert(mark);
    }

    /// Takes everything.
    pub fn take(&self) -> BTreeSet<Mark> {
        std::mem::take(&mut *self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The thread.
pub struct Sender {
    /// Where to.
    pub webhook: Webhook,
    /// The copy.
    pub store: Arc<Store>,
    /// Which partitions are ours.
    pub status: Arc<Status>,
    /// What was sent.
    pub marks: Arc<Marks>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// When to end.
    pub stop: Stop,
}

/// A notice with the alarm it belongs to.
struct Due {
    key: String,
    site: Name,
    agent: Name,
    asset: Name,
    condition: String,
    notice: Notice,
}

impl Due {
    fn mark(&self) -> Mark {
        Mark { partition: self.notice.partition, key: self.key.clone(), number: self.notice.number }
    }

    fn order(&self) -> (Micros, &str, u64) {
        (self.notice.at, &self.key, self.notice.number)
    }
}

/// Why a notice was not taken.
#[derive(Debug, thiserror::Error)]
enum SendError {
    #[error("cannot read webhook.token_file {0}: {1}")]
    Token(PathBuf, std::io::Error),
    #[error("the receiver cannot be reached: {0}")]
    Link(Box<ureq::Error>),
    #[error("the receiver answered {0}")]
    Answer(u16),
}

impl Sender {
    /// Runs until stopped.
    pub fn run(self) {
        let agent = client();
        let (mut sent, mut retry) = (BTreeSet::new(), Backoff::default());
        let mut seen = None;
        while !self.stop.wait(EVERY) {
            let present = (self.store.generation(), self.owned());
            if seen.as_ref() == Some(&present) {
                continue;
            }
            match self.pass(&agent, &mut sent, &mut retry) {
                Ok(true) => seen = Some(present),
                Ok(false) => seen = None,
                Err(error) => tracing::debug!(%error, "the alarms cannot be read"),
            }
        }
    }

    fn owned(&self) -> BTreeSet<i32> {
        let shown = self.status.show();
        if shown.intake == Phase::Running { shown.partitions } else { BTreeSet::new() }
    }

    /// Everything that waits, and what is remembered as sent and no longer waits is forgotten.
    fn due(&self, sent: &mut BTreeSet<Mark>) -> Result<Vec<Due>, StoreError> {
        let mut due = Vec::new();
        self.store.scan(ALARM, |key, record: AlarmRecord| {
            let AlarmRecord { origin, alert, notices, .. } = record;
            due.extend(notices.waiting.into_iter().map(|notice| Due {
                key: key.to_owned(),
                site: origin.site.clone(),
                agent: origin.agent.clone(),
                asset: alert.asset.clone(),
                condition: alert.condition.clone(),
                notice,
            }));
        })?;
        due.sort_by(|a, b| a.order().cmp(&b.order()));
        let waiting: BTreeSet<Mark> = due.iter().map(Due::mark).collect();
        sent.retain(|mark| waiting.contains(mark));
        Ok(due)
    }

    /// One pass; whether nothing is left to try.
    fn pass(&self, agent: &ureq::Agent, sent: &mut BTreeSet<Mark>, retry: &mut Backoff) -> Result<bool, StoreError> {
        let mut is_done = true;
        for due in self.due(sent)? {
            if self.stop.is_set() {
                return Ok(false);
            }
            // Looked at before each: partitions change hands while a receiver is slow.
            if !self.owned().contains(&due.notice.partition) {
                continue;
            }
            let mark = due.mark();
            is_done = false; // the mark is on its way; look again
            if sent.contains(&mark) {
                self.marks.put(mark);
                continue;
            }
            let outcome = match self.send(agent, &due) {
                Ok(()) => "sent",
                // Said once more it would be refused once more.
                Err(SendError::Answer(code @ 400..=499)) if code != 408 && code != 429 => {
                    tracing::error!(code, key = due.key, "the webhook's receiver refuses a notice; it is given up");
                    "refused"
                }
                Err(error) => {
                    self.metrics.webhook("failed");
                    if retry.is_worth_saying() {
                        tracing::warn!("the webhook waits: {error}");
                    }
                    retry.wait(&self.stop);
                    return Ok(false);
                }
            };
            retry.reset();
            self.metrics.webhook(outcome);
            if sent.len() < REMEMBERED {
                sent.insert(mark.clone());
            }
            self.marks.put(mark);
        }
        Ok(is_done)
    }

    fn send(&self, agent: &ureq::Agent, due: &Due) -> Result<(), SendError> {
        let Due { site, agent: by, asset, condition, notice, .. } = due;
        let body = payload(site, by, asset, condition, notice, &self.webhook.page).to_string();
        let mut request = agent.post(&self.webhook.url).header("Content-Type", "application/json");
        if let Some(path) = &self.webhook.token_file {
            let token = std::fs::read_to_string(path).map_err(|e| SendError::Token(path.clone(), e))?;
            request = request.header("Authorization", format!("Bearer {}", token.trim()));
        }
        let answer = request.send(body.as_bytes()).map_err(|e| SendError::Link(Box::new(e)))?;
        match answer.status().as_u16() {
            200..=299 => Ok(()),
            code => Err(SendError::Answer(code)),
        }
    }
}

fn client() -> ureq::Agent {
    let config = ureq::Agent::config_builder()
        .timeout_global(Some(TAKES))
        .http_status_as_error(false)
        .max_redirects(0)
        .user_agent("fettle-gateway");
    #[cfg(feature = "tls")]
    let config = config.tls_config(
        ureq::tls::TlsConfig::builder()
            .provider(ureq::tls::TlsProvider::NativeTls)
            .root_certs(ureq::tls::RootCerts::PlatformVerifier)
            .build(),
    );
    config.build().new_agent()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::TcpListener;
    use std::sync::mpsc;

    use fettle_wire::{Change, Priority};

    use super::*;
    use crate::fleet::store::Change as StoreChange;
    use crate::requests::tests::alarm;
    use crate::webhook::notice::note;

    /// A receiver that answers each request with the next of these codes; what it was sent is told.
    fn receiver(codes: Vec<u16>) -> (String, mpsc::Receiver<(String, serde_json::Value)>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || {
            for code in codes {
                let (stream, _) = listener.accept().unwrap();
                let mut reader = BufReader::new(stream);
                let (mut head, mut length) = (String::new(), 0);
                loop {
                    let mut line = String::new();
                    reader.read_line(&mut line).unwrap();
                    if let Some(told) = line.to_lowercase().strip_prefix("content-length: ") {
                        length = told.trim().parse().unwrap();
                    }
                    if line.trim().is_empty() {
                        break;
                    }
                    head.push_str(&line);
                }
                let mut body = vec![0; length];
                reader.read_exact(&mut body).unwrap();
                let answer = format!("HTTP/1.1 {code} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                reader.get_mut().write_all(answer.as_bytes()).unwrap();
                tell.send((head, serde_json::from_slice(&body).unwrap())).unwrap();
            }
        });
        (url, told)
    }

    fn store(folder: &std::path::Path, record: &AlarmRecord) -> Arc<Store> {
        let store = Store::open(folder).unwrap();
        put(&store, record);
        Arc::new(store)
    }

    fn put(store: &Store, record: &AlarmRecord) {
        let change = StoreChange { key: "alarm|plant-a/pump|anomaly".into(), value: serde_json::to_vec(record).ok() };
        store.apply(store.epoch(), &[change], &BTreeMap::new()).unwrap();
    }

    fn sender(url: String, store: Arc<Store>) -> Sender {
        let webhook = Webhook { url, token_file: None, least: Priority::Low, page: "https://fleet.example".into() };
        let status = Arc::new(Status::default());
        status.set_intake(Phase::Running, [3].into());
        Sender { webhook, store, status, marks: Arc::default(), metrics: Arc::default(), stop: Stop::default() }
    }

    #[test]
    fn a_raise_and_its_return_are_sent_once_in_order_by_the_owner_though_the_receiver_fails_first() {
        let folder = tempfile::tempdir().unwrap();
        let mut record = alarm(1, Change::Raised);
        note(&mut record, 3, Priority::Low);
        record.tell(record.origin.clone(), alarm(1, Change::Returned).alert, 0);
        note(&mut record, 3, Priority::Low);
        let (url, told) = receiver(vec![503, 200, 200]);
        let sender = sender(url, store(folder.path(), &record));
        let (agent, mut sent, mut retry) = (client(), BTreeSet::new(), Backoff::default());
        sender.status.set_intake(Phase::Running, [4].into());
        assert!(sender.pass(&agent, &mut sent, &mut retry).unwrap(), "another's partition");
        sender.status.set_intake(Phase::Running, [3].into());
        assert!(!sender.pass(&agent, &mut sent, &mut retry).unwrap() && sender.marks.take().is_empty(), "503");
        sender.pass(&agent, &mut sent, &mut retry).unwrap();
        let marks = sender.marks.take();
        assert_eq!(marks.iter().map(|m| m.number).collect::<Vec<_>>(), [0, 1]);
        // The marks were lost with a session of the intake: they are offered again, and nothing is sent again.
        sender.pass(&agent, &mut sent, &mut retry).unwrap();
        assert_eq!(sender.marks.take(), marks);
        let told: Vec<_> = told.try_iter().map(|(_, body)| body).collect();
        assert_eq!(
            told.iter().map(|b| b["status"].as_str().unwrap()).collect::<Vec<_>>(),
            ["firing", "firing", "resolved"]
        );
        let (begin, end) = (&told[1]["alerts"][0], &told[2]["alerts"][0]);
        assert_eq!((told[1]["version"].as_str(), begin["labels"]["alertname"].as_str()), (Some("4"), Some("anomaly")));
        assert_eq!(begin["fingerprint"], end["fingerprint"]);
        assert_eq!(begin["startsAt"], "1970-01-01T00:00:01Z");
        for mark in &marks {
            record.notices.sent(mark.number);
        }
        put(&sender.store, &record);
        assert!(sender.pass(&agent, &mut sent, &mut retry).unwrap() && sent.is_empty());
    }

    #[test]
    fn what_the_receiver_refuses_for_good_is_given_up_and_holds_nothing_up() {
        let folder = tempfile::tempdir().unwrap();
        let mut record = alarm(1, Change::Raised);
        note(&mut record, 3, Priority::Low);
        let (url, told) = receiver(vec![400]);
        let mut sender = sender(url, store(&folder.path().join("store"), &record));
        let secret = folder.path().join("secret");
        std::fs::write(&secret, "t0ken\n").unwrap();
        sender.webhook.token_file = Some(secret);
        sender.pass(&client(), &mut BTreeSet::new(), &mut Backoff::default()).unwrap();
        assert_eq!(sender.marks.take().len(), 1);
        assert!(told.recv().unwrap().0.to_lowercase().contains("authorization: bearer t0ken"));
    }
}
