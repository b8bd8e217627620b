//! What the client hears: the classic builder's lines in their order, or what happens to vertices as it happens.
//!
//! Vertices run side by side, but the classic stream is one step after the other. So each vertex writes into its own
//! page of a journal, and a reader turns the pages in the order of the Dockerfile.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use spec::Digest;
use spec::api::{BUILD_EVENT, BuildEvent, Progress};
use tokio::sync::mpsc::Sender;
use tokio::sync::{Notify, mpsc};

use crate::error::{Error, Result};
use crate::graph::Vertex;

/// What a page keeps while another one is read.
const PAGE: usize = 4 << 20;
/// How long a writer waits before it looks whether its reader has gone.
const LOOK: std::time::Duration = std::time::Duration::from_millis(200);
/// BuildKit's words for the same.
const CLIPPED: &str = "[output clipped, log limit 4MiB reached]\n";

/// The way to the client.
#[derive(Debug, Clone)]
pub(crate) struct Output {
    sender: Sender<Progress>,
    quiet: bool,
    /// Vertices instead of lines.
    events: bool,
    journal: Arc<Journal>,
}

#[derive(Debug, Default)]
struct Journal {
    pages: Mutex<Pages>,
    written: Notify,
    room: Condvar,
}

#[derive(Debug, Default)]
struct Pages {
    pages: HashMap<Digest, Page>,
    /// The page that is read: its writer waits for the reader, others do not.
    open: Option<Digest>,
}

#[derive(Debug, Default)]
struct Page {
    text: String,
    clipped: bool,
    /// The container it runs in.
    container: Option<String>,
    /// Whether the cache had it; `None` while it runs.
    ended: Option<End>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Done { cached: bool },
    Failed,
}

/// What is new on a page.
pub(crate) enum News {
    /// A container was started.
    Container(String),
    /// It wrote something.
    Text(String),
    /// It is done.
    Done { cached: bool },
    /// It failed, or was cancelled.
    Failed,
}

impl Output {
    /// To this channel; `quiet` drops everything but the last line.
    pub(crate) fn new(sender: Sender<Progress>, quiet: bool, events: bool) -> Self {
        Self { sender, quiet, events, journal: Arc::default() }
    }

    /// A line of the classic stream.
    pub(crate) async fn line(&self, text: impl Into<String>) -> Result<()> {
        let mut text = text.into();
        text.push('\n');
        self.text(text).await
    }

    /// A piece of the classic stream.
    pub(crate) async fn text(&self, text: String) -> Result<()> {
        if self.quiet || self.events { Ok(()) } else { self.send(Progress::stream(text)).await }
    }

    /// A line about the build as a whole: in the classic stream, and for those who want events.
    pub(crate) async fn summary(&self, text: String) -> Result<()> {
        self.line(text.clone()).await?;
        self.event(BuildEvent { log: text + "\n", ..BuildEvent::default() }).await
    }

    /// The result: always sent.
    pub(crate) async fn send(&self, progress: Progress) -> Result<()> {
        self.sender.send(progress).await.map_err(|_| Error::Cancelled)
    }

    /// An event, for those who want them.
    pub(crate) async fn event(&self, event: BuildEvent) -> Result<()> {
        if self.events { self.send(progress(event)).await } else { Ok(()) }
    }

    /// The same from a thread that may wait.
    pub(crate) fn blocking_event(&self, event: BuildEvent) -> Result<()> {
        if !self.events {
            return Ok(());
        }
        self.sender.blocking_send(progress(event)).map_err(|_| Error::Cancelled)
    }

    /// A piece of an output, from a thread that may wait.
    pub(crate) fn data(&self, number: usize, bytes: &[u8]) -> Result<()> {
        let data = base64::engine::general_purpose::STANDARD.encode(bytes);
        self.blocking_event(BuildEvent { data, output: Some(number), ..BuildEvent::default() })
    }

    /// A vertex is worked on.
    pub(crate) async fn started(&self, vertex: &Vertex) -> Result<()> {
        self.event(BuildEvent { vertex: vertex.digest.to_string(), started: now(), ..BuildEvent::default() })
            .await
    }

    /// A vertex runs in a container.
    pub(crate) fn runs_in(&self, vertex: &Digest, container: &str) {
        self.journal.lock().pages.entry(*vertex).or_default().container = Some(container.to_owned());
        self.journal.written.notify_waiters();
    }

    /// A vertex is done.
    pub(crate) async fn done(&self, vertex: &Vertex, cached: bool) -> Result<()> {
        self.end(&vertex.digest, End::Done { cached });
        self.event(BuildEvent {
            vertex: vertex.digest.to_string(),
            completed: now(),
            cached,
            ..BuildEvent::default()
        })
        .await
    }

    /// A vertex failed.
    pub(crate) async fn failed(&self, vertex: &Vertex, error: &Error) -> Result<()> {
        self.end(&vertex.digest, End::Failed);
        self.event(BuildEvent {
            vertex: vertex.digest.to_string(),
            completed: now(),
            error: error.text(),
            ..BuildEvent::default()
        })
        .await
    }

    /// A vertex will not be worked on: something that it needs failed.
    pub(crate) fn skipped(&self, vertex: &Vertex) {
        self.end(&vertex.digest, End::Failed);
    }

    fn end(&self, vertex: &Digest, end: End) {
        self.journal.lock().pages.entry(*vertex).or_default().ended = Some(end);
        self.journal.written.notify_waiters();
    }

    /// A piece of a vertex's output, from a thread that may wait.
    pub(crate) fn log(&self, vertex: &Digest, text: String) -> Result<()> {
        if self.events {
            let event = BuildEvent { vertex: vertex.to_string(), log: text, ..BuildEvent::default() };
            return self.blocking_event(event);
        }
        if self.quiet {
            return if self.sender.is_closed() { Err(Error::Cancelled) } else { Ok(()) };
        }
        let mut pages = self.journal.lock();
        loop {
            if self.sender.is_closed() {
                return Err(Error::Cancelled);
            }
            let open = pages.open == Some(*vertex);
            let page = pages.pages.entry(*vertex).or_default();
            if page.text.len() + text.len() <= PAGE {
                page.text.push_str(&text);
                break;
            }
            if !open {
                if !std::mem::replace(&mut page.clipped, true) {
                    page.text.push_str(CLIPPED);
                }
                break;
            }
            // Now and then it is looked whether anybody still reads.
            let waited = self.journal.room.wait_timeout(pages, LOOK);
            pages = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(pages);
        self.journal.written.notify_waiters();
        Ok(())
    }

    /// What is new on a vertex's page; waits until something is. After its end, the end again.
    pub(crate) async fn news(&self, vertex: &Digest) -> News {
        loop {
            let written = self.journal.written.notified();
            tokio::pin!(written);
            written.as_mut().enable();
            if let Some(news) = self.journal.take(vertex) {
                return news;
            }
            written.await;
        }
    }

    /// For a pull's status lines; quiet builds and those with events hear none of them.
    pub(crate) fn pull(&self) -> Sender<Progress> {
        if !self.quiet && !self.events {
            return self.sender.clone();
        }
        let (sender, mut receiver) = mpsc::channel(16);
        tokio::spawn(async move { while receiver.recv().await.is_some() {} });
        sender
    }
}

impl Journal {
    fn lock(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, vertex: &Digest) -> Option<News> {
        let mut pages = self.lock();
        pages.open = Some(*vertex);
        let page = pages.pages.entry(*vertex).or_default();
        if let Some(container) = page.container.take() {
            return Some(News::Container(container));
        }
        if !page.text.is_empty() {
            let text = std::mem::take(&mut page.text);
            self.room.notify_all();
            return Some(News::Text(text));
        }
        match page.ended {
            Some(End::Done { cached }) => Some(News::Done { cached }),
            Some(End::Failed) => Some(News::Failed),
            None => None,
        }
    }
}

/// An event as a line of the stream.
fn progress(event: BuildEvent) -> Progress {
    let aux = serde_json::to_value(event).expect("an event is plain data");
    Progress { id: Some(BUILD_EVENT.into()), aux: Some(aux), ..Progress::default() }
}

fn now() -> String {
    jiff::Timestamp::now().to_string()
}
