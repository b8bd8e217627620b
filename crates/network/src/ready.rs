//! Namespaces made beforehand: connected to the default bridge, with an address.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::{Endpoint, Error};

/// After a failure, how long not to try again. Who connects meanwhile makes a namespace itself and sees the error.
const PAUSE: Duration = Duration::from_secs(1);

/// How long after one was taken the next is made, unless [`Ready::refill`] says that its start is over. Making one holds a
/// processor and the kernel's network lock for some milliseconds, which the start needs itself.
const REST: Duration = Duration::from_millis(50);

/// A namespace that waits for its container.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) netns: OwnedFd,
    pub(crate) endpoint: Endpoint,
}

/// The namespaces, and the thread that makes more.
#[derive(Debug)]
pub(crate) struct Ready {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    prepared: VecDeque<Prepared>,
    /// Nothing is made before that.
    rest: Option<Instant>,
    stopped: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Only whole elements are pushed and popped under this lock.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ready {
    /// Keeps `count` namespaces ready.
    pub(crate) fn start(
        count: usize,
        make: impl Fn() -> Result<Prepared, Error> + Send + 'static,
    ) -> Result<Self, Error> {
        let shared = Arc::<Shared>::default();
        let thread = if count == 0 {
            None
        } else {
            let shared = Arc::clone(&shared);
            let thread = std::thread::Builder::new()
                .name("netns-ready".into())
                .spawn(move || fill(&shared, count, &make));
            Some(thread.map_err(|source| Error::Kernel {
                step: "start thread",
                object: "netns-ready".into(),
                source,
            })?)
        };
        Ok(Self { shared, thread: Mutex::new(thread) })
    }

    /// One that is ready, if there is one.
    pub(crate) fn take(&self) -> Option<Prepared> {
        let mut queue = self.shared.lock();
        let taken = queue.prepared.pop_front();
        if taken.is_some() {
            queue.rest = Some(Instant::now() + REST);
            self.shared.changed.notify_all();
        }
        taken
    }

    /// Whoever took one has no need of haste any more: what is missing is made now.
    pub(crate) fn refill(&self) {
        if self.shared.lock().rest.take().is_some() {
            self.shared.changed.notify_all();
        }
    }

    /// Ends the thread and returns what was ready.
    pub(crate) fn stop(&self) -> Vec<Prepared> {
        self.shared.lock().stopped = true;
        self.shared.changed.notify_all();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // A panic of that thread has been printed; there is nothing to add.
            let _ = thread.join();
        }
        self.shared.lock().prepared.drain(..).collect()
    }
}

impl Drop for Ready {
    fn drop(&mut self) {
        self.stop();
    }
}

fn fill(shared: &Shared, count: usize, make: &impl Fn() -> Result<Prepared, Error>) {
    let mut queue = shared.lock();
    while !queue.stopped {
        if queue.prepared.len() >= count {
            queue = shared.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
            continue;
        }
        let rest = queue.rest.map(|rest| rest.saturating_duration_since(Instant::now()));
        if let Some(rest) = rest.filter(|rest| !rest.is_zero()) {
            queue = shared.changed.wait_timeout(queue, rest).unwrap_or_else(PoisonError::into_inner).0;
            continue;
        }
        drop(queue);
        let made = make();
        queue = shared.lock();
        match made {
            Ok(prepared) => {
                queue.prepared.push_back(prepared);
                shared.changed.notify_all();
            }
            Err(_) => {
                let waited = shared.changed.wait_timeout_while(queue, PAUSE, |q| !q.stopped);
                queue = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
        }
    }
}
