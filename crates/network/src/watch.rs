//! Putting our table back when someone else has changed it: a reload of the host's firewall, say. A flushed table
//! would leave bridges open to each other and published ports dead. And seeing to it that we pass the chains of others.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use sys::netlink::nft::{Change, Watch};

use crate::networks::Core;
use crate::{Error, firewall};

/// Changes that follow each other faster may be the work of one who puts back what we put back: another daemon in the same network
/// namespace. Two of them would keep a processor each for ever.
const SOON: Duration = Duration::from_secs(1);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// When the table may be put back again: at once, but later and later for one who does it all the time.
#[derive(Debug, Default)]
struct Pace {
    last: Option<Instant>,
    pause: Duration,
}

impl Pace {
    /// How long to wait, when a change is seen `now`.
    fn pause(&mut self, now: Instant) -> Duration {
        let is_soon = self.last.is_some_and(|last| now.saturating_duration_since(last) < SOON);
        self.pause =
            if is_soon { (self.pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE) } else { Duration::ZERO };
        self.last = Some(now + self.pause);
        self.pause
    }
}

/// The thread that watches.
#[derive(Debug)]
pub(crate) struct Watcher {
    stop: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Watcher {
    pub(crate) fn start(core: Arc<Core>) -> Result<Self, Error> {
        let stop = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(|e| Error::Kernel {
            step: "make eventfd",
            object: "firewall watch".into(),
            source: e.into(),
        })?;
        let stop = Arc::new(stop);
        let mut watch = Watch::open(core.firewall.table(), firewall::USER)?;
        let thread = {
            let stop = Arc::clone(&stop);
            std::thread::Builder::new().name("firewall-watch".into()).spawn(move || {
                let mut pace = Pace::default();
                // An error of the watch itself ends it: the table is still checked at every change of ours.
                while let Ok(Some(change)) = watch.wait(|port| core.firewall.is_own(port), &*stop) {
                    // If these fail, the next change of ours tries again, and its caller sees the error.
                    if change == Change::Ours {
                        if stopped_within(&stop, pace.pause(Instant::now())) {
                            break;
                        }
                        let _ = core.install_firewall();
                    }
                    let _ = core.allow_through_host();
                }
            })
        };
        let thread = thread.map_err(|source| Error::Kernel {
            step: "start thread",
            object: "firewall-watch".into(),
            source,
        })?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

/// Waits so long, or until `stop` is readable; whether it is. A wait that is broken off by a signal is over.
fn stopped_within(stop: &OwnedFd, pause: Duration) -> bool {
    let Ok(pause) = pause.try_into() else { return false };
    let mut fds = [PollFd::new(stop, PollFlags::IN)];
    poll(&mut fds, Some(&pause)).is_ok_and(|ready| ready > 0)
}

impl Drop for Watcher {
    fn drop(&mut self) {
        // It fails only when the counter is full: it is readable then.
        let _ = rustix::io::write(&*self.stop, &1u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            // A panic of that thread has been printed; there is nothing to add.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_puts_it_back_all_the_time_waits_longer_and_longer() {
        let (mut pace, mut now) = (Pace::default(), Instant::now());
        let mut change = |after: Duration| {
            now += after;
            let pause = pace.pause(now);
            now += pause;
            pause
        };
        assert_eq!(change(Duration::ZERO), Duration::ZERO);
        let moment = Duration::from_millis(1);
        let pauses: Vec<Duration> = (0..12).map(|_| change(moment)).collect();
        assert_eq!(pauses[..3], [100, 200, 400].map(Duration::from_millis));
        assert_eq!(pauses[11], LONGEST_PAUSE);
        assert_eq!(change(SOON), Duration::ZERO);
    }
}
