//! Which pages of the LMDB file a commit wrote, and what for.
//!
//! LMDB copies on write: a page that the tree reaches now and did not reach before the commit was written by it. So the
//! two trees (the keys, and LMDB's list of free pages) are walked after each commit and compared with the walk before; pages known
//! from it are not read again, because a page that both trees reach cannot have changed. The layout is that of LMDB 0.9
//! (`MDB_meta`, `MDB_page`, `MDB_node` of mdb.c) on a 64-bit little-endian machine.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::os::unix::fs::FileExt;

const PAGE: usize = 4096;
const HEADER: usize = 16;
const BRANCH: u16 = 1;
const BIG: u16 = 1;
/// Roots of the two trees within a meta page, and the transaction's number.
const FREE_ROOT: usize = 80;
const MAIN_ROOT: usize = 128;
const TRANSACTION: usize = 144;

/// What one page leads to and what it is for.
#[derive(Debug, Clone)]
struct Node {
    label: String,
    children: Vec<u64>,
    /// First page, how many, what for.
    overflow: Vec<(u64, u64, String)>,
}

/// The file and what it held after the last commit looked at.
pub(crate) struct Pages {
    file: File,
    known: HashMap<u64, Node>,
    big: HashMap<u64, u64>,
}

/// Pages by what they are for.
pub(crate) type Counts = BTreeMap<String, u64>;

fn short(page: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([page[at], page[at + 1]])
}

fn long(page: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(page[at..at + 8].try_into().expect("eight bytes are eight bytes"))
}

/// The record that a key of the journal stands for.
fn kind(key: &[u8]) -> &'static str {
    match key.first() {
        Some(b'z') => "batch",
        Some(b's') => "asset snapshot",
        Some(b'g') => "shared snapshot",
        Some(b'o') => "outbox",
        Some(b'd') => "dead letter",
        _ => "format",
    }
}

impl Pages {
    pub(crate) fn new(file: File) -> Self {
        Self { file, known: HashMap::new(), big: HashMap::new() }
    }

    /// Pages written since the last call, by what they are for.
    pub(crate) fn written(&mut self) -> Counts {
        let metas = [self.read(0), self.read(1)];
        let meta = if long(&metas[0], TRANSACTION) > long(&metas[1], TRANSACTION) { &metas[0] } else { &metas[1] };
        let mut counts = Counts::from([("meta".to_owned(), 1)]);
        let (mut known, mut big) = (HashMap::new(), HashMap::new());
        for (root, free) in [(long(meta, FREE_ROOT), true), (long(meta, MAIN_ROOT), false)] {
            let mut open = if root == u64::MAX { Vec::new() } else { vec![root] };
            while let Some(number) = open.pop() {
                let node = match self.known.remove(&number) {
                    Some(node) => node,
                    None => {
                        let node = read_node(&self.read(number), free);
                        *counts.entry(node.label.clone()).or_default() += 1;
                        node
                    }
                };
                for (first, pages, label) in &node.overflow {
                    if self.big.get(first) != Some(pages) {
                        *counts.entry(label.clone()).or_default() += pages;
                    }
                    big.insert(*first, *pages);
                }
                open.extend(&node.children);
                known.insert(number, node);
            }
        }
        (self.known, self.big) = (known, big);
        counts
    }

    fn read(&self, number: u64) -> [u8; PAGE] {
        let mut page = [0; PAGE];
        self.file.read_exact_at(&mut page, number * PAGE as u64).expect("the tree lies inside its file");
        page
    }
}

fn read_node(page: &[u8; PAGE], free: bool) -> Node {
    let count = (usize::from(short(page, 12)) - HEADER) / 2;
    let nodes = (0..count).map(|i| usize::from(short(page, HEADER + 2 * i)));
    if short(page, 10) & BRANCH != 0 {
        let child = |at| {
            u64::from(short(page, at)) | u64::from(short(page, at + 2)) << 16 | u64::from(short(page, at + 4)) << 32
        };
        let label = if free { "free list" } else { "branch" };
        return Node { label: label.to_owned(), children: nodes.map(child).collect(), overflow: Vec::new() };
    }
    let mut kinds: Vec<&str> = Vec::new();
    let mut overflow = Vec::new();
    for at in nodes {
        let size = u64::from(short(page, at)) | u64::from(short(page, at + 2)) << 16;
        let (flags, key) = (short(page, at + 4), usize::from(short(page, at + 6)));
        let of = if free { "free list" } else { kind(&page[at + 8..at + 8 + key]) };
        if !kinds.contains(&of) {
            kinds.push(of);
        }
        if flags & BIG != 0 {
            let pages = (size + HEADER as u64).div_ceil(PAGE as u64);
            let label = if free { of.to_owned() } else { format!("{of}, pages of its own") };
            overflow.push((long(page, at + 8 + key), pages, label));
        }
    }
    let label = if free { "free list".to_owned() } else { format!("leaf of {}", kinds.join(" + ")) };
    Node { label, children: Vec::new(), overflow }
}
