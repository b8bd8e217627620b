//! gzip on all cores: pieces are deflated side by side, each a member of one stream (RFC 1952, section 2.2), which any
//! reader inflates. The same bytes give the same stream, however many cores there are.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use libdeflater::{CompressionLvl, Compressor};

/// Bytes that are deflated at once.
const PIECE: usize = 1 << 20;
/// Bytes by which a piece is tried: what does not shrink is stored, which costs next to nothing.
const SAMPLE: usize = 32 << 10;
/// Fast rather than small: a build step waits for it.
const LEVEL: i32 = 1;

/// Deflates what is written to it. To be ended with [`Gzip::finish`].
pub(crate) struct Gzip<W> {
    out: W,
    piece: Vec<u8>,
    /// From the second piece on.
    workers: Option<Workers>,
}

struct Workers {
    jobs: SyncSender<Job>,
    /// In the order of the pieces.
    results: VecDeque<Receiver<io::Result<Vec<u8>>>>,
    most: usize,
}

struct Job {
    piece: Vec<u8>,
    result: SyncSender<io::Result<Vec<u8>>>,
}

impl<W: Write> Gzip<W> {
    pub(crate) fn new(out: W) -> Self {
        Self { out, piece: Vec::new(), workers: None }
    }

    /// Ends the stream and returns what it was written to.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        match self.workers.take() {
            None => self.out.write_all(&deflate(&self.piece)?)?,
            Some(mut workers) => {
                workers.give(std::mem::take(&mut self.piece))?;
                while let Some(deflated) = workers.next()? {
                    self.out.write_all(&deflated)?;
                }
            }
        }
        Ok(self.out)
    }

    /// Gives a full piece away.
    fn give(&mut self) -> io::Result<()> {
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE));
        let workers = match &mut self.workers {
            Some(workers) => workers,
            None => self.workers.insert(Workers::start()?),
        };
        workers.give(piece)?;
        while workers.results.len() >= workers.most {
            if let Some(deflated) = workers.next()? {
                self.out.write_all(&deflated)?;
            }
        }
        Ok(())
    }
}

impl<W: Write> Write for Gzip<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.piece.len() == PIECE {
            self.give()?;
        }
        let taken = bytes.len().min(PIECE - self.piece.len());
        self.piece.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    /// Nothing: only the end of the stream ends a piece early.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Workers {
    fn start() -> io::Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(8);
        let (jobs, waiting) = sync_channel::<Job>(cores);
        let waiting = Arc::new(Mutex::new(waiting));
        for _ in 0..cores {
            let waiting = waiting.clone();
            // It ends when the sender of jobs is gone.
            std::thread::Builder::new().name("gzip".into()).spawn(move || {
                loop {
                    let job = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok(Job { piece, result }) = job else { return };
                    // Who asked may have failed meanwhile.
                    let _ = result.send(deflate(&piece));
                }
            })?;
        }
        Ok(Self { jobs, results: VecDeque::new(), most: 2 * cores })
    }

    fn give(&mut self, piece: Vec<u8>) -> io::Result<()> {
        let (result, deflated) = sync_channel(1);
        self.results.push_back(deflated);
        let gone = |_| io::Error::other("the threads that deflate are gone");
        self.jobs.send(Job { piece, result }).map_err(gone)
    }

    /// The next piece of the stream; `None` when there is none.
    fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        let Some(deflated) = self.results.pop_front() else { return Ok(None) };
        let gone = |_| io::Error::other("a thread that deflates is gone");
        deflated.recv().map_err(gone)?.map(Some)
    }
}

/// A member of the stream.
fn deflate(piece: &[u8]) -> io::Result<Vec<u8>> {
    let sample = &piece[..piece.len().min(SAMPLE)];
    let shrinks = piece.len() < SAMPLE || compress(sample, LEVEL)?.len() < SAMPLE - SAMPLE / 32;
    compress(piece, if shrinks { LEVEL } else { 0 })
}

fn compress(piece: &[u8], level: i32) -> io::Result<Vec<u8>> {
    let level = CompressionLvl::new(level).expect("both levels are ones that the library has");
    let mut compressor = Compressor::new(level);
    let mut out = vec![0; compressor.gzip_compress_bound(piece.len())];
    let length =
        compressor.gzip_compress(piece, &mut out).map_err(|error| io::Error::other(error.to_string()))?;
    out.truncate(length);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn what_goes_in_comes_out() {
        let mut state = 1_u64;
        let mut random = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        };
        let noise: Vec<u8> = (0..400_000).flat_map(|_| random()).collect();
        let text: Vec<u8> = b"the same again and again ".repeat(150_000);
        let pieces: [&[u8]; 8] = [
            b"",
            b"x",
            &noise[..PIECE],
            &noise,
            &text[..PIECE - 1],
            &text,
            &noise[..SAMPLE],
            &text[..PIECE + 1],
        ];
        for bytes in pieces {
            let mut gzip = Gzip::new(Vec::new());
            for part in bytes.chunks(70_001) {
                gzip.write_all(part).unwrap();
            }
            let packed = gzip.finish().unwrap();
            assert!(packed.len() <= bytes.len() + bytes.len() / 500 + 100);
            let mut back = Vec::new();
            flate2::read::MultiGzDecoder::new(&packed[..]).read_to_end(&mut back).unwrap();
            assert!(back == bytes, "{} bytes", bytes.len());
        }
    }
}
