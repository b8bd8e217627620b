//! Every pair of phase and event, and what follows.

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
