//! A shim whose socket is gone (somebody has removed its directory while no daemon ran) can be told nothing any more, and
//! nobody would ever know of its container: it ends, with that.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use shim::proto::SOCKET;
use spec::signal;

use super::Supervisor;

/// How often it is looked for while there is no daemon: with one, there is nothing to fear.
const INTERVAL: Duration = Duration::from_secs(10);

/// Whether a daemon can find us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// One has, and is there.
    Connected,
    /// There is none; when it is looked next.
    Alone(Instant),
    /// None ever will.
    Lost,
}

/// Which file it is: the next shim of this container has one of the same name.
pub(super) type Socket = Option<(u64, u64)>;

/// The socket of a shim with this directory.
pub(super) fn socket(directory: &Path) -> Socket {
    let found = std::fs::symlink_metadata(directory.join(SOCKET)).ok()?;
    Some((found.dev(), found.ino()))
}

impl Reach {
    /// When something has to be done though nothing happens.
    pub(super) fn deadline(self) -> Option<Instant> {
        match self {
            Self::Alone(next) => Some(next),
            Self::Connected | Self::Lost => None,
        }
    }

    /// What is so now. `is_there` looks, which is done only when it is time.
    fn next(self, connected: bool, now: Instant, is_there: impl FnOnce() -> bool) -> Self {
        match self {
            Self::Lost => Self::Lost,
            Self::Connected | Self::Alone(_) if connected => Self::Connected,
            Self::Alone(next) if next > now => self,
            Self::Connected | Self::Alone(_) => {
                if is_there() {
                    Self::Alone(now + INTERVAL)
                } else {
                    Self::Lost
                }
            }
        }
    }
}

impl Supervisor {
    /// Ends the container when nobody can ask for it any more: its end is recorded as any other.
    pub(super) fn end_if_lost(&mut self) {
        // After `Delete` nobody is to reach us, and before `Create` we end with our connection.
        let Some(container) = self.container.as_ref().filter(|_| self.listener.is_some()) else { return };
        let before = self.reach;
        self.reach = before.next(!self.connections.is_empty(), Instant::now(), || {
            socket(&self.dir).is_some_and(|found| Some(found) == self.socket)
        });
        if self.reach != Reach::Lost {
            return;
        }
        if container.started && container.exit.is_none() {
            if before != Reach::Lost {
                // It may be ending this moment.
                let _ = container.kernel.kill(signal::KILL, true);
            }
            return;
        }
        self.listener = None;
        // There is nobody to tell.
        let _ = self.discard();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_looked_for_when_nobody_is_there_and_it_is_time() {
        let now = Instant::now();
        let (later, alone) = (now + INTERVAL, Reach::Alone(now));
        let unasked = || -> bool { unreachable!("it is not time to look") };
        assert_eq!(Reach::Connected.next(true, now, unasked), Reach::Connected);
        assert_eq!(alone.next(true, now, unasked), Reach::Connected);
        assert_eq!(Reach::Alone(later).next(false, now, unasked), Reach::Alone(later));
        // Right after the last connection's end, and then from time to time.
        for reach in [Reach::Connected, alone] {
            assert_eq!(reach.next(false, now, || true), Reach::Alone(later));
            assert_eq!(reach.next(false, now, || false), Reach::Lost);
        }
        assert_eq!(Reach::Lost.next(true, now, unasked), Reach::Lost);
        assert_eq!([Reach::Connected, alone, Reach::Lost].map(Reach::deadline), [None, Some(now), None]);
    }
}
