//! `features`: what this runtime can do.

use super::{Outcome, json, print};

/// `features`.
pub(super) fn features(words: &[String]) -> Outcome {
    super::args::Args::parse(words, &[])?;
    print(&json(&runtime::features()))
}
