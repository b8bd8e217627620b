//! Bytes made by blocking work, sent as they are made.

use std::io::{self, Write};

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::Error;

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

/// Starts `work` on a blocking thread and returns what it writes. Its failure is the last item. When nobody reads any
/// more, its next write fails.
pub(crate) fn made_by(
    work: impl FnOnce(&mut dyn Write) -> Result<(), Error> + Send + 'static,
) -> mpsc::Receiver<Result<Bytes, Error>> {
    let (sender, receiver) = mpsc::channel(AHEAD);
    let failed = sender.clone();
    tokio::task::spawn_blocking(move || {
        let mut chunks = Chunks { buffer: Vec::with_capacity(CHUNK), sender };
        let made = work(&mut chunks)
            .and_then(|()| chunks.flush().map_err(|e| sys::Error::new("write", "archive", e).into()));
        if let Err(error) = made {
            // A client that has gone needs no error.
            drop(failed.blocking_send(Err(error)));
        }
    });
    receiver
}
