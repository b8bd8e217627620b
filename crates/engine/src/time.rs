//! Time as people and clients read it. Inside the engine a time is nanoseconds since 1970; 0 is never.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use spec::api::ZERO_TIME;

/// Now.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// RFC 3339 in UTC with as many digits as needed (Go's `RFC3339Nano`).
pub(crate) fn rfc3339(nanoseconds: u64) -> String {
    if nanoseconds == 0 {
        return ZERO_TIME.into();
    }
    Timestamp::from_nanosecond(nanoseconds.into()).map_or_else(|_| ZERO_TIME.into(), |t| t.to_string())
}

/// Nanoseconds of an RFC 3339 text; `None` when it is not one, or lies before 1970.
pub(crate) fn parse_rfc3339(text: &str) -> Option<u64> {
    u64::try_from(text.parse::<Timestamp>().ok()?.as_nanosecond()).ok()
}

/// The value of an `until` filter: RFC 3339, seconds since 1970 (with a fraction), or a Go duration before `now`.
pub(crate) fn parse_until(text: &str, now: u64) -> Option<u64> {
    if let Ok(seconds) = text.parse::<f64>() {
        return (0.0..1e10).contains(&seconds).then_some((seconds * 1e9) as u64);
    }
    if let Some(duration) = parse_duration(text) {
        return Some(now.saturating_sub(u64::try_from(duration.as_nanos()).ok()?));
    }
    if let Some(time) = parse_rfc3339(text) {
        return Some(time);
    }
    // RFC 3339 without a zone, or a date alone: UTC, as a server has no other.
    [format!("{text}Z"), format!("{text}T00:00:00Z")].iter().find_map(|t| parse_rfc3339(t))
}

/// A Go duration such as `1h30m` or `500ms`.
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = 0f64;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let unit = match &rest[..end] {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        total += number * unit;
        rest = &rest[end..];
    }
    Duration::try_from_secs_f64(total).ok()
}

/// A duration as Go prints it: `1.5s`, `1m30s`, `300ms`.
pub(crate) fn go_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let small = |unit: f64| format!("{}", duration.as_nanos() as f64 / unit);
    match () {
        () if duration.is_zero() => "0s".into(),
        () if duration < Duration::from_micros(1) => format!("{}ns", duration.as_nanos()),
        () if duration < Duration::from_millis(1) => format!("{}µs", small(1e3)),
        () if duration < Duration::from_secs(1) => format!("{}ms", small(1e6)),
        () => {
            let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
            let rest = format!("{}.{:09}", seconds % 60, duration.subsec_nanos());
            let rest = rest.trim_end_matches('0').trim_end_matches('.');
            match (hours, minutes) {
                (0, 0) => format!("{rest}s"),
                (0, minutes) => format!("{minutes}m{rest}s"),
                (hours, minutes) => format!("{hours}h{minutes}m{rest}s"),
            }
        }
    }
}

/// A duration as Docker says it (`About a minute`, `3 weeks`).
pub(crate) fn human(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let minutes = seconds / 60;
    let hours = (duration.as_secs_f64() / 3600.0 + 0.5) as u64;
    match () {
        () if seconds < 1 => "Less than a second".into(),
        () if seconds == 1 => "1 second".into(),
        () if seconds < 60 => format!("{seconds} seconds"),
        () if minutes == 1 => "About a minute".into(),
        () if minutes < 60 => format!("{minutes} minutes"),
        () if hours == 1 => "About an hour".into(),
        () if hours < 48 => format!("{hours} hours"),
        () if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        () if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        () if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        () => format!("{} years", hours / 24 / 365),
    }
}

/// How long ago `then` was.
pub(crate) fn since(then: u64, now: u64) -> Duration {
    Duration::from_nanos(now.saturating_sub(then))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_dockers() {
        for (seconds, text) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (300, "5 minutes"),
            (3600, "About an hour"),
            (7200, "2 hours"),
            (47 * 3600, "47 hours"),
            (3 * 86400, "3 days"),
            (15 * 86400, "2 weeks"),
            (61 * 86400, "2 months"),
            (800 * 86400, "2 years"),
        ] {
            assert_eq!(human(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn until_takes_three_forms() {
        let hour = 3_600_000_000_000;
        assert_eq!(parse_until("1h", 2 * hour), Some(hour));
        assert_eq!(parse_until("1970-01-01T01:00:00Z", 0), Some(hour));
        assert_eq!(parse_until("3600", 0), Some(hour));
        assert_eq!(parse_until("1970-01-02", 0), Some(24 * hour));
        assert_eq!(parse_until("soon", 0), None);
        assert_eq!(parse_duration("1h30m"), Some(Duration::from_secs(5400)));
        assert_eq!(rfc3339(0), ZERO_TIME);
        assert_eq!(rfc3339(1_500_000_000), "1970-01-01T00:00:01.5Z");
    }

    #[test]
    fn durations_print_as_gos() {
        for (milliseconds, text) in [
            (0, "0s"),
            (1, "1ms"),
            (1500, "1.5s"),
            (30_000, "30s"),
            (60_000, "1m0s"),
            (90_250, "1m30.25s"),
            (3_600_000, "1h0m0s"),
        ] {
            assert_eq!(go_duration(Duration::from_millis(milliseconds)), text);
        }
        assert_eq!(go_duration(Duration::from_micros(1500)), "1.5ms");
    }
}
