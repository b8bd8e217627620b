//! RFC 3339 times in UTC, as Go's `RFC3339Nano` writes them. A time is nanoseconds since 1970.

use std::time::{SystemTime, UNIX_EPOCH};

const SECOND: u64 = 1_000_000_000;
const DAY: u64 = 24 * 60 * 60;

/// What the clock says.
pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// `2006-01-02T15:04:05.12Z`: the fraction without its trailing zeros, as log files have it.
pub fn format(nanos: u64) -> String {
    let (whole, fraction) = parts(nanos);
    if fraction == 0 {
        return format!("{whole}Z");
    }
    let digits = format!("{fraction:09}");
    format!("{whole}.{}Z", digits.trim_end_matches('0'))
}

/// `2006-01-02T15:04:05.120000000Z`: always nine digits, as `docker logs --timestamps` prints it.
pub fn format_fixed(nanos: u64) -> String {
    let (whole, fraction) = parts(nanos);
    format!("{whole}.{fraction:09}Z")
}

fn parts(nanos: u64) -> (String, u64) {
    let seconds = nanos / SECOND;
    let (year, month, day) = date(seconds / DAY);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    (format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}"), nanos % SECOND)
}

/// The civil date of a day since 1970. Years are counted from March, so that the leap day comes last; 719468
/// days lie between 0000-03-01 and 1970-01-01, 146097 in each 400 years.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

/// The day since 1970 of a civil date; `None` before 1970.
fn day_number(year: u64, month: u64, day: u64) -> Option<u64> {
    let year = if month <= 2 { year.checked_sub(1)? } else { year };
    let month_from_march = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    (year * 365 + year / 4 - year / 100 + year / 400 + day_of_year).checked_sub(719_468)
}

/// Reads an RFC 3339 time, with `Z` or an offset; `None` for anything else, and before 1970.
pub fn parse(text: &str) -> Option<u64> {
    let bytes = text.as_bytes();
    let number = |from: usize, to: usize| {
        let digits = bytes.get(from..to)?;
        digits.iter().try_fold(0, |n, c| c.is_ascii_digit().then(|| n * 10 + u64::from(c - b'0')))
    };
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let marks = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    if !marks.iter().all(|(at, mark)| bytes.get(*at) == Some(mark)) {
        return None;
    }
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let mut rest = bytes.get(19..)?;
    let mut fraction = 0;
    if let [b'.', digits @ ..] = rest {
        let count = digits.iter().take_while(|c| c.is_ascii_digit()).count();
        if !(1..=9).contains(&count) {
            return None;
        }
        fraction = digits[..count].iter().fold(0, |n, c| n * 10 + u64::from(c - b'0'));
        fraction *= 10_u64.pow(u32::try_from(9 - count).ok()?);
        rest = &digits[count..];
    }
    let at = text.len() - rest.len();
    let seconds = day_number(year, month, day)? * DAY + hour * 3600 + minute * 60 + second;
    let seconds = match rest {
        b"Z" => seconds,
        [sign @ (b'+' | b'-'), _, _, b':', _, _] => {
            let offset = number(at + 1, at + 3)? * 3600 + number(at + 4, at + 6)? * 60;
            if *sign == b'+' { seconds.checked_sub(offset)? } else { seconds + offset }
        }
        _ => return None,
    };
    seconds.checked_mul(SECOND)?.checked_add(fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_go_writes_them() {
        for (nanos, short, fixed) in [
            (0, "1970-01-01T00:00:00Z", "1970-01-01T00:00:00.000000000Z"),
            (1_136_214_245_120_000_000, "2006-01-02T15:04:05.12Z", "2006-01-02T15:04:05.120000000Z"),
            (951_782_400_000_000_001, "2000-02-29T00:00:00.000000001Z", "2000-02-29T00:00:00.000000001Z"),
            (4_107_542_399_999_999_999, "2100-02-28T23:59:59.999999999Z", "2100-02-28T23:59:59.999999999Z"),
        ] {
            assert_eq!(format(nanos), short);
            assert_eq!(format_fixed(nanos), fixed);
            assert_eq!((parse(short), parse(fixed)), (Some(nanos), Some(nanos)));
        }
    }

    #[test]
    fn offsets_are_read_and_nonsense_is_not() {
        assert_eq!(parse("1970-01-01T02:00:00+01:30"), Some(1800 * SECOND));
        assert_eq!(parse("1970-01-01T02:00:00-01:00"), Some(3 * 3600 * SECOND));
        for bad in [
            "",
            "2006-01-02",
            "2006-13-02T15:04:05Z",
            "2006-01-02T15:04:05",
            "2006-01-02T15:04:05.Z",
            "1969-12-31T23:59:59Z",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn every_day_of_two_centuries_comes_back() {
        for day in 0..73_000 {
            let nanos = day * DAY * SECOND;
            assert_eq!(parse(&format(nanos)), Some(nanos));
        }
    }
}
