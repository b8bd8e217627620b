//! Threads for blocking calls. Who became idle last works next: its stack and caches are warm, and the others have
//! nothing to do until they end.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A thread ends after so long without work: a burst leaves fifty, 40 KB each.
const IDLE: Duration = Duration::from_secs(5);
/// So many stay: what one start has in the works at the same time.
const KEPT: usize = 8;

/// Work for a thread. It may say by [`Turn::end`] that it is done, to be called again by whom it is about to tell.
pub(super) type Call = Box<dyn FnOnce(&mut Turn) + Send>;

pub(super) struct Pool {
    threads: Mutex<Threads>,
    /// No thread works.
    quiet: Condvar,
}

struct Threads {
    /// Those that wait for work, the one that has waited longest first.
    idle: Vec<Thread>,
    working: usize,
    /// Calls so far. It names a thread after the one it is made for.
    calls: u64,
}

struct Thread {
    name: u64,
    calls: SyncSender<Call>,
}

/// A thread works.
pub(super) struct Turn(Option<(&'static Pool, Thread)>);

impl Turn {
    /// That of a thread of somebody else's.
    pub(super) fn elsewhere() -> Self {
        Self(None)
    }

    /// What the call still does takes no time.
    pub(super) fn end(&mut self) {
        if let Some((pool, thread)) = self.0.take() {
            pool.end_work(Some(thread));
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.end();
    }
}

impl Pool {
    pub(super) const fn new() -> Self {
        let threads = Threads { idle: Vec::new(), working: 0, calls: 0 };
        Self { threads: Mutex::new(threads), quiet: Condvar::new() }
    }

    /// Has a thread make a call; gives the call back when the kernel has no thread for it.
    pub(super) fn run(&'static self, call: Call) -> Result<(), Call> {
        let (idle, next) = {
            let mut threads = self.lock();
            threads.working += 1;
            threads.calls += 1;
            (threads.idle.pop(), threads.calls)
        };
        let Ok(thread) = idle.map_or_else(|| self.start(next), Ok) else {
            self.end_work(None);
            return Err(call);
        };
        thread.calls.send(call).expect("a thread that is not among the idle ones takes a call");
        Ok(())
    }

    fn start(&'static self, name: u64) -> std::io::Result<Thread> {
        let (calls, taken) = sync_channel::<Call>(1);
        let own = calls.clone();
        std::thread::Builder::new().name("cortend".into()).spawn(move || {
            loop {
                let call = match taken.recv_timeout(IDLE) {
                    Ok(call) => call,
                    Err(RecvTimeoutError::Timeout) => {
                        let mut threads = self.lock();
                        // None: somebody has chosen this one a moment ago.
                        let mine = threads.idle.iter().position(|thread| thread.name == name);
                        match mine {
                            Some(mine) if threads.idle.len() > KEPT => {
                                threads.idle.remove(mine);
                                return;
                            }
                            Some(_) | None => continue,
                        }
                    }
                    Err(RecvTimeoutError::Disconnected) => unreachable!("this thread holds a sender itself"),
                };
                let mut turn = Turn(Some((self, Thread { name, calls: own.clone() })));
                // A panic has been told by its hook; whoever waits for the call sees that it gives nothing.
                let _ = catch_unwind(AssertUnwindSafe(|| call(&mut turn)));
            }
        })?;
        Ok(Thread { name, calls })
    }

    fn end_work(&self, thread: Option<Thread>) {
        let mut threads = self.lock();
        threads.working -= 1;
        threads.idle.extend(thread);
        if threads.working == 0 {
            self.quiet.notify_all();
        }
    }

    /// Waits until no thread works.
    pub(super) fn finish(&self) {
        let threads = self.lock();
        drop(self.quiet.wait_while(threads, |threads| threads.working > 0));
    }

    fn lock(&self) -> MutexGuard<'_, Threads> {
        // Nothing is half done under this lock.
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn who_became_idle_last_works_next() {
        static POOL: Pool = Pool::new();
        let (told, heard) = channel();
        let run = |wait: std::sync::mpsc::Receiver<()>| {
            let told = told.clone();
            let call = move |turn: &mut Turn| {
                wait.recv().unwrap();
                turn.end();
                told.send(std::thread::current().id()).unwrap();
            };
            assert!(POOL.run(Box::new(call)).is_ok());
        };
        // Three at once, which end in another order than they began in.
        let (go, wait): (Vec<_>, Vec<_>) = (0..3).map(|_| channel()).unzip();
        wait.into_iter().for_each(run);
        let mut ended = Vec::new();
        for n in [1, 2, 0] {
            go[n].send(()).unwrap();
            ended.push(heard.recv().unwrap());
        }
        for _ in 0..10 {
            let (go, wait) = channel();
            run(wait);
            go.send(()).unwrap();
            assert_eq!(heard.recv().unwrap(), ended[2]);
        }
        POOL.finish();
        assert_eq!(POOL.lock().working, 0);
    }

    #[test]
    fn the_end_waits_for_what_goes_on() {
        static POOL: Pool = Pool::new();
        let (told, heard) = channel();
        let (go, wait) = channel::<()>();
        let call = move |_: &mut Turn| {
            wait.recv().unwrap();
            told.send("done").unwrap();
        };
        assert!(POOL.run(Box::new(call)).is_ok());
        go.send(()).unwrap();
        POOL.finish();
        assert_eq!(heard.try_recv(), Ok("done"));
    }
}
