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
        match spec::duration::parse(&text).map_err(|e| error(node, e.to_string()))? {
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
