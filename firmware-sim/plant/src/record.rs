//! The record: every reading generated, as CSV, for whoever wants to compute the same thing in another way.
//!
//! `asset,channel,time_us,value,boot,sequence`: the time is the one the node stamps (empty where it has no clock), the
//! value is exact (shortest text that reads back to the same bits), the boot id has 16 hexadecimal digits.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use fettle_wire::Micros;

/// A record being written, shared by all connections.
#[derive(Debug, Clone)]
pub struct Record(Arc<Mutex<BufWriter<File>>>);

impl Record {
    /// Starts a new file.
    pub fn create(path: &Path) -> io::Result<Self> {
        let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
        writeln!(file, "asset,channel,time_us,value,boot,sequence")?;
        Ok(Self(Arc::new(Mutex::new(file))))
    }

    /// Adds one reading.
    pub fn reading(
        &self,
        asset: &str,
        channel: &str,
        time: Option<Micros>,
        value: f64,
        boot: u64,
        sequence: u64,
    ) -> io::Result<()> {
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match time {
            Some(time) => writeln!(file, "{asset},{channel},{time},{value},{boot:016x},{sequence}"),
            None => writeln!(file, "{asset},{channel},,{value},{boot:016x},{sequence}"),
        }
    }

    /// Hands everything to the operating system.
    pub fn flush(&self) -> io::Result<()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).flush()
    }
}
