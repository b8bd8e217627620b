//! Sizes as people read and write them (docker/go-units).

/// `1.98MB`: base 1000, four significant digits.
pub(crate) fn human_size(bytes: i64) -> String {
    scaled(bytes, 1000.0, &["B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"], 4)
}

/// The same with three significant digits.
pub(crate) fn human_size_3(bytes: i64) -> String {
    scaled(bytes, 1000.0, &["B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"], 3)
}

/// `15.62GiB`: base 1024, four significant digits.
pub(crate) fn bytes_size(bytes: i64) -> String {
    scaled(bytes, 1024.0, &["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"], 4)
}

#[allow(clippy::cast_precision_loss, reason = "four digits are shown")]
fn scaled(bytes: i64, base: f64, names: &[&str], digits: usize) -> String {
    let (mut size, mut i) = (bytes as f64, 0);
    while size >= base && i < names.len() - 1 {
        size /= base;
        i += 1;
    }
    format!("{}{}", significant(size, digits), names[i])
}

/// C's `%.<digits>g` for numbers from 0 to 9999.
pub(crate) fn significant(value: f64, digits: usize) -> String {
    let before = if value.abs() < 1.0 { 1 } else { value.abs().log10().floor() as usize + 1 };
    let text = format!("{:.*}", digits.saturating_sub(before), value);
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// Reads a size in bytes: `64m`, `1.5GiB`, `100`; base 1024 (go-units `RAMInBytes`).
pub(crate) fn parse_bytes(text: &str) -> Result<i64, String> {
    let invalid = || format!("invalid size: '{text}'");
    let end = text.rfind(|c: char| c.is_ascii_digit() || c == '.').ok_or_else(invalid)? + 1;
    let (number, unit) = text.split_at(end);
    let number = number.strip_suffix(' ').unwrap_or(number);
    let value: f64 = number.parse().ok().filter(|v: &f64| *v >= 0.0).ok_or_else(invalid)?;
    let unit = unit.trim_start().to_ascii_lowercase();
    let power = match unit.strip_suffix("ib").or_else(|| unit.strip_suffix('b')).unwrap_or(&unit) {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return Err(format!("invalid suffix: '{unit}'")),
    };
    Ok((value * 1024f64.powi(power)) as i64)
}

/// Reads a number of CPUs as billionths: `1.5` and `3/2` are 1500000000.
pub(crate) fn parse_cpus(text: &str) -> Result<i64, String> {
    let invalid = || format!("failed to parse {text} as a rational number");
    let (number, denominator) = match text.split_once('/') {
        None => (text, 1),
        Some((number, denominator)) => {
            (number, denominator.parse::<i128>().ok().filter(|d| *d > 0).ok_or_else(invalid)?)
        }
    };
    let (sign, number) = number.strip_prefix('-').map_or((1, number), |number| (-1, number));
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = format!("{whole}{fraction}");
    if digits.is_empty() || digits.len() > 30 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(invalid());
    }
    let numerator = digits.parse::<i128>().map_err(|_| invalid())? * 1_000_000_000;
    let scale = 10i128.pow(u32::try_from(fraction.len()).map_err(|_| invalid())?);
    let divisor = scale.checked_mul(denominator).ok_or_else(invalid)?;
    if numerator % divisor != 0 {
        return Err("value is too precise".into());
    }
    i64::try_from(sign * numerator / divisor).map_err(|_| invalid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_written_as_docker_writes_them() {
        for (bytes, text) in [
            (0, "0B"),
            (999, "999B"),
            (1000, "1kB"),
            (1_984_512, "1.985MB"),
            (12_345_678, "12.35MB"),
            (123_456_789_000, "123.5GB"),
        ] {
            assert_eq!(human_size(bytes), text);
        }
        assert_eq!(human_size_3(1_984_512), "1.98MB");
        assert_eq!(bytes_size(16_774_000_000), "15.62GiB");
        assert_eq!(bytes_size(512 * 1024), "512KiB");
    }

    #[test]
    fn sizes_and_cpus_are_read() {
        for (text, bytes) in
            [("64m", 64 << 20), ("1g", 1 << 30), ("100", 100), ("1.5k", 1536), ("2GiB", 2 << 30), ("5 b", 5)]
        {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
        assert_eq!(parse_bytes("abc"), Err("invalid size: 'abc'".into()));
        assert!(parse_bytes("1x").is_err() && parse_bytes("-1").is_err() && parse_bytes("").is_err());
        assert_eq!(parse_cpus("1.5"), Ok(1_500_000_000));
        assert_eq!(parse_cpus(".25"), Ok(250_000_000));
        assert_eq!(parse_cpus("1/2"), Ok(500_000_000));
        assert!(
            parse_cpus("1/3").is_err() && parse_cpus("0.0000000001").is_err() && parse_cpus("1/0").is_err()
        );
        assert!(parse_cpus("x").is_err() && parse_cpus("").is_err());
    }
}
