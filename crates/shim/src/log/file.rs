//! The log file: entries are appended in large writes, and the file is rotated by size. It is made when there is something
//! to write: most containers that live for some milliseconds have nothing to say.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use sys::file;

use super::compress::Worker;
use super::split::Piece;
use super::{json_file, local, packed, rotated};
use crate::proto::{LogFiles, LogFormat};

/// Encoded entries are written out when there are this many bytes of them.
const BATCH: usize = 256 * 1024;

/// Writes one log's files.
#[derive(Debug)]
pub struct Files {
    encoder: Encoder,
    /// Encoded and not yet written.
    batch: Vec<u8>,
    /// How many entries that is.
    waiting: u64,
    /// `None`: it is not there yet.
    file: Option<File>,
    settings: LogFiles,
    /// How long the file is. It always ends with a whole entry.
    size: u64,
    worker: Option<Worker>,
    loss: Loss,
}

/// Entries that did not get where they belong.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Loss {
    /// How many.
    pub entries: u64,
    /// Why the first did not.
    pub why: String,
}

impl Loss {
    pub(super) fn add(&mut self, entries: u64, why: impl FnOnce() -> String) {
        if self.entries == 0 && entries > 0 {
            self.why = why();
        }
        self.entries += entries;
    }
}

#[derive(Debug)]
enum Encoder {
    JsonFile(json_file::Encoder),
    Local(local::Encoder),
}

impl Files {
    /// Opens the log to be appended to; a new file, made at the first flush, has mode 0640.
    ///
    /// # Errors
    /// open(2)'s.
    pub fn open(settings: &LogFiles, attrs: &BTreeMap<String, String>) -> Result<Self, sys::Error> {
        let path = &settings.path;
        let failed = |step| move |e| sys::Error::new(step, path.display().to_string(), e);
        let encoder = match settings.format {
            LogFormat::JsonFile => Encoder::JsonFile(json_file::Encoder::new(attrs)),
            LogFormat::Local => Encoder::Local(local::Encoder::new(attrs)),
        };
        let file = if path.exists() { Some(file::append(path, 0o640)?) } else { None };
        let mut size = 0;
        if let Some(mut file) = file.as_ref() {
            let length = file.metadata().map_err(failed("stat"))?.len();
            // A machine that stopped in the middle of a write leaves half an entry.
            size = match settings.format {
                LogFormat::JsonFile => {
                    let mut last = [0];
                    let torn = length > 0 && file.read_at(&mut last, length - 1).is_ok() && last != *b"\n";
                    if torn {
                        file.write_all(b"\n").map_err(failed("write"))?;
                    }
                    length + u64::from(torn)
                }
                LogFormat::Local => {
                    let whole = whole_entries(file, length).map_err(failed("read"))?;
                    if whole < length {
                        file.set_len(whole).map_err(failed("truncate"))?;
                    }
                    whole
                }
            };
        }
        let mut files = Self {
            encoder,
            batch: Vec::new(),
            waiting: 0,
            file,
            settings: settings.clone(),
            size,
            worker: None,
            loss: Loss::default(),
        };
        if settings.compress {
            // A shim that was killed may have left one.
            file::remove(&files.unfinished())?;
            files.compress_next();
        }
        Ok(files)
    }

    /// Takes one piece. It is in the file after [`Files::flush`] at the latest.
    ///
    /// A full disk loses entries, which are counted, but none is in the file by half, and the next are tried again.
    pub fn add(&mut self, piece: &Piece<'_>) {
        let begin = self.batch.len();
        match &mut self.encoder {
            Encoder::JsonFile(encoder) => encoder.append(&mut self.batch, piece),
            Encoder::Local(encoder) => encoder.append(&mut self.batch, piece),
        }
        let max = self.settings.max_size;
        if max > 0 && self.size + self.batch.len() as u64 > max && self.size + begin as u64 > 0 {
            let entry = self.batch.split_off(begin);
            self.flush();
            if let Err(error) = self.rotate() {
                self.loss.add(1, || text_of(&error));
                return;
            }
            self.batch = entry;
        }
        self.waiting += 1;
        if self.batch.len() >= BATCH {
            self.flush();
        }
    }

    /// Writes what waits.
    pub fn flush(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let size = self.size;
        let written = self.made().map_err(|error| text_of(&error)).and_then(|(file, path, batch)| {
            file.write_all(batch).map_err(|error| {
                // Half an entry must not stay. If the file cannot even be cut, the next opening repairs it.
                let _ = file.set_len(size);
                format!("write {}: {error}", path.display())
            })
        });
        match written {
            Ok(()) => self.size += self.batch.len() as u64,
            Err(why) => self.loss.add(self.waiting, || why),
        }
        self.batch.clear();
        self.waiting = 0;
    }

    /// The file, its path, and what is to be written to it.
    fn made(&mut self) -> Result<(&mut File, &Path, &[u8]), sys::Error> {
        let path = &self.settings.path;
        let file = match &mut self.file {
            Some(file) => file,
            none => {
                if let Some(directory) = path.parent() {
                    file::create_dir_all(directory, 0o700)?;
                }
                none.insert(file::append(path, 0o640)?)
            }
        };
        Ok((file, path, &self.batch))
    }

    /// What was lost so far.
    pub fn loss(&self) -> &Loss {
        &self.loss
    }

    /// Gives memory back that only a burst of output needs.
    pub fn shrink(&mut self) {
        self.batch = Vec::new();
    }

    /// Nothing more will come. A compression under way is given up: the next start of the container does it again.
    pub fn finish(&mut self) {
        self.flush();
        if let Some(worker) = self.worker.take() {
            worker.kill();
            // Nobody reads it.
            let _ = file::remove(&self.unfinished());
        }
    }

    /// A child of ours has ended; if it was the one that compresses, its file takes its place.
    pub fn reaped(&mut self, pid: i32, success: bool) {
        let Some(worker) = self.worker.take_if(|worker| worker.is(pid)) else { return };
        let number = worker.number;
        if success && number < self.settings.max_files {
            let plain = rotated(&self.settings.path, number);
            // First there are two, then one: a reader finds one at any moment. What fails leaves the plain file,
            // which is as good, and is tried again after the next rotation.
            if file::rename(&self.unfinished(), &packed(&plain)).is_ok() && file::remove(&plain).is_ok() {
                self.compress_next();
            }
        } else {
            let _ = file::remove(&self.unfinished());
        }
    }

    /// Renames each file to the next number and begins a new one. The oldest is removed.
    fn rotate(&mut self) -> Result<(), sys::Error> {
        let path = self.settings.path.clone();
        let last = self.settings.max_files.max(1) - 1;
        if last > 0 {
            // Absent is what they usually are.
            file::remove(&rotated(&path, last))?;
            file::remove(&packed(&rotated(&path, last)))?;
        }
        for n in (1..=last).rev() {
            let (from, to) = (rotated(&path, n - 1), rotated(&path, n));
            move_if_there(&from, &to)?;
            if n > 1 {
                move_if_there(&packed(&from), &packed(&to))?;
            }
        }
        // With one file to keep, readers that have it open still read it to its end.
        file::remove(&path)?;
        self.file = Some(file::append(&path, 0o640)?);
        self.size = 0;
        if let Some(worker) = &mut self.worker {
            worker.number += 1;
        }
        if self.settings.compress {
            self.compress_next();
        }
        Ok(())
    }

    /// Starts to compress the newest rotated file that is not, unless one is being compressed. A failure leaves it
    /// plain, which is as good.
    fn compress_next(&mut self) {
        if self.worker.is_some() {
            return;
        }
        let start = |number: u32| {
            let input = file::open(&rotated(&self.settings.path, number)).ok()?;
            let output = file::create(&self.unfinished(), 0o640).ok()?;
            Worker::start(&input, &output, number).ok()
        };
        self.worker = (1..self.settings.max_files).find_map(start);
    }

    /// Where a file is compressed to, until it is whole.
    fn unfinished(&self) -> PathBuf {
        let mut name = self.settings.path.clone().into_os_string();
        name.push(".gz.new");
        name.into()
    }
}

fn text_of(error: &sys::Error) -> String {
    format!("{error}: {}", error.source)
}

fn move_if_there(from: &Path, to: &Path) -> Result<(), sys::Error> {
    match file::rename(from, to) {
        Err(e) if e.source.kind() != std::io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// How long the part of a `local` file is that consists of whole entries.
fn whole_entries(file: &File, length: u64) -> std::io::Result<u64> {
    const LENGTH: u64 = local::LENGTH as u64;
    let read = |at: u64| -> std::io::Result<u64> {
        let mut bytes = [0; local::LENGTH];
        file.read_exact_at(&mut bytes, at)?;
        Ok(u32::from_be_bytes(bytes).into())
    };
    if length >= LENGTH {
        // The usual case needs no walk: the last entry's two lengths agree.
        let last = read(length - LENGTH)? + 2 * LENGTH;
        if last <= length && read(length - last)? + 2 * LENGTH == last {
            return Ok(length);
        }
    }
    let mut at = 0;
    while at + 2 * LENGTH <= length {
        let entry = read(at)?;
        let end = at + 2 * LENGTH + entry;
        if end > length || read(end - LENGTH)? != entry {
            break;
        }
        at = end;
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use spec::api::Stream;

    use super::*;

    fn settings(directory: &Path, max_size: u64, max_files: u32) -> LogFiles {
        let path = directory.join("x-json.log");
        LogFiles { path, format: LogFormat::JsonFile, max_size, max_files, compress: false }
    }

    fn open(settings: &LogFiles) -> Files {
        Files::open(settings, &BTreeMap::new()).unwrap()
    }

    fn add(files: &mut Files, text: &str) {
        files.add(&Piece {
            stream: Stream::Stdout,
            time: 1,
            text: text.as_bytes(),
            ends_line: true,
            partial: None,
            plain: false,
        });
    }

    #[test]
    fn files_rotate_before_they_pass_their_size_and_keep_whole_entries() {
        let directory = tempfile::tempdir().unwrap();
        let settings = settings(directory.path(), 1000, 3);
        let mut files = open(&settings);
        (0..100).for_each(|n| add(&mut files, &format!("line {n}")));
        files.finish();
        let names = file::list(directory.path()).unwrap();
        assert_eq!(names, ["x-json.log", "x-json.log.1", "x-json.log.2"]);
        let mut kept = Vec::new();
        for n in (0..3).rev() {
            let bytes = file::read(&rotated(&settings.path, n)).unwrap();
            assert!(bytes.len() <= 1000 && bytes.ends_with(b"}\n"));
            kept.extend(String::from_utf8(bytes).unwrap().lines().map(str::to_owned));
        }
        assert!(kept.len() > 20 && kept.len() < 50);
        for (line, number) in kept.iter().rev().zip((0..100).rev()) {
            assert!(line.contains(&format!("line {number}\\n")), "{line}");
        }
    }

    #[test]
    fn a_half_written_entry_is_ended_before_the_next() {
        let directory = tempfile::tempdir().unwrap();
        let mut settings = settings(directory.path(), 0, 1);
        file::write_atomic(&settings.path, b"{\"log\":\"ha", 0o640, file::Durability::Process).unwrap();
        let mut files = open(&settings);
        add(&mut files, "x");
        files.finish();
        let text = String::from_utf8(file::read(&settings.path).unwrap()).unwrap();
        assert!(text.starts_with("{\"log\":\"ha\n{\"log\":\"x\\n\""));
        settings.format = LogFormat::Local;
        settings.path = directory.path().join("local");
        let mut files = open(&settings);
        add(&mut files, "one");
        files.finish();
        let one = file::read(&settings.path).unwrap();
        let torn = [&one[..], &one[..one.len() - 3]].concat();
        file::write_atomic(&settings.path, &torn, 0o640, file::Durability::Process).unwrap();
        let mut files = open(&settings);
        add(&mut files, "one");
        files.finish();
        assert_eq!(file::read(&settings.path).unwrap(), [&one[..], &one[..]].concat());
    }

    #[test]
    fn a_full_disk_loses_entries_and_counts_them() {
        let mut settings = settings(Path::new("/dev"), 0, 1);
        settings.path = "/dev/full".into();
        let mut files = open(&settings);
        (0..3).for_each(|_| add(&mut files, "x"));
        files.flush();
        add(&mut files, "y");
        files.flush();
        assert_eq!(files.loss().entries, 4);
        assert!(files.loss().why.contains("No space left"), "{}", files.loss().why);
    }
}
