//! Blobs that are on their way: whoever wants one that another pull fetches watches that one, and takes over if it ends
//! without the blob.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use spec::Digest;
use spec::api::Progress;
use tokio::sync::{MutexGuard, broadcast, mpsc};

/// Lines that a watcher may be behind.
const BEHIND: usize = 64;

/// The blobs on their way into each store.
#[derive(Debug, Default)]
pub(crate) struct Flights(Mutex<HashMap<(PathBuf, Digest), Weak<Flight>>>);

/// One blob on its way.
#[derive(Debug)]
pub(crate) struct Flight {
    turn: tokio::sync::Mutex<()>,
    lines: broadcast::Sender<Progress>,
}

impl Flights {
    /// The flight of a blob, whether or not it has begun.
    pub(crate) fn of(&self, store: &Path, digest: Digest) -> Arc<Flight> {
        let mut flights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        flights.retain(|_, flight| flight.strong_count() > 0);
        let key = (store.to_owned(), digest);
        if let Some(flight) = flights.get(&key).and_then(Weak::upgrade) {
            return flight;
        }
        let flight =
            Arc::new(Flight { turn: tokio::sync::Mutex::default(), lines: broadcast::channel(BEHIND).0 });
        flights.insert(key, Arc::downgrade(&flight));
        flight
    }
}

impl Flight {
    /// Waits until nobody else fetches the blob, and tells meanwhile how far the other is. Returns the last it told.
    pub(crate) async fn turn(
        &self,
        progress: &mpsc::Sender<Progress>,
    ) -> (MutexGuard<'_, ()>, Option<Progress>) {
        if let Ok(turn) = self.turn.try_lock() {
            return (turn, None);
        }
        let mut lines = self.lines.subscribe();
        let turn = self.turn.lock();
        tokio::pin!(turn);
        let mut last = None;
        loop {
            tokio::select! {
                biased;
                // Some may have been missed. It cannot be closed: the sender is here.
                line = lines.recv() => if let Ok(line) = line {
                    say(progress, line.clone()).await;
                    last = Some(line);
                },
                turn = &mut turn => return (turn, last),
            }
        }
    }

    /// Tells who asked for it, and who watches.
    pub(crate) fn teller(&self, progress: &mpsc::Sender<Progress>) -> Teller {
        Teller { own: progress.clone(), others: self.lines.clone() }
    }
}

/// Tells how a flight goes.
#[derive(Debug, Clone)]
pub(crate) struct Teller {
    own: mpsc::Sender<Progress>,
    others: broadcast::Sender<Progress>,
}

impl Teller {
    pub(crate) async fn say(&self, line: Progress) {
        self.tell_others(&line);
        say(&self.own, line).await;
    }

    /// A client that reads slowly misses a number, not a byte.
    pub(crate) fn mention(&self, line: Progress) {
        self.tell_others(&line);
        let _ = self.own.try_send(line);
    }

    fn tell_others(&self, line: &Progress) {
        // There may be none.
        let _ = self.others.send(line.clone());
    }
}

/// Sends a status line. A listener that has gone is no reason to stop: the caller does that.
pub(crate) async fn say(progress: &mpsc::Sender<Progress>, line: Progress) {
    let _ = progress.send(line).await;
}
