//! One layer (or another blob) comes in, in one pass: socket → bounded channel → one blocking thread that hashes and keeps the compressed
//! bytes while it inflates, hashes and unpacks them. What an earlier try has left on disk comes first.

use std::io::{self, Read, Write};

use bytes::{Buf, Bytes};
use spec::Digest;
use spec::api::Progress;
use spec::oci::image::Descriptor;
use store::{ChainId, Partial, Store};
use tokio::sync::{Semaphore, mpsc};

use super::download::{Part, download};
use super::flight::{Flight, Teller};
use super::pull::blocking;
use super::sources::Sources;
use crate::Error;

/// Chunks between the socket and the disk.
const AHEAD: usize = 32;

/// A blob to have.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) blob: Descriptor,
    /// What is unpacked from it; `None` where the blob is all that is wanted.
    pub(crate) layer: Option<Layer>,
}

/// A layer to have.
#[derive(Debug, Clone)]
pub(crate) struct Layer {
    pub(crate) diff_id: Digest,
    pub(crate) parent: Option<ChainId>,
    pub(crate) chain: ChainId,
}

impl Wanted {
    /// The layer that has to be unpacked yet.
    fn missing_layer(&self, store: &Store) -> Option<&Layer> {
        self.layer.as_ref().filter(|layer| !store.has_layer(&layer.chain))
    }
}

impl Layer {
    fn unpack(&self, store: &Store, from: &mut (dyn Read + Send)) -> Result<(), store::Error> {
        store.unpack(from, self.parent.as_ref(), Some(self.diff_id)).map(drop)
    }
}

/// Makes sure that blob and unpacked layer are here.
pub(crate) async fn fetch(
    sources: &Sources,
    store: &Store,
    wanted: &Wanted,
    flight: &Flight,
    slots: &Semaphore,
    progress: &mpsc::Sender<Progress>,
) -> Result<(), Error> {
    let id = wanted.blob.digest.short();
    let (_turn, watched) = flight.turn(progress).await;
    let _slot = slots.acquire().await.expect("it is never closed");
    let teller = flight.teller(progress);
    let has_blob = store.blob_size(&wanted.blob.digest).is_some();
    let missing = wanted.missing_layer(store);
    if has_blob && missing.is_none() {
        if watched.and_then(|line| line.status).is_none_or(|status| status != "Pull complete") {
            teller.say(Progress::of(&id, "Already exists")).await;
        }
        return Ok(());
    }
    if let (true, Some(layer)) = (has_blob, missing) {
        teller.say(Progress::of(&id, "Extracting")).await;
        let (store, layer, digest) = (store.clone(), layer.clone(), wanted.blob.digest);
        blocking(move || {
            let mut blob = store.blob(&digest)?;
            Ok(layer.unpack(&store, &mut blob)?)
        })
        .await?;
    } else {
        receive(sources, store, wanted, &teller).await?;
    }
    teller.say(Progress::of(&id, "Pull complete")).await;
    Ok(())
}

/// From the first source that has it whole. The next one goes on where the one before broke off.
async fn receive(sources: &Sources, store: &Store, wanted: &Wanted, teller: &Teller) -> Result<(), Error> {
    let digest = wanted.blob.digest;
    let mut resumed = true;
    let mut number = 0;
    loop {
        let received = match sources.get(number).await {
            Ok(session) => receive_from(&session, store, wanted, teller, &mut resumed).await,
            Err(error) => Err(error),
        };
        let error = match received {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        let wrong = matches!(&error, Error::Store(store::Error::DigestMismatch { expected, .. }) if *expected == digest);
        if wrong && resumed {
            // The bytes from before may be what is wrong. They are gone now.
            resumed = false;
            continue;
        }
        number += 1;
        let ours = matches!(error, Error::Store(_)) && !wrong;
        if ours || number == sources.len() {
            if !error.is_passing() {
                let store = store.clone();
                blocking(move || Ok(store.discard_partial(&digest)?)).await?;
            }
            return Err(error);
        }
        sources.pass_over(number - 1, &error);
    }
}

async fn receive_from(
    session: &std::sync::Arc<super::session::Session>,
    store: &Store,
    wanted: &Wanted,
    teller: &Teller,
    resumed: &mut bool,
) -> Result<(), Error> {
    let size = wanted.blob.size;
    let partial = {
        let (store, digest) = (store.clone(), wanted.blob.digest);
        blocking(move || {
            let mut partial = store.partial(&digest)?;
            if partial.stored() > size {
                partial.restart()?;
            }
            Ok(partial)
        })
        .await?
    };
    let stored = partial.stored();
    *resumed &= stored > 0;
    let (parts, received) = mpsc::channel(AHEAD);
    let kept = {
        let (store, wanted) = (store.clone(), wanted.clone());
        tokio::spawn(blocking(move || keep(&store, &wanted, partial, received)))
    };
    let downloaded = download(session, &wanted.blob, stored, parts, teller).await;
    if downloaded.is_ok() {
        teller.say(Progress::of(wanted.blob.digest.short(), "Extracting").bytes(size, size)).await;
    }
    let kept = kept.await.expect("the store's work neither panics nor is aborted");
    // A download that failed cut the other end off. One that was not wanted any more ended well: the other end
    // says why.
    downloaded?;
    kept
}

/// Keeps the blob and unpacks it, from the same bytes.
fn keep(store: &Store, wanted: &Wanted, partial: Partial, parts: mpsc::Receiver<Part>) -> Result<(), Error> {
    let mut tee = Tee { parts, chunk: Bytes::new(), ended: false, unwritten: None, partial };
    let mut unpacked = Ok(());
    if let Some(layer) = wanted.missing_layer(store) {
        unpacked = layer.unpack(store, &mut tee);
    }
    // Wrong bytes are told as such, not as the archive they seem to spoil: the blob's digest is judged first. A tar may
    // be followed by padding, and a layer that is there already is not read at all.
    let received = match unpacked {
        Err(store::Error::Io { .. }) => Ok(0),
        _ if tee.unwritten.is_some() => Ok(0),
        _ => io::copy(&mut tee, &mut io::sink()),
    };
    let failed =
        |step, source| store::Error::Io { step, path: wanted.blob.digest.to_string().into(), source };
    if let Some(source) = tee.unwritten.take() {
        // What is here only fills the disk that is at fault.
        tee.partial.discard();
        return Err(failed("write", source).into());
    }
    if matches!(unpacked, Err(store::Error::Io { .. })) {
        tee.partial.discard();
        return Ok(unpacked?);
    }
    received.map_err(|source| failed("receive", source))?;
    tee.partial.commit()?;
    Ok(unpacked?)
}

/// What is read from it is in the blob.
struct Tee {
    parts: mpsc::Receiver<Part>,
    chunk: Bytes,
    ended: bool,
    /// Why the blob could not be written.
    unwritten: Option<io::Error>,
    partial: Partial,
}

impl Read for Tee {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        match self.partial.read(buffer)? {
            0 => {}
            n => return Ok(n),
        }
        while self.chunk.is_empty() && !self.ended {
            match self.parts.blocking_recv() {
                Some(Part::Data(chunk)) => {
                    if let Err(error) = self.partial.write_all(&chunk) {
                        self.unwritten = Some(error);
                        return Err(io::Error::other("the blob cannot be written"));
                    }
                    self.chunk = chunk;
                }
                Some(Part::End) => self.ended = true,
                None => {
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the download was cut off"));
                }
            }
        }
        let n = self.chunk.len().min(buffer.len());
        buffer[..n].copy_from_slice(&self.chunk[..n]);
        self.chunk.advance(n);
        Ok(n)
    }
}
