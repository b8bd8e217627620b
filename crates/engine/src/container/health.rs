//! Health: what a probe's result means. Pure; [`super::state::step`] asks it, [`monitor`] runs the probes.
//!
//! The rules are Docker's: failures within the start period of a container that was never healthy do not count, a
//! success ends that period, `retries` failures in a row make it unhealthy. Beyond Docker the label
//! [`ON_FAILURE`] says what to do then.

mod monitor;
mod probe;
mod test;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use spec::api::{self, ContainerConfig, HealthConfig};

pub(crate) use self::test::Test;
use crate::{Error, time};

/// The label that says what happens to a container that has become unhealthy: `none`, `kill`, `stop` or `restart`.
pub(crate) const ON_FAILURE: &str = "com.corten.health.on-failure";
/// How many results are kept, as in Docker.
const KEPT: usize = 5;
/// How much of a probe's output is kept, in bytes, as in Docker.
pub(crate) const MAX_OUTPUT: usize = 4096;
/// The exit code of a probe that timed out or could not be run.
pub(crate) const NO_CODE: i32 = -1;

const INTERVAL: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(30);
const START_INTERVAL: Duration = Duration::from_secs(5);
const RETRIES: u32 = 3;

/// What a container with a health check is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// No success and not enough failures yet.
    Starting,
    /// The last success was followed by less than `retries` failures.
    Healthy,
    /// `retries` failures in a row; also, as in Docker, whenever no probes are run (paused, ended).
    Unhealthy,
}

impl Status {
    /// The API's word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// What to do with a container that has become unhealthy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// Nothing but the event: Docker's way.
    #[default]
    None,
    /// SIGKILL; its restart policy then sees a failed run.
    Kill,
    /// A stop, as the user's: no policy starts it again.
    Stop,
    /// A stop and, after the restart policy's back-off, a start.
    Restart,
}

impl OnFailure {
    /// Reads the label [`ON_FAILURE`].
    pub(crate) fn read(labels: &BTreeMap<String, String>) -> Result<Self, Error> {
        match labels.get(ON_FAILURE).map(String::as_str) {
            None | Some("" | "none") => Ok(Self::None),
            Some("kill") => Ok(Self::Kill),
            Some("stop") => Ok(Self::Stop),
            Some("restart") => Ok(Self::Restart),
            Some(other) => Err(Error::Invalid(format!(
                "invalid label {ON_FAILURE}={other}: use one of 'none', 'kill', 'stop' or 'restart'"
            ))),
        }
    }
}

/// What a result is judged by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// So many failures in a row make it unhealthy.
    pub retries: u32,
    /// Failures in this time after the start do not count.
    pub start_period: Duration,
    /// What to do then.
    pub on_failure: OnFailure,
}

/// A health check with Docker's defaults filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Check {
    pub(crate) test: Test,
    pub(crate) interval: Duration,
    pub(crate) timeout: Duration,
    pub(crate) start_interval: Duration,
    pub(crate) rules: Rules,
}

impl Check {
    /// The check a merged configuration asks for; `None`: none, or of a kind nobody knows (Docker ignores those too).
    pub(crate) fn of(config: &ContainerConfig) -> Option<Self> {
        let health = config.healthcheck.as_ref()?;
        let test = Test::read(&health.test, &config.shell).ok().flatten()?;
        let or = |nanoseconds: i64, default: Duration| match u64::try_from(nanoseconds) {
            Ok(n) if n > 0 => Duration::from_nanos(n),
            _ => default,
        };
        Some(Self {
            test,
            interval: or(health.interval, INTERVAL),
            timeout: or(health.timeout, TIMEOUT),
            start_interval: or(health.start_interval, START_INTERVAL),
            rules: rules(config)?,
        })
    }

    /// How long to wait for the next probe of a container that has run for `age`. A probe falls due at the end of the
    /// start period at the latest, so that failures count from then on.
    pub(crate) fn wait(&self, status: Status, age: Duration) -> Duration {
        match self.rules.start_period.checked_sub(age) {
            Some(left) if status == Status::Starting && !left.is_zero() => self.start_interval.min(left),
            _ => self.interval,
        }
    }
}

/// What results are judged by; `None` without a check.
pub(crate) fn rules(config: &ContainerConfig) -> Option<Rules> {
    let health = config.healthcheck.as_ref()?;
    if !is_check(health) {
        return None;
    }
    Some(Rules {
        retries: u32::try_from(health.retries).ok().filter(|n| *n > 0).unwrap_or(RETRIES),
        start_period: Duration::from_nanos(u64::try_from(health.start_period).unwrap_or(0)),
        // Refused at create; what an older record holds is no reason to fail now.
        on_failure: OnFailure::read(&config.labels).unwrap_or_default(),
    })
}

fn is_check(health: &HealthConfig) -> bool {
    health.test.len() > 1 && matches!(health.test[0].as_str(), "CMD" | "CMD-SHELL" | "HTTP" | "TCP")
}

/// One probe's result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// Nanoseconds since 1970.
    pub start: u64,
    /// Nanoseconds since 1970.
    pub end: u64,
    /// 0 is healthy.
    pub exit_code: i32,
    /// What it said, at most [`MAX_OUTPUT`] bytes and a mark.
    pub output: String,
}

/// A container's health.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// What it is like.
    pub status: Status,
    /// Failures in a row.
    pub failing_streak: u32,
    /// The last results, the newest last; they outlive a restart, as in Docker.
    pub log: Vec<Probe>,
    /// A probe has succeeded in this run.
    pub passed: bool,
    /// It was found unhealthy in this run, and what is to be done then is under way.
    pub acted: bool,
}

impl Health {
    /// At the start of a run.
    pub(crate) fn begin(before: Option<&Self>) -> Self {
        let log = before.map(|h| h.log.clone()).unwrap_or_default();
        Self { status: Status::Starting, failing_streak: 0, log, passed: false, acted: false }
    }

    /// When probing ends or rests.
    pub(crate) fn unwatched(&self) -> Self {
        Self { status: Status::Unhealthy, ..self.clone() }
    }

    /// After a probe of a run that began at `started_at`. The second value: what is to be done about it.
    pub(crate) fn probed(&self, probe: Probe, rules: Rules, started_at: u64) -> (Self, OnFailure) {
        let mut next = self.clone();
        let excess = (next.log.len() + 1).saturating_sub(KEPT);
        next.log.drain(..excess);
        let age = time::since(started_at, probe.start);
        let failed = probe.exit_code != 0;
        next.log.push(probe);
        if !failed {
            next.status = Status::Healthy;
            next.failing_streak = 0;
            next.passed = true;
            return (next, OnFailure::None);
        }
        if next.status == Status::Starting && age < rules.start_period {
            return (next, OnFailure::None);
        }
        next.failing_streak = next.failing_streak.saturating_add(1);
        if next.failing_streak < rules.retries {
            return (next, OnFailure::None);
        }
        next.status = Status::Unhealthy;
        if next.acted || rules.on_failure == OnFailure::None {
            return (next, OnFailure::None);
        }
        next.acted = true;
        (next, rules.on_failure)
    }

    /// What `ps` shows behind the time it is up.
    pub(crate) fn shown(&self) -> &'static str {
        match self.status {
            Status::Starting => "health: starting",
            Status::Healthy | Status::Unhealthy => self.status.word(),
        }
    }

    /// The API's shape.
    pub(crate) fn api(&self) -> api::Health {
        let result = |probe: &Probe| api::HealthcheckResult {
            start: time::rfc3339(probe.start),
            end: time::rfc3339(probe.end),
            exit_code: probe.exit_code.into(),
            output: probe.output.clone(),
        };
        api::Health {
            status: self.status.word().into(),
            failing_streak: self.failing_streak.into(),
            log: self.log.iter().map(result).collect(),
        }
    }
}

/// The word for a container's health in lists and filters.
pub(crate) fn word(health: Option<&Health>) -> &'static str {
    health.map_or("none", |h| h.status.word())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn probe(at: u64, exit_code: i32) -> Probe {
        Probe { start: at * SECOND, end: at * SECOND, exit_code, output: String::new() }
    }

    fn rules(retries: u32, start_period: u64, on_failure: OnFailure) -> Rules {
        Rules { retries, start_period: Duration::from_secs(start_period), on_failure }
    }

    /// The statuses and streaks after probes at these seconds with these codes; the run began at 0.
    fn after(rules: Rules, probes: &[(u64, i32)]) -> Vec<(&'static str, u32)> {
        let mut health = Health::begin(None);
        probes
            .iter()
            .map(|&(at, code)| {
                health = health.probed(probe(at, code), rules, 0).0;
                (health.status.word(), health.failing_streak)
            })
            .collect()
    }

    #[test]
    fn retries_failures_in_a_row_make_it_unhealthy_and_one_success_healthy() {
        assert_eq!(
            after(rules(2, 0, OnFailure::None), &[(1, 1), (2, 0), (3, -1), (4, 9), (5, 1), (6, 0)]),
            [
                ("starting", 1),
                ("healthy", 0),
                ("healthy", 1),
                ("unhealthy", 2),
                ("unhealthy", 3),
                ("healthy", 0)
            ]
        );
    }

    #[test]
    fn failures_in_the_start_period_do_not_count_until_a_success_ends_it() {
        assert_eq!(
            after(rules(1, 10, OnFailure::None), &[(1, 1), (9, 1), (10, 1)]),
            [("starting", 0), ("starting", 0), ("unhealthy", 1)]
        );
        assert_eq!(
            after(rules(1, 10, OnFailure::None), &[(1, 1), (2, 0), (3, 1)]),
            [("starting", 0), ("healthy", 0), ("unhealthy", 1)]
        );
    }

    #[test]
    fn it_is_acted_on_once_in_a_run() {
        let rules = rules(1, 0, OnFailure::Restart);
        let (first, act) = Health::begin(None).probed(probe(1, 1), rules, 0);
        assert_eq!(act, OnFailure::Restart);
        let (second, act) = first.probed(probe(2, 1), rules, 0);
        assert_eq!(act, OnFailure::None);
        let again = Health::begin(Some(&second));
        assert_eq!((again.status, again.failing_streak, again.log.len()), (Status::Starting, 0, 2));
        assert_eq!(again.probed(probe(3, 1), rules, 0).1, OnFailure::Restart);
    }

    #[test]
    fn the_last_five_results_are_kept() {
        let mut health = Health::begin(None);
        for at in 1..=7 {
            health = health.probed(probe(at, 0), rules(3, 0, OnFailure::None), 0).0;
        }
        let starts: Vec<u64> = health.log.iter().map(|p| p.start / SECOND).collect();
        assert_eq!(starts, [3, 4, 5, 6, 7]);
    }

    #[test]
    fn the_wait_depends_on_the_start_period() {
        let config = |start_period: i64| ContainerConfig {
            healthcheck: Some(HealthConfig {
                test: vec!["CMD".into(), "true".into()],
                start_period: start_period * 1_000_000_000,
                ..HealthConfig::default()
            }),
            ..ContainerConfig::default()
        };
        let seconds = Duration::from_secs;
        let check = Check::of(&config(12)).unwrap();
        for (status, age, wait) in [
            (Status::Starting, 0, 5),
            (Status::Starting, 10, 2),
            (Status::Starting, 12, 30),
            (Status::Healthy, 3, 30),
            (Status::Unhealthy, 3, 30),
        ] {
            assert_eq!(check.wait(status, seconds(age)), seconds(wait), "{status:?} {age}");
        }
        assert_eq!(Check::of(&config(0)).unwrap().wait(Status::Starting, seconds(0)), seconds(30));
    }

    #[test]
    fn only_known_tests_are_checks() {
        let of = |words: &[&str]| {
            let test = words.iter().map(|w| (*w).to_owned()).collect();
            let healthcheck = Some(HealthConfig { test, ..HealthConfig::default() });
            Check::of(&ContainerConfig { healthcheck, ..ContainerConfig::default() }).is_some()
        };
        assert!(of(&["CMD", "true"]) && of(&["CMD-SHELL", "true"]) && of(&["TCP", "localhost:1"]));
        assert!(!of(&[]) && !of(&["NONE"]) && !of(&["CMD"]) && !of(&["FOO", "x"]));
    }

    #[test]
    fn the_label_is_read() {
        let read = |value: &str| OnFailure::read(&[(ON_FAILURE.to_owned(), value.to_owned())].into());
        assert_eq!(OnFailure::read(&BTreeMap::new()).unwrap(), OnFailure::None);
        assert_eq!(read("restart").unwrap(), OnFailure::Restart);
        assert!(read("reboot").unwrap_err().to_string().contains("use one of 'none', 'kill', 'stop'"));
    }
}
