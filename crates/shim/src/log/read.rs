//! The log read back: the last lines, a span of time, what is new since the last look. Rotation may happen at
//! any moment; a rotated file that is open is read to its end.

use std::collections::VecDeque;
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use spec::api::Stream;
use sys::file;

use super::{rotated, tail, time};

/// How much is read at a time.
pub(super) const BLOCK: usize = 64 * 1024;

/// A longer line of the file is no entry (a piece whose every byte is escaped is a tenth of this).
pub(super) const MAX_ENTRY: usize = 1024 * 1024;

/// A joined line longer than this comes in parts.
const MAX_JOINED: usize = 1024 * 1024;

/// What to read.
#[derive(Debug, Clone, Copy, Default)]
pub struct Query {
    /// Only this many entries (with `join`: lines) from the end.
    pub tail: Option<u64>,
    /// Only entries at or after this time, nanoseconds since 1970.
    pub since: Option<u64>,
    /// Only entries at or before this time.
    pub until: Option<u64>,
    /// Put the pieces of a long line together again.
    pub join: bool,
}

/// One entry of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where it was written to.
    pub stream: Stream,
    /// When, in nanoseconds since 1970.
    pub time: u64,
    /// The text, with its newline if it ends a line.
    pub text: String,
    /// It is not the rest of a line that an earlier entry of the stream began.
    pub begins_line: bool,
}

impl Entry {
    /// Whether this is the end of its line.
    pub fn ends_line(&self) -> bool {
        self.text.ends_with('\n')
    }
}

/// Reads one log, once or again and again. Its memory is bounded, whatever is in the files.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    query: Query,
    /// The oldest first; the first is being read.
    files: VecDeque<Open>,
    /// Where the next read begins in the first file.
    offset: u64,
    /// What was read and not yet decoded begins at `start`.
    buffer: Vec<u8>,
    start: usize,
    /// Inside a line too long to be an entry.
    skipping: bool,
    stdout: Line,
    stderr: Line,
    done: bool,
}

/// What is known of a stream's current line.
#[derive(Debug, Default)]
struct Line {
    /// The last entry did not end it.
    unfinished: bool,
    /// Pieces being joined.
    joined: Option<Entry>,
}

/// An open log file. Its inode number is its name across renames: it is not reused while the file is open.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) file: File,
    inode: u64,
}

impl Reader {
    /// Opens the log at `path` and its rotated files. One that does not exist yet is an empty one.
    ///
    /// # Errors
    /// open(2)'s and read(2)'s.
    pub fn open(path: &Path, query: Query) -> Result<Self, sys::Error> {
        let mut files = open_all(path)?;
        if let Some(since) = query.since {
            // What was last written before `since` holds nothing younger.
            while files.len() > 1 && last_written(&files[0].file) < since {
                files.pop_front();
            }
        }
        let mut offset = 0;
        if let Some(lines) = query.tail {
            let begin = tail::find(&files, lines, query.join).map_err(|e| at(path, e))?;
            files.drain(..begin.file);
            offset = begin.offset;
        }
        Ok(Self {
            path: path.to_owned(),
            query,
            files,
            offset,
            buffer: Vec::new(),
            start: 0,
            skipping: false,
            stdout: Line::default(),
            stderr: Line::default(),
            done: false,
        })
    }

    /// The next entry; `None` when there is none now. Asked again later, it goes on with what was written since,
    /// through rotations. Lines of the file that are no entries are left out.
    ///
    /// # Errors
    /// open(2)'s and read(2)'s.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, sys::Error> {
        while !self.done {
            let Some(entry) = self.raw_entry()? else {
                // What was to be joined is not there yet: it comes in two parts rather than late.
                return Ok(self.stdout.joined.take().or_else(|| self.stderr.joined.take()));
            };
            if let Some(entry) = self.select(entry) {
                return Ok(Some(entry));
            }
        }
        Ok(self.stdout.joined.take().or_else(|| self.stderr.joined.take()))
    }

    /// Nothing more will come: an entry later than `until` was met.
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// Applies the query to an entry.
    fn select(&mut self, mut entry: Entry) -> Option<Entry> {
        let line = if entry.stream == Stream::Stderr { &mut self.stderr } else { &mut self.stdout };
        entry.begins_line = !line.unfinished;
        line.unfinished = !entry.ends_line();
        if self.query.until.is_some_and(|until| entry.time > until) {
            self.done = true;
            return None;
        }
        if self.query.since.is_some_and(|since| entry.time < since) {
            return None;
        }
        if !self.query.join {
            return Some(entry);
        }
        let whole = match line.joined.take() {
            None => entry,
            Some(mut joined) => {
                joined.text.push_str(&entry.text);
                joined
            }
        };
        if whole.ends_line() || whole.text.len() >= MAX_JOINED {
            return Some(whole);
        }
        line.joined = Some(whole);
        None
    }

    fn raw_entry(&mut self) -> Result<Option<Entry>, sys::Error> {
        loop {
            let unread = &self.buffer[self.start..];
            if let Some(end) = unread.iter().position(|&b| b == b'\n') {
                let line = &unread[..end];
                let entry = if self.skipping { None } else { decode(line) };
                self.skipping = false;
                self.start += end + 1;
                if entry.is_some() {
                    return Ok(entry);
                }
            } else if !self.fill()? {
                return Ok(None);
            }
        }
    }

    /// Reads more, from this file or the next; `false` when there is no more now.
    fn fill(&mut self) -> Result<bool, sys::Error> {
        self.buffer.drain(..self.start);
        self.start = 0;
        if self.buffer.len() > MAX_ENTRY {
            self.buffer.clear();
            self.skipping = true;
        }
        let Some(current) = self.files.front() else {
            self.files = open_all(&self.path)?;
            return Ok(!self.files.is_empty());
        };
        let had = self.buffer.len();
        self.buffer.resize(had + BLOCK, 0);
        let read = current.file.read_at(&mut self.buffer[had..], self.offset);
        self.buffer.truncate(had + *read.as_ref().unwrap_or(&0));
        let read = read.map_err(|e| at(&self.path, e))?;
        self.offset += read as u64;
        if read > 0 {
            return Ok(true);
        }
        if current.file.metadata().is_ok_and(|m| m.len() < self.offset) {
            // Somebody emptied the file in place.
            self.rewind();
            return Ok(true);
        }
        if self.files.len() > 1 {
            self.files.pop_front();
            self.rewind();
            return Ok(true);
        }
        self.find_newer()
    }

    fn rewind(&mut self) {
        self.offset = 0;
        self.buffer.clear();
        self.start = 0;
        self.skipping = false;
    }

    /// After the end of the only file: whether it was rotated, so that there are newer ones. It stays the first,
    /// for entries that were added between the last read and the rotation.
    fn find_newer(&mut self) -> Result<bool, sys::Error> {
        let Some(current) = self.files.pop_front() else { return Ok(false) };
        let same = match std::fs::metadata(&self.path) {
            Ok(metadata) => metadata.ino() == current.inode,
            // The moment between two renames: the next look finds the new file.
            Err(e) if e.kind() == ErrorKind::NotFound => true,
            Err(e) => return Err(at(&self.path, e)),
        };
        if !same {
            let mut all = open_all(&self.path)?;
            if let Some(ours) = all.iter().position(|open| open.inode == current.inode) {
                all.drain(..=ours);
            }
            self.files = all;
        }
        self.files.push_front(current);
        Ok(self.files.len() > 1)
    }
}

/// Opens a log's files, the newest first, so that a rotation meanwhile shows a file twice but hides none. One
/// number may be missing, in the middle of a rotation.
fn open_all(path: &Path) -> Result<VecDeque<Open>, sys::Error> {
    let mut files: VecDeque<Open> = VecDeque::new();
    let mut missing = 0;
    for n in 0.. {
        match file::open(&rotated(path, n)) {
            Ok(file) => {
                let inode = file.metadata().map_err(|e| at(path, e))?.ino();
                if files.iter().all(|open| open.inode != inode) {
                    files.push_front(Open { file, inode });
                }
            }
            Err(e) if e.source.kind() == ErrorKind::NotFound => {
                missing += 1;
                if missing == 2 {
                    break;
                }
            }
            Err(e) => return Err(e),
        }
    }
    Ok(files)
}

fn at(path: &Path, source: std::io::Error) -> sys::Error {
    sys::Error::new("read", path.display().to_string(), source)
}

fn last_written(file: &File) -> u64 {
    let modified = file.metadata().map(|m| (m.mtime(), m.mtime_nsec()));
    let Ok((seconds, nanos)) = modified else { return u64::MAX };
    let nanos = i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
    u64::try_from(nanos).unwrap_or(0)
}

/// One line of the file, without its newline; `None` when it is no entry.
pub(super) fn decode(line: &[u8]) -> Option<Entry> {
    #[derive(Deserialize)]
    struct Raw<'a> {
        #[serde(default)]
        log: String,
        stream: &'a str,
        time: &'a str,
    }
    let raw: Raw<'_> = serde_json::from_slice(line).ok()?;
    let stream = if raw.stream == "stderr" { Stream::Stderr } else { Stream::Stdout };
    Some(Entry { stream, time: time::parse(raw.time)?, text: raw.log, begins_line: true })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Writer;
    use crate::proto::Log;

    fn writer(directory: &Path, max_size: u64, max_files: u32) -> Writer {
        let attrs = std::collections::BTreeMap::new();
        Writer::open(&Log { path: directory.join("log"), max_size, max_files, attrs }).unwrap()
    }

    fn rest(reader: &mut Reader) -> Vec<String> {
        std::iter::from_fn(|| reader.next_entry().unwrap()).map(|e| e.text).collect()
    }

    fn lines(from: usize, to: usize) -> Vec<String> {
        (from..to).map(|n| format!("line {n}\n")).collect()
    }

    #[test]
    fn tails_reach_over_rotated_files() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        assert_eq!(rest(&mut Reader::open(&path, Query::default()).unwrap()), Vec::<String>::new());
        let mut log = writer(directory.path(), 20_000, 10);
        log.write(Stream::Stdout, lines(0, 1000).concat().as_bytes()).unwrap();
        assert!(file::list(directory.path()).unwrap().len() > 3);
        for n in [0, 1, 2, 250, 999, 1000, 5000] {
            let query = Query { tail: Some(n), ..Query::default() };
            let got = rest(&mut Reader::open(&path, query).unwrap());
            let first = 1000 - usize::try_from(n).unwrap().min(1000);
            assert_eq!(got, lines(first, 1000), "tail {n}");
        }
        assert_eq!(rest(&mut Reader::open(&path, Query::default()).unwrap()), lines(0, 1000));
    }

    #[test]
    fn following_goes_through_rotations_and_truncation() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let mut reader = Reader::open(&path, Query { tail: Some(0), ..Query::default() }).unwrap();
        let mut log = writer(directory.path(), 1000, 4);
        let mut got = Vec::new();
        for n in 0..300 {
            log.write(Stream::Stdout, format!("line {n}\n").as_bytes()).unwrap();
            // Between two looks the log rotates once or twice.
            if n % 25 == 0 {
                got.extend(rest(&mut reader));
            }
        }
        got.extend(rest(&mut reader));
        assert_eq!(got, lines(0, 300));
        sys::file::create(&path, 0o640).unwrap();
        assert_eq!(rest(&mut reader), Vec::<String>::new());
        log.write(Stream::Stdout, b"after\n").unwrap();
        assert_eq!(rest(&mut reader), ["after\n"]);
    }

    #[test]
    fn long_lines_are_joined_and_counted_as_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let mut log = writer(directory.path(), 0, 1);
        let long = "x".repeat(40_000) + "\n";
        log.write(Stream::Stdout, (String::from("first\n") + &long).as_bytes()).unwrap();
        log.write(Stream::Stdout, b"unfinished").unwrap();
        log.finish().unwrap();
        let tail = |n, join| {
            rest(&mut Reader::open(&path, Query { tail: Some(n), join, ..Query::default() }).unwrap())
        };
        assert_eq!(tail(1, true), ["unfinished"]);
        assert_eq!(tail(2, true), [long.as_str(), "unfinished"]);
        assert_eq!(tail(9, true), ["first\n", long.as_str(), "unfinished"]);
        let pieces = tail(9, false);
        assert_eq!(pieces.len(), 5);
        assert_eq!(pieces.concat(), String::from("first\n") + &long + "unfinished");
        let mut reader = Reader::open(&path, Query::default()).unwrap();
        let begins: Vec<bool> =
            std::iter::from_fn(|| reader.next_entry().unwrap()).map(|e| e.begins_line).collect();
        assert_eq!(begins, [true, true, false, false, true]);
    }

    #[test]
    fn since_and_until_select_and_what_is_no_entry_is_left_out() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let entry = |n: u64| {
            format!("{{\"log\":\"{n}\\n\",\"stream\":\"stderr\",\"time\":\"1970-01-01T00:00:0{n}Z\"}}\n")
        };
        let garbage = "g".repeat(3 * MAX_ENTRY);
        let text =
            [entry(1), entry(2), "{}\n".into(), garbage, "\n".into(), entry(3), entry(4), "{\"lo".into()]
                .concat();
        file::write_atomic(&path, text.as_bytes(), 0o640, file::Durability::Process).unwrap();
        let read = |since, until, tail| {
            let mut reader = Reader::open(&path, Query { since, until, tail, join: false }).unwrap();
            (rest(&mut reader), reader.is_done())
        };
        let second = 1_000_000_000;
        assert_eq!(read(None, None, None).0, ["1\n", "2\n", "3\n", "4\n"]);
        assert_eq!(read(Some(2 * second), Some(3 * second), None), (vec!["2\n".into(), "3\n".into()], true));
        assert_eq!(read(None, None, Some(3)).0, ["2\n", "3\n", "4\n"]);
    }
}
