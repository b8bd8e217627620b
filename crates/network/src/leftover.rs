//! Links that should be gone soon by themselves, and are removed if they are not.
//!
//! Removing a link makes the kernel wait for an RCU grace period (10 to 20 ms). A veth pair goes anyway, in the
//! kernel's own worker, when its container's namespace has no process any more: so nobody waits for it here.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use sys::netlink::route::Batch;
use sys::netlink::{Family, Socket};

use crate::Error;

/// How long the kernel is given to remove a link by itself.
const PATIENCE: Duration = Duration::from_secs(2);

/// The links, and the thread that removes them. What is left when it ends, the next daemon finds.
#[derive(Debug)]
pub(crate) struct Leftovers {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    links: VecDeque<(Instant, String)>,
    stopped: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Only whole elements are pushed and popped under this lock.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Leftovers {
    pub(crate) fn start() -> Result<Self, Error> {
        let shared = Arc::<Shared>::default();
        let thread = {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new().name("veth-leftovers".into()).spawn(move || run(&shared)).map_err(
                |source| Error::Kernel { step: "start thread", object: "veth-leftovers".into(), source },
            )?
        };
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Removes these links if they are still there after a while.
    pub(crate) fn delete_later(&self, links: impl Iterator<Item = String>) {
        let due = Instant::now() + PATIENCE;
        self.shared.lock().links.extend(links.map(|link| (due, link)));
        self.shared.changed.notify_all();
    }
}

impl Drop for Leftovers {
    fn drop(&mut self) {
        self.shared.lock().stopped = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // A panic of that thread has been printed; there is nothing to add.
            let _ = thread.join();
        }
    }
}

fn run(shared: &Shared) {
    let mut queue = shared.lock();
    while !queue.stopped {
        let Some((due, _)) = queue.links.front() else {
            queue = shared.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
            continue;
        };
        let now = Instant::now();
        if *due > now {
            let wait = *due - now;
            queue = shared.changed.wait_timeout(queue, wait).unwrap_or_else(PoisonError::into_inner).0;
            continue;
        }
        let due = queue.links.iter().take_while(|(due, _)| *due <= now).count();
        let links: Vec<_> = queue.links.drain(..due).collect();
        drop(queue);
        let mut batch = Batch::new();
        links.iter().for_each(|(_, link)| batch.delete(link));
        // Nobody is left to tell. A link that stays is found when the room is opened again.
        let _ = Socket::open(Family::Route).and_then(|mut socket| batch.send(&mut socket));
        queue = shared.lock();
    }
}
