//! Where the last N lines of a log begin, found from the end by blocks.

use std::collections::VecDeque;
use std::fs::File;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;
use std::path::Path;

use spec::api::Stream;

use super::local;
use super::read::{BLOCK, MAX_ENTRY, Open, decode};
use crate::proto::LogFormat;

/// A place in a log: which of its files, and where in it.
#[derive(Debug, Default)]
pub(super) struct Place {
    pub(super) file: usize,
    pub(super) offset: u64,
}

/// Where the last `wanted` lines begin, of which each may be several entries.
pub(super) fn find(
    log: &Path,
    files: &mut VecDeque<Open>,
    format: LogFormat,
    wanted: u64,
) -> std::io::Result<Place> {
    let mut count = 0;
    // Whether an entry of the stream, later in the log, has been met.
    let (mut stdout, mut stderr) = (false, false);
    for (index, open) in files.iter_mut().enumerate().rev() {
        if count < wanted {
            open.unpack(log)?;
        } else if open.is_packed() {
            // The file after it begins with a line's beginning, as far as can be told without unpacking.
            return Ok(Place { file: index + 1, offset: 0 });
        }
        let visit = |bytes: &[u8], end| {
            let Some(entry) = decode(format, bytes) else { return ControlFlow::Continue(()) };
            let later = if entry.stream == Stream::Stderr { &mut stderr } else { &mut stdout };
            // A line's last entry ends with a newline, unless the stream ended without one.
            if entry.ends_line() || !*later {
                if count == wanted {
                    return ControlFlow::Break(end);
                }
                count += 1;
            }
            *later = true;
            ControlFlow::Continue(())
        };
        let found = match format {
            LogFormat::JsonFile => lines_backwards(&open.file, visit),
            LogFormat::Local => entries_backwards(&open.file, visit),
        }?;
        if let Some(offset) = found {
            return Ok(Place { file: index, offset });
        }
    }
    Ok(Place::default())
}

/// Calls `visit` with each entry of a `local` file, the last one first, and with the offset after it, until it
/// breaks. It ends at what is no entry.
fn entries_backwards<T>(
    file: &File,
    mut visit: impl FnMut(&[u8], u64) -> ControlFlow<T>,
) -> std::io::Result<Option<T>> {
    const FRAME: usize = 2 * local::LENGTH;
    let mut end = file.metadata()?.len();
    // The bytes of the file from `begin` to `end`.
    let (mut block, mut begin) = (Vec::new(), end);
    loop {
        let there = &block[..];
        let length = there.last_chunk::<{ local::LENGTH }>().and_then(|l| local::length(l)).unwrap_or(0);
        if length > MAX_ENTRY {
            return Ok(None);
        }
        let wanted = if there.len() < FRAME { FRAME } else { length + FRAME };
        if there.len() < wanted {
            if begin == 0 {
                return Ok(None);
            }
            let more = begin.min(wanted.max(BLOCK) as u64);
            begin -= more;
            let mut earlier = vec![0; usize::try_from(more).expect("a block or an entry")];
            file.read_exact_at(&mut earlier, begin)?;
            earlier.append(&mut block);
            block = earlier;
            continue;
        }
        let entry = &there[there.len() - wanted..];
        if local::length(entry) != Some(length) {
            return Ok(None);
        }
        if let ControlFlow::Break(found) = visit(&entry[local::LENGTH..][..length], end) {
            return Ok(Some(found));
        }
        end -= wanted as u64;
        block.truncate(there.len() - wanted);
    }
}

/// Calls `visit` with each line of the file that is terminated, the last one first, without its newline, and
/// with the offset after its newline, until it breaks.
fn lines_backwards<T>(
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
