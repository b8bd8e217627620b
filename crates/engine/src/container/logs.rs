//! Logs: read from the files the shim writes, as frames ready for the wire.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use shim::log::{Entry, Query, Reader};
use spec::api::Stream;
use sys::inotify::Changes;
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, watch};

use super::View;
use super::link::Polled;
use super::state::Phase;
use crate::blocking::blocking;
use crate::{Engine, Error};

/// `GET /containers/{id}/logs`.
#[derive(Debug, Clone, Default)]
pub struct LogOptions {
    /// Wait for more until the container ends.
    pub follow: bool,
    /// Stdout.
    pub stdout: bool,
    /// Stderr.
    pub stderr: bool,
    /// Nanoseconds since 1970; 0 is the beginning.
    pub since: i128,
    /// Nanoseconds since 1970; 0 is no end.
    pub until: i128,
    /// RFC 3339 in front of each line.
    pub timestamps: bool,
    /// Labels, environment and tag in front of each line.
    pub details: bool,
    /// The last so many lines; `None` is all.
    pub tail: Option<u64>,
}

/// Bytes that are put together before they are sent.
const BATCH: usize = 64 * 1024;
/// Batches that wait for a slow client.
const AHEAD: usize = 4;

impl Engine {
    /// `GET /containers/{id}/logs`: frames (or raw bytes with a terminal), ready for the wire; the flag says whether it
    /// is a terminal's.
    pub async fn logs(&self, id: &str, options: LogOptions) -> Result<(mpsc::Receiver<Bytes>, bool), Error> {
        let container = self.inner.containers.find(id)?;
        let view = container.view();
        if !options.stdout && !options.stderr {
            return Err(Error::Invalid("Bad parameters: you must choose at least one stream".into()));
        }
        if matches!(view.state.phase, Phase::Removing | Phase::Dead) {
            let text = "can not get logs from container which is dead or marked for removal";
            return Err(Error::Conflict(text.into()));
        }
        let (path, format) = container.log_files(&view.record.host.log_config).ok_or_else(|| {
            Error::NotImplemented("configured logging driver does not support reading".into())
        })?;
        let time = |t: i128| u64::try_from(t).ok().filter(|t| *t > 0);
        let query = Query { tail: options.tail, since: time(options.since), until: time(options.until) };
        let follow = if options.follow && view.state.is_alive() {
            let directory = path.parent().unwrap_or(&container.places.logs);
            // The shim makes it too, but perhaps later.
            sys::file::create_dir_all(directory, 0o700)?;
            let changes = Changes::watch(directory)?;
            let changes = Polled::register(changes).map_err(|e| sys::Error::new("epoll", "log", e))?;
            Some((changes, container.watch()))
        } else {
            None
        };
        let tty = view.record.config.tty;
        let LogOptions { stdout, stderr, timestamps, details, .. } = options;
        let shape = Shape { tty, stdout, stderr, timestamps, details };
        let reader = blocking(move || Reader::open(&path, format, query)).await?;
        let (sender, receiver) = mpsc::channel(AHEAD);
        tokio::spawn(async move {
            // The status and headers are sent; a log that cannot be read on ends here.
            if let Err(error) = send_all(reader, shape, follow, sender).await {
                tracing::warn!("reading a log: {}", error.message());
            }
        });
        Ok((receiver, tty))
    }
}

type Follow = (AsyncFd<Polled<Changes>>, watch::Receiver<Arc<View>>);

async fn send_all(
    mut reader: Reader,
    shape: Shape,
    mut follow: Option<Follow>,
    sender: mpsc::Sender<Bytes>,
) -> Result<(), Error> {
    loop {
        // Asked before the read: what ended before it has all its lines in the files.
        let last = match &mut follow {
            None => true,
            Some((changes, view)) => {
                changes.get_mut().0.drain()?;
                let view = view.borrow();
                view.gone || !view.state.is_alive()
            }
        };
        loop {
            let (back, batch) = blocking(move || {
                let mut reader = reader;
                let batch = shape.batch(&mut reader);
                (reader, batch)
            })
            .await;
            reader = back;
            let (bytes, more) = batch?;
            if !bytes.is_empty() && sender.send(bytes.into()).await.is_err() {
                return Ok(());
            }
            if !more {
                break;
            }
        }
        let Some((changes, view)) = follow.as_mut().filter(|_| !last && !reader.is_done()) else {
            return Ok(());
        };
        let ended = view.wait_for(|v| v.gone || !v.state.is_alive());
        tokio::select! {
            () = sender.closed() => return Ok(()),
            _ = ended => {}
            ready = changes.readable_mut() => match ready {
                Ok(mut ready) => ready.clear_ready(),
                Err(error) => return Err(sys::Error::new("epoll", "log", error).into()),
            },
        }
    }
}

/// How entries become bytes.
#[derive(Debug, Clone, Copy)]
struct Shape {
    tty: bool,
    stdout: bool,
    stderr: bool,
    timestamps: bool,
    details: bool,
}

impl Shape {
    /// The next entries as bytes, and whether there may be more at once. Blocking.
    fn batch(&self, reader: &mut Reader) -> Result<(Vec<u8>, bool), Error> {
        let mut bytes = Vec::new();
        while bytes.len() < BATCH {
            match reader.next_entry()? {
                Some(entry) => self.write(&entry, &mut bytes),
                None => return Ok((bytes, false)),
            }
        }
        Ok((bytes, true))
    }

    fn write(&self, entry: &Entry, bytes: &mut Vec<u8>) {
        let wanted = if entry.stream == Stream::Stderr { self.stderr } else { self.stdout };
        if !wanted {
            return;
        }
        let mut head = String::new();
        if self.timestamps && entry.begins_line {
            head.push_str(&shim::log::time::format_fixed(entry.time));
            head.push(' ');
        }
        if self.details && entry.begins_line {
            write_details(&mut head, &entry.attrs);
        }
        let length = head.len() + entry.text.len();
        if !self.tty {
            // Entries are at most a piece of 16 KiB, a time and details.
            bytes.extend_from_slice(&entry.stream.header(u32::try_from(length).unwrap_or(u32::MAX)));
        }
        bytes.extend_from_slice(head.as_bytes());
        bytes.extend_from_slice(&entry.text);
    }
}

/// `key=value,key=value `, each escaped as in a URL's query: the original client reads them so.
fn write_details(head: &mut String, attrs: &BTreeMap<String, String>) {
    for (n, (key, value)) in attrs.iter().enumerate() {
        if n > 0 {
            head.push(',');
        }
        escape(head, key);
        head.push('=');
        escape(head, value);
    }
    head.push(' ');
}

fn escape(out: &mut String, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(byte.into()),
            b' ' => out.push('+'),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_become_frames_or_raw_bytes() {
        let entry = |stream, text: &str| Entry {
            stream,
            time: 1_500_000_000,
            text: text.into(),
            begins_line: true,
            attrs: BTreeMap::from([("k k".into(), "v=".into()), ("l".into(), "1".into())]),
        };
        let shape = Shape { tty: false, stdout: true, stderr: false, timestamps: false, details: false };
        let mut bytes = Vec::new();
        shape.write(&entry(Stream::Stdout, "hi\n"), &mut bytes);
        shape.write(&entry(Stream::Stderr, "no\n"), &mut bytes);
        assert_eq!(bytes, b"\x01\0\0\0\0\0\0\x03hi\n");
        let raw = Shape { tty: true, stdout: true, stderr: true, timestamps: true, details: true };
        let mut bytes = Vec::new();
        raw.write(&entry(Stream::Stdout, "hi\n"), &mut bytes);
        assert_eq!(bytes, b"1970-01-01T00:00:01.500000000Z k+k=v%3D,l=1 hi\n");
    }
}
