//! Values with a unit.

use std::time::Duration;

/// `90s`, `15m`, `24h`, `7d`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    const UNITS: [(&str, u64); 5] = [("s", 1), ("m", 60), ("h", 3600), ("d", 86400), ("w", 7 * 86400)];
    let number = |(unit, seconds): &(&str, u64)| {
        let number: u64 = text.strip_suffix(unit)?.trim().parse().ok()?;
        Some(Duration::from_secs(number.checked_mul(*seconds)?))
    };
    UNITS
        .iter()
        .find_map(number)
        .ok_or_else(|| format!("{text:?} is not a duration (like 90s, 15m, 24h, 7d or 2w)"))
}

/// `500MB`, `10GiB`: B and powers of 1000 (kB, MB, GB, TB) or 1024 (KiB, MiB, GiB, TiB).
pub(super) fn size(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, u64); 9] = [
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("TiB", 1 << 40),
        ("kB", 1_000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("TB", 1_000_000_000_000),
        ("B", 1),
    ];
    let number = |(unit, bytes): &(&str, u64)| {
        let number: u64 = text.strip_suffix(unit)?.trim().parse().ok()?;
        number.checked_mul(*bytes)
    };
    UNITS.iter().find_map(number).ok_or_else(|| format!("{text:?} is not a size (like 500MB or 10GiB)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_read() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("7d"), Ok(Duration::from_secs(604_800)));
        assert_eq!(size("10GiB"), Ok(10 << 30));
        assert_eq!(size("500 MB"), Ok(500_000_000));
        assert_eq!(size("7B"), Ok(7));
        for bad in ["", "7", "-1s", "s", "1.5h", "99999999999999999999s", "18446744073709551615d"] {
            assert!(duration(bad).is_err() && size(bad).is_err(), "{bad}");
        }
    }
}
