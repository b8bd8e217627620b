//! `events`: what a container uses, once or again and again, and kills for want of memory.

use std::time::Duration;

use serde_json::Value;
use sys::poll::{self, Interest};

use super::args::{Args, Known};
use super::record::{self, Status};
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
        return line(id, "stats", &held.container(0)?.stats());
    }
    let interval = interval(args.value("interval").unwrap_or("5s"))?;
    let pidfd = sys::process::pidfd_open(held.record.pid).map_err(words)?;
    let container = held.container(0)?;
    // Others may work on the container while it is looked at.
    drop(held);
    let mut told = 0;
    loop {
        let ended = poll::wait(&pidfd, Interest::READ, Some(interval)).map_err(words)?;
        let kills = container.oom_kills();
        if kills > told {
            told = kills;
            line(id, "oom", &Value::Null)?;
        }
        if ended {
            return Ok(0);
        }
        line(id, "stats", &container.stats())?;
    }
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
