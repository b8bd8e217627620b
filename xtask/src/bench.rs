//! Corten beside Debian's docker.io, in one run.

use crate::Outcome;

/// Runs the benchmark.
pub(crate) fn bench(_arguments: &[String]) -> Outcome {
    Err("not written yet".into())
}
