//! A blob's bytes come in, in order. A connection that breaks is taken up where it broke; a large blob comes over several
//! connections at once, if the registry knows ranges.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, RANGE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use spec::api::Progress;
use spec::oci::image::Descriptor;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::flight::Teller;
use super::message::Answer;
use super::session::Session;
use crate::Error;

/// How often a client is told how far a download is.
const TICK: Duration = Duration::from_millis(100);
/// What comes over one of several connections, how many there are, and from what size on.
const SEGMENT: u64 = 4 << 20;
const CONNECTIONS: usize = 4;
const LARGE: u64 = 32 << 20;
/// Chunks of a segment that wait for their turn.
const WAITING: usize = 1024;

/// What comes through the channel. A channel that closes without an end was cut.
pub(crate) enum Part {
    Data(Bytes),
    End,
}

/// Where bytes go, in order, and who is told.
struct Sink<'t> {
    parts: mpsc::Sender<Part>,
    got: u64,
    blob: &'t Descriptor,
    teller: &'t Teller,
    told: Instant,
}

/// Nobody wants the bytes any more: the other end says why.
struct Unwanted;

impl Sink<'_> {
    async fn put(&mut self, chunk: Bytes) -> Result<(), Unwanted> {
        self.got += chunk.len() as u64;
        self.parts.send(Part::Data(chunk)).await.map_err(|_| Unwanted)?;
        if self.told.elapsed() >= TICK {
            self.told = Instant::now();
            self.teller.mention(self.line());
        }
        Ok(())
    }

    fn line(&self) -> Progress {
        Progress::of(self.blob.digest.short(), "Downloading").bytes(self.got, self.blob.size)
    }
}

/// Socket → channel, from the byte `from` on.
pub(crate) async fn download(
    session: &Arc<Session>,
    blob: &Descriptor,
    from: u64,
    parts: mpsc::Sender<Part>,
    teller: &Teller,
) -> Result<(), Error> {
    let mut sink = Sink { parts, got: from, blob, teller, told: Instant::now() };
    // A blob of nothing is asked for all the same: the registry must have it.
    if from < blob.size || blob.size == 0 {
        let received = if blob.size - from >= LARGE {
            segments(session, &mut sink).await
        } else {
            whole(session, &mut sink, None).await
        };
        match received {
            Ok(Ok(())) => {}
            Ok(Err(Unwanted)) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    teller.say(sink.line()).await;
    teller.say(Progress::of(blob.digest.short(), "Download complete")).await;
    // The other end says why it is gone.
    let _ = sink.parts.send(Part::End).await;
    Ok(())
}

/// All that is missing, over one connection at a time.
async fn whole(
    session: &Session,
    sink: &mut Sink<'_>,
    mut opened: Option<Answer>,
) -> Result<Result<(), Unwanted>, Error> {
    let (blob, teller) = (sink.blob, sink.teller);
    let mut patience = Patience::new(session, blob, teller);
    loop {
        let before = sink.got;
        let answer = match opened.take() {
            Some(answer) => Ok(answer),
            None => open(session, blob, sink.got..blob.size).await,
        };
        let failure = match answer {
            Ok(mut answer) => loop {
                match answer.chunk().await {
                    Ok(Some(chunk)) => {
                        if sink.got + chunk.len() as u64 > blob.size {
                            return Err(too_much(session, blob));
                        }
                        if let Err(unwanted) = sink.put(chunk).await {
                            return Ok(Err(unwanted));
                        }
                    }
                    Ok(None) if sink.got == blob.size => return Ok(Ok(())),
                    Ok(None) => break session.broke("the connection ended early"),
                    Err(error) => break error,
                }
            },
            Err(error) => error,
        };
        patience.try_again(sink.got, sink.got > before, failure).await?;
    }
}

/// All that is missing, in segments over several connections. The first one shows whether the registry knows ranges.
async fn segments(session: &Arc<Session>, sink: &mut Sink<'_>) -> Result<Result<(), Unwanted>, Error> {
    let blob = sink.blob;
    let segment = |from: u64| from..(from + SEGMENT).min(blob.size);
    let first = match open(session, blob, segment(sink.got)).await {
        Ok(answer) if answer.status == StatusCode::PARTIAL_CONTENT => answer,
        Ok(answer) => return whole(session, sink, Some(answer)).await,
        Err(error) if error.is_passing() => return whole(session, sink, None).await,
        Err(error) => return Err(error),
    };
    let mut first = Some(first);
    let mut next = sink.got;
    // Dropped, it ends its tasks.
    let mut tasks = JoinSet::new();
    let mut queue: VecDeque<(u64, mpsc::Receiver<Bytes>)> = VecDeque::new();
    while sink.got < blob.size {
        while queue.len() < CONNECTIONS && next < blob.size {
            let range = segment(next);
            next = range.end;
            let (sender, receiver) = mpsc::channel(WAITING);
            queue.push_back((range.end, receiver));
            let (session, blob, teller) = (Arc::clone(session), blob.clone(), sink.teller.clone());
            let opened = first.take();
            tasks.spawn(async move { stretch(&session, &blob, range, opened, &sender, &teller).await });
        }
        let (end, chunks) = queue.front_mut().expect("something is missing, so somebody fetches it");
        match chunks.recv().await {
            Some(chunk) => {
                if let Err(unwanted) = sink.put(chunk).await {
                    return Ok(Err(unwanted));
                }
            }
            None if sink.got == *end => drop(queue.pop_front()),
            None => {
                // Its task has failed; those that are still at work end with the set.
                while let Some(ended) = tasks.join_next().await {
                    ended.expect("a segment's task neither panics nor is aborted")?;
                }
                return Err(session.broke("a segment ended early"));
            }
        }
    }
    Ok(Ok(()))
}

/// One segment, with as many connections as it takes.
async fn stretch(
    session: &Session,
    blob: &Descriptor,
    range: Range<u64>,
    mut opened: Option<Answer>,
    out: &mpsc::Sender<Bytes>,
    teller: &Teller,
) -> Result<(), Error> {
    let mut patience = Patience::new(session, blob, teller);
    let mut got = range.start;
    while got < range.end {
        let before = got;
        let answer = match opened.take() {
            Some(answer) => Ok(answer),
            None => open(session, blob, got..range.end).await,
        };
        let failure = match answer {
            Ok(mut answer) => loop {
                match answer.chunk().await {
                    Ok(Some(chunk)) => {
                        // A registry that forgot about ranges sends more than this segment.
                        let wanted = usize::try_from(range.end - got).unwrap_or(usize::MAX);
                        let chunk = chunk.slice(..chunk.len().min(wanted));
                        got += chunk.len() as u64;
                        if !chunk.is_empty() && out.send(chunk).await.is_err() {
                            return Ok(());
                        }
                        if got == range.end && answer.status != StatusCode::PARTIAL_CONTENT {
                            return Ok(());
                        }
                    }
                    Ok(None) if got == range.end => return Ok(()),
                    Ok(None) => break session.broke("the connection ended early"),
                    Err(error) => break error,
                }
            },
            Err(error) => error,
        };
        patience.try_again(got, got > before, failure).await?;
    }
    Ok(())
}

/// How often a download that brings nothing is tried.
struct Patience<'a> {
    session: &'a Session,
    blob: &'a Descriptor,
    teller: &'a Teller,
    fruitless: u32,
}

impl<'a> Patience<'a> {
    fn new(session: &'a Session, blob: &'a Descriptor, teller: &'a Teller) -> Self {
        Self { session, blob, teller, fruitless: 0 }
    }

    /// Waits before the next try; several in a row that brought nothing are the end.
    async fn try_again(&mut self, got: u64, progress: bool, failure: Error) -> Result<(), Error> {
        if !failure.is_passing() {
            return Err(failure);
        }
        self.fruitless = if progress { 0 } else { self.fruitless + 1 };
        if self.fruitless >= self.session.attempts() {
            let Descriptor { digest, size, .. } = self.blob;
            return Err(failure.during(format!("blob {digest} broke off after {got} of {size} bytes")));
        }
        self.teller.say(Progress::of(self.blob.digest.short(), "Retrying")).await;
        tokio::time::sleep(pause(self.fruitless)).await;
        Ok(())
    }
}

/// The pause before try number `n`: doubles, up to some seconds.
pub(crate) fn pause(n: u32) -> Duration {
    Duration::from_millis(100 << n.min(6))
}

fn too_much(session: &Session, blob: &Descriptor) -> Error {
    session.protocol(format!("blob {} has more than its {} bytes", blob.digest, blob.size))
}

/// Some of a blob's bytes. A registry that knows no ranges sends what comes before them, and that is skipped; what comes
/// after them is up to the caller.
async fn open(session: &Session, blob: &Descriptor, range: Range<u64>) -> Result<Answer, Error> {
    let from = range.start;
    let mut headers = HeaderMap::new();
    if range != (0..blob.size) {
        let range = format!("bytes={from}-{}", range.end - 1);
        headers.insert(RANGE, HeaderValue::try_from(range).expect("digits are printable"));
    }
    let url = session.url(&format!("blobs/{}", blob.digest));
    let mut answer = session.get(Method::GET, &url, headers.clone()).await?;
    if answer.status == StatusCode::NOT_FOUND
        && let Some(elsewhere) = blob.urls.first()
    {
        // A layer that may not be handed on: only its address is in the registry.
        answer = session.elsewhere(elsewhere, headers).await?;
    }
    match answer.status {
        StatusCode::PARTIAL_CONTENT => {
            let got = answer.header(CONTENT_RANGE.as_str());
            let expected = format!("bytes {from}-{}/", range.end - 1);
            if !got.starts_with(&expected)
                || got[expected.len()..].parse().is_ok_and(|all: u64| all != blob.size)
            {
                let what = format!("another part of blob {} than asked for: {got}", blob.digest);
                return Err(session.protocol(format!("it sent {what}")));
            }
        }
        StatusCode::OK => {
            let length = answer.header(CONTENT_LENGTH.as_str()).parse::<u64>();
            if let Some(length) = length.ok().filter(|length| *length != blob.size) {
                let text = format!("blob {} has {length} bytes instead of {}", blob.digest, blob.size);
                return Err(session.protocol(text));
            }
            let mut skip = from;
            while skip > 0 {
                match answer.chunk().await? {
                    Some(chunk) if chunk.len() as u64 <= skip => skip -= chunk.len() as u64,
                    Some(chunk) => {
                        answer.push_back(chunk.slice(usize::try_from(skip).expect("less than a chunk")..));
                        skip = 0;
                    }
                    None => return Err(session.broke("the connection ended early")),
                }
            }
        }
        _ => return Err(session.failure(answer).await),
    }
    Ok(answer)
}
