//! The life of a container as a pure function: [`step`] takes what is, what happened and what the user wants, and says
//! what is next and what must be done. No clock, no I/O. Times are nanoseconds since 1970.
//!
//! Docker's six booleans exist once, in [`State::api`]'s conversion; `wait` reads [`State::ends`], a level.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use spec::api::ContainerState;

use super::health::{Health, OnFailure, Probe, Rules};
use crate::time;

/// Where a container is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Made, never started.
    Created,
    /// Its init runs.
    Running,
    /// Its init is frozen.
    Paused,
    /// It ended and is about to be started again by its policy.
    Restarting,
    /// It ended.
    Exited,
    /// It is being removed.
    Removing,
    /// Its removal failed; only removing it again is possible.
    Dead,
}

/// Everything that changes in a container's life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Where it is.
    pub phase: Phase,
    /// Init's pid on the host; 0 when it does not run.
    pub pid: i32,
    /// Of the last run, or of the last start that failed.
    pub exit_code: i32,
    /// Why the last start failed; empty otherwise.
    pub error: String,
    /// The kernel killed something in the last run for want of memory.
    pub oom_killed: bool,
    /// When the last run began; 0 is never.
    pub started_at: u64,
    /// When the last run ended; 0 is never.
    pub finished_at: u64,
    /// How many runs began.
    pub starts: u64,
    /// How many runs or attempted starts ended.
    pub ends: u64,
    /// The exit code of the last of them: unlike `exit_code` it stays when the next run begins, for those who wait.
    pub ended_with: i32,
    /// How often the policy has started it since the user did.
    pub restarts: u32,
    /// Milliseconds the last back-off lasted; 0 is none yet.
    pub backoff: u64,
    /// The user stopped it: the policy is silent until the user (or the daemon's start) starts it.
    pub stopped_by_user: bool,
    /// Of the current or last run; `None` before the first one of a container with a check.
    #[serde(default)]
    pub health: Option<Health>,
}

/// When the engine starts a container by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restart {
    /// Never.
    No,
    /// Whatever happens.
    Always,
    /// As `Always`, but at the daemon's start only what the user had not stopped.
    UnlessStopped,
    /// When the exit code is not 0; at most `max` times (0: no limit).
    OnFailure {
        /// How many times.
        max: u32,
    },
}

/// What the user wants to happen when it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Started again.
    pub restart: Restart,
    /// Removed.
    pub auto_remove: bool,
    /// What its health is judged by; `None` without a check.
    pub health: Option<Rules>,
}

/// What happened, or is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The user asks for a start.
    Start,
    /// The back-off is over.
    RestartDue,
    /// Init runs.
    Started {
        /// Its pid on the host.
        pid: i32,
    },
    /// A start failed.
    StartFailed {
        /// 126, 127 or 128.
        code: i32,
        /// Why.
        error: String,
    },
    /// Init ended.
    Ended {
        /// Exit code, or 128 + signal.
        code: i32,
        /// The kernel killed something for want of memory.
        oom_killed: bool,
        /// When.
        at: u64,
    },
    /// The user asks for an end: `stop`, or `kill` with SIGKILL or the stop signal.
    Stop,
    /// A probe of its health has ended.
    Probed(Probe),
    /// The user asks for a freeze.
    Pause,
    /// The user asks for a thaw.
    Unpause,
    /// The user asks for its removal.
    Remove,
    /// The removal failed.
    RemoveFailed {
        /// Why.
        error: String,
    },
    /// The daemon has come up.
    DaemonStarted,
}

/// What must be done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Make the sandbox and run init; `Started` or `StartFailed` follows.
    Launch,
    /// `RestartDue` is to follow after this time.
    RestartAfter(Duration),
    /// Remove it with its anonymous volumes.
    AutoRemove,
    /// Its health has another status now.
    HealthChanged,
    /// It is unhealthy: end it, as the user asked.
    EndUnhealthy(OnFailure),
}

/// Why something cannot be done in a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Illegal {
    /// It runs already.
    Running,
    /// It does not run.
    NotRunning,
    /// It is frozen.
    Paused,
    /// It is not frozen.
    NotPaused,
    /// It waits for its policy's next start.
    Restarting,
    /// It is being removed.
    Removing,
    /// It is dead.
    Dead,
    /// The event belongs to another phase: a late wake-up, to be ignored.
    Stale,
}

const FIRST_BACKOFF: u64 = 100;
const LONGEST_BACKOFF: u64 = 60_000;
/// A run that lasted this long (nanoseconds) was no failed start: the back-off begins anew.
const GOOD_RUN: u64 = 10_000_000_000;

impl Default for State {
    fn default() -> Self {
        Self {
            phase: Phase::Created,
            pid: 0,
            exit_code: 0,
            error: String::new(),
            oom_killed: false,
            started_at: 0,
            finished_at: 0,
            starts: 0,
            ends: 0,
            ended_with: 0,
            restarts: 0,
            backoff: 0,
            stopped_by_user: false,
            health: None,
        }
    }
}

impl State {
    /// Whether there is an init.
    pub fn is_alive(&self) -> bool {
        matches!(self.phase, Phase::Running | Phase::Paused)
    }

    /// The API's word for the phase.
    pub fn word(&self) -> &'static str {
        match self.phase {
            Phase::Created => "created",
            Phase::Running => "running",
            Phase::Paused => "paused",
            Phase::Restarting => "restarting",
            Phase::Exited => "exited",
            Phase::Removing => "removing",
            Phase::Dead => "dead",
        }
    }

    /// The API's shape. Paused and restarting containers count as running there.
    pub fn api(&self) -> ContainerState {
        ContainerState {
            status: self.word().into(),
            running: matches!(self.phase, Phase::Running | Phase::Paused | Phase::Restarting),
            paused: self.phase == Phase::Paused,
            restarting: self.phase == Phase::Restarting,
            oom_killed: self.oom_killed,
            dead: self.phase == Phase::Dead,
            pid: self.pid.into(),
            exit_code: self.exit_code.into(),
            error: self.error.clone(),
            started_at: time::rfc3339(self.started_at),
            finished_at: time::rfc3339(self.finished_at),
            health: self.health.as_ref().map(Health::api),
        }
    }

    /// As it is while nobody probes: frozen, or ended.
    fn unwatched(&self) -> Self {
        Self { health: self.health.as_ref().map(Health::unwatched), ..self.clone() }
    }
}

/// What follows from `event` in `state` at `now`.
///
/// # Errors
/// [`Illegal`]: the event cannot happen there; nothing changes.
pub fn step(state: &State, event: Event, policy: Policy, now: u64) -> Result<(State, Vec<Effect>), Illegal> {
    match event {
        Event::Start => start(state),
        Event::RestartDue => restart_due(state),
        Event::Started { pid } => started(state, pid, policy, now),
        Event::StartFailed { code, error } => start_failed(state, code, error, policy),
        Event::Ended { code, oom_killed, at } => ended(state, code, oom_killed, at, policy),
        Event::Stop => stop(state, policy, now),
        Event::Probed(probe) => probed(state, probe, policy),
        Event::Pause => match state.phase {
            Phase::Running => Ok((State { phase: Phase::Paused, ..state.unwatched() }, Vec::new())),
            Phase::Paused => Err(Illegal::Paused),
            Phase::Restarting => Err(Illegal::Restarting),
            Phase::Created | Phase::Exited | Phase::Removing | Phase::Dead => Err(Illegal::NotRunning),
        },
        Event::Unpause => match state.phase {
            Phase::Paused => Ok((State { phase: Phase::Running, ..state.clone() }, Vec::new())),
            Phase::Running
            | Phase::Created
            | Phase::Restarting
            | Phase::Exited
            | Phase::Removing
            | Phase::Dead => Err(Illegal::NotPaused),
        },
        Event::Remove => match state.phase {
            Phase::Created | Phase::Exited | Phase::Dead => {
                Ok((State { phase: Phase::Removing, ..state.clone() }, Vec::new()))
            }
            Phase::Running => Err(Illegal::Running),
            Phase::Paused => Err(Illegal::Paused),
            Phase::Restarting => Err(Illegal::Restarting),
            Phase::Removing => Err(Illegal::Removing),
        },
        Event::RemoveFailed { error } => match state.phase {
            Phase::Removing => Ok((State { phase: Phase::Dead, error, ..state.clone() }, Vec::new())),
            Phase::Created
            | Phase::Running
            | Phase::Paused
            | Phase::Restarting
            | Phase::Exited
            | Phase::Dead => Err(Illegal::Stale),
        },
        Event::DaemonStarted => daemon_started(state, policy),
    }
}

fn start(state: &State) -> Result<(State, Vec<Effect>), Illegal> {
    match state.phase {
        Phase::Created | Phase::Exited => {
            let next = State { restarts: 0, backoff: 0, stopped_by_user: false, ..state.clone() };
            Ok((next, vec![Effect::Launch]))
        }
        Phase::Running | Phase::Restarting => Err(Illegal::Running),
        Phase::Paused => Err(Illegal::Paused),
        Phase::Removing => Err(Illegal::Removing),
        Phase::Dead => Err(Illegal::Dead),
    }
}

fn restart_due(state: &State) -> Result<(State, Vec<Effect>), Illegal> {
    match state.phase {
        Phase::Restarting => {
            Ok((State { restarts: state.restarts.saturating_add(1), ..state.clone() }, vec![Effect::Launch]))
        }
        Phase::Created | Phase::Running | Phase::Paused | Phase::Exited | Phase::Removing | Phase::Dead => {
            Err(Illegal::Stale)
        }
    }
}

fn started(state: &State, pid: i32, policy: Policy, now: u64) -> Result<(State, Vec<Effect>), Illegal> {
    match state.phase {
        Phase::Created | Phase::Exited | Phase::Restarting => {
            let next = State {
                phase: Phase::Running,
                pid,
                exit_code: 0,
                error: String::new(),
                oom_killed: false,
                started_at: now,
                starts: state.starts + 1,
                health: policy.health.map(|_| Health::begin(state.health.as_ref())),
                ..state.clone()
            };
            Ok((next, Vec::new()))
        }
        Phase::Running | Phase::Paused | Phase::Removing | Phase::Dead => Err(Illegal::Stale),
    }
}

fn probed(state: &State, probe: Probe, policy: Policy) -> Result<(State, Vec<Effect>), Illegal> {
    match state.phase {
        Phase::Running => {}
        Phase::Created
        | Phase::Paused
        | Phase::Restarting
        | Phase::Exited
        | Phase::Removing
        | Phase::Dead => return Err(Illegal::Stale),
    }
    let (Some(health), Some(rules)) = (&state.health, policy.health) else { return Err(Illegal::Stale) };
    let (next, act) = health.probed(probe, rules, state.started_at);
    let changed = (next.status != health.status).then_some(Effect::HealthChanged);
    let end = (act != OnFailure::None).then_some(Effect::EndUnhealthy(act));
    Ok((State { health: Some(next), ..state.clone() }, changed.into_iter().chain(end).collect()))
}

fn start_failed(
    state: &State,
    code: i32,
    error: String,
    policy: Policy,
) -> Result<(State, Vec<Effect>), Illegal> {
    let phase = match state.phase {
        Phase::Created => Phase::Created,
        Phase::Exited | Phase::Restarting => Phase::Exited,
        Phase::Running | Phase::Paused | Phase::Removing | Phase::Dead => return Err(Illegal::Stale),
    };
    let next = State {
        phase,
        pid: 0,
        exit_code: code,
        error,
        ends: state.ends + 1,
        ended_with: code,
        ..state.clone()
    };
    Ok((next, if policy.auto_remove { vec![Effect::AutoRemove] } else { Vec::new() }))
}

fn ended(
    state: &State,
    code: i32,
    oom_killed: bool,
    at: u64,
    policy: Policy,
) -> Result<(State, Vec<Effect>), Illegal> {
    match state.phase {
        Phase::Running | Phase::Paused => {}
        Phase::Created | Phase::Restarting | Phase::Exited | Phase::Removing | Phase::Dead => {
            return Err(Illegal::Stale);
        }
    }
    let mut next = State {
        phase: Phase::Exited,
        pid: 0,
        exit_code: code,
        oom_killed: oom_killed || state.oom_killed,
        finished_at: at,
        ends: state.ends + 1,
        ended_with: code,
        ..state.unwatched()
    };
    let unhealthy = wanted_for_health(&next, policy);
    if !(unhealthy || wanted_again(&next, policy.restart)) {
        return Ok((next, if policy.auto_remove { vec![Effect::AutoRemove] } else { Vec::new() }));
    }
    let lasted = at.saturating_sub(state.started_at);
    next.backoff = match state.backoff {
        0 => FIRST_BACKOFF,
        _ if lasted >= GOOD_RUN && !(unhealthy && never_passed(state)) => FIRST_BACKOFF,
        last => last.saturating_mul(2).min(LONGEST_BACKOFF),
    };
    next.phase = Phase::Restarting;
    let delay = Duration::from_millis(next.backoff);
    Ok((next, vec![Effect::RestartAfter(delay)]))
}

/// Whether it was ended for being unhealthy, to be started again.
fn wanted_for_health(state: &State, policy: Policy) -> bool {
    let acted = state.health.as_ref().is_some_and(|h| h.acted);
    let restart = policy.health.is_some_and(|rules| rules.on_failure == OnFailure::Restart);
    acted
        && restart
        && !state.stopped_by_user
        && match policy.restart {
            Restart::No | Restart::Always | Restart::UnlessStopped => true,
            Restart::OnFailure { max } => max == 0 || state.restarts < max,
        }
}

/// A run that was never healthy was no good run, however long it took to find out.
fn never_passed(state: &State) -> bool {
    state.health.as_ref().is_some_and(|h| !h.passed)
}

/// Whether the policy starts it again after a run that ended.
fn wanted_again(state: &State, restart: Restart) -> bool {
    if state.stopped_by_user {
        return false;
    }
    match restart {
        Restart::No => false,
        Restart::Always | Restart::UnlessStopped => true,
        Restart::OnFailure { max } => state.exit_code != 0 && (max == 0 || state.restarts < max),
    }
}

fn stop(state: &State, policy: Policy, now: u64) -> Result<(State, Vec<Effect>), Illegal> {
    match state.phase {
        Phase::Running | Phase::Paused => Ok((State { stopped_by_user: true, ..state.clone() }, Vec::new())),
        Phase::Restarting => {
            let next = State {
                phase: Phase::Exited,
                stopped_by_user: true,
                finished_at: if state.finished_at == 0 { now } else { state.finished_at },
                ..state.clone()
            };
            Ok((next, if policy.auto_remove { vec![Effect::AutoRemove] } else { Vec::new() }))
        }
        Phase::Created | Phase::Exited | Phase::Removing | Phase::Dead => Err(Illegal::NotRunning),
    }
}

/// What the policy wants of a container that does not run when the daemon comes up. One that was never started is not
/// started now; with `--rm` it goes: the client that would have started it is gone too.
fn daemon_started(state: &State, policy: Policy) -> Result<(State, Vec<Effect>), Illegal> {
    match state.phase {
        Phase::Exited | Phase::Restarting => {}
        Phase::Created => {
            let remove = policy.auto_remove.then_some(Effect::AutoRemove);
            return Ok((state.clone(), remove.into_iter().collect()));
        }
        Phase::Running | Phase::Paused | Phase::Removing | Phase::Dead => return Err(Illegal::Stale),
    }
    let due = state.phase == Phase::Restarting && wanted_for_health(state, policy);
    let wanted = due
        || match policy.restart {
            Restart::No => false,
            Restart::Always => true,
            Restart::UnlessStopped => !state.stopped_by_user,
            Restart::OnFailure { max } => state.exit_code != 0 && (max == 0 || state.restarts < max),
        };
    let exited = State { phase: Phase::Exited, ..state.clone() };
    if wanted {
        let next = State { restarts: 0, backoff: 0, stopped_by_user: false, ..exited };
        Ok((next, vec![Effect::Launch]))
    } else if policy.auto_remove {
        Ok((exited, vec![Effect::AutoRemove]))
    } else {
        Ok((exited, Vec::new()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO: Policy = Policy { restart: Restart::No, auto_remove: false, health: None };
    const CHECKED: Policy = Policy {
        health: Some(Rules { retries: 1, start_period: Duration::ZERO, on_failure: OnFailure::None }),
        ..NO
    };
    const PHASES: [Phase; 7] = [
        Phase::Created,
        Phase::Running,
        Phase::Paused,
        Phase::Restarting,
        Phase::Exited,
        Phase::Removing,
        Phase::Dead,
    ];

    fn at(phase: Phase) -> State {
        State { phase, ..State::default() }
    }

    fn policy(restart: Restart) -> Policy {
        Policy { restart, ..NO }
    }

    /// The whole table: for each event, what each phase (in the order of `PHASES`) becomes.
    #[test]
    fn every_pair_of_phase_and_event() {
        use Illegal as I;
        use Phase as P;
        let probe = Probe { start: 1, end: 1, exit_code: 1, output: String::new() };
        let table: [(Event, [Result<P, I>; 7]); 12] = [
            (
                Event::Probed(probe),
                [
                    Err(I::Stale),
                    Ok(P::Running),
                    Err(I::Stale),
                    Err(I::Stale),
                    Err(I::Stale),
                    Err(I::Stale),
                    Err(I::Stale),
                ],
            ),
            (
                Event::Start,
                [
                    Ok(P::Created),
                    Err(I::Running),
                    Err(I::Paused),
                    Err(I::Running),
                    Ok(P::Exited),
                    Err(I::Removing),
                    Err(I::Dead),
                ],
            ),
            (
                Event::RestartDue,
                [
                    Err(I::Stale),
                    Err(I::Stale),
                    Err(I::Stale),
                    Ok(P::Restarting),
                    Err(I::Stale),
                    Err(I::Stale),
                    Err(I::Stale),
                ],
            ),
            (
                Event::Started { pid: 7 },
                [
                    Ok(P::Running),
                    Err(I::Stale),
                    Err(I::Stale),
                    Ok(P::Running),
                    Ok(P::Running),
                    Err(I::Stale),
                    Err(I::Stale),
                ],
            ),
            (
                Event::StartFailed { code: 127, error: "e".into() },
                [
                    Ok(P::Created),
                    Err(I::Stale),
                    Err(I::Stale),
                    Ok(P::Exited),
                    Ok(P::Exited),
                    Err(I::Stale),
                    Err(I::Stale),
                ],
            ),
            (
                Event::Ended { code: 1, oom_killed: false, at: 5 },
                [
                    Err(I::Stale),
                    Ok(P::Exited),
                    Ok(P::Exited),
                    Err(I::Stale),
                    Err(I::Stale),
                    Err(I::Stale),
                    Err(I::Stale),
                ],
            ),
            (
                Event::Stop,
                [
                    Err(I::NotRunning),
                    Ok(P::Running),
                    Ok(P::Paused),
                    Ok(P::Exited),
                    Err(I::NotRunning),
                    Err(I::NotRunning),
                    Err(I::NotRunning),
                ],
            ),
            (
                Event::Pause,
                [
                    Err(I::NotRunning),
                    Ok(P::Paused),
                    Err(I::Paused),
                    Err(I::Restarting),
                    Err(I::NotRunning),
                    Err(I::NotRunning),
                    Err(I::NotRunning),
                ],
            ),
            (
                Event::Unpause,
                [
                    Err(I::NotPaused),
                    Err(I::NotPaused),
                    Ok(P::Running),
                    Err(I::NotPaused),
                    Err(I::NotPaused),
                    Err(I::NotPaused),
                    Err(I::NotPaused),
                ],
            ),
            (
                Event::Remove,
                [
                    Ok(P::Removing),
                    Err(I::Running),
                    Err(I::Paused),
                    Err(I::Restarting),
                    Ok(P::Removing),
                    Err(I::Removing),
                    Ok(P::Removing),
                ],
            ),
            (
                Event::RemoveFailed { error: "e".into() },
                [
                    Err(I::Stale),
                    Err(I::Stale),
                    Err(I::Stale),
                    Err(I::Stale),
                    Err(I::Stale),
                    Ok(P::Dead),
                    Err(I::Stale),
                ],
            ),
            (
                Event::DaemonStarted,
                [
                    Ok(P::Created),
                    Err(I::Stale),
                    Err(I::Stale),
                    Ok(P::Exited),
                    Ok(P::Exited),
                    Err(I::Stale),
                    Err(I::Stale),
                ],
            ),
        ];
        for (event, row) in table {
            for (phase, expected) in PHASES.into_iter().zip(row) {
                let state = State { health: Some(Health::begin(None)), ..at(phase) };
                let got = step(&state, event.clone(), CHECKED, 9).map(|(s, _)| s.phase);
                assert_eq!(got, expected, "{event:?} in {phase:?}");
            }
        }
    }

    #[test]
    fn a_run_that_ends_is_counted_and_keeps_its_facts() {
        let (running, _) = step(&at(Phase::Created), Event::Started { pid: 7 }, NO, 100).unwrap();
        assert_eq!((running.pid, running.started_at, running.starts), (7, 100, 1));
        let (ended, effects) =
            step(&running, Event::Ended { code: 137, oom_killed: true, at: 200 }, NO, 300).unwrap();
        assert_eq!((ended.pid, ended.exit_code, ended.finished_at, ended.ends), (0, 137, 200, 1));
        assert!(ended.oom_killed && effects.is_empty());
    }

    #[test]
    fn back_off_doubles_to_a_minute_and_begins_anew_after_a_good_run() {
        let always = policy(Restart::Always);
        let mut state = at(Phase::Running);
        let mut delays = Vec::new();
        for _ in 0..12 {
            let (ended, effects) =
                step(&state, Event::Ended { code: 0, oom_killed: false, at: 1 }, always, 1).unwrap();
            let [Effect::RestartAfter(delay)] = effects[..] else { panic!("{effects:?}") };
            delays.push(delay.as_millis());
            let (due, effects) = step(&ended, Event::RestartDue, always, 1).unwrap();
            assert_eq!(effects, [Effect::Launch]);
            state = step(&due, Event::Started { pid: 1 }, always, 1).unwrap().0;
        }
        assert_eq!(delays[..5], [100, 200, 400, 800, 1600]);
        assert_eq!(delays[11], 60_000);
        assert_eq!(state.restarts, 12);
        let good = Event::Ended { code: 0, oom_killed: false, at: 1 + GOOD_RUN };
        let (_, effects) = step(&state, good, always, 1).unwrap();
        assert_eq!(effects, [Effect::RestartAfter(Duration::from_millis(100))]);
    }

    #[test]
    fn policies_decide_after_an_end() {
        let end = |code| Event::Ended { code, oom_killed: false, at: 1 };
        let stopped = State { stopped_by_user: true, ..at(Phase::Running) };
        let tried = State { restarts: 3, ..at(Phase::Running) };
        for (state, code, restart, phase) in [
            (at(Phase::Running), 1, Restart::No, Phase::Exited),
            (at(Phase::Running), 0, Restart::Always, Phase::Restarting),
            (stopped.clone(), 0, Restart::Always, Phase::Exited),
            (stopped, 0, Restart::UnlessStopped, Phase::Exited),
            (at(Phase::Running), 0, Restart::OnFailure { max: 0 }, Phase::Exited),
            (at(Phase::Running), 1, Restart::OnFailure { max: 0 }, Phase::Restarting),
            (tried.clone(), 1, Restart::OnFailure { max: 3 }, Phase::Exited),
            (tried, 1, Restart::OnFailure { max: 4 }, Phase::Restarting),
        ] {
            assert_eq!(step(&state, end(code), policy(restart), 1).unwrap().0.phase, phase, "{restart:?}");
        }
    }

    #[test]
    fn auto_remove_follows_every_end_and_every_failed_start() {
        let rm = Policy { auto_remove: true, ..NO };
        let end = Event::Ended { code: 0, oom_killed: false, at: 1 };
        let failed = Event::StartFailed { code: 127, error: String::new() };
        assert_eq!(step(&at(Phase::Running), end, rm, 1).unwrap().1, [Effect::AutoRemove]);
        assert_eq!(step(&at(Phase::Created), failed, rm, 1).unwrap().1, [Effect::AutoRemove]);
        assert_eq!(step(&at(Phase::Exited), Event::DaemonStarted, rm, 1).unwrap().1, [Effect::AutoRemove]);
    }

    #[test]
    fn the_daemons_start_follows_the_policy() {
        let stopped = State { stopped_by_user: true, exit_code: 137, ..at(Phase::Exited) };
        let launches = |state: &State, restart| {
            step(state, Event::DaemonStarted, policy(restart), 1).unwrap().1 == [Effect::Launch]
        };
        assert!(launches(&stopped, Restart::Always));
        assert!(!launches(&stopped, Restart::UnlessStopped));
        assert!(launches(&stopped, Restart::OnFailure { max: 0 }));
        assert!(!launches(&stopped, Restart::No));
        assert!(!launches(&at(Phase::Created), Restart::Always));
        assert!(launches(&at(Phase::Restarting), Restart::UnlessStopped));
    }

    #[test]
    fn the_users_start_forgets_the_stop() {
        let stopped = State { stopped_by_user: true, restarts: 4, backoff: 800, ..at(Phase::Exited) };
        let (next, effects) = step(&stopped, Event::Start, NO, 1).unwrap();
        assert_eq!((next.stopped_by_user, next.restarts, next.backoff), (false, 0, 0));
        assert_eq!(effects, [Effect::Launch]);
    }

    #[test]
    fn health_begins_with_a_run_and_rests_with_it() {
        let probe = |exit_code| Event::Probed(Probe { start: 2, end: 2, exit_code, output: String::new() });
        let status = |state: &State| state.health.as_ref().map(|h| h.status.word());
        let (running, _) = step(&at(Phase::Created), Event::Started { pid: 7 }, CHECKED, 1).unwrap();
        assert_eq!(status(&running), Some("starting"));
        let (healthy, effects) = step(&running, probe(0), CHECKED, 2).unwrap();
        assert_eq!((status(&healthy), effects), (Some("healthy"), vec![Effect::HealthChanged]));
        assert!(step(&healthy, probe(0), CHECKED, 2).unwrap().1.is_empty());
        let (paused, _) = step(&healthy, Event::Pause, CHECKED, 2).unwrap();
        assert_eq!(status(&paused), Some("unhealthy"));
        let end = Event::Ended { code: 0, oom_killed: false, at: 3 };
        let (ended, _) = step(&healthy, end, CHECKED, 3).unwrap();
        assert_eq!(status(&ended), Some("unhealthy"));
        let (again, _) = step(&ended, Event::Started { pid: 8 }, CHECKED, 4).unwrap();
        assert_eq!(status(&again), Some("starting"));
        let (unchecked, _) = step(&at(Phase::Created), Event::Started { pid: 7 }, NO, 1).unwrap();
        assert_eq!(status(&unchecked), None);
    }

    #[test]
    fn an_unhealthy_container_is_started_again_if_its_user_wants_that() {
        let rules = |on_failure| Rules { retries: 1, start_period: Duration::ZERO, on_failure };
        let with = |on_failure| Policy { health: Some(rules(on_failure)), ..NO };
        let restart = with(OnFailure::Restart);
        let (running, _) = step(&at(Phase::Created), Event::Started { pid: 7 }, restart, 1).unwrap();
        let failed = Event::Probed(Probe { start: 2, end: 2, exit_code: 1, output: String::new() });
        let (unhealthy, effects) = step(&running, failed, restart, 2).unwrap();
        assert_eq!(effects, [Effect::HealthChanged, Effect::EndUnhealthy(OnFailure::Restart)]);
        let end = |at| Event::Ended { code: 143, oom_killed: false, at };
        let (ended, effects) = step(&unhealthy, end(3), restart, 3).unwrap();
        assert_eq!(ended.phase, Phase::Restarting);
        assert_eq!(effects, [Effect::RestartAfter(Duration::from_millis(100))]);
        assert_eq!(step(&ended, Event::DaemonStarted, restart, 4).unwrap().1, [Effect::Launch]);
        // It was never healthy: the next back-off is longer, however long it ran.
        let second = State { backoff: 100, ..unhealthy.clone() };
        let (_, effects) = step(&second, end(1 + GOOD_RUN), restart, 3).unwrap();
        assert_eq!(effects, [Effect::RestartAfter(Duration::from_millis(200))]);
        // The user's stop is stronger, and without the wish nothing happens.
        let (stopped, _) = step(&unhealthy, Event::Stop, restart, 3).unwrap();
        assert_eq!(step(&stopped, end(4), restart, 4).unwrap().0.phase, Phase::Exited);
        assert_eq!(step(&unhealthy, end(4), with(OnFailure::Kill), 4).unwrap().0.phase, Phase::Exited);
    }
}
