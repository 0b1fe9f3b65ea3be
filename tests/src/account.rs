//! Comparing accounts: what nodes say they sent and got confirmed, what the agent says became of it.

use std::collections::BTreeMap;

use fettle_wire::LedgerEntry;

use crate::sim_ledger::{Machine, SimLedger};

/// Everything in which the agent's accounts do not cover what nodes were told is durable. Empty: every frame confirmed
/// durable is accounted for, once.
pub fn differences(sim: &SimLedger, agent: &BTreeMap<String, LedgerEntry>) -> Vec<String> {
    let mut found = Vec::new();
    for machine in &sim.machines {
        match agent.get(&machine.asset) {
            Some(entry) => found.extend(of_machine(machine, entry)),
            None => found.push(format!("{}: no account", machine.asset)),
        }
    }
    found
}

/// Boots of which nodes were told more, than the agent's accounts tell of. Accounts come in rounds; empty: they have caught
/// up.
pub fn behind(sims: &[&SimLedger], agent: &BTreeMap<String, LedgerEntry>) -> Vec<String> {
    let mut found = Vec::new();
    for machine in sims.iter().flat_map(|sim| &sim.machines) {
        let nodes = agent.get(&machine.asset).map_or(&[][..], |entry| &entry.nodes);
        for boot in machine.boots.iter().filter(|boot| boot.durable > 0) {
            let next = nodes.iter().find(|node| node.boot == boot.boot).map_or(0, |node| node.next);
            if next < boot.durable {
                found.push(format!("{} {}: told {}, account to {next}", machine.asset, boot.boot, boot.durable));
            }
        }
    }
    found
}

fn of_machine(machine: &Machine, entry: &LedgerEntry) -> Vec<String> {
    let mut found = Vec::new();
    let mut differ = |what: &str, node: u64, agent: u64| {
        if node != agent {
            found.push(format!("{}: {what}: node {node}, agent {agent}", machine.asset));
        }
    };
    let tally = &entry.readings;
    differ("sums that balance", 1, u64::from(tally.balances()));
    // A copy of a frame is received again and counted as duplicate, so what is left is what was sent, once each.
    differ("readings", machine.readings.confirmed, tally.received - tally.duplicate);
    differ("readings used", machine.readings.confirmed, tally.used);
    for boot in &machine.boots {
        match entry.nodes.iter().find(|node| node.boot == boot.boot) {
            Some(node) => {
                differ("frames received", boot.frames.confirmed, node.received);
                differ("next sequence", boot.next, node.next);
                differ("missing", 0, node.missing);
            }
            None => differ(&format!("boot {}", boot.boot), boot.frames.confirmed, 0),
        }
    }
    found
}
