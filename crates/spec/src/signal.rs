//! Signal names and numbers (signal(7), x86 and arm numbering).

const NAMES: [(&str, i32); 31] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("PWR", 30),
    ("SYS", 31),
];

/// SIGHUP's number.
pub const HUP: i32 = 1;
/// SIGINT's number.
pub const INT: i32 = 2;
/// SIGCHLD's number.
pub const CHLD: i32 = 17;
/// SIGKILL's number.
pub const KILL: i32 = 9;
/// SIGTERM's number.
pub const TERM: i32 = 15;

/// Reads `TERM`, `SIGTERM`, `sigterm`, `15`, `RTMIN+3`; `None` for anything else or a number outside 1..=64.
pub fn parse(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse::<i32>() {
        return (1..=64).contains(&number).then_some(number);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(&(_, number)) = NAMES.iter().find(|(n, _)| *n == name) {
        return Some(number);
    }
    let real_time = |rest: &str, base: i32, sign: i32| match rest {
        "" => Some(base),
        _ => rest.trim_start_matches(['+', '-']).parse::<i32>().ok().map(|n| base + sign * n),
    };
    let number = match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
        (Some(rest), _) => real_time(rest, 34, 1),
        (_, Some(rest)) => real_time(rest, 64, -1),
        (None, None) => None,
    }?;
    (34..=64).contains(&number).then_some(number)
}

/// The name without `SIG`, or the number as text.
pub fn name(number: i32) -> String {
    NAMES
        .iter()
        .find(|(_, n)| *n == number)
        .map_or_else(|| number.to_string(), |(name, _)| (*name).to_owned())
}
