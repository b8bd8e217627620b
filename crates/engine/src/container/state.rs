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

    /// Init's pid on the host, if there is one.
    pub fn init(&self) -> Option<i32> {
        self.is_alive().then_some(self.pid)
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
mod tests;
