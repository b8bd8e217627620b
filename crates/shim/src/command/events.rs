//! `events`: what a container uses, once or again and again, and kills for want of memory.

use std::time::Duration;

use serde_json::Value;
use sys::poll::{self, Interest};

use super::args::{Args, Known};
use super::record::{self, Held, Status};
use super::{Context, Outcome, print, words};

const OPTIONS: [Known; 2] = [("interval", "", true), ("stats", "", false)];

/// `events <id>`.
pub(super) fn events(context: &Context, arguments: &[String]) -> Outcome {
    let args = Args::parse(arguments, &OPTIONS)?;
    let id = args.id()?;
    let held = record::open(context, id)?;
    if held.status() == Status::Stopped {
        return Err(format!("container with id {id} is not running"));
    }
    if args.has("stats") {
        return line(id, "stats", &stats(&held)?);
    }
    let interval = interval(args.value("interval").unwrap_or("5s"))?;
    let pidfd = sys::process::pidfd_open(held.record.pid).map_err(words)?;
    let container = held.container(0)?;
    let Held { record, .. } = held;
    let mut told = false;
    loop {
        if poll::wait(&pidfd, Interest::READ, Some(interval)).map_err(words)? {
            return Ok(0);
        }
        if container.oom_killed() && !told {
            told = true;
            line(id, "oom", &Value::Null)?;
        }
        let cgroup = sys::cgroup::Cgroup::open(&record.cgroup).map_err(words)?;
        line(id, "stats", &runtime::stats(&cgroup))?;
    }
}

fn stats(held: &Held) -> Result<Value, String> {
    let cgroup = sys::cgroup::Cgroup::open(&held.record.cgroup).map_err(words)?;
    Ok(runtime::stats(&cgroup))
}

fn line(id: &str, kind: &str, data: &Value) -> Outcome {
    /// In runc's order.
    #[derive(serde::Serialize)]
    struct Line<'a> {
        r#type: &'a str,
        id: &'a str,
        #[serde(skip_serializing_if = "Value::is_null")]
        data: &'a Value,
    }
    let event = serde_json::to_string(&Line { r#type: kind, id, data }).unwrap_or_default();
    print(&format!("{event}\n"))
}

/// `5s`, `500ms`, `1m`.
fn interval(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits.parse().map_err(|_| format!("invalid interval {text:?}"))?;
    let interval = match &text[digits.len()..] {
        "ms" => Duration::from_millis(number),
        "s" => Duration::from_secs(number),
        "m" => Duration::from_secs(number.saturating_mul(60)),
        _ => return Err(format!("invalid interval {text:?}")),
    };
    if interval.is_zero() { Err("duration interval must be greater than 0".into()) } else { Ok(interval) }
}
