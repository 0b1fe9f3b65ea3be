//! Data manipulation: readings of one channel folded over event time.
//!
//! Place in the flow: behind the engine's door (values are finite and SI), before indicators and detection.
//! A slide stands *open* while late readings may still change it: it keeps its readings in the order (time, boot,
//! sequence, index), so that its value does not depend on the order of arrival. Once the asset's frontier has passed
//! its end by the lateness it is *closed*: only its summary stays, rounded (`compact`) as it was while the slide was open. A window is the merge of its slides' summaries by
//! ascending time.
//!
//! P1: two sets of readings that are equal give summaries that are bit-equal, whatever order they came in.
//! P2: nothing here holds more than [`queue::MAX_CHANNEL_READINGS`] readings and [`queue::MAX_OPEN_SLIDES`] open slides
//! of a channel; what would exceed it is refused aloud.
//! P3: no subtract-on-evict: sums are only ever merged, never taken apart.

mod closed;
mod compact;
pub mod open;
pub mod queue;
pub mod summary;
pub mod watermark;

pub use open::{Key, OpenSlide};
pub use queue::{Bucket, Grid, Inserted, Queue};
pub use summary::Summary;
pub use watermark::{Watermark, frontier};
