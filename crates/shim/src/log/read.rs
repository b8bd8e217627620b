//! The log read back: the last lines, a span of time, what is new since the last look. Rotation may happen at
//! any moment; a rotated file that is open is read to its end.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use spec::api::Stream;
use sys::file;

use super::{compress, local, packed, rotated, tail, time};
use crate::proto::LogFormat;

/// How much is read at a time.
pub(super) const BLOCK: usize = 64 * 1024;

/// A longer line of the file is no entry (a piece whose every byte is escaped is a tenth of this).
pub(super) const MAX_ENTRY: usize = 1024 * 1024;

/// What to read.
#[derive(Debug, Clone, Copy, Default)]
pub struct Query {
    /// Only this many lines from the end.
    pub tail: Option<u64>,
    /// Only entries at or after this time, nanoseconds since 1970.
    pub since: Option<u64>,
    /// Only entries at or before this time.
    pub until: Option<u64>,
}

/// One entry of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where it was written to.
    pub stream: Stream,
    /// When, in nanoseconds since 1970.
    pub time: u64,
    /// The text, with its newline if it ends a line.
    pub text: Vec<u8>,
    /// It is not the rest of a line that an earlier entry of the stream began.
    pub begins_line: bool,
    /// Labels, environment and tag, as `--details` shows them.
    pub attrs: BTreeMap<String, String>,
}

impl Entry {
    /// Whether this is the end of its line.
    pub fn ends_line(&self) -> bool {
        self.text.ends_with(b"\n")
    }
}

/// Reads one log, once or again and again. Its memory is bounded, whatever is in the files.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    format: LogFormat,
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
    /// The last entry of the stream did not end its line.
    unfinished_stdout: bool,
    unfinished_stderr: bool,
    done: bool,
}

/// An open log file. A plain one's inode number is its name across renames: it is not reused while the file is open.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) file: File,
    /// Of the plain file, also when this is the compressed one.
    inode: u64,
    /// It is compressed, and has not been read.
    packed: bool,
    /// Of a compressed file: its own inode number, and when the plain one was written last.
    compressed: Option<(u64, u64)>,
}

impl Open {
    /// Whether both are one file, plain or compressed. The number of a plain file that is gone may be a younger one's, which
    /// was written later.
    fn is(&self, other: &Self) -> bool {
        let written = |open: &Self| open.compressed.map_or_else(|| last_written(&open.file), |(_, at)| at);
        self.inode == other.inode
            && match (self.compressed, other.compressed) {
                (None, None) => true,
                (Some(one), Some(two)) => one == two,
                (None, Some(_)) | (Some(_), None) => written(self) == written(other),
            }
    }

    pub(super) fn is_packed(&self) -> bool {
        self.packed
    }

    /// Puts the plain bytes of a compressed file into a file without a name beside the log, once they are wanted.
    pub(super) fn unpack(&mut self, log: &Path) -> std::io::Result<()> {
        if !self.packed {
            return Ok(());
        }
        let directory = log.parent().unwrap_or(Path::new("."));
        let mut plain = sys::scratch::unnamed(directory).map_err(|e| e.source)?;
        let mut packed = flate2::read::MultiGzDecoder::new(&self.file);
        match std::io::copy(&mut packed, &mut plain) {
            // What could be unpacked of a broken file is better than nothing.
            Err(e)
                if !matches!(
                    e.kind(),
                    ErrorKind::InvalidInput | ErrorKind::InvalidData | ErrorKind::UnexpectedEof
                ) =>
            {
                return Err(e);
            }
            Ok(_) | Err(_) => {}
        }
        self.file = plain;
        self.packed = false;
        Ok(())
    }
}

impl Reader {
    /// Opens the log at `path` and its rotated files. One that does not exist yet is an empty one.
    ///
    /// # Errors
    /// open(2)'s and read(2)'s.
    pub fn open(path: &Path, format: LogFormat, query: Query) -> Result<Self, sys::Error> {
        let mut files = open_all(path)?;
        if let Some(since) = query.since {
            // What was last written before `since` holds nothing younger.
            while files.len() > 1 && last_written(&files[0].file) < since {
                files.pop_front();
            }
        }
        let mut offset = 0;
        if let Some(lines) = query.tail {
            let begin = tail::find(path, &mut files, format, lines).map_err(|e| at(path, e))?;
            files.drain(..begin.file);
            offset = begin.offset;
        }
        Ok(Self {
            path: path.to_owned(),
            format,
            query,
            files,
            offset,
            buffer: Vec::new(),
            start: 0,
            skipping: false,
            unfinished_stdout: false,
            unfinished_stderr: false,
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
            let Some(entry) = self.raw_entry()? else { return Ok(None) };
            if let Some(entry) = self.select(entry) {
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }

    /// Nothing more will come: an entry later than `until` was met.
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// Applies the query to an entry.
    fn select(&mut self, mut entry: Entry) -> Option<Entry> {
        let stderr = entry.stream == Stream::Stderr;
        let unfinished = if stderr { &mut self.unfinished_stderr } else { &mut self.unfinished_stdout };
        entry.begins_line = !std::mem::replace(unfinished, !entry.ends_line());
        if self.query.until.is_some_and(|until| entry.time > until) {
            self.done = true;
            return None;
        }
        Some(entry).filter(|entry| self.query.since.is_none_or(|since| entry.time >= since))
    }

    fn raw_entry(&mut self) -> Result<Option<Entry>, sys::Error> {
        loop {
            let unread = &self.buffer[self.start..];
            match next(self.format, unread) {
                Next::Entry(entry, length) => {
                    self.start += length;
                    if !std::mem::take(&mut self.skipping) {
                        return Ok(Some(entry));
                    }
                }
                Next::Nothing(length) => {
                    self.start += length;
                    self.skipping = false;
                }
                Next::More => {
                    if !self.fill()? {
                        return Ok(None);
                    }
                }
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
        let Some(current) = self.files.front_mut() else {
            self.files = open_all(&self.path)?;
            return Ok(!self.files.is_empty());
        };
        current.unpack(&self.path).map_err(|e| at(&self.path, e))?;
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
            Ok(metadata) => current.compressed.is_none() && metadata.ino() == current.inode,
            // The moment between two renames: the next look finds the new file.
            Err(e) if e.kind() == ErrorKind::NotFound => true,
            Err(e) => return Err(at(&self.path, e)),
        };
        if !same {
            let mut all = open_all(&self.path)?;
            if let Some(ours) = all.iter().position(|open| open.is(&current)) {
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
        let plain = rotated(path, n);
        // A file is there in one form or in both.
        let opened = match open_if_there(&plain)? {
            None if n > 0 => open_if_there(&packed(&plain))?.map(|file| (file, true)),
            plain => plain.map(|file| (file, false)),
        };
        let Some((file, packed)) = opened else {
            missing += 1;
            if missing == 2 {
                break;
            }
            continue;
        };
        let own = file.metadata().map_err(|e| at(path, e))?.ino();
        let inode = if packed { compress::compressed_inode(&file).unwrap_or(own) } else { own };
        let compressed = packed.then(|| (own, last_written(&file)));
        let open = Open { file, inode, packed, compressed };
        if !files.iter().any(|known| known.is(&open)) {
            files.push_front(open);
        }
    }
    Ok(files)
}

fn open_if_there(path: &Path) -> Result<Option<File>, sys::Error> {
    match file::open(path) {
        Err(e) if e.source.kind() == ErrorKind::NotFound => Ok(None),
        opened => opened.map(Some),
    }
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

/// What stands at the beginning of some bytes of a log, and how long it is.
enum Next {
    Entry(Entry, usize),
    /// No entry: left out.
    Nothing(usize),
    /// It is not all there yet.
    More,
}

fn next(format: LogFormat, bytes: &[u8]) -> Next {
    match format {
        LogFormat::JsonFile => match memchr::memchr(b'\n', bytes) {
            None => Next::More,
            Some(end) => decode(format, &bytes[..end])
                .map_or(Next::Nothing(end + 1), |entry| Next::Entry(entry, end + 1)),
        },
        LogFormat::Local => {
            let Some(length) = local::length(bytes) else { return Next::More };
            let begin = bytes.get(local::LENGTH..local::LENGTH + local::BEGIN.len());
            // After nonsense an entry is looked for at every byte.
            if length > MAX_ENTRY / 2 || begin.is_some_and(|begin| begin != local::BEGIN) {
                return Next::Nothing(1);
            }
            let whole = length + 2 * local::LENGTH;
            let Some(entry) = bytes.get(..whole) else { return Next::More };
            let (inner, end) = entry[local::LENGTH..].split_at(length);
            match local::decode(inner).filter(|_| local::length(end) == Some(length)) {
                Some(entry) => Next::Entry(entry, whole),
                None => Next::Nothing(1),
            }
        }
    }
}

/// One entry as it stands in the file, without what separates it from others; `None` when it is none.
pub(super) fn decode(format: LogFormat, bytes: &[u8]) -> Option<Entry> {
    #[derive(Deserialize)]
    struct Raw<'a> {
        #[serde(default)]
        log: String,
        stream: &'a str,
        time: &'a str,
        #[serde(default)]
        attrs: BTreeMap<String, String>,
    }
    if format == LogFormat::Local {
        return local::decode(bytes);
    }
    // A machine that stopped may leave a hole in front of the next entry.
    let hole = bytes.iter().take_while(|b| **b == 0).count();
    let bytes = &bytes[hole..];
    let raw: Raw<'_> = serde_json::from_slice(bytes).ok()?;
    let stream = if raw.stream == "stderr" { Stream::Stderr } else { Stream::Stdout };
    let time = time::parse(raw.time)?;
    Some(Entry { stream, time, text: raw.log.into_bytes(), begins_line: true, attrs: raw.attrs })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Writer;
    use crate::proto::{Log, LogFiles};

    const FORMATS: [LogFormat; 2] = [LogFormat::JsonFile, LogFormat::Local];

    fn writer(directory: &Path, format: LogFormat, max_size: u64, max_files: u32) -> Writer {
        let files = LogFiles { path: directory.join("log"), format, max_size, max_files, compress: false };
        Writer::open(&Log { files: Some(files), ..Log::default() }).unwrap()
    }

    fn rest(reader: &mut Reader) -> Vec<String> {
        std::iter::from_fn(|| reader.next_entry().unwrap())
            .map(|e| String::from_utf8(e.text).unwrap())
            .collect()
    }

    /// As the shim does it, but at once.
    fn compress(plain: &Path) {
        compress::run(file::open(plain).unwrap(), file::create(&packed(plain), 0o640).unwrap()).unwrap();
        file::remove(plain).unwrap();
    }

    fn lines(from: usize, to: usize) -> Vec<String> {
        (from..to).map(|n| format!("line {n}\n")).collect()
    }

    #[test]
    fn tails_reach_over_rotated_and_compressed_files() {
        for format in FORMATS {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("log");
            let read = |tail| {
                let query = Query { tail, ..Query::default() };
                rest(&mut Reader::open(&path, format, query).unwrap())
            };
            assert_eq!(read(None), Vec::<String>::new());
            let mut log = writer(directory.path(), format, 9_000, 12);
            log.write(Stream::Stdout, lines(0, 1000).concat().as_bytes());
            let count = file::list(directory.path()).unwrap().len();
            assert!(count > 3);
            for packed in [false, true] {
                for n in [0, 1, 2, 250, 999, 1000, 5000] {
                    let first = 1000 - usize::try_from(n).unwrap().min(1000);
                    assert_eq!(read(Some(n)), lines(first, 1000), "tail {n}");
                }
                assert_eq!(read(None), lines(0, 1000));
                if !packed {
                    (1..u32::try_from(count).unwrap()).for_each(|n| compress(&rotated(&path, n)));
                }
            }
        }
    }

    #[test]
    fn following_goes_through_rotation_compression_and_truncation() {
        for format in FORMATS {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("log");
            let query = Query { tail: Some(0), ..Query::default() };
            let mut reader = Reader::open(&path, format, query).unwrap();
            let mut log = writer(directory.path(), format, 1000, 4);
            let mut got = Vec::new();
            for n in 0..300 {
                log.write(Stream::Stdout, format!("line {n}\n").as_bytes());
                // Between two looks the log rotates once or twice.
                if n % 20 == 0 {
                    got.extend(rest(&mut reader));
                }
                if n % 20 == 10 && file::open(&rotated(&path, 1)).is_ok() {
                    compress(&rotated(&path, 1));
                }
            }
            got.extend(rest(&mut reader));
            assert_eq!(got, lines(0, 300), "{format:?}");
            sys::file::create(&path, 0o640).unwrap();
            assert_eq!(rest(&mut reader), Vec::<String>::new());
            log.write(Stream::Stdout, b"after\n");
            assert_eq!(rest(&mut reader), ["after\n"]);
        }
    }

    /// File systems give the number of a file that is gone to the next one.
    #[test]
    fn a_file_that_has_a_number_of_an_older_one_hides_none() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let mut log = writer(directory.path(), LogFormat::JsonFile, 0, 1);
        log.write(Stream::Stdout, b"old\n");
        let (input, output) = (file::open(&path).unwrap(), packed(&rotated(&path, 1)));
        compress::run(input, file::create(&output, 0o640).unwrap()).unwrap();
        // Emptied in place: the same number, written later.
        sys::file::create(&path, 0o640).unwrap();
        log.write(Stream::Stdout, b"new\n");
        let mut reader = Reader::open(&path, LogFormat::JsonFile, Query::default()).unwrap();
        assert_eq!(rest(&mut reader), ["old\n", "new\n"]);
    }

    #[test]
    fn a_long_line_counts_as_one_and_comes_whole() {
        for format in FORMATS {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("log");
            let mut log = writer(directory.path(), format, 0, 1);
            let long = "x".repeat(40_000) + "\n";
            log.write(Stream::Stdout, (String::from("first\n") + &long).as_bytes());
            log.write(Stream::Stdout, b"unfinished");
            log.finish();
            let open = |tail| Reader::open(&path, format, Query { tail, ..Query::default() }).unwrap();
            let tail = |n| rest(&mut open(Some(n))).concat();
            assert_eq!(tail(1), "unfinished");
            assert_eq!(tail(2), long.clone() + "unfinished");
            assert_eq!(tail(9), String::from("first\n") + &long + "unfinished");
            let mut reader = open(None);
            let begins: Vec<bool> =
                std::iter::from_fn(|| reader.next_entry().unwrap()).map(|e| e.begins_line).collect();
            assert_eq!(begins, [true, true, false, false, true]);
        }
    }

    #[test]
    fn since_and_until_select_and_what_is_no_entry_is_left_out() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let entry = |n: u64| {
            format!("{{\"log\":\"{n}\\n\",\"stream\":\"stderr\",\"time\":\"1970-01-01T00:00:0{n}Z\"}}\n")
        };
        let garbage = "g".repeat(3 * MAX_ENTRY);
        let torn = [entry(1), entry(2), "{}\n".into(), garbage, "\n\0\0".into(), entry(3), entry(4)].concat();
        file::write_atomic(&path, (torn + "{\"lo").as_bytes(), 0o640, file::Durability::Process).unwrap();
        let read = |since, until, tail| {
            let query = Query { since, until, tail };
            let mut reader = Reader::open(&path, LogFormat::JsonFile, query).unwrap();
            (rest(&mut reader), reader.is_done())
        };
        let second = 1_000_000_000;
        assert_eq!(read(None, None, None).0, ["1\n", "2\n", "3\n", "4\n"]);
        assert_eq!(read(Some(2 * second), Some(3 * second), None), (vec!["2\n".into(), "3\n".into()], true));
        assert_eq!(read(None, None, Some(3)).0, ["2\n", "3\n", "4\n"]);
    }

    #[test]
    fn nonsense_between_local_entries_is_passed_over() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let mut log = writer(directory.path(), LogFormat::Local, 0, 1);
        log.write(Stream::Stdout, b"one\n");
        log.finish();
        let one = file::read(&path).unwrap();
        for nonsense in [&[0; 100][..], b"\0\0\0\x05hello", b"\xff\xff\xff\xff", &one[..one.len() - 2]] {
            let bytes = [&one[..], nonsense, &one[..], &one[..]].concat();
            file::write_atomic(&path, &bytes, 0o640, file::Durability::Process).unwrap();
            let mut reader = Reader::open(&path, LogFormat::Local, Query::default()).unwrap();
            assert_eq!(rest(&mut reader), ["one\n", "one\n", "one\n"], "{nonsense:?}");
        }
    }
}
