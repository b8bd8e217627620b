//! gzip on all cores: pieces are deflated side by side and follow each other in one stream (RFC 1952), which any
//! reader inflates. The same bytes give the same stream, however many cores there are.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use flate2::{Compress, Compression, Crc, FlushCompress, Status};

/// Bytes that are deflated at once.
const PIECE: usize = 1 << 20;
/// Bytes by which a piece is tried: what does not shrink is stored, which costs next to nothing.
const SAMPLE: usize = 32 << 10;
/// Fast rather than small: a build step waits for it.
const LEVEL: u32 = 3;
/// Magic, deflate, no flags, no time, unknown system.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
/// An empty last block.
const END: [u8; 2] = [3, 0];

/// Deflates what is written to it. To be ended with [`Gzip::finish`].
pub(crate) struct Gzip<W> {
    out: W,
    piece: Vec<u8>,
    crc: Crc,
    /// From the second piece on.
    workers: Option<Workers>,
    begun: bool,
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
        Self { out, piece: Vec::new(), crc: Crc::new(), workers: None, begun: false }
    }

    /// Ends the stream and returns what it was written to.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.begin()?;
        match self.workers.take() {
            None => self.out.write_all(&deflate(&self.piece)?)?,
            Some(mut workers) => {
                workers.give(std::mem::take(&mut self.piece))?;
                while let Some(deflated) = workers.next()? {
                    self.out.write_all(&deflated)?;
                }
            }
        }
        self.out.write_all(&END)?;
        self.out.write_all(&self.crc.sum().to_le_bytes())?;
        self.out.write_all(&self.crc.amount().to_le_bytes())?;
        Ok(self.out)
    }

    fn begin(&mut self) -> io::Result<()> {
        if !std::mem::replace(&mut self.begun, true) {
            self.out.write_all(&HEADER)?;
        }
        Ok(())
    }

    /// Gives a full piece away.
    fn give(&mut self) -> io::Result<()> {
        self.begin()?;
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
        self.crc.update(&bytes[..taken]);
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

/// Whole blocks that end at a byte, none of them the last.
fn deflate(piece: &[u8]) -> io::Result<Vec<u8>> {
    let sample = &piece[..piece.len().min(SAMPLE)];
    let shrinks = piece.len() < SAMPLE || compress(sample, LEVEL)?.len() < SAMPLE - SAMPLE / 32;
    compress(piece, if shrinks { LEVEL } else { 0 })
}

fn compress(piece: &[u8], level: u32) -> io::Result<Vec<u8>> {
    let mut deflater = Compress::new(Compression::new(level), false);
    // Stored blocks have five bytes each, and hold 16 KiB at least.
    let mut out = Vec::with_capacity(piece.len() + piece.len() / 1024 + 64);
    loop {
        let read = usize::try_from(deflater.total_in()).unwrap_or(usize::MAX);
        let status =
            deflater.compress_vec(&piece[read..], &mut out, FlushCompress::Sync).map_err(io::Error::other)?;
        let done = usize::try_from(deflater.total_in()).is_ok_and(|read| read == piece.len());
        if done && out.len() < out.capacity() {
            return Ok(out);
        }
        if status == Status::StreamEnd {
            return Err(io::Error::other("a deflate stream ended before its end"));
        }
        out.reserve(out.capacity().max(1024));
    }
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
            flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut back).unwrap();
            assert!(back == bytes, "{} bytes", bytes.len());
        }
    }
}
