//! A process that writes a lot in small portions would wake us for each of them. Once it does, its pipe is made
//! large, so that we may let it fill for a moment and take much at once.

use std::time::{Duration, Instant};

/// Reads closer together than this are those of a busy output.
const BUSY: Duration = Duration::from_micros(300);

/// An output is busy after so many of them.
const STREAK: u32 = 4;

/// How long a busy output is left alone. Far below what a person notices.
const REST: Duration = Duration::from_millis(1);

/// When one output is read.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// What the pipe can hold; 0 when it was not asked to hold more than usual.
    pub(crate) room: usize,
    /// Not to be read before this moment.
    rest: Option<Instant>,
    last: Option<Instant>,
    streak: u32,
}

impl Pace {
    /// `bytes` were read just now.
    pub(crate) fn took(&mut self, bytes: usize, now: Instant) {
        // A rest that we took is no pause of the writer's.
        let apart = if self.streak > STREAK { BUSY + REST } else { BUSY };
        let busy = self.last.is_some_and(|last| now.saturating_duration_since(last) < apart);
        self.streak = if busy { self.streak.saturating_add(1) } else { 0 };
        self.last = Some(now);
        // A pipe that was half full would be full before we are back, and its writer would wait.
        self.rest = (self.streak > STREAK && bytes < self.room / 2).then(|| now + REST);
    }

    /// Whether the pipe should be made larger.
    pub(crate) fn wants_room(&self) -> bool {
        self.room == 0 && self.streak >= STREAK
    }

    /// When it is to be read again.
    pub(crate) fn rest(&self) -> Option<Instant> {
        self.rest
    }

    /// Whether it may be read now.
    pub(crate) fn is_awake(&mut self, now: Instant) -> bool {
        self.rest = self.rest.filter(|rest| *rest > now);
        self.rest.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_output_rests_and_a_quiet_or_a_full_one_does_not() {
        let begin = Instant::now();
        let at = |micros| begin + Duration::from_micros(micros);
        let mut pace = Pace::default();
        (0..=4).for_each(|n| pace.took(10, at(n)));
        assert!(pace.wants_room() && pace.is_awake(at(5)));
        pace.room = 1 << 20;
        pace.took(10, at(10));
        assert!(!pace.is_awake(at(900)) && pace.rest() == Some(at(1010)));
        assert!(pace.is_awake(at(1010)) && pace.rest().is_none());
        pace.took(10, at(1100));
        assert!(!pace.is_awake(at(1200)), "still busy");
        pace.took(1 << 19, at(2200));
        assert!(pace.is_awake(at(2200)), "half full");
        pace.took(10, at(9000));
        assert!(pace.is_awake(at(9000)), "quiet");
    }
}
