//! Images become layers: several at once, and each with two threads: one inflates, one hashes and unpacks.

use std::collections::HashSet;
use std::io::{self, Read};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use spec::Digest;
use spec::oci::image::Descriptor;

use crate::compression::Inflated;
use crate::error::{Error, Result};
use crate::image::Image;
use crate::layer::ChainId;
use crate::{Store, lock};

/// Inflated bytes handed over at once, and pieces in flight.
const PIECE: usize = 256 << 10;
const AHEAD: usize = 4;

/// How far [`Store::unpack_images`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A layer (its blob, and how large that is) is being unpacked.
    Begun(Digest, u64),
    /// It is there.
    Done(Digest, u64),
}

/// A layer to unpack.
struct Job {
    blob: Descriptor,
    parent: Option<ChainId>,
    diff_id: Digest,
}

impl Store {
    /// Unpacks those layers of an image that are not unpacked yet, from their blobs.
    ///
    /// # Errors
    /// As [`Store::unpack`]; [`Error::NoBlob`] when a layer's blob is not here.
    pub fn unpack_image(&self, image: &Image) -> Result<Option<ChainId>> {
        self.unpack_images(std::slice::from_ref(image), &|_| ())?;
        Ok(image.chain)
    }

    /// The same for several images, on all processors; `told` hears of each layer, from any thread.
    ///
    /// # Errors
    /// As [`Store::unpack_image`]; layers that were whole by then stay, until they are collected.
    pub fn unpack_images(&self, images: &[Image], told: &(dyn Fn(Step) + Sync)) -> Result<()> {
        let mut jobs = self.jobs(images)?;
        // The largest first, so that none of them is alone at the end.
        jobs.sort_by_key(|job| std::cmp::Reverse(job.blob.size));
        on_all_processors(&jobs, |job| self.unpack_job(job, told)).map(drop)
    }

    /// Unpacks those of the chains that some of the images have and that are not unpacked; how many.
    pub(crate) fn unpack_chains(&self, images: &[Image], chains: &HashSet<ChainId>) -> Result<usize> {
        let mut jobs = self.jobs(images)?;
        jobs.retain(|job| chains.contains(&ChainId::on(job.parent.as_ref(), job.diff_id)));
        on_all_processors(&jobs, |job| self.unpack_job(job, &|_| ()))?;
        Ok(jobs.len())
    }

    fn jobs(&self, images: &[Image]) -> Result<Vec<Job>> {
        let mut jobs = Vec::new();
        let mut seen = HashSet::new();
        for image in images {
            let (layers, diff_ids) = (&image.manifest.layers, &image.config.rootfs.diff_ids);
            if layers.len() != diff_ids.len() {
                return Err(Error::Invalid(format!(
                    "image {} has {} layers but {} diff ids",
                    image.target.digest,
                    layers.len(),
                    diff_ids.len()
                )));
            }
            let mut parent = None;
            for (blob, diff_id) in layers.iter().zip(diff_ids) {
                let chain = ChainId::on(parent.as_ref(), *diff_id);
                if !self.has_layer(&chain) && seen.insert(chain) {
                    jobs.push(Job { blob: blob.clone(), parent, diff_id: *diff_id });
                }
                parent = Some(chain);
            }
        }
        Ok(jobs)
    }

    fn unpack_job(&self, job: &Job, told: &(dyn Fn(Step) + Sync)) -> Result<()> {
        told(Step::Begun(job.blob.digest, job.blob.size));
        let mut blob = self.blob(&job.blob.digest)?;
        self.unpack(&mut blob, job.parent.as_ref(), Some(job.diff_id))
            .map_err(|source| Error::Layer { blob: job.blob.digest, source: Box::new(source) })?;
        told(Step::Done(job.blob.digest, job.blob.size));
        Ok(())
    }
}

/// Does one thing for each of several, as many at once as there are processors; the results in their order. After a
/// failure nothing more is begun.
///
/// # Errors
/// The first failure.
pub fn on_all_processors<J: Sync, T: Send, E: Send>(
    jobs: &[J],
    work: impl Fn(&J) -> std::result::Result<T, E> + Sync,
) -> std::result::Result<Vec<T>, E> {
    let next = AtomicUsize::new(0);
    let results: Mutex<Vec<Option<T>>> = Mutex::new(jobs.iter().map(|_| None).collect());
    let failure = Mutex::new(None);
    let worker = || {
        while lock(&failure).is_none() {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(job) = jobs.get(number) else { return };
            match work(job) {
                Ok(result) => lock(&results)[number] = Some(result),
                Err(e) => drop(lock(&failure).get_or_insert(e)),
            }
        }
    };
    let workers = std::thread::available_parallelism().map_or(1, usize::from).min(jobs.len());
    std::thread::scope(|scope| {
        for _ in 1..workers {
            scope.spawn(worker);
        }
        worker();
    });
    if let Some(failed) = lock(&failure).take() {
        return Err(failed);
    }
    let results = std::mem::take(&mut *lock(&results));
    Ok(results.into_iter().flatten().collect())
}

/// Gives the inflated stream of `source` to `consume`, made ahead by a thread of its own.
pub(crate) fn inflated<T>(
    source: &mut (dyn Read + Send),
    consume: impl FnOnce(&mut dyn Read) -> Result<T>,
) -> Result<T> {
    let (full, pieces) = sync_channel(AHEAD);
    let (empty, spare) = sync_channel(AHEAD + 2);
    std::thread::scope(|scope| {
        scope.spawn(move || make_pieces(source, &full, &spare));
        // Dropped at its end, so that the other thread ends too.
        consume(&mut Pieces { pieces, empty, piece: Vec::new(), at: 0 })
    })
}

type Piece = io::Result<Vec<u8>>;

fn make_pieces(source: &mut (dyn Read + Send), full: &SyncSender<Piece>, spare: &Receiver<Vec<u8>>) {
    let made = Inflated::new(source).and_then(|(_, mut inflated)| {
        loop {
            let mut piece = spare.try_recv().unwrap_or_default();
            piece.resize(PIECE, 0);
            let n = fill(&mut inflated, &mut piece)?;
            piece.truncate(n);
            // An empty piece is the end; a reader that has gone wants no more.
            if full.send(Ok(piece)).is_err() || n == 0 {
                return Ok(());
            }
        }
    });
    if let Err(error) = made {
        // As above.
        let _ = full.send(Err(error));
    }
}

/// Reads until the buffer is full or the source at its end.
fn fill(source: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match source.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}

/// The reading end.
struct Pieces {
    pieces: Receiver<Piece>,
    empty: SyncSender<Vec<u8>>,
    piece: Vec<u8>,
    at: usize,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.piece.len() {
            // Nobody is left to send: the end was read before, or a failure.
            let Ok(next) = self.pieces.recv() else { return Ok(0) };
            let read = std::mem::replace(&mut self.piece, next?);
            self.at = 0;
            // Only to be used again: the other end may have gone.
            let _ = self.empty.try_send(read);
        }
        let n = buffer.len().min(self.piece.len() - self.at);
        buffer[..n].copy_from_slice(&self.piece[self.at..self.at + n]);
        self.at += n;
        Ok(n)
    }
}
