//! The agent's core under a virtual clock, with a network, a disk and brokers that fail by seed.
//!
//! A seed decides everything: the plan of faults, every delay, every crash. The core, its journal, engine and outbox are
//! the production code; `driver` does what `fettle_agent::run` does, `check` watches the store. `docs/simulation.md` says
//! what is modelled and how a seed is replayed: `FETTLE_SEED=17 cargo test -p fettle-agent --test simulation replay --
//! --nocapture`. `FETTLE_SEEDS=1000` runs more seeds.

mod broker;
mod check;
mod disk;
mod driver;
mod gateway;
mod node;
mod plan;
mod random;
mod trace;
mod uplink;
mod waveform;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use check::Violation;
use plan::{Defect, Plan};
use world::{Outcome, Seen, compare, run};

/// Seeds of a default run.
const SEEDS: u64 = 100;

/// Seeds that once found something, run first and for ever.
const FOUND: [(u64, &str); 2] = [
    (53, "J4: what had changed nothing for long and then did moved the replay back to batches that were trimmed"),
    (354, "O2: a record that was thinned and not yet deleted came back after a crash behind later ones"),
];

/// Runs a plan; a panic of the core is a violation like any other.
fn judge(plan: &Plan, print: bool) -> Result<Outcome, Violation> {
    let outcome = catch_unwind(AssertUnwindSafe(|| run(plan, print)));
    let outcome = outcome.map_err(|_| Violation { code: "panic", what: "the core panicked, see above".into() })?;
    match outcome.violation {
        Some(violation) => Err(Violation { what: format!("{} (at {} us)", violation.what, outcome.at), ..violation }),
        None => Ok(outcome),
    }
}

/// Runs a seed with its faults and, where it can be compared, without.
fn judge_seed(seed: u64, print: bool) -> Result<Outcome, Violation> {
    let plan = Plan::new(seed);
    let disturbed = judge(&plan, print)?;
    if !plan.compared().is_empty() {
        compare(&plan, &disturbed, &judge(&plan.undisturbed(), false)?)?;
    }
    Ok(disturbed)
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Two threads: every seed is a world of its own.
fn sweep(seeds: &[u64]) -> Vec<(u64, Result<Outcome, Violation>)> {
    let (one, two) = seeds.split_at(seeds.len() / 2);
    let all = |seeds: &[u64]| seeds.iter().map(|seed| (*seed, judge_seed(*seed, false))).collect::<Vec<_>>();
    std::thread::scope(|scope| {
        let other = scope.spawn(|| all(two));
        let mut done = all(one);
        done.extend(other.join().expect("a violation is returned, not thrown"));
        done
    })
}

fn add(sum: &mut Seen, seen: &Seen) {
    sum.crashes += seen.crashes;
    sum.sessions_lost += seen.sessions_lost;
    sum.failed_commits += seen.failed_commits;
    sum.early += seen.early;
    sum.not_sent += seen.not_sent;
    sum.producer_resets += seen.producer_resets;
    sum.watched += seen.watched;
    sum.alerts += seen.alerts;
    sum.duplicates += seen.duplicates;
    sum.shed += seen.shed;
    sum.records += seen.records;
    sum.events += seen.events;
    sum.blocks += seen.blocks;
    sum.over_budget += seen.over_budget;
    sum.evidence += seen.evidence;
    sum.joined += seen.joined;
    sum.kept += seen.kept;
    sum.given_up += seen.given_up;
    sum.lives += seen.lives;
    sum.given_up_lives += seen.given_up_lives;
}

#[test]
fn every_invariant_holds_for_every_seed() {
    let seeds: Vec<u64> = FOUND.iter().map(|f| f.0).chain(0..number("FETTLE_SEEDS").unwrap_or(SEEDS)).collect();
    let mut sum = Seen::default();
    let mut broken = Vec::new();
    for (seed, outcome) in sweep(&seeds) {
        match outcome {
            Ok(outcome) => add(&mut sum, &outcome.seen),
            Err(violation) => broken.push(format!("seed {seed}: {}: {}", violation.code, violation.what)),
        }
    }
    println!("{} seeds, {sum:?}", seeds.len());
    assert!(broken.is_empty(), "{} seeds found something:\n{}", broken.len(), broken.join("\n"));
    let reached = [
        sum.crashes,
        sum.sessions_lost,
        sum.failed_commits,
        sum.early,
        sum.not_sent,
        sum.producer_resets,
        sum.watched,
        sum.alerts,
        sum.duplicates,
        sum.shed,
        sum.blocks,
        sum.over_budget,
        sum.joined,
        sum.kept,
        sum.given_up,
        sum.lives,
        sum.given_up_lives,
    ];
    assert!(reached.iter().all(|count| *count > 0), "the faults no longer reach everything: {sum:?}");
}

#[test]
fn replay_prints_the_seed_that_is_asked_for() {
    if let Some(seed) = number("FETTLE_SEED") {
        println!("{:#?}", Plan::new(seed));
        if let Err(violation) = judge_seed(seed, true) {
            panic!("seed {seed}: {}: {}", violation.code, violation.what);
        }
    }
}

#[test]
fn a_seed_gives_the_same_trace_every_time_and_another_seed_another() {
    let hash = |seed| run(&Plan::new(seed), false).hash;
    let (first, second) = (hash(3), hash(4));
    assert_eq!((first, second), (hash(3), hash(4)));
    assert_ne!(first, second);
}

/// The first seed that finds the defect, and what it violates.
fn found(defect: Defect) -> (u64, Violation) {
    for seed in 0..SEEDS {
        if judge_seed(seed, false).is_err() {
            continue;
        }
        let plan = Plan { defect: Some(defect), ..Plan::new(seed) };
        if let Err(violation) = judge(&plan, false) {
            println!("{defect:?}: seed {seed}: {}: {}", violation.code, violation.what);
            return (seed, violation);
        }
    }
    panic!("{SEEDS} seeds do not find {defect:?}");
}

#[test]
fn an_acknowledgement_before_the_commit_is_found() {
    assert_eq!(found(Defect::AcknowledgeBeforeCommit).1.code, "C1");
}

#[test]
fn a_confirmation_before_the_commit_is_found() {
    assert_eq!(found(Defect::ConfirmBeforeCommit).1.code, "C2");
}

#[test]
fn a_cursor_outside_the_transaction_is_found() {
    assert!(["C3", "K"].contains(&found(Defect::CursorOutsideTransaction).1.code));
}

#[test]
fn a_record_deleted_on_produce_is_found() {
    assert_eq!(found(Defect::DeletedOnProduce).1.code, "O1");
}

#[test]
fn a_batch_cleared_by_a_lost_session_is_found() {
    assert!(["C1", "C2", "C4"].contains(&found(Defect::PendingClearedOnLostSession).1.code));
}

#[test]
fn a_watermark_moved_by_one_future_stamp_is_found() {
    assert_eq!(found(Defect::FutureStampBelieved).1.code, "W");
}

#[test]
fn samples_kept_outside_the_transaction_are_found() {
    assert!(["C3", "V"].contains(&found(Defect::EvidenceOutsideTransaction).1.code));
}

#[test]
fn a_forgotten_duplicate_memory_is_found() {
    assert!(["C3", "C4", "S2"].contains(&found(Defect::DuplicatesForgotten).1.code));
}
