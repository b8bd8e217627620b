//! When nobody waits: nothing was started for a moment. Then is the time for what has to be done some time, and takes the
//! disk and a processor from whoever starts something.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

/// So long nothing was started.
const CALM: Duration = Duration::from_millis(50);
/// What waits for that does so no longer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Who knows when something was started.
#[derive(Debug)]
pub(crate) struct Calm {
    disturbed: Mutex<Option<Instant>>,
    over: watch::Sender<bool>,
}

impl Default for Calm {
    fn default() -> Self {
        Self { disturbed: Mutex::default(), over: watch::Sender::new(false) }
    }
}

impl Calm {
    /// Somebody starts something, and waits for it.
    pub(crate) fn disturb(&self) {
        *self.disturbed.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Waits for the calm, for what could have been done at `since`.
    pub(crate) async fn wait(&self, since: Instant) {
        let mut over = self.over.subscribe();
        loop {
            let disturbed = *self.disturbed.lock().unwrap_or_else(PoisonError::into_inner);
            let wait = time(disturbed, since).saturating_duration_since(Instant::now());
            if wait.is_zero() {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                _ = over.wait_for(|over| *over) => return,
            }
        }
    }

    /// Nobody waits any longer: the daemon ends.
    pub(crate) fn end(&self) {
        self.over.send_replace(true);
    }
}

/// When to do what could have been done at `since`, if nothing more is started.
fn time(disturbed: Option<Instant>, since: Instant) -> Instant {
    disturbed.map_or(since, |at| at + CALM).min(since + PATIENCE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_a_moment_after_the_last_start_or_when_patience_ends() {
        let since = Instant::now();
        assert_eq!(time(None, since), since, "nothing was ever started");
        assert!(time(Some(since - CALM), since) <= since, "it was long ago");
        assert_eq!(time(Some(since), since), since + CALM);
        assert_eq!(time(Some(since + PATIENCE * 2), since), since + PATIENCE, "there is always something");
    }

    #[tokio::test]
    async fn it_is_waited_for_until_the_daemon_ends() {
        let calm = Calm::default();
        // For ever, as far as a test is concerned.
        let later = Instant::now() + Duration::from_secs(3600);
        *calm.disturbed.lock().unwrap() = Some(later);
        let waited = async {
            calm.wait(later).await;
            true
        };
        tokio::pin!(waited);
        tokio::select! {
            biased;
            _ = &mut waited => panic!("it is not calm"),
            () = tokio::task::yield_now() => {}
        }
        calm.end();
        assert!(waited.await);
    }
}
