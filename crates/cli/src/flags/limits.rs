//! `--ulimit`, `--restart`, and sizes that may be negative.

use spec::api::{RestartPolicy, Ulimit};

use crate::units;

/// `name=soft[:hard]`.
pub(crate) fn ulimit(text: &str) -> Result<Ulimit, String> {
    const NAMES: [&str; 15] = [
        "core",
        "cpu",
        "data",
        "fsize",
        "locks",
        "memlock",
        "msgqueue",
        "nice",
        "nofile",
        "nproc",
        "rss",
        "rtprio",
        "rttime",
        "sigpending",
        "stack",
    ];
    let (name, limits) = text.split_once('=').ok_or(format!("invalid ulimit argument: {text}"))?;
    if !NAMES.contains(&name) {
        return Err(format!("invalid ulimit type: {name}"));
    }
    let number = |text: &str| {
        text.parse::<i64>().map_err(|_| format!("strconv.ParseInt: parsing {text:?}: invalid syntax"))
    };
    let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
    if hard.contains(':') && limits != hard {
        return Err(format!(
            "too many limit value arguments - {limits}, can only have up to two, `soft[:hard]`"
        ));
    }
    let (soft, hard) = (number(soft)?, number(hard)?);
    if hard != -1 && (soft == -1 || soft > hard) {
        return Err(format!("ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}"));
    }
    Ok(Ulimit { name: name.to_owned(), soft, hard })
}

/// `no`, `always`, `unless-stopped`, `on-failure[:max]`.
pub(crate) fn restart(text: &str) -> Result<RestartPolicy, String> {
    let (name, count) = match text.split_once(':') {
        None => (text, 0),
        Some(("", _)) => return Err("invalid restart policy format: no policy provided before colon".into()),
        Some((name, count)) => (
            name,
            count
                .parse()
                .map_err(|_| "invalid restart policy format: maximum retry count must be an integer")?,
        ),
    };
    Ok(RestartPolicy { name: name.to_owned(), maximum_retry_count: count })
}

/// A size, or -1 for no limit.
pub(crate) fn bytes_or_unlimited(text: &str) -> Result<i64, String> {
    if text == "-1" { Ok(-1) } else { units::parse_bytes(text) }
}

/// A duration in nanoseconds; it may be negative.
pub(crate) fn nanoseconds(text: &str) -> Result<i64, String> {
    spec::duration::parse(text).map_err(|reason| reason.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits() {
        assert_eq!(ulimit("nofile=1:2").unwrap(), Ulimit { name: "nofile".into(), soft: 1, hard: 2 });
        assert_eq!(ulimit("core=0").unwrap().hard, 0);
        assert!(ulimit("nofile=2:1").is_err() && ulimit("x=1").is_err() && ulimit("core").is_err());
        assert_eq!(restart("on-failure:3").unwrap().maximum_retry_count, 3);
        assert!(restart("on-failure:x").is_err() && restart(":1").is_err());
        assert_eq!(bytes_or_unlimited("-1"), Ok(-1));
        assert_eq!(nanoseconds("1.5s"), Ok(1_500_000_000));
        assert_eq!(nanoseconds("-2ms"), Ok(-2_000_000));
    }
}
