//! Durations as Go's `time` reads and writes them (`1h30m`, `1.5s`), and as Docker tells them to people (`3 hours`).

use std::time::Duration;

/// The units of a duration's text, in nanoseconds. Micro has a sign of its own and a Greek letter.
const UNITS: [(&str, i128); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// A text that is no duration, in Go's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Not numbers with units, or beyond 292 years.
    #[error("time: invalid duration {0:?}")]
    Invalid(String),
    /// A number without a unit.
    #[error("time: missing unit in duration {0:?}")]
    MissingUnit(String),
    /// A unit that is none.
    #[error("time: unknown unit {unit:?} in duration {text:?}")]
    UnknownUnit {
        /// The unit.
        unit: String,
        /// The whole text.
        text: String,
    },
}

/// Nanoseconds of a text such as `1h30m`, `-1.5s`, `300ms`, `0` (Go's `time.ParseDuration`).
///
/// # Errors
/// It is none.
pub fn parse(text: &str) -> Result<i64, ParseError> {
    let invalid = || ParseError::Invalid(text.to_owned());
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let is_number = |c: char| c.is_ascii_digit() || c == '.';
    let mut total = 0_i128;
    while !rest.is_empty() {
        let end = rest.find(|c| !is_number(c)).unwrap_or(rest.len());
        let (number, after) = rest.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
            return Err(invalid());
        }
        let (unit, after) = after.split_at(after.find(is_number).unwrap_or(after.len()));
        if unit.is_empty() {
            return Err(ParseError::MissingUnit(text.to_owned()));
        }
        let Some((_, nanoseconds)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(ParseError::UnknownUnit { unit: unit.to_owned(), text: text.to_owned() });
        };
        // More digits than that are below a nanosecond whatever the unit.
        let fraction = &fraction[..fraction.len().min(18)];
        let digits = |text: &str| if text.is_empty() { Ok(0) } else { text.parse::<i128>() };
        let (whole, below) =
            (digits(whole).map_err(|_| invalid())?, digits(fraction).map_err(|_| invalid())?);
        let scale = 10_i128.pow(u32::try_from(fraction.len()).map_err(|_| invalid())?);
        let whole = whole.checked_mul(*nanoseconds).ok_or_else(invalid)?;
        total = total.checked_add(whole + below * nanoseconds / scale).ok_or_else(invalid)?;
        rest = after;
    }
    i64::try_from(sign * total).map_err(|_| invalid())
}

/// `1m30s`, `1.5s`, `20ms` (Go's `Duration.String`).
pub fn format(nanoseconds: i64) -> String {
    let (sign, n) = (if nanoseconds < 0 { "-" } else { "" }, nanoseconds.unsigned_abs());
    let scaled = |n: u64, unit: u64| {
        let fraction = format!("{:09}", (n % unit) * (1_000_000_000 / unit));
        match fraction.trim_end_matches('0') {
            "" => (n / unit).to_string(),
            fraction => format!("{}.{fraction}", n / unit),
        }
    };
    let text = match n {
        0 => "0s".into(),
        1..1_000 => format!("{n}ns"),
        1_000..1_000_000 => format!("{}µs", scaled(n, 1_000)),
        1_000_000..1_000_000_000 => format!("{}ms", scaled(n, 1_000_000)),
        _ => {
            let minutes = n / 60_000_000_000;
            let seconds = scaled(n % 60_000_000_000, 1_000_000_000);
            match (minutes / 60, minutes % 60) {
                (0, 0) => format!("{seconds}s"),
                (0, minutes) => format!("{minutes}m{seconds}s"),
                (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
            }
        }
    };
    format!("{sign}{text}")
}

/// `About a minute`, `3 weeks`: what `ps` and `images` show.
pub fn human(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let minutes = seconds / 60;
    // Rounded, as in Docker: ninety minutes are two hours.
    let hours = (seconds + 1800) / 3600;
    match seconds {
        0 => "Less than a second".into(),
        1 => "1 second".into(),
        2..60 => format!("{seconds} seconds"),
        _ if minutes == 1 => "About a minute".into(),
        _ if minutes < 60 => format!("{minutes} minutes"),
        _ if hours == 1 => "About an hour".into(),
        _ if hours < 48 => format!("{hours} hours"),
        _ if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        _ if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        _ if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", seconds / 3600 / 24 / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read_as_go_reads_them() {
        for (text, nanoseconds) in [
            ("30s", 30_000_000_000),
            ("1m30s", 90_000_000_000),
            ("1h2m3.5s", 3_723_500_000_000),
            ("1.5h", 5_400_000_000_000),
            (".5s", 500_000_000),
            ("1.s", 1_000_000_000),
            ("100ms", 100_000_000),
            ("1.5us", 1_500),
            ("2µs", 2_000),
            ("2μs", 2_000),
            ("0", 0),
            ("+5ns", 5),
            ("-1s", -1_000_000_000),
            ("0.1234567891234567891234567s", 123_456_789),
            ("2562047h47m16.854775807s", i64::MAX),
        ] {
            assert_eq!(parse(text), Ok(nanoseconds), "{text}");
        }
        for (text, why) in [
            ("", "time: invalid duration \"\""),
            ("-", "time: invalid duration \"-\""),
            ("s", "time: invalid duration \"s\""),
            (".s", "time: invalid duration \".s\""),
            ("1.2.3s", "time: invalid duration \"1.2.3s\""),
            ("soon", "time: invalid duration \"soon\""),
            ("999999999999h", "time: invalid duration \"999999999999h\""),
            ("99999999999999999999999999999999999999999h", "invalid duration"),
            ("30", "time: missing unit in duration \"30\""),
            ("1d", "time: unknown unit \"d\" in duration \"1d\""),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn written_as_go_writes_them() {
        for (nanoseconds, text) in [
            (0, "0s"),
            (7, "7ns"),
            (1_500, "1.5µs"),
            (20_000_000, "20ms"),
            (1_500_000_000, "1.5s"),
            (90_250_000_000, "1m30.25s"),
            (60_000_000_000, "1m0s"),
            (3_600_000_000_000, "1h0m0s"),
            (-2_000_000_000, "-2s"),
        ] {
            assert_eq!(format(nanoseconds), text);
            assert_eq!(parse(text), Ok(nanoseconds));
        }
    }

    #[test]
    fn told_as_docker_tells_them() {
        const HOUR: u64 = 3600;
        for (seconds, text) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (119, "About a minute"),
            (120, "2 minutes"),
            (59 * 60 + 59, "59 minutes"),
            (HOUR, "About an hour"),
            (90 * 60, "2 hours"),
            (47 * HOUR, "47 hours"),
            (48 * HOUR, "2 days"),
            (13 * 24 * HOUR, "13 days"),
            (15 * 24 * HOUR, "2 weeks"),
            (61 * 24 * HOUR, "2 months"),
            (800 * 24 * HOUR, "2 years"),
        ] {
            assert_eq!(human(Duration::from_secs(seconds)), text, "{seconds}");
        }
    }
}
