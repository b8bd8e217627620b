//! Save: images as a tar, sent as it is made.

use std::io::{self, Write};

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::{Engine, Error};

/// Bytes of one chunk.
const CHUNK: usize = 256 * 1024;
/// Chunks that wait for a slow client.
const AHEAD: usize = 4;

/// A writer whose chunks go to an async reader; it waits when the reader is slow, and fails when it is gone.
struct Chunks {
    buffer: Vec<u8>,
    sender: mpsc::Sender<Result<Bytes, Error>>,
}

impl Chunks {
    fn send(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let chunk = std::mem::replace(&mut self.buffer, Vec::with_capacity(CHUNK));
        self.sender.blocking_send(Ok(chunk.into())).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Write for Chunks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = CHUNK - self.buffer.len();
        let taken = bytes.len().min(room);
        self.buffer.extend_from_slice(&bytes[..taken]);
        if self.buffer.len() == CHUNK {
            self.send()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.send()
    }
}

impl Engine {
    /// A docker-archive of these images, as it is made.
    pub async fn save(&self, names: Vec<String>) -> Result<mpsc::Receiver<Result<Bytes, Error>>, Error> {
        if names.is_empty() {
            return Err(Error::Invalid("no image was named".into()));
        }
        let mut targets = Vec::new();
        for name in &names {
            targets.push((self.target(name)?.digest.to_string(), name.clone()));
        }
        let (sender, receiver) = mpsc::channel(AHEAD);
        let (inner, failed) = (self.inner.clone(), sender.clone());
        tokio::task::spawn_blocking(move || {
            let mut chunks = Chunks { buffer: Vec::with_capacity(CHUNK), sender };
            let saved = inner
                .store
                .save(&names, &mut chunks)
                .map_err(Error::from)
                .and_then(|()| chunks.flush().map_err(|e| sys::Error::new("write", "archive", e).into()));
            if let Err(error) = saved {
                // A client that has gone needs no error.
                drop(failed.blocking_send(Err(error)));
            }
        });
        for (id, name) in targets {
            self.image_event("save", &id, &name);
        }
        Ok(receiver)
    }
}
