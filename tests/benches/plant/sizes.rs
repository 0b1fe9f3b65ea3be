//! Sizes of the binaries as they ship: release profile, stripped.

use std::path::Path;

use crate::Bench;
use crate::table::{Row, Table};

const MEGABYTE: f64 = 1e6;

pub(crate) fn measure(bench: &Bench, table: &mut Table) {
    let size = |path: &Path| {
        let file = path.metadata().unwrap_or_else(|e| panic!("cannot look at {}: {e}", path.display()));
        file.len() as f64 / MEGABYTE
    };
    let programs = &bench.programs;
    table.add(Row::new("fettle-agent, without TLS and tract", size(&programs.agent), "MB").at_most(8.0));
    table.add(Row::new("fettle-gateway", size(&programs.gateway), "MB"));
    table.add(Row::new("fettle-sim", size(&programs.sim), "MB"));
}
