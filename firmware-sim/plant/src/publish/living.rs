//! A machine whose lives end, as its station sees it: when it runs, stands or is another one, and what is to be told.
//!
//! Events go out at QoS 1 on the machine's own topic and in order; one stays here until the broker has acknowledged it,
//! and is told again with each new connection, under the same id. The agent knows it by that.

use std::collections::VecDeque;

use fettle_wire::{AssetEvent, EventKind, Micros, SCHEMA_VERSION};

use crate::ledger::{LifeLedger, MAX_LIVES};
use crate::life::Lives;
use crate::machine::Machine;

/// What a machine does at its next sample.
pub(super) enum Turn {
    /// It is sampled.
    Runs,
    /// It has failed and stands until then.
    Stands(Micros),
    /// Another one stands there.
    Replaced(Box<Machine>),
}

/// An event to be told.
struct News {
    number: u64,
    life: u64,
    payload: Vec<u8>,
    is_under_way: bool,
}

/// See the module's header.
pub(super) struct Living {
    lives: Lives,
    stands: bool,
    news: VecDeque<News>,
    numbers: u64,
    ledger: VecDeque<LifeLedger>,
}

impl Living {
    pub(super) fn new(lives: Lives) -> Self {
        let mut living = Self { lives, stands: false, news: VecDeque::new(), numbers: 0, ledger: VecDeque::new() };
        living.enter();
        living
    }

    /// What happens at `time`, at which a sample is due, to the machine called `asset`.
    pub(super) fn turn(&mut self, asset: &str, time: Micros) -> Turn {
        let failure = self.lives.life().failure_us;
        if self.stands {
            self.stands = false;
            self.lives.replace();
            self.enter();
            self.announce(asset, EventKind::Replaced, self.lives.life().begin_us);
            return Turn::Replaced(Box::new(self.lives.machine()));
        }
        if time < failure {
            return Turn::Runs;
        }
        self.stands = true;
        if let Some(life) = self.ledger.back_mut() {
            life.failed = true;
        }
        self.announce(asset, EventKind::Failed, failure);
        // Never before the sample that was due.
        Turn::Stands(self.lives.replaced_at().max(time))
    }

    fn enter(&mut self) {
        let life = self.lives.life();
        if self.ledger.len() >= MAX_LIVES {
            self.ledger.pop_front();
        }
        self.ledger.push_back(LifeLedger {
            life: life.life,
            begin_us: life.begin_us,
            failure_us: life.failure_us,
            failed: false,
            told: 0,
        });
    }

    fn announce(&mut self, asset: &str, kind: EventKind, at: Micros) {
        let (life, begin) = (self.lives.life().life, self.lives.life().begin_us);
        let event = AssetEvent {
            version: SCHEMA_VERSION,
            // Another run's machine is another one.
            id: format!("sim/{asset}/{begin}/{life}/{}", kind.as_str()),
            kind,
            at: Some(at),
            components: Vec::new(),
            note: None,
            person: None,
        };
        // Invariant: texts and numbers; CBOR holds them all.
        let payload = event.encode().unwrap_or_default();
        self.numbers += 1;
        self.news.push_back(News { number: self.numbers, life, payload, is_under_way: false });
    }

    /// Whether something is not acknowledged yet.
    pub(super) fn has_news(&self) -> bool {
        !self.news.is_empty()
    }

    /// The next event to hand over; it is then under way.
    pub(super) fn next_to_tell(&mut self) -> Option<(u64, Vec<u8>)> {
        let news = self.news.iter_mut().find(|news| !news.is_under_way)?;
        news.is_under_way = true;
        Some((news.number, news.payload.clone()))
    }

    /// The broker has it.
    pub(super) fn told(&mut self, number: u64) {
        let Some(at) = self.news.iter().position(|news| news.number == number) else { return };
        if let Some(news) = self.news.remove(at)
            && let Some(life) = self.ledger.iter_mut().find(|life| life.life == news.life)
        {
            life.told += 1;
        }
    }

    /// It was not taken.
    pub(super) fn not_told(&mut self, number: u64) {
        if let Some(news) = self.news.iter_mut().find(|news| news.number == number) {
            news.is_under_way = false;
        }
    }

    /// A new connection: what was under way may be lost.
    pub(super) fn tell_again(&mut self) {
        self.news.iter_mut().for_each(|news| news.is_under_way = false);
    }

    pub(super) fn ledger(&self) -> Vec<LifeLedger> {
        self.ledger.iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use fettle_wire::time::{DAY, HOUR, MINUTE};

    use super::*;
    use crate::life::LifePlan;

    #[test]
    fn a_machine_fails_stands_and_is_replaced_and_each_is_told_once_and_in_order() {
        let start = 1_790_000_000_000_000;
        let lives = Lives::new(LifePlan { class: 1, mean: DAY, spread: 0.2, pause: HOUR }, 1, 0, start);
        let truth: Vec<_> = lives.clone().take(3).collect();
        let mut living = Living::new(lives);
        let (mut time, mut told, mut replaced) = (start, Vec::new(), 0);
        while replaced < 2 {
            match living.turn("p", time) {
                Turn::Runs => time += 7 * MINUTE,
                Turn::Stands(until) => {
                    assert_eq!(until, truth[replaced].failure_us + HOUR);
                    time = until;
                }
                Turn::Replaced(_) => replaced += 1,
            }
            while let Some((number, payload)) = living.next_to_tell() {
                let event = AssetEvent::decode(&payload).unwrap();
                assert_eq!(event.check(), Ok(()));
                told.push((event.kind, event.at));
                assert!(living.has_news());
                living.told(number);
            }
        }
        let (failed, replaced) = (EventKind::Failed, EventKind::Replaced);
        let at = |n: usize| (Some(truth[n].failure_us), Some(truth[n + 1].begin_us));
        assert_eq!(told, [(failed, at(0).0), (replaced, at(0).1), (failed, at(1).0), (replaced, at(1).1)]);
        let ledger = living.ledger();
        assert_eq!(
            ledger.iter().map(|l| (l.life, l.failed, l.told)).collect::<Vec<_>>(),
            [(1, true, 1), (2, true, 2), (3, false, 1)]
        );
        assert_eq!(
            ledger.iter().map(|l| l.failure_us).collect::<Vec<_>>(),
            truth.iter().map(|t| t.failure_us).collect::<Vec<_>>()
        );
    }

    #[test]
    fn what_a_broken_connection_may_have_lost_is_told_again() {
        let start = 1_790_000_000_000_000;
        let lives = Lives::new(LifePlan { class: 1, mean: DAY, spread: 0.2, pause: HOUR }, 1, 0, start);
        let mut living = Living::new(lives);
        assert!(matches!(living.turn("p", start + 3 * DAY), Turn::Stands(_)));
        let first = living.next_to_tell().unwrap();
        assert_eq!(living.next_to_tell(), None, "it is under way");
        living.tell_again();
        assert_eq!(living.next_to_tell(), Some(first.clone()));
        living.not_told(first.0);
        assert_eq!(living.next_to_tell(), Some(first.clone()));
        living.told(first.0);
        assert!(!living.has_news());
    }
}
