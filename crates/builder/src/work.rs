//! What the builds of one daemon share: places to work in, keys that are being worked on, cache mounts in use.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};

use spec::Digest;
use tokio::sync::{OwnedMutexGuard, OwnedSemaphorePermit, Semaphore};

use crate::error::Result;
use crate::instructions::run::Sharing;
use crate::run::cancel::Cancel;

/// Shared by all builds of a [`crate::Host`].
#[derive(Debug)]
pub struct Work {
    places: Arc<Semaphore>,
    keys: Mutex<HashMap<Digest, Weak<tokio::sync::Mutex<()>>>>,
    mounts: Mutex<HashMap<PathBuf, Users>>,
    unused: Condvar,
}

#[derive(Debug, Default)]
struct Users {
    number: usize,
    /// One user wants no others.
    alone: bool,
}

impl Default for Work {
    fn default() -> Self {
        // Twice the cores: a step that waits for a server or a disk leaves its core to another.
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            places: Arc::new(Semaphore::new(2 * cores)),
            keys: Mutex::default(),
            mounts: Mutex::default(),
            unused: Condvar::new(),
        }
    }
}

impl Work {
    /// A place to work in, for as long as the result lives.
    pub(crate) async fn place(&self) -> OwnedSemaphorePermit {
        self.places.clone().acquire_owned().await.expect("it is never closed")
    }

    /// A key's turn: who comes second finds in the cache what the first has made.
    pub(crate) async fn turn(&self, key: &Digest) -> OwnedMutexGuard<()> {
        let turn = {
            let mut keys = lock(&self.keys);
            keys.retain(|_, turn| turn.strong_count() > 0);
            match keys.get(key).and_then(Weak::upgrade) {
                Some(turn) => turn,
                None => {
                    let turn = Arc::default();
                    keys.insert(*key, Arc::downgrade(&turn));
                    turn
                }
            }
        };
        turn.lock_owned().await
    }

    /// Uses the directory of a cache mount as its `sharing` says: with others, one after the other, or another directory
    /// (`<path>.1` …) while others use this one.
    pub(crate) fn mount(self: &Arc<Self>, path: &Path, sharing: Sharing, cancel: &Cancel) -> Result<InUse> {
        let mut mounts = lock(&self.mounts);
        let mut number = 0;
        loop {
            cancel.check()?;
            let path = match number {
                0 => path.to_owned(),
                number => {
                    let mut name = path.as_os_str().to_owned();
                    name.push(format!(".{number}"));
                    PathBuf::from(name)
                }
            };
            let users = mounts.entry(path.clone()).or_default();
            let free = users.number == 0 || (sharing == Sharing::Shared && !users.alone);
            if free {
                users.number += 1;
                users.alone = sharing != Sharing::Shared;
                return Ok(InUse { work: self.clone(), path });
            }
            if sharing == Sharing::Private {
                number += 1;
                continue;
            }
            // Now and then it is looked whether the build is still wanted.
            let waited = self.unused.wait_timeout(mounts, std::time::Duration::from_millis(200));
            mounts = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Whether a cache mount's directory is in use.
    pub(crate) fn is_used(&self, path: &Path) -> bool {
        lock(&self.mounts).contains_key(path)
    }
}

/// A cache mount in use. Dropped: free again.
#[derive(Debug)]
pub(crate) struct InUse {
    work: Arc<Work>,
    pub(crate) path: PathBuf,
}

impl Drop for InUse {
    fn drop(&mut self) {
        let mut mounts = lock(&self.work.mounts);
        if let Some(users) = mounts.get_mut(&self.path) {
            users.number -= 1;
            if users.number == 0 {
                mounts.remove(&self.path);
            }
        }
        self.work.unused.notify_all();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
