//! Many files on all processors.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::tree::Found;
use crate::error::Result;

/// So many files are worth a second thread.
const MANY: usize = 16;

/// Does one thing for each file, on all processors where there are many; the results in their order.
pub(crate) fn spread<T: Send>(
    files: &[Found<'_>],
    work: impl Fn(&Found<'_>) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    let cores =
        std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(files.len() / MANY);
    if cores < 2 {
        return files.iter().map(work).collect();
    }
    // Taken a few at a time, as they differ in size.
    let batches: Vec<&[Found<'_>]> = files.chunks(MANY / 2).collect();
    let next = AtomicUsize::new(0);
    let run = || {
        let mut done = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(batch) = batches.get(number) else { return done };
            let results: Result<Vec<T>> = batch.iter().map(&work).collect();
            let failed = results.is_err();
            done.push((number, results));
            if failed {
                next.store(batches.len(), Ordering::Relaxed);
            }
        }
    };
    let mut done: Vec<(usize, Result<Vec<T>>)> = std::thread::scope(|scope| {
        let others: Vec<_> = (1..cores).map(|_| scope.spawn(run)).collect();
        let mut done = run();
        for other in others {
            match other.join() {
                Ok(more) => done.extend(more),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        done
    });
    done.sort_by_key(|(number, _)| *number);
    let mut all = Vec::with_capacity(files.len());
    for (_, results) in done {
        all.extend(results?);
    }
    Ok(all)
}
