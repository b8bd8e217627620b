//! Where the last N lines of a log begin, found from the end by blocks.

use std::collections::VecDeque;
use std::fs::File;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;

use spec::api::Stream;

use super::read::{BLOCK, MAX_ENTRY, Open, decode};

/// A place in a log: which of its files, and where in it.
#[derive(Debug, Default)]
pub(super) struct Place {
    pub(super) file: usize,
    pub(super) offset: u64,
}

/// Where the last `wanted` entries begin, or with `lines` the last lines, of which each may be several entries.
pub(super) fn find(files: &VecDeque<Open>, wanted: u64, lines: bool) -> std::io::Result<Place> {
    let mut count = 0;
    // Whether an entry of the stream, later in the log, has been met.
    let (mut stdout, mut stderr) = (false, false);
    for (index, open) in files.iter().enumerate().rev() {
        let found = entries_backwards(&open.file, |bytes, end| {
            let Some(entry) = decode(bytes) else { return ControlFlow::Continue(()) };
            let later = if entry.stream == Stream::Stderr { &mut stderr } else { &mut stdout };
            // A line's last entry ends with a newline, unless the stream ended without one.
            if !lines || entry.ends_line() || !*later {
                if count == wanted {
                    return ControlFlow::Break(end);
                }
                count += 1;
            }
            *later = true;
            ControlFlow::Continue(())
        })?;
        if let Some(offset) = found {
            return Ok(Place { file: index, offset });
        }
    }
    Ok(Place::default())
}

/// Calls `visit` with each line of the file that is terminated, the last one first, without its newline, and
/// with the offset after its newline, until it breaks.
fn entries_backwards<T>(
    file: &File,
    mut visit: impl FnMut(&[u8], u64) -> ControlFlow<T>,
) -> std::io::Result<Option<T>> {
    let mut begin = file.metadata()?.len();
    // From `begin` to the end of the line that goes on there; its newline is included.
    let mut bytes: Vec<u8> = Vec::new();
    let mut terminated = false;
    while begin > 0 {
        let length = begin.min(BLOCK as u64);
        begin -= length;
        let mut block = vec![0; usize::try_from(length).expect("at most BLOCK")];
        file.read_exact_at(&mut block, begin)?;
        block.append(&mut bytes);
        let mut end = block.len();
        loop {
            let inside = if terminated { end - 1 } else { end };
            let previous = block[..inside].iter().rposition(|&b| b == b'\n');
            let from = match previous {
                Some(at) => at + 1,
                None if begin == 0 => 0,
                None => break,
            };
            if terminated && let ControlFlow::Break(found) = visit(&block[from..inside], begin + end as u64) {
                return Ok(Some(found));
            }
            terminated = previous.is_some();
            end = from;
            if end == 0 {
                break;
            }
        }
        block.truncate(end);
        bytes = block;
        if bytes.len() > MAX_ENTRY {
            // No entry is that long: what comes before is the rest of it.
            bytes = Vec::new();
            terminated = false;
        }
    }
    Ok(None)
}
