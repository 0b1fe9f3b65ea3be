//! What a person may ask of an alarm. The alert that comes of it confirms it; what changes nothing says nothing.
//!
//! A shelf (ISA-18.2 "shelved") is kept beside the life cycle, not in it: while it lasts the alarm is raised and returns
//! as ever, each alert says that nobody is to be called, and at its end the alarm stands where the machine put it.

use fettle_wire::{Label, Micros};

/// A person's request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Has seen this occurrence.
    Acknowledge {
        /// Which occurrence.
        occurrence: u64,
    },
    /// Annunciate nothing until then.
    Shelve {
        /// Event time.
        until: Micros,
    },
    /// End the shelf.
    Unshelve,
    /// Say something about the present or last occurrence.
    Comment {
        /// Which occurrence.
        occurrence: u64,
        /// What.
        text: String,
    },
    /// Say what the present or last occurrence was.
    Label {
        /// Which occurrence.
        occurrence: u64,
        /// What it was.
        label: Label,
    },
}
