//! What an evaluation found, for a terminal and as a page.

pub mod html;
mod plot;
pub mod text;
