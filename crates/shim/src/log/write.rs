//! The log file: entries are appended in large writes, and the file is rotated by size.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use spec::api::Stream;
use sys::file;

use super::json_file::Encoder;
use super::split::Splitter;
use super::{rotated, time};
use crate::proto::Log;

/// Encoded entries are written out when there are this many bytes of them.
const BATCH: usize = 256 * 1024;

/// Writes one container's log.
#[derive(Debug)]
pub struct Writer {
    stdout: Splitter,
    stderr: Splitter,
    encoder: Encoder,
    /// Encoded and not yet written.
    batch: Vec<u8>,
    output: Output,
}

#[derive(Debug)]
struct Output {
    file: File,
    settings: Log,
    /// How long the file is. It always ends with a whole entry.
    size: u64,
}

impl Writer {
    /// Opens the log to be appended to; a new file has mode 0640.
    ///
    /// # Errors
    /// open(2)'s.
    pub fn open(settings: &Log) -> Result<Self, sys::Error> {
        Ok(Self {
            stdout: Splitter::new(Stream::Stdout),
            stderr: Splitter::new(Stream::Stderr),
            encoder: Encoder::new(&settings.attrs),
            batch: Vec::new(),
            output: Output::open(settings)?,
        })
    }

    /// Appends what a stream has put out just now. Everything that ends a line is in the file afterwards.
    ///
    /// # Errors
    /// write(2)'s (a full disk) and those of a rotation: entries are lost then, but none is in the file by half,
    /// and the next ones are tried again.
    pub fn write(&mut self, stream: Stream, bytes: &[u8]) -> Result<(), sys::Error> {
        let Self { stdout, stderr, encoder, batch, output } = self;
        let splitter = if stream == Stream::Stderr { stderr } else { stdout };
        let mut result = Ok(());
        splitter.feed(bytes, time::now(), |piece| {
            let begin = batch.len();
            encoder.append(batch, piece);
            keep_first(&mut result, output.entry(batch, begin));
        });
        keep_first(&mut result, output.flush(batch));
        result
    }

    /// Writes what is left of unfinished lines. For when the streams have ended.
    ///
    /// # Errors
    /// As [`Writer::write`].
    pub fn finish(&mut self) -> Result<(), sys::Error> {
        let Self { stdout, stderr, encoder, batch, output } = self;
        let (now, mut result) = (time::now(), Ok(()));
        for splitter in [stdout, stderr] {
            splitter.finish(now, |piece| {
                let begin = batch.len();
                encoder.append(batch, piece);
                keep_first(&mut result, output.entry(batch, begin));
            });
        }
        keep_first(&mut result, output.flush(batch));
        result
    }

    /// Gives memory back that only a burst of output needs.
    pub fn shrink(&mut self) {
        self.batch = Vec::new();
        self.stdout.shrink();
        self.stderr.shrink();
    }
}

/// Of several steps' failures the first is kept.
fn keep_first(so_far: &mut Result<(), sys::Error>, next: Result<(), sys::Error>) {
    if so_far.is_ok() {
        *so_far = next;
    }
}

impl Output {
    fn open(settings: &Log) -> Result<Self, sys::Error> {
        let failed = |step| move |e| sys::Error::new(step, settings.path.display().to_string(), e);
        let file = file::append(&settings.path, 0o640)?;
        let mut size = file.metadata().map_err(failed("stat"))?.len();
        // A machine that stopped in the middle of a write leaves half an entry: end it.
        let mut last = [0];
        if size > 0 && file.read_at(&mut last, size - 1).is_ok() && last != *b"\n" {
            (&file).write_all(b"\n").map_err(failed("write"))?;
            size += 1;
        }
        Ok(Self { file, settings: settings.clone(), size })
    }

    /// An entry now stands at `begin` in the batch: makes room for it in the file when it would be too long.
    fn entry(&mut self, batch: &mut Vec<u8>, begin: usize) -> Result<(), sys::Error> {
        let max = self.settings.max_size;
        if max > 0 && self.size + batch.len() as u64 > max && self.size + begin as u64 > 0 {
            let entry = batch.split_off(begin);
            let result = self.flush(batch).and_then(|()| self.rotate());
            *batch = entry;
            return result;
        }
        if batch.len() >= BATCH { self.flush(batch) } else { Ok(()) }
    }

    fn flush(&mut self, batch: &mut Vec<u8>) -> Result<(), sys::Error> {
        let result = self.file.write_all(batch).map_err(|e| {
            // Half an entry must not stay. If the file cannot even be cut, the next opening repairs it.
            let _ = self.file.set_len(self.size);
            sys::Error::new("write", self.settings.path.display().to_string(), e)
        });
        if result.is_ok() {
            self.size += batch.len() as u64;
        }
        batch.clear();
        result
    }

    /// Renames each file to the next number and begins a new one. The oldest is replaced or removed.
    fn rotate(&mut self) -> Result<(), sys::Error> {
        let path: &Path = &self.settings.path;
        let number = |n| -> PathBuf { rotated(path, n) };
        for n in (1..self.settings.max_files.max(1)).rev() {
            match file::rename(&number(n - 1), &number(n)) {
                Err(e) if e.source.kind() != std::io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
        }
        // With one file to keep, readers that have it open still read it to its end.
        file::remove(path)?;
        self.file = file::append(path, 0o640)?;
        self.size = 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn settings(directory: &Path, max_size: u64, max_files: u32) -> Log {
        Log { path: directory.join("x-json.log"), max_size, max_files, attrs: BTreeMap::new() }
    }

    #[test]
    fn files_rotate_before_they_pass_their_size_and_keep_whole_entries() {
        let directory = tempfile::tempdir().unwrap();
        let settings = settings(directory.path(), 1000, 3);
        let mut writer = Writer::open(&settings).unwrap();
        let lines: Vec<String> = (0..100).map(|n| format!("line {n}\n")).collect();
        writer.write(Stream::Stdout, lines.concat().as_bytes()).unwrap();
        writer.write(Stream::Stderr, b"and the end").unwrap();
        writer.finish().unwrap();
        let names = file::list(directory.path()).unwrap();
        assert_eq!(names, ["x-json.log", "x-json.log.1", "x-json.log.2"]);
        let mut kept = Vec::new();
        for n in (0..3).rev() {
            let bytes = file::read(&rotated(&settings.path, n)).unwrap();
            assert!(bytes.len() <= 1000 && bytes.ends_with(b"}\n"));
            kept.extend(String::from_utf8(bytes).unwrap().lines().map(str::to_owned));
        }
        assert!(kept.len() > 20 && kept.len() < 50);
        assert!(kept.last().unwrap().contains("and the end"));
        for (line, number) in kept.iter().rev().skip(1).zip((0..100).rev()) {
            assert!(line.contains(&format!("line {number}\\n")), "{line}");
        }
    }

    #[test]
    fn a_half_written_entry_is_ended_before_the_next() {
        let directory = tempfile::tempdir().unwrap();
        let settings = settings(directory.path(), 0, 1);
        file::write_atomic(&settings.path, b"{\"log\":\"ha", 0o640, file::Durability::Process).unwrap();
        Writer::open(&settings).unwrap().write(Stream::Stdout, b"x\n").unwrap();
        let text = String::from_utf8(file::read(&settings.path).unwrap()).unwrap();
        assert!(text.starts_with("{\"log\":\"ha\n{\"log\":\"x\\n\""));
    }

    #[test]
    fn a_full_disk_loses_entries_but_leaves_none_by_half() {
        let settings = Log { path: "/dev/full".into(), max_size: 0, max_files: 1, attrs: BTreeMap::new() };
        let mut writer = Writer::open(&settings).unwrap();
        assert!(writer.write(Stream::Stdout, b"x\n").is_err());
        assert!(writer.batch.is_empty());
    }
}
