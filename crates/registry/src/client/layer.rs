//! One layer comes in, in one pass: socket → bounded channel → one blocking thread that hashes and keeps the compressed
//! bytes while it inflates, hashes and unpacks them. A connection that breaks is taken up where it broke.

use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use http::header::{CONTENT_RANGE, RANGE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use spec::Digest;
use spec::api::Progress;
use spec::oci::image::Descriptor;
use store::{BlobWriter, ChainId, Store};
use tokio::sync::mpsc;

use super::message::Answer;
use super::pull::{blocking, say};
use super::session::Session;
use crate::Error;

/// How often a client is told how far a download is.
const TICK: Duration = Duration::from_millis(100);
/// Chunks between the socket and the disk.
const AHEAD: usize = 32;

/// A layer to have.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) blob: Descriptor,
    pub(crate) diff_id: Digest,
    pub(crate) parent: Option<ChainId>,
    pub(crate) chain: ChainId,
}

/// What comes through the channel. A channel that closes without an end was cut.
enum Part {
    Data(Bytes),
    End,
}

/// Makes sure that blob and unpacked layer are here.
pub(crate) async fn fetch(
    session: &Session,
    store: &Store,
    wanted: &Wanted,
    progress: &mpsc::Sender<Progress>,
) -> Result<(), Error> {
    let id = wanted.blob.digest.short();
    let has_blob = store.blob_size(&wanted.blob.digest).is_some();
    if has_blob && store.has_layer(&wanted.chain) {
        say(progress, Progress::of(&id, "Already exists")).await;
        return Ok(());
    }
    if has_blob {
        say(progress, Progress::of(&id, "Extracting")).await;
        let (store, wanted) = (store.clone(), wanted.clone());
        blocking(move || {
            let mut blob = store.blob(&wanted.blob.digest)?;
            store.unpack(&mut blob, wanted.parent.as_ref(), Some(wanted.diff_id))?;
            Ok(())
        })
        .await?;
    } else {
        let (parts, received) = mpsc::channel(AHEAD);
        let kept = {
            let (store, wanted) = (store.clone(), wanted.clone());
            tokio::spawn(blocking(move || keep(&store, &wanted, received)))
        };
        let downloaded = download(session, &wanted.blob, parts, progress).await;
        if downloaded.is_ok() {
            say(progress, Progress::of(&id, "Extracting").bytes(wanted.blob.size, wanted.blob.size)).await;
        }
        let kept = kept.await.expect("the store's work neither panics nor is aborted");
        // A download that failed cut the other end off. One that was not wanted any more ended well: the other end
        // says why.
        downloaded?;
        kept?;
    }
    say(progress, Progress::of(&id, "Pull complete")).await;
    Ok(())
}

/// Keeps the blob and unpacks it, from the same bytes.
fn keep(store: &Store, wanted: &Wanted, parts: mpsc::Receiver<Part>) -> Result<(), Error> {
    let mut tee = Tee { parts, chunk: Bytes::new(), ended: false, blob: store.blob_writer()? };
    let unpacked = if store.has_layer(&wanted.chain) {
        Ok(())
    } else {
        store.unpack(&mut tee, wanted.parent.as_ref(), Some(wanted.diff_id)).map(drop)
    };
    // Wrong bytes are told as such, not as the archive they seem to spoil: the blob's digest is judged first. A tar may be followed by padding, and a layer that is there already is not read at all.
    io::copy(&mut tee, &mut io::sink()).map_err(|source| store::Error::Io {
        step: "receive",
        path: wanted.blob.digest.to_string().into(),
        source,
    })?;
    tee.blob.commit(Some(wanted.blob.digest))?;
    Ok(unpacked?)
}

/// What is read from it has been written to the blob.
struct Tee {
    parts: mpsc::Receiver<Part>,
    chunk: Bytes,
    ended: bool,
    blob: BlobWriter,
}

impl Read for Tee {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() && !self.ended {
            match self.parts.blocking_recv() {
                Some(Part::Data(chunk)) => {
                    self.blob.write_all(&chunk)?;
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

/// Socket → channel, with as many connections as it takes; several that bring nothing in a row are the end.
async fn download(
    session: &Session,
    blob: &Descriptor,
    parts: mpsc::Sender<Part>,
    progress: &mpsc::Sender<Progress>,
) -> Result<(), Error> {
    let id = blob.digest.short();
    let (mut got, mut fruitless) = (0, 0);
    let mut told = Instant::now();
    while got < blob.size || blob.size == 0 {
        let before = got;
        let failure = match open(session, blob, got).await {
            Ok(mut answer) => loop {
                match answer.chunk().await {
                    Ok(Some(chunk)) => {
                        got += chunk.len() as u64;
                        if got > blob.size {
                            return Err(session.protocol(format!(
                                "blob {} has more than its {} bytes",
                                blob.digest, blob.size
                            )));
                        }
                        if parts.send(Part::Data(chunk)).await.is_err() {
                            // The other end says why.
                            return Ok(());
                        }
                        if told.elapsed() >= TICK {
                            told = Instant::now();
                            // A client that reads slowly misses a number, not a byte.
                            let _ = progress.try_send(Progress::of(&id, "Downloading").bytes(got, blob.size));
                        }
                    }
                    Ok(None) if got == blob.size => break None,
                    Ok(None) => break Some("the connection ended early".to_owned()),
                    Err(detail) => break Some(detail),
                }
            },
            Err(Error::Unreachable { detail, .. }) => Some(detail),
            Err(other) => return Err(other),
        };
        let Some(detail) = failure else { break };
        fruitless = if got > before { 0 } else { fruitless + 1 };
        if fruitless >= session.attempts() {
            return Err(Error::Unreachable {
                host: session.host().to_owned(),
                detail: format!(
                    "blob {} broke off after {got} of {} bytes: {detail}",
                    blob.digest, blob.size
                ),
            });
        }
        say(progress, Progress::of(&id, "Retrying")).await;
        tokio::time::sleep(Duration::from_millis(100 << fruitless)).await;
    }
    say(progress, Progress::of(&id, "Downloading").bytes(got, blob.size)).await;
    say(progress, Progress::of(&id, "Download complete")).await;
    // The other end says why it is gone.
    let _ = parts.send(Part::End).await;
    Ok(())
}

/// A blob's bytes from `from` on. A registry that knows no ranges sends what was there already once more.
async fn open(session: &Session, blob: &Descriptor, from: u64) -> Result<Answer, Error> {
    let url = session.url(&format!("blobs/{}", blob.digest));
    let mut headers = HeaderMap::new();
    if from > 0 {
        let range = format!("bytes={from}-");
        headers.insert(RANGE, HeaderValue::try_from(range).expect("digits are printable"));
    }
    let mut answer = session.get(Method::GET, &url, headers).await?;
    match answer.status {
        StatusCode::PARTIAL_CONTENT
            if answer.header(CONTENT_RANGE.as_str()).starts_with(&format!("bytes {from}-")) => {}
        StatusCode::OK => {
            let mut skip = from;
            while skip > 0 {
                let unreachable = |detail| Error::Unreachable { host: session.host().to_owned(), detail };
                match answer.chunk().await.map_err(unreachable)? {
                    Some(chunk) if chunk.len() as u64 <= skip => skip -= chunk.len() as u64,
                    Some(chunk) => {
                        answer.push_back(chunk.slice(usize::try_from(skip).expect("less than a chunk")..));
                        skip = 0;
                    }
                    None => return Err(unreachable("the connection ended early".into())),
                }
            }
        }
        StatusCode::PARTIAL_CONTENT => {
            return Err(
                session.protocol(format!("it sent another part of blob {} than asked for", blob.digest))
            );
        }
        _ => return Err(session.failure(answer).await),
    }
    Ok(answer)
}
