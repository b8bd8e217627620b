//! The `Status` column of `ps`.

use super::state::{Phase, State};
use crate::time;

/// `Up 5 minutes`, `Exited (0) 2 hours ago` …
pub(crate) fn text(state: &State, now: u64) -> String {
    let ago = |then| spec::duration::human(time::since(then, now));
    match state.phase {
        Phase::Created => "Created".into(),
        Phase::Running => match &state.health {
            Some(health) => format!("Up {} ({})", ago(state.started_at), health.shown()),
            None => format!("Up {}", ago(state.started_at)),
        },
        Phase::Paused => format!("Up {} (Paused)", ago(state.started_at)),
        Phase::Restarting => format!("Restarting ({}) {} ago", state.exit_code, ago(state.finished_at)),
        Phase::Exited if state.finished_at == 0 => "Created".into(),
        Phase::Exited => format!("Exited ({}) {} ago", state.exit_code, ago(state.finished_at)),
        Phase::Removing => "Removal In Progress".into(),
        Phase::Dead => "Dead".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_as_dockers() {
        const MINUTE: u64 = 60_000_000_000;
        let state = |phase| State {
            phase,
            started_at: MINUTE,
            finished_at: 2 * MINUTE,
            exit_code: 3,
            ..State::default()
        };
        for (phase, text) in [
            (Phase::Created, "Created"),
            (Phase::Running, "Up 5 minutes"),
            (Phase::Paused, "Up 5 minutes (Paused)"),
            (Phase::Restarting, "Restarting (3) 4 minutes ago"),
            (Phase::Exited, "Exited (3) 4 minutes ago"),
            (Phase::Removing, "Removal In Progress"),
            (Phase::Dead, "Dead"),
        ] {
            assert_eq!(super::text(&state(phase), 6 * MINUTE), text);
        }
    }
}
