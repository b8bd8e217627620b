//! A large file goes to the disk while it is written, so that fsync(2) at its end finds little to wait for.

#![allow(unsafe_code)]

use std::fs::File;
use std::os::fd::AsRawFd;

/// Bytes that are sent off together.
const STRETCH: u64 = 8 << 20;

/// To be called after bytes were written at a file's end: `before` and `now` are its lengths. Begins to write the stretches
/// of 8 MiB that they completed, and waits for none of them (sync_file_range(2)): nothing is on the disk before an fsync.
pub fn begin(file: &File, before: u64, now: u64) {
    let whole = |length: u64| length / STRETCH * STRETCH;
    let (from, to) = (whole(before), whole(now));
    if from == to {
        return;
    }
    let (Ok(offset), Ok(length)) = (i64::try_from(from), i64::try_from(to - from)) else { return };
    // A hint: what cannot begin now is written by the fsync.
    // SAFETY: takes a descriptor that is open as long as `file` is borrowed, and plain numbers.
    unsafe { libc::sync_file_range(file.as_raw_fd(), offset, length, libc::SYNC_FILE_RANGE_WRITE) };
}
