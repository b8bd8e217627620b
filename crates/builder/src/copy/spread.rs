//! Many files on all processors.

use super::tree::Found;
use crate::error::Result;

/// So many files are worth a second thread. They are taken a few at a time, as they differ in size.
const MANY: usize = 32;

/// Does one thing for each file, on all processors where there are many; the results in their order.
pub(crate) fn spread<T: Send>(
    files: &[Found<'_>],
    work: impl Fn(&Found<'_>) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    if files.len() < MANY {
        return files.iter().map(work).collect();
    }
    let batches: Vec<&[Found<'_>]> = files.chunks(MANY / 4).collect();
    let done =
        store::on_all_processors(&batches, |batch| batch.iter().map(&work).collect::<Result<Vec<T>>>())?;
    Ok(done.into_iter().flatten().collect())
}
