//! gzip on all cores: pieces are deflated side by side, each a member of one stream (RFC 1952, section 2.2), which any
//! reader inflates. The same bytes give the same stream, however many cores there are.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use libdeflater::{CompressionLvl, Compressor};

/// Bytes that are deflated at once.
const PIECE: usize = 1 << 20;
/// Bytes that are looked at together: enough to tell noise (what is compressed already, keys, random data) from all else.
const BLOCK: usize = 512;
/// One block of so many is looked at, where the one before was not noise.
const STRIDE: usize = 4;
/// So much noise is stored as it is, as a member of its own. To deflate it takes longer than anything else, for nothing.
const NOISE: usize = 4 << 10;
/// Fast rather than small: a build step waits for it.
const LEVEL: i32 = 1;
/// The hardest that zlib knows; the library goes further.
const MAX_LEVEL: i32 = 9;

/// Deflates what is written to it. To be ended with [`Gzip::finish`].
pub(crate) struct Gzip<W> {
    out: W,
    piece: Vec<u8>,
    level: i32,
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
        Self::with_level(out, None)
    }

    /// As hard as zlib's level (0 to 9) says.
    pub(crate) fn with_level(out: W, level: Option<i32>) -> Self {
        let level = level.unwrap_or(LEVEL).clamp(0, MAX_LEVEL);
        Self { out, piece: Vec::new(), level, workers: None }
    }

    /// Ends the stream and returns what it was written to.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        match self.workers.take() {
            None => self.out.write_all(&Deflater::new(self.level).piece(&self.piece)?)?,
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
            None => self.workers.insert(Workers::start(self.level)?),
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
    fn start(level: i32) -> io::Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(8);
        let (jobs, waiting) = sync_channel::<Job>(cores);
        let waiting = Arc::new(Mutex::new(waiting));
        for _ in 0..cores {
            let waiting = waiting.clone();
            // It ends when the sender of jobs is gone.
            std::thread::Builder::new().name("gzip".into()).spawn(move || {
                let mut deflater = Deflater::new(level);
                loop {
                    let job = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok(Job { piece, result }) = job else { return };
                    // Who asked may have failed meanwhile.
                    let _ = result.send(deflater.piece(&piece));
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

/// Makes members of the stream.
struct Deflater {
    packs: Compressor,
    stores: Compressor,
}

impl Deflater {
    fn new(level: i32) -> Self {
        let compressor =
            |level| Compressor::new(CompressionLvl::new(level).expect("the library has levels 0 to 12"));
        Self { packs: compressor(level), stores: compressor(0) }
    }

    /// One member, or several where a part of the piece does not shrink.
    fn piece(&mut self, piece: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        let mut rest = piece;
        loop {
            let (noisy, length) = run(rest);
            let (part, after) = rest.split_at(length);
            let compressor = if noisy { &mut self.stores } else { &mut self.packs };
            let start = out.len();
            out.resize(start + compressor.gzip_compress_bound(part.len()), 0);
            let length = compressor
                .gzip_compress(part, &mut out[start..])
                .map_err(|error| io::Error::other(error.to_string()))?;
            out.truncate(start + length);
            rest = after;
            if rest.is_empty() {
                return Ok(out);
            }
        }
    }
}

/// What the bytes begin with: whether it is noise, and how much of it there is.
fn run(bytes: &[u8]) -> (bool, usize) {
    let noise_at = |at: usize| bytes.get(at..at + BLOCK).is_some_and(is_noise);
    let mut at = 0;
    while at < bytes.len() {
        if !noise_at(at) {
            at += STRIDE * BLOCK;
            continue;
        }
        let mut start = at;
        while start > at.saturating_sub((STRIDE - 1) * BLOCK) && noise_at(start - BLOCK) {
            start -= BLOCK;
        }
        let mut end = at + BLOCK;
        while noise_at(end) {
            end += BLOCK;
        }
        if end - start >= NOISE {
            return if start == 0 { (true, end) } else { (false, start) };
        }
        at = end + BLOCK;
    }
    (false, bytes.len())
}

/// Whether all values are about equally frequent, as Pearson's chi-squared test has it: for noise it gives 255 and
/// seldom 320, for base64 1500, for a program 3000, for text 8000.
fn is_noise(block: &[u8]) -> bool {
    let mut counts = [0_u16; 256];
    for byte in block {
        counts[usize::from(*byte)] += 1;
    }
    let squares: u32 = counts.iter().map(|count| u32::from(*count) * u32::from(*count)).sum();
    // The sum of (count - expected)² / expected, without divisions.
    256 * squares < (BLOCK * (BLOCK + 2 * 256)) as u32
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
        let mixed: Vec<u8> =
            noise.chunks(5000).flat_map(|part| [part, &text[..part.len() * 2 / 3]].concat()).collect();
        let pieces: [&[u8]; 9] = [
            b"",
            b"x",
            &noise[..PIECE],
            &noise,
            &text[..PIECE - 1],
            &text,
            &noise[..BLOCK],
            &mixed,
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
