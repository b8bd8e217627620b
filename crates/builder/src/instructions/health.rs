//! HEALTHCHECK.

use spec::api::HealthConfig;

use super::flags::Flags;
use super::read::{error, json_array};
use crate::error::Result;
use crate::parse::Node;

/// Reads `HEALTHCHECK [flags] CMD …` or `HEALTHCHECK NONE`.
pub(crate) fn read(node: &Node) -> Result<HealthConfig> {
    let flags = Flags::new(node, &["interval", "timeout", "start-period", "start-interval", "retries"], &[])?;
    let rest = node.rest.trim();
    let (kind, command) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let command = command.trim();
    let mut health = HealthConfig::default();
    match kind.to_ascii_uppercase().as_str() {
        "" => return Err(error(node, "HEALTHCHECK requires at least one argument")),
        "NONE" if command.is_empty() => {
            health.test = vec!["NONE".into()];
            return Ok(health);
        }
        "NONE" => return Err(error(node, "HEALTHCHECK NONE takes no arguments")),
        "CMD" if command.is_empty() => {
            return Err(error(node, "Missing command after HEALTHCHECK CMD"));
        }
        "CMD" => match json_array(command) {
            Ok(Some(arguments)) => {
                health.test.push("CMD".into());
                health.test.extend(arguments);
            }
            Ok(None) => health.test = vec!["CMD-SHELL".into(), command.into()],
            Err(()) => {
                return Err(error(
                    node,
                    "when using JSON array syntax, arrays must be comprised of strings only",
                ));
            }
        },
        other => return Err(error(node, format!("Unknown type {other:?} in HEALTHCHECK (try CMD)"))),
    }
    let duration = |name: &str| -> Result<i64> {
        let Some(text) = flags.value(name)? else { return Ok(0) };
        let invalid = || error(node, format!("time: invalid duration {text:?}"));
        match nanoseconds(&text).ok_or_else(invalid)? {
            0 => Ok(0),
            short @ ..1_000_000 => {
                let detail = if short < 0 { "cannot be negative" } else { "cannot be less than 1ms" };
                Err(error(node, format!("Interval {name:?} {detail}")))
            }
            long => Ok(long),
        }
    };
    health.interval = duration("interval")?;
    health.timeout = duration("timeout")?;
    health.start_period = duration("start-period")?;
    health.start_interval = duration("start-interval")?;
    if let Some(retries) = flags.value("retries")? {
        health.retries = match retries.parse() {
            Ok(retries) if retries >= 0 => retries,
            Ok(_) => return Err(error(node, format!("--retries cannot be negative ({retries})"))),
            Err(_) => return Err(error(node, format!("--retries must be a number, not {retries:?}"))),
        };
    }
    Ok(health)
}

/// Go's durations: `1h2m3.5s`, `100ms`, `0`.
pub(crate) fn nanoseconds(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    let mut total = 0_f64;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let scale = match &rest[..unit] {
            "ns" => 1.0,
            "us" | "µs" | "μs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            _ => return None,
        };
        total += number * scale;
        rest = &rest[unit..];
    }
    // Beyond 292 years there is no meaning, and no i64.
    if total >= 9.2e18 {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, reason = "bounded just above")]
    let total = total as i64;
    Some(if negative { -total } else { total })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_gos() {
        for (text, expected) in [
            ("30s", Some(30_000_000_000)),
            ("1m30s", Some(90_000_000_000)),
            ("1.5h", Some(5_400_000_000_000)),
            ("100ms", Some(100_000_000)),
            ("0", Some(0)),
            ("-1s", Some(-1_000_000_000)),
            ("", None),
            ("30", None),
            ("s", None),
            ("1d", None),
            ("999999999999h", None),
        ] {
            assert_eq!(nanoseconds(text), expected, "{text}");
        }
    }
}
