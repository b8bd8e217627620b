//! Between connections, which are async, and tars, which are read and written by threads that may block.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Buf as _, Bytes};
use client::{Body, Upload, UploadWriter};
use tokio::sync::{mpsc, oneshot};

/// Chunks of a download between the connection and the thread that unpacks.
const QUEUE: usize = 8;

/// A download as something a thread can read; the future moves the chunks.
pub(crate) fn incoming(mut body: Body, counter: Arc<AtomicU64>) -> (Incoming, impl Future<Output = ()>) {
    let (queue, chunks) = mpsc::channel(QUEUE);
    let pump = async move {
        loop {
            let chunk = match body.chunk().await {
                Ok(Some(chunk)) => Ok(chunk),
                Ok(None) => return,
                Err(error) => Err(io::Error::other(error.to_string())),
            };
            if let Ok(chunk) = &chunk {
                counter.fetch_add(chunk.len() as u64, Ordering::Relaxed);
            }
            // A reader that went away has its reasons, and tells them.
            if queue.send(chunk).await.is_err() {
                return;
            }
        }
    };
    (Incoming { chunks, current: Bytes::new() }, pump)
}

/// A download, for a thread.
pub(crate) struct Incoming {
    chunks: mpsc::Receiver<io::Result<Bytes>>,
    current: Bytes,
}

impl Read for Incoming {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.chunks.blocking_recv() {
                Some(chunk) => self.current = chunk?,
                None => return Ok(0),
            }
        }
        let n = buffer.len().min(self.current.len());
        self.current.copy_to_slice(&mut buffer[..n]);
        Ok(n)
    }
}

/// An upload that a thread makes.
pub(crate) struct Outgoing {
    pub(crate) body: Upload,
    /// Why it broke off, if it did.
    pub(crate) failure: oneshot::Receiver<String>,
}

/// Makes an upload: the engine gets all of it, or learns that it did not.
pub(crate) fn outgoing(
    counter: Arc<AtomicU64>,
    make: impl FnOnce(&mut Counted) -> io::Result<()> + Send + 'static,
) -> Outgoing {
    let (writer, body) = Upload::new();
    let (failed, failure) = oneshot::channel();
    std::thread::spawn(move || {
        let mut counted = Counted { writer, counter };
        match make(&mut counted) {
            // An engine that hung up says why in its answer.
            Ok(()) => drop(counted.writer.finish()),
            Err(error) => {
                // Nobody listens any more if the engine refused first.
                let _ = failed.send(error.to_string());
                counted.writer.abort(error);
            }
        }
    });
    Outgoing { body, failure }
}

/// The end an upload is written to; its bytes are counted.
pub(crate) struct Counted {
    writer: UploadWriter,
    counter: Arc<AtomicU64>,
}

impl io::Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.writer.write(bytes)?;
        self.counter.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}
