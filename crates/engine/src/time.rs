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
    if let Ok(before) = spec::duration::parse(text) {
        return now.checked_add_signed(before.checked_neg()?);
    }
    if let Some(time) = parse_rfc3339(text) {
        return Some(time);
    }
    // RFC 3339 without a zone, or a date alone: UTC, as a server has no other.
    [format!("{text}Z"), format!("{text}T00:00:00Z")].iter().find_map(|t| parse_rfc3339(t))
}

/// How long ago `then` was.
pub(crate) fn since(then: u64, now: u64) -> Duration {
    Duration::from_nanos(now.saturating_sub(then))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn until_takes_three_forms() {
        let hour = 3_600_000_000_000;
        assert_eq!(parse_until("1h", 2 * hour), Some(hour));
        assert_eq!(parse_until("1970-01-01T01:00:00Z", 0), Some(hour));
        assert_eq!(parse_until("3600", 0), Some(hour));
        assert_eq!(parse_until("1970-01-02", 0), Some(24 * hour));
        assert_eq!(parse_until("soon", 0), None);
        assert_eq!(rfc3339(0), ZERO_TIME);
        assert_eq!(rfc3339(1_500_000_000), "1970-01-01T00:00:01.5Z");
    }
}
