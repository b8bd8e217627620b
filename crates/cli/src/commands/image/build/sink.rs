//! Outputs that come to the client: archives in files, files in directories, either on stdout.

use std::collections::BTreeMap;
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use crate::copy::rules::Plan;
use crate::copy::unpack::unpack;
use crate::error::{Error, Result};

/// Pieces between the connection and the thread that unpacks.
const QUEUE: usize = 16;

/// Where an output goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Destination {
    /// It stays with the engine.
    Nowhere,
    Stdout,
    File(PathBuf),
    /// The archive's files, below this.
    Directory(PathBuf),
}

impl Destination {
    /// From `--output`.
    pub(super) fn of_output(attributes: &BTreeMap<String, String>) -> Self {
        let get = |name: &str| attributes.get(name).map(String::as_str).unwrap_or_default();
        match (get("type"), get("dest")) {
            (_, "") => Self::Nowhere,
            ("local", path) => Self::Directory(path.into()),
            ("oci" | "docker", path) if get("tar") == "false" => Self::Directory(path.into()),
            ("tar" | "oci" | "docker", "-") => Self::Stdout,
            ("tar" | "oci" | "docker", path) => Self::File(path.into()),
            _ => Self::Nowhere,
        }
    }

    /// From `--cache-to`; `None` for one that does not come here.
    pub(super) fn of_cache(attributes: &BTreeMap<String, String>) -> Option<Self> {
        match attributes.get("type").map(String::as_str) {
            Some("inline") => None,
            Some("local") => {
                Some(attributes.get("dest").map_or(Self::Nowhere, |path| Self::Directory(path.into())))
            }
            _ => Some(Self::Nowhere),
        }
    }
}

/// What takes the outputs, by their numbers.
#[derive(Debug)]
pub(super) struct Sinks(Vec<Sink>);

#[derive(Debug)]
enum Sink {
    Nowhere,
    Stdout,
    File { path: PathBuf, file: std::fs::File },
    Unpack { path: PathBuf, pieces: Option<SyncSender<Vec<u8>>>, thread: Option<JoinHandle<io::Result<()>>> },
}

impl Sinks {
    /// Opens them, so that a place that cannot be written to is known before the build.
    pub(super) fn open(destinations: &[Destination]) -> Result<Self> {
        let open = |destination: &Destination| match destination {
            Destination::Nowhere => Ok(Sink::Nowhere),
            Destination::Stdout if crate::terminal::stdout_is_terminal() => {
                Err(Error::invalid("dest file is required for tar exporter. refusing to write to console"))
            }
            Destination::Stdout => Ok(Sink::Stdout),
            Destination::File(path) => {
                let mut options = std::fs::OpenOptions::new();
                let file = options.write(true).create(true).truncate(true).open(path);
                Ok(Sink::File { path: path.clone(), file: file.map_err(Error::file("cannot write", path))? })
            }
            Destination::Directory(path) => unpacked(path),
        };
        destinations.iter().map(open).collect::<Result<_>>().map(Self)
    }

    /// Whether one of them is stdout.
    pub(super) fn has_stdout(&self) -> bool {
        self.0.iter().any(|sink| matches!(sink, Sink::Stdout))
    }

    /// Takes a piece of an output.
    pub(super) fn take(&mut self, number: usize, bytes: Vec<u8>) -> Result<()> {
        match self.0.get_mut(number) {
            None | Some(Sink::Nowhere) => Ok(()),
            Some(Sink::Stdout) => io::stdout()
                .write_all(&bytes)
                .map_err(|source| Error::Io { what: "cannot write to stdout", source }),
            Some(Sink::File { path, file }) => {
                file.write_all(&bytes).map_err(Error::file("cannot write", path.as_path()))
            }
            Some(sink @ Sink::Unpack { .. }) => sink.unpack(bytes),
        }
    }

    /// Waits until everything is written.
    pub(super) fn finish(&mut self) -> Result<()> {
        for sink in &mut self.0 {
            if let Sink::Unpack { .. } = sink {
                sink.end()?;
            }
        }
        io::stdout().flush().map_err(|source| Error::Io { what: "cannot write to stdout", source })
    }
}

impl Sink {
    fn unpack(&mut self, bytes: Vec<u8>) -> Result<()> {
        let Self::Unpack { pieces, .. } = self else { return Ok(()) };
        match pieces.as_ref().map(|pieces| pieces.send(bytes)) {
            Some(Ok(())) => Ok(()),
            // The thread has ended, and says why.
            Some(Err(_)) | None => self.end(),
        }
    }

    fn end(&mut self) -> Result<()> {
        let Self::Unpack { path, pieces, thread } = self else { return Ok(()) };
        *pieces = None;
        let Some(thread) = thread.take() else { return Ok(()) };
        let ended =
            thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread that unpacks has failed")));
        ended.map_err(Error::file("cannot write", path.as_path()))
    }
}

/// A thread that unpacks into a directory.
fn unpacked(path: &Path) -> Result<Sink> {
    std::fs::create_dir_all(path).map_err(Error::file("cannot make", path))?;
    let plan =
        Plan { directory: path.to_string_lossy().into_owned(), from: String::new(), to: String::new() };
    let (pieces, received) = sync_channel(QUEUE);
    // Owners are root's to set.
    let owners = rustix::process::geteuid().is_root();
    let thread = std::thread::spawn(move || {
        let mut reader = Pieces { received, piece: Vec::new(), at: 0 };
        let mut first = [0];
        // A build that failed sends nothing.
        if reader.read(&mut first)? == 0 {
            return Ok(());
        }
        unpack(first.as_slice().chain(&mut reader), &plan, owners)?;
        io::copy(&mut reader, &mut io::sink()).map(drop)
    });
    Ok(Sink::Unpack { path: path.to_owned(), pieces: Some(pieces), thread: Some(thread) })
}

/// Pieces as something to read.
struct Pieces {
    received: Receiver<Vec<u8>>,
    piece: Vec<u8>,
    at: usize,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.piece.len() {
            let Ok(piece) = self.received.recv() else { return Ok(0) };
            (self.piece, self.at) = (piece, 0);
        }
        let taken = buffer.len().min(self.piece.len() - self.at);
        buffer[..taken].copy_from_slice(&self.piece[self.at..self.at + taken]);
        self.at += taken;
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_go_where_they_say() {
        let of = |text: &str| {
            let pairs = text.split(',').filter_map(|field| field.split_once('='));
            Destination::of_output(&pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).collect())
        };
        assert_eq!(of("type=local,dest=d"), Destination::Directory("d".into()));
        assert_eq!(of("type=tar,dest=-"), Destination::Stdout);
        assert_eq!(of("type=oci,dest=x.tar"), Destination::File("x.tar".into()));
        assert_eq!(of("type=oci,dest=x,tar=false"), Destination::Directory("x".into()));
        assert_eq!(of("type=registry"), Destination::Nowhere);
        assert_eq!(of("type=docker"), Destination::Nowhere);
    }
}
