//! Top: the container's processes as `ps -ef` shows them, read from /proc. No helper program is run.

use std::collections::HashMap;
use std::path::Path;

use spec::api::ContainerTopResponse;

use crate::blocking::blocking;
use crate::{Engine, Error, time};

const TITLES: [&str; 8] = ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"];
/// Of the host's user names; larger files are not read.
const PASSWD_LIMIT: usize = 1 << 20;

impl Engine {
    /// `GET /containers/{id}/top`: 409 unless it runs.
    pub async fn top(&self, id: &str) -> Result<ContainerTopResponse, Error> {
        let container = self.inner.containers.find(id)?;
        let view = container.view();
        if !view.state.is_alive() {
            return Err(container.not_running());
        }
        let cgroup = super::cgroup::directory(&view.record, &self.inner.config);
        let processes = blocking(move || processes(&super::leftovers::pids(&cgroup))).await;
        self.publish(container.event("top", &[]));
        Ok(ContainerTopResponse { titles: TITLES.map(str::to_owned).into(), processes })
    }
}

fn processes(pids: &[i32]) -> Vec<Vec<String>> {
    let users = users();
    let (boot, now) = (boot_time(), time::now() / 1_000_000_000);
    pids.iter().filter_map(|pid| line(*pid, &users, boot, now)).collect()
}

/// One process's columns; `None` when it has ended meanwhile.
fn line(pid: i32, users: &HashMap<u32, String>, boot: u64, now: u64) -> Option<Vec<String>> {
    let read = |file: &str| sys::file::read(Path::new(&format!("/proc/{pid}/{file}"))).ok();
    let stat = Stat::parse(&String::from_utf8_lossy(&read("stat")?))?;
    let status = String::from_utf8_lossy(&read("status")?).into_owned();
    let uid: u32 =
        status.lines().find_map(|l| l.strip_prefix("Uid:"))?.split_whitespace().next()?.parse().ok()?;
    let cmdline = read("cmdline").unwrap_or_default();
    let words = cmdline.split(|b| *b == 0).filter(|w| !w.is_empty());
    let command = words.map(String::from_utf8_lossy).collect::<Vec<_>>().join(" ");
    let started = boot + stat.start_ticks / TICKS;
    let seconds = stat.cpu_ticks / TICKS;
    let alive = now.saturating_sub(started).max(1);
    Some(vec![
        users.get(&uid).cloned().unwrap_or_else(|| uid.to_string()),
        pid.to_string(),
        stat.parent.to_string(),
        (seconds * 100 / alive).min(99).to_string(),
        start_time(started, now),
        terminal(stat.tty),
        format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60),
        if command.is_empty() { format!("[{}]", stat.name) } else { command },
    ])
}

/// `sysconf(_SC_CLK_TCK)`: 100 on every architecture Linux has had for twenty years (it is USER_HZ, fixed by the ABI).
const TICKS: u64 = 100;

/// What `ps` needs of /proc/pid/stat (proc_pid_stat(5)).
struct Stat {
    name: String,
    parent: i32,
    tty: i32,
    cpu_ticks: u64,
    start_ticks: u64,
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        // The name may hold anything, parentheses too: it ends at the last one.
        let (begin, end) = (text.find('(')?, text.rfind(')')?);
        let fields: Vec<&str> = text.get(end + 1..)?.split_whitespace().collect();
        Some(Self {
            name: text.get(begin + 1..end)?.to_owned(),
            parent: fields.get(1)?.parse().ok()?,
            tty: fields.get(4)?.parse().ok()?,
            cpu_ticks: fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?,
            start_ticks: fields.get(19)?.parse().ok()?,
        })
    }
}

/// Seconds since 1970 when the kernel started.
fn boot_time() -> u64 {
    let stat = sys::file::read(Path::new("/proc/stat")).unwrap_or_default();
    let stat = String::from_utf8_lossy(&stat).into_owned();
    stat.lines().find_map(|l| l.strip_prefix("btime ")).and_then(|t| t.trim().parse().ok()).unwrap_or(0)
}

/// `14:05` today, `Nov23` before.
fn start_time(started: u64, now: u64) -> String {
    let zoned = |seconds: u64| {
        let seconds = i64::try_from(seconds).unwrap_or(0);
        let timestamp = jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        timestamp.to_zoned_datetime(jiff::tz::TimeZone::system())
    };
    let (started, now) = (zoned(started), zoned(now));
    let format = if started.date() == now.date() { "%H:%M" } else { "%b%d" };
    started.strftime(format).to_string()
}

/// The name of a controlling terminal (major 136: pts).
fn terminal(device: i32) -> String {
    let device = device.cast_unsigned();
    let (major, minor) = ((device >> 8) & 0xfff, (device & 0xff) | ((device >> 12) & 0xfff00));
    match major {
        0 => "?".into(),
        136..=143 => format!("pts/{}", (major - 136) * 256 + minor),
        4 => format!("tty{minor}"),
        _ => format!("{major}:{minor}"),
    }
}

/// The host's user names.
fn users() -> HashMap<u32, String> {
    let bytes = sys::file::read_if_exists(Path::new("/etc/passwd")).ok().flatten().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(PASSWD_LIMIT)]).into_owned();
    let user = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?.to_owned();
        Some((fields.nth(1)?.parse().ok()?, name))
    };
    text.lines().filter_map(user).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_line_is_complete() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let line = &processes(&[pid])[0];
        assert_eq!((line.len(), line[1].as_str()), (TITLES.len(), pid.to_string().as_str()));
        assert!(line[7].contains("engine"), "{line:?}");
    }

    #[test]
    fn stat_survives_odd_names() {
        let text = "7 (a) (b) S 3 7 7 34816 7 4194304 1 0 0 0 150 50 0 0 20 0 1 0 900 1 1";
        let stat = Stat::parse(text).unwrap();
        assert_eq!(
            (stat.name.as_str(), stat.parent, stat.cpu_ticks, stat.start_ticks),
            ("a) (b", 3, 200, 900)
        );
        assert_eq!(terminal(34816), "pts/0");
        assert_eq!(terminal(0), "?");
    }
}
