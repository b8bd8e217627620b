//! Points in time: as the API writes them, as users give them, as lists show them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::error::{Error, Result};

/// Seconds since 1970.
pub(crate) fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| i64::try_from(d.as_secs()).unwrap_or(i64::MAX))
}

/// `3 hours ago`, for seconds since 1970.
pub(crate) fn ago(then: i64) -> String {
    format!("{} ago", spec::duration::human(Duration::from_secs(u64::try_from(now() - then).unwrap_or(0))))
}

/// `2026-11-23 23:20:20 +0000 UTC`, for seconds since 1970, as Go's `Time.String` writes it.
pub(crate) fn full(then: i64) -> String {
    Timestamp::from_second(then)
        .map(|t| t.to_zoned_datetime(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S %z %Z").to_string())
        .unwrap_or_default()
}

/// `2026-11-23 23:20:20.000000001 +0000 UTC`, for one of the API's times.
pub(crate) fn full_nano(text: &str) -> String {
    let Ok(time) = text.parse::<Timestamp>() else { return text.to_owned() };
    time.to_zoned_datetime(TimeZone::UTC).strftime("%Y-%m-%d %H:%M:%S%.f %z %Z").to_string()
}

/// `2026-11-23T23:20:20Z`, for seconds since 1970.
pub(crate) fn rfc3339(then: i64) -> String {
    Timestamp::from_second(then)
        .map(|t| {
            t.to_zoned_datetime(TimeZone::system())
                .strftime("%Y-%m-%dT%H:%M:%S%:z")
                .to_string()
                .replace("+00:00", "Z")
        })
        .unwrap_or_default()
}

/// `2026-11-23T23:20:20.000000001Z`, for nanoseconds since 1970, in the user's time zone.
pub(crate) fn rfc3339_nano(nanoseconds: i64) -> String {
    Timestamp::from_nanosecond(i128::from(nanoseconds))
        .map(|t| {
            t.to_zoned_datetime(TimeZone::system())
                .strftime("%Y-%m-%dT%H:%M:%S.%9f%:z")
                .to_string()
                .replace("+00:00", "Z")
        })
        .unwrap_or_default()
}

/// Seconds since 1970 of one of the API's times; 0 when it is none.
pub(crate) fn seconds(text: &str) -> i64 {
    text.parse::<Timestamp>().map_or(0, Timestamp::as_second)
}

/// What a user gives to `--since` or `--until`, as the API wants it: seconds since 1970 with a fraction.
/// Takes RFC 3339 with or without its tail, seconds, or a duration before now.
pub(crate) fn moment(text: &str) -> Result<String> {
    if text.is_empty() || text.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return Ok(text.to_owned());
    }
    if let Ok(before) = spec::duration::parse(text) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let then = now.as_nanos().saturating_add_signed(-i128::from(before));
        return Ok(format!("{}.{:09}", then / 1_000_000_000, then % 1_000_000_000));
    }
    let local = || -> std::result::Result<Timestamp, jiff::Error> {
        let time: jiff::civil::DateTime = text.parse()?;
        Ok(time.to_zoned_datetime(TimeZone::system())?.timestamp())
    };
    let time = text.parse::<Timestamp>().or_else(|_| local());
    let time =
        time.map_err(|_| Error::invalid(format!("failed to parse value as time or duration: {text:?}")))?;
    Ok(format!("{}.{:09}", time.as_second(), time.subsec_nanosecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments() {
        assert_eq!(moment("1700000000.5").unwrap(), "1700000000.5");
        assert_eq!(moment("2013-01-02T13:23:37Z").unwrap(), "1357133017.000000000");
        assert_eq!(moment("2013-01-02T13:23:37.25+01:00").unwrap(), "1357129417.250000000");
        assert!(moment("10m").unwrap().parse::<f64>().unwrap() < now() as f64 - 599.0);
        assert!(moment("yesterday").is_err());
    }
}
